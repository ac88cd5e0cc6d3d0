"""Indices of maxima against nested loops, by hand, and as what unpooling takes."""

from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest

from conformance.reference import indexed_pooling, unpooling
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape
from conformance.reference.pooling import max_pool_forward, max_pool_magnitude, max_pool_vjp

QUESTIONS: list[tuple[tuple[int, ...], dict[str, Any]]] = [
    ((2, 7, 3), {"window": (3,), "stride": (2,), "dilation": (2,), "padding": ((1, 2),)}),
    ((2, 6, 5, 3), {"window": (3, 2), "stride": (1, 2), "dilation": (1, 1), "padding": "same"}),
    ((2, 5, 7, 2), {"window": (2, 3), "stride": (2, 3), "dilation": (2, 1), "padding": ((1, 0), (0, 1))}),
    ((2, 3, 4, 5, 2), {"window": (2, 1, 3), "stride": (1, 2, 1), "dilation": (1, 1, 2), "padding": "same_lower"}),
]


def by_loops(x: Array, outputs: tuple[int, ...], low: tuple[int, ...], a: dict[str, Any]) -> Array:
    """Where the largest element of each window lies: (*output) -> (image, *position, channel)."""
    found = np.zeros((*outputs, x.ndim), np.int64)
    for at in product(*map(range, outputs)):
        best: tuple[float, tuple[int, ...]] | None = None
        for tap in product(*map(range, a["window"])):
            p = tuple(
                o * s + t * d - pad
                for o, s, t, d, pad in zip(at[1:-1], a["stride"], tap, a["dilation"], low, strict=True)
            )
            if any(not 0 <= q < n for q, n in zip(p, x.shape[1:-1], strict=True)):
                continue
            value = float(x[(at[0], *p, at[-1])])
            # The first of equals stays, and so does the first NaN.
            if best is None or value > best[0] or (np.isnan(value) and not np.isnan(best[0])):
                best = value, (at[0], *p, at[-1])
        assert best is not None
        found[at] = best[1]
    return found


LOWS = [(1,), (1, 0), (1, 0), (1, 0, 2)]


@pytest.mark.parametrize("indexed", indexed_pooling.INDEXED)
@pytest.mark.parametrize(("question", "low"), list(zip(QUESTIONS, LOWS, strict=True)))
@pytest.mark.parametrize("values", ["normal", "ties", "nan"])
def test_an_index_tells_where_the_maximum_is(
    question: tuple[tuple[int, ...], dict[str, Any]], low: tuple[int, ...], indexed: str, values: str
) -> None:
    shape, a = question
    rng = np.random.default_rng(prod(shape))
    x = rng.standard_normal(shape) if values == "normal" else rng.integers(-2, 1, shape).astype(np.float64)
    if values == "nan":
        x[rng.random(shape) < 0.2] = np.nan
    got = indexed_pooling.forward(x=x, ceil_mode=False, indexed=indexed, **a)
    assert got["indices"].dtype == np.int64
    places = by_loops(x, got["output"].shape, low, a)
    np.testing.assert_array_equal(got["output"], x[tuple(np.moveaxis(places, -1, 0))])
    # What an index counts, said by the order in which NumPy lays axes out.
    image, *spatial, channel = np.moveaxis(places, -1, 0)
    sizes = shape[1:-1]
    expected = {
        "plane": lambda: np.ravel_multi_index(tuple(spatial), sizes),
        "image": lambda: np.ravel_multi_index((*spatial, channel), (*sizes, shape[-1])),
        "images": lambda: np.ravel_multi_index((image, *spatial, channel), shape),
        "planes": lambda: np.ravel_multi_index((image, channel, *spatial), (shape[0], shape[-1], *sizes)),
        "columns": lambda: np.ravel_multi_index(
            (image, channel, *spatial[::-1]), (shape[0], shape[-1], *sizes[::-1])
        ),
    }[indexed]()
    np.testing.assert_array_equal(got["indices"], expected)


