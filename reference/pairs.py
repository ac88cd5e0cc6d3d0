"""Two arrays in, one out: matmul, add, multiply and concat.

The first three broadcast by NumPy's rules, so that a gradient adds what an operand was repeated over. All are linear
in each operand: bounds are gamma(n) S with n and S the operator itself on ones and on absolute values (Higham,
Accuracy and Stability of Numerical Algorithms, 2nd edition, sections 3.1 and 3.5).
"""

from functools import partial

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
def matmul_forward(*, x: Array, y: Array) -> Outputs:
    """Returns the product of the matrices in the last two axes; the axes before them broadcast.

    Args:
        x: (..., m, k), at least 2-D.
        y: (..., k, n), at least 2-D.

    Returns:
        "output", of shape (..., m, n).

    Raises:
        InvalidShape: the arrays do not fit each other.
    """
    _check_matmul(x, y)
    return {"output": x @ y}


@np.errstate(all="ignore")
def matmul_vjp(cotangents: Outputs, *, x: Array, y: Array) -> Gradients:
    """Returns g @ y^T and x^T @ g, added over the axes that broadcast; arguments as for `matmul_forward`."""
    cotangent = require_shape("the cotangent of output", cotangents["output"], _matmul_shape(x, y))
    return {
        "x": _folded(cotangent @ y.swapaxes(-1, -2), x.shape),
        "y": _folded(x.swapaxes(-1, -2) @ cotangent, y.shape),
    }


@np.errstate(all="ignore")
def matmul_magnitude(cotangents: Outputs | None, *, x: Array, y: Array) -> Magnitudes:
    """Counts k products, or n (m) and the repetitions; arguments as for `matmul_forward`."""
    shape = _matmul_shape(x, y)
    output = absolute_sums(partial(_product, shape=shape), x.shape[-1], x, y)
    magnitudes = Magnitudes(outputs={"output": _summed(x.shape[-1], output)}, gradients={})
    if cotangents is not None:
        cotangent = require_shape("the cotangent of output", cotangents["output"], shape)
        for name, operand, length, first, second in (
            ("x", x, shape[-1], cotangent, y.swapaxes(-1, -2)),
            ("y", y, shape[-2], x.swapaxes(-1, -2), cotangent),
        ):
            most = _repeats(shape[:-2], operand.shape[:-2]) * length
            sums = absolute_sums(partial(_product, shape=operand.shape), most, first, second)
            magnitudes.gradients[name] = _summed(most, sums)
    return magnitudes


@np.errstate(all="ignore")
def add_forward(*, x: Array, y: Array) -> Outputs:
    """Returns x + y.

    Args:
        x: any shape.
        y: a shape that broadcasts with it.

    Returns:
        "output", of the broadcast shape.

    Raises:
        InvalidShape: the shapes do not broadcast.
    """
    _broadcast("y of add", x.shape, y.shape)
    return {"output": np.asarray(x + y)}


@np.errstate(all="ignore")
def add_vjp(cotangents: Outputs, *, x: Array, y: Array) -> Gradients:
    """Returns the cotangent for both, added over the axes that broadcast; arguments as for `add_forward`."""
    shape = _broadcast("y of add", x.shape, y.shape)
    cotangent = require_shape("the cotangent of output", cotangents["output"], shape)
    return {"x": _folded(cotangent, x.shape), "y": _folded(cotangent, y.shape)}


def add_magnitude(cotangents: Outputs | None, *, x: Array, y: Array) -> Magnitudes:
    """One sum; a gradient has as many terms as there are repetitions: one term is exact."""
    output = add_forward(x=np.abs(x), y=np.abs(y))["output"]
    magnitudes = Magnitudes(outputs={"output": _summed(1, output)}, gradients={})
    if cotangents is not None:
        gradients = add_vjp({"output": np.abs(cotangents["output"])}, x=x, y=y)
        for name, operand in (("x", x), ("y", y)):
            count = _repeats(output.shape, operand.shape)
            magnitudes.gradients[name] = _summed(count, gradients[name]) if count > 1 else exact(operand)
    return magnitudes


@np.errstate(all="ignore")
def multiply_forward(*, x: Array, y: Array) -> Outputs:
    """Returns x * y; arguments, result and exception as for `add_forward`."""
    _broadcast("y of multiply", x.shape, y.shape)
    return {"output": np.asarray(x * y)}


@np.errstate(all="ignore")
def multiply_vjp(cotangents: Outputs, *, x: Array, y: Array) -> Gradients:
    """Returns g y for x and g x for y, added over the axes that broadcast; arguments as for `add_forward`."""
    shape = _broadcast("y of multiply", x.shape, y.shape)
    cotangent = require_shape("the cotangent of output", cotangents["output"], shape)
    return {"x": _folded(cotangent * y, x.shape), "y": _folded(cotangent * x, y.shape)}


