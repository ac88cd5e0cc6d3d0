"""Turns: which cases are asked, below the tier `full`, more than all are.

A case's id decides, so that it stays with what it is asked; every kind of question takes turns of its own.
"""

import hashlib
from collections.abc import Sequence
from typing import Final, TypeVar

from conformance.case.model import USUAL_FORMATS, Case, FormatName, Layout

# One case in so many: every further question costs JAX a compilation.
ROTATION: Final = 4
Choice = TypeVar("Choice")


def in_turn(case: Case, kind: str, one_in: int = ROTATION) -> bool:
    """Whether a case is one of the few that are asked a kind of question."""
    return _digits(case, f"{kind} ")[0] % one_in == 0


def further_format(case: Case) -> FormatName | None:
    """The format that a case is asked in beside its first: one of those it names, or the usual one in turn."""
    others = case.formats[1:]
    return _chosen(case, "format ", others, always=case.formats != USUAL_FORMATS)


def further_layout(case: Case, layouts: Sequence[Layout]) -> Layout | None:
    """The layout that a case is asked in beside `native`, of those that there are to choose from, in turn."""
    return _chosen(case, "", layouts)


def _chosen(case: Case, kind: str, choices: Sequence[Choice], *, always: bool = False) -> Choice | None:
    place, choice = _digits(case, kind)[:2]
    return choices[choice % len(choices)] if choices and (always or place % ROTATION == 0) else None


def _digits(case: Case, kind: str) -> bytes:
    return hashlib.sha256(f"{kind}{case.id}".encode()).digest()
