"""How often each detector notices faults, and how often it calls honest answers wrong: one table, measured.

Every detector is asked alone about the same arrays. A *fault* is a variant of an operator: it is noticed when a
detector calls any output or gradient of any data set of any core case wrong, as the mutation score counts it, but for
random draws, which are judged as samples and by no tolerance. A
*single* fault moves one element of a correctly rounded array, the largest, away from zero by one part in a million;
wide integers make it visible where anything does. A *false alarm* is an honest array that is called wrong.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Final

import numpy as np

from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution
from conformance.case.job import Failure, Job, Outputs, Tensor
from conformance.case.model import Case, Check, FormatName, TensorSpec
from conformance.case.operators import OPERATORS
from conformance.formats import FORMATS, to_storage
from conformance.run.engine import Session
from conformance.run.mutate import answer_of, eligible, item_of, values
from conformance.run.plan import Item, question_of
from conformance.run.sampling import HERE, ORDINARY, Extent, drawn
from conformance.verdict import oracle, rational
from conformance.verdict.detectors import DETECTORS, Detector
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.verdict.summation import Shuffled
from conformance.verdict.variants import Variant, evaluate, variants_of

# The part by which a single element is wrong.
SINGLE: Final = 1e-6
# Honest answers to a question, each added in orders of its own, and questions of every operator.
SHUFFLES: Final = 16
HONEST: Final = Extent(images=2, channels=4, sides=(24, 7, 4), row=60)
# Sums as long as networks have them: the absolute tolerances of others are made for shorter ones.
LONG: Final = (
    ("dense", NoAttributes(), {"x": (2, 3000), "w": (3000, 3)}),
    ("conv2d", Convolution(padding="same"), {"x": (1, 6, 7, 64), "w": (3, 3, 64, 3)}),
)
_PLAIN: Final = Accumulators()


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What a detector said.

    Attributes:
        name, origin: the detector's.
        noticed, faults: variants that it noticed, of how many.
        singles, single_faults: arrays with one wrong element that it noticed, of how many.
        alarms, arrays: honest arrays that it called wrong, of how many.
        wrong, elements: the same by element.
    """

    name: str
    origin: str
    noticed: int = 0
    faults: int = 0
    singles: int = 0
    single_faults: int = 0
    alarms: int = 0
    arrays: int = 0
    wrong: int = 0
    elements: int = 0


Checked = tuple[Tensor, Expectation, str]
"""An array, what is expected of it, and the format."""


def scores(
    cases: Sequence[Case],
    honest: Iterable[Checked],
    *,
    format_: FormatName = "float32",
    detectors: Sequence[Detector] = DETECTORS,
) -> tuple[Score, ...]:
    """Asks every detector about the faults that cases show, and about honest arrays.

    Args:
        cases: those that the mutation score would ask.
        honest: see `shuffled_answers` and `answers_of`.
        format_: of the faults.
        detectors: who is asked.
    """
    found = {name: Score(name=name, origin=detector.origin) for name, detector in _named(detectors).items()}
    told = _Told(detectors)
    by_operator: dict[str, list[Case]] = {}
    for case in eligible(cases, format_):
        if not OPERATORS[case.operator].random:  # a sample has no element to hold against a tolerance
            by_operator.setdefault(case.operator, []).append(case)
    for operator, own in by_operator.items():
        told.ask(variants_of(operator, format_), own, format_)
    for name, score in found.items():
        found[name] = replace(
            score,
            noticed=told.noticed[name],
            faults=told.faults,
            singles=told.singles[name],
            single_faults=told.single_faults,
        )
    for tensor, expectation, stored in honest:
        for detector in detectors:
            before = found[detector.name]
            wrong = detector.outside(tensor, expectation, stored)
            count = tensor.data.size if wrong is None else int(wrong.sum())
            found[detector.name] = replace(
                before,
                alarms=before.alarms + (count > 0),
                arrays=before.arrays + 1,
                wrong=before.wrong + count,
                elements=before.elements + tensor.data.size,
            )
    return tuple(found.values())


# Faults -------------------------------------------------------------------------------------------------------------


def _named(detectors: Sequence[Detector]) -> dict[str, Detector]:
    return {detector.name: detector for detector in detectors}


class _Told:
    """What detectors say of variants and of single wrong elements, case by case."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        self._detectors = detectors
        self.noticed = dict.fromkeys(_named(detectors), 0)
        self.singles = dict.fromkeys(_named(detectors), 0)
        self.faults = 0
        self.single_faults = 0

    def ask(self, variants: Sequence[Variant], cases: Sequence[Case], format_: FormatName) -> None:
        """Puts an operator's variants to its cases; a detector that noticed one is not asked about it again."""
        self.faults += len(variants)
        blind = {variant.name: list(self._detectors) for variant in variants}
        for case in cases:
            shown: dict[str, set[str]] = {}
            for data in case.data:
                job = question_of(item_of(case, format_), data).job
                expected = oracle.expect(job, _PLAIN)
                self._single(expected, format_, shown)
                for variant in variants:
                    waiting = blind[variant.name]
                    found = evaluate((variant,), job, values) if waiting else None
                    if found is not None:
                        for detector in _seen(job, found, expected, waiting):
                            waiting.remove(detector)
                            self.noticed[detector.name] += 1
            self.single_faults += len(shown)
            for names in shown.values():
                for name in names:
                    self.singles[name] += 1

    def _single(self, expected: Expectations | MustRefuse, format_: FormatName, shown: dict[str, set[str]]) -> None:
        """Who notices one element off; an array of a case counts once, noticed if any data set shows it."""
        if isinstance(expected, MustRefuse):
            return
        for check, wanted in (("output", expected.outputs), ("gradient", expected.gradients)):
            for name, expectation in wanted.items():
                moved = _moved(expectation, format_)
                if moved is not None:
                    seen = shown.setdefault(f"{check} {name}", set())
                    seen |= {d.name for d in self._detectors if d.notices(moved, expectation, format_)}


