"""Convolution and correlation against SciPy, plain loops, and single-precision sums in several orders."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import signal as scipy_signal

from conformance.reference import signal
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import Products, integers, normal32
from conformance.reference.tests.steps import MOST, assert_within, share_outside

MODES = ["full", "same", "valid"]


@st.composite
def shape_pairs(draw: Any) -> tuple[tuple[int, ...], tuple[int, ...], str]:
    rank, mode = draw(st.integers(1, 2)), draw(st.sampled_from(MODES))
    x, w = (tuple(draw(st.integers(1, 6)) for _ in range(rank)) for _ in range(2))
    if mode == "valid":
        large, small = tuple(map(max, x, w)), tuple(map(min, x, w))
        x, w = (large, small) if draw(st.booleans()) else (small, large)
    return x, w, mode


def products_of(x: tuple[int, ...], w: tuple[int, ...], mode: str, *, flipped: bool) -> Products:
    """Enumerates all pairs of positions; the full result has one sum for each sum of positions."""
    start = [0] * len(x)
    size = [n + k - 1 for n, k in zip(x, w, strict=True)]
    if mode == "same":
        start, size = [(full - n) // 2 for full, n in zip(size, x, strict=True)], list(x)
    elif mode == "valid":
        start = [min(pair) - 1 for pair in zip(x, w, strict=True)]
        size = [abs(n - k) + 1 for n, k in zip(x, w, strict=True)]
    triples = []
    for i in np.ndindex(*x):
        for k in np.ndindex(*w):
            tap = [n - 1 - j for n, j in zip(w, k, strict=True)] if flipped else k
            o = [a + b - s for a, b, s in zip(i, tap, start, strict=True)]
            if all(0 <= place < n for place, n in zip(o, size, strict=True)):
                triples.append([int(np.ravel_multi_index(p, n)) for p, n in ((o, size), (i, x), (k, w))])
    result, left, right = np.array(triples, dtype=int).reshape(-1, 3).T
    return Products(result=result, left=left, right=right, result_shape=tuple(size), left_shape=x, right_shape=w)


@pytest.mark.parametrize("name", ["convolve", "correlate"])
@settings(deadline=None, max_examples=80)
@given(pair=shape_pairs(), seed=st.integers(0, 2**32 - 1))
def test_equals_scipy_and_the_loops(name: str, pair: Any, seed: int) -> None:
    x_shape, w_shape, mode = pair
    rng = np.random.default_rng(seed)
    # Whole numbers are summed without rounding in any order, so everything is equal to the bit.
    x, w = integers(rng, x_shape), integers(rng, w_shape)
    got = getattr(signal, f"{name}_forward")(x=x, w=w, mode=mode)["output"]
    expected = getattr(scipy_signal, name)(x, w, mode=mode, method="direct")
    assert got.shape == expected.shape
    assert np.array_equal(got, expected)
    pairs = products_of(x_shape, w_shape, mode, flipped=name == "correlate")
    assert np.array_equal(got, pairs.total(x, w))
    g = integers(rng, got.shape)
    gradients = getattr(signal, f"{name}_vjp")({"output": g}, x=x, w=w, mode=mode)
    assert np.array_equal(gradients["x"], pairs.for_left().total(g, w))
    assert np.array_equal(gradients["w"], pairs.for_right().total(x, g))
    bound = getattr(signal, f"{name}_magnitude")({"output": g}, x=x, w=w, mode=mode)
    for magnitude, triples, left, right in (
        (bound.outputs["output"], pairs, x, w),
        (bound.gradients["x"], pairs.for_left(), g, w),
        (bound.gradients["w"], pairs.for_right(), x, g),
    ):
        assert np.array_equal(magnitude.terms, triples.count())
        assert np.array_equal(magnitude.absolute, triples.total(np.abs(left), np.abs(right)))


@pytest.mark.parametrize("name", ["convolve", "correlate"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("shapes", [((30,), (7,)), ((6, 9), (4, 3)), ((3, 2), (5, 6))])
def test_single_precision_lies_inside_the_bound(name: str, mode: str, shapes: Any) -> None:
    rng = np.random.default_rng(13)
    pairs = products_of(shapes[0], shapes[1], mode, flipped=name == "correlate")
    x, w, g = normal32(rng, shapes[0]), normal32(rng, shapes[1]), normal32(rng, pairs.result_shape)
    value = getattr(signal, f"{name}_forward")(x=x, w=w, mode=mode)["output"]
    gradients = getattr(signal, f"{name}_vjp")({"output": g}, x=x, w=w, mode=mode)
    bound = getattr(signal, f"{name}_magnitude")({"output": g}, x=x, w=w, mode=mode)
    for got in pairs.in_float32(x, w, rng):
        assert_within(got, value, bound.outputs["output"])
    for got in pairs.for_left().in_float32(g, w, rng):
        assert_within(got, gradients["x"], bound.gradients["x"])
    for got in pairs.for_right().in_float32(x, g, rng):
        assert_within(got, gradients["w"], bound.gradients["w"])
    moved = getattr(signal, f"{name}_forward")(x=x, w=w * (1 + 1e-3), mode=mode)["output"]
    assert share_outside(moved, value, bound.outputs["output"]) > MOST
    moved = getattr(signal, f"{name}_vjp")({"output": g * (1 + 1e-3)}, x=x, w=w, mode=mode)
    for operand in ("x", "w"):
        part = bound.gradients[operand]
        # Beyond the crop a tap meets no output at all.
        assert share_outside(moved[operand], gradients[operand], part) > MOST * np.mean(part.terms > 0)


@pytest.mark.parametrize("mode", MODES)
def test_an_infinity_reaches_only_what_it_is_part_of(mode: str) -> None:
    x, w = np.arange(1.0, 8.0), np.array([1.0, 2.0, 3.0])
    x[0] = np.inf
    got = signal.convolve_forward(x=x, w=w, mode=mode)["output"]
    start = {"full": 0, "same": 1, "valid": 2}[mode]
    assert np.isinf(got).tolist() == [o + start <= 2 for o in range(len(got))]
    assert not np.isnan(got).any()
    gradients = signal.convolve_vjp({"output": np.ones(got.shape)}, x=x, w=w, mode=mode)
    assert np.isfinite(gradients["x"]).all()
    assert np.isinf(gradients["w"]).tolist() == [k >= start for k in range(3)]


@pytest.mark.parametrize(
    ("x", "w", "mode"),
    [
        ((3, 5), (4, 2), "valid"),
        ((3,), (2, 2), "full"),
        ((2, 2, 2), (1, 1, 1), "full"),
        ((), (), "full"),
        ((0,), (2,), "full"),
        ((2,), (0,), "same"),
        ((3,), (2,), "wrap"),
    ],
)
def test_impossible_questions_are_refused(x: tuple[int, ...], w: tuple[int, ...], mode: str) -> None:
    with pytest.raises(InvalidShape):
        signal.convolve_forward(x=np.zeros(x), w=np.zeros(w), mode=mode)
