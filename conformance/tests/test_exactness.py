"""The reference is held to the definitions, and a reference that is wrong in any way is told."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from fractions import Fraction
from itertools import count, pairwise
from math import prod
from typing import Any

import numpy as np
import pytest

from conformance.case.families.pooling import MaxPool
from conformance.case.families.resizing import Resize
from conformance.case.families.windows import LpPool
from conformance.case.job import Job
from conformance.case.model import Case, TensorSpec
from conformance.case.operators import OPERATORS, operand_of
from conformance.reference.magnitude import Magnitude, Magnitudes
from conformance.reference.operators import Reference
from conformance.run.handworked import HAND_WORKED, HandWorked, job_of
from conformance.run.mutate import item_of
from conformance.run.plan import question_of
from conformance.run.sampling import SMALL, Dice, draw
from conformance.tests.questions import CONV, MAX_POOL, RELU, item
from conformance.verdict import exactness, oracle, rational
from conformance.verdict.exactness import examine
from conformance.verdict.rational import Array, Index

# Finer than any difference between numbers of the data sets and the places where a definition changes its piece.
STEP = Fraction(1, 2**80)


def test_every_operator_has_a_definition_or_a_reason_for_having_none() -> None:
    missing = set(OPERATORS) - set(rational.DEFINITIONS) - set(rational.IRRATIONAL)
    assert not missing, f"conformance/verdict/rational.py neither defines nor calls irrational: {sorted(missing)}"
    assert not set(rational.DEFINITIONS) & set(rational.IRRATIONAL)
    assert set(rational.DEFINITIONS) | set(rational.IRRATIONAL) == set(OPERATORS)
    assert all(rational.IRRATIONAL.values())


def defined(operator: str, *, seed: int, first: int = 0) -> Case:
    """The first random question of an operator that has a definition."""
    cases = (draw(operator, number, seed=seed, extent=SMALL) for number in count(first))
    return next(case for case in cases if rational.is_defined(question_of(item_of(case, "float32"), "normal").job))


def evaluated(job: Job, operands: Mapping[str, Array]) -> dict[Index, Fraction]:
    """The output of a definition for any fractions, and no gradients."""
    shape, elements = rational.DEFINITIONS[job.operator](job.attributes, operands)
    return {
        at: sum(
            (
                each.factor * prod(operands[name][index] for name, index in each.places) / each.divisor
                for each in elements.get(at, ())
            ),
            Fraction(0),
        )
        for at in rational.indices(shape)
    }


def degree(job: Job, operands: Mapping[str, Array]) -> int:
    _, elements = rational.DEFINITIONS[job.operator](job.attributes, operands)
    return max((len(each.places) for products in elements.values() for each in products), default=0)


@pytest.mark.parametrize("operator", [name for name in rational.DEFINITIONS if name != "sgd"])  # a step has none
def test_gradients_are_the_exact_slopes_of_the_values(operator: str) -> None:
    """A polynomial of degree d has its slope at 0 from d differences: h p'(0) = D p - D^2 p / 2 + D^3 p / 3 - ..."""
    job = question_of(item_of(defined(operator, seed=5), "float64"), "normal").job
    operands = {name: Array.of(tensor) for name, tensor in job.operands.items()}
    moving = [name for name in operands if operand_of(operator, job.attributes, name).kind == "float"]
    words = Dice(7, operator)
    direction = {name: {at: words.integer(-3, 3) for at in operands[name].numbers} for name in moving}
    most = degree(job, operands)

    def moved(steps: int) -> Fraction:
        """The cotangent times the values so many steps away."""
        there = {
            name: Array(
                array.shape,
                {at: x + steps * STEP * direction.get(name, {}).get(at, 0) for at, x in array.numbers.items()},
            )
            for name, array in operands.items()
        }
        (cotangent,) = (Array.of(tensor) for tensor in job.cotangents.values())
        return sum((cotangent[at] * value for at, value in evaluated(job, there).items()), Fraction(0))

    differences = [moved(steps) for steps in range(most + 1)]
    slope = Fraction(0)
    for order in range(1, most + 1):
        differences = [after - before for before, after in pairwise(differences)]
        slope += Fraction((-1) ** (order + 1), order) * differences[0]
    pulled = rational.gradients(job)
    by_rule = sum(
        direction[name][at] * term.value
        for name in moving
        for at, terms in pulled[name].terms.items()
        for term in terms
    )
    assert slope / STEP == by_rule


def test_what_has_no_finite_rational_answer_has_no_definition() -> None:
    norm = Case(
        id="lp_pool2d/root",
        operator="lp_pool2d",
        attributes=LpPool(window=(2, 2), stride=(2, 2), p=2),
        inputs={"x": TensorSpec(shape=(1, 4, 4, 1))},
        where=CONV.where,
    )
    sums = replace(norm, attributes=replace(norm.attributes, p=1))
    # Two taps, three apart, from the second pad on: both lie beyond the one element.
    around = MaxPool(window=(2,), stride=(1,), dilation=(3,), padding=((2, 2),))
    beside = Case(
        id="max_pool1d/beside",
        operator="max_pool1d",
        attributes=around,
        inputs={"x": TensorSpec(shape=(1, 1, 1))},
        where=CONV.where,
    )
    jobs = [question_of(item_of(case, "float32"), "normal").job for case in (norm, sums, beside)]
    assert [rational.is_defined(job) for job in jobs] == [False, True, False]


