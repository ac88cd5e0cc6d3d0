"""Random questions to what moves, pads, joins or averages elements."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from conformance.case.families.arrays import Blocks, Concat, Mean, Pad
from conformance.run.sampling.dice import Dice, Drawn, Extent, Sampler, any_shape, data_shape, plain, spread_of

PadMode = Literal["constant", "reflect", "symmetric", "edge", "wrap"]
# Constants twice: frameworks have them wherever they have pads.
PAD_MODES: Final[tuple[PadMode, ...]] = ("constant", "constant", "reflect", "symmetric", "edge", "wrap")


def _pad(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    mode: PadMode = dice.one_of(PAD_MODES)
    inner = range(1, len(x) - 1)  # batch and channels are padded with constants alone: frameworks have no more
    least = -2 if dice.chance(4) else 0
    padding = tuple(
        (dice.integer(least, 3), dice.integer(least, 3)) if mode == "constant" or place in inner else (0, 0)
        for place in range(len(x))
    )
    value = dice.one_of((0.0, 0.0, -1.5)) if mode == "constant" else 0.0
    cut = any(min(pair) < 0 for pair in padding)
    features = ("cut", mode) if cut else (mode,)
    return Drawn(attributes=Pad(padding=padding, mode=mode, value=value), shapes={"x": x}, features=features)


def _concat(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    axis = dice.integer(-len(x), len(x) - 1)
    place = axis % len(x)
    y = (*x[:place], dice.integer(1, 5), *x[place + 1 :])
    return Drawn(attributes=Concat(axis=axis), shapes={"x": x, "y": y})


def _mean(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    axes = tuple(place for place in range(len(x)) if dice.chance(2)) or (dice.integer(-len(x), -1),)
    return Drawn(attributes=Mean(axes=axes, keepdims=dice.chance(2)), shapes={"x": x})


def _depth_to_space(dice: Dice, extent: Extent, rank: int) -> Drawn:
    block = dice.integer(1, 3)
    x = data_shape(dice, extent, 2, block**2 * dice.integer(1, extent.channels))
    return Drawn(attributes=Blocks(block=block, order=dice.one_of(("dcr", "crd"))), shapes={"x": x})


def _space_to_depth(dice: Dice, extent: Extent, rank: int) -> Drawn:
    block = dice.integer(1, 3)
    images, height, width, channels = data_shape(dice, extent, 2, dice.integer(1, extent.channels))
    x = (images, -(-height // block) * block, -(-width // block) * block, channels)
    return Drawn(attributes=Blocks(block=block, order=dice.one_of(("dcr", "crd"))), shapes={"x": x})


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        "mean": _mean,
        "pad": _pad,
        "concat": _concat,
        "flatten": spread_of(plain),
        "depth_to_space": _depth_to_space,
        "space_to_depth": _space_to_depth,
    }
)
