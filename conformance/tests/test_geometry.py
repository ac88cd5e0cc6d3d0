"""Closed forms of sizes and pads against enumeration, and against the reference that enumerates on its own."""

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from conformance.case.geometry import Pads, extent, resolve_pads, sized_pads, transposed_crop, window_count
from conformance.errors import ImpossibleShape
from conformance.reference import conv_transpose
from conformance.reference.padding import InvalidShape, windows

sizes = st.integers(1, 12)
kernels = st.integers(1, 6)
steps = st.integers(1, 4)
pairs = st.tuples(st.integers(0, 5), st.integers(0, 5))
named = st.sampled_from(["same", "same_lower", "valid"])
paddings = named | pairs.map(lambda pair: (pair,))


def counted(n: int, pad: tuple[int, int], k: int, s: int, d: int, *, ceil: bool) -> int:
    """Windows, one by one: they start every s elements and fit; in ceil mode the last hangs over by less than s."""
    low, high = pad
    over = s - 1 if ceil else 0
    starts = [start for start in range(0, low + n + high + s, s) if start + extent(k, d) <= low + n + high + over]
    if ceil and starts and starts[-1] >= low + n:  # nothing but padding lies there
        starts.pop()
    return len(starts)


@given(sizes, kernels, steps, steps, paddings, st.booleans())
@example(5, 2, 3, 1, ((1, 1),), True)
@example(3, 2, 2, 1, ((0, 1),), True)
def test_windows_are_counted_as_they_are_enumerated(n: int, k: int, s: int, d: int, padding: Any, ceil: bool) -> None:
    pads = resolve_pads(padding, (n,), (k,), (s,), (d,))
    expected = counted(n, pads[0], k, s, d, ceil=ceil)
    if not expected:
        with pytest.raises(ImpossibleShape, match=f"spans {extent(k, d)} elements"):
            window_count((n,), pads, (k,), (s,), (d,), ceil_mode=ceil)
    else:
        assert window_count((n,), pads, (k,), (s,), (d,), ceil_mode=ceil) == (expected,)


@given(
    st.lists(st.tuples(sizes, kernels, steps, steps, pairs), min_size=1, max_size=3),
    named | st.none(),
    st.booleans(),
)
@example([(5, 2, 3, 1, (0, 0))], "same", True)
def test_the_reference_s_windows_are_the_same(axes: list[Any], name: Any, ceil: bool) -> None:
    n, k, s, d, explicit = zip(*axes, strict=True)
    padding = name or explicit
    pads = resolve_pads(padding, n, k, s, d)
    try:
        theirs = windows(sizes=n, kernel=k, stride=s, dilation=d, padding=padding, ceil_mode=ceil)
    except InvalidShape:
        with pytest.raises(ImpossibleShape):
            window_count(n, pads, k, s, d, ceil_mode=ceil)
        return
    assert pads == tuple((window.low, window.high) for window in theirs)
    assert window_count(n, pads, k, s, d, ceil_mode=ceil) == tuple(window.outputs for window in theirs)


