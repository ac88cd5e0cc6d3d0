"""Second derivatives of element-wise functions: what differentiating their gradients once more gives.

The gradient u f'(x) along v, differentiated by x, is u v f''(x). Every bound is a running error analysis (see
`chains`) of the ways in which frameworks come to it: by a formula of their own, or by the rules of differentiation
applied to their gradient, which leaves sums where a person would simplify. Where a formula takes s, a value that is
computed with a relative error of gamma(a), F(s) is off by |s F'(s)| gamma(a) to first order; one rounding more stands
for the second order, |s^2 F''| (a u)^2 / 2, as a^2 |F''| < 1 / u in float64 and float32.

gelu, mish and softsign are left out: their second derivatives are sums of so many products, in as many forms as there
are frameworks, that no count of roundings here would be proved for all of them.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from conformance.reference.chains import SATURATING, chained
from conformance.reference.curves import ELU, SELU_ALPHA, SELU_SCALE, SOFTPLUS
from conformance.reference.elementwise import Chains
from conformance.reference.magnitude import Array, Magnitude, exact


@dataclass(frozen=True, slots=True, kw_only=True)
class Curvature:
    """The second derivative of a function of one operand x, element by element; attributes are keyword arguments.

    Attributes:
        value: x -> f''(x); 0 at kinks.
        bound: x -> chains of f''(x), or None where it is 0, so that nothing is rounded.
    """

    value: Callable[..., Array]
    bound: Callable[..., Chains | None]

    @np.errstate(all="ignore")
    def pulled(self, cotangent: Array, direction: Array, *, x: Array, **attributes: Any) -> Array:
        """Returns the gradient of <cotangent f'(x), direction> by x, of x's shape."""
        return np.asarray(cotangent * direction * self.value(x, **attributes))

    @np.errstate(all="ignore")
    def magnitude(self, cotangent: Array, direction: Array, *, x: Array, **attributes: Any) -> Magnitude:
        """Its bound: two roundings more for the two products.

        Flushed may be either factor's product with parts of f'', which the rest is multiplied by.
        """
        chains = self.bound(x, **attributes)
        if chains is None:
            return exact(x)
        u, v = np.abs(cotangent), np.abs(direction)
        terms = tuple((roundings + 2, u * v * size) for roundings, size in chains.terms)
        found = chained(*terms, underflow=(1 + u) * (1 + v) * (1 + np.asarray(chains.underflow)))
        absolute = np.broadcast_to(found.absolute, x.shape)
        return Magnitude(terms=found.terms, absolute=absolute, underflow=found.underflow)


def _sigmoid(x: Array) -> Array:
    t = np.exp(-np.abs(x))
    return np.where(x >= 0, 1.0, t) / (1.0 + t)


def _sigmoid_curve(x: Array) -> Array:
    return _sigmoid(x) * _sigmoid(-x) * -np.tanh(x / 2)


def _sigmoid_bound(x: Array) -> Chains:
    """F(s) = s (1 - s) (1 - 2 s), s (16) the sigmoid: |F'| = |1 - 6 s + 6 s^2| <= 1.

    As a product, as s' (1 - s) - s s' or as s' - 2 s s', s' = s (1 - s), its terms add up to at most 9/8 s, each of
    which passes through at most 9 roundings.
    """
    return Chains(terms=((SATURATING + 12, _sigmoid(x)),), underflow=4.0)


def _tanh_curve(x: Array) -> Array:
    return -8 * np.tanh(x) * _sigmoid(2 * x) * _sigmoid(-2 * x)


def _tanh_bound(x: Array) -> Chains:
    """F(t) = -2 t (1 - t^2), t (16) the tangent: |F'| = |6 t^2 - 2| <= 4.

    As a product, its roundings are relative, but for that of t^2. JAX differentiates w + w t, w = u (1 - t), with
    t' v as (v + v t) (1 - t), which is off by 5 roundings of v at most: v t costs (1 - t) |v t| <= 2 |v|, the other
    three are of the result. It gives -u t' + (-u t' t + w t'): terms of at most (2 + 2 |t|) (1 - t^2) <= 2.4
    together, each through at most 5 roundings, and with t' at most 4 times its 5. All that is below 36.
    """
    return Chains(terms=((4 * SATURATING + 1, np.abs(np.tanh(x))), (36.0, np.ones_like(x))), underflow=8.0)


def _softplus_curve(x: Array) -> Array:
    return _sigmoid(x) * _sigmoid(-x)


def _softplus_bound(x: Array) -> Chains:
    """F(s) = s (1 - s), s the slope with its own roundings: |F'| <= 1; a difference and two products."""
    slope = SOFTPLUS.slope_bound(x)
    assert slope is not None
    return Chains(
        terms=tuple((roundings + 6, size) for roundings, size in slope.terms), underflow=slope.underflow + 2.0
    )


