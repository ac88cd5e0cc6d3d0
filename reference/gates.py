"""Piecewise linear activations: relu6, leaky_relu, prelu, hard_sigmoid, hard_swish and hard_tanh.

At a kink the derivative is a convention. Here it is that of the flat piece (relu6 at 0 and 6, hard_sigmoid at -3 and
3, hard_tanh at both ends), of the left piece where none is flat (leaky_relu and prelu at 0), and for hard_swish, x
times a hard sigmoid, what the product rule makes of these: 0 at -3 and 1 at 3.
"""

import numpy as np

from conformance.reference.chains import ROOT, chained
from conformance.reference.elementwise import Chains, ElementWise, Exact, cotangent_of
from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_shape


def _relu6(x: Array) -> Array:
    return np.minimum(np.maximum(x, 0.0), 6.0)


def _relu6_slope(x: Array) -> Array:
    return np.where((x > 0) & (x < 6), 1.0, 0.0)


def _nothing_rounded(x: Array, **attributes: float) -> None:
    return Exact


RELU6 = ElementWise(value=_relu6, slope=_relu6_slope, value_bound=_nothing_rounded, slope_bound=_nothing_rounded)


def _leaky(x: Array, slope: float) -> Array:
    return np.where(x > 0, x, slope * x)


def _leaky_slope(x: Array, slope: float) -> Array:
    return np.where(x > 0, 1.0, np.where(np.isnan(x), np.nan, slope))


def _leaky_bound(x: Array, slope: float) -> Chains:
    """The slope is rounded to the format, and multiplied; a positive number passes as it is."""
    return Chains(terms=((2.0, np.where(x > 0, 0.0, np.abs(slope * x))),), underflow=np.where(x > 0, 0.0, 1.0))


def _leaky_slope_bound(x: Array, slope: float) -> Chains:
    return Chains(terms=((1.0, np.where(x > 0, 0.0, abs(slope))),), underflow=0.0)


LEAKY_RELU = ElementWise(value=_leaky, slope=_leaky_slope, value_bound=_leaky_bound, slope_bound=_leaky_slope_bound)


def _hard_sigmoid(x: Array) -> Array:
    return _relu6(x + 3) / 6


def _inside(x: Array) -> Array:
    return np.abs(x) < 3


def _hard_sigmoid_slope(x: Array) -> Array:
    return np.where(_inside(x), 1 / 6, 0.0)


def _hard_sigmoid_bound(x: Array) -> Chains:
    """Inside a sum and a quotient, or a product with the rounded 1 / 6 and a sum; above, 6 is divided by 6.

    The terms are x / 6 and 1 / 2: close to -3 they cancel, and what is lost there is absolute.
    """
    size = np.where(_inside(x), (np.abs(x) + 3) / 6, np.where(x > 0, 1.0, 0.0))
    return Chains(terms=((1 + ROOT + 1, size),), underflow=np.where(x > -3, 1.0, 0.0))


def _hard_sigmoid_slope_bound(x: Array) -> Chains:
    return Chains(terms=((ROOT, _hard_sigmoid_slope(x)),), underflow=np.where(_inside(x), 1.0, 0.0))


HARD_SIGMOID = ElementWise(
    value=_hard_sigmoid,
    slope=_hard_sigmoid_slope,
    value_bound=_hard_sigmoid_bound,
    slope_bound=_hard_sigmoid_slope_bound,
)


def _hard_swish(x: Array) -> Array:
    return x * _hard_sigmoid(x)


def _hard_swish_slope(x: Array) -> Array:
    return np.where(_inside(x), x / 3 + 0.5, np.where(x >= 3, 1.0, np.where(np.isnan(x), np.nan, 0.0)))


