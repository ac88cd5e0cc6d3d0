"""Maximum unpooling: numbers are put back where a maximum pool found them, zeros stand everywhere else.

An index is a place of the output's plane, y * columns + x ("plane", PyTorch), or of the whole image with its
channels, (y * columns + x) * channels + c ("image", TensorFlow's max_pool_with_argmax without the batch).
"""

from collections.abc import Sequence

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_counts, require_shape

INDEXED = ("plane", "image")


def forward(*, x: Array, indices: Array, size: Sequence[int], indexed: str) -> Outputs:
    """Puts every number in its place.

    Args:
        x: (N, h, w, C).
        indices: the place of each, an integer, none twice; the shape of x.
        size: rows and columns of the output.
        indexed: "plane" or "image". With "image" an index may lie in any channel.

    Returns:
        "output", (N, *size, C).

    Raises:
        InvalidShape: shapes or attributes do not fit, or an index lies outside or occurs twice.
    """
    places = _places(x, indices, size, indexed)
    output = np.zeros((x.shape[0], size[0] * size[1] * x.shape[-1]))
    np.put_along_axis(output, places, x.reshape(places.shape), axis=1)
    return {"output": output.reshape(x.shape[0], *size, x.shape[-1])}


def vjp(cotangents: Outputs, *, x: Array, indices: Array, size: Sequence[int], indexed: str) -> Gradients:
    """Takes every number's cotangent from its place; arguments and errors as for `forward`."""
    places = _places(x, indices, size, indexed)
    shape = (x.shape[0], *size, x.shape[-1])
    cotangent = require_shape("the cotangent of output", cotangents["output"], shape)
    flat = cotangent.reshape(x.shape[0], size[0] * size[1] * x.shape[-1])
    return {"x": np.take_along_axis(flat, places, axis=1).reshape(x.shape)}


def magnitude(
    cotangents: Outputs | None, *, x: Array, indices: Array, size: Sequence[int], indexed: str
) -> Magnitudes:
    """All bounds are zero; arguments and errors as for `forward`."""
    _places(x, indices, size, indexed)
    output = exact(np.broadcast_to(0.0, (x.shape[0], *size, x.shape[-1])))
    return Magnitudes(outputs={"output": output}, gradients={} if cotangents is None else {"x": exact(x)})


def _places(x: Array, indices: Array, size: Sequence[int], indexed: str) -> Array:
    flat = places_of(x, indices, size, indexed)
    if any(len(np.unique(image)) < image.size for image in flat):
        raise InvalidShape("indices", got="one twice in an image", required="a place for every number")
    return flat


def places_of(x: Array, indices: Array, size: Sequence[int], indexed: str) -> Array:
    """Returns where each number of x lies in the flattened image, (N, h w C).

    Raises:
        InvalidShape: shapes or attributes do not fit, or an index lies outside.
    """
    if x.ndim != 4:
        raise InvalidShape("axes of x", got=x.ndim, required="4: batch, 2 spatial, channels")
    require_shape("indices", indices, x.shape)
    require_counts("size", size, rank=2)
    if indexed not in INDEXED:
        raise InvalidShape("indexed", got=repr(indexed), required=f"one of {', '.join(INDEXED)}")
    channels = x.shape[-1]
    most = size[0] * size[1] * (channels if indexed == "image" else 1)
    if indices.size and not 0 <= indices.min() <= indices.max() < most:
        raise InvalidShape("indices", got=f"{indices.min()} to {indices.max()}", required=f"0 to {most - 1}")
    places = indices if indexed == "image" else indices * channels + np.arange(channels)
    return places.reshape(x.shape[0], x[:1].size if len(x) else 0)
