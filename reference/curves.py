"""Smooth activations: elu, selu, gelu, silu, mish, softplus, softsign and log_sigmoid.

Every bound is a running error analysis (see `chains`) of the ways in which the field compute these: u is the unit
roundoff, f(n) says that a factor passes through n roundings. Where frameworks take a derivative from the function's
value (1 + elu, 1 - tanh^2), it has an absolute error of some u and no relative one, and so has the bound. elu and
selu have a kink at 0 unless alpha (times scale) is 1: there the derivative is that of the left piece.
"""

import math

import numpy as np

from conformance.reference.activations import VANISHED
from conformance.reference.chains import EXPONENTIAL, ROOT, SATURATING
from conformance.reference.elementwise import Chains, ElementWise
from conformance.reference.magnitude import Array
from conformance.reference.padding import InvalidShape

# Klambauer, Unterthiner, Mayr, Hochreiter, Self-normalizing neural networks (2017), equation 14, to float64.
SELU_ALPHA = 1.6732632423543772
SELU_SCALE = 1.0507009873554805

# Hendrycks, Gimpel, Gaussian error linear units (2016), section 2.
GELU_CUBIC = 0.044715
GELU_FACTOR = math.sqrt(2 / math.pi)

LOGISTIC = SATURATING + EXPONENTIAL
"""softplus: a logarithm of 1 + exp, whose own errors it never magnifies, from cases that differ by region."""

_erfc = np.frompyfunc(math.erfc, 1, 1)


def _sigmoid(x: Array) -> Array:
    t = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, t) / (1.0 + t)


def _distance(x: Array) -> Array:
    """|x| as roundings of an exponent; 0 where exp(-|x|) has vanished, because no relative error is claimed there."""
    size = np.abs(x)
    return np.where(size >= VANISHED, 0.0, size)


# elu and selu


def _elu(x: Array, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0)))


def _elu_slope(x: Array, alpha: float) -> Array:
    return np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0)))


def _elu_bound(x: Array, alpha: float) -> Chains:
    """expm1 (16), alpha rounded and multiplied (2): relative, as expm1 was made to be; a positive number passes."""
    size = np.where(x > 0, 0.0, np.abs(_elu(x, alpha)))
    return Chains(terms=((SATURATING + 2, size),), underflow=np.where(x > 0, 0.0, 1 + abs(alpha)))


def _elu_slope_bound(x: Array, alpha: float) -> Chains:
    """Alpha exp(x), or alpha (expm1(x) + 1): exp (4), or expm1 (16); a sum, alpha rounded, a product.

    From exp(x) - 1 + 1, the exponential passes through 4 + 2 and the ones through 2 roundings: covered, as exp(x) and
    |expm1(x)| add up to 1.
    """
    below = np.where(x > 0, 0.0, abs(alpha))
    exponential = np.exp(np.minimum(x, 0.0))
    return Chains(
        terms=((EXPONENTIAL + 5, below * exponential), (SATURATING + 4, below * (1 - exponential))),
        underflow=2 * below,
    )


ELU = ElementWise(value=_elu, slope=_elu_slope, value_bound=_elu_bound, slope_bound=_elu_slope_bound)


def _selu(x: Array) -> Array:
    return SELU_SCALE * _elu(x, SELU_ALPHA)


def _selu_slope(x: Array) -> Array:
    return SELU_SCALE * _elu_slope(x, SELU_ALPHA)


def _selu_bound(x: Array) -> Chains:
    """As elu's, with the scale rounded and multiplied on both sides."""
    return Chains(
        terms=((np.where(x > 0, 2.0, SATURATING + 4), np.abs(_selu(x))),), underflow=2 + SELU_SCALE * SELU_ALPHA
    )


def _selu_slope_bound(x: Array) -> Chains:
    inside = _elu_slope_bound(x, SELU_ALPHA)
    terms = tuple((roundings + 2, SELU_SCALE * size) for roundings, size in inside.terms)
    return Chains(
        terms=(*terms, (1.0, np.where(x > 0, SELU_SCALE, 0.0))), underflow=SELU_SCALE * inside.underflow + 1
    )


SELU = ElementWise(value=_selu, slope=_selu_slope, value_bound=_selu_bound, slope_bound=_selu_slope_bound)


# gelu


def _normal_share(x: Array) -> Array:
    """The normal distribution function, without cancellation."""
    return np.asarray(0.5 * np.asarray(_erfc(-x / math.sqrt(2)), dtype=np.float64))


def _density(x: Array) -> Array:
    return np.asarray(np.exp(-0.5 * x * x) / math.sqrt(2 * math.pi))


def _gelu_argument(x: Array) -> Array:
    return np.asarray(GELU_FACTOR * (x + GELU_CUBIC * x**3))


def _gelu(x: Array, approximate: str) -> Array:
    _check_gelu(approximate)
    if approximate == "none":
        return x * _normal_share(x)
    # 1 + tanh(z) = 2 s(2 z), which never cancels.
    return x * _sigmoid(2 * _gelu_argument(x))