@given(sizes, kernels, steps, steps)
def test_same_is_as_many_windows_as_strides_and_the_odd_pixel_at_the_end(n: int, k: int, s: int, d: int) -> None:
    ((low, high),) = resolve_pads("same", (n,), (k,), (s,), (d,))
    assert resolve_pads("same_lower", (n,), (k,), (s,), (d,)) == ((high, low),)
    assert window_count((n,), ((low, high),), (k,), (s,), (d,)) == (-(-n // s),)
    assert high - low in (0, 1)
    if low + high:  # no pixel more than needed: the last window ends with the padded input
        assert (-(-n // s) - 1) * s + extent(k, d) == n + low + high


@pytest.mark.parametrize(
    ("padding", "expected"),
    [("same", ((0, 1), (2, 2))), ("same_lower", ((1, 0), (2, 2))), ("valid", ((0, 0), (0, 0)))],
)
def test_pads_worked_by_hand(padding: Any, expected: Pads) -> None:
    # Rows: 6 = 3 windows of 3 at every second, (3 - 1) 2 + 3 - 6 = 1. Columns: extent 5, (7 - 1) 1 + 5 - 7 = 4.
    assert resolve_pads(padding, (6, 7), (3, 3), (2, 1), (1, 2)) == expected


@pytest.mark.parametrize(
    ("n", "pads", "k", "s", "ceil", "count"),
    [
        (5, (0, 0), 2, 2, False, 2),
        (5, (0, 0), 2, 2, True, 3),
        (4, (0, 0), 2, 2, True, 2),
        (3, (0, 1), 2, 3, True, 1),  # a second window would start at 3, where only the pad is
        (5, (1, 1), 3, 2, False, 3),
        (1, (0, 0), 2, 2, True, 1),  # one element of a window of two
        (1, (0, 1), 1, 1, True, 1),  # a second window would hold padding alone
    ],
)
def test_window_counts_worked_by_hand(n: int, pads: tuple[int, int], k: int, s: int, ceil: bool, count: int) -> None:
    assert window_count((n,), (pads,), (k,), (s,), (1,), ceil_mode=ceil) == (count,)


@pytest.mark.parametrize(
    ("kernel", "stride", "dilation", "told"),
    [
        ((0,), (1,), (1,), "spatial axis 0: kernel size must be at least 1, got 0"),
        ((2,), (0,), (1,), "spatial axis 0: stride must be at least 1, got 0"),
        ((2,), (1,), (-1,), "spatial axis 0: dilation must be at least 1, got -1"),
        ((6,), (1,), (1,), "spatial axis 0: the kernel spans 6 elements, the padded input has only 5"),
    ],
)
def test_impossible_windows_say_which_axis_and_why(kernel: Any, stride: Any, dilation: Any, told: str) -> None:
    with pytest.raises(ImpossibleShape) as caught:
        window_count((5,), ((0, 0),), kernel, stride, dilation)
    assert str(caught.value) == told


# Transposed --------------------------------------------------------------------------------------------------------


@given(sizes, kernels, steps, steps, paddings, st.integers(0, 3))
@example(2, 1, 4, 1, "valid", 0)
@example(2, 5, 1, 1, "same", 0)
def test_a_transposed_convolution_keeps_what_the_reference_keeps(
    n: int, k: int, s: int, d: int, padding: Any, more: int
) -> None:
    # The definition knows no limit of output padding; that it stays below stride or dilation is the contract's.
    more = more % max(s, d) if isinstance(padding, tuple) else 0
    x = np.zeros((1, n, 1))
    x[0, n // 2] = 1
    w = np.arange(1.0, k + 1).reshape(k, 1, 1)
    try:
        ((start,), (size,)) = transposed_crop(padding, (n,), (k,), (s,), (d,), (more,))
    except ImpossibleShape:
        with pytest.raises(InvalidShape):
            conv_transpose.forward(
                x=x, w=w, stride=(s,), dilation=(d,), groups=1, padding=padding, output_padding=(more,)
            )
        return
    y = conv_transpose.forward(
        x=x, w=w, stride=(s,), dilation=(d,), groups=1, padding=padding, output_padding=(more,)
    )["output"]
    canvas = np.zeros(start + size + (n - 1) * s + extent(k, d))
    for tap in range(k):
        canvas[n // 2 * s + tap * d] += tap + 1
    np.testing.assert_array_equal(y[0, :, 0], canvas[start : start + size])


@given(sizes, kernels, steps, steps, st.sampled_from(["same", "same_lower", "valid"]))
def test_a_transposed_convolution_is_the_mirror_of_the_convolution_that_it_undoes(
    n: int, k: int, s: int, d: int, padding: Any
) -> None:
    ((start,), (size,)) = transposed_crop(padding, (n,), (k,), (s,), (d,), (0,))
    assume(padding != "valid" or extent(k, d) >= s)
    pads = resolve_pads(padding, (size,), (k,), (s,), (d,))
    assert pads[0][0] == start
    assert window_count((size,), pads, (k,), (s,), (d,)) == (n,)


@pytest.mark.parametrize(
    ("padding", "more", "told"),
    [
        (((3, 3),), (0,), "spatial axis 0: the pads crop everything, -1 elements are left"),
        (((0, 0),), (2,), "output padding must be below the stride or the dilation (2) and not negative, got 2"),
        (((0, 0),), (-1,), "and not negative, got -1"),
        ("same", (1,), "output padding goes with explicit pads, got 1 with 'same'"),
    ],
)
def test_impossible_crops_say_why(padding: Any, more: tuple[int], told: str) -> None:
    with pytest.raises(ImpossibleShape) as caught:
        transposed_crop(padding, (2,), (3,), (2,), (1,), more)
    assert told in str(caught.value)


@given(sizes, kernels, steps, steps, paddings, st.integers(1, 40))
@example(3, 3, 2, 1, "same", 5)
@example(3, 1, 4, 1, "same_lower", 10)
def test_a_told_size_is_that_of_an_image_with_so_many_windows(
    n: int, k: int, s: int, d: int, padding: Any, m: int
) -> None:
    x = np.zeros((1, n, 1))
    x[0, n // 2] = 1
    question: Any = {
        "x": x,
        "w": np.arange(1.0, k + 1).reshape(k, 1, 1),
        "stride": (s,),
        "dilation": (d,),
        "groups": 1,
    }
    try:
        pads, more = sized_pads(padding, (m,), (n,), (k,), (s,), (d,))
    except ImpossibleShape:
        with pytest.raises(InvalidShape):
            conv_transpose.forward(**question, padding=padding, output_padding=(0,), output_size=(m,))
        return
    told = conv_transpose.forward(**question, padding=padding, output_padding=(0,), output_size=(m,))["output"]
    assert told.shape[1] == m
    settled = conv_transpose.forward(**question, padding=pads, output_padding=more)["output"]
    np.testing.assert_array_equal(told, settled)
    assert transposed_crop(pads, (n,), (k,), (s,), (d,), more)[1] == (m,)


@pytest.mark.parametrize(
    ("padding", "size", "stride", "told"),
    [
        ("same", 2, 2, "spatial axis 0: 2 windows in strides of 2 fit into 3 to 4 elements, got 2"),
        ("valid", 7, 2, "2 windows in strides of 2 fit into 5 to 6 elements, got 7"),
        (((1, 1),), 5, 2, "2 windows in strides of 2 fit into 3 to 4 elements, got 5"),
        ("same", 0, 2, "spatial axis 0: output size must be at least 1, got 0"),
        ("same", 3, 0, "spatial axis 0: stride must be at least 1, got 0"),
    ],
)
def test_impossible_sizes_say_why(padding: Any, size: int, stride: int, told: str) -> None:
    with pytest.raises(ImpossibleShape) as caught:
        sized_pads(padding, (size,), (2,), (3,), (stride,), (1,))
    assert told in str(caught.value)
