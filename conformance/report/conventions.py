"""The conventions: which reading every target's own default or option follows, as it was measured.

A row is a probe, a column a target that was asked one of its topic; topics are the files that the probes come from.
Every two targets have what to mind in a port from one to the other. Where a target told something
else the run before, on the same numbers and with the same readings to choose from, the cell says so.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

from conformance.report.collection import Collection, Entry
from conformance.run.result import NOTHING_OWN, Result


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """What a target told.

    Attributes:
        told: the reading, "no option", "no default", "no gradients", or what came of it otherwise.
        why: what the framework lacks, or what it does instead.
        follows: one of the probe's readings fits.
        lacks: the framework has nothing of its own to ask.
        since: the day of the run that told this first, where the run before told something else.
        before: what that run told.
        asked: the target and format of the entry, for the page of the case.
        calls: the native calls that told it, as they were made.
    """

    told: str
    why: str = ""
    follows: bool = False
    lacks: bool = False
    since: str = ""
    before: str = ""
    asked: str = ""
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A probe: its sentence, its operands' shapes, and a cell for every target, None where it was not asked."""

    case: str
    name: str
    about: str
    shapes: Mapping[str, tuple[int, ...]]
    targets: tuple[str, ...]
    cells: tuple[Cell | None, ...]

    @property
    def apart(self) -> bool:
        """Targets follow different readings."""
        return len(self.camps) > 1

    @property
    def camps(self) -> tuple[tuple[str, ...], ...]:
        """The targets that follow a reading, those of one reading together, the most first."""
        found: dict[str, list[str]] = {}
        for target, cell in zip(self.targets, self.cells, strict=True):
            if cell is not None and cell.follows:
                found.setdefault(cell.told, []).append(target)
        return tuple(sorted(map(tuple, found.values()), key=lambda camp: -len(camp)))

    @property
    def divided(self) -> str:
        """Who differs, in words; empty where nobody does."""
        return " against ".join(map(_listed, self.camps)) if self.apart else ""

    @property
    def examples(self) -> tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]:
        """Native calls, and the targets whose they are: how each framework is asked in the smallest way."""
        found: dict[tuple[str, ...], list[str]] = {}
        for target, cell in zip(self.targets, self.cells, strict=True):
            if cell is not None and cell.calls:
                found.setdefault(cell.calls, []).append(target)
        return tuple((tuple(targets), calls) for calls, targets in found.items())

    @property
    def changed(self) -> bool:
        """A target tells something else than the run before."""
        return any(cell is not None and cell.since for cell in self.cells)


@dataclass(frozen=True, slots=True, kw_only=True)
class Topic:
    """The probes of one file."""

    name: str
    targets: tuple[str, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A probe of which two targets follow different readings."""

    row: Row
    before: Cell
    after: Cell


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """What to mind between two targets.

    Attributes:
        one, other: the targets.
        differences: the probes that they answer otherwise.
        both: how many both follow a reading of.
    """

    one: str
    other: str
    differences: tuple[Difference, ...]
    both: int


def ports(found: Sequence[Topic]) -> tuple[Port, ...]:
    """Every two targets that follow readings of the same probes."""
    told: dict[tuple[str, str], list[Difference]] = {}
    for row in (row for topic in found for row in topic.rows):
        following = [
            (target, cell)
            for target, cell in zip(row.targets, row.cells, strict=True)
            if cell is not None and cell.follows
        ]
        for (one, first), (other, second) in combinations(following, 2):
            told.setdefault((one, other), []).append(Difference(row=row, before=first, after=second))
    return tuple(
        Port(
            one=one,
            other=other,
            differences=tuple(each for each in asked if each.before.told != each.after.told),
            both=len(asked),
        )
        for (one, other), asked in sorted(told.items())
    )


def topics(collection: Collection) -> tuple[Topic, ...]:
    """The table of conventions, topic by topic; empty where no probe was asked."""
    probes = {
        case: found
        for case, row in collection.by_case.items()
        if (found := [entry for entry in row.values() if entry.result.probe])
    }
    targets = tuple(
        name
        for name in collection.latest
        if any(entry.column.target == name for found in probes.values() for entry in found)
    )
    asked = {
        case: {(entry.result.readings, entry.result.digest) for entry in found} for case, found in probes.items()
    }
    history = _history(collection, asked)
    rows: dict[str, list[Row]] = {}
    of_topic: dict[str, tuple[str, ...]] = {}
    for topic, cases in _by_topic(probes).items():
        of_topic[topic] = tuple(
            name for name in targets if any(entry.column.target == name for case in cases for entry in probes[case])
        )
    for case, found in probes.items():
        topic, _, name = _placed(case)
        record = collection.cases.get(case)
        shown = of_topic[topic]
        by_target = {target: [entry for entry in found if entry.column.target == target] for target in shown}
        rows.setdefault(topic, []).append(
            Row(
                case=case,
                name=name,
                about=record.about if record else "",
                shapes=record.shapes if record else {},
                targets=shown,
                cells=tuple(
                    _cell(entries, history.get((case, target), ())) if entries else None
                    for target, entries in by_target.items()
                ),
            )
        )
    return tuple(
        Topic(name=_title(topic), targets=of_topic[topic], rows=tuple(rows[topic])) for topic in sorted(rows)
    )


def _placed(case: str) -> tuple[str, str, str]:
    return case.removeprefix("conventions/").rpartition("/")


def _by_topic(cases: Iterable[str]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for case in cases:
        found.setdefault(_placed(case)[0], []).append(case)
    return found


def _listed(names: Sequence[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last


def _title(topic: str) -> str:
    words = topic.replace("-", " ").replace("/", ", ") or "Others"
    return words[0].upper() + words[1:]


def _history(
    collection: Collection, probes: Mapping[str, set[tuple[tuple[str, ...], str]]]
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """What every run told of a probe as it is now, by case and target: day and words, the oldest first."""
    found: dict[tuple[str, str], list[tuple[str, str]]] = {}
    for run in collection.runs:
        told: dict[str, list[Result]] = {}
        for result in run.results:
            if result.case in probes and (result.readings, result.digest) in probes[result.case]:
                told.setdefault(result.case, []).append(result)
        for case, results in told.items():
            found.setdefault((case, run.header.target), []).append((run.header.started[:10], _words(results)))
    return found


def _words(results: Sequence[Result]) -> str:
    """What the formats and layouts of a probe told, once where all told the same."""
    told: dict[str, list[str]] = {}
    for result in results:
        told.setdefault(result.told, []).append(result.format)
    if len(told) == 1:
        return next(iter(told))
    return "; ".join(f"{words} ({', '.join(formats)})" for words, formats in told.items())


def _cell(entries: Sequence[Entry], history: Sequence[tuple[str, str]]) -> Cell:
    results = [entry.result for entry in entries]
    told = _words(results)
    follows = all(result.reading for result in results)
    lacks = all(result.told in NOTHING_OWN for result in results)
    day, before = "", ""
    if len(history) > 1 and history[-2][1] != told:
        day, before = history[-1][0], history[-2][1]
    return Cell(
        told=told,
        why="" if follows else _why(results[0]),
        follows=follows,
        lacks=lacks,
        since=day,
        before=before,
        asked=f"{entries[0].column.target}-{entries[0].column.format}",
        calls=results[0].calls,
    )


def _why(result: Result) -> str:
    """What the framework lacks, without the words that the cell has already; or what it does instead."""
    if result.agrees_with:
        return result.diagnosis
    first = result.detail.partition("\n")[0]
    return first.removeprefix(f"{result.told}: ")
