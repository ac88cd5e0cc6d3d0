"""Channels that become pixels and back: depth_to_space and space_to_depth. Nothing is rounded.

With C channels in the image of larger sides, row i and column j of a block are channel (i * block + j) * C + c in the
order dcr (depth, column, row: TensorFlow's, and ONNX's default), and c * block^2 + i * block + j in the order crd
(column, row, depth: PyTorch's pixel shuffle).
"""

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, require_shape


def depth_to_space_forward(*, x: Array, block: int, order: str) -> Outputs:
    """Spreads channels over blocks of pixels.

    Args:
        x: (N, H, W, block^2 C).
        block: rows and columns of a block, at least 1.
        order: "dcr" or "crd".

    Returns:
        "output", of shape (N, H block, W block, C).

    Raises:
        InvalidShape: x is no image, block^2 does not divide its channels, or an attribute is out of range.
    """
    images, height, width, depth = _check(x, block, order)
    if depth % block**2:
        raise InvalidShape("channels of x", got=depth, required=f"a multiple of {block**2}")
    channels = depth // block**2
    output = np.zeros((images, height * block, width * block, channels))
    for i in range(block):
        for j in range(block):
            output[:, i::block, j::block] = x[..., _channels(i, j, channels, block, order)]
    return {"output": output}


def depth_to_space_vjp(cotangents: Outputs, *, x: Array, block: int, order: str) -> Gradients:
    """Gathers the cotangent: a permutation's inverse; arguments as for `depth_to_space_forward`."""
    shape = depth_to_space_forward(x=x, block=block, order=order)["output"].shape
    cotangent = require_shape("the cotangent of output", cotangents["output"], shape)
    return {"x": space_to_depth_forward(x=cotangent, block=block, order=order)["output"]}


def depth_to_space_magnitude(cotangents: Outputs | None, *, x: Array, block: int, order: str) -> Magnitudes:
    """All bounds are zero."""
    output = exact(depth_to_space_forward(x=x, block=block, order=order)["output"])
    return Magnitudes(outputs={"output": output}, gradients={} if cotangents is None else {"x": exact(x)})


def space_to_depth_forward(*, x: Array, block: int, order: str) -> Outputs:
    """Gathers blocks of pixels in channels.

    Args:
        x: (N, H block, W block, C).
        block: rows and columns of a block, at least 1.
        order: "dcr" or "crd".

    Returns:
        "output", of shape (N, H, W, block^2 C).

    Raises:
        InvalidShape: x is no image, block does not divide its sides, or an attribute is out of range.
    """
    images, height, width, channels = _check(x, block, order)
    if height % block or width % block:
        raise InvalidShape("sides of x", got=(height, width), required=f"multiples of {block}")
    output = np.zeros((images, height // block, width // block, channels * block**2))
    for i in range(block):
        for j in range(block):
            output[..., _channels(i, j, channels, block, order)] = x[:, i::block, j::block]
    return {"output": output}


def space_to_depth_vjp(cotangents: Outputs, *, x: Array, block: int, order: str) -> Gradients:
    """Spreads the cotangent; arguments as for `space_to_depth_forward`."""
    shape = space_to_depth_forward(x=x, block=block, order=order)["output"].shape
    cotangent = require_shape("the cotangent of output", cotangents["output"], shape)
    return {"x": depth_to_space_forward(x=cotangent, block=block, order=order)["output"]}


def space_to_depth_magnitude(cotangents: Outputs | None, *, x: Array, block: int, order: str) -> Magnitudes:
    """All bounds are zero."""
    output = exact(space_to_depth_forward(x=x, block=block, order=order)["output"])
    return Magnitudes(outputs={"output": output}, gradients={} if cotangents is None else {"x": exact(x)})


def _channels(i: int, j: int, channels: int, block: int, order: str) -> slice:
    """The channels that hold row i and column j of every block, one a channel of the image."""
    place = i * block + j
    return slice(place * channels, (place + 1) * channels) if order == "dcr" else slice(place, None, block**2)


def _check(x: Array, block: int, order: str) -> tuple[int, int, int, int]:
    if x.ndim != 4:
        raise InvalidShape("axes of x", got=x.ndim, required="4: batch, 2 spatial, channels")
    if block < 1:
        raise InvalidShape("block", got=block, required="at least 1")
    if order not in ("dcr", "crd"):
        raise InvalidShape("order", got=repr(order), required="'dcr' or 'crd'")
    return x.shape[0], x.shape[1], x.shape[2], x.shape[3]
