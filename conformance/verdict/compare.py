"""The one comparator: an array against an interval by element.

Within iff round(value - bound) <= got <= round(value + bound), with the ends rounded to the output format (Higham,
Accuracy and Stability of Numerical Algorithms, chapter 3, gives the bound; rounding the ends covers the last
rounding, subnormals and overflow, and nothing more: half an ulp added to the bound would let truncated results pass).

Rounding is monotone, so whatever lies within the bound before its ends are rounded lies within afterwards; only the
rest is looked at twice.
"""

import math
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.job import Tensor
from conformance.formats import Float64, Format, from_storage, round_to
from conformance.verdict.model import Comparison, Expectation, Reason
from conformance.verdict.scan import SMALLEST, SURELY, Scan, scan

# Where the median bound exceeds this share of the values' root mean square, agreement says nothing.
VACUOUS_SHARE: Final = 1 / 16


def compare(name: str, check: str, data: str, got: Tensor, expectation: Expectation, format_name: str) -> Comparison:
    """Compares what a backend gave with what is expected of it, in the given storage format."""
    value = expectation.value
    format_ = expectation.stored_in(format_name)
    comparison = partial(
        Comparison,
        name=name,
        check=check,
        data=data,
        expected_shape=value.shape,
        got_shape=got.shape,
        expected_format=format_.name,
        got_format=got.format,
    )

    if got.shape != value.shape:
        return comparison(within=False, reason=Reason.SHAPE, ratio=math.inf, bits=0.0)
    if got.format != format_.name:
        return comparison(within=False, reason=Reason.FORMAT, ratio=math.inf, bits=0.0)
    if value.size == 0:
        return comparison(within=True, reason=Reason.EXACT)
    numbers = _numbers(got, format_)
    seen = scan(
        numbers,
        value,
        size=expectation.size,
        growth=expectation.growth,
        flushed=expectation.flushed,
        scale=expectation.scale,
        root=expectation.root,
        floor=expectation.floor,
    )
    rest = _Doubtful.of(seen.doubtful, numbers, expectation, format_)
    worst, ratio = max((seen.place, seen.ratio), (rest.place, rest.ratio), key=lambda one: one[1])
    astray = _misplaced_signs(numbers, expectation) if seen.signs else None
    outside = len(rest.got)
    if outside:
        reason = _difference(rest.got, rest.expected)
    elif astray is not None:
        reason, outside = Reason.SIGN, int(astray.sum())
        worst, ratio = int(np.argmax(astray)), 0.0
    elif not seen.differs or seen.bounds == 0:
        reason = Reason.EXACT
    elif _vacuous(expectation, seen):
        reason = Reason.VACUOUS
    else:
        reason = Reason.WITHIN_BOUND
    index = tuple(int(place) for place in np.unravel_index(max(worst, 0), value.shape))
    wanted, given = float(value[index]), float(numbers[index])
    return comparison(
        within=not outside,
        reason=reason,
        worst_index=index,
        expected=wanted,
        got=given,
        error=_error(given, wanted),
        bound=seen.bound if worst == seen.place else float(expectation.at(index).bound),
        ratio=ratio,
        outside=outside,
        bits=effective_bits(max(seen.relative, rest.relative)) if seen.differs else math.inf,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Doubtful:
    """What the elements say together that do not lie surely within.

    Attributes:
        place, ratio: of the element with the largest error over bound.
        relative: the largest error relative to the scale.
        got, expected: the numbers of those that lie outside.
    """

    place: int = -1
    ratio: float = 0.0
    relative: float = 0.0
    got: Float64 = field(default_factory=lambda: np.zeros(0))
    expected: Float64 = field(default_factory=lambda: np.zeros(0))

    @classmethod
    def of(
        cls, places: NDArray[np.intp], numbers: NDArray[Any], expectation: Expectation, format_: Format
    ) -> "_Doubtful":
        """Looks at the elements at some places, in row-major order."""
        if not places.size:
            return cls()
        index = np.unravel_index(places, numbers.shape) if numbers.ndim else ()
        got, those = np.atleast_1d(numbers[index]).astype(np.float64), expectation.at(index)
        value, bound = (np.broadcast_to(array, got.shape) for array in (those.value, those.bound))
        error = _distance(got, value)
        inside, ratio = _measure(got, value, bound, error, format_)
        worst = int(np.argmax(ratio))
        return cls(
            place=int(places[worst]),
            ratio=float(ratio[worst]),
            relative=_relative(error, those),
            got=got[~inside],
            expected=value[~inside],
        )


def _numbers(tensor: Tensor, format_: Format) -> NDArray[Any]:
    """The numbers of an array as they are stored, where NumPy computes in that format, or in float64."""
    return tensor.data if tensor.data.dtype in (np.float32, np.float64) else from_storage(tensor.data, format_)


def _error(got: float, value: float) -> float:
    """The error of one element; none where infinities or NaN are equal."""
    return 0.0 if got == value or (math.isnan(got) and math.isnan(value)) else abs(got - value)


def _relative(error: Float64, expectation: Expectation) -> float:
    """The largest error against max(root |value|, scale, floor)."""
    with np.errstate(all="ignore"):
        least = np.fmax(expectation.scale, expectation.floor)
        scale = np.fmax(np.abs(expectation.value) * expectation.root, least)
        # What no number measures is left out.
        return float(np.fmax.reduce(_over(error, scale), axis=None, initial=0.0))


def _distance(got: Float64, value: Float64) -> Float64:
    """The error by element; 0 where infinities are equal is for `_measure` to say."""
    with np.errstate(all="ignore"):
        error = np.asarray(got - value)  # of no axes, too: numpy would give a number
        np.abs(error, out=error)
    return error


def _over(error: Float64, size: Float64) -> Float64:
    """A quotient that is 0 where the error is, whatever the size: dividing everything is faster than some of it."""
    return np.asarray(error / np.fmax(size, SMALLEST))


def _measure(got: Float64, value: Float64, bound: Float64, error: Float64, format_: Format) -> tuple[Any, Float64]:
    """By element: whether it lies within, and the error over its bound.

    Where the bound alone does not hold it, the error is set over the room up to the rounded end instead, so that the
    ratio is at most 1 exactly where it lies within; a difference that no number measures counts as infinite. The
    error becomes 0 where infinities or NaN are equal.
    """
    with np.errstate(all="ignore"):
        inside = np.asarray(error <= bound * SURELY)
        measured = np.isfinite(error)
        if not measured.all():
            # Equality covers infinities; NaN is right only where NaN is expected.
            same = (got == value) | (np.isnan(got) & np.isnan(value))
            error[same] = 0.0
            inside = np.asarray(same | (measured & inside))
        ratio = _over(error, bound)
        if inside.all():
            return inside, ratio
        rest = ~inside
        low, high = interval(value[rest], bound[rest], format_)
        held = (low <= got[rest]) & (got[rest] <= high)
        room = np.where(got[rest] > value[rest], high - value[rest], value[rest] - low)
        beyond = error[rest] / room
        beyond = np.where(np.isnan(beyond), np.inf, beyond)
    inside[rest] = held
    ratio[rest] = np.where(held, np.fmin(beyond, 1.0), np.fmax(beyond, 1.0))
    return inside, ratio


def _misplaced_signs(got: NDArray[Any], expectation: Expectation) -> NDArray[np.bool_] | None:
    """Where a zero has another sign than every honest computation gives it; None if nowhere."""
    if expectation.signed is None:
        return None
    value = expectation.value
    zeros = np.asarray((got == 0) & (value == 0))
    astray = np.asarray(zeros & expectation.signed & (np.signbit(got) != np.signbit(value)))
    return astray if astray.any() else None


def element_ratios(got: Tensor, expectation: Expectation, format_name: str) -> Float64 | None:
    """Error over bound by element, for pictures; None where shape or format differ."""
    format_ = expectation.stored_in(format_name)
    if got.shape != expectation.value.shape or got.format != format_.name:
        return None
    numbers = from_storage(got.data, format_)
    error = _distance(numbers, expectation.value)
    return _measure(numbers, expectation.value, expectation.bound, error, format_)[1]


def outside(got: Tensor, expectation: Expectation, format_name: str) -> Any | None:
    """Which elements lie outside their intervals; None where shape or format differ."""
    format_ = expectation.stored_in(format_name)
    if got.shape != expectation.value.shape or got.format != format_.name:
        return None
    numbers = from_storage(got.data, format_)
    error = _distance(numbers, expectation.value)
    inside = _measure(numbers, expectation.value, expectation.bound, error, format_)[0]
    astray = _misplaced_signs(numbers, expectation)
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


def _vacuous(expectation: Expectation, seen: Scan) -> bool:
    """Whether half of the bounds are so large, against the values, that agreement says nothing."""
    value, bounds, squares = expectation.value, seen.bounds, seen.squares
    if not (math.isfinite(bounds) and math.isfinite(squares)):
        finite = np.isfinite(value)
        value, bound = value[finite], expectation.bound[finite]
        with np.errstate(over="ignore"):
            bounds, squares = float(bound.sum()), float(np.vdot(value, value))
    if not squares:
        return False
    allowed = VACUOUS_SHARE * math.sqrt(squares / value.size)
    # A median of numbers that are not negative is at most twice their mean, which is cheaper.
    if 2 * bounds / value.size <= allowed:
        return False
    return float(np.median(expectation.bound[np.isfinite(expectation.value)])) > allowed
