"""Pooling against its definition: every window's elements in a plain list."""

from collections.abc import Callable
from itertools import product as cartesian
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape
from conformance.reference.pooling import (
    average_pool_forward,
    average_pool_magnitude,
    average_pool_vjp,
    max_pool_forward,
    max_pool_magnitude,
    max_pool_vjp,
)
from conformance.reference.tests.products import UNIT_ROUNDOFF_64, added, integers, normal32, radius

Configuration = dict[str, Any]
Cells = dict[tuple[int, ...], list[tuple[int, ...]]]


def counted(configuration: Configuration) -> list[tuple[list[int], int, int]]:
    """Returns each axis' window starts and padded ends, by the formulas of TensorFlow and PyTorch."""
    axes = []
    for axis, (n, k, s, d) in enumerate(
        zip(*(configuration[name] for name in ("sizes", "window", "stride", "dilation")), strict=True)
    ):
        span, padding = (k - 1) * d + 1, configuration["padding"]
        if padding in ("same", "same_lower"):
            count = -(-n // s)
            total = max((count - 1) * s + span - n, 0)
            low = total // 2 if padding == "same" else total - total // 2
            high = total - low
        else:
            low, high = (0, 0) if padding == "valid" else padding[axis]
            room = n + low + high - span
            count = room // s + 1
            if configuration["ceil_mode"]:
                count = -(-room // s) + 1
                if (count - 1) * s >= n + low:
                    count -= 1
        axes.append(([o * s - low for o in range(count)], -low, n + high))
    return axes


def cells_of(configuration: Configuration) -> tuple[Cells, Cells]:
    """Returns each output position's window, in row-major order: its positions inside, and in the padded input."""
    inside: Cells = {}
    padded: Cells = {}
    axes = counted(configuration)
    for o in np.ndindex(*(len(starts) for starts, _, _ in axes)):
        inside[o], padded[o] = [], []
        for t in np.ndindex(*configuration["window"]):
            p = tuple(
                starts[i] + j * d
                for (starts, _, _), i, j, d in zip(axes, o, t, configuration["dilation"], strict=True)
            )
            if all(0 <= position < n for position, n in zip(p, configuration["sizes"], strict=True)):
                inside[o].append(p)
            if all(first <= position < end for position, (_, first, end) in zip(p, axes, strict=True)):
                padded[o].append(p)
    return inside, padded


def output_shape(configuration: Configuration) -> tuple[int, ...]:
    spatial = (len(starts) for starts, _, _ in counted(configuration))
    return (configuration["batch"], *spatial, configuration["channels"])


def input_shape(configuration: Configuration) -> tuple[int, ...]:
    return (configuration["batch"], *configuration["sizes"], configuration["channels"])


def each_image(shape: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(cartesian(range(shape[0]), range(shape[-1])))


def attributes_of(configuration: Configuration, *, average: bool = False) -> dict[str, Any]:
    last = "count_padding" if average else "dilation"
    return {name: configuration[name] for name in ("window", "stride", "padding", "ceil_mode", last)}


@st.composite
def configurations(draw: Callable[..., Any], *, dilated: bool) -> Configuration:
    """Draws configurations whose windows all have an element inside the input."""
    rank = draw(st.integers(1, 3))
    few = st.integers(1, 3)
    named = draw(st.sampled_from([None, None, "valid", "same", "same_lower"]))
    window, stride, dilation, pads, sizes = [], [], [], [], []
    for _ in range(rank):
        k, s, d = draw(few), draw(few), draw(few) if dilated else 1
        low, high = (draw(st.integers(0, 2)), draw(st.integers(0, 2))) if named is None else (0, 0)
        least = 1 if named in ("same", "same_lower") else max(1, (k - 1) * d + 1 - low - high)
        window.append(k)
        stride.append(s)
        dilation.append(d)
        pads.append((low, high))
        sizes.append(least + draw(st.integers(0, 9 - 2 * rank)))
    configuration = {
        "batch": draw(st.sampled_from([1, 2, 2, 2, 0])),
        "channels": draw(st.integers(1, 2)),
        "sizes": tuple(sizes),
        "window": tuple(window),
        "stride": tuple(stride),
        "dilation": tuple(dilation),
        "padding": named or tuple(pads),
        "ceil_mode": draw(st.booleans()),
        "count_padding": draw(st.booleans()),
    }
    assume(all(cells_of(configuration)[0].values()))
    return configuration


@settings(max_examples=150, deadline=None)
@given(configuration=configurations(dilated=True), seed=st.integers(0, 2**32 - 1))
def test_maximum_and_its_gradient_are_those_of_the_listed_elements(configuration: Configuration, seed: int) -> None:
    """Few different values make many ties; NaN and infinities are among them."""
    rng, attributes = np.random.default_rng(seed), attributes_of(configuration)
    x = rng.choice([-np.inf, -2.0, -1.0, -1.0, 0.0, 3.0, np.inf, np.nan], size=input_shape(configuration))
    cotangent = integers(rng, output_shape(configuration))
    inside, _ = cells_of(configuration)
    expected, gradient, absolute = np.zeros(cotangent.shape), np.zeros(x.shape), np.zeros(x.shape)
    seen = np.zeros(x.shape)
    for (n, c), (o, cells) in cartesian(each_image(x.shape), inside.items()):
        best = cells[0]
        for cell in cells:
            seen[(n, *cell, c)] += 1
            value, champion = x[(n, *cell, c)], x[(n, *best, c)]
            if not np.isnan(champion) and (np.isnan(value) or value > champion):
                best = cell
        expected[(n, *o, c)] = x[(n, *best, c)]
        gradient[(n, *best, c)] += cotangent[(n, *o, c)]
        absolute[(n, *best, c)] += abs(cotangent[(n, *o, c)])
    np.testing.assert_array_equal(max_pool_forward(x=x, **attributes)["output"], expected, strict=True)
    got = max_pool_vjp({"output": cotangent}, x=x, **attributes)["x"]
    np.testing.assert_array_equal(got, gradient, strict=True)
    magnitudes = max_pool_magnitude({"output": cotangent}, x=x, **attributes)
    assert not magnitudes.outputs["output"].radius(unit_roundoff=0.5, smallest_normal=1.0).any()
    np.testing.assert_array_equal(magnitudes.gradients["x"].absolute, absolute, strict=True)
    np.testing.assert_array_equal(magnitudes.gradients["x"].terms, np.maximum(seen - 1, 0), strict=True)
    assert max_pool_magnitude(None, x=x, **attributes).gradients == {}


@settings(max_examples=150, deadline=None)
@given(configuration=configurations(dilated=False), seed=st.integers(0, 2**32 - 1))
def test_average_and_its_gradient_are_those_of_the_listed_elements(configuration: Configuration, seed: int) -> None:
    """Sums of whole numbers are exact; a quotient has one rounding, and a sum of n quotients gamma(n) of float64."""
    rng, attributes = np.random.default_rng(seed), attributes_of(configuration, average=True)
    x, cotangent = integers(rng, input_shape(configuration)), integers(rng, output_shape(configuration))
    inside, padded = cells_of(configuration)
    expected, gradient = np.zeros(cotangent.shape), np.zeros(x.shape)
    absolute, absolute_gradient = np.zeros(cotangent.shape), np.zeros(x.shape)
    terms, seen = np.zeros(cotangent.shape), np.zeros(x.shape)
    for (n, c), (o, cells) in cartesian(each_image(x.shape), inside.items()):
        divisor = len(padded[o] if configuration["count_padding"] else cells)
        elements = [x[(n, *cell, c)] for cell in cells]
        expected[(n, *o, c)] = sum(elements) / divisor
        absolute[(n, *o, c)] = sum(map(abs, elements)) / divisor
        terms[(n, *o, c)] = len(cells) + 2
        for cell in cells:
            gradient[(n, *cell, c)] += cotangent[(n, *o, c)] / divisor
            absolute_gradient[(n, *cell, c)] += abs(cotangent[(n, *o, c)]) / divisor
            seen[(n, *cell, c)] += 1
    np.testing.assert_array_equal(average_pool_forward(x=x, **attributes)["output"], expected, strict=True)
    got = average_pool_vjp({"output": cotangent}, x=x, **attributes)["x"]
    # Both sums of quotients have at most `seen` roundings a term, each at most u of the absolute sum (to first order:
    # 1 % covers the rest).
    allowed = 2.02 * seen * UNIT_ROUNDOFF_64 * absolute_gradient
    assert got.shape == gradient.shape
    assert np.all(abs(got - gradient) <= allowed)
    magnitudes = average_pool_magnitude({"output": cotangent}, x=x, **attributes)
    np.testing.assert_array_equal(magnitudes.outputs["output"].absolute, absolute, strict=True)
    np.testing.assert_array_equal(magnitudes.outputs["output"].terms, terms, strict=True)
    assert np.all(abs(magnitudes.gradients["x"].absolute - absolute_gradient) <= allowed)
    np.testing.assert_array_equal(magnitudes.gradients["x"].terms, seen + 2, strict=True)
    assert average_pool_magnitude(None, x=x, **attributes).gradients == {}


def test_hand_worked_pools() -> None:
    """Five elements, two taps, stride 2: ceil_mode adds the window that only the last element is in."""
    x = np.array([1.0, 5, 2, 4, 3]).reshape(1, 5, 1)
    common: dict[str, Any] = {"x": x, "window": (2,), "stride": (2,)}
    for padding, ceil_mode, maxima, means, counting in (
        ("valid", False, [5, 4], [3, 3], [3, 3]),
        ("valid", True, [5, 4, 3], [3, 3, 3], [3, 3, 3]),
        ("same", False, [5, 4, 3], [3, 3, 3], [3, 3, 1.5]),
        ("same_lower", False, [1, 5, 4], [1, 3.5, 3.5], [0.5, 3.5, 3.5]),
        (((1, 1),), False, [1, 5, 4], [1, 3.5, 3.5], [0.5, 3.5, 3.5]),
    ):
        got = max_pool_forward(padding=padding, ceil_mode=ceil_mode, dilation=(1,), **common)["output"]
        assert got.ravel().tolist() == maxima
        got = average_pool_forward(padding=padding, ceil_mode=ceil_mode, count_padding=False, **common)["output"]
        assert got.ravel().tolist() == means
        got = average_pool_forward(padding=padding, ceil_mode=ceil_mode, count_padding=True, **common)["output"]
        assert got.ravel().tolist() == counting


def test_counted_padding_never_includes_the_overhang() -> None:
    """6 elements, 1 on each side, 3 taps, stride 3: the last window has an element, a padding and one beyond."""
    x = np.arange(1.0, 7).reshape(1, 6, 1)
    got = average_pool_forward(x=x, window=(3,), stride=(3,), padding=((1, 1),), ceil_mode=True, count_padding=True)[
        "output"
    ]
    assert got.ravel().tolist() == [(0 + 1 + 2) / 3, (3 + 4 + 5) / 3, (6 + 0) / 2]


def test_maximum_of_negative_numbers_beside_padding_is_negative() -> None:
    """A padding of zeros would win."""
    x = np.full((1, 2, 2, 1), -3.0)
    got = max_pool_forward(x=x, window=(3, 3), stride=(1, 1), padding="same", ceil_mode=False, dilation=(1, 1))
    assert got["output"].ravel().tolist() == [-3.0] * 4


def test_all_elements_minus_infinity_hand_the_cotangent_to_the_first_inside() -> None:
    """The padding's -inf is no candidate."""
    x = np.full((1, 2, 1), -np.inf)
    question: dict[str, Any] = {
        "x": x,
        "window": (2,),
        "stride": (1,),
        "padding": ((1, 1),),
        "ceil_mode": False,
        "dilation": (1,),
    }
    got = max_pool_vjp({"output": np.array([1.0, 10, 100]).reshape(1, 3, 1)}, **question)["x"]
    assert got.ravel().tolist() == [11, 100]


def test_infinite_and_nan_elements_stay_in_their_windows() -> None:
    x = np.array([1.0, np.inf, 2, 3, np.nan, 4]).reshape(1, 6, 1)
    got = average_pool_forward(x=x, window=(2,), stride=(2,), padding="valid", ceil_mode=False, count_padding=False)
    np.testing.assert_array_equal(got["output"].ravel(), [np.inf, 2.5, np.nan])
    cotangent = np.array([1.0, np.nan, np.inf]).reshape(1, 3, 1)
    gradient = average_pool_vjp(
        {"output": cotangent}, x=x, window=(2,), stride=(2,), padding="valid", ceil_mode=False, count_padding=False
    )["x"]
    np.testing.assert_array_equal(gradient.ravel(), [0.5, 0.5, np.nan, np.nan, np.inf, np.inf])


def test_gradients_are_finite_differences() -> None:
    """Means are linear, and so are maxima away from ties: on whole numbers a difference quotient is exact."""
    rng = np.random.default_rng(5)
    # All different, at distance 1 at least: a step of 1/4 changes no maximum.
    x = rng.permutation(2 * 5 * 4 * 2).astype(np.float64).reshape(2, 5, 4, 2)
    shared: dict[str, Any] = {"window": (2, 2), "stride": (2, 1), "padding": ((1, 0), (0, 1)), "ceil_mode": True}
    for forward, vjp, last in (
        (max_pool_forward, max_pool_vjp, {"dilation": (1, 2)}),
        (average_pool_forward, average_pool_vjp, {"count_padding": True}),
    ):
        attributes = shared | last
        y = forward(x=x, **attributes)["output"]
        cotangent = integers(rng, y.shape)
        got = vjp({"output": cotangent}, x=x, **attributes)["x"]
        for index in np.ndindex(*x.shape):
            up, down = x.copy(), x.copy()
            up[index] += 0.25
            down[index] -= 0.25
            change = forward(x=up, **attributes)["output"] - forward(x=down, **attributes)["output"]
            # Divisors are 1, 2 and 4 (a window of four cells, or its half): every quotient is exact in binary.
            assert (change * cotangent).sum() / 0.5 == got[index]


def test_float32_in_any_order_lies_inside_the_bounds_and_a_changed_element_does_not() -> None:
    """Sums divided, or multiplied by a rounded reciprocal before or after, in several orders."""
    rng = np.random.default_rng(6)
    configuration: Configuration = {
        "batch": 2, "channels": 2, "sizes": (9, 11), "window": (3, 5), "stride": (2, 1), "dilation": (1, 1),
        "padding": ((1, 0), (0, 2)), "ceil_mode": True, "count_padding": False,
    }  # fmt: skip
    attributes = attributes_of(configuration, average=True)
    x, cotangent = normal32(rng, input_shape(configuration)), normal32(rng, output_shape(configuration))
    inside, _ = cells_of(configuration)
    y_at = np.arange(cotangent.size).reshape(cotangent.shape)
    x_at = np.arange(x.size).reshape(x.shape)
    pairs = [
        (y_at[(n, *o, c)], x_at[(n, *cell, c)])
        for (n, c), (o, cells) in cartesian(each_image(x.shape), inside.items())
        for cell in cells
    ]
    of_y, of_x = np.array(pairs).T
    divisors = added(of_y, np.ones(of_y.size), cotangent.shape).astype(np.float32)
    reciprocals = np.float32(1) / divisors
    y = average_pool_forward(x=x, **attributes)["output"]
    gradient = average_pool_vjp({"output": cotangent}, x=x, **attributes)["x"]
    magnitudes = average_pool_magnitude({"output": cotangent}, x=x, **attributes)
    elements, shares = x.astype(np.float32).ravel()[of_x], cotangent.astype(np.float32)
    for order in (np.arange(of_y.size), np.arange(of_y.size)[::-1], rng.permutation(of_y.size)):
        total = added(of_y[order], elements[order], y.shape)
        scaled = added(of_y[order], (elements * reciprocals.ravel()[of_y])[order], y.shape)
        for got in (total / divisors, total * reciprocals, scaled):
            assert got.dtype == np.float32
            assert np.all(abs(got - y) <= radius(magnitudes.outputs["output"]))
        for share in (shares / divisors, shares * reciprocals):
            got = added(of_x[order], share.ravel()[of_y][order], x.shape)
            assert np.all(abs(got - gradient) <= radius(magnitudes.gradients["x"]))
    changed = x.copy()
    changed[0, 4, 5, 0] *= 1 + 1e-3
    moved = abs(average_pool_forward(x=changed, **attributes)["output"] - y) > radius(magnitudes.outputs["output"])
    assert moved.sum() == sum((4, 5) in cells for cells in inside.values())

    # Overlapping windows of maxima.
    attributes = attributes_of(configuration)
    gradient = max_pool_vjp({"output": cotangent}, x=x, **attributes)["x"]
    magnitude = max_pool_magnitude({"output": cotangent}, x=x, **attributes).gradients["x"]
    best = [
        max((x[(n, *cell, c)], x_at[(n, *cell, c)]) for cell in cells)[1]
        for (n, c), cells in cartesian(each_image(x.shape), inside.values())
    ]
    source = [y_at[(n, *o, c)] for (n, c), o in cartesian(each_image(x.shape), inside)]
    for order in (np.arange(len(best)), np.arange(len(best))[::-1], rng.permutation(len(best))):
        got = added(np.array(best)[order], shares.ravel()[source][order], x.shape)
        assert np.all(abs(got - gradient) <= radius(magnitude))
    assert np.all(radius(magnitude)[gradient != 0] < 1e-3 * abs(gradient[gradient != 0]).max())


ALL = [
    (max_pool_forward, max_pool_vjp, max_pool_magnitude, {"dilation": (1, 1)}),
    (average_pool_forward, average_pool_vjp, average_pool_magnitude, {"count_padding": False}),
]


@pytest.mark.parametrize(("forward", "vjp", "magnitude", "last"), ALL)
@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((2, 5))}, "axes of x"),
        ({"window": (3,)}, "kernel"),
        ({"window": (0, 1)}, "kernel"),
        ({"window": (6, 1)}, "window of 6 taps"),
        ({"stride": (1, 0)}, "stride"),
        ({"padding": "smae"}, "padding"),
        ({"padding": ((0, 0),)}, "padding"),
        # The first window would stand in the padding altogether.
        ({"padding": ((3, 0), (0, 0))}, "taps inside the input on spatial axis 0"),
    ],
)
def test_impossible_questions_are_refused(
    forward: Any, vjp: Any, magnitude: Any, last: dict[str, Any], change: dict[str, Any], message: str
) -> None:
    question = {
        "x": np.zeros((1, 5, 5, 2)),
        "window": (3, 2),
        "stride": (1, 1),
        "padding": "valid",
        "ceil_mode": False,
        **last,
        **change,
    }
    with pytest.raises(InvalidShape, match=message):
        forward(**question)
    with pytest.raises(InvalidShape, match=message):
        vjp({"output": np.zeros((1, 3, 4, 2))}, **question)
    with pytest.raises(InvalidShape, match=message):
        magnitude(None, **question)


