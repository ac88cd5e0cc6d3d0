"""Fully connected layers and what stands around them: dense, bias_add, flatten and dropout.

The first three are linear in each operand, so that their bounds are gamma(n) S with n = L(1, 1) and S = L(|x|, |w|),
in any order of summation (Higham, Accuracy and Stability of Numerical Algorithms, 2nd edition, sections 3.1 and 3.5).
"""

from math import prod

import numpy as np

from conformance.reference.magnitude import (
    Array,
    Gradients,
    Magnitude,
    Magnitudes,
    Outputs,
    Precision,
    absolute_sums,
    exact,
)
from conformance.reference.padding import InvalidShape, require_shape


@np.errstate(all="ignore")
def dense_forward(*, x: Array, w: Array, b: Array | None = None) -> Outputs:
    """Returns x @ w (+ b) over the last axis of x.

    Args:
        x: (..., in), at least 1-D.
        w: (in, out).
        b: (out,), or None.

    Returns:
        "output", of shape (..., out).

    Raises:
        InvalidShape: w is not 2-D or does not fit x, or b does not fit w.
    """
    _check_dense(x, w, b)
    output = _rows(x) @ w
    if b is not None:
        output += b
    return {"output": output.reshape(*x.shape[:-1], w.shape[1])}


@np.errstate(all="ignore")
def dense_vjp(cotangents: Outputs, *, x: Array, w: Array, b: Array | None = None) -> Gradients:
    """Returns g @ w^T for x, x^T @ g for w, and the sum of g's rows for b; arguments as for `dense_forward`."""
    _check_dense(x, w, b)
    rows = _rows(_dense_cotangent(cotangents, x, w))
    gradients = {"x": (rows @ w.T).reshape(x.shape), "w": _rows(x).T @ rows}
    if b is not None:
        gradients["b"] = rows.sum(axis=0)
    return gradients


@np.errstate(all="ignore")
def dense_magnitude(cotangents: Outputs | None, *, x: Array, w: Array, b: Array | None = None) -> Magnitudes:
    """Counts `in` products (and the bias), `out` products, or one a row; arguments as for `dense_forward`."""
    _check_dense(x, w, b)
    rows, (inputs, units) = _rows(x), w.shape
    most = inputs + (b is not None)
    output = absolute_sums(_product, most, rows, w, count=len(rows) * units, bias=b).reshape(*x.shape[:-1], units)
    magnitudes = Magnitudes(outputs={"output": _summed(most, output)}, gradients={})
    if cotangents is not None:
        cotangent = _rows(_dense_cotangent(cotangents, x, w))
        count = len(rows)
        magnitudes.gradients["x"] = _summed(units, absolute_sums(_product, units, cotangent, w.T).reshape(x.shape))
        magnitudes.gradients["w"] = _summed(count, absolute_sums(_product, count, rows.T, cotangent))
        if b is not None:
            magnitudes.gradients["b"] = _summed(count, np.abs(cotangent).sum(axis=0))
    return magnitudes


@np.errstate(all="ignore")
def bias_add_forward(*, x: Array, b: Array) -> Outputs:
    """Returns x + b, b along the last axis.

    Args:
        x: (..., channels), at least 1-D.
        b: (channels,).

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: b does not fit x.
    """
    _check_bias(x, b)
    return {"output": x + b}


@np.errstate(all="ignore")
def bias_add_vjp(cotangents: Outputs, *, x: Array, b: Array) -> Gradients:
    """Returns the cotangent for x, and the sum of its rows for b; arguments as for `bias_add_forward`."""
    _check_bias(x, b)
    cotangent = require_shape("the cotangent of output", cotangents["output"], x.shape)
    return {"x": cotangent.copy(), "b": _rows(cotangent).sum(axis=0)}


@np.errstate(all="ignore")
def bias_add_magnitude(cotangents: Outputs | None, *, x: Array, b: Array) -> Magnitudes:
    """One addition; for b a sum of as many terms as there are rows; arguments as for `bias_add_forward`."""
    _check_bias(x, b)
    magnitudes = Magnitudes(outputs={"output": _summed(1, np.abs(x) + np.abs(b))}, gradients={})
    if cotangents is not None:
        cotangent = require_shape("the cotangent of output", cotangents["output"], x.shape)
        magnitudes.gradients["x"] = exact(x)
        magnitudes.gradients["b"] = _summed(prod(x.shape[:-1]), _rows(np.abs(cotangent)).sum(axis=0))
    return magnitudes


def flatten_forward(*, x: Array) -> Outputs:
    """Lays all axes but the first out in row-major order.

    Args:
        x: (N, ...), at least 1-D.

    Returns:
        "output", of shape (N, product of the other axes).

    Raises:
        InvalidShape: x is a scalar.
    """
    return {"output": x.reshape(_flat_shape(x)).copy()}


