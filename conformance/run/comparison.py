"""Two runs side by side: what is new, gone, changed, and how many effective bits were lost or gained.

A run is a file, or a target's folder: then the newest result of every question counts, of all complete runs by the
same versions on the same device as the newest one. Results are compared only where both were asked on the very same
numbers, which their digests tell. A case that was renamed in between is followed by its former ids.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from conformance.case.layouts import marked
from conformance.case.model import Check
from conformance.errors import InvalidStore
from conformance.formats import STORED
from conformance.run.result import Result
from conformance.run.store import Header, present_names, read_run
from conformance.verdict.model import Outcome

# One effective bit is an error twice as large: below that, two honest orders of summation differ.
NOTABLE_BITS: Final = 1.0


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Question:
    """What was asked, of whomever."""

    case: str
    format: str
    layout: str

    @property
    def name(self) -> str:
        """As tables show it: `conv2d/same [float32]`; layouts but the native one at its end."""
        return f"{self.case} [{'-'.join((self.format, *marked(self.layout)))}]"


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a run, or several of them together, say of one target.

    Attributes:
        name: the file or folder that was named.
        header: of the newest run.
        results: the newest of every question.
        complete: no run among them was cut off.
        names: what cases are called now, by the ids that they had.
    """

    name: str
    header: Header
    results: Mapping[Question, Result]
    complete: bool
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def versions(self) -> str:
        """Packages and versions in a line."""
        return ", ".join(f"{name} {version}" for name, version in self.header.description.versions.items())


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckChange:
    """The outcomes of one check; None where it was not judged."""

    check: Check
    before: Outcome | None
    after: Outcome | None

    @property
    def worse(self) -> bool:
        """Both judged it, and the second is the graver."""
        return self.before is not None and self.after is not None and self.after.severity > self.before.severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One question in both runs."""

    question: Question
    before: Result
    after: Result

    @property
    def equal_inputs(self) -> bool:
        """Both were asked on the same numbers."""
        return self.before.digest == self.after.digest

    @property
    def changes(self) -> tuple[CheckChange, ...]:
        """The checks whose outcome is another one."""
        outcomes = [
            {check: verdict.outcome for check, verdict in result.verdicts.items()}
            for result in (self.before, self.after)
        ]
        checks = dict.fromkeys((*outcomes[0], *outcomes[1]))
        found = [
            CheckChange(check=check, before=outcomes[0].get(check), after=outcomes[1].get(check)) for check in checks
        ]
        return tuple(change for change in found if change.before is not change.after)

    @property
    def readings(self) -> tuple[str, str] | None:
        """What a probe told before and after, where that is another; None where it is the same, or no probe."""
        before, after = self.before, self.after
        asked_alike = before.probe and before.readings == after.readings
        return (before.told, after.told) if asked_alike and before.told != after.told else None

    @property
    def moved(self) -> bool:
        """The outcome of a check is another one, or another reading fits."""
        return bool(self.changes) or self.readings is not None

    @property
    def bits(self) -> tuple[float, float]:
        """Effective bits before and after, of the array that lost most, or gained most where none lost a bit.

        No format has more than its precision to lose.
        """
        most = STORED[self.question.format].precision
        before, after = (
            {(c.check, c.data, c.name): min(c.bits, most) for c in result.comparisons}
            for result in (self.before, self.after)
        )
        both = [(before[key], after[key]) for key in before.keys() & after.keys()]
        if not both:
            return most, most
        lost = min(both, key=lambda bits: (bits[1] - bits[0], bits))
        return lost if lost[0] - lost[1] >= NOTABLE_BITS else max(both, key=lambda bits: (bits[1] - bits[0], bits))

    @property
    def bits_gained(self) -> float:
        """Effective bits gained; negative where they were lost."""
        before, after = self.bits
        return after - before

    @property
    def worse(self) -> bool:
        """A check's outcome is graver; or it did not agree before, does not now, and is farther off.

        Bits that are lost within the bound are no fault: an honest order of summation may cost them.
        """
        astray = not self.before.agrees and not self.after.agrees
        return any(change.worse for change in self.changes) or (astray and self.bits_gained <= -NOTABLE_BITS)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunComparison:
    """Two runs side by side.

    Attributes:
        before, after: as they were read.
        new, gone: results that only one of them has.
        changed: pairs with another outcome of some check, and probes that another reading fits.
        lost, gained: pairs with the same outcomes, and a bit less or more.
        refused: pairs that were asked on unequal inputs, so that nothing can be said.
        same: how many pairs show neither.
    """

    before: Measured
    after: Measured
    new: tuple[Result, ...]
    gone: tuple[Result, ...]
    changed: tuple[Pair, ...]
    lost: tuple[Pair, ...]
    gained: tuple[Pair, ...]
    refused: tuple[Pair, ...]
    same: int

    @property
    def suites(self) -> tuple[str, ...]:
        """The versions of the case suite, where both runs tell theirs and they differ."""
        told = (self.before.header.suite, self.after.header.suite)
        return told if all(told) and told[0] != told[1] else ()

    @property
    def compared(self) -> int:
        """How many pairs could be compared."""
        return self.same + len(self.changed) + len(self.lost) + len(self.gained)

    @property
    def worse(self) -> tuple[Pair, ...]:
        """What both have, and the second has worse."""
        return tuple(pair for pair in (*self.changed, *self.lost) if pair.worse)


def measured(path: Path) -> Measured:
    """Reads a run, or merges the runs of a target's folder.

    Raises:
        InvalidStore: if it is neither, or the folder has no complete run.
    """
    if path.is_file():
        run = read_run(path)
        names = present_names([run])
        results = _by_question(run.results, names)
        return Measured(name=str(path), header=run.header, results=results, complete=run.complete, names=names)
    files = sorted(path.glob("*.jsonl")) if path.is_dir() else []
    if not files:
        raise InvalidStore(
            f"{path}: no run is there; expected a .jsonl file, or a target's folder of them such as reports/torch"
        )
    runs = sorted(
        (run for run in map(read_run, files) if run.complete), key=lambda run: (run.header.started, run.path.stem)
    )
    if not runs:
        raise InvalidStore(f"{path}: none of its {len(files)} runs is complete; name the .jsonl file that is meant")
    newest = runs[-1].header
    alike = [
        run
        for run in runs
        if (run.header.description.versions, run.header.description.device)
        == (newest.description.versions, newest.description.device)
    ]
    names = present_names(alike)
    results = {}
    for run in alike:
        results |= _by_question(run.results, names)
    return Measured(name=str(path), header=newest, results=results, complete=True, names=names)


def compare_runs(before: Measured, after: Measured) -> RunComparison:
    """Puts two runs side by side, question by question, by the names that either of them knows."""
    first = _by_question(before.results.values(), after.names)
    second = _by_question(after.results.values(), before.names)
    pairs = [
        Pair(question=question, before=first[question], after=second[question])
        for question in sorted(first.keys() & second.keys())
    ]
    equal = [pair for pair in pairs if pair.equal_inputs]
    alike = [pair for pair in equal if not pair.moved]
    lost = tuple(pair for pair in alike if pair.bits_gained <= -NOTABLE_BITS)
    gained = tuple(pair for pair in alike if pair.bits_gained >= NOTABLE_BITS)
    return RunComparison(
        before=before,
        after=after,
        new=tuple(second[question] for question in sorted(second.keys() - first.keys())),
        gone=tuple(first[question] for question in sorted(first.keys() - second.keys())),
        changed=tuple(sorted((pair for pair in equal if pair.moved), key=lambda pair: not pair.worse)),
        lost=tuple(sorted(lost, key=lambda pair: pair.bits_gained)),
        gained=tuple(sorted(gained, key=lambda pair: -pair.bits_gained)),
        refused=tuple(pair for pair in pairs if not pair.equal_inputs),
        same=len(alike) - len(lost) - len(gained),
    )


def question_of(result: Result) -> Question:
    """What a result answers."""
    return Question(case=result.case, format=result.format, layout=result.layout)


def _by_question(results: Iterable[Result], names: Mapping[str, str]) -> dict[Question, Result]:
    """Results by what they answer, under the names that cases have now."""
    present = (replace(result, case=names[result.case]) if result.case in names else result for result in results)
    return {question_of(result): result for result in present}
