"""Polynomials against numpy.polyval, rational arithmetic and single-precision evaluations."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.reference import polynomial
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import normal32
from conformance.reference.tests.steps import MOST, assert_equal_in_float64, assert_within, share_outside

COEFFICIENTS = st.lists(st.floats(-100, 100), min_size=1, max_size=7)


@settings(deadline=None, max_examples=60)
@given(coefficients=COEFFICIENTS, points=st.lists(st.floats(-8, 8), min_size=1, max_size=4))
def test_equals_rational_arithmetic(coefficients: list[float], points: list[float]) -> None:
    x, degree = np.array(points), len(coefficients) - 1
    g = np.arange(1.0, len(points) + 1)
    bound = polynomial.magnitude({"output": g}, x=x, coefficients=coefficients)
    value, slope = np.zeros(x.shape), np.zeros(x.shape)
    for at, point in enumerate(points):
        powers = [(degree - i, Fraction(c)) for i, c in enumerate(coefficients)]
        value[at] = float(sum(c * Fraction(point) ** k for k, c in powers))
        slope[at] = float(sum((at + 1) * k * c * Fraction(point) ** (k - 1) for k, c in powers if k))
    got = polynomial.forward(x=x, coefficients=coefficients)["output"]
    assert_equal_in_float64(got, value, bound.outputs["output"])
    got = polynomial.vjp({"output": g}, x=x, coefficients=coefficients)["x"]
    assert_equal_in_float64(got, slope, bound.gradients["x"])


def test_by_hand_and_as_numpy() -> None:
    x = np.array([[0.0, 1.0, 2.0], [-1.0, 3.0, 0.5]])
    coefficients = (2.0, 0.0, -3.0, 1.0)
    got = polynomial.forward(x=x, coefficients=coefficients)["output"]
    assert got.tolist() == [[1, 0, 11], [2, 46, -0.25]]
    assert np.array_equal(got, np.polyval(coefficients, x))
    gradient = polynomial.vjp({"output": np.full(x.shape, 2.0)}, x=x, coefficients=coefficients)["x"]
    assert gradient.tolist() == [[-6, 6, 42], [6, 102, -3]]


def test_infinite_and_constant() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 1.0])
    got = polynomial.forward(x=x, coefficients=(1.0, 0.0, 2.0))["output"]
    assert np.array_equal(got, [np.inf, np.inf, np.nan, 3], equal_nan=True)
    assert polynomial.forward(x=x, coefficients=(4.0,))["output"].tolist() == [4, 4, 4, 4]
    assert polynomial.vjp({"output": x}, x=x, coefficients=(4.0,))["x"].tolist() == [0, 0, 0, 0]
    bound = polynomial.magnitude({"output": x}, x=x, coefficients=(4.0,))
    assert np.isfinite(bound.outputs["output"].absolute).all()
    assert not bound.gradients["x"].absolute.any()


def single_values(x: Array, coefficients: list[np.float32]) -> list[Array]:
    horner = np.full(x.shape, coefficients[0])
    for c in coefficients[1:]:
        horner = horner * x + c
    power, terms = np.ones_like(x), []
    for c in reversed(coefficients):
        terms.append(c * power)
        power = power * x
    up, down = np.zeros_like(x), np.zeros_like(x)
    for term in terms:
        up = up + term
    for term in reversed(terms):
        down = down + term
    return [horner, up, down]


def single_slope_by_the_chain_rule(x: Array, g: Array, coefficients: list[np.float32]) -> Array:
    partial = [np.full(x.shape, coefficients[0])]
    for c in coefficients[1:]:
        partial.append(partial[-1] * x + c)
    slope = np.zeros_like(x)
    for value in reversed(partial[:-1]):
        slope = slope + g * value
        g = g * x
    return slope


@pytest.mark.parametrize("degree", [1, 2, 5, 9])
def test_single_precision_lies_inside_the_bound(degree: int) -> None:
    rng = np.random.default_rng(12)
    x, g = normal32(rng, (2000,)), normal32(rng, (2000,))
    coefficients = rng.standard_normal(degree + 1).tolist()
    value = polynomial.forward(x=x, coefficients=coefficients)["output"]
    slope = polynomial.vjp({"output": g}, x=x, coefficients=coefficients)["x"]
    bound = polynomial.magnitude({"output": g}, x=x, coefficients=coefficients)
    x32, g32, rounded = x.astype(np.float32), g.astype(np.float32), [np.float32(c) for c in coefficients]
    for got in single_values(x32, rounded):
        assert_within(got, value, bound.outputs["output"])
    derivative = [np.float32(degree - i) * c for i, c in enumerate(rounded[:-1])]
    for got in single_values(x32, derivative):
        assert_within(g32 * got, slope, bound.gradients["x"])
    assert_within(single_slope_by_the_chain_rule(x32, g32, rounded), slope, bound.gradients["x"])
    coefficients[0] *= 1 + 1e-3
    moved = polynomial.forward(x=x, coefficients=coefficients)["output"]
    # Powers of a small x hide the leading coefficient, honestly.
    large = np.abs(x) > 0.75
    bound = polynomial.magnitude({"output": g[large]}, x=x[large], coefficients=coefficients)
    assert share_outside(moved[large], value[large], bound.outputs["output"]) > MOST
    moved = polynomial.vjp({"output": g}, x=x, coefficients=coefficients)["x"]
    assert share_outside(moved[large], slope[large], bound.gradients["x"]) > MOST


def test_no_coefficients_are_refused() -> None:
    with pytest.raises(InvalidShape, match="coefficients"):
        polynomial.forward(x=np.zeros(2), coefficients=())
