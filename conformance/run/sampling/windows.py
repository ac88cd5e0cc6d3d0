"""Random windows beside the ordinary pools: patches and folds, adaptive, fractional and power pools, unpooling."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from conformance.case.families.windows import (
    AdaptivePool,
    Fold,
    FractionalPool,
    LpPool,
    Order,
    Patches,
    Unpool,
    patch_shapes,
)
from conformance.case.model import Values
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


def _patches(dice: Dice, extent: Extent, rank: int) -> Drawn:
    window, stride, dilation = sliding(dice, rank)
    padding = any_padding(dice, spans_of(window, dilation), half=False)
    order: Order = dice.one_of(("channels_last", "channels_first"))
    return Drawn(
        attributes=Patches(window=window, stride=stride, dilation=dilation, padding=padding, order=order),
        shapes={"x": data_shape(dice, extent, rank, dice.integer(1, extent.channels))},
        features=said(padding, stride=max(stride) > 1, dilation=max(dilation) > 1, first=order == "channels_first"),
    )


def _fold(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """The patches of some image, to be added up."""
    image = _patches(dice, extent, 2)
    a, (_, height, width, _) = image.attributes, image.shapes["x"]
    return Drawn(
        attributes=Fold(
            size=(height, width),
            window=a.window,
            stride=a.stride,
            dilation=a.dilation,
            padding=a.padding,
            order=a.order,
        ),
        shapes={"x": patch_shapes(a, image.shapes)["output"]},
        features=image.features,
    )


def _adaptive(dice: Dice, extent: Extent, rank: int) -> Drawn:
    size = (dice.integer(1, extent.sides[1]), dice.integer(1, extent.sides[1]))
    return Drawn(
        attributes=AdaptivePool(size=size),
        shapes={"x": data_shape(dice, extent, 2, dice.integer(1, extent.channels))},
    )


def _fractional(dice: Dice, extent: Extent, rank: int) -> Drawn:
    images, *sides, channels = data_shape(dice, extent, 2, dice.integer(1, extent.channels))
    window = dice.integer(1, 3), dice.integer(1, 3)
    rows, columns = (dice.integer(1, max(n - k + 1, 1)) for n, k in zip(sides, window, strict=True))
    return Drawn(
        attributes=FractionalPool(size=(rows, columns), window=window),
        shapes={"x": (images, *sides, channels), "samples": (images, channels, 2)},
    )


def _lp_pool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    window, stride, _ = sliding(dice, rank)
    # Zeros alone have a norm without a derivative, so that no window may lie in the padding.
    padding = any_padding(dice, window, half=True)
    p: Literal[1, 2, 3] = dice.one_of((1, 2, 3))
    signed = dice.chance(2)
    return Drawn(
        attributes=LpPool(window=window, stride=stride, padding=padding, p=p, signed=signed),
        shapes={"x": data_shape(dice, extent, rank, dice.integer(1, extent.channels))},
        features=(f"norm{p}", *said(padding, signed=signed, stride=max(stride) > 1)),
    )


def _unpool(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """Numbers anywhere in an image as large as their pool may have been."""
    images, rows, columns, channels = (dice.integer(1, most) for most in (extent.images, 4, 4, extent.channels))
    size = (rows * dice.integer(1, 3) + dice.integer(0, 1), columns * dice.integer(1, 3) + dice.integer(0, 1))
    indexed: Literal["plane", "image"] = dice.one_of(("plane", "image"))
    numbers, room = rows * columns, size[0] * size[1]
    x = (images, rows, columns, channels)
    if indexed == "image":
        places = tuple(place for _ in range(images) for place in dice.distinct(numbers * channels, room * channels))
    else:
        planes = [[dice.distinct(numbers, room) for _ in range(channels)] for _ in range(images)]
        places = tuple(plane[pixel] for image in planes for pixel in range(numbers) for plane in image)
    return Drawn(
        attributes=Unpool(size=size, indexed=indexed),
        shapes={"x": x, "indices": x},
        features=(indexed,),
        fills={"indices": Values(values=tuple(map(float, places)))},
    )


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        "extract_patches": _patches,
        "fold": _fold,
        "adaptive_average_pool2d": _adaptive,
        "adaptive_max_pool2d": _adaptive,
        "fractional_max_pool2d": _fractional,
        "lp_pool2d": _lp_pool,
        "max_unpool2d": _unpool,
    }
)