def flatten_vjp(cotangents: Outputs, *, x: Array) -> Gradients:
    """Folds the cotangent back into x's shape."""
    cotangent = require_shape("the cotangent of output", cotangents["output"], _flat_shape(x))
    return {"x": cotangent.reshape(x.shape).copy()}


def flatten_magnitude(cotangents: Outputs | None, *, x: Array) -> Magnitudes:
    """Nothing is rounded: all bounds are zero."""
    output = exact(np.zeros(_flat_shape(x)))
    return Magnitudes(outputs={"output": output}, gradients={} if cotangents is None else {"x": exact(x)})


@np.errstate(all="ignore")
def dropout_forward(*, x: Array, mask: Array, keep: float) -> Outputs:
    """Returns x * mask / keep (inverted dropout; Srivastava et al., 2014, section 10, scale at training time).

    A dropped infinity or NaN becomes NaN, as the product with zero says.

    Args:
        x: any shape.
        mask: bool, of x's shape; True keeps an element.
        keep: the probability that an element is kept, in (0, 1].

    Returns:
        "output", of x's shape.

    Raises:
        InvalidShape: mask has another shape, or keep is out of range.
    """
    _check_dropout(x, mask, keep)
    return {"output": x * mask / keep}


def dropout_vjp(cotangents: Outputs, *, x: Array, mask: Array, keep: float) -> Gradients:
    """Returns the same map of the cotangent; arguments as for `dropout_forward`."""
    cotangent = require_shape("the cotangent of output", cotangents["output"], x.shape)
    return {"x": dropout_forward(x=cotangent, mask=mask, keep=keep)["output"]}


def dropout_magnitude(cotangents: Outputs | None, *, x: Array, mask: Array, keep: float) -> Magnitudes:
    """At most four roundings, either way; arguments as for `dropout_forward`.

    The longest way is x * (mask * (1 / keep)): keep is rounded to the format (1), its reciprocal taken (2, if not
    correctly rounded), and multiplied (1). The product with the mask is exact. Flushed may be the result, and x
    itself before it is divided by keep.
    """
    gradients = {}
    output = _dropout_bound(x, mask, keep)
    if cotangents is not None:
        cotangent = require_shape("the cotangent of output", cotangents["output"], x.shape)
        gradients["x"] = _dropout_bound(cotangent, mask, keep)
    return Magnitudes(outputs={"output": output}, gradients=gradients)


def _dropout_bound(x: Array, mask: Array, keep: float) -> Magnitude:
    size = dropout_forward(x=np.abs(x), mask=mask, keep=keep)["output"]
    return Magnitude(terms=np.asarray(4.0), absolute=size, underflow=np.asarray(1 + 1 / keep))


def _product(first: Array, second: Array, *, bias: Array | None = None, precision: Precision = np.float64) -> Array:
    total: Array = first @ second
    if bias is not None:
        total += bias
    return total


def _summed(terms: int, absolute: Array) -> Magnitude:
    count = np.asarray(float(terms))
    return Magnitude(terms=count, absolute=absolute, underflow=count)


def _rows(x: Array) -> Array:
    # A -1 cannot be resolved where the last axis is empty.
    return x.reshape(prod(x.shape[:-1]), x.shape[-1])


def _dense_cotangent(cotangents: Outputs, x: Array, w: Array) -> Array:
    return require_shape("the cotangent of output", cotangents["output"], (*x.shape[:-1], w.shape[1]))


def _check_dense(x: Array, w: Array, b: Array | None) -> None:
    if x.ndim < 1:
        raise InvalidShape("x of dense", got="a scalar", required="at least 1-D")
    if w.ndim != 2 or w.shape[0] != x.shape[-1]:
        raise InvalidShape("w of dense", got=f"shape {w.shape}", required=f"(in, out), in = {x.shape[-1]} as in x")
    if b is not None:
        require_shape("b of dense", b, (w.shape[1],))


def _check_bias(x: Array, b: Array) -> None:
    if x.ndim < 1:
        raise InvalidShape("x of bias_add", got="a scalar", required="at least 1-D")
    require_shape("b of bias_add", b, (x.shape[-1],))


def _flat_shape(x: Array) -> tuple[int, int]:
    if x.ndim < 1:
        raise InvalidShape("x of flatten", got="a scalar", required="at least 1-D")
    return x.shape[0], prod(x.shape[1:])


def _check_dropout(x: Array, mask: Array, keep: float) -> None:
    require_shape("mask of dropout", mask, x.shape)
    if mask.dtype != np.bool_:
        raise InvalidShape("mask of dropout", got=f"elements of type {mask.dtype}", required="bool")
    if not 0 < keep <= 1:
        raise InvalidShape("keep of dropout", got=keep, required="a probability in (0, 1]")
