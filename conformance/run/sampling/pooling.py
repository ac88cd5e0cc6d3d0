"""Random pools, of windows and of whole images."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Final, get_args

from conformance.case.contract import NoAttributes
from conformance.case.families.pooling import AveragePool, Indexed, IndexedMaxPool, MaxPool
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

INDEXED: Final[tuple[Indexed, ...]] = get_args(Indexed)


def _max_pool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    window, stride, dilation = sliding(dice, rank)
    padding = any_padding(dice, spans_of(window, dilation), half=True)
    ceil = dice.chance(3)
    return Drawn(
        attributes=MaxPool(window=window, stride=stride, dilation=dilation, padding=padding, ceil_mode=ceil),
        shapes={"x": data_shape(dice, extent, rank, dice.integer(1, extent.channels))},
        features=said(padding, stride=max(stride) > 1, dilation=max(dilation) > 1, ceil=ceil),
    )


def _indexed_max_pool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    drawn = _max_pool(dice, extent, rank)
    indexed = dice.one_of(INDEXED)
    a: MaxPool = drawn.attributes
    attributes = IndexedMaxPool(
        window=a.window,
        stride=a.stride,
        dilation=a.dilation,
        padding=a.padding,
        ceil_mode=a.ceil_mode,
        indexed=indexed,
    )
    return replace(drawn, attributes=attributes, features=(*drawn.features, indexed))


def _average_pool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    window, stride, _ = sliding(dice, rank)
    padding = any_padding(dice, window, half=True)
    ceil, count = dice.chance(3), dice.chance(2)
    return Drawn(
        attributes=AveragePool(window=window, stride=stride, padding=padding, ceil_mode=ceil, count_padding=count),
        shapes={"x": data_shape(dice, extent, rank, dice.integer(1, extent.channels))},
        features=said(padding, stride=max(stride) > 1, ceil=ceil, counted=count),
    )


def _image(dice: Dice, extent: Extent, rank: int) -> Drawn:
    return Drawn(
        attributes=NoAttributes(), shapes={"x": data_shape(dice, extent, 2, dice.integer(1, extent.channels))}
    )


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        **{f"max_pool{rank}d": _max_pool for rank in (1, 2, 3)},
        **{f"max_pool{rank}d_with_indices": _indexed_max_pool for rank in (1, 2, 3)},
        **{f"average_pool{rank}d": _average_pool for rank in (1, 2, 3)},
        "global_average_pool2d": _image,
        "global_max_pool2d": _image,
    }
)
