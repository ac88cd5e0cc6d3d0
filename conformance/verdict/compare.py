"""The one comparator: an array against an interval by element.

Within iff round(value - bound) <= got <= round(value + bound), with the ends rounded to the output format (Higham,
Accuracy and Stability of Numerical Algorithms, chapter 3, gives the bound; rounding the ends covers the last
rounding, subnormals and overflow, and nothing more: half an ulp added to the bound would let truncated results pass).
"""

import math
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np

from conformance.case.job import Tensor
from conformance.formats import FORMATS, Float64, Format, from_storage, round_to
from conformance.verdict.model import Comparison, Expectation, Reason

# Where the median bound exceeds this share of the values' root mean square, agreement says nothing.
VACUOUS_SHARE: Final = 1 / 16
# Elements that are compared at a time: a dozen arrays of this size fit into a second-level cache.
BLOCK: Final = 1 << 14


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
    astray = misplaced_signs(numbers, expectation)
    equal = np.array_equal(numbers, value)  # infinities are equal, too; there is no room to be measured
    found = None if equal else _Found.of(numbers, expectation, format_)
    if astray is not None and (found is None or not found.outside):
        place = tuple(int(i) for i in np.argwhere(astray)[0])
        return comparison(
            within=False,
            reason=Reason.SIGN,
            worst_index=place,
            expected=float(value[place]),
            got=float(numbers[place]),
            outside=int(astray.sum()),
        )
    if found is None:
        first = (0,) * value.ndim
        at_first = float(value[first])
        bound = float(expectation.bound[first])
        return comparison(
            within=True, reason=Reason.EXACT, worst_index=first, expected=at_first, got=at_first, bound=bound
        )
    index = tuple(int(i) for i in np.unravel_index(found.worst, value.shape))
    if found.outside:
        reason = _difference(found.got_outside, found.expected_outside)
    elif not found.differs or not (expectation.bound > 0).any():
        reason = Reason.EXACT
    elif _vacuous(expectation):
        reason = Reason.VACUOUS
    else:
        reason = Reason.WITHIN_BOUND
    return comparison(
        within=not found.outside,
        reason=reason,
        worst_index=index,
        expected=float(value[index]),
        got=float(numbers[index]),
        error=found.error,
        bound=float(expectation.bound[index]),
        ratio=found.ratio,
        outside=found.outside,
        bits=effective_bits(found.relative) if found.differs else math.inf,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """What the elements of an array say together.

    Attributes:
        worst: the first element, in row-major order, with the largest ratio.
        error, ratio: of that element.
        outside: how many lie outside; `got_outside`, `expected_outside` are their numbers.
        differs: some element is not the expected value itself.
        relative: the largest error relative to the scale.
    """

    worst: int
    error: float
    ratio: float
    outside: int
    got_outside: Float64
    expected_outside: Float64
    differs: bool
    relative: float

    @classmethod
    def of(cls, numbers: Float64, expectation: Expectation, format_: Format) -> "_Found":
        """Goes through the elements block by block: what fits into the cache is compared several times as fast."""
        flat = [array.reshape(-1) for array in (numbers, expectation.value, expectation.bound, expectation.scale)]
        worst, worst_error, worst_ratio = 0, 0.0, -1.0
        got_outside, expected_outside, relatives = [], [], []
        differs = False
        for start in range(0, numbers.size, BLOCK):
            got, value, bound, scale = (array[start : start + BLOCK] for array in flat)
            inside, error, ratio = _measure(got, value, bound, format_)
            with np.errstate(all="ignore"):
                relatives.append(np.divide(error, scale, out=np.zeros_like(error), where=error > 0).max())
            place = int(np.argmax(ratio))
            if ratio[place] > worst_ratio:
                worst, worst_error, worst_ratio = start + place, float(error[place]), float(ratio[place])
            if not inside.all():
                got_outside.append(got[~inside])
                expected_outside.append(value[~inside])
            differs = differs or bool(error.any())
        nothing = [np.zeros(0)]
        return cls(
            worst=worst,
            error=worst_error,
            ratio=worst_ratio,
            outside=sum(map(len, got_outside)),
            got_outside=np.concatenate(got_outside or nothing),
            expected_outside=np.concatenate(expected_outside or nothing),
            differs=differs,
            relative=float(np.max(relatives)),
        )


def _measure(got: Float64, value: Float64, bound: Float64, format_: Format) -> tuple[Any, Float64, Float64]:
    """By element: whether it lies within, its error, and the error over the room that its interval leaves."""
    low, high = interval(value, bound, format_)
    with np.errstate(all="ignore"):
        inside = (low <= got) & (got <= high)
        error = np.asarray(np.abs(got - value))  # of no axes, too: numpy would give a number
        if not np.isfinite(error).all():
            # Equality covers infinities; NaN is right only where NaN is expected.
            both_nan = np.isnan(got) & np.isnan(value)
            inside |= both_nan
            error[(got == value) | both_nan] = 0.0
        room = np.where(got > value, high - value, value - low)
        # At most 1 inside by definition; outside, a difference that no number measures counts as infinite.
        ratio = np.divide(error, room, out=np.zeros_like(error), where=error != 0)
    if inside.all():
        return inside, error, np.fmin(ratio, 1.0)
    beyond = np.fmax(np.where(np.isnan(ratio), np.inf, ratio), 1.0)
    ratio = np.where(inside, np.fmin(ratio, 1.0), beyond)
    return inside, error, ratio


def misplaced_signs(numbers: Float64, expectation: Expectation) -> Any | None:
    """Where a zero has another sign than every honest computation gives it; None if nowhere."""
    if expectation.signed is None:
        return None
    zeros = (numbers == 0) & (expectation.value == 0)
    if not zeros.any():
        return None
    astray = zeros & expectation.signed & (np.signbit(numbers) != np.signbit(expectation.value))
    return astray if astray.any() else None


def element_ratios(got: Tensor, expectation: Expectation, format_name: str) -> Float64 | None:
    """Error over room by element, for pictures; None where shape or format differ."""
    if got.shape != expectation.value.shape or got.format != format_name:
        return None
    format_ = FORMATS[format_name]
    return _measure(from_storage(got.data, format_), expectation.value, expectation.bound, format_)[2]


def outside(got: Tensor, expectation: Expectation, format_name: str) -> Any | None:
    """Which elements lie outside their intervals; None where shape or format differ."""
    if got.shape != expectation.value.shape or got.format != format_name:
        return None
    format_ = FORMATS[format_name]
    numbers = from_storage(got.data, format_)
    inside = _measure(numbers, expectation.value, expectation.bound, format_)[0]
    astray = misplaced_signs(numbers, expectation)
    return np.logical_not(inside) if astray is None else np.logical_not(inside) | astray


def interval(value: Float64, bound: Float64, format_: Format) -> tuple[Float64, Float64]:
    """The lowest and the highest number of the format that an honest computation may give, by element."""
    with np.errstate(invalid="ignore", over="ignore"):
        low = round_to(value - bound, format_)
        high = round_to(value + bound, format_)
    infinite = np.isinf(value)
    if not infinite.any():
        return low, high
    return np.where(infinite, value, low), np.where(infinite, value, high)


def effective_bits(relative: float) -> float:
    """-log2 of the largest error relative to what entered the element: the one number for people.

    Counted against max(sqrt(n) |value|, S), which no honest computation of n terms exceeds by more than its own
    rounding; infinite where a difference is below what entered the element can show, 0 where nothing agrees.
    """
    if relative == 0:
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
    values, bounds = expectation.value[finite], expectation.bound[finite]
    if not values.size or not values.any():
        return False
    with np.errstate(over="ignore"):
        allowed = VACUOUS_SHARE * float(np.sqrt(np.mean(np.square(values))))
        # A median of numbers that are not negative is at most twice their mean, which is cheaper.
        return bool(2 * np.mean(bounds) > allowed) and float(np.median(bounds)) > allowed
