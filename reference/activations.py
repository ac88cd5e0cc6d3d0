"""Activations: relu, sigmoid and tanh, element by element, and softmax and its logarithm along an axis.

Every bound is a running error analysis (see `chains`): u is the unit roundoff, and gamma(n) stands for n u / (1 - n
u).
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from conformance.reference.chains import EXPONENTIAL, LOGARITHM, ROOT, SATURATING, chained
from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_shape

# Below exp(-1000) every format's smallest normal number is far away (float64's is exp(-708.4)), even if the exponent
# is wrong by 2^-8 of itself: exact and computed value both lie within one smallest normal number of zero, which
# `underflow` counts.
VANISHED = 1000.0

# A term below exp(-64) relative to the largest one changes a sum by less than one rounding of float64, 2^-53 =
# exp(-36.7), in up to 10^11 terms, again with an exponent that is wrong by 2^-8 of itself.
NEGLIGIBLE = 64.0


def relu_forward(*, x: Array) -> Outputs:
    """Returns max(x, 0), element by element; NaN stays NaN.

    Args:
        x: any shape.

    Returns:
        "output", of x's shape.
    """
    return {"output": np.maximum(x, 0.0)}


def relu_vjp(cotangents: Outputs, *, x: Array) -> Gradients:
    """Passes the cotangent on where x > 0; the derivative is 0 at 0, and at NaN, for which x > 0 is false."""
    cotangent = _cotangent(cotangents, x)
    return {"x": np.where(x > 0, cotangent, 0.0)}


def relu_magnitude(cotangents: Outputs | None, *, x: Array) -> Magnitudes:
    """Nothing is rounded: all bounds are zero."""
    return Magnitudes(outputs={"output": exact(x)}, gradients={} if cotangents is None else {"x": exact(x)})


@np.errstate(all="ignore")
def sigmoid_forward(*, x: Array) -> Outputs:
    """Returns s(x) = 1 / (1 + exp(-x)), element by element.

    Args:
        x: any shape.

    Returns:
        "output", of x's shape.
    """
    return {"output": _sigmoid(x)}


@np.errstate(all="ignore")
def sigmoid_vjp(cotangents: Outputs, *, x: Array) -> Gradients:
    """Multiplies the cotangent by s' = s (1 - s) = t / (1 + t)^2 with t = exp(-|x|), which never cancels."""
    return {"x": _cotangent(cotangents, x) * _sigmoid_slope(x)}


@np.errstate(all="ignore")
def sigmoid_magnitude(cotangents: Outputs | None, *, x: Array) -> Magnitudes:
    """Bounds for the value and for either way to the gradient g s'.

    Value: relative error gamma(16). Two results may be flushed, the exponential (of a positive x) and the value
    itself.

    Gradient through s (1 - s): the computed s (1 + a), |a| <= gamma(16), turns s (1 - s) into s (1 - s) + s a (1 - 2
    s) - s^2 a^2. As |1 - 2 s| <= 1, the deviation stays below s (|a| + a^2); three more roundings (difference and two
    products) bring it below gamma(20) |g| s. That is absolute, not relative: for large x honest results keep nothing
    of exp(-x) but multiples of u. The quotient t / (1 + t)^2 has relative error below gamma(16), hence lies inside as
    well (s' <= s). Flushed may be s and s' (each then multiplied by g) and two products with g.
    """
    s = _sigmoid(x)
    magnitudes = Magnitudes(outputs={"output": chained((SATURATING, s), underflow=2.0)}, gradients={})
    if cotangents is not None:
        size = np.abs(_cotangent(cotangents, x))
        magnitudes.gradients["x"] = chained((SATURATING + 4, size * s), underflow=2 * size + 2)
    return magnitudes


@np.errstate(all="ignore")
def tanh_forward(*, x: Array) -> Outputs:
    """Returns the hyperbolic tangent, element by element.

    Args:
        x: any shape.

    Returns:
        "output", of x's shape.
    """
    return {"output": np.tanh(x)}


@np.errstate(all="ignore")
def tanh_vjp(cotangents: Outputs, *, x: Array) -> Gradients:
    """Multiplies the cotangent by 1 - tanh(x)^2 = 4 t / (1 + t)^2 with t = exp(-2 |x|), which never cancels."""
    return {"x": _cotangent(cotangents, x) * (4 * _sigmoid_slope(2 * x))}