def _hard_swish_bound(x: Array) -> Chains:
    """A product more than the hard sigmoid: the quotient may come before or after it."""
    gate = _hard_sigmoid_bound(x)
    size = np.where(x > -3, np.abs(x) * gate.terms[0][1], 0.0)
    return Chains(terms=((1 + ROOT + 2, size),), underflow=np.where(x > -3, 1 + np.abs(x), 0.0))


def _hard_swish_slope_bound(x: Array) -> Chains:
    """Inside h + x h', h the hard sigmoid, or x / 3 + 1 / 2: the terms are 1 / 2 and twice x / 6.

    Each passes through the sum with 3, the quotient, the product with x and the sum of both parts.
    """
    size = np.where(_inside(x), (2 * np.abs(x) + 3) / 6, np.where(x > 0, 1.0, 0.0))
    return Chains(terms=((1 + ROOT + 3, size),), underflow=np.where(x > -3, 1 + np.minimum(np.abs(x), 3.0), 0.0))


HARD_SWISH = ElementWise(
    value=_hard_swish,
    slope=_hard_swish_slope,
    value_bound=_hard_swish_bound,
    slope_bound=_hard_swish_slope_bound,
)


def _hard_tanh(x: Array, low: float, high: float) -> Array:
    if not low < high:
        raise InvalidShape("low and high of hard_tanh", got=(low, high), required="low < high")
    return np.minimum(np.maximum(x, low), high)


def _hard_tanh_slope(x: Array, low: float, high: float) -> Array:
    return np.where((x > low) & (x < high), 1.0, 0.0)


HARD_TANH = ElementWise(
    value=_hard_tanh, slope=_hard_tanh_slope, value_bound=_nothing_rounded, slope_bound=_nothing_rounded
)


@np.errstate(all="ignore")
def prelu_forward(*, x: Array, a: Array) -> Outputs:
    """Returns x where it is positive, else a x.

    Args:
        x: (N, ..., channels), at least 2-D.
        a: (channels,), the slopes.

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: x has fewer axes, or a does not fit it.
    """
    _check_prelu(x, a)
    return {"output": np.where(x > 0, x, a * x)}


@np.errstate(all="ignore")
def prelu_vjp(cotangents: Outputs, *, x: Array, a: Array) -> Gradients:
    """Returns g or a g for x, and for a the sum of g x where x is negative; arguments as for `prelu_forward`."""
    _check_prelu(x, a)
    cotangent = cotangent_of(cotangents, x)
    weighted = np.where(x > 0, 0.0, cotangent * x)
    return {"x": np.where(x > 0, cotangent, a * cotangent), "a": weighted.sum(axis=tuple(range(x.ndim - 1)))}


@np.errstate(all="ignore")
def prelu_magnitude(cotangents: Outputs | None, *, x: Array, a: Array) -> Magnitudes:
    """A product by element; for a, the product and the sum over as many elements as a channel has."""
    _check_prelu(x, a)
    below = np.where(x > 0, 0.0, 1.0)
    magnitudes = Magnitudes(outputs={"output": _product(below, a * x)}, gradients={})
    if cotangents is not None:
        cotangent = cotangent_of(cotangents, x)
        magnitudes.gradients["x"] = _product(below, a * cotangent)
        rows = float(x.size // x.shape[-1]) if x.size else 0.0
        size = np.abs(np.where(x > 0, 0.0, cotangent * x)).sum(axis=tuple(range(x.ndim - 1)))
        # A product, and rows - 1 sums; each of both may be flushed.
        magnitudes.gradients["a"] = chained((rows, size), underflow=2 * rows) if rows else exact(a)
    return magnitudes


def _product(below: Array, product: Array) -> Magnitude:
    return chained((1.0, np.where(below > 0, np.abs(product), 0.0)), underflow=below)


def _check_prelu(x: Array, a: Array) -> None:
    if x.ndim < 2:
        raise InvalidShape("x of prelu", got=f"shape {x.shape}", required="a batch and channels at least")
    require_shape("a of prelu", a, (x.shape[-1],))
