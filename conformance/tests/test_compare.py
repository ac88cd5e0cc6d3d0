"""The comparator: intervals whose ends are rounded to the format, and what is said about an array."""

import math
from typing import Final

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conformance.case.job import Tensor
from conformance.formats import FORMATS, from_storage, round_to, to_storage
from conformance.verdict.compare import compare, effective_bits, interval
from conformance.verdict.model import Comparison, Expectation, Reason

FLOAT32 = FORMATS["float32"]
NAMES = ("float64", "float32", "bfloat16", "float16")
# Elements that no cache of the first level holds.
MANY: Final = 1 << 14


def expectation(value: object, bound: object = 0.0, scale: object = None) -> Expectation:
    values = np.asarray(value, np.float64)
    bounds = np.broadcast_to(np.asarray(bound, np.float64), values.shape)
    scales = np.abs(values) if scale is None else np.broadcast_to(np.asarray(scale, np.float64), values.shape)
    return Expectation(value=values, size=bounds, scale=scales)


def compared(
    got: object, value: object, bound: object = 0.0, format_: str = "float32", scale: object = None
) -> Comparison:
    stored = Tensor(format_, to_storage(np.asarray(got, np.float64), FORMATS[format_]))
    return compare("output", "outputs", "normal", stored, expectation(value, bound, scale), format_)


def after(number: float, format_: str, steps: int = 1) -> float:
    """The number of the format so many steps above."""
    stored = to_storage(np.float64(number), FORMATS[format_])
    words = np.array(stored).view({2: np.int16, 4: np.int32, 8: np.int64}[stored.dtype.itemsize])
    return float(from_storage((words + words.dtype.type(steps)).view(stored.dtype), FORMATS[format_]))


# The interval ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", NAMES)
def test_without_a_bound_the_correctly_rounded_value_alone_is_right(format_: str) -> None:
    third = 1 / 3
    nearest = float(round_to(np.float64(third), FORMATS[format_]))
    assert compared([nearest], [third], format_=format_).within
    for steps in (-1, 1):
        wrong = compared([after(nearest, format_, steps)], [third], format_=format_)
        assert not wrong.within
        assert (wrong.reason, wrong.outside, wrong.worst_index) == (Reason.VALUE, 1, (0,))
        assert wrong.ratio >= 1


@pytest.mark.parametrize("format_", NAMES)
def test_the_ends_of_the_interval_are_rounded_to_the_format_and_belong_to_it(format_: str) -> None:
    step = 2 * FORMATS[format_].unit  # between neighbours of 1
    low, high = interval(np.array([1.0]), np.array([2.4 * step]), FORMATS[format_])
    assert (low[0], high[0]) == (after(1, format_, -5), after(1, format_, 2))  # below 1, steps are half as long
    for steps, within in ((2, True), (3, False), (-5, True), (-6, False)):
        assert compared([after(1, format_, steps)], [1.0], 2.4 * step, format_).within is within


def test_half_a_unit_in_the_last_place_is_not_added_to_the_bound() -> None:
    # 1 + 0.9 steps rounds up to one step; cut off it would be 1.
    step = 2 * FLOAT32.unit
    assert compared([1 + step], [1 + 0.9 * step], 0.3 * step).within
    assert not compared([1.0], [1 + 0.9 * step], 0.3 * step).within


def test_ties_of_the_ends_go_to_even() -> None:
    step = 2 * FLOAT32.unit
    assert interval(np.array([1.0]), np.array([step / 2]), FLOAT32)[1] == 1
    assert interval(np.array([1 + step]), np.array([step / 2]), FLOAT32)[1] == 1 + 2 * step


@pytest.mark.parametrize("format_", ["float32", "bfloat16", "float16"])
def test_subnormal_numbers_have_subnormal_ends(format_: str) -> None:
    smallest = after(0, format_)
    assert smallest == FORMATS[format_].eta * 2 * FORMATS[format_].unit
    assert compared([0.0], [0.4 * smallest], format_=format_).within
    assert not compared([0.0], [0.6 * smallest], format_=format_).within
    assert compared([3 * smallest], [2 * smallest], 0.6 * smallest, format_).within
    assert not compared([4 * smallest], [2 * smallest], 1.4 * smallest, format_).within


def test_a_result_that_a_backend_may_flush_needs_the_bound_that_says_so() -> None:
    smallest = 2.0**-149
    assert not compared([0.0], [5 * smallest]).within
    assert compared([0.0], [5 * smallest], FLOAT32.eta).within


