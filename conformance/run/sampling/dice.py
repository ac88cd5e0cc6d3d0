"""Dice, what is drawn with them and how large, and the shapes and paddings that several families draw."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import numpy as np

from conformance.case.contract import NoAttributes
from conformance.case.model import Fill, Shape, Values

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class Extent:
    """How large questions are.

    Attributes:
        images: the largest batch.
        channels: the most channels of a group.
        sides: the longest side of data with one, two and three spatial axes.
        row: the longest row of what is multiplied, added or averaged.
    """

    images: int
    channels: int
    sides: tuple[int, int, int]
    row: int


SMALL: Final = Extent(images=2, channels=2, sides=(7, 5, 4), row=6)
"""For arithmetic that takes a hundredth of a second an element."""
ORDINARY: Final = Extent(images=3, channels=6, sides=(80, 24, 9), row=150)
"""For frameworks: some thousand elements a question, as calling them costs more than their arithmetic."""


class Dice:
    """Random choices from the words of Philox, whose output is specified."""

    def __init__(self, seed: int, name: str) -> None:
        key = np.frombuffer(hashlib.sha256(f"{seed} {name}".encode()).digest()[:16], dtype="<u8")
        self._words = np.random.Philox(key=key)

    def integer(self, low: int, high: int) -> int:
        """An integer in low..high, both included."""
        return low + int(self._words.random_raw()) % (high - low + 1)

    def one_of(self, things: Sequence[T]) -> T:
        """One of them."""
        return things[self.integer(0, len(things) - 1)]

    def chance(self, one_in: int) -> bool:
        """True once in so many times."""
        return self.integer(1, one_in) == 1

    def integers(self, count: int, low: int, high: int) -> Shape:
        """So many of them."""
        return tuple(self.integer(low, high) for _ in range(count))

    def distinct(self, count: int, below: int) -> Shape:
        """So many different numbers in 0..below-1, in any order (the beginning of Fisher and Yates's shuffle)."""
        numbers = list(range(below))
        for place in range(count):
            other = self.integer(place, below - 1)
            numbers[place], numbers[other] = numbers[other], numbers[place]
        return tuple(numbers[:count])


@dataclass(frozen=True, slots=True, kw_only=True)
class Drawn:
    """A question as it was drawn.

    Attributes:
        attributes: the operator's dataclass.
        shapes: of its operands.
        features: words for its id (`conv2d/random-7-same-stride-groups`), so that deviations on file can speak of it.
        fills: what is in no data set.
    """

    attributes: Any
    shapes: Mapping[str, Shape]
    features: tuple[str, ...] = ()
    fills: Mapping[str, Fill | Values] = field(default_factory=dict)


Sampler = Callable[[Dice, Extent, int], Drawn]
"""Draws with dice, for an extent and a number of spatial axes, what may well be impossible.

The operator's own shape function says which of it is a question, or the sampler itself where only roundings could
give the answer (`ImpossibleShape`: it is drawn again).
"""


def any_padding(dice: Dice, spans: Shape, *, half: bool) -> Any:
    """A word, or pads smaller than the windows' spans, or no more than half of them."""
    kind = dice.one_of(("same", "same_lower", "valid", "pads"))
    if kind != "pads":
        return kind
    return tuple(
        (dice.integer(0, most), dice.integer(0, most)) for most in (s // 2 if half else s - 1 for s in spans)
    )


def spans_of(kernel: Shape, dilation: Shape) -> Shape:
    """How far a dilated kernel reaches."""
    return tuple((k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True))


def said(padding: Any, **set_: bool) -> tuple[str, ...]:
    """A word for the padding, and the names of what is set."""
    named = padding.replace("_", "-") if isinstance(padding, str) else "pads"
    return (named, *flags(**set_))


def flags(**set_: bool) -> tuple[str, ...]:
    """The names of what is set."""
    return tuple(name for name, value in set_.items() if value)


def data_shape(dice: Dice, extent: Extent, rank: int, channels: int) -> Shape:
    """Images with so many spatial axes and channels."""
    longest = extent.sides[rank - 1]
    return (dice.integer(1, extent.images), *dice.integers(rank, 1 + longest // 4, longest), channels)


def sliding(dice: Dice, rank: int) -> tuple[Shape, Shape, Shape]:
    """Sides, strides and dilations; each of the latter two is 1 everywhere in half of the questions."""
    sides = dice.integers(rank, 1, 3 if rank == 3 else 5)
    stride = dice.integers(rank, 1, 3) if dice.chance(2) else (1,) * rank
    dilation = dice.integers(rank, 1, 3) if dice.chance(2) else (1,) * rank
    return sides, stride, dilation


def any_shape(dice: Dice, extent: Extent) -> Shape:
    """One to four axes, fewer than a few thousand elements."""
    axes = dice.integer(2, 4)
    return data_shape(dice, extent, axes - 2, dice.integer(1, extent.channels)) if axes > 2 else _rows(dice, extent)


def _rows(dice: Dice, extent: Extent) -> Shape:
    return dice.integer(1, 2 * extent.images), dice.integer(1, extent.row)


def spread_of(attributes: Callable[[Dice], Any]) -> Sampler:
    """Element by element, on any shape."""

    def sampler(dice: Dice, extent: Extent, rank: int) -> Drawn:
        return Drawn(attributes=attributes(dice), shapes={"x": any_shape(dice, extent)})

    return sampler


def plain(dice: Dice) -> NoAttributes:
    """No attributes, for `spread_of`."""
    return NoAttributes()
