"""How an operand lies: what turns an array of the house's order of axes into a framework's, and back, as text."""

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.case.model import Shape


@dataclass(frozen=True, slots=True)
class Transpose:
    """Axis i of the result is axis `axes[i]` of what is given."""

    axes: tuple[int, ...]

    def inverse(self) -> "Transpose":
        """What undoes it."""
        return Transpose(tuple(self.axes.index(place) for place in range(len(self.axes))))


@dataclass(frozen=True, slots=True)
class Reshape:
    """The same numbers in row-major order, in another shape."""

    before: Shape
    after: Shape

    def inverse(self) -> "Reshape":
        """What undoes it."""
        return Reshape(self.after, self.before)


Move = Transpose | Reshape
Moves = tuple[Move, ...]


def back(moves: Moves) -> Moves:
    """What undoes moves, in the order in which it does."""
    return tuple(move.inverse() for move in reversed(moves))


def joined(*parts: Moves) -> Moves:
    """Moves one after the other, without those that undo each other."""
    done: list[Move] = []
    for move in (move for part in parts for move in part):
        last = done[-1] if done else None
        if isinstance(move, Transpose) and isinstance(last, Transpose):
            done[-1] = Transpose(tuple(last.axes[axis] for axis in move.axes))
        elif isinstance(move, Reshape) and isinstance(last, Reshape):
            done[-1] = Reshape(last.before, move.after)
        else:
            done.append(move)
        if _stays(done[-1]):
            done.pop()
    return tuple(done)


def _stays(move: Move) -> bool:
    if isinstance(move, Reshape):
        return move.before == move.after
    return move.axes == tuple(range(len(move.axes)))


def moved(text: str, moves: Moves) -> str:
    """The expression that applies moves to an array's text."""
    for move in moves:
        if isinstance(move, Transpose):
            text += f".transpose({_arguments(move.axes)})"
        else:
            text += f".reshape({_arguments(move.after)})"
    return text


def after(shape: Shape, moves: Moves) -> Shape:
    """The shape that moves leave."""
    for move in moves:
        shape = tuple(shape[axis] for axis in move.axes) if isinstance(move, Transpose) else move.after
    return shape


def _arguments(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))


def channels_first(axes: int) -> Moves:
    """(batch, *spatial, channels) as (batch, channels, *spatial); what has no spatial axis stays."""
    return (Transpose((0, axes - 1, *range(1, axes - 1))),) if axes > 2 else ()


def kernel_first(rank: int) -> Moves:
    """A kernel whose last two axes come first, in exchanged order."""
    return (Transpose((rank + 1, rank, *range(rank))),)
