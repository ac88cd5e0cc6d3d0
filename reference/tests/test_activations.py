"""Activations against their definitions, the complex step and single-precision formulas."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from conformance.reference import activations
from conformance.reference.magnitude import Array, Outputs
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import normal32
from conformance.reference.tests.steps import (
    MOST,
    assert_equal_in_float64,
    assert_equal_to_the_step,
    assert_within,
    bfloat16,
    complex_step,
    share_outside,
)


def sigmoid_formula(*, x: Array) -> dict[str, Any]:
    return {"output": 1 / (1 + np.exp(-x))}


def tanh_formula(*, x: Array) -> dict[str, Any]:
    return {"output": np.tanh(x)}


def softmax_formula(x: Array, axis: int) -> dict[str, Any]:
    shifted = np.exp(x - x.real.max(axis=axis, keepdims=True))
    return {"output": shifted / shifted.sum(axis=axis, keepdims=True)}


def test_relu_by_hand() -> None:
    x = np.array([-2.0, -0.0, 0.0, 3.0, np.inf, -np.inf, np.nan])
    assert np.array_equal(activations.relu_forward(x=x)["output"], [0, 0, 0, 3, np.inf, 0, np.nan], equal_nan=True)
    gradient = activations.relu_vjp({"output": np.arange(1.0, 8.0)}, x=x)["x"]
    assert gradient.tolist() == [0, 0, 0, 4, 5, 0, 0]


def test_relu_is_exact() -> None:
    x = np.array([-1.0, 2.0])
    magnitudes = activations.relu_magnitude({"output": x}, x=x)
    for magnitude in (magnitudes.outputs["output"], magnitudes.gradients["x"]):
        assert not magnitude.radius(unit_roundoff=0.5, smallest_normal=1.0).any()
    assert activations.relu_magnitude(None, x=x).gradients == {}


@pytest.mark.parametrize(("name", "formula"), [("sigmoid", sigmoid_formula), ("tanh", tanh_formula)])
def test_gradients_equal_the_complex_step(name: str, formula: Any) -> None:
    rng = np.random.default_rng(1)
    x, g = 3 * rng.standard_normal((5, 7)), rng.standard_normal((5, 7))
    magnitudes = getattr(activations, f"{name}_magnitude")({"output": g}, x=x)
    got = getattr(activations, f"{name}_forward")(x=x)["output"]
    assert_equal_in_float64(got, formula(x=x)["output"], magnitudes.outputs["output"])
    gradient = getattr(activations, f"{name}_vjp")({"output": g}, x=x)["x"]
    expected = complex_step(formula, {"x": x}, "x", {"output": g})
    assert_equal_in_float64(gradient, expected, magnitudes.gradients["x"])


def test_sigmoid_and_tanh_keep_small_values_and_slopes() -> None:
    x = np.array([-700.0, -40.0, 40.0, 300.0])
    assert np.allclose(activations.sigmoid_forward(x=x)["output"], special.expit(x), rtol=2.0**-50, atol=0)
    slope = activations.sigmoid_vjp({"output": np.ones(4)}, x=x)["x"]
    assert np.allclose(slope, special.expit(x) * special.expit(-x), rtol=2.0**-49, atol=0)
    slope = activations.tanh_vjp({"output": np.ones(4)}, x=x)["x"]
    # The logarithm of cosh is |x| - log 2 out here; its exponential magnifies the rounding of 2 |x| by 600.
    assert np.allclose(slope, 4 * np.exp(-2 * np.abs(x)), rtol=700 * 2.0**-52, atol=0)


def test_sigmoid_and_tanh_of_special_values() -> None:
    x = np.array([np.inf, -np.inf, np.nan, 0.0])
    assert np.array_equal(activations.sigmoid_forward(x=x)["output"], [1, 0, np.nan, 0.5], equal_nan=True)
    assert np.array_equal(activations.tanh_forward(x=x)["output"], [1, -1, np.nan, 0], equal_nan=True)
    g = {"output": np.full(4, 2.0)}
    assert np.array_equal(activations.sigmoid_vjp(g, x=x)["x"], [0, 0, np.nan, 0.5], equal_nan=True)
    assert np.array_equal(activations.tanh_vjp(g, x=x)["x"], [0, 0, np.nan, 2], equal_nan=True)
    for magnitude in (activations.sigmoid_magnitude, activations.tanh_magnitude):
        both = magnitude(g, x=x)
        for part in (both.outputs["output"], both.gradients["x"]):
            finite = np.isfinite(part.radius(unit_roundoff=2.0**-24, smallest_normal=2.0**-126))
            assert finite[[0, 1, 3]].all()


def single_sigmoids(x: Array, g: Array) -> list[tuple[Array, Array]]:
    one, t = np.float32(1), np.exp(-np.abs(x))
    by_exponential = one / (one + np.exp(-x))
    by_tanh = np.where(x < 0, t, one) / (one + t)
    return [
        (by_exponential, g * (by_exponential * (one - by_exponential))),
        (by_exponential, (g * by_exponential) * (one - by_exponential)),
        (by_tanh, g * (t / ((one + t) * (one + t)))),
    ]


def single_tanhs(x: Array, g: Array) -> list[tuple[Array, Array]]:
    one, t = np.float32(1), np.tanh(x)
    return [
        (t, g * (one - t * t)),
        (t, (g + g * t) * (one - t)),
        (t, g * ((one - t) * (one + t))),
        (t, g / np.cosh(x) ** np.float32(2)),
    ]


@pytest.mark.parametrize(("name", "singles"), [("sigmoid", single_sigmoids), ("tanh", single_tanhs)])
def test_single_precision_lies_inside_the_bound(name: str, singles: Any) -> None:
    rng = np.random.default_rng(2)
    x = np.concatenate([normal32(rng, (4000,)), 8 * normal32(rng, (4000,))])
    g = normal32(rng, x.shape)
    value = getattr(activations, f"{name}_forward")(x=x)["output"]
    gradient = getattr(activations, f"{name}_vjp")({"output": g}, x=x)["x"]
    bound = getattr(activations, f"{name}_magnitude")({"output": g}, x=x)
    for output, pulled in singles(x.astype(np.float32), g.astype(np.float32)):
        assert_within(output, value, bound.outputs["output"])
        assert_within(pulled, gradient, bound.gradients["x"])


@pytest.mark.parametrize("name", ["sigmoid", "tanh"])
def test_rounded_inputs_lie_outside_the_bound(name: str) -> None:
    rng = np.random.default_rng(3)
    x, g = normal32(rng, (4000,)), {"output": normal32(rng, (4000,))}
    forward, vjp = getattr(activations, f"{name}_forward"), getattr(activations, f"{name}_vjp")
    bound = getattr(activations, f"{name}_magnitude")(g, x=x)
    for moved in (x * (1 + 1e-3), bfloat16(x)):
        value, gradient = forward(x=x)["output"], vjp(g, x=x)["x"]
        assert share_outside(forward(x=moved)["output"], value, bound.outputs["output"]) > MOST
        assert share_outside(vjp(g, x=moved)["x"], gradient, bound.gradients["x"]) > MOST


@settings(deadline=None, max_examples=30)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    axis=st.integers(-3, 2),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([1.0, 30.0]),
)
def test_softmax_equals_definition_and_complex_step(shape: list[int], axis: int, seed: int, spread: float) -> None:
    axis = axis % len(shape) - (len(shape) if axis < 0 else 0)
    rng = np.random.default_rng(seed)
    x, g = spread * rng.standard_normal(shape), rng.standard_normal(shape)
    bound = activations.softmax_magnitude({"output": g}, x=x, axis=axis)
    value = activations.softmax_forward(x=x, axis=axis)["output"]
    assert_equal_in_float64(value, special.softmax(x, axis=axis), bound.outputs["output"])
    gradient = activations.softmax_vjp({"output": g}, x=x, axis=axis)["x"]
    expected = complex_step(lambda x: softmax_formula(x, axis), {"x": x}, "x", {"output": g})
    assert_equal_in_float64(gradient, expected, bound.gradients["x"])


def test_softmax_by_hand() -> None:
    x = np.log(np.array([[1.0, 2.0, 5.0], [3.0, 3.0, 2.0]]))
    expected = np.array([[0.125, 0.25, 0.625], [0.375, 0.375, 0.25]])
    # A logarithm of at most 1.7 carries one rounding into the exponent; a few more follow.
    assert np.allclose(activations.softmax_forward(x=x, axis=1)["output"], expected, rtol=2.0**-48, atol=0)


def test_softmax_of_special_values() -> None:
    x = np.array([[np.inf, 0, 1], [-np.inf, 0, 0], [-np.inf, -np.inf, -np.inf], [np.nan, 0, 0], [1e30, -1e30, 1e30]])
    expected = np.full((5, 3), np.nan)
    expected[1] = 0, 0.5, 0.5
    expected[4] = 0.5, 0, 0.5
    value = activations.softmax_forward(x=x, axis=1)["output"]
    assert np.array_equal(value, expected, equal_nan=True)
    g = {"output": np.ones((5, 3))}
    bound = activations.softmax_magnitude(g, x=x, axis=1)
    for part in (bound.outputs["output"], bound.gradients["x"]):
        assert np.isfinite(part.radius(unit_roundoff=2.0**-24, smallest_normal=2.0**-126)[[1, 4]]).all()


def single_softmaxes(x: Array, g: Array) -> list[tuple[Array, Array]]:
    e = np.exp(x - x.max(axis=1, keepdims=True))
    one = np.float32(1)
    in_order = e.cumsum(axis=1, dtype=np.float32)[:, -1:]
    backwards = e[:, ::-1].cumsum(axis=1, dtype=np.float32)[:, -1:]
    results = []
    for total in (e.sum(axis=1, keepdims=True), in_order, backwards):
        for p in (e / total, e * (one / total)):
            dot = (g * p).cumsum(axis=1, dtype=np.float32)[:, -1:]
            results += [(p, p * (g - dot)), (p, p * g - p * dot)]
    return results


@pytest.mark.parametrize("classes", [1, 2, 10, 300])
@pytest.mark.parametrize(("spread", "offset"), [(1.0, 0.0), (60.0, 0.0), (1.0, 1000.0)])
def test_single_precision_softmax_lies_inside_the_bound(classes: int, spread: float, offset: float) -> None:
    rng = np.random.default_rng(4)
    x = (spread * normal32(rng, (40, classes)) + offset).astype(np.float32).astype(np.float64)
    g = normal32(rng, x.shape)
    value = activations.softmax_forward(x=x, axis=1)["output"]
    gradient = activations.softmax_vjp({"output": g}, x=x, axis=1)["x"]
    bound = activations.softmax_magnitude({"output": g}, x=x, axis=1)
    for output, pulled in single_softmaxes(x.astype(np.float32), g.astype(np.float32)):
        assert_within(output, value, bound.outputs["output"])
        assert_within(pulled, gradient, bound.gradients["x"])


def test_rounded_logits_lie_outside_the_bound() -> None:
    rng = np.random.default_rng(5)
    x, g = normal32(rng, (300, 10)), {"output": normal32(rng, (300, 10))}
    bound = activations.softmax_magnitude(g, x=x, axis=1)
    value, gradient = activations.softmax_forward(x=x, axis=1)["output"], activations.softmax_vjp(g, x=x, axis=1)["x"]
    for moved in (x * (1 + 1e-3), bfloat16(x)):
        got = activations.softmax_forward(x=moved, axis=1)["output"]
        assert share_outside(got, value, bound.outputs["output"]) > MOST
        got = activations.softmax_vjp(g, x=moved, axis=1)["x"]
        assert share_outside(got, gradient, bound.gradients["x"]) > MOST


@settings(deadline=None, max_examples=20)
@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    axis=st.integers(-3, 2),
    seed=st.integers(0, 2**32 - 1),
    spread=st.sampled_from([1.0, 30.0]),
)
def test_log_softmax_equals_scipy_and_complex_step(shape: list[int], axis: int, seed: int, spread: float) -> None:
    axis = axis % len(shape) - (len(shape) if axis < 0 else 0)
    rng = np.random.default_rng(seed)
    x, g = spread * rng.standard_normal(shape), rng.standard_normal(shape)
    bound = activations.log_softmax_magnitude({"output": g}, x=x, axis=axis)
    value = activations.log_softmax_forward(x=x, axis=axis)["output"]
    assert_equal_in_float64(value, special.log_softmax(x, axis=axis), bound.outputs["output"])
    gradient = activations.log_softmax_vjp({"output": g}, x=x, axis=axis)["x"]

    def formula(x: Array) -> dict[str, Any]:
        shifted = x - x.real.max(axis=axis, keepdims=True)
        return {"output": shifted - np.log(np.exp(shifted).sum(axis=axis, keepdims=True))}

    assert_equal_to_the_step(gradient, complex_step(formula, {"x": x}, "x", {"output": g}), bound.gradients["x"])


def test_log_softmax_by_hand() -> None:
    x = np.array([[1000.0, 0.0, -1000.0], [0.0, 0.0, -np.inf]])
    got = activations.log_softmax_forward(x=x, axis=1)["output"]
    assert np.allclose(got, [[0, -1000, -2000], [-np.log(2), -np.log(2), -np.inf]], rtol=2.0**-50, atol=0)


def single_log_softmaxes(x: Array, g: Array) -> list[tuple[Array, Array]]:
    largest = x.max(axis=1, keepdims=True)
    shifted = x - largest
    exponential = np.exp(shifted)
    total = exponential.cumsum(axis=1, dtype=np.float32)[:, -1:]
    summed = g.cumsum(axis=1, dtype=np.float32)[:, -1:]
    by_quotient, by_value = g + exponential * (-summed / total), g - np.exp(shifted - np.log(total)) * summed
    return [(shifted - np.log(total), by_value), (x - (largest + np.log(total)), by_quotient)]


@pytest.mark.parametrize("classes", [1, 2, 10, 300])
@pytest.mark.parametrize(("spread", "offset"), [(1.0, 0.0), (60.0, 0.0), (1.0, 1000.0)])
def test_single_precision_log_softmax_lies_inside_the_bound(classes: int, spread: float, offset: float) -> None:
    rng = np.random.default_rng(6)
    x = (spread * normal32(rng, (40, classes)) + offset).astype(np.float32).astype(np.float64)
    g = normal32(rng, x.shape)
    value = activations.log_softmax_forward(x=x, axis=1)["output"]
    gradient = activations.log_softmax_vjp({"output": g}, x=x, axis=1)["x"]
    bound = activations.log_softmax_magnitude({"output": g}, x=x, axis=1)
    for output, pulled in single_log_softmaxes(x.astype(np.float32), g.astype(np.float32)):
        assert_within(output, value, bound.outputs["output"])
        assert_within(pulled, gradient, bound.gradients["x"])


def test_rounded_logits_lie_outside_the_bound_of_log_softmax() -> None:
    rng = np.random.default_rng(7)
    x, g = normal32(rng, (300, 10)), {"output": normal32(rng, (300, 10))}
    bound = activations.log_softmax_magnitude(g, x=x, axis=1)
    value = activations.log_softmax_forward(x=x, axis=1)["output"]
    gradient = activations.log_softmax_vjp(g, x=x, axis=1)["x"]
    for moved in (x * (1 + 1e-3), bfloat16(x)):
        got = activations.log_softmax_forward(x=moved, axis=1)["output"]
        assert share_outside(got, value, bound.outputs["output"]) > MOST
        got = activations.log_softmax_vjp(g, x=moved, axis=1)["x"]
        assert share_outside(got, gradient, bound.gradients["x"]) > MOST


def test_impossible_questions_are_refused() -> None:
    with pytest.raises(InvalidShape, match="axis"):
        activations.softmax_forward(x=np.zeros((2, 3)), axis=2)
    with pytest.raises(InvalidShape, match="axis"):
        activations.softmax_forward(x=np.zeros((2, 0)), axis=1)
    with pytest.raises(InvalidShape, match="cotangent"):
        activations.sigmoid_vjp({"output": np.zeros(2)}, x=np.zeros(3))


def test_an_empty_batch_is_legal() -> None:
    x = np.zeros((0, 3))
    g: Outputs = {"output": x}
    assert activations.softmax_forward(x=x, axis=1)["output"].shape == (0, 3)
    assert activations.softmax_vjp(g, x=x, axis=1)["x"].shape == (0, 3)
    assert activations.softmax_magnitude(g, x=x, axis=1).gradients["x"].absolute.shape == (0, 3)
