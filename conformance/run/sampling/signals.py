"""Random signals and kernels, as SciPy convolves and correlates them."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from conformance.case.families.signals import Signal
from conformance.run.sampling.dice import Dice, Drawn, Extent, Sampler


def _signal(dice: Dice, extent: Extent, rank: int) -> Drawn:
    axes = dice.integer(1, 2)
    longest = extent.sides[axes - 1]
    x, w = dice.integers(axes, 1 + longest // 4, longest), dice.integers(axes, 1, min(longest, 9))
    return Drawn(attributes=Signal(mode=dice.one_of(("full", "same", "valid"))), shapes={"x": x, "w": w})


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType({"convolve": _signal, "correlate": _signal})