def _gelu_slope(x: Array, approximate: str) -> Array:
    _check_gelu(approximate)
    if approximate == "none":
        return np.asarray(_normal_share(x) + x * _density(x))
    z = _gelu_argument(x)
    t = np.exp(-2 * np.abs(z))
    slope = GELU_FACTOR * (1 + 3 * GELU_CUBIC * x * x)
    return np.asarray(_sigmoid(2 * z) + 2 * x * np.where(t == 0, 0.0, slope * t / (1 + t) ** 2))


# The argument of tanh: a cube (2, or 8 from a power function), its product with a rounded constant (2), a sum, a
# product with another rounded constant (2). All terms have one sign, and |z tanh'(z)| <= |tanh(z)|.
_ARGUMENT = 8.0 + 2 + 1 + 2


def _gelu_bound(x: Array, approximate: str) -> Chains:
    """X / 2 (1 + E), E an error function or a tanh: both lie between -1 and 1, and so absolutely does their error.

    E is off by (16 and its argument's 3, or 13, roundings) u at most, an error function from a rational approximation
    with absolute error included; 1 + E is rounded, halved exactly, and multiplied with x. Hence a chain of that
    length of a term |x|: nothing relative is left where 1 + E cancels, on the left.
    """
    roundings = SATURATING + 2 + (3.0 if approximate == "none" else _ARGUMENT)
    return Chains(terms=((roundings, np.abs(x)),), underflow=1 + np.abs(x))


def _gelu_slope_bound(x: Array, approximate: str) -> Chains:
    """(1 + E) / 2, as in the value, and x times the slope of E / 2.

    The density: x^2 / 2 from a rounded argument carries five roundings, which the exponential magnifies by x^2 / 2;
    then the exponential (4), two rounded constants and four products.

    The tanh: 1 - t^2 has the absolute error of its own rounding analysis, gamma(36), and |2 z t tanh'(z)| < 1 times
    the argument's roundings; the argument's slope, a sum of two positive terms, has 2 + 2 + 1 + 2 roundings; three
    products and a sum follow. JAX's way, (g + g t) (1 - t), stays within 36 as well.
    """
    size = np.abs(x)
    if approximate == "none":
        squares = np.where(0.5 * x * x >= VANISHED, 0.0, x * x)
        return Chains(
            terms=(
                (SATURATING + 6, np.ones(())),
                (EXPONENTIAL + 3 * squares + 9, np.where(squares > 0, size * _density(x), 0.0)),
            ),
            underflow=2 + 2 * size,
        )
    rise = GELU_FACTOR * (1 + 3 * GELU_CUBIC * x * x)
    # Beyond |z| = 64, tanh is +-1 whatever its error below 2^-8, and 1 - t^2 from an exponential is far below eta.
    steep = np.where(np.abs(_gelu_argument(x)) > 64, 0.0, 0.5 * size * rise)
    return Chains(
        terms=((SATURATING + _ARGUMENT + 4, np.ones(())), (2 * SATURATING + 4 + _ARGUMENT + 7 + 4, steep)),
        underflow=2 + 2 * size * (1 + rise),
    )


def _check_gelu(approximate: str) -> None:
    if approximate not in ("none", "tanh"):
        raise InvalidShape("approximate of gelu", got=repr(approximate), required="'none' or 'tanh'")


GELU = ElementWise(value=_gelu, slope=_gelu_slope, value_bound=_gelu_bound, slope_bound=_gelu_slope_bound)


# silu, softplus, log_sigmoid, mish


def _silu(x: Array) -> Array:
    return x * _sigmoid(x)


def _silu_slope(x: Array) -> Array:
    s = _sigmoid(x)
    return np.asarray(s + x * s * _sigmoid(-x))


def _silu_bound(x: Array) -> Chains:
    """A sigmoid (16) and a product, or a quotient; a flushed sigmoid is multiplied by x."""
    return Chains(terms=((SATURATING + ROOT, np.abs(_silu(x))),), underflow=1 + 2 * np.abs(x))


def _silu_slope_bound(x: Array) -> Chains:
    """S + x s (1 - s), or s (1 + x (1 - s)), s (16) the sigmoid.

    s (1 - s) is off by gamma(20) s at most (`sigmoid_magnitude`); it is multiplied by x, and the sum rounded.
    """
    s, size = _sigmoid(x), np.abs(x)
    return Chains(terms=((SATURATING + 3, s), (SATURATING + 7, size * s)), underflow=2 + 3 * size)


SILU = ElementWise(value=_silu, slope=_silu_slope, value_bound=_silu_bound, slope_bound=_silu_slope_bound)


def _softplus(x: Array) -> Array:
    return np.maximum(x, 0.0) + np.log1p(np.exp(-np.abs(x)))


def _softplus_bound(x: Array) -> Chains:
    """Relative, as log(1 + exp(x)) was made to be; an exponential and the value may be flushed."""
    return Chains(terms=((LOGISTIC, _softplus(x)),), underflow=2.0)