def multiply_magnitude(cotangents: Outputs | None, *, x: Array, y: Array) -> Magnitudes:
    """One product; a gradient adds as many as there are repetitions, each of which may be flushed."""
    size = np.abs(x), np.abs(y)
    output = multiply_forward(x=size[0], y=size[1])["output"]
    magnitudes = Magnitudes(outputs={"output": _summed(1, output)}, gradients={})
    if cotangents is not None:
        gradients = multiply_vjp({"output": np.abs(cotangents["output"])}, x=size[0], y=size[1])
        for name, operand in (("x", x), ("y", y)):
            magnitudes.gradients[name] = _summed(_repeats(output.shape, operand.shape), gradients[name])
    return magnitudes


def concat_forward(*, x: Array, y: Array, axis: int) -> Outputs:
    """Lays y behind x along an axis.

    Args:
        x: at least 1-D.
        y: of x's shape but for the axis.
        axis: negative counts from the end.

    Returns:
        "output".

    Raises:
        InvalidShape: there is no such axis, or y does not fit x.
    """
    _check_concat(x, y, axis)
    return {"output": np.concatenate([x, y], axis=axis)}


def concat_vjp(cotangents: Outputs, *, x: Array, y: Array, axis: int) -> Gradients:
    """Cuts the cotangent in two; arguments as for `concat_forward`."""
    output = concat_forward(x=x, y=y, axis=axis)["output"]
    cotangent = require_shape("the cotangent of output", cotangents["output"], output.shape)
    first, second = np.split(cotangent, [x.shape[axis]], axis=axis)
    return {"x": first.copy(), "y": second.copy()}


def concat_magnitude(cotangents: Outputs | None, *, x: Array, y: Array, axis: int) -> Magnitudes:
    """Nothing is rounded: all bounds are zero."""
    output = concat_forward(x=x, y=y, axis=axis)["output"]
    gradients = {} if cotangents is None else {"x": exact(x), "y": exact(y)}
    return Magnitudes(outputs={"output": exact(output)}, gradients=gradients)


def _product(first: Array, second: Array, *, shape: tuple[int, ...], precision: Precision = np.float64) -> Array:
    """The product of matrices, added over the axes that broadcast."""
    return _folded(first @ second, shape)


def _summed(terms: int, absolute: Array) -> Magnitude:
    # A product each, and one sum less than there are terms; as many results may be flushed, products and sums.
    count = np.asarray(float(terms))
    return Magnitude(terms=count, absolute=absolute, underflow=2 * count)


def _folded(gradient: Array, shape: tuple[int, ...]) -> Array:
    """Adds over the axes that an operand of the shape was repeated along; along none, nothing is added to a -0."""
    if gradient.shape == shape:
        return gradient
    gradient = gradient.sum(axis=tuple(range(gradient.ndim - len(shape))))
    repeated = tuple(axis for axis, (n, m) in enumerate(zip(gradient.shape, shape, strict=True)) if n != m)
    return np.asarray(gradient.sum(axis=repeated, keepdims=True))


def _repeats(whole: tuple[int, ...], shape: tuple[int, ...]) -> int:
    """How often an operand of the shape is repeated in the whole; 1 where there is nothing."""
    count = 1
    padded = (1,) * (len(whole) - len(shape)) + shape
    for n, m in zip(whole, padded, strict=True):
        count *= n if n != m else 1
    return count


def _broadcast(what: str, x: tuple[int, ...], y: tuple[int, ...]) -> tuple[int, ...]:
    try:
        return np.broadcast_shapes(x, y)
    except ValueError:
        raise InvalidShape(what, got=f"shape {y}", required=f"a shape that broadcasts with {x}") from None


def _check_matmul(x: Array, y: Array) -> None:
    if x.ndim < 2 or y.ndim < 2 or x.shape[-1] != y.shape[-2]:
        raise InvalidShape(
            "operands of matmul", got=f"{x.shape} and {y.shape}", required="(..., m, k) and (..., k, n)"
        )
    _broadcast("batch of y in matmul", x.shape[:-2], y.shape[:-2])


def _matmul_shape(x: Array, y: Array) -> tuple[int, ...]:
    _check_matmul(x, y)
    batch = _broadcast("batch of y in matmul", x.shape[:-2], y.shape[:-2])
    return (*batch, x.shape[-2], y.shape[-1])


def _check_concat(x: Array, y: Array, axis: int) -> None:
    if not -x.ndim <= axis < x.ndim:
        raise InvalidShape("axis of concat", got=axis, required=f"an axis of an array of {x.ndim} dimensions")
    fits = x.ndim == y.ndim and all(
        n == m for place, (n, m) in enumerate(zip(x.shape, y.shape, strict=True)) if place != axis % x.ndim
    )
    if not fits:
        raise InvalidShape("y of concat", got=f"shape {y.shape}", required=f"{x.shape} but for axis {axis}")
