"""Sweeps: of the cells of a matrix those that ask something new, and a few in which every two values meet.

Attributes that interact are asked in all combinations, of which many are the same question once pads are resolved
(SAME of a kernel of one element is VALID). Faults mostly need one value, or two that meet: the cells of a covering
array find those, and are asked always; all the others are asked in the tier `full`.
"""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from conformance.case.model import Case
from conformance.case.resolved import question


@dataclass(frozen=True, slots=True)
class Level:
    """One value of a sweep's axis: which part of the sweep, which of its axes, which row."""

    part: int
    axis: int
    row: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One combination of values, and the case that it makes, of the tier that the covering cells have."""

    levels: tuple[Level, ...]
    case: Case


def swept(cells: Sequence[Cell], asked: set[object]) -> tuple[Case, ...]:
    """The cells that ask something new: those that cover all pairs, and the others as tier `full`.

    Args:
        cells: all of a sweep.
        asked: what the file's sweeps before ask; what this one asks joins it.
    """
    first: dict[object, Cell] = {}
    for cell in cells:
        first.setdefault(question(cell.case), cell)
    kept = tuple(cell for mine, cell in first.items() if mine not in asked)
    asked.update(first)
    covering = frozenset(cover([cell.levels for cell in kept]))
    return tuple(cell.case if n in covering else replace(cell.case, tier="full") for n, cell in enumerate(kept))


def cover(cells: Sequence[tuple[Level, ...]]) -> tuple[int, ...]:
    """The places of a few cells in which every two values meet that meet in any; of a single axis, all values.

    Greedy: always the first of the cells with the most pairs that have not met. What a cell has to offer only gets
    less, so a cell that still offers what it last did, and no less than all others did, is the one.
    """
    pairs = [frozenset(combinations(cell, min(len(cell), 2))) for cell in cells]
    open_ = frozenset[tuple[Level, ...]]().union(*pairs)
    waiting = [(-len(own), n) for n, own in enumerate(pairs)]
    heapq.heapify(waiting)
    chosen: list[int] = []
    while open_:
        offered, n = heapq.heappop(waiting)
        new = len(pairs[n] & open_)
        if new == -offered:
            chosen.append(n)
            open_ -= pairs[n]
        elif new:
            heapq.heappush(waiting, (-new, n))
    return tuple(chosen)
