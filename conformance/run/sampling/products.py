"""Random matrix products, sums and products of two arrays, and biases."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from conformance.case.contract import NoAttributes
from conformance.run.sampling.dice import Dice, Drawn, Extent, Sampler, any_shape


def _dense(dice: Dice, extent: Extent, rank: int) -> Drawn:
    inputs, units = dice.integers(2, 1, extent.row)
    shapes = {"x": (*dice.integers(dice.integer(1, 2), 1, 2 * extent.images), inputs), "w": (inputs, units)}
    return Drawn(attributes=NoAttributes(), shapes=shapes | ({"b": (units,)} if dice.chance(2) else {}))


def _bias_add(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    return Drawn(attributes=NoAttributes(), shapes={"x": x, "b": x[-1:]})


def _matmul(dice: Dice, extent: Extent, rank: int) -> Drawn:
    m, k, n = dice.integers(3, 1, extent.row // 3)
    batch = dice.integers(dice.integer(0, 2), 1, extent.images)
    other = tuple(1 if dice.chance(3) else size for size in batch)[dice.integer(0, len(batch)) :]
    return Drawn(attributes=NoAttributes(), shapes={"x": (*batch, m, k), "y": (*other, k, n)})


def _broadcast(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    y = tuple(1 if dice.chance(3) else n for n in x)[dice.integer(0, len(x) - 1) :]
    return Drawn(attributes=NoAttributes(), shapes={"x": x, "y": y})


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        "dense": _dense,
        "bias_add": _bias_add,
        "matmul": _matmul,
        "add": _broadcast,
        "multiply": _broadcast,
    }
)
