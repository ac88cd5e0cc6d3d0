"""Random resizing, where no rounding of a coordinate decides."""

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction
from functools import partial
from types import MappingProxyType
from typing import Final

from conformance.case.contract import require
from conformance.case.families.resizing import Resize
from conformance.run.sampling.dice import Dice, Drawn, Extent, Sampler, data_shape


def _resize(dice: Dice, extent: Extent, rank: int, *, axes: int) -> Drawn:
    x = data_shape(dice, extent, axes, dice.integer(1, extent.channels))
    attributes = Resize(
        size=dice.integers(axes, 1, extent.sides[axes - 1]),
        method=dice.one_of(("nearest", "linear", "cubic")),
        coordinates=dice.one_of(("half_pixel", "half_pixel", "align_corners", "asymmetric")),
        rounding=dice.one_of(("floor", "ceil", "half_up", "half_down")),
        coefficient=dice.one_of((-0.5, -0.75)),
        edge=dice.one_of(("clamp", "renormalize")),
    )
    if attributes.coordinates == "half_pixel" and dice.chance(4):
        attributes = replace(attributes, method="area", cover=dice.one_of(("share", "whole")))
    elif attributes.coordinates == "half_pixel" and attributes.method != "nearest" and dice.chance(3):
        attributes = replace(attributes, antialias=True)
    # A widened kernel goes by a word of its own: who has a kernel need not have it widened.
    words: tuple[str, ...] = ("wide" * attributes.antialias + attributes.method, attributes.coordinates)
    pairs = tuple(zip(x[1:-1], attributes.size, strict=True))
    if attributes.method == "nearest":
        words = (*words, attributes.rounding)
        require(
            not any(_undecided(n, m, attributes.coordinates, attributes.rounding) for n, m in pairs),
            "an output lies where the rounding of its coordinate decides",
        )
    elif attributes.method == "area":
        words = (*words, attributes.cover)
    elif attributes.method == "cubic":
        words = (*words, "keys" if attributes.coefficient == -0.5 else "sharper", attributes.edge)
    elif attributes.antialias:
        words = (*words, attributes.edge)
    if any(m > 2 * n for n, m in pairs):
        words = (*words, "more-than-double")
    return Drawn(attributes=attributes, shapes={"x": x}, features=tuple(word.replace("_", "-") for word in words))


def _undecided(n: int, m: int, coordinates: str, rounding: str) -> bool:
    """Whether a coordinate lies exactly where its rounding jumps while a ratio in floating point lies beside it.

    An honest framework multiplies by a rounded ratio, which then decides between two elements. Ratios that are
    exact in binary decide nothing; neither does output 0, whose coordinate is 0 but for half pixels.
    """
    half = Fraction(1, 2)
    ratio = Fraction(n - 1, max(m - 1, 1)) if coordinates == "align_corners" else Fraction(n, m)
    if ratio.denominator.bit_count() == 1:
        return False
    jump = half if rounding.startswith("half") else Fraction(0)
    shift = half if coordinates == "half_pixel" else Fraction(0)
    return any(
        ((o + shift) * ratio - shift - jump).denominator == 1
        for o in range(0 if coordinates == "half_pixel" else 1, m)
    )


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {f"resize{axes}d": partial(_resize, axes=axes) for axes in (1, 2, 3)}
)
