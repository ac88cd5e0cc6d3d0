"""How a parameter lies: moves that turn what a framework keeps into what the house has, and back."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Transposed:
    """Axis i of the result is axis `axes[i]` of what is given."""

    axes: tuple[int, ...]

    def applied(self, array: Array) -> Array:
        """The array, moved."""
        return array.transpose(self.axes)

    def inverse(self) -> "Transposed":
        """What undoes it."""
        return Transposed(tuple(self.axes.index(place) for place in range(len(self.axes))))


@dataclass(frozen=True, slots=True)
class Reshaped:
    """The same numbers in row-major order, in another shape."""

    before: tuple[int, ...]
    after: tuple[int, ...]

    def applied(self, array: Array) -> Array:
        """The array, moved."""
        return array.reshape(self.after)

    def inverse(self) -> "Reshaped":
        """What undoes it."""
        return Reshaped(self.after, self.before)


@dataclass(frozen=True, slots=True)
class Flipped:
    """Read from the other end, along these axes."""

    axes: tuple[int, ...]

    def applied(self, array: Array) -> Array:
        """The array, moved."""
        return np.flip(array, self.axes)

    def inverse(self) -> "Flipped":
        """What undoes it."""
        return self


Move = Transposed | Reshaped | Flipped
Moves = tuple[Move, ...]


def moved(array: Array, moves: Moves) -> Array:
    """An array after moves, one after the other."""
    for move in moves:
        array = move.applied(array)
    return array


def back(moves: Moves) -> Moves:
    """What undoes moves, in the order in which it does."""
    return tuple(move.inverse() for move in reversed(moves))
