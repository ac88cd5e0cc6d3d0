"""What is left of whole axes: mean, and the global pools over the pixels of an image."""

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_shape

PIXELS = (1, 2)


@np.errstate(all="ignore")
def mean_forward(*, x: Array, axes: tuple[int, ...], keepdims: bool) -> Outputs:
    """Returns the mean over axes.

    Args:
        x: any shape with these axes, none of them empty.
        axes: distinct; negative counts from the end.
        keepdims: whether they stay, with size 1.

    Returns:
        "output".

    Raises:
        InvalidShape: an axis is missing, empty or named twice, or there is none.
    """
    _check_axes(x, axes)
    return {"output": np.asarray(x.mean(axis=axes, keepdims=keepdims))}


@np.errstate(all="ignore")
def mean_vjp(cotangents: Outputs, *, x: Array, axes: tuple[int, ...], keepdims: bool) -> Gradients:
    """Gives every element its share of the cotangent; arguments as for `mean_forward`."""
    count = _check_axes(x, axes)
    kept = tuple(1 if axis in _places(x, axes) else n for axis, n in enumerate(x.shape))
    shape = kept if keepdims else tuple(n for axis, n in enumerate(x.shape) if axis not in _places(x, axes))
    cotangent = require_shape("the cotangent of output", cotangents["output"], shape)
    return {"x": np.broadcast_to(cotangent.reshape(kept) / count, x.shape).copy()}


@np.errstate(all="ignore")
def mean_magnitude(cotangents: Outputs | None, *, x: Array, axes: tuple[int, ...], keepdims: bool) -> Magnitudes:
    """A sum of `count` terms (count - 1 roundings), and a quotient or a product with the rounded reciprocal (2).

    The share of a cotangent is the quotient alone. Sums may be flushed, each divided by `count` later (or before),
    and the result.
    """
    count = _check_axes(x, axes)
    size = mean_forward(x=np.abs(x), axes=axes, keepdims=keepdims)["output"]
    output = Magnitude(terms=np.asarray(count + 1.0), absolute=size, underflow=np.asarray(count + 1.0))
    magnitudes = Magnitudes(outputs={"output": output}, gradients={})
    if cotangents is not None:
        share = mean_vjp({"output": np.abs(cotangents["output"])}, x=x, axes=axes, keepdims=keepdims)["x"]
        magnitudes.gradients["x"] = Magnitude(terms=np.asarray(2.0), absolute=share, underflow=np.asarray(1.0))
    return magnitudes


def global_average_pool2d_forward(*, x: Array) -> Outputs:
    """Returns the mean over an image's pixels.

    Args:
        x: (N, H, W, C), with at least one pixel.

    Returns:
        "output", of shape (N, C).

    Raises:
        InvalidShape: x is no image, or has no pixel.
    """
    _check_image(x)
    return mean_forward(x=x, axes=PIXELS, keepdims=False)


def global_average_pool2d_vjp(cotangents: Outputs, *, x: Array) -> Gradients:
    """Gives every pixel its share of the cotangent; arguments as for `global_average_pool2d_forward`."""
    _check_image(x)
    return mean_vjp(cotangents, x=x, axes=PIXELS, keepdims=False)


def global_average_pool2d_magnitude(cotangents: Outputs | None, *, x: Array) -> Magnitudes:
    """As the mean's; arguments as for `global_average_pool2d_forward`."""
    _check_image(x)
    return mean_magnitude(cotangents, x=x, axes=PIXELS, keepdims=False)


def global_max_pool2d_forward(*, x: Array) -> Outputs:
    """Returns the maximum over an image's pixels; NaN if there is one; arguments as for the average."""
    _check_image(x)
    return {"output": x.max(axis=PIXELS)}


def global_max_pool2d_vjp(cotangents: Outputs, *, x: Array) -> Gradients:
    """Gives the cotangent to the maximum, of several to the first in row-major order, as `max_pool2d` does."""
    _check_image(x)
    images, height, width, channels = x.shape
    cotangent = require_shape("the cotangent of output", cotangents["output"], (images, channels))
    flat = x.reshape(images, height * width, channels)
    first = flat.argmax(axis=1)  # a NaN counts as the largest
    gradient = np.zeros(flat.shape)
    np.put_along_axis(gradient, first[:, None, :], cotangent[:, None, :], axis=1)
    return {"x": gradient.reshape(x.shape)}


def global_max_pool2d_magnitude(cotangents: Outputs | None, *, x: Array) -> Magnitudes:
    """Nothing is rounded: all bounds are zero."""
    _check_image(x)
    output = exact(np.zeros((x.shape[0], x.shape[-1])))
    return Magnitudes(outputs={"output": output}, gradients={} if cotangents is None else {"x": exact(x)})


def _places(x: Array, axes: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(axis % x.ndim for axis in axes)


def _check_axes(x: Array, axes: tuple[int, ...]) -> int:
    if not axes or any(not -x.ndim <= axis < x.ndim for axis in axes) or len(set(_places(x, axes))) < len(axes):
        raise InvalidShape("axes of mean", got=axes, required=f"distinct axes of an array of {x.ndim} dimensions")
    count = int(np.prod([x.shape[axis] for axis in axes]))
    if not count:
        raise InvalidShape("axes of mean", got=f"none of shape {x.shape}", required="at least one element")
    return count


def _check_image(x: Array) -> None:
    if x.ndim != 4:
        raise InvalidShape("axes of x", got=x.ndim, required="4: batch, 2 spatial, channels")
    if not x.shape[1] * x.shape[2]:
        raise InvalidShape("pixels of x", got=f"shape {x.shape}", required="at least one")