def _seen(
    job: Job,
    found: Expectations | MustRefuse,
    expected: Expectations | MustRefuse,
    detectors: Sequence[Detector],
) -> list[Detector]:
    """Those who tell a variant's answer from what is expected."""
    answer = answer_of(job, found)
    if not isinstance(answer, Outputs) or isinstance(expected, MustRefuse):
        # One refuses where the other answers: nobody needs a tolerance for that.
        return [] if not isinstance(answer, Outputs) and isinstance(expected, MustRefuse) else list(detectors)
    arrays = list(_arrays(answer, expected, job.format))
    missing = len(arrays) < len(expected.outputs) + len(expected.gradients)
    return [detector for detector in detectors if missing or any(detector.notices(*checked) for _, checked in arrays)]


def _arrays(answer: Outputs, expected: Expectations, format_: str) -> Iterator[tuple[Check, Checked]]:
    both: tuple[tuple[Check, Mapping[str, Tensor | Failure], Mapping[str, Expectation]], ...] = (
        ("outputs", answer.outputs, expected.outputs),
        ("gradients", answer.gradients, expected.gradients),
    )
    for check, got, wanted in both:
        for name, expectation in wanted.items():
            tensor = got.get(name)
            if isinstance(tensor, Tensor):
                yield check, (tensor, expectation, format_)


def _moved(expectation: Expectation, format_: FormatName) -> Tensor | None:
    """The correctly rounded array with its largest finite element off by `SINGLE`; None where there is none."""
    numbers = np.array(expectation.value)
    sizes = np.where(np.isfinite(numbers), np.abs(numbers), 0.0)
    if not sizes.any():
        return None
    place = np.unravel_index(int(np.argmax(sizes)), sizes.shape)
    numbers[place] *= 1 + SINGLE
    stored = to_storage(numbers, FORMATS[format_])
    unmoved = to_storage(np.array(expectation.value), FORMATS[format_])
    return Tensor(format_, stored) if np.any(stored[place] != unmoved[place]) else None


# Honest answers -----------------------------------------------------------------------------------------------------


def shuffled_answers(questions: int, *, seed: int = 0, extent: Extent = HONEST) -> Iterator[Checked]:
    """Float32 NumPy, the terms of every element added in shuffled orders.

    The questions are random ones of every rational operator, and a few with long sums.
    Nobody is asked: what is honest here follows from the operators' definitions alone.
    """
    generator = np.random.Generator(np.random.Philox(key=seed))
    operators = tuple(rational.DEFINITIONS)
    source = drawn(operators, seed=seed, extent=extent, formats=("float32",))
    for case in (*_long(), *islice(source, questions * len(operators))):
        for data in case.data:
            job = question_of(item_of(case, "float32"), data).job
            expected = oracle.expect(job, _PLAIN)
            if isinstance(expected, MustRefuse) or not rational.is_defined(job):
                continue
            for sums, wanted in (
                (rational.outputs(job), expected.outputs),
                (rational.gradients(job) if job.cotangents else {}, expected.gradients),
            ):
                yield from _shuffled(sums, wanted, generator)


def _long() -> Iterator[Case]:
    for operator, attributes, shapes in LONG:
        yield Case(
            id=f"{operator}/long",
            operator=operator,
            attributes=OPERATORS[operator].resolve(attributes),
            inputs={name: TensorSpec(shape=shape) for name, shape in shapes.items()},
            data=("normal",),
            formats=("float32",),
            where=HERE,
        )


def _shuffled(
    sums: Mapping[str, rational.Sums], wanted: Mapping[str, Expectation], generator: np.random.Generator
) -> Iterator[Checked]:
    for name, expectation in wanted.items():
        honest = Shuffled(sums[name])
        for _ in range(SHUFFLES):
            stored = to_storage(honest.add(generator), FORMATS["float32"])
            yield Tensor("float32", stored), expectation, "float32"


def answers_of(
    session: Session, elements: int, *, seed: int = 0, formats: Sequence[FormatName] = ("float32", "float64")
) -> Iterator[Checked]:
    """What a target gives to random questions; where a deviation is on file for its answer, it is no honest one.

    Raises:
        TargetError: if the target's worker cannot be started again.
    """
    given = 0
    description = session.description
    operators = [name for name in rational.DEFINITIONS if name in description.operators]
    for case in drawn(operators, seed=seed, extent=ORDINARY, formats=tuple(formats)):
        for format_ in formats:
            item = Item(case=case, target=session.target, format=format_, layout="native")
            for data in case.data:
                asked = session.ask(item, data)
                if not isinstance(asked.answer, Outputs) or isinstance(asked.expected, MustRefuse):
                    continue
                for check, checked in _arrays(asked.answer, asked.expected, format_):
                    if not _on_file(session, case, format_, check):
                        given += checked[0].data.size
                        yield checked
        if given >= elements:
            return


def _on_file(session: Session, case: Case, format_: FormatName, check: Check) -> bool:
    return any(
        deviation.covers(case.id, session.target, format_, check, session.description)
        for deviation in session.deviations
    )
