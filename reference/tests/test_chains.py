"""Terms with different numbers of roundings in one bound."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.reference.chains import chained
from conformance.reference.magnitude import gamma

COUNTS = st.lists(st.tuples(st.floats(1, 1000), st.floats(0, 1e6)), min_size=1, max_size=5)


@given(terms=COUNTS)
def test_the_bound_covers_each_term_with_its_own_roundings(terms: list[tuple[float, float]]) -> None:
    for u in (2.0**-53, 2.0**-24, 2.0**-11):
        apart = sum(float(gamma(np.asarray(n), u)) * size for n, size in terms)
        magnitude = chained(*((n, np.asarray(size)) for n, size in terms), underflow=0.0)
        together = float(magnitude.radius(unit_roundoff=u, smallest_normal=0.0))
        # The two sums are rounded in float64, a handful of operations each, perhaps to subnormal numbers.
        assert apart <= together * (1 + 32 * 2.0**-53) + 32 * 2.0**-1074
        # With every term as long as the longest, the bound would be gamma of it times their sum.
        longest = float(gamma(np.asarray(max(n for n, _ in terms)), u))
        assert together <= longest * sum(size for _, size in terms) * (1 + 32 * 2.0**-53) + 32 * 2.0**-1074


def test_one_term_is_left_as_it_is() -> None:
    magnitude = chained((3.0, np.array([2.0, 5.0])), underflow=1.0)
    assert magnitude.terms == 3
    assert magnitude.absolute.tolist() == [2.0, 5.0]


def test_a_longer_chain_keeps_the_first_order() -> None:
    magnitude = chained((3.0, np.array([2.0])), underflow=0.0, longest=6.0)
    assert magnitude.terms == 6
    assert magnitude.terms * magnitude.absolute[0] == pytest.approx(6.0, rel=2.0**-50)
