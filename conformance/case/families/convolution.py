"""Convolution, plain and transposed, over one to three spatial axes.

Kernels are `(*spatial, in / groups, out)`, transposed kernels `(*spatial, out / groups, in)`.
"""

from dataclasses import dataclass
from typing import Final

from conformance.case.contract import (
    IMAGES,
    LINEAR,
    B,
    Operator,
    Shapes,
    Spatial,
    SpatialPadding,
    W,
    X,
    check_bias,
    check_padding,
    require,
    spatial,
)
from conformance.case.geometry import resolve_pads, transposed_crop, window_count
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """conv1d, conv2d, conv3d. Strides and dilations left out are 1."""

    stride: Spatial = ()
    dilation: Spatial = ()
    groups: int = 1
    padding: SpatialPadding = "valid"


@dataclass(frozen=True, slots=True, kw_only=True)
class TransposedConvolution:
    """conv1d_transpose, conv2d_transpose, conv3d_transpose. Output padding goes with explicit pads alone."""

    stride: Spatial = ()
    dilation: Spatial = ()
    groups: int = 1
    padding: SpatialPadding = "valid"
    output_padding: Spatial = ()


def _channels(x: Shape, w: Shape, groups: int, *, transposed: bool) -> int:
    """Checks a kernel against data and groups, and gives the output's channels."""
    require(len(w) == len(x), f"w must have {len(x)} axes, got shape {w}")
    require(groups >= 1, f"groups must be at least 1, got {groups}")
    inside, outside = (w[-1], w[-2] * groups) if transposed else (w[-2] * groups, w[-1])
    require(
        x[-1] == inside,
        f"x has {x[-1]} channels, w of shape {w} with {groups} group(s) reads {inside}",
    )
    divided = inside if transposed else outside
    require(divided % groups == 0, f"{groups} groups do not divide {divided} channels")
    require(inside > 0 and outside > 0, f"w must have channels, got shape {w}")
    return outside


def convolution_shapes(attributes: Convolution, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, windows, out)."""
    x, w = shapes["x"], shapes["w"]
    rank = len(attributes.stride)
    sizes = spatial(x, rank)
    channels = _channels(x, w, attributes.groups, transposed=False)
    check_bias(shapes, channels)
    check_padding(attributes, rank)
    for name in ("stride", "dilation"):
        require(min(getattr(attributes, name)) >= 1, f"{name} must be at least 1, got {getattr(attributes, name)}")
    pads = resolve_pads(attributes.padding, sizes, w[:rank], attributes.stride, attributes.dilation)
    counts = window_count(sizes, pads, w[:rank], attributes.stride, attributes.dilation)
    return {"output": (x[0], *counts, channels)}


def transposed_shapes(attributes: TransposedConvolution, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, cropped canvas, out)."""
    x, w = shapes["x"], shapes["w"]
    rank = len(attributes.stride)
    sizes = spatial(x, rank)
    channels = _channels(x, w, attributes.groups, transposed=True)
    check_bias(shapes, channels)
    check_padding(attributes, rank)
    _, outputs = transposed_crop(
        attributes.padding, sizes, w[:rank], attributes.stride, attributes.dilation, attributes.output_padding
    )
    return {"output": (x[0], *outputs, channels)}


OPERATORS: Final = tuple(
    operator
    for rank in (1, 2, 3)
    for operator in (
        Operator(
            name=f"conv{rank}d",
            attributes=Convolution,
            operands=(X, W, B),
            shapes=convolution_shapes,
            rank=rank,
            images=IMAGES,
            forward_mode="product",
            linear=True,
            data=LINEAR,
        ),
        Operator(
            name=f"conv{rank}d_transpose",
            attributes=TransposedConvolution,
            operands=(X, W, B),
            shapes=transposed_shapes,
            rank=rank,
            images=IMAGES,
            forward_mode="product",
            linear=True,
            data=LINEAR,
        ),
    )
)
