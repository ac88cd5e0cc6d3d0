"""Pooling: maxima and means of windows, and of whole images."""

from dataclasses import dataclass
from math import prod
from typing import Final, Literal

from conformance.case.contract import (
    IMAGES,
    NoAttributes,
    Operator,
    Shapes,
    Spatial,
    SpatialPadding,
    X,
    check_padding,
    require,
    spatial,
)
from conformance.case.geometry import resolve_pads, window_count
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPool:
    """Maxima of windows; padding never wins. A stride left out is the window."""

    window: Spatial
    stride: Spatial = ()
    dilation: Spatial = ()
    padding: SpatialPadding = "valid"
    ceil_mode: bool = False


# What an index of a maximum counts; `index_weights` says how much each part of a place is worth.
Indexed = Literal["plane", "image", "images", "planes", "columns"]


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedMaxPool(MaxPool):
    """Maxima of windows, and where in the input each one is; the first of equal maxima, the first NaN.

    An index counts the rows and columns of one channel (`plane`: PyTorch), the pixels with their channels of one
    image (`image`: TensorFlow) or of all (`images`: its include_batch_in_index), or the planes of all channels of
    all images one after the other (`planes`: ONNX), or likewise, within a plane column after column (`columns`:
    ONNX's storage_order 1).
    """

    indexed: Indexed = "plane"


def index_weights(indexed: Indexed, x: Shape) -> tuple[int, int, int]:
    """What one image, one place in a plane and one channel more add to an index into an x of this shape."""
    places, channels = prod(x[1:-1]), x[-1]
    match indexed:
        case "plane":
            return 0, 1, 0
        case "image":
            return 0, channels, 1
        case "images":
            return places * channels, channels, 1
        case "planes" | "columns":
            return channels * places, 1, places


def place_steps(indexed: Indexed, sizes: Shape) -> Shape:
    """What one element further along each spatial axis adds to a place in a plane of these sizes."""
    if indexed == "columns":
        return tuple(prod(sizes[:axis]) for axis in range(len(sizes)))
    return tuple(prod(sizes[axis + 1 :]) for axis in range(len(sizes)))


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePool:
    """Means of windows, over the elements inside the input or, with `count_padding`, inside the padded input."""

    window: Spatial
    stride: Spatial = ()
    padding: SpatialPadding = "valid"
    ceil_mode: bool = False
    count_padding: bool = False


def pool_shapes(attributes: MaxPool | AveragePool, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, windows, channels)."""
    x = shapes["x"]
    rank = len(attributes.window)
    sizes = spatial(x, rank)
    check_padding(attributes, rank)
    dilation = attributes.dilation if isinstance(attributes, MaxPool) else (1,) * rank
    for name, values in (("window", attributes.window), ("stride", attributes.stride), ("dilation", dilation)):
        require(min(values) >= 1, f"{name} must be at least 1, got {values}")
    pads = resolve_pads(attributes.padding, sizes, attributes.window, attributes.stride, dilation)
    if isinstance(attributes.padding, tuple):
        for window, d, pair in zip(attributes.window, dilation, pads, strict=True):
            require(
                max(pair) <= ((window - 1) * d + 1) // 2,
                f"pads of a pool must be at most half its window ({window}), or a window may hold padding alone; "
                f"got {pair}",
            )
    counts = window_count(sizes, pads, attributes.window, attributes.stride, dilation, ceil_mode=attributes.ceil_mode)
    return {"output": (x[0], *counts, x[-1])}


def indexed_pool_shapes(attributes: IndexedMaxPool, shapes: Shapes) -> dict[str, Shape]:
    """Maxima and their indices, each (batch, windows, channels)."""
    output = pool_shapes(attributes, shapes)["output"]
    return {"output": output, "indices": output}


def global_pool_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """(batch, height, width, channels) -> (batch, channels)."""
    x = shapes["x"]
    sizes = spatial(x, 2)
    require(all(sizes), f"x must have a pixel at least, got shape {x}")
    return {"output": (x[0], x[-1])}


# All negative or zero: a maximum that pads with 0 shows, and ties are everywhere.
_TIES: Final = (-3.0, -2.0, -1.0, -0.5)

OPERATORS: Final = (
    *(
        operator
        for rank in (1, 2, 3)
        for operator in (
            Operator(
                name=f"max_pool{rank}d",
                attributes=MaxPool,
                operands=(X,),
                shapes=pool_shapes,
                rank=rank,
                images=IMAGES,
                special=_TIES,
                on_integers="exact",
            ),
            Operator(
                name=f"max_pool{rank}d_with_indices",
                attributes=IndexedMaxPool,
                operands=(X,),
                outputs=("output", "indices"),
                state=("indices",),
                integers=("indices",),
                shapes=indexed_pool_shapes,
                rank=rank,
                images=(*IMAGES, "indices"),
                special=_TIES,
            ),
            Operator(
                # The division makes a mean of integers inexact, so wide integers are no exact gate here.
                name=f"average_pool{rank}d",
                attributes=AveragePool,
                operands=(X,),
                shapes=pool_shapes,
                rank=rank,
                images=IMAGES,
                forward_mode="sum",
                data=("normal",),
                on_integers="truncated",
            ),
        )
    ),
    Operator(
        name="global_average_pool2d",
        attributes=NoAttributes,
        forward_mode="sum",
        operands=(X,),
        shapes=global_pool_shapes,
        data=("normal",),
    ),
    Operator(
        # Where several are largest, gradients differ: ties have a case of their own.
        name="global_max_pool2d",
        attributes=NoAttributes,
        operands=(X,),
        shapes=global_pool_shapes,
        data=("normal",),
    ),
)
