"""Compiled passes over the elements of an array: which lie surely within their bounds, and how near to them.

Whatever is asked of an element takes a handful of operations, which NumPy makes a pass over memory each; compiled,
all of them cost little more than reading the numbers. Numba compiles for the types of the arrays that it meets, and
keeps the code for the next process.
"""

import math
from collections.abc import Callable
from functools import lru_cache
from typing import Any, Final, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from conformance.case.model import Shape
from conformance.formats import Float64

# An error up to this share of its bound does not exceed it by the roundings of its own measurement.
SURELY: Final = 1 - 2.0**-50
# Float64's smallest normal number: smaller bounds are taken for as much where an error is divided by them.
SMALLEST: Final = 2.0**-1022
# Elements that are looked at before an answer is drawn from them.
BLOCK: Final = 512


class Scan(NamedTuple):
    """What the elements say that lie surely within; the others are named.

    Attributes:
        doubtful: the places, in row-major order, of those whose error exceeds the bound, or is no number.
        differs: some element, a doubtful one or not, is not the expected value itself.
        place, ratio: of the element with the largest error over bound; -1 where no element has an error.
        bound: that element's; the first one's where none has an error.
        relative: the largest error over max(root |value|, scale, floor).
        signs: how many zeros have another sign than the expected zero.
        bounds, squares: the sum of the bounds, and that of the squared values; 0 where all elements are equal.
    """

    doubtful: NDArray[np.intp]
    differs: bool
    place: int
    ratio: float
    bound: float
    relative: float
    signs: int
    bounds: float
    squares: float


def scan(
    got: NDArray[Any],
    value: Float64,
    *,
    size: NDArray[Any],
    growth: Float64,
    flushed: Float64,
    scale: NDArray[Any],
    root: Float64,
    floor: Float64,
) -> Scan:
    """Goes through the elements of an array once.

    The bound is growth * size + flushed, and what an error is relative to is max(root |value|, scale, floor).

    Args:
        got: float32 or float64, any shape.
        value: of got's shape.
        size: of that shape, or broadcast to it, as all others.
        growth: times the size.
        flushed: what is added to it.
        scale: at least that.
        root: times the absolute value.
        floor: at least that, too.
    """
    if size.dtype != scale.dtype:
        # Every combination of types is compiled for itself.
        size, scale = size.astype(np.float64), scale.astype(np.float64)
    shape = value.shape
    factors = (growth, flushed, root, floor)
    first, stop = _varying(tuple(factor.shape for factor in factors), len(shape))
    whole = [_line(array, shape, 0, len(shape)) for array in (got, value, size, scale)]
    few = [_line(factor, shape, first, stop) for factor in factors]
    return Scan(*_compiled(*whole, *few, math.prod(shape[stop:])))


def are_integers(array: NDArray[Any]) -> bool:
    """Whether all numbers of an array are integers, or infinite."""
    return array.dtype.kind in "iub" or bool(_whole(_line(array, array.shape, 0, array.ndim)))


@lru_cache(maxsize=1024)
def _varying(shapes: tuple[Shape, ...], rank: int) -> tuple[int, int]:
    """The first axis, of so many, in which arrays of some shapes vary, and the one behind the last."""
    axes = [rank - len(own) + axis for own in shapes for axis, extent in enumerate(own) if extent > 1]
    return (min(axes), max(axes) + 1) if axes else (0, 0)


def _line(array: NDArray[Any], shape: Shape, first: int, stop: int) -> NDArray[Any]:
    """The numbers of an array along some axes of a shape, in row-major order; one, where all are the same one.

    To be read only, whether the array is or not: to the compiler these are two types.
    """
    if array.size == 1 or not any(array.strides):
        line = array.reshape(-1)[:1]
    else:
        if array.size < math.prod(shape[first:stop]):
            own = (1,) * (len(shape) - array.ndim) + array.shape
            array = np.broadcast_to(array.reshape(own[first:stop]), shape[first:stop])
        line = np.ascontiguousarray(array).reshape(-1)
    line.flags.writeable = False
    return line


@njit(cache=True, error_model="numpy", nogil=True)
def _whole(line: Any) -> bool:
    for start in range(0, line.size, BLOCK):
        other = 0
        for i in range(start, min(start + BLOCK, line.size)):
            other += int(line[i] != np.floor(line[i]))
        if other:
            return False
    return True


@njit(cache=True, error_model="numpy", nogil=True)
def _same(got: Any, value: Any) -> bool:
    """Whether all numbers are equal, and no zero has another sign; a block at a time, without a branch within."""
    for start in range(0, value.size, BLOCK):
        other = 0
        for i in range(start, min(start + BLOCK, value.size)):
            given, wanted = np.float64(got[i]), value[i]
            other += int(given != wanted) + int(math.copysign(1.0, given) != math.copysign(1.0, wanted))
        if other:
            return False
    return True


def _scan(
    got: Any, value: Any, size: Any, scale: Any, growth: Any, flushed: Any, root: Any, floor: Any, inner: int
) -> tuple[Any, ...]:
    doubts, differs, signs = 0, False, 0
    place, ratio, relative = -1, 0.0, 0.0
    around = growth[0] * size[0] + flushed[0]
    bounds, squares = 0.0, 0.0
    if _same(got, value):
        # As integers are: what an error may be is no question then.
        return np.empty(0, np.intp), differs, place, ratio, around, relative, signs, bounds, squares
    doubtful = np.empty(value.size, np.intp)
    # One number stands for all elements where there is but one.
    s, c = size.size > 1, scale.size > 1
    g, f, r, w = growth.size > 1, flushed.size > 1, root.size > 1, floor.size > 1
    lines = max(growth.size, flushed.size, root.size, floor.size)
    at = -1
    for line in range(value.size // inner):
        at = at + 1 if at + 1 < lines else 0
        grown, lost, rooted = growth[at * g], flushed[at * f], root[at * r]
        lowest = max(floor[at * w], SMALLEST)
        for i in range(line * inner, (line + 1) * inner):
            given, wanted = np.float64(got[i]), value[i]
            bound = grown * size[i * s] + lost
            bounds += bound
            squares += wanted * wanted
            error = abs(given - wanted)
            if error == 0.0:
                # Multiplied, as the next zero is hard to foresee: a wrong guess takes longer than all the rest.
                signs += int(wanted == 0.0) * int(math.copysign(1.0, given) != math.copysign(1.0, wanted))
                continue
            against, least = rooted * abs(wanted), max(np.float64(scale[i * c]), lowest)
            if not against >= least:
                against = least
            measured = error < math.inf
            if measured and error <= ratio * bound and error <= relative * against:
                continue  # no quotient is larger than those before: dividing takes as long as all the rest
            if measured and error <= SURELY * bound:
                differs = True
                room = max(bound, SMALLEST)
                if place < 0 or error > ratio * room:
                    place, ratio = i, min(error / room, SURELY)
                    around = bound
                if error > relative * against:
                    relative = error / against
            elif given != wanted and not (math.isnan(given) and math.isnan(wanted)):
                differs = True  # infinities may be equal, too, which no difference says
                doubtful[doubts] = i
                doubts += 1
    return doubtful[:doubts].copy(), differs, place, ratio, around, relative, signs, bounds, squares


_compiled: Final[Callable[..., Any]] = njit(cache=True, error_model="numpy", nogil=True)(_scan)
