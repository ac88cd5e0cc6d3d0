"""What changed since the run before: the newest run of every target beside all that its earlier runs told last."""

from collections.abc import Mapping
from dataclasses import dataclass

from conformance.report.collection import Collection
from conformance.report.comparison import Section, sections
from conformance.run.comparison import Measured, Question, compare_runs, question_of
from conformance.run.result import Result

# A run of a selection asks less than the one before: what it leaves out is not gone.
UNTOLD = "Gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A target's newest run beside those before it.

    Attributes:
        before: when the run before began, to the minute.
        versions: package, its version before and now, where they differ.
        sections: lists of what moved, what got worse first.
        compared, same: questions that both have on the same numbers, and those in which nothing moved.
    """

    target: str
    before: str
    versions: tuple[tuple[str, str, str], ...]
    sections: tuple[Section, ...]
    compared: int
    same: int


def changes(collection: Collection) -> tuple[Change, ...]:
    """A change for every target that has a run before its newest one."""
    return tuple(change for name in collection.latest if (change := _change(collection, name)) is not None)


def _change(collection: Collection, target: str) -> Change | None:
    newest = collection.latest[target]
    earlier = [run for run in collection.runs if run.header.target == target and run is not newest and run.results]
    if not earlier or not newest.results:
        return None
    last = earlier[-1]
    told: dict[Question, Result] = {}
    for run in earlier:
        told |= {question_of(result): result for result in run.results}
    compared = compare_runs(
        Measured(name=target, header=last.header, results=told, complete=last.complete),
        Measured(
            name=target,
            header=newest.header,
            results={question_of(result): result for result in newest.results},
            complete=newest.complete,
        ),
    )
    return Change(
        target=target,
        before=last.header.started[:16].replace("T", " "),
        versions=_moved(last.header.description.versions, newest.header.description.versions),
        sections=tuple(section for section in sections(compared) if section.title != UNTOLD),
        compared=compared.compared,
        same=compared.same,
    )


def _moved(before: Mapping[str, str], after: Mapping[str, str]) -> tuple[tuple[str, str, str], ...]:
    names = dict.fromkeys((*before, *after))
    return tuple(
        (name, before.get(name, "none"), after.get(name, "none"))
        for name in names
        if before.get(name) != after.get(name)
    )