@pytest.mark.parametrize(("forward", "vjp", "magnitude", "last"), ALL)
def test_a_cotangent_of_another_shape_is_refused(
    forward: Any, vjp: Any, magnitude: Any, last: dict[str, Any]
) -> None:
    question = {"window": (2, 2), "stride": (1, 1), "padding": "same", "ceil_mode": False, **last}
    x = np.zeros((1, 3, 3, 2))
    assert forward(x=x, **question)["output"].shape == x.shape
    for refusing in (vjp, magnitude):
        with pytest.raises(InvalidShape, match="cotangent"):
            refusing({"output": np.zeros((1, 3, 3, 1))}, x=x, **question)


def test_the_result_is_no_view_of_x() -> None:
    """With windows of one element it could be."""
    x: Array = np.ones((1, 3, 1))
    y = max_pool_forward(x=x, window=(1,), stride=(1,), padding="valid", ceil_mode=False, dilation=(1,))["output"]
    assert not np.shares_memory(x, y)


def test_a_mean_of_padding_alone_is_zero_where_padding_counts() -> None:
    x = np.full((1, 2, 1), 7.0)
    got = average_pool_forward(x=x, window=(1,), stride=(1,), padding=((1, 0),), ceil_mode=False, count_padding=True)[
        "output"
    ]
    assert got.ravel().tolist() == [0, 7, 7]


