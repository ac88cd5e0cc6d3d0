import numpy as np
import pytest
from scipy import stats

from conformance.verdict.equivalence import LEVEL, compare_means

SAME = (0.9901, 0.9905, 0.9897)


@pytest.mark.parametrize(
    ("got", "standing"),
    [
        ((0.9903, 0.9899, 0.9908), "equivalent"),
        ((0.9803, 0.9799, 0.9808), "different"),
        ((0.9999, 0.9995, 0.9997), "different"),
        ((0.9903, 0.9600, 0.9999), "undecided"),  # so scattered that anything may be
        ((0.9871, 0.9874, 0.9868), "undecided"),  # about a margin away
    ],
)
def test_the_interval_s_place_decides(got, standing):
    found = compare_means(got, SAME, 0.003)
    assert found.standing == standing
    assert found.low < found.difference < found.high
    assert (found.standing == "equivalent") == (found.low > -0.003 and found.high < 0.003)
    assert (found.p < LEVEL) == (found.standing == "equivalent")


def test_both_tests_are_scipy_s():
    got, margin = (0.9903, 0.9899, 0.9911, 0.9900), 0.002
    found = compare_means(got, SAME, margin)
    shifted = np.asarray(SAME)
    one = stats.ttest_ind(got, shifted - margin, equal_var=False, alternative="greater").pvalue
    other = stats.ttest_ind(got, shifted + margin, equal_var=False, alternative="less").pvalue
    assert found.p == pytest.approx(max(one, other), rel=1e-9)
    interval = stats.ttest_ind(got, SAME, equal_var=False).confidence_interval(1 - 2 * LEVEL)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high), rel=1e-9)


def test_samples_that_do_not_scatter_are_compared_as_they_are():
    assert compare_means((0.5, 0.5), (0.5, 0.5), 0.01).standing == "equivalent"
    assert compare_means((0.52, 0.52), (0.5, 0.5), 0.01).standing == "different"


def test_a_false_equivalence_is_as_rare_as_the_level():
    random = np.random.default_rng(1)
    apart = [random.normal(0.003, 0.0005, 3) for _ in range(2000)]
    wrong = sum(compare_means(one, random.normal(0.0, 0.0005, 3), 0.003).standing == "equivalent" for one in apart)
    # A binomial count of 2000 at 0.05 is above 140 once in a million; Welch's law is a shade conservative.
    assert 40 < wrong < 140


@pytest.mark.parametrize(
    ("got", "margin", "message"),
    [((0.5,), 0.01, "needs two numbers on either side, got 1 and 3"), ((0.5, 0.6), 0.0, "above 0, got 0.0")],
)
def test_what_cannot_be_compared_is_refused(got, margin, message):
    with pytest.raises(ValueError, match=message):
        compare_means(got, SAME, margin)
