"""Local response normalisation against nested loops, the complex step, and single-precision formulas."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from conformance.reference.magnitude import Array
from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import UNIT_ROUNDOFF_32, normal32
from conformance.reference.tests.steps import (
    MOST,
    assert_equal_in_float64,
    assert_equal_to_the_step,
    assert_within,
    bfloat16,
    complex_step,
    share_outside,
)

f = np.float32
REFERENCE = OPERATORS["local_response_norm"]
QUESTIONS: tuple[dict[str, Any], ...] = (
    {"size": 3, "alpha": 0.5, "beta": 0.75, "bias": 2.0, "alpha_of": "sum", "extra": "low"},
    {"size": 5, "alpha": 1e-4, "beta": 0.75, "bias": 1.0, "alpha_of": "mean", "extra": "low"},
    {"size": 4, "alpha": 2.0, "beta": 0.5, "bias": 0.5, "alpha_of": "mean", "extra": "low"},
    {"size": 4, "alpha": 2.0, "beta": 1.3, "bias": 0.5, "alpha_of": "sum", "extra": "high"},
    {"size": 1, "alpha": 1.0, "beta": 1.0, "bias": 1.0, "alpha_of": "sum", "extra": "high"},
    {"size": 2, "alpha": 3.0, "beta": 2.5, "bias": 0.01, "alpha_of": "mean", "extra": "high"},
    {"size": 19, "alpha": 1.0, "beta": 0.75, "bias": 1.0, "alpha_of": "mean", "extra": "low"},
    {"size": 3, "alpha": 0.0, "beta": 0.0, "bias": 3.0, "alpha_of": "sum", "extra": "low"},
)


def by_loops(x: Any, **a: Any) -> dict[str, Any]:
    """One channel after another, for complex numbers too."""
    output = np.zeros(x.shape, x.dtype)
    before = a["size"] // 2 if a["extra"] == "low" else (a["size"] - 1) // 2
    for index in np.ndindex(x.shape):
        start = index[-1] - before
        total = sum(
            x[(*index[:-1], channel)] ** 2
            for channel in range(start, start + a["size"])
            if 0 <= channel < x.shape[-1]
        )
        alpha = a["alpha"] / a["size"] if a["alpha_of"] == "mean" else a["alpha"]
        output[index] = x[index] / (a["bias"] + alpha * total) ** a["beta"]
    return {"output": output}


@pytest.mark.parametrize("attributes", QUESTIONS)
@pytest.mark.parametrize("shape", [(3, 6), (2, 2, 3, 5)])
def test_the_definition_and_its_gradient(attributes: dict[str, Any], shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(3)
    x, g = rng.normal(size=shape), {"output": rng.normal(size=shape)}
    magnitudes = REFERENCE.magnitude(g, x=x, **attributes)
    output = REFERENCE.forward(x=x, **attributes)["output"]
    assert_equal_in_float64(output, by_loops(x, **attributes)["output"], magnitudes.outputs["output"])
    step = complex_step(lambda x: by_loops(x, **attributes), {"x": x}, "x", g)
    assert_equal_to_the_step(REFERENCE.vjp(g, x=x, **attributes)["x"], step, magnitudes.gradients["x"])


def test_by_hand() -> None:
    """The sums are 5, 9 and 8; with alpha 1 and bias 1 the divisors are 6, 10 and 9."""
    constants = {"size": 3, "alpha": 1.0, "beta": 1.0, "bias": 1.0, "alpha_of": "sum", "extra": "low"}
    x = np.array([[1.0, 2.0, -2.0]])
    assert REFERENCE.forward(x=x, **constants)["output"].tolist() == [[1 / 6, 2 / 10, -2 / 9]]
    # The first channel's cotangent alone: 1/6 - 2/36 for itself, -2 * 2 / 36 for its neighbour.
    gradient = REFERENCE.vjp({"output": np.array([[1.0, 0.0, 0.0]])}, x=x, **constants)["x"]
    np.testing.assert_allclose(gradient, [[1 / 9, -1 / 9, 0]], rtol=1e-15)
    # A mean over three, even where two exist: the sums shrink by 3, the divisors are 8/3, 4, 11/3.
    mean = REFERENCE.forward(x=x, **{**constants, "alpha_of": "mean"})["output"]
    np.testing.assert_allclose(mean, [[3 / 8, 1 / 2, -6 / 11]], rtol=1e-15)


def bases(x: Array, a: dict[str, Any]) -> Iterator[tuple[Array, Array, Any]]:
    """N in float32, the window as a matrix, and alpha: summed in slices, the other way round, by a band of ones."""
    channels = x.shape[-1]
    before = a["size"] // 2 if a["extra"] == "low" else (a["size"] - 1) // 2
    apart = np.arange(channels)[None, :] - np.arange(channels)[:, None] + before
    window = ((apart >= 0) & (apart < a["size"])).astype(f)
    alpha = f(a["alpha"]) / f(a["size"]) if a["alpha_of"] == "mean" else f(a["alpha"])
    squares = x * x
    for order in (np.arange(channels), np.arange(channels)[::-1]):
        total = np.zeros(x.shape, f)
        for channel in order:
            total = total + squares[..., channel : channel + 1] * window[:, channel]
        yield f(a["bias"]) + alpha * total, window, alpha
        if a["alpha_of"] == "mean":
            yield total / f(a["size"]) * f(a["alpha"]) + f(a["bias"]), window, alpha
    yield squares @ (alpha * window).T + f(a["bias"]), window, alpha


@pytest.mark.parametrize("attributes", QUESTIONS)
@pytest.mark.parametrize("loud", [1.0, 0.01, 300.0])
def test_single_precision_lies_inside_the_bound(attributes: dict[str, Any], loud: float) -> None:
    rng = np.random.default_rng(4)
    x, g = (loud * normal32(rng, (40, 9))).astype(f).astype(np.float64), {"output": normal32(rng, (40, 9))}
    value = REFERENCE.forward(x=x, **attributes)["output"]
    gradient = REFERENCE.vjp(g, x=x, **attributes)["x"]
    magnitudes = REFERENCE.magnitude(g, x=x, **attributes)
    beta, single, one = f(attributes["beta"]), x.astype(f), f(1)
    cotangent = g["output"].astype(f)
    for base, window, alpha in bases(single, attributes):
        powers = [np.power(base, beta), np.exp(beta * np.log(base)), one / np.exp(-beta * np.log(base))]
        if attributes["beta"] == 0.75:
            powers.append(np.sqrt(base) * np.sqrt(np.sqrt(base)))
        for power in powers:
            for output in (single / power, single * (one / power)):
                assert output.dtype == f
                assert_within(output, value, magnitudes.outputs["output"])
            # A quotient by a power, differentiated step by step; and from the value itself.
            fall = -cotangent * single / (power * power) * (beta * np.power(base, beta - one))
            assert_within(cotangent / power + (fall @ window) * alpha * (single + single), gradient,
                          magnitudes.gradients["x"])  # fmt: skip
            inner = cotangent * (single / power) / base
            straight = cotangent * (one / power) - f(2) * alpha * beta * single * (inner @ window)
            assert_within(straight, gradient, magnitudes.gradients["x"])


def test_the_bound_is_no_excuse() -> None:
    rng = np.random.default_rng(5)
    x, g = normal32(rng, (50, 7)), {"output": normal32(rng, (50, 7))}
    attributes = QUESTIONS[0]
    value, gradient = REFERENCE.forward(x=x, **attributes)["output"], REFERENCE.vjp(g, x=x, **attributes)["x"]
    magnitudes = REFERENCE.magnitude(g, x=x, **attributes)
    # beta (r + 10 |log N|) + 11 roundings are counted, less than 40 for N up to 10.
    assert share_outside(value * (1 + 400 * UNIT_ROUNDOFF_32), value, magnitudes.outputs["output"]) > MOST
    moved = REFERENCE.forward(x=bfloat16(x), **attributes)["output"]
    assert share_outside(moved, value, magnitudes.outputs["output"]) > MOST
    moved = REFERENCE.vjp({"output": bfloat16(g["output"])}, x=bfloat16(x), **attributes)["x"]
    assert share_outside(moved, gradient, magnitudes.gradients["x"]) > MOST


def test_infinity_is_nan_and_silences_its_neighbours() -> None:
    x = np.array([[1.0, np.inf, 2.0, 3.0]])
    output = REFERENCE.forward(x=x, **QUESTIONS[0])["output"]
    assert np.isnan(output).tolist() == [[False, True, False, False]]
    assert output[0, [0, 2]].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [({"size": 0}, "size"), ({"alpha": -1.0}, "alpha"), ({"bias": 0.0}, "bias"), ({"beta": -0.5}, "beta")],
)
def test_constants_out_of_range(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidShape, match=message):
        REFERENCE.forward(x=np.ones((2, 3)), **{**QUESTIONS[0], **wrong})


def test_shapes() -> None:
    with pytest.raises(InvalidShape, match="axes of x"):
        REFERENCE.forward(x=np.ones(3), **QUESTIONS[0])
    none = np.zeros((0, 2, 3))
    assert REFERENCE.forward(x=none, **QUESTIONS[0])["output"].shape == none.shape
    assert REFERENCE.vjp({"output": none}, x=none, **QUESTIONS[0])["x"].shape == none.shape
    assert REFERENCE.magnitude({"output": none}, x=none, **QUESTIONS[0]).gradients["x"].absolute.shape == none.shape
