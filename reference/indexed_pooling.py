"""Maximum pooling that also tells where each maximum was found.

The place of an element in the plane of its channel is p = (z * rows + y) * columns + x, rows before columns, or with
"columns" p = x * rows + y, the last axis slowest. Of image n of N and channel c of C, with P places in a plane, the
index is

    plane       p                       torch.nn.functional.max_pool2d_with_indices
    image       p C + c                 tf.nn.max_pool_with_argmax
    images      (n P + p) C + c         the same, with include_batch_in_index
    planes      (n C + c) P + p         ONNX's MaxPool
    columns     (n C + c) P + p         the same, with storage_order 1

Of equal maxima the first one in row-major window order counts, and the first NaN where there is one: the element that
takes the gradient.
"""

from collections.abc import Sequence
from math import prod

import numpy as np

from conformance.reference.magnitude import Array, Gradients, Magnitudes, Outputs, exact
from conformance.reference.padding import InvalidShape, Padding, windows
from conformance.reference.pooling import max_pool_forward, max_pool_magnitude, max_pool_vjp
from conformance.reference.sliding import taps

INDEXED = ("plane", "image", "images", "planes", "columns")


def forward(
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    dilation: Sequence[int],
    indexed: str,
) -> Outputs:
    """Takes the maximum of each window, and its index.

    Args:
        x: (batch, *spatial, channels), one to three spatial axes; the batch may be 0.
        window: taps, one number a spatial axis.
        stride: positions between neighbouring windows, one number a spatial axis.
        padding: "same", "same_lower", "valid" or (low, high) pairs, see `padding.windows`. No index counts it.
        ceil_mode: whether a last window that begins inside but ends beyond the padded input counts, see
            `padding.windows`.
        dilation: positions between neighbouring taps, one number a spatial axis.
        indexed: what an index counts, one of `INDEXED`.

    Returns:
        "output" and "indices" (int64), each (batch, *outputs, channels).

    Raises:
        InvalidShape: as `pooling.max_pool_forward`, or indices count nothing that is known.
    """
    _require_known(indexed)
    pooled = max_pool_forward(
        x=x, window=window, stride=stride, padding=padding, ceil_mode=ceil_mode, dilation=dilation
    )["output"]
    sizes = x.shape[1:-1]
    over = windows(sizes=sizes, kernel=window, stride=stride, dilation=dilation, padding=padding, ceil_mode=ceil_mode)
    steps = _steps(sizes, indexed)
    found = np.zeros(pooled.shape, np.int64)
    waiting = np.ones(pooled.shape, np.bool_)
    for _, outputs, inputs in taps(over):
        seen, maximum, left = x[inputs], pooled[outputs], waiting[outputs]
        chosen = ((seen == maximum) | np.isnan(seen)) & left
        left ^= chosen
        along = (np.arange(n)[at] * step for n, at, step in zip(sizes, inputs[1:], steps, strict=True))
        places = sum(np.ix_(*along), np.zeros((), np.int64))[None, ..., None]
        np.copyto(found[outputs], np.broadcast_to(places, chosen.shape), where=chosen)
    return {"output": pooled, "indices": _counted(found, x.shape, indexed)}


def vjp(
    cotangents: Outputs,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    dilation: Sequence[int],
    indexed: str,
) -> Gradients:
    """Hands each window's cotangent to the element of its index; arguments and errors as for `forward`."""
    _require_known(indexed)
    return max_pool_vjp(
        cotangents, x=x, window=window, stride=stride, padding=padding, ceil_mode=ceil_mode, dilation=dilation
    )


def magnitude(
    cotangents: Outputs | None,
    *,
    x: Array,
    window: Sequence[int],
    stride: Sequence[int],
    padding: Padding,
    ceil_mode: bool,
    dilation: Sequence[int],
    indexed: str,
) -> Magnitudes:
    """Maxima and indices are exact, the gradient is that of `pooling`; arguments and errors as for `forward`."""
    _require_known(indexed)
    pooled = max_pool_magnitude(
        cotangents, x=x, window=window, stride=stride, padding=padding, ceil_mode=ceil_mode, dilation=dilation
    )
    output = pooled.outputs["output"]
    return Magnitudes(outputs={"output": output, "indices": exact(output.absolute)}, gradients=pooled.gradients)


def _require_known(indexed: str) -> None:
    if indexed not in INDEXED:
        raise InvalidShape("indexed", got=repr(indexed), required=f"one of {', '.join(INDEXED)}")


def _steps(sizes: Sequence[int], indexed: str) -> tuple[int, ...]:
    """What one element further along each axis adds to a place in the plane."""
    if indexed == "columns":
        return tuple(prod(sizes[:axis]) for axis in range(len(sizes)))
    return tuple(prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


def _counted(places: Array, x: Sequence[int], indexed: str) -> Array:
    """Indices of places in the planes of an x of that shape."""
    images, channels, size = x[0], x[-1], prod(x[1:-1])
    channel = np.arange(channels)
    image = np.arange(images).reshape(-1, *(1 for _ in x[1:]))
    match indexed:
        case "image":
            return np.asarray(places * channels + channel)
        case "images":
            return np.asarray((image * size + places) * channels + channel)
        case "planes" | "columns":
            return np.asarray((image * channels + channel) * size + places)
        case _:
            return places
