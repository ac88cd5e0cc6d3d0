"""Element-wise operators from four functions each: value, slope, and what a rounding-error bound of either needs.

The derivative at a kink, and what infinities and NaN give, are said where the functions are. A slope's bound is
relative to a cotangent of 1; here it is multiplied by the cotangent, with one more rounding.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from conformance.reference.chains import Chained, chained
from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import require_shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Chains:
    """The terms of a sum, each with its number of roundings, and how many smallest normal numbers may be lost.

    Attributes:
        terms: pairs (n_k, |t_k|).
        underflow: the sum of what flushed intermediate results are multiplied by.
    """

    terms: tuple[Chained, ...]
    underflow: Array | float = 1.0


Exact = None
"""In place of `Chains`: nothing is rounded."""

Bound = Callable[..., Chains | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class ElementWise:
    """A function of one operand x of any shape, element by element; attributes are keyword arguments of all four.

    Attributes:
        value: x -> f(x).
        slope: x -> f'(x), with a convention at kinks; never multiplied by a cotangent that it would turn into NaN
            where it is 0, unless the cotangent is NaN or infinite itself.
        value_bound: x -> chains of f(x), or None where nothing is rounded.
        slope_bound: x -> chains of f'(x), or None where it is 0 or 1 and picks, so that nothing is rounded.
    """

    value: Callable[..., Array]
    slope: Callable[..., Array]
    value_bound: Bound
    slope_bound: Bound

    @np.errstate(all="ignore")
    def forward(self, *, x: Array, **attributes: Any) -> Outputs:
        """Returns "output", of x's shape."""
        return {"output": np.asarray(self.value(x, **attributes))}

    @np.errstate(all="ignore")
    def vjp(self, cotangents: Outputs, *, x: Array, **attributes: Any) -> Gradients:
        """Multiplies the cotangent by the slope."""
        return {"x": cotangent_of(cotangents, x) * self.slope(x, **attributes)}

    @np.errstate(all="ignore")
    def magnitude(self, cotangents: Outputs | None, *, x: Array, **attributes: Any) -> Magnitudes:
        """Bounds of the value and of cotangent times slope."""
        magnitudes = Magnitudes(outputs={"output": _magnitude(x, self.value_bound(x, **attributes))}, gradients={})
        if cotangents is not None:
            size = np.abs(cotangent_of(cotangents, x))
            slope = self.slope_bound(x, **attributes)
            if slope is not None:
                # One rounding more for the product; the product itself may be flushed, and so may products of the
                # cotangent with parts of the slope, which as many results as the slope's own stand for.
                terms = tuple((roundings + 1, size * term) for roundings, term in slope.terms)
                slope = Chains(terms=terms, underflow=(1 + size) * slope.underflow + 1)
            magnitudes.gradients["x"] = _magnitude(x, slope)
        return magnitudes


def cotangent_of(cotangents: Outputs, x: Array) -> Array:
    """Returns the cotangent of the one output, which has x's shape.

    Raises:
        InvalidShape: it has another shape.
    """
    return require_shape("the cotangent of output", cotangents["output"], x.shape)


def _magnitude(x: Array, chains: Chains | None) -> Magnitude:
    if chains is None:
        return exact(x)
    found = chained(*chains.terms, underflow=chains.underflow)
    return Magnitude(terms=found.terms, absolute=np.broadcast_to(found.absolute, x.shape), underflow=found.underflow)