def test_maxima_and_gradients_are_those_of_the_pool() -> None:
    shape, a = QUESTIONS[1]
    x = np.random.default_rng(3).integers(-2, 1, shape).astype(np.float64)
    plain = {**a, "ceil_mode": True}
    output = max_pool_forward(x=x, **plain)["output"]
    cotangents = {"output": np.random.default_rng(4).standard_normal(output.shape)}
    np.testing.assert_array_equal(indexed_pooling.forward(x=x, indexed="plane", **plain)["output"], output)
    gradient = max_pool_vjp(cotangents, x=x, **plain)["x"]
    np.testing.assert_array_equal(indexed_pooling.vjp(cotangents, x=x, indexed="plane", **plain)["x"], gradient)
    sizes, own = (
        max_pool_magnitude(cotangents, x=x, **plain),
        indexed_pooling.magnitude(cotangents, x=x, indexed="plane", **plain),
    )
    np.testing.assert_array_equal(own.gradients["x"].absolute, sizes.gradients["x"].absolute)
    np.testing.assert_array_equal(own.gradients["x"].terms, sizes.gradients["x"].terms)
    assert not own.outputs["indices"].absolute.any()
    assert own.outputs["indices"].absolute.shape == output.shape
    assert indexed_pooling.magnitude(None, x=x, indexed="plane", **plain).gradients == {}


@pytest.mark.parametrize("indexed", unpooling.INDEXED)
def test_unpooling_puts_maxima_back(indexed: str) -> None:
    """Where windows do not overlap, every maximum returns to its element, and its gradient takes the same way."""
    x = np.random.default_rng(5).standard_normal((2, 6, 8, 3))
    a: dict[str, Any] = {"window": (2, 4), "stride": (2, 4), "dilation": (1, 1), "padding": "valid"}
    a["ceil_mode"] = False
    pooled = indexed_pooling.forward(x=x, indexed=indexed, **a)
    given = {"x": pooled["output"], "indices": pooled["indices"]}
    put_back = unpooling.forward(**given, size=(6, 8), indexed=indexed)["output"]
    assert np.count_nonzero(put_back) == pooled["output"].size
    np.testing.assert_array_equal(put_back[put_back != 0], x[put_back != 0])
    cotangents = {"output": np.ones(pooled["output"].shape)}
    np.testing.assert_array_equal(indexed_pooling.vjp(cotangents, x=x, indexed=indexed, **a)["x"], put_back != 0)


def test_by_hand() -> None:
    """One image of 2 x 4 pixels and two channels: a tie in the first, two NaN in the second."""
    nan = np.nan
    x = np.array([[[[3, 1], [1, nan], [0, 5], [2, 4]], [[3, nan], [2, 2], [9, 6], [9, 6]]]], np.float64)
    a: dict[str, Any] = {"window": (2, 2), "stride": (2, 2), "dilation": (1, 1), "padding": "valid"}
    a["ceil_mode"] = False
    expected = {
        "plane": [[0, 1], [6, 6]],
        "image": [[0, 3], [12, 13]],
        "images": [[0, 3], [12, 13]],
        "planes": [[0, 9], [6, 14]],
        "columns": [[0, 10], [5, 13]],
    }
    for indexed, indices in expected.items():
        got = indexed_pooling.forward(x=x, indexed=indexed, **a)
        np.testing.assert_array_equal(got["indices"], [[indices]])
        np.testing.assert_array_equal(got["output"], [[[[3, nan], [9, 6]]]])


def test_no_images() -> None:
    shape, a = QUESTIONS[1]
    got = indexed_pooling.forward(x=np.zeros((0, *shape[1:])), ceil_mode=False, indexed="images", **a)
    assert got["output"].shape == got["indices"].shape == (0, 6, 3, 3)


def test_an_unknown_count_is_refused() -> None:
    shape, a = QUESTIONS[1]
    x = np.zeros(shape)
    for ask in (indexed_pooling.forward, lambda **given: indexed_pooling.magnitude(None, **given)):
        with pytest.raises(InvalidShape, match="indexed"):
            ask(x=x, ceil_mode=False, indexed="rows", **a)
    with pytest.raises(InvalidShape, match="indexed"):
        indexed_pooling.vjp({"output": np.zeros((2, 6, 3, 3))}, x=x, ceil_mode=False, indexed="rows", **a)
