"""Gradient kernels against nested loops, and against the operators whose gradients they are."""

from itertools import product
from typing import Any

import numpy as np
import pytest

from conformance.reference import backward, conv, indexed_pooling, pooling
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape

CONVOLUTIONS: list[dict[str, Any]] = [
    {"kernel": (3, 2), "stride": (2, 1), "dilation": (1, 2), "groups": 2, "padding": ((0, 1), (2, 1))},
    {"kernel": (2, 3), "stride": (2, 2), "dilation": (1, 1), "groups": 1, "padding": "same"},
    {"kernel": (2, 1, 2), "stride": (1, 2, 1), "dilation": (2, 1, 1), "groups": 1, "padding": "valid"},
    {"kernel": (2, 2, 2), "stride": (1, 1, 2), "dilation": (1, 1, 1), "groups": 2, "padding": "same_lower"},
]


def drawn(a: dict[str, Any], seed: int = 0) -> tuple[Array, Array, Array]:
    """An image of four channels, a kernel of six filters, and the cotangent of the maps."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((2, *(5, 6, 3)[: len(a["kernel"])], 4))
    w = rng.standard_normal((*a["kernel"], x.shape[-1] // a["groups"], 6))
    options = {name: value for name, value in a.items() if name != "kernel"}
    return x, w, rng.standard_normal(conv.forward(x=x, w=w, **options)["output"].shape)


@pytest.mark.parametrize("a", CONVOLUTIONS)
def test_a_kernel_s_gradient_pairs_the_maps_with_the_convolution_s(a: dict[str, Any]) -> None:
    """<g, conv(x, w)> is linear in w, x and g: its three gradients are <y, w>'s, with y the operator."""
    x, w, g = drawn(a)
    options = {name: value for name, value in a.items() if name != "kernel"}
    y = backward.weight_gradient_forward(x=x, g=g, **a)["output"]
    maps = conv.forward(x=x, w=w, **options)["output"]
    assert np.vdot(y, w) == pytest.approx(np.vdot(g, maps), rel=1e-12)
    gradients = backward.weight_gradient_vjp({"output": w}, x=x, g=g, **a)
    np.testing.assert_allclose(gradients["g"], maps, rtol=0, atol=1e-12)
    np.testing.assert_allclose(gradients["x"], conv.vjp({"output": g}, x=x, w=w, **options)["x"], rtol=0, atol=1e-12)


def test_a_kernel_s_gradient_is_a_sum_over_images_and_windows() -> None:
    rng = np.random.default_rng(1)
    x, g = rng.integers(-3, 4, (2, 4, 5, 4)), rng.integers(-3, 4, (2, 2, 4, 6))
    y = np.zeros((2, 3, 2, 6))
    for n, i, j, b, t, u, a in product(range(2), range(2), range(4), range(6), range(2), range(3), range(2)):
        row, column = 2 * i + t, j + u - 1
        if 0 <= column < 5:
            y[t, u, a, b] += x[n, row, column, b // 3 * 2 + a] * g[n, i, j, b]
    attributes: dict[str, Any] = {
        "kernel": (2, 3),
        "stride": (2, 1),
        "dilation": (1, 1),
        "groups": 2,
        "padding": ((0, 0), (1, 0)),
    }
    given = {"x": x.astype(np.float64), "g": g.astype(np.float64), **attributes}
    np.testing.assert_array_equal(backward.weight_gradient_forward(**given)["output"], y)
    bounds = backward.weight_gradient_magnitude({"output": y}, **given)
    sizes = {**given, "x": np.abs(given["x"]), "g": np.abs(given["g"])}
    np.testing.assert_allclose(
        bounds.outputs["output"].absolute, backward.weight_gradient_forward(**sizes)["output"], rtol=1e-12
    )
    assert bounds.outputs["output"].terms.max() == 16
    assert {name: m.absolute.shape for name, m in bounds.gradients.items()} == {"x": x.shape, "g": g.shape}
    assert backward.weight_gradient_magnitude(None, **given).gradients == {}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"x": np.ones(1)}, "axes of x"),
        ({"g": np.ones((2, 3, 6))}, "axes of g"),
        ({"g": np.ones((2, 3, 5, 6))}, "shape of g"),
        ({"g": np.ones((1, 3, 4, 6))}, "shape of g"),
        ({"groups": 3}, "groups"),
        ({"kernel": (0, 2)}, "kernel"),
    ],
)
def test_maps_that_a_convolution_does_not_have_are_refused(changes: dict[str, Any], what: str) -> None:
    given: dict[str, Any] = {"x": np.ones((2, 4, 5, 4)), "g": np.ones((2, 3, 4, 6)), "kernel": (2, 2)}
    given |= {"stride": (1, 1), "dilation": (1, 1), "groups": 1, "padding": "valid"}
    backward.weight_gradient_forward(**given)
    with pytest.raises(InvalidShape) as caught:
        backward.weight_gradient_forward(**{**given, **changes})
    assert caught.value.what == what


@pytest.mark.parametrize("indexed", ["plane", "image"])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_a_pool_s_own_indices_give_its_gradient(indexed: str, padding: str) -> None:
    rng = np.random.default_rng(2)
    x = rng.standard_normal((2, 5, 6, 3))
    pool: dict[str, Any] = {"window": (3, 2), "stride": (1, 2), "padding": padding}
    both = {**pool, "dilation": (1, 1), "ceil_mode": False}
    indices = indexed_pooling.forward(x=x, indexed=indexed, **both)["indices"].astype(np.int64)
    g = rng.standard_normal(indices.shape)
    expected = pooling.max_pool_vjp({"output": g}, x=x, **both)["x"]
    given: dict[str, Any] = {"x": g, "indices": indices, "size": (5, 6), "indexed": indexed, **pool}
    np.testing.assert_allclose(backward.max_pool_gradient_forward(**given)["output"], expected, rtol=0, atol=1e-14)
    back = backward.max_pool_gradient_vjp({"output": x}, **given)["x"]
    np.testing.assert_array_equal(back, pooling.max_pool_forward(x=x, **both)["output"])
    bounds = backward.max_pool_gradient_magnitude({"output": x}, **given)
    assert bounds.outputs["output"].terms.max() >= 1
    assert not bounds.gradients["x"].absolute.any()


def test_numbers_of_one_place_are_added() -> None:
    given: dict[str, Any] = {"x": np.array([1.0, 2, 4]).reshape(1, 1, 3, 1), "size": (1, 4), "indexed": "plane"}
    given |= {"window": (1, 2), "stride": (1, 1), "padding": "valid"}
    places = np.array([3, 0, 3]).reshape(1, 1, 3, 1)
    assert backward.max_pool_gradient_forward(indices=places, **given)["output"].ravel().tolist() == [2, 0, 0, 5]
    terms = backward.max_pool_gradient_magnitude(None, indices=places, **given).outputs["output"].terms
    assert terms.ravel().tolist() == [0, 0, 0, 1]
    for wrong in ([3, 0, 4], [3, 0, -1]):
        with pytest.raises(InvalidShape, match="indices"):
            backward.max_pool_gradient_forward(indices=np.array(wrong).reshape(1, 1, 3, 1), **given)
    with pytest.raises(InvalidShape, match="windows"):
        backward.max_pool_gradient_forward(indices=places, **{**given, "window": (1, 3)})
