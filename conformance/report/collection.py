"""Every run below a folder as one picture: the newest result of each question wins."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

from conformance.errors import InvalidStore
from conformance.run import selfcheck
from conformance.run.result import Result
from conformance.run.selfcheck import Selfcheck
from conformance.run.store import CaseRecord, Run, find_runs, present_names, read_run
from conformance.verdict.model import Reason

# How a comparison with a case's own numbers is named.
STATED: Final = " (stated)"


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Column:
    """Who was asked, and how: a column of the matrix."""

    target: str
    format: str
    layout: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """The newest result of a case in a column, and the run that it comes from."""

    result: Result
    run: Run
    column: Column


@dataclass(frozen=True, kw_only=True)
class Collection:
    """All that a report shows.

    Attributes:
        runs: the oldest first.
        entries: one for each case and column, by case.
        cases: as the newest run that knows them tells them.
        problems: files that could not be read, and why.
        selfchecks: records of what checks the checker, the reference's first.
    """

    runs: Sequence[Run]
    entries: Sequence[Entry]
    cases: Mapping[str, CaseRecord]
    problems: Sequence[str] = ()
    selfchecks: Sequence[Selfcheck] = ()

    @cached_property
    def latest(self) -> dict[str, Run]:
        """The newest run of every target, of those with results if there are any; the reference last."""
        found = {run.header.target: run for run in sorted(self.runs, key=lambda run: bool(run.results))}
        return {name: found[name] for name in sorted(found, key=target_order)}

    @cached_property
    def columns(self) -> tuple[Column, ...]:
        """Targets by name, their formats from the widest, their own layout first."""
        return tuple(sorted({entry.column for entry in self.entries}, key=_column_order))

    @cached_property
    def by_case(self) -> dict[str, dict[Column, Entry]]:
        """Entries by case and column; cases by operator, then id."""
        found: dict[str, dict[Column, Entry]] = {}
        for entry in self.entries:
            found.setdefault(entry.result.case, {})[entry.column] = entry
        operator = {case: next(iter(row.values())).result.operator for case, row in found.items()}
        return {case: found[case] for case in sorted(found, key=lambda case: (operator[case], natural(case)))}

    @cached_property
    def training(self) -> dict[str, dict[str, Mapping[str, Any]]]:
        """The newest training record by form and target."""
        found: dict[str, dict[str, Mapping[str, Any]]] = {}
        for run in self.runs:
            for record in run.training:
                found.setdefault(str(record["id"]), {})[run.header.target] = record
        return {
            form: {target: found[form][target] for target in sorted(found[form], key=target_order)}
            for form in sorted(found)
        }


@dataclass(slots=True)
class _Newest:
    entries: dict[tuple[str, Column], Entry] = field(default_factory=dict)
    cases: dict[str, CaseRecord] = field(default_factory=dict)


def collect(reports: Path) -> Collection:
    """Reads every run below a folder; files that cannot be read are named in `problems`."""
    runs, problems = [], []
    for path in find_runs(reports):
        try:
            runs.append(read_run(path))
        except (InvalidStore, OSError, ValueError) as error:
            where = path.relative_to(reports).as_posix()
            problems.append(f"{where}: {str(error).removeprefix(f'{path}').lstrip(': ') or type(error).__name__}")
    selfchecks = []
    for path in selfcheck.find(reports):
        try:
            selfchecks.append(selfcheck.read(path))
        except InvalidStore as error:
            problems.append(str(error).removeprefix(f"{reports}").lstrip("/\\"))
    return replace(merge(runs, problems), selfchecks=tuple(selfchecks))


def merge(runs: Iterable[Run], problems: Sequence[str] = ()) -> Collection:
    """Runs as one picture."""
    newest = _Newest()
    read = sorted(runs, key=lambda run: (run.header.started, run.path.stem))
    names = present_names(read)
    ordered = [run.renamed(names) for run in read]
    for run in ordered:
        newest.cases.update(run.cases)
        for result in run.results:
            # A result's own target may hold an interpreter's path; the header's name does not.
            column = Column(target=run.header.target, format=result.format, layout=result.layout)
            newest.entries[result.case, column] = Entry(result=result, run=run, column=column)
    return Collection(
        runs=tuple(ordered), entries=tuple(newest.entries.values()), cases=newest.cases, problems=tuple(problems)
    )


def family(operator: str) -> str:
    """An operator without its rank: conv2d_transpose and conv1d_transpose are one family."""
    return re.sub(r"[123]d(?=_|$)", "", operator)


def effective_bits(result: Result) -> float | None:
    """Effective bits of the worst array, None where nothing was compared.

    Stated values do not count: they carry the digits that somebody wrote down.
    """
    found = [comparison.bits for comparison in result.comparisons if not comparison.name.endswith(STATED)]
    return min(found, default=None)


def agreement(result: Result, check: str = "") -> Reason:
    """How a check that agrees does so, or the whole result: exact only where each of its arrays is."""
    verdicts = [verdict for name, verdict in result.verdicts.items() if check in ("", name)]
    if any(verdict.reason is Reason.REFUSED_AS_EXPECTED for verdict in verdicts):
        return Reason.REFUSED_AS_EXPECTED
    if any(verdict.reason is Reason.NORM_WISE for verdict in verdicts):
        return Reason.NORM_WISE
    compared = (c.reason for c in result.comparisons if check in ("", c.check) and not c.name.endswith(STATED))
    return Reason.EXACT if all(reason is Reason.EXACT for reason in compared) else Reason.WITHIN_BOUND


def natural(text: str) -> list[tuple[int, str]]:
    """A key that sorts stride2 before stride10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", text)]


def target_order(name: str) -> tuple[bool, str]:
    """By name, the reference last."""
    return (name == "reference", name)


_FORMAT_ORDER = ("float64", "float32", "bfloat16", "float16")


def _column_order(column: Column) -> tuple[tuple[bool, str], int, str, tuple[bool, str]]:
    known = column.format in _FORMAT_ORDER
    place = _FORMAT_ORDER.index(column.format) if known else len(_FORMAT_ORDER)
    return (target_order(column.target), place, column.format, (column.layout != "native", column.layout))
