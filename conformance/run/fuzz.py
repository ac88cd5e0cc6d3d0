"""False alarms: random questions put to a target until enough elements were judged.

Each goes the ordinary way, from a case to a verdict. Where an honest framework gets anything but agreement, either
the rule is wrong or the framework is: an *alarm*, told as the YAML of its case. Differences on file are counted
apart.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import prod
from statistics import median_low
from typing import Final

from conformance.case.job import Target
from conformance.case.model import Case, FormatName
from conformance.case.writing import as_yaml
from conformance.run.engine import Session
from conformance.run.keyword import compile_keyword
from conformance.run.plan import Item
from conformance.run.result import Result
from conformance.run.sampling import ORDINARY, SAMPLERS, Extent, draw
from conformance.verdict.deviations import is_absent
from conformance.verdict.model import Outcome, Reason

ELEMENTS: Final = 1_000_000
# Rounds without one judged element after which nothing is left to ask.
IDLE_ROUNDS: Final = 5
# What is no word on numbers: a target that refuses, or has no counterpart.
UNANSWERED: Final = frozenset({Outcome.UNSUPPORTED, Outcome.REFUSED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A result that is neither agreement nor on file, and its case to paste."""

    result: Result
    yaml: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fuzzed:
    """What became of random questions.

    Attributes:
        target: who was asked.
        seed: makes the same questions again.
        questions: cases in a format.
        operators: that were asked.
        elements: of outputs and gradients that were judged; those of which the bound says nothing are not.
        arrays: that they belong to.
        alarms: results that differ and are not on file.
        known: results that show what is on file, by deviation.
        unanswered: results that are refused or have no counterpart, by case and format.
        inconclusive: arrays whose bound says nothing.
        least, median: effective bits of the arrays that agree, by format; infinite where nothing differs.
        seconds: the harness's and the target's time.
    """

    target: str
    seed: int
    questions: int
    operators: tuple[str, ...]
    elements: int
    arrays: int
    alarms: tuple[Alarm, ...]
    known: dict[str, int]
    unanswered: tuple[str, ...]
    inconclusive: int
    least: dict[str, float]
    median: dict[str, float]
    seconds: float


def fuzz(
    session: Session,
    *,
    elements: int = ELEMENTS,
    seed: int = 0,
    keyword: str = "",
    formats: tuple[FormatName, ...] = ("float32", "float64"),
    extent: Extent = ORDINARY,
    progress: Callable[[int, int], None] = lambda judged, wanted: None,
) -> Fuzzed:
    """Asks a target random questions, the operators in turn.

    Args:
        session: the target; its deviations apply as in a run.
        elements: how many are judged at least, unless the target answers nothing; every operator is asked once.
        seed: of the questions.
        keyword: a `-k` expression over the operators' names.
        formats: in which every question is asked.
        extent: how large questions are.
        progress: is told how many of how many elements were judged.

    Raises:
        ValueError: if the keyword expression cannot be read.
        TargetError: if the target's worker cannot be started again.
    """
    started = time.perf_counter()
    operators = _asked(session, keyword)
    tally = _Tally()
    number, idle = 0, 0
    while operators and (not number or tally.elements < elements) and idle < IDLE_ROUNDS:
        before = tally.elements
        for operator in operators:
            case = draw(operator, number, seed=seed, extent=extent, formats=formats)
            for format_ in formats:
                item = Item(case=case, target=session.target, format=format_, layout="native")
                tally.add(case, session.run(item))
            progress(min(tally.elements, elements), elements)
            if number and tally.elements >= elements:
                break  # every operator has had its turn
        idle = 0 if tally.elements > before else idle + 1
        number += 1
    return tally.told(session.target, seed, time.perf_counter() - started)


def _asked(session: Session, keyword: str) -> tuple[str, ...]:
    """The operators that a target has and that can be drawn."""
    matches = compile_keyword(keyword)
    return tuple(
        name
        for name in SAMPLERS
        if name in session.description.operators
        and not is_absent((name,), "outputs", session.description)
        and matches(name)
    )


class _Tally:
    """Counts as results come."""

    def __init__(self) -> None:
        self.elements = 0
        self._arrays = 0
        self._questions = 0
        self._inconclusive = 0
        self._operators: dict[str, None] = {}
        self._alarms: list[Alarm] = []
        self._known: dict[str, int] = {}
        self._unanswered: list[str] = []
        self._bits: dict[str, list[float]] = {}

    def add(self, case: Case, result: Result) -> None:
        self._questions += 1
        self._operators[case.operator] = None
        for comparison in result.comparisons:
            if comparison.reason is Reason.VACUOUS:
                self._inconclusive += 1
            else:
                self._arrays += 1
                self.elements += prod(comparison.expected_shape)
                if comparison.within:
                    self._bits.setdefault(result.format, []).append(comparison.bits)
        for name in result.deviations:
            self._known[name] = self._known.get(name, 0) + 1
        outcomes = {
            result.verdicts[check].outcome
            for check, assessment in result.assessments.items()
            if assessment.standing == "unexpected"
        }
        if outcomes & UNANSWERED:
            self._unanswered.append(f"{result.name}: {result.detail}")
        if outcomes - UNANSWERED - {Outcome.INCONCLUSIVE}:
            self._alarms.append(Alarm(result=result, yaml=as_yaml(case)))

    def told(self, target: Target, seed: int, seconds: float) -> Fuzzed:
        return Fuzzed(
            target=target.name,
            seed=seed,
            questions=self._questions,
            operators=tuple(self._operators),
            elements=self.elements,
            arrays=self._arrays,
            alarms=tuple(self._alarms),
            known=dict(sorted(self._known.items())),
            unanswered=tuple(self._unanswered),
            inconclusive=self._inconclusive,
            least={name: min(_finite(bits)) for name, bits in self._bits.items()},
            median={name: median_low(_finite(bits)) for name, bits in self._bits.items()},
            seconds=seconds,
        )


def _finite(bits: Sequence[float]) -> list[float]:
    """Bits of arrays in which anything differs at all."""
    return [number for number in bits if number != float("inf")] or [float("inf")]
