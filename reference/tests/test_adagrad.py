"""Adagrad's step against hand-worked numbers, loops over steps and single precision."""

from typing import Any

import numpy as np
import pytest

from conformance.reference.magnitude import Array
from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import normal32
from conformance.reference.tests.steps import MOST, assert_within, share_outside

F32 = np.float32

ADAGRAD = OPERATORS["adagrad"]
PLAIN: dict[str, Any] = {"learning_rate": 0.5, "epsilon": 0.0, "epsilon_inside": False, "initial": 0.0}


def test_by_hand() -> None:
    """V' = 9 + 16 = 25: the root is 5, 10 with epsilon 5 beside it, 6 with 11 under it."""
    operands = {"parameter": np.array([10.0]), "gradient": np.array([4.0]), "v": np.array([9.0])}
    beside, under = {"epsilon": 5.0}, {"epsilon": 11.0, "epsilon_inside": True}
    for change, parameter in (({}, 9.6), (beside, 9.8), (under, 29 / 3)):
        got = ADAGRAD.forward(**operands, **{**PLAIN, **change})
        # A division, a product and a difference of numbers of ten.
        np.testing.assert_allclose(got["parameter"], [parameter], rtol=3 * 2.0**-53)
        assert got["v"].tolist() == [25]


def test_a_first_step_starts_from_the_initial_sum() -> None:
    operands = {"parameter": np.array([1.0, 1.0]), "gradient": np.array([3.0, 0.0])}
    got = ADAGRAD.forward(**operands, **{**PLAIN, "initial": 16.0})
    # 1 - 0.5 * 3 / 5, within the roundings of one product and one difference.
    np.testing.assert_allclose(got["parameter"], [0.7, 1.0], rtol=3 * 2.0**-53)
    assert got["v"].tolist() == [25, 16]
    without = ADAGRAD.forward(**operands, **PLAIN)
    assert (without["parameter"][0], without["v"].tolist()) == (0.5, [9, 0])
    assert np.isnan(without["parameter"][1])  # 0 / 0


def test_steps_divide_by_the_root_of_all_their_squares() -> None:
    rng = np.random.default_rng(40)
    gradients, parameter = rng.normal(size=(6, 3)), np.zeros(3)
    v: Array | None = None
    for gradient in gradients:
        got = ADAGRAD.forward(parameter=parameter, gradient=gradient, v=v, **PLAIN)
        parameter, v = got["parameter"], got["v"]
    expected = np.zeros(3)
    for column in range(3):
        for t in range(6):
            gathered = sum(gradients[s, column] ** 2 for s in range(t + 1))
            expected[column] -= 0.5 * gradients[t, column] / np.sqrt(gathered)
    # Six steps, each of some ten roundings of numbers below 3.
    np.testing.assert_allclose(parameter, expected, rtol=0, atol=6 * 10 * 3 * 2.0**-53)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("initial", [None, 0.0, 0.1])
@pytest.mark.parametrize("reciprocal", [False, True])
def test_single_precision_lies_inside_the_bound(inside: bool, initial: float | None, reciprocal: bool) -> None:
    rng = np.random.default_rng(41)
    operands = {name: normal32(rng, (2000,)) for name in ("parameter", "gradient")}
    if initial is None:
        operands["v"] = rng.random(2000, dtype=F32).astype(np.float64)
    own = {"learning_rate": 0.1, "epsilon": 1e-3, "epsilon_inside": inside, "initial": initial or 0.0}
    attributes = {**PLAIN, **own}
    value, bound = ADAGRAD.forward(**operands, **attributes), ADAGRAD.magnitude(None, **operands, **attributes)
    p, g = (operands[name].astype(F32) for name in ("parameter", "gradient"))
    square = (operands["v"].astype(F32) if initial is None else F32(initial)) + g * g
    divisor = np.sqrt(square + F32(1e-3)) if inside else np.sqrt(square) + F32(1e-3)
    step = F32(0.1) * (g * (F32(1) / divisor)) if reciprocal else F32(0.1) * g / divisor
    assert_within(p - step, value["parameter"], bound.outputs["parameter"])
    assert_within(square, value["v"], bound.outputs["v"])
    moved = ADAGRAD.forward(**{**operands, "gradient": operands["gradient"] * (1 + 1e-2)}, **attributes)
    assert share_outside(moved["v"], value["v"], bound.outputs["v"]) > MOST
    shorter = ADAGRAD.forward(**operands, **{**attributes, "learning_rate": 0.0999})
    assert share_outside(shorter["parameter"], value["parameter"], bound.outputs["parameter"]) > MOST
    assert ADAGRAD.vjp({}, **operands, **attributes) == {}


def test_squares_that_are_flushed_lie_inside_the_bound() -> None:
    """The square of 1e-25 is 0 in single precision: epsilon alone divides."""
    gradient = np.array([1e-25, 2e-19, -3e-20]).astype(F32)
    operands = {"parameter": np.zeros(3), "gradient": gradient.astype(np.float64), "v": np.zeros(3)}
    attributes = {**PLAIN, "epsilon": 1e-10}
    value, bound = ADAGRAD.forward(**operands, **attributes), ADAGRAD.magnitude(None, **operands, **attributes)
    square = gradient * gradient
    square[square < np.finfo(F32).tiny] = 0
    got = -F32(0.5) * gradient / (np.sqrt(square) + F32(1e-10))
    assert_within(got, value["parameter"], bound.outputs["parameter"])


@pytest.mark.parametrize(
    ("change", "what"),
    [
        ({"gradient": np.ones(3)}, "gradient"),
        ({"v": np.ones(3)}, "v"),
        ({"v": None, "initial": -0.5}, "initial"),
        ({"initial": 0.5}, "initial"),
    ],
)
def test_impossible_questions_are_refused(change: dict[str, Any], what: str) -> None:
    two = np.ones(2)
    with pytest.raises(InvalidShape, match=what):
        ADAGRAD.forward(**{"parameter": two, "gradient": two, "v": two, **PLAIN, **change})
