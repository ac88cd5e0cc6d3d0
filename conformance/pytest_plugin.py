"""pytest collects case files: `pytest cases/operators/conv2d.yaml`, `pytest -k "transpose and torch"`, `pytest -n 2`.

An item is one case on one target in one format. Items are scheduled by target, so that a process keeps one framework;
only where processes outnumber targets, one's items go to several. What they measured travels to the controller, which
alone writes runs and the report.
"""

from collections.abc import Generator, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from zlib import crc32

import pytest

if TYPE_CHECKING:
    from conformance.case.job import Target
    from conformance.run.engine import Session
    from conformance.run.plan import Item
    from conformance.run.result import Result
    from conformance.run.store import RunWriter

_PLUGIN: Final = "conformance-runs"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Declares the options."""
    group = parser.getgroup("conformance", "conformance of convolutional networks")
    group.addoption(
        "--target",
        action="append",
        default=[],
        help="BACKEND[:DEVICE][+MODE][@INTERPRETER], or a name of conformance.toml; repeatable; every installed "
        "backend if none",
    )
    group.addoption("--tier", default="core", choices=("smoke", "core", "full"), help="smoke, core or full cases")
    group.addoption("--reports", default="reports", help="where runs and the HTML report go (default: reports)")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """With xdist, items are grouped by target unless another distribution is asked for."""
    if getattr(config.option, "numprocesses", None) and config.option.dist in ("no", "load"):
        config.option.dist = "loadgroup"


def pytest_configure(config: pytest.Config) -> None:
    """Keeps the sessions and the runs of this process."""
    config.pluginmanager.register(Runs(config), _PLUGIN)


def runs_of(config: pytest.Config) -> "Runs":
    """The sessions and runs that `pytest_configure` registered."""
    runs = config.pluginmanager.get_plugin(_PLUGIN)
    assert isinstance(runs, Runs)
    return runs


def pytest_collect_file(file_path: Path, parent: pytest.Collector) -> "CaseFile | None":
    """Case files say what they are: their first line names our schema."""
    if file_path.suffix not in (".yaml", ".yml"):
        return None
    from conformance.case.loading import is_case_file

    return CaseFile.from_parent(parent, path=file_path) if is_case_file(file_path) else None


class CaseFile(pytest.File):
    """A YAML file of cases."""

    def collect(self) -> "Iterator[CaseItem]":
        """Every case times target, format and layout; a wrong file is a collection error with all its problems."""
        from conformance.case.loading import load
        from conformance.case.operators import operators_of
        from conformance.errors import InvalidCases
        from conformance.run.plan import REFERENCE, is_listed, plan
        from conformance.run.probes import require_variants
        from conformance.worker.gateway import costly, covers, layout_of

        runs = runs_of(self.config)
        try:
            cases = load([self.path])
            require_variants(cases)
        except InvalidCases as error:
            raise self.CollectError(str(error)) from error
        targets = (REFERENCE, *runs.targets)
        tier = self.config.option.tier
        for item in plan(cases, targets, tier=tier, covers=covers, layout_of=layout_of, costly=costly):
            if is_listed(item.target, operators_of(item.case.operator, item.case.attributes)):
                yield CaseItem.from_parent(self, name=item.name, question=item)


class CaseItem(pytest.Item):
    """One result to be had."""

    def __init__(self, *, question: "Item", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.question = question
        self.measured: dict[str, Any] | None = None
        self.told = ""
        self.add_marker(pytest.mark.xdist_group(runs_of(self.config).group(question)))

    def runtest(self) -> None:
        """Asks, and fails on what is neither agreement nor on file."""
        from conformance.run.store import pack

        runs = runs_of(self.config)
        session = runs.session(self.question.target)
        result = session.run(self.question)
        self.told = result.told if result.probe else ""
        self.measured = pack(result, self.question.case, session.description)
        if result.unexpected or result.stale:
            raise Disagreement(result)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """What a reader needs, instead of this harness's own stack."""
        if isinstance(excinfo.value, Disagreement):
            return excinfo.value.text(str(self.question.case.where))
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, int, str]:
        """Where the case stands."""
        return self.path, self.question.case.where.line - 1, self.name


