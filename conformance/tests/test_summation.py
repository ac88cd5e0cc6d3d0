"""Emulated arithmetic rounds as the formats do, and orders matter as they must."""

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.formats import FORMATS, round_to
from conformance.verdict.rational import Sums, Term
from conformance.verdict.summation import Shuffled, adversarial, chains, rounded

SINGLE = FORMATS["float32"]
BIG = 2**24


def terms(*numbers: int) -> tuple[Term, ...]:
    return tuple(Term((Fraction(number),)) for number in numbers)


@pytest.mark.parametrize("name", FORMATS)
@given(st.floats(min_value=-1e4, max_value=1e4, allow_nan=False))
def test_fractions_are_rounded_as_the_formats_round(name: str, number: float) -> None:
    if name == "float64" or abs(number) >= FORMATS[name].eta or not number:
        expected = float(round_to(np.array([number]), FORMATS[name])[0])
        assert float(rounded(Fraction(number), FORMATS[name])) == expected


def test_subnormal_numbers_and_ties_are_rounded_to_even() -> None:
    least = Fraction(2) ** -149
    assert rounded(least * 3 / 2, SINGLE) == 2 * least
    assert rounded(least / 2, SINGLE) == 0
    assert rounded(Fraction(2 * BIG + 2), SINGLE) == 2 * BIG
    assert rounded(Fraction(-2 * BIG - 6), SINGLE) == -2 * BIG - 8


def test_a_fraction_is_rounded_once() -> None:
    """Through float64 this would be a tie, and go down."""
    number = 1 + Fraction(1, 2**24) + Fraction(1, 2**80)
    assert rounded(number, SINGLE) == 1 + Fraction(1, 2**23)
    assert np.float32(float(number)) == 1


def test_the_order_decides_what_is_lost() -> None:
    found = adversarial(terms(BIG, 1, 1), SINGLE)
    assert found["ascending"] == BIG + 2
    assert found["descending"] == BIG
    assert found["as defined, fused"] == BIG


def test_a_fused_product_is_rounded_once() -> None:
    a = Fraction(1 + 2**-12)
    own = (Term((Fraction(-1),)), Term((a, a)))
    found = adversarial(own, SINGLE)
    assert found["as defined, fused"] == rounded(a * a - 1, SINGLE)
    assert found["as defined"] == rounded(a * a, SINGLE) - 1
    assert found["as defined"] != found["as defined, fused"]


def test_quotients_come_before_the_sum_or_after_it() -> None:
    own = tuple(Term((Fraction(n),), Fraction(3)) for n in (1, 1, 1))
    found = adversarial(own, SINGLE)
    assert found["divided once"] == 1
    assert found["times the reciprocal"] == rounded(3 * rounded(Fraction(1, 3), SINGLE), SINGLE)


def test_chains_count_what_a_term_passes_through() -> None:
    third = Fraction(1, 3)
    own = (Term((Fraction(2), Fraction(3))), Term((Fraction(-1),)), Term((Fraction(0),)), Term((third,), Fraction(5)))
    size, longest, weighted = chains(own, SINGLE)
    assert size == 6 + 1 + third / 5
    # Two additions, as zero adds nothing; the last term is rounded, and divided.
    assert longest == 4
    assert weighted == 3 * 6 + 2 * 1 + 4 * third / 5


def test_shuffled_sums_are_those_of_float32() -> None:
    honest = Shuffled(Sums((2,), {(0,): terms(BIG, 1, 1), (1,): terms(1, 2)}))
    generator = np.random.Generator(np.random.Philox(key=1))
    found = {tuple(honest.add(generator)) for _ in range(64)}
    assert found == {(BIG, 3.0), (BIG + 2, 3.0)}
