"""What a rounding-error bound has to know about an array: how many roundings, of terms how large.

With the standard model of floating-point arithmetic, `fl(a op b) = (a op b)(1 + delta)` and `|delta| <= u`, a sum of
products satisfies, in any order of summation and with or without fused multiply-add,

    |computed - exact| <= gamma(n, u) * S,    S = sum of |terms|,    gamma(n, u) = n u / (1 - n u)

where n counts the roundings that one term passes through (Higham, Accuracy and Stability of Numerical Algorithms, 2nd
edition, sections 2.2, 3.1 and 4.2). Where subnormal results are flushed to zero, each operation adds at most the
smallest normal number, eta.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values are float64, labels int64 and masks bool; which of them an operand is stands in the operator's docstring.
Array = NDArray[Any]

Precision = type[np.float64] | type[np.float32]

# Operands and sums of so many elements together are formed in float32; below, the conversion costs more.
SINGLE = 1 << 15

# Above, a product of two might overflow float32.
LARGEST_SINGLE = 2.0**50

# What float32 adds to sums that underflow might have made too small stays below this, and so does no sum of products
# of integers, nor such a sum divided by a window's size.
BELOW_INTEGERS = 2.0**-40

Outputs = dict[str, Array]
"""What an operator returns, by output name; an operator with one output calls it "output"."""

Gradients = dict[str, Array]
"""A cotangent pulled back, by the name of the differentiable operand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Magnitude:
    """What the bound of one array needs: `|computed - exact| <= gamma(terms, u) * absolute + underflow * eta`.

    Attributes:
        terms: n, the longest chain of roundings that one term passes through; 0-d, or broadcastable to the value's
            shape.
        absolute: S, the sum of the absolute values of the terms; the value's shape.
        underflow: how many smallest normal numbers the flushed intermediate results may add up to; 0-d, or
            broadcastable.
    """

    terms: Array
    absolute: Array
    underflow: Array

    def radius(self, *, unit_roundoff: float, smallest_normal: float) -> Array:
        """Returns the half-width of the interval around the exact value; infinite where terms * u >= 1."""
        with np.errstate(all="ignore"):
            rounding = gamma(once(self.terms), unit_roundoff)
            spread = np.asarray(np.multiply(rounding, self.absolute, dtype=np.float64))
            if not np.isfinite(rounding).all():
                # gamma is infinite where it says nothing; an exact zero (absolute == 0) stays exact all the same.
                spread = np.where(self.absolute == 0, 0.0, spread)
            flushed = once(self.underflow) * smallest_normal
            if flushed.ndim > spread.ndim or flushed.size > spread.size:
                return np.asarray(spread + flushed)
            spread += flushed
            return spread


@dataclass(frozen=True, slots=True, kw_only=True)
class Magnitudes:
    """The magnitudes of an operator's outputs and, where cotangents were given, of its gradients."""

    outputs: dict[str, Magnitude]
    gradients: dict[str, Magnitude]


def gamma(terms: Array | int, unit_roundoff: float) -> Array:
    """Returns `n u / (1 - n u)`, the growth of n roundings (Higham, lemma 3.1); infinite where `n u >= 1`."""
    product = np.asarray(terms, dtype=np.float64) * unit_roundoff
    if product.size and product.max() < 1:
        return np.asarray(product / (1 - product))
    with np.errstate(all="ignore"):
        return np.asarray(np.where(product < 1, product / (1 - product), np.inf))


def exact(value: Array) -> Magnitude:
    """Returns the magnitude of a value that no rounding touches: the bound is zero."""
    none = np.zeros(())
    return Magnitude(terms=none, absolute=np.zeros(np.shape(value)), underflow=none)


def once(broadcast: Array) -> Array:
    """Returns the numbers of a broadcast array once along every axis that repeats them."""
    return broadcast[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in broadcast.strides)]


@dataclass(frozen=True, eq=False)  # with a dictionary, where what several sums ask for is kept
class Sizes:
    """The absolute values of an array, for several sums of them."""

    array: Array

    @cached_property
    def double(self) -> Array:
        """Returns them in float64."""
        return np.abs(self.array)

    @cached_property
    def single(self) -> Array:
        """Returns them in float32; infinite where they are too large for it."""
        return _single(self.array)

    @cached_property
    def peak(self) -> float:
        """Returns the largest, as float32 has it."""
        return float(self.single.max(initial=0.0))


def sizes(array: Array | Sizes) -> Sizes:
    """Returns an array's absolute values, for sums of them."""
    return array if isinstance(array, Sizes) else Sizes(array)


def absolute_sums(
    sums: Callable[..., Array],
    most: float,
    first: Array | Sizes,
    second: Array | Sizes,
    *,
    count: int = 0,
    bias: Array | None = None,
) -> Array:
    """Returns sums of absolute products, of at most so many terms: many in float32, not below the exact ones.

    `count` is how many sums there are, where they may be more than the operands' elements.

    `sums` is bilinear, adds the bias, and computes in the `precision` that it is asked for, or in its operands'.

    A bound's S needs two digits, and float32 takes half the time. In it n terms lose at most gamma(n, 2^-24) of
    themselves, and an underflow of an operand or a product at most 2^-125 of the largest operand, or of 1.
    """
    one, other = sizes(first), sizes(second)
    shift = {} if bias is None else {"bias": np.abs(bias)}
    if one.array.size + other.array.size + count >= SINGLE and most * 2.0**-24 < 1 / 64:
        peak = max(one.peak, other.peak, *(float(array.max(initial=0.0)) for array in shift.values()))
        if peak < LARGEST_SINGLE:
            growth = np.float32(1 + (most + 8) * 2.0**-23)
            added = np.float32((most + 1) * 2.0**-125 * max(peak, 1.0))
            # Larger by so much is the smaller one of the factors, as every term has one.
            pair = [one.single, other.single]
            least = 0 if one.array.size < other.array.size else 1
            pair[least] = pair[least] * growth
            if bias is not None:
                return sums(*pair, bias=(shift["bias"] * growth + added).astype(np.float32), precision=np.float32)
            absolute = sums(*pair, precision=np.float32)
            absolute += added
            return absolute
    return sums(one.double, other.double, **shift)


def absolute_values(array: Array, most: float) -> Array:
    """Returns absolute values for sums of at most so many: of large arrays in float32, and so much larger.

    Sums of them, in any order, and quotients of such sums by numbers of up to 2^20 are no less than the exact ones;
    see `absolute_sums`.
    """
    if array.size >= SINGLE and most * 2.0**-24 < 1 / 64:
        single = _single(array)
        if float(single.max()) < LARGEST_SINGLE:
            single *= np.float32(1 + (most + 8) * 2.0**-23)
            single += np.float32(2.0**-100)
            return single
    return np.abs(array)


def _single(array: Array) -> Array:
    """Returns absolute values in float32; infinite where they are too large for it."""
    with np.errstate(all="ignore"):
        single: Array = array.astype(np.float32, order="C")
    np.abs(single, out=single)
    return single