class Disagreement(Exception):
    """A result that is neither agreement nor on file."""

    def __init__(self, result: "Result") -> None:
        self.result = result
        super().__init__(f"{result.name}: {result.outcome}")

    def text(self, where: str) -> str:
        """Case, target, verdict, the worst element of every array outside its bound, native calls."""
        result = self.result
        lines = [f"{where}: {result.name}"]
        for check, verdict in result.verdicts.items():
            assessment = result.assessments[check]
            on_file = f", {assessment.standing}: {assessment.deviation}" if assessment.deviation else ""
            lines.append(f"{check}: {verdict.outcome} ({verdict.reason}{on_file})")
            lines += [f"    {line}" for line in verdict.detail.splitlines()]
        for c in result.comparisons:
            if not c.within:
                lines.append(
                    f"{c.check} {c.name}, {c.data} data, worst at {list(c.worst_index)}: got {c.got!r}, "
                    f"expected {c.expected!r}, error {c.error:.3g}, bound {c.bound:.3g}, {c.outside} outside"
                )
        if result.diagnosis:
            lines += result.diagnosis.splitlines()
        if result.calls:
            lines += ["native calls:", *(f"    {call}" for call in result.calls)]
        return "\n".join(lines)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, Any, Any]:
    """Puts what an item measured on its report, which travels to the controller."""
    report = yield
    if isinstance(item, CaseItem) and report.when == "call" and item.measured is not None:
        report.conformance = item.measured
        report.reading = item.told
    return report


def pytest_report_teststatus(report: Any) -> tuple[str, str, str] | None:
    """Says, with -v, which reading a probe found."""
    told = getattr(report, "reading", "")
    if told and report.when == "call" and report.passed:
        return "passed", ".", f"PASSED ({told})"
    return None


class Runs:
    """The sessions of this process and, in the controller, the runs that are written."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._targets: tuple[Target, ...] | None = None
        self._sessions: dict[Target, Session] = {}
        self._writers: dict[str, RunWriter] = {}

    @property
    def targets(self) -> "tuple[Target, ...]":
        """Who is asked: what the command line says, else every installed backend."""
        if self._targets is None:
            from conformance.run.configuration import load_targets, target_of
            from conformance.worker.gateway import installed_backends

            texts = [text for joined in self._config.option.target for text in joined.split(",")]
            named = load_targets() if texts else {}
            self._targets = tuple(target_of(text, named) for text in texts or installed_backends())
        return self._targets

    def group(self, item: "Item") -> str:
        """What is asked by one of xdist's processes: a target, or a part of it where processes outnumber targets."""
        from conformance.worker.gateway import alone

        processes = getattr(self._config, "workerinput", {}).get("workercount", 1)
        parts = 1 if alone(item.target) else max(1, processes // len(self.targets))
        return f"{item.target.name}-{crc32(item.case.id.encode()) % parts}"

    def session(self, target: "Target") -> "Session":
        """The target's session, started at its first item."""
        if target not in self._sessions:
            from conformance.run.engine import Session
            from conformance.verdict.deviations import shipped_deviations

            repeat = 2 if self._config.option.tier == "full" else 1
            self._sessions[target] = Session(target, shipped_deviations(), repeat=repeat)
        return self._sessions[target]

    def pytest_runtest_logreport(self, report: Any) -> None:
        """In the controller: writes what was measured."""
        measured = getattr(report, "conformance", None)
        if measured is None or hasattr(self._config, "workerinput"):
            return
        from conformance.run.store import RunWriter, unpack

        result, case, description = unpack(measured)
        if result.target not in self._writers:
            backend = next((target.backend for target in self.targets if target.name == result.target), "")
            self._writers[result.target] = RunWriter(
                Path(self._config.option.reports), result.target, description, backend=backend
            )
        self._writers[result.target].result(result, case)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        """Ends the workers; in the controller, closes the runs and writes the report."""
        for session in self._sessions.values():
            session.close()
        for writer in self._writers.values():
            writer.close(complete=exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED))

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Says where the report is."""
        if self._writers:
            from conformance.report.page import write_report
            from conformance.verdict.deviations import shipped_deviations

            terminalreporter.write_line(
                f"report: {write_report(Path(self._config.option.reports), shipped_deviations())}"
            )
