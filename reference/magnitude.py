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
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values are float64, labels int64 and masks bool; which of them an operand is stands in the operator's docstring.
Array = NDArray[Any]

Precision = type[np.float64] | type[np.float32]

# Operands of so many elements together have their absolute sums formed in float32; below, the conversion costs more.
SINGLE = 1 << 15

# Above, a product of two might overflow float32.
LARGEST_SINGLE = 2.0**50

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
            spread = np.asarray(rounding * self.absolute, np.float64)
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
    with np.errstate(all="ignore"):
        return np.asarray(np.where(product < 1, product / (1 - product), np.inf))


def exact(value: Array) -> Magnitude:
    """Returns the magnitude of a value that no rounding touches: the bound is zero."""
    none = np.zeros(())
    return Magnitude(terms=none, absolute=np.zeros(np.shape(value)), underflow=none)


def once(broadcast: Array) -> Array:
    """Returns the numbers of a broadcast array once along every axis that repeats them."""
    return broadcast[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in broadcast.strides)]


def absolute_sums(
    sums: Callable[..., Array], most: float, first: Array, second: Array, *, bias: Array | None = None
) -> Array:
    """Returns sums of absolute products, of at most so many terms: large ones in float32, not below the exact ones.

    `sums` is bilinear, adds the bias, and computes in the `precision` that it is asked for, or in its operands'.

    A bound's S needs two digits, and float32 takes half the time. In it n terms lose at most gamma(n, 2^-24) of
    themselves, and an underflow of an operand or a product at most 2^-125 of the largest operand, or of 1.
    """
    operands = [np.abs(first), np.abs(second)]
    shift = {} if bias is None else {"bias": np.abs(bias)}
    if first.size + second.size >= SINGLE:
        peak = max(float(array.max(initial=0.0)) for array in (*operands, *shift.values()))
        if peak < LARGEST_SINGLE and most * 2.0**-24 < 1 / 64:
            single = [array.astype(np.float32) for array in operands]
            absolute = sums(*single, **shift, precision=np.float32)
            absolute *= np.float32(1 + (most + 8) * 2.0**-23)
            absolute += np.float32((most + 1) * 2.0**-125 * max(peak, 1.0))
            return absolute
    return sums(*operands, **shift)
