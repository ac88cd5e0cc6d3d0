"""Rounding, checked on every number of the short formats and by definition on the long ones."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conformance.formats import FORMATS, Float64, Format, from_storage, round_to, to_storage

SHORT = ("bfloat16", "float16")
ALL = tuple(FORMATS)


def every_number(format_: Format) -> Float64:
    """Every number of a 16-bit format from 0 to infinity, both included, in order."""
    words = np.arange({"bfloat16": 0x7F80, "float16": 0x7C00}[format_.name] + 1, dtype=np.uint16)
    if format_.name == "float16":
        return words.view(np.float16).astype(np.float64)
    return (words.astype(np.uint32) << 16).view(np.float32).astype(np.float64)


def rounded(value: float, format_: Format) -> float:
    return float(round_to(np.float64(value), format_))


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("sign", [1, -1])
def test_every_number_of_a_short_format_stays(name: str, sign: int) -> None:
    numbers = sign * every_number(FORMATS[name])
    assert np.isinf(numbers).sum() == 1
    np.testing.assert_array_equal(round_to(numbers, FORMATS[name]), numbers)
    assert np.array_equal(np.signbit(round_to(numbers, FORMATS[name])), np.signbit(numbers))


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.parametrize("sign", [1, -1])
def test_between_neighbours_the_nearer_wins_and_ties_go_to_even(name: str, sign: int) -> None:
    format_ = FORMATS[name]
    numbers = every_number(format_)
    # Beyond the largest number, the next one would be the power of two; from halfway there on, infinity.
    reached = numbers.copy()
    reached[-1] = 2.0 ** (format_.exponent_max + 1)
    halfway = (reached[:-1] + reached[1:]) / 2
    even = np.arange(len(halfway)) % 2 == 0
    np.testing.assert_array_equal(round_to(sign * halfway, format_), sign * np.where(even, numbers[:-1], numbers[1:]))
    np.testing.assert_array_equal(round_to(sign * np.nextafter(halfway, 0), format_), sign * numbers[:-1])
    np.testing.assert_array_equal(round_to(sign * np.nextafter(halfway, np.inf), format_), sign * numbers[1:])


def test_bfloat16_is_rounded_once() -> None:
    # Just above halfway: through float32 it becomes halfway, and then goes to even, the wrong way.
    value = 1 + 2.0**-8 + 2.0**-30
    assert rounded(value, FORMATS["bfloat16"]) == 1 + 2.0**-7
    assert rounded(float(np.float32(value)), FORMATS["bfloat16"]) == 1


@given(st.floats())
@example(3.4028235677973366e38)
@example(2.0**-150)
@example(np.nextafter(2.0**-150, 1))
def test_float32_and_float16_are_rounded_as_numpy_does(value: float) -> None:
    for name in ("float32", "float16"):
        with np.errstate(over="ignore"):
            expected = float(np.float64(value).astype(name))
        np.testing.assert_equal(rounded(value, FORMATS[name]), expected)


@given(st.floats())
def test_float64_stays(value: float) -> None:
    np.testing.assert_equal(rounded(value, FORMATS["float64"]), value)


@given(st.floats(allow_nan=False, allow_infinity=False), st.sampled_from(ALL))
def test_rounding_is_to_the_nearest_number_by_definition(value: float, name: str) -> None:
    format_ = FORMATS[name]
    result = rounded(value, format_)
    if abs(value) >= format_.largest:
        half = Fraction(format_.largest) + Fraction(2) ** (format_.exponent_max - format_.precision)
        assert abs(result) == (format_.largest if abs(Fraction(value)) < half else np.inf)
        return
    exponent = format_.exponent_min
    while Fraction(2) ** (exponent + 1) <= abs(Fraction(value)):
        exponent += 1
    quantum = Fraction(2) ** (exponent - format_.precision + 1)
    assert Fraction(result) == round(Fraction(value) / quantum) * quantum  # Python's round: ties to even


@pytest.mark.parametrize(
    ("value", "result"),
    [
        (1 + 2.0**-10, 1 + 2.0**-10),
        (1 + 2.0**-11, 1.0),
        (1 + 3 * 2.0**-11, 1 + 2.0**-9),
        (1 + 2.0**-11 + 2.0**-40, 1 + 2.0**-10),
        (2.0**-126, 2.0**-126),
        (2.0**-136, 2.0**-136),
        (2.0**-137, 0.0),
        (3 * 2.0**-137, 2.0**-135),
        (2.0**127 * (2 - 2.0**-11), np.inf),
        (2.0**127 * (2 - 2.0**-10), 2.0**127 * (2 - 2.0**-10)),
    ],
)
def test_tfloat32_has_float32_s_range_and_11_bits(value: float, result: float) -> None:
    assert rounded(value, FORMATS["tfloat32"]) == result
    assert rounded(-value, FORMATS["tfloat32"]) == -result


@pytest.mark.parametrize(
    ("name", "unit", "eta", "largest"),
    [
        ("float64", 2.0**-53, 2.0**-1022, np.finfo(np.float64).max),
        ("float32", 2.0**-24, 2.0**-126, float(np.finfo(np.float32).max)),
        ("bfloat16", 2.0**-8, 2.0**-126, 3.3895313892515355e38),
        ("float16", 2.0**-11, 2.0**-14, 65504.0),
        ("tfloat32", 2.0**-11, 2.0**-126, 3.4011621342146535e38),
    ],
)
def test_what_a_format_is(name: str, unit: float, eta: float, largest: float) -> None:
    format_ = FORMATS[name]
    assert (format_.unit, format_.eta, format_.largest) == (unit, eta, largest)
    assert rounded(1 + 2 * unit, format_) == 1 + 2 * unit
    assert rounded(1 + unit, format_) == 1


@pytest.mark.parametrize("name", ALL)
def test_infinities_nan_and_signed_zeros_stay(name: str) -> None:
    given_ = np.array([[np.inf, -np.inf, np.nan], [0.0, -0.0, 5e-324]])
    result = round_to(given_, FORMATS[name])
    assert result.shape == given_.shape
    assert result.dtype == np.float64
    np.testing.assert_array_equal(result[0], given_[0])
    np.testing.assert_array_equal(np.signbit(result), np.signbit(given_))


# Storage -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHORT)
def test_every_word_of_a_short_format_survives_a_round_trip(name: str) -> None:
    words = np.arange(1 << 16, dtype=np.uint16)
    stored = words.view(FORMATS[name].storage)
    values = from_storage(stored, FORMATS[name])
    numbers = ~np.isnan(values)
    assert int(numbers.sum()) == {"bfloat16": 2 * 0x7F81, "float16": 2 * 0x7C01}[name]
    again = to_storage(values, FORMATS[name]).view(np.uint16)
    np.testing.assert_array_equal(again[numbers], words[numbers])
    assert np.isnan(from_storage(again.view(FORMATS[name].storage), FORMATS[name])[~numbers]).all()


@given(st.lists(st.floats(), max_size=4), st.sampled_from(ALL))
def test_what_is_stored_is_the_rounded_value(values: list[float], name: str) -> None:
    format_ = FORMATS[name]
    array = np.array(values)
    stored = to_storage(array, format_)
    assert stored.dtype == format_.storage
    np.testing.assert_array_equal(from_storage(stored, format_), round_to(array, format_))


@pytest.mark.parametrize("name", ALL)
def test_what_is_stored_is_fresh_contiguous_and_of_the_same_shape(name: str) -> None:
    for values in (np.arange(6.0).reshape(2, 3).T, np.zeros((0, 2)), np.array(1.5)):
        stored = to_storage(values, FORMATS[name])
        assert stored.shape == values.shape
        assert stored.flags.c_contiguous
        assert not np.shares_memory(stored, values)


@pytest.mark.parametrize("name", ALL)
def test_another_type_is_no_storage(name: str) -> None:
    with pytest.raises(TypeError, match=rf"{name} is stored as \w+, got int8"):
        from_storage(np.zeros(2, np.int8), FORMATS[name])