def test_large_absolute_sums_in_float32_are_no_less_than_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of windows that overlap; numbers over sixty orders of magnitude, and zeros."""
    rng = np.random.default_rng(7)

    def drawn(*shape: int) -> Array:
        return rng.normal(size=shape) * 10.0 ** rng.integers(-60, 8, shape) * rng.integers(0, 2, shape)

    arguments: Configuration = {"x": drawn(2, 60, 60, 16), "window": (3, 3), "stride": (2, 1), "padding": "same"}
    arguments |= {"ceil_mode": False}
    cotangents = {"output": drawn(2, 30, 60, 16)}

    def sums() -> list[Array]:
        means = average_pool_magnitude(cotangents, count_padding=False, **arguments)
        maxima = max_pool_magnitude(cotangents, dilation=(1, 1), **arguments)
        return [means.outputs["output"].absolute, means.gradients["x"].absolute, maxima.gradients["x"].absolute]

    single = sums()
    monkeypatch.setattr("conformance.reference.magnitude.SINGLE", 1 << 60)
    for rounded, exact in zip(single, sums(), strict=True):
        assert rounded.dtype == np.float32
        assert exact.dtype == np.float64
        assert (rounded >= exact * (1 - 16 * 2.0**-53)).all()
        assert np.allclose(rounded, exact, rtol=1e-4, atol=1e-25)
