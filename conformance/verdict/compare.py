"""The one comparator: an array against an interval by element.

Within iff round(value - bound) <= got <= round(value + bound), with the ends rounded to the output format (Higham,
Accuracy and Stability of Numerical Algorithms, chapter 3, gives the bound; rounding the ends covers the last
rounding, subnormals and overflow, and nothing more: half an ulp added to the bound would let truncated results pass).
"""

import math
from functools import partial
from typing import Final

import numpy as np

from conformance.case.job import Tensor
from conformance.formats import FORMATS, Float64, Format, from_storage, round_to
from conformance.verdict.model import Comparison, Expectation, Reason

# Where the median bound exceeds this share of the values' root mean square, agreement says nothing.
VACUOUS_SHARE: Final = 1 / 16


def compare(name: str, check: str, data: str, got: Tensor, expectation: Expectation, format_name: str) -> Comparison:
    """Compares what a backend gave with what is expected of it, in the given storage format."""
    value = expectation.value
    comparison = partial(
        Comparison,
        name=name,
        check=check,
        data=data,
        expected_shape=value.shape,
        got_shape=got.shape,
        expected_format=format_name,
        got_format=got.format,
    )

    if got.shape != value.shape:
        return comparison(within=False, reason=Reason.SHAPE, ratio=math.inf, bits=0.0)
    if got.format != format_name:
        return comparison(within=False, reason=Reason.FORMAT, ratio=math.inf, bits=0.0)
    format_ = FORMATS[format_name]
    numbers = from_storage(got.data, format_)
    if value.size == 0:
        return comparison(within=True, reason=Reason.EXACT)
    low, high = interval(expectation, format_)
    with np.errstate(all="ignore"):
        # Equality covers infinities; NaN is right only where NaN is expected.
        both_nan = np.isnan(numbers) & np.isnan(value)
        inside = (low <= numbers) & (numbers <= high) | both_nan
        error = np.where((numbers == value) | both_nan, 0.0, np.abs(numbers - value))
        room = np.where(numbers > value, high - value, value - low)
        # At most 1 inside by definition; outside, a difference that no number measures counts as infinite.
        ratio = np.where(error == 0, 0.0, error / room)
    ratio = np.where(inside, np.fmin(ratio, 1.0), np.fmax(np.where(np.isnan(ratio), np.inf, ratio), 1.0))
    worst = int(np.argmax(ratio))
    index = tuple(int(i) for i in np.unravel_index(worst, value.shape))
    within = bool(inside.all())
    if not within:
        reason = _difference(numbers[~inside], value[~inside])
    elif not (expectation.bound > 0).any() or bool((error == 0).all()):
        reason = Reason.EXACT
    elif _vacuous(expectation):
        reason = Reason.VACUOUS
    else:
        reason = Reason.WITHIN_BOUND
    return comparison(
        within=within,
        reason=reason,
        worst_index=index,
        expected=float(value[index]),
        got=float(numbers[index]),
        error=float(error[index]),
        bound=float(expectation.bound[index]),
        ratio=float(ratio[index]),
        outside=int(value.size - inside.sum()),
        bits=effective_bits(error, expectation.scale),
    )


def interval(expectation: Expectation, format_: Format) -> tuple[Float64, Float64]:
    """The lowest and the highest number of the format that an honest computation may give, by element."""
    with np.errstate(invalid="ignore", over="ignore"):
        low = round_to(expectation.value - expectation.bound, format_)
        high = round_to(expectation.value + expectation.bound, format_)
    infinite = np.isinf(expectation.value)
    return np.where(infinite, expectation.value, low), np.where(infinite, expectation.value, high)


def effective_bits(error: Float64, scale: Float64) -> float:
    """-log2 of the largest error relative to what entered the element: the one number for people.

    Counted against max(sqrt(n) |value|, S), which no honest computation of n terms exceeds by more than its own
    rounding; infinite where nothing differs, 0 where nothing agrees.
    """
    if not error.any():
        return math.inf
    with np.errstate(all="ignore"):
        relative = float(np.max(np.where(error > 0, error / scale, 0.0)))
    if relative == 0:  # a difference below what entered the element can show
        return math.inf
    return max(0.0, -math.log2(relative)) if math.isfinite(relative) else 0.0


def _difference(got: Float64, expected: Float64) -> Reason:
    if bool((np.isnan(got) != np.isnan(expected)).any()):
        return Reason.NAN
    if bool((np.isinf(got) | np.isinf(expected)).any()):
        return Reason.INFINITY
    return Reason.VALUE


def _vacuous(expectation: Expectation) -> bool:
    finite = np.isfinite(expectation.value)
    values = expectation.value[finite]
    if not values.size or not values.any():
        return False
    bound = float(np.median(expectation.bound[finite]))
    return bound > VACUOUS_SHARE * float(np.sqrt(np.mean(np.square(values))))