@pytest.mark.parametrize("format_", ["float32", "bfloat16", "float16"])
def test_infinity_is_right_where_the_interval_reaches_beyond_the_largest_number(format_: str) -> None:
    largest = FORMATS[format_].largest
    assert compared([math.inf], [largest], 0.1 * largest, format_).within
    assert compared([largest], [largest], 0.1 * largest, format_).within
    assert compared([math.inf], [largest * 1.01], 0.0, format_).within
    assert not compared([math.inf], [largest], 0.0, format_).within
    assert not compared([-math.inf], [largest], 0.1 * largest, format_).within
    wrong = compared([math.inf], [1.0], 0.5, format_)
    assert (wrong.within, wrong.reason, wrong.ratio, wrong.error) == (False, Reason.INFINITY, math.inf, math.inf)


def test_an_expected_infinity_is_infinite_in_the_answer() -> None:
    assert compared([math.inf, -math.inf], [math.inf, -math.inf]).reason is Reason.EXACT
    assert compared([math.inf, 1.0], [math.inf, 1.5], [math.inf, 1.0]).within
    for got in (FLOAT32.largest, -math.inf, math.nan):
        wrong = compared([got], [math.inf], math.inf)
        assert not wrong.within
        assert wrong.ratio == math.inf
    assert compared([math.nan], [math.inf]).reason is Reason.NAN
    assert compared([1.0], [math.inf]).reason is Reason.INFINITY


def test_nan_is_right_where_nan_is_expected_and_nowhere_else() -> None:
    right = compared([math.nan, 1.0], [math.nan, 1.0])
    assert (right.within, right.reason, right.ratio) == (True, Reason.EXACT, 0)
    for got, value in ((math.nan, 1.0), (1.0, math.nan), (math.nan, math.inf), (math.inf, math.nan)):
        wrong = compared([0.0, got], [0.0, value], 1e9)
        assert (wrong.within, wrong.reason, wrong.worst_index, wrong.ratio) == (False, Reason.NAN, (1,), math.inf)


def test_an_infinite_bound_lets_every_number_in_but_nan() -> None:
    assert compared([FLOAT32.largest], [0.5], math.inf).within
    assert compared([math.inf], [0.5], math.inf).within
    assert not compared([math.nan], [0.5], math.inf).within


def test_the_sign_of_zero_is_no_difference() -> None:
    assert compared([-0.0], [0.0]).reason is Reason.EXACT


# What is said ------------------------------------------------------------------------------------------------------


def test_shape_before_format_before_values() -> None:
    got = Tensor("float64", np.zeros((2, 1)))
    shape = compare("w", "gradients", "wide", got, expectation([1.0, 2.0]), "float32")
    assert (shape.within, shape.reason, shape.got_shape, shape.expected_shape) == (False, Reason.SHAPE, (2, 1), (2,))
    assert (shape.name, shape.check, shape.data) == ("w", "gradients", "wide")
    format_ = compare("w", "gradients", "wide", got, expectation([[1.0], [2.0]]), "float32")
    assert (format_.within, format_.reason) == (False, Reason.FORMAT)
    assert (format_.got_format, format_.expected_format) == ("float64", "float32")
    assert shape.ratio == format_.ratio == math.inf
    assert shape.bits == format_.bits == 0


def test_a_scalar_is_no_array_of_one_element() -> None:
    assert compared(1.0, 1.0).reason is Reason.EXACT
    assert compared([1.0], 1.0).reason is Reason.SHAPE


def test_an_empty_array_agrees_with_an_empty_one() -> None:
    assert compared(np.zeros((0, 3)), np.zeros((0, 3))).reason is Reason.EXACT
    assert compared(np.zeros((0, 3)), np.zeros((3, 0))).reason is Reason.SHAPE


def test_the_worst_element_is_worst_by_its_own_bound() -> None:
    value, bound = np.array([[100.0, 1.0], [1.0, 1.0]]), np.array([[50.0, 0.5], [0.25, 0.5]])
    found = compared(value + np.array([[40.0, 0.1], [0.24, -0.2]]), value, bound)
    assert found.within
    assert found.reason is Reason.WITHIN_BOUND
    assert (found.worst_index, found.got, found.expected, found.bound) == ((1, 0), pytest.approx(1.24), 1, 0.25)
    assert found.error == found.got - 1
    assert found.ratio == pytest.approx(0.96)


def test_the_worst_element_is_found_far_behind_the_first() -> None:
    value = np.ones((3, MANY))
    got = value.copy()
    got[0, 5], got[2, 7], got[1, 3] = 1.25, 1.5, 1.5
    found = compared(got, value, 0.125)
    assert (found.worst_index, found.outside, found.error) == ((1, 3), 3, 0.5)
    assert found.ratio == 4