def _softplus_slope_bound(x: Array) -> Chains:
    """The sigmoid (16), or exp(x - softplus(x)), JAX's way, s the exact value of either.

    The exponent there: softplus carries u (softplus + 12 log(1 + exp(-|x|))), 12 for exponential and logarithm, and
    the difference one rounding of itself. As softplus <= max(x, 0) + 0.7 and |x - softplus| <= max(-x, 0) + 0.7, all
    this lies below |x| + 1.4 + 8.4 roundings; twice |x| leaves room for a softplus off by one rounding more.
    """
    roundings = SATURATING + EXPONENTIAL + 2 * _distance(x)
    return Chains(terms=((roundings, _sigmoid(x)),), underflow=2.0)


SOFTPLUS = ElementWise(
    value=_softplus, slope=_sigmoid, value_bound=_softplus_bound, slope_bound=_softplus_slope_bound
)


def _log_sigmoid(x: Array) -> Array:
    return -_softplus(-x)


def _log_sigmoid_slope(x: Array) -> Array:
    return _sigmoid(-x)


def _log_sigmoid_bound(x: Array) -> Chains:
    """Softplus of -x, its sign changed."""
    return _softplus_bound(-x)


def _log_sigmoid_slope_bound(x: Array) -> Chains:
    return _softplus_slope_bound(-x)


LOG_SIGMOID = ElementWise(
    value=_log_sigmoid,
    slope=_log_sigmoid_slope,
    value_bound=_log_sigmoid_bound,
    slope_bound=_log_sigmoid_slope_bound,
)


def _tanh_of_softplus(x: Array) -> Array:
    """tanh(log(1 + w)) = (w^2 + 2 w) / (w^2 + 2 w + 2), w = exp(x); for positive x divided by w^2."""
    t = np.exp(-np.abs(x))
    right, left = 1 + 2 * t, t * t + 2 * t
    return np.asarray(np.where(x >= 0, right / (right + 2 * t * t), left / (left + 2)))


def _sech2_of_softplus(x: Array) -> Array:
    """1 - tanh(softplus)^2 = 4 (1 + w)^2 / ((1 + w)^2 + 1)^2, without cancellation."""
    t = np.exp(-np.abs(x))
    right = (2 * t * (1 + t)) / ((1 + t) ** 2 + t * t)
    left = 2 * (1 + t) / ((1 + t) ** 2 + 1)
    return np.asarray(np.where(x >= 0, right, left) ** 2)


def _mish(x: Array) -> Array:
    return x * _tanh_of_softplus(x)


def _mish_slope(x: Array) -> Array:
    return np.asarray(_tanh_of_softplus(x) + x * _sigmoid(x) * _sech2_of_softplus(x))


def _mish_bound(x: Array) -> Chains:
    """Softplus (20), not magnified by the tanh (16), and a product; flushed may be any of them, then times x."""
    return Chains(terms=((LOGISTIC + SATURATING + 1, np.abs(_mish(x))),), underflow=1 + 4 * np.abs(x))


def _mish_slope_bound(x: Array) -> Chains:
    """T + x s (1 - T^2), T = tanh(softplus(x)), s the sigmoid, from whatever softplus's derivative is made of.

    1 - T^2 has the absolute error gamma(36) of `tanh_magnitude`, and, since |2 z T tanh'(z)| < 1, another 20 from
    softplus; s as in softplus's slope; two products and a sum.
    """
    size = np.abs(x)
    slope = _softplus_slope_bound(x).terms[0]
    return Chains(
        terms=(
            (LOGISTIC + SATURATING + 2, _tanh_of_softplus(x)),
            (slope[0] + 2 * SATURATING + 4 + LOGISTIC + 4, size * slope[1]),
        ),
        underflow=3 + 6 * size,
    )


MISH = ElementWise(value=_mish, slope=_mish_slope, value_bound=_mish_bound, slope_bound=_mish_slope_bound)


# softsign


def _softsign(x: Array) -> Array:
    return np.asarray(x / (1 + np.abs(x)))


def _softsign_slope(x: Array) -> Array:
    return 1 / (1 + np.abs(x)) ** 2


def _softsign_bound(x: Array) -> Chains:
    """A sum and a quotient."""
    return Chains(terms=((1 + ROOT, np.abs(_softsign(x))),), underflow=1.0)


def _softsign_slope_bound(x: Array) -> Chains:
    """1 / (1 + |x|)^2, or 1 / (1 + |x|) - |x| / (1 + |x|)^2: sums, squares, quotients, a difference."""
    size = np.abs(x)
    return Chains(terms=((2 + 2 * ROOT + 3, 1 / (1 + size) + size / (1 + size) ** 2),), underflow=3.0)


SOFTSIGN = ElementWise(
    value=_softsign, slope=_softsign_slope, value_bound=_softsign_bound, slope_bound=_softsign_slope_bound
)
