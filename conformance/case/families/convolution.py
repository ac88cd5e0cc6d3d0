"""Convolution, plain and transposed, over one to three spatial axes.

Kernels are `(*spatial, in / groups, out)`, transposed kernels `(*spatial, out / groups, in)`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Literal

from conformance.case.contract import (
    IMAGES,
    LATER,
    LINEAR,
    B,
    Grown,
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
from conformance.case.geometry import resolve_pads, sized_pads, transposed_crop, window_count
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Convolution:
    """conv1d, conv2d, conv3d. Strides and dilations left out are 1."""

    stride: Spatial = ()
    dilation: Spatial = ()
    groups: int = 1
    padding: SpatialPadding = "valid"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TransposedConvolution(Grown):
    """conv1d_transpose, conv2d_transpose, conv3d_transpose. Output padding goes with explicit pads alone.

    Where `output_size` is given, one number for every spatial axis, it decides among the sizes whose convolution
    gives x's: what SAME crops, or what output padding there is. It does not go with output padding.

    Pads that are circular are those of a convolution whose image is padded with itself: what they crop at one end is
    added at the other.
    """

    stride: Spatial = ()
    dilation: Spatial = ()
    groups: int = 1
    padding: SpatialPadding = "valid"
    output_padding: Spatial = ()
    output_size: tuple[int, ...] = field(default=(), metadata=LATER)
    pad_mode: Literal["zeros", "circular"] = field(default="zeros", metadata=LATER)


def settled(a: TransposedConvolution, sizes: Sequence[int], kernel: Sequence[int]) -> TransposedConvolution:
    """The same with explicit pads and output padding in the place of an output size; as it is where none is given.

    Raises:
        ImpossibleShape: if the convolution of an image of that size does not give an x of these sizes.
    """
    if not a.output_size:
        return a
    require(len(a.output_size) == len(sizes), f"output_size must have {len(sizes)} entries, got {a.output_size}")
    require(not any(a.output_padding), f"an output size tells the output padding, got {a.output_padding} beside it")
    pads, more = sized_pads(a.padding, a.output_size, sizes, kernel, a.stride, a.dilation)
    return replace(a, padding=pads, output_padding=more, output_size=())


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
    a = settled(attributes, sizes, w[:rank])
    _, outputs = transposed_crop(a.padding, sizes, w[:rank], a.stride, a.dilation, a.output_padding)
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
            on_integers="exact",
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
