"""What a rounding-error bound has to know about an array: how many roundings, of terms how large.

With the standard model of floating-point arithmetic, `fl(a op b) = (a op b)(1 + delta)` and `|delta| <= u`, a sum of
products satisfies, in any order of summation and with or without fused multiply-add,

    |computed - exact| <= gamma(n, u) * S,    S = sum of |terms|,    gamma(n, u) = n u / (1 - n u)

where n counts the roundings that one term passes through (Higham, Accuracy and Stability of Numerical Algorithms, 2nd
edition, sections 2.2, 3.1 and 4.2). Where subnormal results are flushed to zero, each operation adds at most the
smallest normal number, eta.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

# Values are float64, labels int64 and masks bool; which of them an operand is stands in the operator's docstring.
Array = NDArray[Any]

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
