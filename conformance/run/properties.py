"""Asks a target what the properties of operators need, and tells which hold."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Final

from conformance.case.job import Description, Job, Outputs
from conformance.case.model import Case, FormatName
from conformance.run.engine import Session
from conformance.run.plan import Item, question_of
from conformance.run.sampling import ORDINARY, SAMPLERS, Extent, draw
from conformance.verdict.deviations import is_absent
from conformance.verdict.judge import describe
from conformance.verdict.model import Comparison, Reason
from conformance.verdict.oracle import Expectations
from conformance.verdict.properties import PROPERTIES, Measured, Property

FORMATS_ASKED: Final[tuple[FormatName, ...]] = ("float32",)
# Questions of every operator that a property is tried on, and random ones that it may pass over until it finds them
# (a convolution has several groups in every second one).
QUESTIONS: Final = 3
DRAWS: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Held:
    """What became of a property.

    Attributes:
        name, sentence: the property's.
        operators: on which it was seen to hold, or broken.
        questions: that were compared.
        elements: numbers that were compared, and how many arrays of them were equal to the last bit.
        unanswered: questions that the target refused or gives no gradient of.
        broken: where it does not hold, in words.
    """

    name: str
    sentence: str
    operators: tuple[str, ...]
    questions: int
    arrays: int
    exact: int
    elements: int
    unanswered: int
    broken: tuple[str, ...]


def check_properties(
    session: Session,
    *,
    seed: int = 0,
    questions: int = QUESTIONS,
    extent: Extent = ORDINARY,
    formats: Sequence[FormatName] = FORMATS_ASKED,
    properties: Sequence[Property] = PROPERTIES,
) -> tuple[Held, ...]:
    """Tries every property on random questions of every operator that it covers and that a target has.

    Raises:
        TargetError: if the target's worker cannot be started again.
    """
    return tuple(_held(session, each, seed, questions, extent, formats) for each in properties)


def applies_to(tried: Property, description: Description) -> bool:
    """Whether a property asks nothing that a target says it does not have."""
    return description.forward_mode or not tried.forward


def _held(
    session: Session,
    tried: Property,
    seed: int,
    questions: int,
    extent: Extent,
    formats: Sequence[FormatName],
) -> Held:
    arrays = exact = elements = unanswered = asked = 0
    operators: list[str] = []
    broken: list[str] = []
    for operator in SAMPLERS:
        if not tried.covers(operator) or not _has(session, operator):
            continue
        found = 0
        for number in range(DRAWS):
            if found == questions:
                break
            case = draw(operator, number, seed=seed, extent=extent)
            compared = try_property(session, tried, case, formats)
            if compared is None:
                continue
            found += 1
            if not compared:
                unanswered += 1
                continue
            asked += 1
            arrays += len(compared)
            exact += sum(comparison.reason is Reason.EXACT for comparison in compared)
            elements += sum(prod(comparison.expected_shape) for comparison in compared)
            broken += [f"{case.id}: {describe(comparison)}" for comparison in compared if not comparison.within]
            operators += [] if operator in operators else [operator]
    return Held(
        name=tried.name,
        sentence=tried.sentence,
        operators=tuple(operators),
        questions=asked,
        arrays=arrays,
        exact=exact,
        elements=elements,
        unanswered=unanswered,
        broken=tuple(broken),
    )


def try_property(
    session: Session, tried: Property, case: Case, formats: Sequence[FormatName]
) -> list[Comparison] | None:
    """Compares what a property makes of a case; None where it says nothing about it, nothing where answers lack."""
    if not applies_to(tried, session.description):
        return None
    compared: list[Comparison] = []
    applies = False
    gradients = not is_absent((case.operator,), "gradients", session.description)
    for format_ in formats:
        for data in case.data:
            item = Item(case=case, target=session.target, format=format_, layout="native")
            job = question_of(item, data, gradients=gradients, tangents=tried.forward).job
            jobs = tried.jobs(job)
            if jobs is None:
                continue
            applies = True
            found = [measured for made in jobs if (measured := _measured(session, made)) is not None]
            if len(found) == len(jobs):
                compared += tried.compares(job, found)
    return compared if applies else None


def _measured(session: Session, job: Job) -> Measured | None:
    if not _has(session, job.operator):
        return None
    asked = session.ask_job(job)
    if not isinstance(asked.answer, Outputs) or not isinstance(asked.expected, Expectations):
        return None
    return Measured(job=job, answer=asked.answer, bounds=asked.expected)


def _has(session: Session, operator: str) -> bool:
    description = session.description
    return operator in description.operators and not is_absent((operator,), "outputs", description)
