"""Whether two samples of accuracies have means that are the same, to within a margin that somebody stated.

That a difference is not significant shows nothing: few and scattered numbers never differ. So the burden is turned
round (Schuirmann, A comparison of the two one-sided tests procedure, 1987): that the means are apart by the margin or
more is rejected, from either side, by Welch's t at the level `LEVEL`; which is so exactly where the interval of
1 - 2 `LEVEL` for the difference lies within the margin.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np

LEVEL: Final = 0.05


@dataclass(frozen=True, slots=True, kw_only=True)
class Equivalence:
    """Two samples compared.

    Attributes:
        difference: of the means, the first less the second.
        low, high: the interval for it, of 1 - 2 `LEVEL`.
        margin: what is still the same.
        p: the larger of the two one-sided levels.
        standing: `equivalent` where the interval lies within the margin, `different` where it lies wholly outside,
            else `undecided`: more samples would tell.
    """

    difference: float
    low: float
    high: float
    margin: float
    p: float
    standing: Literal["equivalent", "different", "undecided"]


def compare_means(got: Sequence[float], expected: Sequence[float], margin: float) -> Equivalence:
    """Two one-sided tests.

    Args:
        got: at least two numbers.
        expected: at least two numbers.
        margin: above 0.

    Raises:
        ValueError: if a sample is too small, or the margin is not above 0.
    """
    if min(len(got), len(expected)) < 2:
        raise ValueError(f"an interval needs two numbers on either side, got {len(got)} and {len(expected)}")
    if margin <= 0:
        raise ValueError(f"the margin must be above 0, got {margin}")
    from scipy.stats import t as student

    one, other = np.asarray(got, np.float64), np.asarray(expected, np.float64)
    difference = float(one.mean() - other.mean())
    shares = [float(sample.var(ddof=1)) / len(sample) for sample in (one, other)]
    error = math.sqrt(sum(shares))
    if error == 0:
        reach, p = 0.0, 0.0 if abs(difference) < margin else 1.0
    else:
        degrees = sum(shares) ** 2 / sum(
            share**2 / (len(sample) - 1) for share, sample in zip(shares, (one, other), strict=True)
        )
        reach = error * float(student.ppf(1 - LEVEL, degrees))
        p = float(student.sf((margin - abs(difference)) / error, degrees))
    low, high = difference - reach, difference + reach
    standing: Literal["equivalent", "different", "undecided"] = "undecided"
    if p < LEVEL:
        standing = "equivalent"
    elif low >= margin or high <= -margin:
        standing = "different"
    return Equivalence(difference=difference, low=low, high=high, margin=margin, p=p, standing=standing)
