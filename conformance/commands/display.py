"""What a run shows on the terminal: bars while it lasts, then its counts and what is unexpected."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from conformance.case.job import Target
    from conformance.run.execute import Execution
    from conformance.run.result import Result

# Unexpected results that are printed; all of them stand in the report.
SHOWN: Final = 20


def print_execution(execution: "Execution", report: Path) -> None:
    """Prints the counts of every target, what is unexpected, stale or below its floor, and where the report is."""
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    table = Table("target", "results", "unexpected", "versions")
    for run in execution.runs:
        versions = run.description.versions if run.description else {}
        counts = sorted(run.counts.items(), key=lambda item: item[0].severity)
        table.add_row(
            escape(run.target.name),
            "\n".join(
                [f"{count} {outcome}" for outcome, count in counts]
                + ([f"{run.not_asked} not asked"] if run.not_asked else [])
            ),
            str(sum(result.unexpected for result in run.results)),
            "\n".join(f"{name} {version}" for name, version in versions.items() if name != "python"),
        )
    console.print(table)
    _print_readings(console, execution)
    for result in execution.unexpected[:SHOWN]:
        console.print(f"[bold]{escape(result.name)}[/bold] {result.outcome} ({result.reason})")
        console.print(escape(_indented("\n".join(filter(None, (result.detail, result.diagnosis))))))
    if len(execution.unexpected) > SHOWN:
        console.print(f"... and {len(execution.unexpected) - SHOWN} more unexpected results, all in the report")
    for result in execution.stale:
        console.print(f"stale: {escape(result.contradiction)}")
    for run in execution.runs:
        for line in (*run.below_floor, *([run.error] if run.error else [])):
            console.print(escape(line))
    console.print(f"report: {escape(str(report))}", soft_wrap=True)


def _print_readings(console: Any, execution: "Execution") -> None:
    """Which reading every target's own default or option follows, where probes were asked."""
    from rich.markup import escape
    from rich.table import Column, Table

    found: dict[str, dict[str, dict[str, None]]] = {}
    for run in execution.runs:
        for result in run.results:
            if result.probe:
                found.setdefault(result.case, {}).setdefault(run.target.name, {})[result.told] = None
    if not found:
        return
    targets = list(dict.fromkeys(name for row in found.values() for name in row))
    table = Table(Column("convention", overflow="fold"), *map(escape, targets))
    for case, row in found.items():
        told = (" / ".join(row.get(name, ())) for name in targets)
        table.add_row(escape(case.removeprefix("conventions/")), *map(escape, told))
    console.print(table)


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())


class Bars:
    """A bar a target, and one a training while it lasts."""

    def __init__(self, display: Any) -> None:
        self._display = display
        self._bars: dict[str, Any] = {}

    def advance(self, target: "Target", done: int, total: int, result: "Result | None") -> None:
        """Shows how many of a target's questions are answered."""
        self._show(target.name, done, total)

    def step(self, training: str, who: str, step: int, steps: int) -> None:
        """Shows how far somebody came in a training."""
        name = f"{who} {training.removeprefix('training/')}"
        self._show(name, step, steps)
        if step == steps:
            self._display.remove_task(self._bars.pop(name))

    def _show(self, name: str, done: int, total: int) -> None:
        if name not in self._bars:
            self._bars[name] = self._display.add_task(name, total=total)
        self._display.update(self._bars[name], completed=done)


@contextmanager
def progress(*, quiet: bool) -> Iterator[Bars]:
    """Bars on standard error; nothing when it is not a terminal."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True, quiet=quiet or not sys.stderr.isatty())
    columns = (TextColumn("{task.description:<12}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Progress(*columns, console=console) as display:
        yield Bars(display)
