"""Windows beside the ordinary pools: as vectors and back, as many as the output has, their norms, and unpooling."""

from dataclasses import dataclass
from math import prod
from typing import Final, Literal

from conformance.case.contract import (
    LINEAR,
    Operand,
    Operator,
    Shapes,
    Spatial,
    SpatialPadding,
    X,
    check_padding,
    require,
    spatial,
)
from conformance.case.families.convolution import TransposedConvolution
from conformance.case.geometry import Padding, extent, resolve_pads, window_count
from conformance.case.model import Shape

Order = Literal["channels_last", "channels_first"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Patches:
    """Windows as vectors, of rows, columns and channels (TensorFlow) or channels, rows and columns (PyTorch)."""

    window: Spatial
    stride: Spatial = ()
    dilation: Spatial = ()
    padding: SpatialPadding = "valid"
    order: Order = "channels_last"


@dataclass(frozen=True, slots=True, kw_only=True)
class Fold:
    """The image's size, and the windows that its patches were: overlaps add up."""

    size: tuple[int, int]
    window: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    padding: Padding = "valid"
    order: Order = "channels_last"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdaptivePool:
    """Rows and columns of the output: window o of m begins at floor(o n / m), ends before ceil((o + 1) n / m)."""

    size: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class FractionalPool:
    """Rows and columns of the output and of its windows, whose steps the samples decide.

    For a sample u and alpha = (n - k) / (m - 1), window o of m begins at floor((o + u) alpha) - floor(u alpha), and
    the last one at n - k. Samples are (batch, channels, 2), of rows and of columns.
    """

    size: tuple[int, int]
    window: tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class LpPool:
    """The p-norms of windows; `signed`: without absolute values where p is odd (PyTorch)."""

    window: Spatial
    stride: Spatial = ()
    padding: SpatialPadding = "valid"
    p: Literal[1, 2, 3] = 2
    signed: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unpool:
    """The output's rows and columns; indices count the plane (PyTorch) or the image with channels (TensorFlow)."""

    size: tuple[int, int]
    indexed: Literal["plane", "image"] = "plane"


def _counts(attributes: Patches | Fold | LpPool, sizes: Shape) -> Shape:
    dilation = (1, 1) if isinstance(attributes, LpPool) else attributes.dilation
    for name, values in (("window", attributes.window), ("stride", attributes.stride), ("dilation", dilation)):
        require(min(values) >= 1, f"{name} must be at least 1, got {values}")
    pads = resolve_pads(attributes.padding, sizes, attributes.window, attributes.stride, dilation)
    return window_count(sizes, pads, attributes.window, attributes.stride, dilation)


def patch_shapes(attributes: Patches, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, windows, their elements times channels)."""
    x = shapes["x"]
    sizes = spatial(x, 2)
    check_padding(attributes, 2)
    return {"output": (x[0], *_counts(attributes, sizes), prod(attributes.window) * x[-1])}


def fold_shapes(attributes: Fold, shapes: Shapes) -> dict[str, Shape]:
    """(batch, windows, their elements times channels) -> (batch, *size, channels)."""
    x = shapes["x"]
    got = spatial(x, 2)
    require(min(attributes.size) >= 1, f"size must be at least 1, got {attributes.size}")
    check_padding(attributes, 2)
    counts = _counts(attributes, attributes.size)
    require(got == counts, f"an image of {attributes.size} has {counts} windows, x has {got}")
    elements = prod(attributes.window)
    require(x[-1] % elements == 0, f"windows of {elements} elements do not divide {x[-1]} channels")
    return {"output": (x[0], *attributes.size, x[-1] // elements)}


def as_transposed(a: Fold, counts: Shape) -> TransposedConvolution:
    """A fold of so many patches as a transposed convolution, whose kernel sets every number in its place."""
    pads = resolve_pads(a.padding, a.size, a.window, a.stride, a.dilation)
    return TransposedConvolution(
        stride=a.stride,
        dilation=a.dilation,
        padding=pads,
        output_padding=tuple(
            n + sum(pair) - (count - 1) * s - extent(k, d)
            for n, pair, count, s, k, d in zip(a.size, pads, counts, a.stride, a.window, a.dilation, strict=True)
        ),
    )


def adaptive_shapes(attributes: AdaptivePool, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, *size, channels)."""
    x = shapes["x"]
    require(all(spatial(x, 2)), f"x must have a pixel at least, got shape {x}")
    require(min(attributes.size) >= 1, f"size must be at least 1, got {attributes.size}")
    return {"output": (x[0], *attributes.size, x[-1])}


def fractional_shapes(attributes: FractionalPool, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, *size, channels)."""
    x, samples, a = shapes["x"], shapes["samples"], attributes
    sizes = spatial(x, 2)
    require(samples == (x[0], x[-1], 2), f"samples must have shape {(x[0], x[-1], 2)}, got {samples}")
    for name, values in (("size", a.size), ("window", a.window)):
        require(min(values) >= 1, f"{name} must be at least 1, got {values}")
    for n, m, k in zip(sizes, a.size, a.window, strict=True):
        require(m + k - 1 <= n, f"{m} windows of {k} need {m + k - 1} elements, got {n}")
    return {"output": (x[0], *a.size, x[-1])}


def lp_pool_shapes(attributes: LpPool, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, windows, channels)."""
    x = shapes["x"]
    sizes = spatial(x, 2)
    check_padding(attributes, 2)
    return {"output": (x[0], *_counts(attributes, sizes), x[-1])}


def unpool_shapes(attributes: Unpool, shapes: Shapes) -> dict[str, Shape]:
    """Output (batch, *size, channels)."""
    x, indices = shapes["x"], shapes["indices"]
    spatial(x, 2)
    require(indices == x, f"indices must have the shape of x, {x}, got {indices}")
    require(min(attributes.size) >= 1, f"size must be at least 1, got {attributes.size}")
    return {"output": (x[0], *attributes.size, x[-1])}


SAMPLES: Final = Operand(name="samples", differentiable=False, domain="unit")
INDICES: Final = Operand(name="indices", kind="integer", differentiable=False)

OPERATORS: Final = (
    Operator(
        name="extract_patches",
        attributes=Patches,
        operands=(X,),
        shapes=patch_shapes,
        rank=2,
        linear=True,
        data=LINEAR,
    ),
    # Its x is no image: what its windows slide over is the output.
    Operator(name="fold", attributes=Fold, operands=(X,), shapes=fold_shapes, linear=True, data=LINEAR),
    Operator(
        name="adaptive_average_pool2d",
        attributes=AdaptivePool,
        operands=(X,),
        shapes=adaptive_shapes,
        data=("normal",),
    ),
    Operator(
        # Where several are largest, gradients differ: ties have a case of their own.
        name="adaptive_max_pool2d",
        attributes=AdaptivePool,
        operands=(X,),
        shapes=adaptive_shapes,
        data=("normal",),
    ),
    Operator(
        # As of the adaptive one.
        name="fractional_max_pool2d",
        attributes=FractionalPool,
        operands=(X, SAMPLES),
        shapes=fractional_shapes,
        data=("normal",),
    ),
    Operator(
        # A window of zeros has a norm without a derivative: it has a case of its own.
        name="lp_pool2d",
        attributes=LpPool,
        operands=(X,),
        shapes=lp_pool_shapes,
        rank=2,
        data=("normal",),
    ),
    Operator(
        name="max_unpool2d",
        attributes=Unpool,
        operands=(X, INDICES),
        shapes=unpool_shapes,
        linear=True,
        data=LINEAR,
    ),
)