def _log_sigmoid_curve(x: Array) -> Array:
    return -_softplus_curve(x)


def _log_sigmoid_bound(x: Array) -> Chains:
    """As softplus of -x; or from 1 - s, s the sigmoid of x, which carries the error of s."""
    other = _softplus_bound(-x)
    return Chains(terms=(*other.terms, (SATURATING + 4, _sigmoid(x))), underflow=other.underflow)


def _elu_curve(x: Array, alpha: float) -> Array:
    return np.where(x < 0, alpha * np.exp(np.minimum(x, 0.0)), 0.0)


def _elu_bound(x: Array, alpha: float) -> Chains:
    """The slope once more, where it is none of a line: exp(x) is its own derivative, and so is y + alpha, y elu."""
    slope = ELU.slope_bound(x, alpha)
    assert slope is not None
    return Chains(terms=tuple((roundings + 2, size) for roundings, size in slope.terms), underflow=slope.underflow)


def _selu_curve(x: Array) -> Array:
    return SELU_SCALE * _elu_curve(x, SELU_ALPHA)


def _selu_bound(x: Array) -> Chains:
    """As elu's, with the scale rounded and multiplied."""
    inside = _elu_bound(x, SELU_ALPHA)
    return Chains(
        terms=tuple((roundings + 2, SELU_SCALE * size) for roundings, size in inside.terms),
        underflow=SELU_SCALE * inside.underflow,
    )


def _silu_curve(x: Array) -> Array:
    s = _sigmoid(x)
    return np.asarray(s * _sigmoid(-x) * (2 - x * np.tanh(x / 2)))


def _silu_bound(x: Array) -> Chains:
    """A sum: s' (1 + x (1 - s)) + s (1 - s) - x s s', s (16) the sigmoid, s' = s (1 - s), each s off by itself.

    By s' of the first product that is s (1 + |x|), by its other s |x| s / 4, by s (1 - s) s, by the last |x| s / 4
    and |x| s: together s (2 + 2.5 |x|). The terms themselves are smaller, each through at most 10 roundings.
    """
    size = np.abs(x)
    return Chains(terms=((SATURATING + 12, _sigmoid(x) * (2 + 2.5 * size)),), underflow=6 + 6 * size)


def _hard_swish_curve(x: Array) -> Array:
    return np.where(np.abs(x) < 3, 1 / 3, 0.0)


def _hard_swish_bound(x: Array) -> Chains:
    """1/3, or 1/6 twice: a rounded constant, three products, a sum; outside nothing is left."""
    return Chains(terms=((6.0, _hard_swish_curve(x)),), underflow=1.0)


def _nothing(x: Array, **attributes: Any) -> Array:
    return np.zeros_like(x)


def _unrounded(x: Array, **attributes: Any) -> None:
    return None


_LINES = Curvature(value=_nothing, bound=_unrounded)

CURVATURES: Mapping[str, Curvature] = MappingProxyType(
    {
        "relu": _LINES,
        "relu6": _LINES,
        "leaky_relu": _LINES,
        "hard_sigmoid": _LINES,
        "hard_tanh": _LINES,
        "hard_swish": Curvature(value=_hard_swish_curve, bound=_hard_swish_bound),
        "sigmoid": Curvature(value=_sigmoid_curve, bound=_sigmoid_bound),
        "tanh": Curvature(value=_tanh_curve, bound=_tanh_bound),
        "softplus": Curvature(value=_softplus_curve, bound=_softplus_bound),
        "log_sigmoid": Curvature(value=_log_sigmoid_curve, bound=_log_sigmoid_bound),
        "elu": Curvature(value=_elu_curve, bound=_elu_bound),
        "selu": Curvature(value=_selu_curve, bound=_selu_bound),
        "silu": Curvature(value=_silu_curve, bound=_silu_bound),
    }
)
"""By operator."""
