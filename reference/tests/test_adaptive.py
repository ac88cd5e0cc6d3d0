"""Adaptive pools against windows found by looking which output an element belongs to."""

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.reference import adaptive
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import UNIT_ROUNDOFF_64, integers, normal32, radius

SIZES = st.tuples(st.integers(1, 7), st.integers(1, 7))


def elements(n: int, m: int, o: int) -> list[int]:
    """Those of which a part lies in the o-th of m equal shares: p + 1 > o n / m and p < (o + 1) n / m."""
    return [p for p in range(n) if (p + 1) * m > o * n and p * m < (o + 1) * n]


@settings(max_examples=100, deadline=None)
@given(sizes=SIZES, size=SIZES, batch=st.sampled_from([2, 1, 0]), seed=st.integers(0, 2**32 - 1))
def test_windows_are_the_elements_of_equal_shares(
    sizes: tuple[int, int], size: tuple[int, int], batch: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    x = integers(rng, (batch, *sizes, 2))
    cotangent = integers(rng, (batch, *size, 2))
    means, maxima = np.zeros(cotangent.shape), np.zeros(cotangent.shape)
    spread, absolute, handed = np.zeros(x.shape), np.zeros(x.shape), np.zeros(x.shape)
    seen = np.zeros(sizes)
    for n, i, j, c in product(range(batch), range(size[0]), range(size[1]), range(2)):
        window = list(product(elements(sizes[0], size[0], i), elements(sizes[1], size[1], j)))
        numbers = [x[n, row, column, c] for row, column in window]
        means[n, i, j, c], maxima[n, i, j, c] = sum(numbers) / len(window), max(numbers)
        handed[(n, *window[numbers.index(max(numbers))], c)] += cotangent[n, i, j, c]
        for row, column in window:
            spread[n, row, column, c] += cotangent[n, i, j, c] / len(window)
            absolute[n, row, column, c] += abs(cotangent[n, i, j, c]) / len(window)
            seen[row, column] += (n, c) == (0, 0)
    average = adaptive.adaptive_average_pool2d_forward(x=x, size=size)["output"]
    # One rounding of a quotient, or of a product with a reciprocal.
    assert np.all(np.abs(average - means) <= 4 * UNIT_ROUNDOFF_64 * np.abs(means))
    np.testing.assert_array_equal(adaptive.adaptive_max_pool2d_forward(x=x, size=size)["output"], maxima)
    cotangents = {"output": cotangent}
    np.testing.assert_array_equal(adaptive.adaptive_max_pool2d_vjp(cotangents, x=x, size=size)["x"], handed)
    gradient = adaptive.adaptive_average_pool2d_vjp(cotangents, x=x, size=size)["x"]
    assert np.all(np.abs(gradient - spread) <= 64 * UNIT_ROUNDOFF_64 * absolute)
    bounds = adaptive.adaptive_max_pool2d_magnitude(cotangents, x=x, size=size)
    assert not bounds.outputs["output"].absolute.any()
    if batch:
        expected = np.broadcast_to(np.maximum(seen - 1, 0)[..., None], x.shape)
        np.testing.assert_array_equal(bounds.gradients["x"].terms, expected)
    assert np.all(bounds.gradients["x"].absolute >= np.abs(handed))


@settings(max_examples=60, deadline=None)
@given(sizes=SIZES, size=SIZES, seed=st.integers(0, 2**32 - 1))
def test_single_precision_lies_within_the_bound(sizes: tuple[int, int], size: tuple[int, int], seed: int) -> None:
    rng = np.random.default_rng(seed)
    x, cotangent = normal32(rng, (2, *sizes, 2)), normal32(rng, (2, *size, 2))
    bounds = adaptive.adaptive_average_pool2d_magnitude({"output": cotangent}, x=x, size=size)
    exact = adaptive.adaptive_average_pool2d_forward(x=x, size=size)["output"]
    gradient = adaptive.adaptive_average_pool2d_vjp({"output": cotangent}, x=x, size=size)["x"]
    at_once, in_turn = np.zeros(exact.shape, np.float32), np.zeros(exact.shape, np.float32)
    backward = np.zeros(gradient.shape, np.float32)
    single = x.astype(np.float32)
    for i, j in product(range(size[0]), range(size[1])):
        rows, columns = elements(sizes[0], size[0], i), elements(sizes[1], size[1], j)
        window = single[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        share = np.float32(1 / (len(rows) * len(columns)))
        at_once[:, i, j] = window.sum(axis=(1, 2), dtype=np.float32) * share
        in_turn[:, i, j] = window.mean(axis=1, dtype=np.float32).mean(axis=1, dtype=np.float32)
        backward[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] += (
            cotangent[:, i, j].astype(np.float32) * share
        )[:, None, None]
    assert np.all(np.abs(at_once - exact) <= radius(bounds.outputs["output"]))
    assert np.all(np.abs(in_turn - exact) <= radius(bounds.outputs["output"]))
    assert np.all(np.abs(backward - gradient) <= radius(bounds.gradients["x"]))
    x[0, 0, 0, 0] *= 1.001
    moved = adaptive.adaptive_average_pool2d_forward(x=x, size=size)["output"]
    assert (np.abs(moved - exact) > radius(bounds.outputs["output"]))[0, 0, 0, 0] or abs(x[0, 0, 0, 0]) < 0.1


def test_the_first_of_several_maxima_and_a_nan_take_the_gradient() -> None:
    x = np.array([[1, 2, 2], [2, np.nan, 0]]).reshape(1, 2, 3, 1)
    cotangents = {"output": np.array([3.0, 5]).reshape(1, 2, 1, 1)}
    got = adaptive.adaptive_max_pool2d_vjp(cotangents, x=x, size=(2, 1))["x"].ravel()
    assert got.tolist() == [0, 3, 0, 0, 5, 0]
    assert np.isnan(adaptive.adaptive_max_pool2d_forward(x=x, size=(2, 1))["output"]).ravel().tolist() == [
        False,
        True,
    ]


@pytest.mark.parametrize(
    ("shape", "size", "what"),
    [((1, 3, 3), (1, 1), "axes of x"), ((1, 3, 3, 1), (0, 2), "size"), ((1, 0, 3, 1), (1, 1), "pixels of x")],
)
def test_what_has_no_answer_is_refused(shape: tuple[int, ...], size: tuple[int, int], what: str) -> None:
    for function in (adaptive.adaptive_average_pool2d_forward, adaptive.adaptive_max_pool2d_forward):
        with pytest.raises(InvalidShape) as caught:
            function(x=np.zeros(shape), size=size)
        assert caught.value.what == what