@np.errstate(all="ignore")
def tanh_magnitude(cotangents: Outputs | None, *, x: Array) -> Magnitudes:
    """Bounds for the value and for any way to the gradient g (1 - t^2), t = tanh(x).

    Value: relative error gamma(16); a tiny one may be flushed.

    Gradient as g (1 - t^2): t^2 carries gamma(33) (twice 16 and the product); then a difference and a product with
    g, one rounding each. The error is at most |g| (gamma(35) t^2 + gamma(2) (1 - t^2)) <= gamma(35) |g|.
    As (g + g t) (1 - t), JAX's way: writing t for the computed value, exactly g (1 - t^2), within gamma(32) |g| t^2
    of the right one; the product g t is rounded before the sum, which costs u |g t| (1 - t) <= u |g| (t^2 + |t|), and
    three more roundings of the result 3 u |g| (1 - t^2). The sum, u |g| (3 + |t| + 30 t^2) to first order, is at most
    34 u |g|; as no chain is longer than 36 roundings, all lies within gamma(36) |g|. So do (1 - t) (1 + t) and 1 /
    cosh^2. Flushed may be t^2 (multiplied by g), g t (multiplied by 1 - t <= 2), and the result.
    """
    output = np.tanh(x)
    magnitudes = Magnitudes(outputs={"output": chained((SATURATING, np.abs(output)), underflow=1.0)}, gradients={})
    if cotangents is not None:
        size = np.abs(_cotangent(cotangents, x))
        magnitudes.gradients["x"] = chained((2 * SATURATING + 4, size), underflow=size + 3)
    return magnitudes


def softmax_forward(*, x: Array, axis: int) -> Outputs:
    """Returns exp(x) / sum of exp(x) along an axis, evaluated after subtracting the maximum.

    A line that holds NaN or +inf, or nothing but -inf, becomes NaN throughout, as inf - inf does.

    Args:
        x: at least 1-D.
        axis: the axis that sums to 1; negative counts from the end.

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: x has no such axis, or it has no elements.
    """
    return {"output": shares(x, axis).share}


@np.errstate(all="ignore")
def softmax_vjp(cotangents: Outputs, *, x: Array, axis: int) -> Gradients:
    """Returns p (g - sum of g p), p the softmax and g the cotangent; arguments as for `softmax_forward`."""
    p = shares(x, axis).share
    cotangent = _cotangent(cotangents, x)
    return {"x": p * (cotangent - (cotangent * p).sum(axis=axis, keepdims=True))}


@np.errstate(all="ignore")
def softmax_magnitude(cotangents: Outputs | None, *, x: Array, axis: int) -> Magnitudes:
    """Bounds for the value and the gradient, the maximum subtracted first; arguments as for `softmax_forward`.

    Value: the share p_i is a quotient. Its numerator exp(d_i (1 + delta)), d_i = x_i - max, has relative error
    exp(|d_i| u) - 1 <= gamma(|d_i|) from the subtraction and gamma(4) from the exponential; its denominator K
    roundings (see `Shares`); the quotient two. Together n_i = |d_i| + 4 + K + 2. Flushed may be the numerator, the
    result, and terms of the denominator, which is at least 1.

    Gradient: p_i g_i passes through n_i + 3 roundings (p_i, two products in one order or the other, the difference);
    every p_i g_j p_j through n_i + n_j + C + 3 (both shares, the product, C - 1 sums, the difference, the product),
    whether the sum is subtracted before the product with p_i or after it. A flushed share costs (C + 3) as above,
    times what multiplies it; a flushed product one more.
    """
    line = shares(x, axis)
    p, count = line.share, x.shape[axis]
    roundings = line.distance + (line.roundings + (EXPONENTIAL + ROOT))
    magnitudes = Magnitudes(outputs={"output": chained((roundings, p), underflow=count + 3.0)}, gradients={})
    if cotangents is not None:
        size = np.abs(_cotangent(cotangents, x))
        weight = size * p
        total = weight.sum(axis=axis, keepdims=True)
        # The sum over j of n_j |g_j| p_j: each term with its own number of roundings, all through one chain at most
        # `longest` long.
        own = np.einsum("...i,...i", np.moveaxis(roundings, axis, -1), np.moveaxis(weight, axis, -1))
        other = np.minimum(roundings.max(axis=axis, keepdims=True), NEGLIGIBLE + line.roundings)
        # With all of them, (n_i + 3) p_i |g_i| + (n_i + C + 3) p_i T + p_i own, T the sum of the weights.
        both = size + total
        counted = roundings + 3
        counted *= both
        counted += count * total + np.expand_dims(own, axis)
        counted *= p
        longest = roundings + (other + (count + 3))
        counted /= longest
        both += p * size.sum(axis=axis, keepdims=True)
        both += 1
        both *= count + 3
        magnitudes.gradients["x"] = Magnitude(terms=longest, absolute=counted, underflow=both)
    return magnitudes


@np.errstate(all="ignore")
def log_softmax_forward(*, x: Array, axis: int) -> Outputs:
    """Returns x - max - log of the sum of exp(x - max) along an axis; arguments as for `softmax_forward`."""
    line = shares(x, axis)
    return {"output": line.shifted - line.logarithm}


@np.errstate(all="ignore")
def log_softmax_vjp(cotangents: Outputs, *, x: Array, axis: int) -> Gradients:
    """Returns g - p times the sum of g, p the softmax; arguments as for `softmax_forward`."""
    p = shares(x, axis).share
    cotangent = _cotangent(cotangents, x)
    return {"x": cotangent - p * cotangent.sum(axis=axis, keepdims=True)}


