"""Gradients as operators of their own: of a convolution by its kernel, and of a maximum pool whose choice is given.

With the `Window` arithmetic of `padding`, for every group of channels,

    weight gradient    y[t, a, b]  =  sum over n, o  of  x[n, o * stride + t * dilation - low, a] * g[n, o, b]
    pool gradient      y[n, p, c]  =  sum over o     of  x[n, o, c]     where indices[n, o, c] says p

The first is `sliding.correlate`, bilinear, so that its own gradients are the other two maps of a sliding window.
"""

from collections.abc import Sequence

import numpy as np

from conformance.reference.conv import require_groups
from conformance.reference.magnitude import Array, Gradients, Magnitude, Magnitudes, Outputs, Sizes, exact
from conformance.reference.padding import InvalidShape, Padding, Window, require_shape, windows
from conformance.reference.sliding import (
    correlate,
    correlate_magnitude,
    gather,
    gather_magnitude,
    scatter,
    scatter_magnitude,
)
from conformance.reference.unpooling import places_of


def weight_gradient_forward(
    *,
    x: Array,
    g: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
) -> Outputs:
    """Pulls a convolution's cotangent back to its kernel.

    Args:
        x: what was convolved, (batch, *spatial, in), two or three spatial axes; the batch may be 0.
        g: the cotangent of its output, (batch, *outputs, out).
        kernel: the kernel's sides, one number a spatial axis.
        stride: positions between neighbouring windows, one number a spatial axis.
        dilation: positions between neighbouring taps, one number a spatial axis.
        groups: into how many independent parts the channels are split; divides in and out.
        padding: "same", "same_lower", "valid" or (low, high) pairs, see `padding.windows`.

    Returns:
        "output", (*kernel, in / groups, out).

    Raises:
        InvalidShape: shapes and attributes do not fit each other, or no window fits into the padded input.
    """
    return {"output": correlate(x, g, _windows(x, g, kernel, stride, dilation, groups, padding), groups=groups)}


def weight_gradient_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    g: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
) -> Gradients:
    """Pulls the cotangent of "output", a kernel, back to x and g; arguments and errors as for the forward."""
    over = _windows(x, g, kernel, stride, dilation, groups, padding)
    cotangent = _kernel_cotangent(cotangents, x, g, over, groups)
    return {"x": scatter(g, cotangent, over, groups=groups), "g": gather(x, cotangent, over, groups=groups)}


def weight_gradient_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    g: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
) -> Magnitudes:
    """Every result is a sum of products; arguments and errors as for the forward."""
    over = _windows(x, g, kernel, stride, dilation, groups, padding)
    data, maps = Sizes(x), Sizes(g)
    gradients: dict[str, Magnitude] = {}
    if cotangents is not None:
        pulled = Sizes(_kernel_cotangent(cotangents, x, g, over, groups))
        gradients["x"] = scatter_magnitude(maps, pulled, over, groups=groups)
        gradients["g"] = gather_magnitude(data, pulled, over, groups=groups)
    return Magnitudes(outputs={"output": correlate_magnitude(data, maps, over, groups=groups)}, gradients=gradients)


def max_pool_gradient_forward(
    *,
    x: Array,
    indices: Array,
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    indexed: str,
) -> Outputs:
    """Adds every number up where its index says.

    Args:
        x: a number for every window, (N, h, w, C).
        indices: the place of each, an integer as for `unpooling.forward`, any number of times; the shape of x.
        size: rows and columns of the image.
        window: rows and columns of a window of the pool, which has h and w of them in such an image.
        stride: positions between neighbouring windows, one number a spatial axis.
        padding: "same" or "valid", see `padding.windows`.
        indexed: "plane" or "image". With "image" an index may lie in any channel.

    Returns:
        "output", (N, *size, C).

    Raises:
        InvalidShape: shapes or attributes do not fit, or an index lies outside.
    """
    places = _places(x, indices, size, window, stride, padding, indexed)
    return {"output": _added_up(x.reshape(places.shape), places, size, x.shape[-1])}


def max_pool_gradient_vjp(
    cotangents: Outputs,
    *,
    x: Array,
    indices: Array,
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    indexed: str,
) -> Gradients:
    """Takes every number's cotangent from its place; arguments and errors as for the forward."""
    places = _places(x, indices, size, window, stride, padding, indexed)
    shape = (x.shape[0], *size, x.shape[-1])
    cotangent = require_shape("the cotangent of output", cotangents["output"], shape)
    return {"x": np.take_along_axis(cotangent.reshape(len(x), -1), places, axis=1).reshape(x.shape)}


def max_pool_gradient_magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    indices: Array,
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    indexed: str,
) -> Magnitudes:
    """A sum of as many numbers as name a place, one addition fewer; a gradient is exact.

    Arguments and errors as for the forward.
    """
    places = _places(x, indices, size, window, stride, padding, indexed)
    terms = np.maximum(_added_up(np.ones(places.shape), places, size, x.shape[-1]) - 1, 0)
    absolute = _added_up(np.abs(x).reshape(places.shape), places, size, x.shape[-1])
    output = Magnitude(terms=terms, absolute=absolute, underflow=terms)
    return Magnitudes(outputs={"output": output}, gradients={} if cotangents is None else {"x": exact(x)})


@np.errstate(all="ignore")
def _added_up(numbers: Array, places: Array, size: Sequence[int], channels: int) -> Array:
    """Returns (N, *size, C) from numbers and places of shape (N, h w C)."""
    image = np.zeros((len(numbers), size[0] * size[1] * channels))
    np.add.at(image, (np.arange(len(numbers))[:, None], places), numbers)
    return image.reshape(len(numbers), *size, channels)


def _places(
    x: Array,
    indices: Array,
    size: Sequence[int],
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    indexed: str,
) -> Array:
    places = places_of(x, indices, size, indexed)
    over = windows(sizes=size, kernel=window, stride=stride, dilation=(1, 1), padding=padding)
    counts = tuple(axis.outputs for axis in over)
    if counts != x.shape[1:-1]:
        raise InvalidShape("windows of x", got=x.shape[1:-1], required=f"{counts}, as an image of {tuple(size)} has")
    return places


def _windows(
    x: Array,
    g: Array,
    kernel: Sequence[int],
    stride: Sequence[int],
    dilation: Sequence[int],
    groups: int,
    padding: Padding,
) -> tuple[Window, ...]:
    rank = len(kernel)
    for name, array in (("x", x), ("g", g)):
        if array.ndim != rank + 2:
            raise InvalidShape(
                f"axes of {name}", got=array.ndim, required=f"{rank + 2}: batch, {rank} spatial, channels"
            )
    require_groups(groups, divided={"channels of x": x.shape[-1], "channels of g": g.shape[-1]})
    over = windows(sizes=x.shape[1:-1], kernel=kernel, stride=stride, dilation=dilation, padding=padding)
    require_shape("g", g, (x.shape[0], *(axis.outputs for axis in over), g.shape[-1]))
    return over


def _kernel_cotangent(cotangents: Outputs, x: Array, g: Array, over: Sequence[Window], groups: int) -> Array:
    shape = (*(axis.kernel for axis in over), x.shape[-1] // groups, g.shape[-1])
    return require_shape("the cotangent of output", cotangents["output"], shape)
