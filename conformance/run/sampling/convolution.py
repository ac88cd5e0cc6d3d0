"""Random convolutions, plain and transposed."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.model import Shape
from conformance.run.sampling.dice import (
    Dice,
    Drawn,
    Extent,
    Sampler,
    any_padding,
    data_shape,
    said,
    sliding,
    spans_of,
)


def convolution(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """Any convolution; its weight gradient is asked of such ones too."""
    kernel, stride, dilation = sliding(dice, rank)
    groups = dice.one_of((1, 1, 2, 3))
    inputs, outputs = dice.integers(2, 1, extent.channels)
    padding = any_padding(dice, spans_of(kernel, dilation), half=False)
    shapes = {"x": data_shape(dice, extent, rank, inputs * groups), "w": (*kernel, inputs, outputs * groups)}
    if dice.chance(2):
        shapes["b"] = (outputs * groups,)
    return Drawn(
        attributes=Convolution(stride=stride, dilation=dilation, groups=groups, padding=padding),
        shapes=shapes,
        features=said(
            padding,
            stride=max(stride) > 1,
            dilation=max(dilation) > 1,
            groups=groups > 1,
            depthwise=groups > 1 and inputs == 1,
        ),
    )


def _transposed(dice: Dice, extent: Extent, rank: int) -> Drawn:
    kernel, stride, dilation = sliding(dice, rank)
    groups = dice.one_of((1, 1, 2, 3))
    inputs, outputs = dice.integers(2, 1, extent.channels)
    padding = any_padding(dice, spans_of(kernel, dilation), half=False)
    more = (0,) * rank
    if isinstance(padding, tuple):
        more = tuple(dice.integer(0, s - 1) for s in stride)
    images, *sides, channels = data_shape(dice, extent, rank, inputs * groups)
    shapes = {
        "x": (images, *(-(-n // s) for n, s in zip(sides, stride, strict=True)), channels),
        "w": (*kernel, outputs, inputs * groups),
    }
    if dice.chance(2):
        shapes["b"] = (outputs * groups,)
    size: Shape = ()
    if dice.chance(4):
        size = _undone(dice, shapes["x"][1:-1], spans_of(kernel, dilation), stride, padding)
        more = (0,) * rank
    circular = dice.chance(8)
    return Drawn(
        attributes=TransposedConvolution(
            stride=stride,
            dilation=dilation,
            groups=groups,
            padding=padding,
            output_padding=more,
            output_size=size,
            pad_mode="circular" if circular else "zeros",
        ),
        shapes=shapes,
        features=said(
            padding,
            stride=max(stride) > 1,
            dilation=max(dilation) > 1,
            groups=groups > 1,
            sized=bool(size),
            circular=circular,
        ),
    )


def _undone(dice: Dice, counts: Shape, spans: Shape, stride: Shape, padding: Any) -> Shape:
    """Sizes of an image in which a convolution has so many windows."""
    least = [(n - 1) * s + 1 for n, s in zip(counts, stride, strict=True)]
    if padding not in ("same", "same_lower"):
        pads = padding if isinstance(padding, tuple) else ((0, 0),) * len(spans)
        least = [m + span - 1 - sum(pair) for m, span, pair in zip(least, spans, pads, strict=True)]
    return tuple(m + dice.integer(0, s - 1) for m, s in zip(least, stride, strict=True))


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        **{f"conv{rank}d": convolution for rank in (1, 2, 3)},
        **{f"conv{rank}d_transpose": _transposed for rank in (1, 2, 3)},
    }
)