@pytest.mark.parametrize(("coefficient", "edge"), [(-0.75, "clamp"), (-0.5, "renormalize"), (-0.3, "clamp")])
@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_weights_of_interpolation_make_one(method: str, coefficient: float, edge: str) -> None:
    attributes = Resize(size=(1, 1), method=method, coefficient=coefficient, edge=edge)  # type: ignore[arg-type]
    for n, m in ((5, 8), (8, 5), (1, 3), (3, 1), (2, 7)):
        for output in range(m):
            assert sum(weight for _, weight in rational._weights(n, m, output, attributes)) == 1


@pytest.mark.parametrize("operator", rational.DEFINITIONS)
def test_the_reference_is_what_the_definition_says(operator: str) -> None:
    case = defined(operator, seed=3, first=11)
    for data in case.data:
        found = examine(question_of(item_of(case, "float32"), data).job)
        assert found.faults == ()
        assert found.arrays
        assert found.elements
        assert found.sums
        assert found.share <= 1


@pytest.mark.parametrize(
    "entry", [entry for entry in HAND_WORKED if entry.operator in rational.DEFINITIONS], ids=lambda e: e.operator
)
def test_definitions_give_what_was_worked_out_by_hand(entry: HandWorked) -> None:
    job = job_of(entry)
    (output,) = rational.outputs(job).values()
    assert [float(sum(t.value for t in terms)) for terms in output.terms.values()] == np.ravel(entry.output).tolist()
    if entry.gradients:
        pulled = rational.gradients(job)
        for name, by_hand in entry.gradients.items():
            sums = [float(sum(term.value for term in terms)) for terms in pulled[name].terms.values()]
            assert sums == np.ravel(by_hand).tolist()


def spoiled(
    monkeypatch: pytest.MonkeyPatch, operator: str, change: Callable[[Reference], Reference], job: Job
) -> tuple[str, ...]:
    table = {**oracle.REFERENCE, operator: change(oracle.REFERENCE[operator])}
    for module in (oracle, exactness):
        monkeypatch.setattr(module, "REFERENCE", table)
    return examine(job).faults


def on_values(spoil: Callable[[np.ndarray], np.ndarray], *, gradients: bool = False) -> Callable[..., Reference]:
    def change(reference: Reference) -> Reference:
        def forward(**given: Any) -> dict[str, Any]:
            return {name: spoil(value) for name, value in reference.forward(**given).items()}

        def vjp(cotangents: Any, **given: Any) -> dict[str, Any]:
            return {name: spoil(value) for name, value in reference.vjp(cotangents, **given).items()}

        return replace(reference, vjp=vjp) if gradients else replace(reference, forward=forward)

    return change


def on_sizes(spoil: Callable[[Magnitude], Magnitude]) -> Callable[[Reference], Reference]:
    def change(reference: Reference) -> Reference:
        def magnitude(cotangents: Any, **given: Any) -> Magnitudes:
            found = reference.magnitude(cotangents, **given)
            return Magnitudes(
                outputs={name: spoil(size) for name, size in found.outputs.items()}, gradients=found.gradients
            )

        return replace(reference, magnitude=magnitude)

    return change


def one_off(value: np.ndarray) -> np.ndarray:
    """The largest element by 2^-44 of itself: beyond what a hundred roundings in float64 may cost."""
    changed = value.copy()
    changed[np.unravel_index(int(np.argmax(value)), value.shape)] *= 1 + 2.0**-44
    return changed


def one_column_less(m: Magnitude) -> Magnitude:
    return Magnitude(terms=m.terms[:, :, :-1], absolute=m.absolute[:, :, :-1], underflow=m.underflow[:, :, :-1])


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (on_values(one_off), "off by"),
        (on_values(one_off, gradients=True), "off by"),
        (lambda reference: on_sizes(one_column_less)(on_values(lambda v: v[:, :, :-1])(reference)), "has shape"),
        (on_sizes(lambda m: replace(m, terms=m.terms / 2)), "there are chains of"),
        (on_sizes(lambda m: replace(m, absolute=m.absolute * (1 - 1e-6))), "S is"),
        (on_sizes(lambda m: replace(m, absolute=m.absolute * (1 + 1e-6))), "S is"),
        (on_sizes(lambda m: replace(m, terms=m.terms / 64, absolute=m.absolute / 64)), "lies outside"),
    ],
)
def test_a_reference_that_is_a_little_wrong_is_told(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Reference], Reference], told: str
) -> None:
    job = question_of(item(CONV), "normal").job
    assert examine(job).faults == ()
    found = spoiled(monkeypatch, "conv2d", change, job)
    assert any(told in fault for fault in found), found


def test_what_is_called_exact_must_be(monkeypatch: pytest.MonkeyPatch) -> None:
    job = question_of(item(RELU), "normal").job
    assert examine(job).faults == ()
    assert spoiled(monkeypatch, "relu", on_values(one_off), job)


def test_a_gradient_that_goes_to_another_element_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    job = question_of(item(MAX_POOL), "normal").job
    assert examine(job).faults == ()
    assert spoiled(monkeypatch, "max_pool2d", on_values(lambda v: np.flip(v, 1), gradients=True), job)
