"""The one comparator: an array against an interval by element.

Within iff round(value - bound) <= got <= round(value + bound), with the ends rounded to the output format (Higham,
Accuracy and Stability of Numerical Algorithms, chapter 3, gives the bound; rounding the ends covers the last
rounding, subnormals and overflow, and nothing more: half an ulp added to the bound would let truncated results pass).

Rounding is monotone, so whatever lies within the bound before its ends are rounded lies within afterwards; only the
rest is looked at twice.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.job import Tensor
from conformance.case.model import Shape
from conformance.formats import Float64, Format, from_storage, round_to
from conformance.verdict.model import Comparison, Expectation, Reason

# Where the median bound exceeds this share of the values' root mean square, agreement says nothing.
VACUOUS_SHARE: Final = 1 / 16
# Elements that are compared at a time: a dozen arrays of this size fit into a second-level cache.
BLOCK: Final = 1 << 14
# An error up to this share of its bound does not exceed it by the roundings of its own measurement.
SURELY: Final = 1 - 2.0**-50
# Float64's smallest normal number: smaller bounds are taken for as much where an error is divided by them.
SMALLEST: Final = 2.0**-1022


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
    found = _Found.of(got, expectation, format_)
    outside = found.outside
    if outside:
        reason = _difference(found.got_outside, found.expected_outside)
    elif found.astray:
        reason, outside = Reason.SIGN, found.astray
    elif not found.differs or not (expectation.bound[found.worst] > 0 or (expectation.bound > 0).any()):
        reason = Reason.EXACT
    elif _vacuous(expectation):
        reason = Reason.VACUOUS
    else:
        reason = Reason.WITHIN_BOUND
    index = found.worst
    return comparison(
        within=not outside,
        reason=reason,
        worst_index=index,
        expected=float(value[index]),
        got=float(from_storage(got.data[index][None], format_)[0]),
        error=found.error,
        bound=float(expectation.bound[index]),
        ratio=found.ratio,
        outside=outside,
        bits=effective_bits(found.relative) if found.differs else math.inf,
    )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Found:
    """What the elements of an array say together.

    Attributes:
        worst: the element with the largest error over bound; the first zero of the wrong sign where that is all.
        error, ratio: of that element.
        outside: how many lie outside; `got_outside`, `expected_outside` are their numbers.
        astray: how many zeros have another sign than every honest computation gives them.
        differs: some element is not the expected value itself.
        relative: the largest error relative to the scale.
    """

    worst: Shape
    error: float
    ratio: float
    outside: int
    got_outside: Float64
    expected_outside: Float64
    astray: int
    differs: bool
    relative: float

    @classmethod
    def of(cls, tensor: Tensor, expectation: Expectation, format_: Format) -> "_Found":
        """Goes through the elements block by block: what fits into the cache is compared several times as fast."""
        worst, worst_error, worst_ratio = (0,) * expectation.value.ndim, 0.0, -1.0
        first_astray: Shape | None = None
        got_outside, expected_outside = [np.zeros(0)], [np.zeros(0)]
        relative, astray, differs = 0.0, 0, False
        for start, at in _blocks(tensor.shape):
            got, value = from_storage(tensor.data[at], format_), expectation.value[at]
            wrong = _misplaced_signs(got, expectation, at)
            if wrong is not None:
                astray += int(wrong.sum())
                first_astray = first_astray or _place(start, int(np.argmax(wrong)), wrong.shape)
            error = _distance(got, value)
            largest = float(error.max())
            if not largest or (not math.isfinite(largest) and np.array_equal(got, value)):
                continue  # infinities are equal, too; there is no room to be measured
            differs = True
            inside, ratio = _measure(got, value, expectation.bound[at], error, format_)
            relative = max(relative, _relative(error, value, expectation, at))
            place = int(np.argmax(ratio))
            if ratio.flat[place] > worst_ratio:
                worst = _place(start, place, ratio.shape)
                worst_error, worst_ratio = float(error.flat[place]), float(ratio.flat[place])
            if not inside.all():
                got_outside.append(got[~inside])
                expected_outside.append(value[~inside])
        outside = sum(map(len, got_outside))
        if astray and not outside and first_astray is not None:
            worst, worst_error, worst_ratio = first_astray, 0.0, 0.0
        return cls(
            worst=worst,
            error=worst_error,
            ratio=max(worst_ratio, 0.0),
            outside=outside,
            got_outside=np.concatenate(got_outside),
            expected_outside=np.concatenate(expected_outside),
            astray=astray,
            differs=differs,
            relative=relative,
        )


def _blocks(shape: Shape) -> Iterator[tuple[Shape, Any]]:
    """Indices that cut an array into parts of about a block, in row-major order; with the first element of each.

    Along the axes, so that what is broadcast stays so.
    """
    if math.prod(shape) <= BLOCK:
        yield (0,) * len(shape), ...
        return
    axis = 0
    while axis + 1 < len(shape) and math.prod(shape[axis + 1 :]) > BLOCK:
        axis += 1
    step = max(1, BLOCK // max(1, math.prod(shape[axis + 1 :])))
    for lead in np.ndindex(shape[:axis]):
        for first in range(0, shape[axis], step):
            start = (*lead, first, *(0,) * (len(shape) - axis - 1))
            yield start, (*lead, slice(first, first + step))


def _place(start: Shape, within: int, shape: Shape) -> Shape:
    """The index of an element of a block, in the whole array."""
    inner = (0,) * (len(start) - len(shape)) + tuple(int(i) for i in np.unravel_index(within, shape))
    return tuple(first + place for first, place in zip(start, inner, strict=True))


def _relative(error: Float64, value: Float64, expectation: Expectation, at: Any) -> float:
    """The largest error against max(root |value|, scale)."""
    with np.errstate(all="ignore"):
        scale = expectation.scale[at]
        if expectation.root is not None:
            scale = np.fmax(np.abs(value) * expectation.root[at], scale)
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


def _misplaced_signs(got: Float64, expectation: Expectation, at: Any) -> NDArray[np.bool_] | None:
    """Where a zero has another sign than every honest computation gives it; None if nowhere."""
    if expectation.signed is None:
        return None
    zeros = np.asarray(got == 0)
    if not zeros.any():
        return None
    value = expectation.value[at]
    astray = np.asarray(zeros & (value == 0) & expectation.signed[at] & (np.signbit(got) != np.signbit(value)))
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
    astray = _misplaced_signs(numbers, expectation, ...)
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
    """Whether half of the bounds are so large, against the values, that agreement says nothing."""
    bound_sum = value_sum = count = 0.0
    for _, at in _blocks(expectation.value.shape):
        value, bound = expectation.value[at], expectation.bound[at]
        with np.errstate(over="ignore", invalid="ignore"):
            squares = float(np.vdot(value, value))
        if not math.isfinite(squares):
            finite = np.isfinite(value)
            value, bound = value[finite], bound[finite]
            with np.errstate(over="ignore"):
                squares = float(np.vdot(value, value))
        bound_sum, value_sum, count = bound_sum + float(np.sum(bound)), value_sum + squares, count + value.size
    if not value_sum:
        return False
    allowed = VACUOUS_SHARE * math.sqrt(value_sum / count)
    # A median of numbers that are not negative is at most twice their mean, which is cheaper.
    if 2 * bound_sum / count <= allowed:
        return False
    return float(np.median(expectation.bound[np.isfinite(expectation.value)])) > allowed