@np.errstate(all="ignore")
def log_softmax_magnitude(cotangents: Outputs | None, *, x: Array, axis: int) -> Magnitudes:
    """Bounds for every way that subtracts the maximum first; arguments as for `softmax_forward`.

    Value: d - log Z, or x - (max + log Z), d = x - max: as the loss of a row in `losses`, whose label is any class.

    Gradient g - p sum of g: p as a quotient, or as the exponential of d - log Z, stays below 2 |d| + 9 log Z + K + 1
    + 4 + 2 roundings (see `losses.magnitude`); the sum adds C - 1, the product and the difference one each; g itself
    passes through the difference. A flushed share (C + 3) is multiplied by the sum of g.
    """
    line = shares(x, axis)
    count = x.shape[axis]
    value = line.shifted - line.logarithm
    whole = np.abs(x.max(axis=axis, keepdims=True) + line.logarithm)
    counted = line.roundings + LOGARITHM * line.logarithm + np.abs(line.shifted) + whole + np.abs(value)
    output = chained((1.0, counted), longest=line.roundings + (LOGARITHM + 3), underflow=count + 5.0)
    magnitudes = Magnitudes(outputs={"output": output}, gradients={})
    if cotangents is not None:
        size = np.abs(_cotangent(cotangents, x))
        total = size.sum(axis=axis, keepdims=True)
        own = 2 * line.distance + 9 * line.logarithm + line.roundings + (EXPONENTIAL + ROOT)
        magnitudes.gradients["x"] = chained(
            (1.0, size),
            (own + count + 1, line.share * total),
            underflow=(count + 3) * total + count + 3,
        )
    return magnitudes


@dataclass(frozen=True)  # with a dictionary, where what only bounds ask for is kept once it is computed
class Shares:
    """The parts of a softmax along an axis, and the roundings of its denominator.

    With d_j = x_j - max, the denominator is Z = sum of exp(d_j) >= 1. Term j passes through n_j = |d_j| + 4 + C - 1
    roundings (subtraction, amplified by the exponential; exponential; additions in any order), so Z's relative error
    lies between those of the means of (1 - u)^n_j and 1 / (1 - u)^n_j, weighted by the shares p_j. The lower one,
    which matters more in a divisor, is at least (1 - u)^K, K = mean of n_j, as (1 - u)^n is convex in n. The upper
    one exceeds 1 / (1 - u)^K by the variance of |d_j| times u^2 / 2 at most to second order; that variance is the
    varentropy of p, below log(C)^2 / 4 + 1 and therefore below K, so reciprocal and logarithm still lie within
    gamma(K + 1). That one rounding more also stands for the terms below exp(-`NEGLIGIBLE`), whatever their own error.

    Attributes:
        share: p = exp(d) / Z, of x's shape.
        shifted: d, of x's shape.
        total: Z, with the axis kept.
        axis: the one that p sums to 1 along.
    """

    share: Array
    shifted: Array
    total: Array
    axis: int

    @cached_property
    def distance(self) -> Array:
        """Returns |d|, of x's shape; 0 where exp(d) has `VANISHED`, because no relative error is claimed there."""
        distance = np.abs(self.shifted)
        if not distance.max(initial=0.0) < VANISHED:
            distance = np.where(distance >= VANISHED, 0.0, distance)
        return distance

    @cached_property
    def roundings(self) -> Array:
        """Returns K + 1, with the axis kept."""
        with np.errstate(all="ignore"):
            mean = (self.share * self.distance).sum(axis=self.axis, keepdims=True)
            return np.asarray(mean + (EXPONENTIAL + self.share.shape[self.axis]))

    @cached_property
    def logarithm(self) -> Array:
        """Returns log Z, with the axis kept."""
        with np.errstate(all="ignore"):
            return np.asarray(np.log(self.total))


@np.errstate(all="ignore")
def shares(x: Array, axis: int) -> Shares:
    """Takes a softmax along an axis apart.

    Raises:
        InvalidShape: x has no such axis, or it has no elements.
    """
    if not -x.ndim <= axis < x.ndim:
        raise InvalidShape("axis of softmax", got=axis, required=f"an axis of an array of {x.ndim} dimensions")
    count = x.shape[axis]
    if count == 0:
        raise InvalidShape(f"axis {axis} of softmax", got=f"none of shape {x.shape}", required="at least one element")
    shifted = x - x.max(axis=axis, keepdims=True)
    exponential = np.exp(shifted)
    total = exponential.sum(axis=axis, keepdims=True)
    return Shares(share=exponential / total, shifted=shifted, total=total, axis=axis)


def _cotangent(cotangents: Outputs, x: Array) -> Array:
    return require_shape("the cotangent of output", cotangents["output"], x.shape)


def _sigmoid(x: Array) -> Array:
    t = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, t) / (1.0 + t)


def _sigmoid_slope(x: Array) -> Array:
    t = np.exp(-np.abs(x))
    return np.asarray(t / (1.0 + t) ** 2)
