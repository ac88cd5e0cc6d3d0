"""What a set of cases asks, counted by operator.

Every count has a column of its own, so that lines can be read, sorted and cut. Where a terminal is too narrow for all
columns they go into several tables, each of which begins with the operators' names.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Final

from conformance.case.layouts import LAYOUTS, may_vary
from conformance.case.model import CHECKS, TIERS, Case
from conformance.case.second import asks_second
from conformance.case.tangents import asks_tangents
from conformance.case.turns import further_layout

ALL: Final = "all"
_HEADS: Final = {"gradients": "grads"}


def statistics(
    cases: Sequence[Case], tiers_of: Callable[[str], Sequence[str]], width: int | None = None
) -> tuple[str, ...]:
    """Lines that fit a width, or one table of any width if there is none.

    Args:
        cases: what is counted.
        tiers_of: the tiers that a run of one runs.
        width: of the terminal.
    """
    by_operator: dict[str, list[Case]] = {}
    for case in sorted(cases, key=lambda case: case.operator):
        by_operator.setdefault(case.operator, []).append(case)
    counts = {name: _counts(own, tiers_of) for name, own in [*by_operator.items(), (ALL, cases)]}
    lines: list[str] = []
    for columns in _tables(counts, width):
        lines += [""] if lines else []
        first = max(map(len, ["operator", *counts]))
        wide = {name: _wide(name, counts) for name in columns}
        lines.append(" ".join(["operator".ljust(first), *(name.rjust(wide[name]) for name in columns)]))
        lines += (
            " ".join([operator.ljust(first), *(str(row[name]).rjust(wide[name]) for name in columns)])
            for operator, row in counts.items()
        )
    return tuple(lines)


def _tables(counts: dict[str, Counter[str]], width: int | None) -> list[list[str]]:
    """The columns, in as many tables as the width asks for."""
    first = max(map(len, ["operator", *counts]))
    tables: list[list[str]] = [[]]
    taken = first
    for name in counts[ALL]:
        more = 1 + _wide(name, counts)
        if width is not None and taken + more > width and tables[-1]:
            tables.append([])
            taken = first
        tables[-1].append(name)
        taken += more
    return tables


def _wide(name: str, counts: dict[str, Counter[str]]) -> int:
    # Those of all cases together are the largest.
    return max(len(name), len(str(counts[ALL][name])))


def _counts(cases: Sequence[Case], tiers_of: Callable[[str], Sequence[str]]) -> Counter[str]:
    """How many cases every tier runs, then how many ask in which format, layout and what, by column."""
    found: Counter[str] = Counter({name: sum(case.tier in tiers_of(name) for case in cases) for name in TIERS})
    found.update(format_ for case in cases for format_ in case.formats)
    found.update(layout for case in cases for layout in _layouts(case))
    found.update({_HEADS.get(check, check): sum(check in case.checks for case in cases) for check in CHECKS})
    found.update(
        {
            **{
                name: sum(asks(case, format_, "native", "full") for case in cases for format_ in case.formats[:1])
                for name, asks in (("jvp", asks_tangents), ("second", asks_second))
            },
            "stated": sum(bool(case.expect.outputs or case.expect.gradients) for case in cases),
            "claims": sum(len(case.claims) for case in cases),
            "probes": sum(bool(case.readings) for case in cases),
        }
    )
    return found


def _layouts(case: Case) -> tuple[str, ...]:
    turn = may_vary(case) and further_layout(case, LAYOUTS) is not None
    return case.layouts or (("native", "other") if turn else ("native",))
