"""A polynomial, element by element, its coefficients highest power first."""

from collections.abc import Sequence

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_shape


@np.errstate(all="ignore")
def forward(*, x: Array, coefficients: Sequence[float]) -> Outputs:
    """Evaluates sum of c_i x^(degree - i) by Horner's rule (Higham, Accuracy and Stability, section 5.1).

    The rule starts with the first coefficient, not with zero times x, so an infinite x gives an infinite value, not
    NaN.

    Args:
        x: any shape.
        coefficients: c_0 ... c_degree, the highest power's first; at least one.

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: there are no coefficients.
    """
    _check(coefficients)
    return {"output": _horner(coefficients, x)}


@np.errstate(all="ignore")
def vjp(cotangents: Outputs, *, x: Array, coefficients: Sequence[float]) -> Gradients:
    """Multiplies the cotangent by the derivative; arguments as for `forward`."""
    _check(coefficients)
    cotangent = require_shape("the cotangent of output", cotangents["output"], x.shape)
    derivative = _derivative(coefficients)
    return {"x": cotangent * _horner(derivative, x) if derivative else np.zeros(x.shape)}


@np.errstate(all="ignore")
def magnitude(cotangents: Outputs | None, *, x: Array, coefficients: Sequence[float]) -> Magnitudes:
    """Bounds for any order of evaluation; arguments as for `forward`.

    Value: the term c_i x^k passes through at most k products and `degree` sums, whether by Horner's rule or by
    powers, and its coefficient is
    rounded: 2 degree + 1. A result flushed on the way is multiplied by the powers of x that follow; three a power:
    coefficient, product, sum.

    Gradient: by the derivative's coefficients k c_i (rounded twice), or by the chain rule through Horner's rule,
    where c_i x^(k - 1) occurs k times: at most 2 degree - 1 roundings of the partial value, `degree` of the partial
    cotangent and its product, and `degree` of the sum; the cotangent's own product. Flushed results are multiplied by
    powers of x, by the cotangent or by a partial value.
    """
    _check(coefficients)
    degree = len(coefficients) - 1
    size, sizes = np.abs(x), [abs(c) for c in coefficients]
    if degree == 0:
        # Only the coefficient is rounded, whatever x is.
        value = Magnitude(terms=np.asarray(1.0), absolute=np.full(x.shape, sizes[0]), underflow=np.asarray(1.0))
        return Magnitudes(outputs={"output": value}, gradients={} if cotangents is None else {"x": exact(x)})
    value = Magnitude(
        terms=np.asarray(2.0 * degree + 1),
        absolute=_horner(sizes, size),
        underflow=3 * _horner([1.0] * (degree + 1), size),
    )
    magnitudes = Magnitudes(outputs={"output": value}, gradients={})
    if cotangents is not None:
        cotangent = np.abs(require_shape("the cotangent of output", cotangents["output"], x.shape))
        derivative, outer = _derivative(sizes), np.maximum(size, 1.0)
        powers, partial = _horner([1.0] * degree, outer), _horner(derivative, outer)
        magnitudes.gradients["x"] = Magnitude(
            terms=np.asarray(4.0 * degree + 1),
            absolute=cotangent * _horner(derivative, size),
            underflow=degree * (3 * (1 + cotangent) * powers + partial),
        )
    return magnitudes


def _horner(coefficients: Sequence[float], x: Array) -> Array:
    value = np.full(x.shape, float(coefficients[0]))
    for coefficient in coefficients[1:]:
        value = value * x + coefficient
    return np.asarray(value)


def _derivative(coefficients: Sequence[float]) -> list[float]:
    degree = len(coefficients) - 1
    return [(degree - i) * coefficient for i, coefficient in enumerate(coefficients[:-1])]


def _check(coefficients: Sequence[float]) -> None:
    if len(coefficients) == 0:
        raise InvalidShape("coefficients", got="none", required="at least one")
