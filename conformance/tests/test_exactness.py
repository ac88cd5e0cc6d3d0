"""The reference is held to the definitions, and a reference that is wrong in any way is told."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conformance.case.job import Job
from conformance.case.operators import OPERATORS
from conformance.reference.magnitude import Magnitude, Magnitudes
from conformance.reference.operators import Reference
from conformance.run.handworked import HAND_WORKED, HandWorked, job_of
from conformance.run.mutate import item_of
from conformance.run.plan import question_of
from conformance.run.sampling import SMALL, draw
from conformance.tests.questions import CONV, MAX_POOL, RELU, item
from conformance.verdict import exactness, oracle, rational
from conformance.verdict.exactness import examine

# Whose mathematics has roots, exponentials or logarithms, or quotients of what is added.
IRRATIONAL = {
    *("sigmoid", "tanh", "softmax", "log_softmax", "elu", "selu", "gelu", "silu", "mish", "softplus", "softsign"),
    *("log_sigmoid", "softmax_cross_entropy", "adam", "glorot_uniform", "chain"),
}


def test_every_operator_has_a_definition_or_is_known_to_have_none() -> None:
    assert set(rational.DEFINITIONS) <= set(OPERATORS)
    assert set(OPERATORS) >= IRRATIONAL
    assert not set(rational.DEFINITIONS) & IRRATIONAL


@pytest.mark.parametrize("operator", rational.DEFINITIONS)
def test_the_reference_is_what_the_definition_says(operator: str) -> None:
    case = draw(operator, 11, seed=3, extent=SMALL)
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
