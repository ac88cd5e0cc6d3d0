"""The statistics of cases: every count in a column of its own, in as many tables as a terminal asks for."""

import pytest

from conformance.arguments import tiers_of
from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.model import Case
from conformance.report.statistics import statistics

# What comes of a line when it is cut at its spaces.
Table = list[list[str]]


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    folder = default_root() / "operators"
    return list(load([folder / f"{name}.yaml" for name in ("relu", "conv2d", "softmax_cross_entropy_dense")]))


def tables(lines: tuple[str, ...]) -> list[Table]:
    found: list[Table] = [[]]
    for line in lines:
        if line:
            found[-1].append(line.split())
        else:
            found.append([])
    return found


def test_without_a_terminal_there_is_one_table(cases: list[Case]) -> None:
    (table,) = tables(statistics(cases, tiers_of))
    heads, *rows = table
    assert [row[0] for row in rows] == ["conv2d", "relu", "softmax_cross_entropy_dense", "all"]
    by_head = {head: [int(row[place]) for row in rows] for place, head in enumerate(heads) if place}
    assert by_head["full"][-1] == len(cases)
    assert by_head["full"][:-1] == [sum(case.operator == row[0] for case in cases) for row in rows[:-1]]
    for head, numbers in by_head.items():
        assert sum(numbers[:-1]) == numbers[-1], head
    assert by_head["smoke"][-1] < by_head["core"][-1] <= by_head["full"][-1]


@pytest.mark.parametrize("width", [80, 60, 40])
def test_a_narrow_terminal_gets_several_tables_that_lose_nothing(cases: list[Case], width: int) -> None:
    lines = statistics(cases, tiers_of, width)
    assert max(map(len, lines)) <= width
    (whole,) = tables(statistics(cases, tiers_of))
    narrow = tables(lines)
    assert len(narrow) > 1
    joined = [[cell for place, table in enumerate(narrow) for cell in table[row][bool(place) :]] for row in range(5)]
    assert joined == whole