@pytest.mark.parametrize("place", [0, MANY - 1, MANY, 2 * MANY])
def test_one_element_among_many_is_not_overlooked(place: int) -> None:
    got = np.ones(2 * MANY + 1)
    got[place] = np.nextafter(np.float32(1), np.float32(2))
    found = compared(got, np.ones(2 * MANY + 1))
    assert (found.within, found.outside, found.worst_index) == (False, 1, (place,))


def test_equality_is_exact_and_so_is_a_last_rounding_alone() -> None:
    assert compared([0.5], [0.5], 0.1).reason is Reason.EXACT
    assert compared([float(np.float32(0.1))], [0.1]).reason is Reason.EXACT
    assert compared([float(np.float32(0.1))], [0.1], 1e-9).reason is Reason.WITHIN_BOUND


def test_a_bound_as_large_as_the_values_says_nothing() -> None:
    value = np.array([1.0, -1.0, 1.0, -1.0])
    assert compared(value + 0.01, value, 1 / 16).reason is Reason.WITHIN_BOUND
    vacuous = compared(value + 0.01, value, 1 / 15)
    assert (vacuous.within, vacuous.reason) == (True, Reason.VACUOUS)
    # The median counts: one wide element says nothing about the rest.
    assert compared(value + 0.01, value, [9.0, 0.02, 0.02, 0.02]).reason is Reason.WITHIN_BOUND
    # Outside stays outside, and equal stays equal, however wide the bound.
    assert compared(value + 9, value, 1 / 15).reason is Reason.VALUE
    assert compared(value, value, 9.0).reason is Reason.EXACT
    # Where nothing but zero is expected there is nothing to be a share of.
    assert compared(np.full(3, 2.0**-140), np.zeros(3), FLOAT32.eta).reason is Reason.WITHIN_BOUND


# Properties --------------------------------------------------------------------------------------------------------


@given(
    got=st.floats(width=32),
    value=st.floats(),
    bound=st.floats(min_value=0, allow_nan=False),
    format_=st.sampled_from(["float64", "float32", "bfloat16"]),
)
@example(got=0.0, value=1e-50, bound=0.0, format_="float32")
@example(got=math.inf, value=3e38, bound=1e38, format_="float32")
def test_the_ratio_is_at_most_1_exactly_when_within(got: float, value: float, bound: float, format_: str) -> None:
    found = compared([got], [value], bound, format_)
    stored = float(round_to(np.float64(got), FORMATS[format_]))
    rounded_got = stored
    if math.isnan(value) or math.isnan(rounded_got):
        within = math.isnan(value) and math.isnan(rounded_got)
    elif math.isinf(value):
        within = rounded_got == value
    else:
        with np.errstate(over="ignore"):
            low, high = (float(round_to(np.float64(end), FORMATS[format_])) for end in (value - bound, value + bound))
        within = low <= rounded_got <= high
    assert found.within is within
    assert within == (found.outside == 0)
    if within:
        assert 0 <= found.ratio <= 1
    else:
        assert found.ratio >= 1
    assert not math.isnan(found.ratio)


@given(value=st.floats(-1e30, 1e30), bound=st.floats(0, 1e30), share=st.floats(-1, 1))
def test_whatever_the_bound_allows_is_within_after_rounding(value: float, bound: float, share: float) -> None:
    honest = float(np.float32(np.clip(value + share * bound, value - bound, value + bound)))
    found = compared([honest], [value], bound)
    assert found.within
    assert found.ratio <= 1


# Effective bits ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("relative", "bits"),
    [(2.0**-24, 24), (0.5, 1), (1.0, 0), (4.0, 0), (0.0, math.inf), (math.inf, 0), (math.nan, 0)],
)
def test_effective_bits_count_from_the_scale(relative: float, bits: float) -> None:
    assert effective_bits(relative) == bits


def test_the_bits_of_an_array_are_those_of_its_worst_element() -> None:
    found = compared([1 + 2.0**-20, 8.0 + 2.0**-10], [1.0, 8.0], 1.0, scale=[1.0, 1024.0])
    assert found.bits == 20
    assert compared([1.0], [1.0], 1.0).bits == math.inf
    assert compared([2.0], [1.0], 4.0, scale=1.0).bits == 0


def test_a_difference_where_nothing_entered_has_no_bits() -> None:
    assert compared([1.0], [0.0], 2.0, scale=0.0).bits == 0


def test_an_array_of_no_axes_is_a_number() -> None:
    assert compared(1.25 + 2**-10, 1.25, 2**-9).reason is Reason.WITHIN_BOUND
    found = compared(10.0, 1.25, 0.25)
    assert (found.reason, found.worst_index, found.outside, found.error) == (Reason.VALUE, (), 1, 8.75)
