"""Gradient kernels asked alone: what a backward pass calls, given a cotangent and the sizes that it cannot tell.

A convolution's gradient by its input is the transposed convolution that is told a size, and is asked there.
"""

from dataclasses import dataclass
from typing import Final, Literal

from conformance.case.contract import (
    LINEAR,
    Operand,
    Operator,
    Shapes,
    Spatial,
    X,
    check_padding,
    require,
    spatial,
)
from conformance.case.families.convolution import Convolution
from conformance.case.families.pooling import MaxPool, pool_shapes
from conformance.case.families.windows import INDICES
from conformance.case.geometry import resolve_pads, window_count
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class WeightGradient(Convolution):
    """The convolution whose kernel is differentiated, and the sides of that kernel."""

    kernel: Spatial


@dataclass(frozen=True, slots=True, kw_only=True)
class MaxPoolGradient:
    """The image's rows and columns, the windows whose maxima were pooled, and what their indices count.

    An index counts the rows and columns of one channel (`plane`: PyTorch) or the pixels with their channels of one
    image (`image`: TensorFlow). Numbers of one place are added up.
    """

    size: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int]
    padding: Literal["same", "valid"] = "valid"
    indexed: Literal["plane", "image"] = "plane"


def weight_gradient_shapes(attributes: WeightGradient, shapes: Shapes) -> dict[str, Shape]:
    """X (batch, *spatial, in), g (batch, windows, out) -> (*kernel, in / groups, out)."""
    a, x, g = attributes, shapes["x"], shapes["g"]
    rank = len(a.stride)
    sizes = spatial(x, rank)
    require(len(g) == rank + 2, f"g must have {rank + 2} axes (batch, {rank} spatial, channels), got shape {g}")
    check_padding(a, rank)
    for name in ("kernel", "stride", "dilation"):
        require(min(getattr(a, name)) >= 1, f"{name} must be at least 1, got {getattr(a, name)}")
    require(a.groups >= 1, f"groups must be at least 1, got {a.groups}")
    for name, n in (("x", x[-1]), ("g", g[-1])):
        require(n > 0 and n % a.groups == 0, f"{a.groups} groups do not divide the {n} channels of {name}")
    pads = resolve_pads(a.padding, sizes, a.kernel, a.stride, a.dilation)
    maps = (x[0], *window_count(sizes, pads, a.kernel, a.stride, a.dilation))
    require(g[:-1] == maps, f"g must have the maps of the convolution, {maps} without channels, got shape {g}")
    return {"output": (*a.kernel, x[-1] // a.groups, g[-1])}


def max_pool_gradient_shapes(attributes: MaxPoolGradient, shapes: Shapes) -> dict[str, Shape]:
    """X and indices (batch, windows, channels) -> (batch, *size, channels)."""
    a, x, indices = attributes, shapes["x"], shapes["indices"]
    spatial(x, 2)
    require(indices == x, f"indices must have the shape of x, {x}, got {indices}")
    image = (x[0], *a.size, x[-1])
    pool = MaxPool(window=a.window, stride=a.stride, dilation=(1, 1), padding=a.padding)
    maxima = pool_shapes(pool, {"x": image})["output"]
    require(x == maxima, f"an image of {a.size} has {maxima[1:-1]} windows, x has {x[1:-1]}")
    return {"output": image}


G: Final = Operand(name="g")

OPERATORS: Final = (
    *(
        Operator(
            name=f"conv{rank}d_weight_gradient",
            attributes=WeightGradient,
            operands=(X, G),
            shapes=weight_gradient_shapes,
            rank=rank,
            images=("x", "g"),
            forward_mode="product",
            linear=True,
            data=LINEAR,
        )
        for rank in (2, 3)
    ),
    # Its x is no image: what its windows slide over is the output.
    Operator(
        name="max_pool2d_gradient",
        attributes=MaxPoolGradient,
        operands=(X, INDICES),
        shapes=max_pool_gradient_shapes,
        linear=True,
        data=LINEAR,
    ),
)
