"""The compiled pass over an array says what NumPy says element by element."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from numpy.typing import NDArray

from conformance.verdict.scan import BLOCK, SMALLEST, SURELY, Scan, are_integers, scan

ZERO, ONE = np.zeros(()), np.ones(())


def scanned(got: NDArray[np.floating], value: NDArray[np.float64], bound: NDArray[np.float64]) -> Scan:
    return scan(got, value, size=bound, growth=ONE, flushed=ZERO, scale=np.abs(value), root=ZERO, floor=ZERO)


@given(data=st.data(), shape=array_shapes(max_dims=4, max_side=4), single=st.booleans())
def test_every_number_is_that_of_a_plain_computation(
    data: st.DataObject, shape: tuple[int, ...], single: bool
) -> None:
    """With factors that vary along any of the axes, as counts of taps do."""

    def numbers(shape: tuple[int, ...], low: float = -8, high: float = 8) -> NDArray[np.float64]:
        few = st.integers(int(low), int(high)).map(lambda number: number / 4)
        return data.draw(arrays(np.float64, shape, elements=few))

    def factor() -> NDArray[np.float64]:
        kept = data.draw(st.lists(st.booleans(), min_size=len(shape), max_size=len(shape)))
        return numbers(tuple(extent if keeps else 1 for extent, keeps in zip(shape, kept, strict=True)), 0)

    value, got = numbers(shape), numbers(shape).astype(np.float32 if single else np.float64)
    size, scale = numbers(shape, 0).astype(got.dtype), numbers(shape, 0)
    growth, flushed, root, floor = factor(), factor(), factor(), factor()
    found = scan(got, value, size=size, growth=growth, flushed=flushed, scale=scale, root=root, floor=floor)

    bound = np.broadcast_to(growth * size + flushed, shape)
    error = np.abs(got - value)
    doubtful = error > SURELY * bound
    assert found.doubtful.tolist() == np.flatnonzero(doubtful).tolist()
    assert found.differs == bool(error.any())
    ratio = np.where(doubtful | (error == 0), -1.0, error / np.maximum(bound, SMALLEST))
    assert found.ratio == max(ratio.max(), 0.0)
    assert found.place == (ratio.argmax() if ratio.max() >= 0 else -1)
    assert found.bound == bound.flat[max(found.place, 0)]
    against = np.maximum(root * np.abs(value), np.maximum(scale, floor))
    relative = np.where(doubtful, 0.0, error / np.maximum(against, SMALLEST))
    assert found.relative == relative.max()
    assert found.signs == np.count_nonzero((got == value) & (value == 0) & (np.signbit(got) != np.signbit(value)))
    equal = np.array_equal(got, value) and np.array_equal(np.signbit(got), np.signbit(value))
    assert found.bounds == (0 if equal else pytest.approx(bound.sum()))
    assert found.squares == (0 if equal else pytest.approx((value**2).sum()))


@pytest.mark.parametrize("extent", [1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK])
def test_one_other_element_is_seen_wherever_it_stands(extent: int) -> None:
    value = np.ones(extent)
    assert not scanned(value.copy(), value, np.ones(extent)).differs
    for place in {0, extent // 2, extent - 1}:
        got = value.copy()
        got[place] = 1.5
        found = scanned(got, value, np.ones(extent))
        assert (found.differs, found.place, found.ratio, found.bounds) == (True, place, 0.5, extent)
        zeros = np.zeros(extent)
        minus = zeros.copy()
        minus[place] = -0.0
        assert scanned(minus, zeros, np.ones(extent)).signs == 1


def test_infinities_and_nan_are_right_where_they_are_expected_alone() -> None:
    special = np.array([math.inf, -math.inf, math.nan, 1.0])
    same = scanned(special, special, np.full(4, math.inf))
    assert (same.doubtful.size, same.differs, same.place) == (0, False, -1)
    for got in (1.0, -math.inf, math.nan):
        assert scanned(np.array([got]), np.array([math.inf]), np.array([math.inf])).doubtful.tolist() == [0]
    for got in (math.inf, math.nan):
        assert scanned(np.array([0.0, got]), np.zeros(2), np.ones(2)).doubtful.tolist() == [1]


def test_an_infinite_bound_holds_every_number() -> None:
    found = scanned(np.array([1e300]), np.zeros(1), np.full(1, math.inf))
    assert (found.doubtful.size, found.differs, found.place, found.ratio) == (0, True, 0, 0.0)


def test_arrays_of_any_layout_are_read_in_row_major_order_and_left_as_they_are() -> None:
    value = np.asfortranarray(np.arange(12.0).reshape(3, 4))
    got = value.copy(order="C")
    got[2, 1] += 0.5
    got.flags.writeable = False
    found = scanned(got, value, np.ones((3, 4)))
    assert (found.place, found.ratio) == (9, 0.5)
    assert value.flags.writeable
    value[0, 0] = 1


@pytest.mark.parametrize("other", [0.5, -1e-300, math.nan, 2.0**52 + 0.5 - 0.25, 1 - 2.0**-53])
def test_one_number_that_is_no_integer_is_found_anywhere(other: float) -> None:
    whole = np.arange(-BLOCK, 2.0 * BLOCK).reshape(3, -1)
    zeros = np.array([math.inf, -0.0])
    for array in (whole, whole.T, np.array(3), zeros, np.zeros((0, 3)), np.array([True]), np.full(3, 2.0**60)):
        assert are_integers(array)
    assert are_integers(np.array(other)) is float(other).is_integer()
    for place in (0, BLOCK, whole.size - 1):
        array = whole.copy()
        array.flat[place] = 0.5
        assert not are_integers(array)
        assert not are_integers(array.T)
