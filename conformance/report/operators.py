"""Which operator each backend has of its own, which one is composed of others, and which it has not: as measured.

An adapter says what the framework lacks before it composes a recipe; what came back of every case tells who did. So
an operator may be native in some of its cases, and composed where an option is lacking.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Literal

from conformance.case.operators import OPERATORS
from conformance.report.collection import Collection, family, natural
from conformance.run.plan import REFERENCE
from conformance.run.result import Result
from conformance.run.store import Run

Kind = Literal["native", "partly", "composed", "absent", "untold"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Provision:
    """What a target has of an operator.

    Attributes:
        kind: native in every case that was answered, in some, in none; absent; or nothing was answered.
        answered, composed: cases that were answered, and those among them by a recipe.
        lacking: what the framework has not, the most frequent first.
        gradients: whether it is known to have them.
    """

    kind: Kind
    answered: int = 0
    composed: int = 0
    lacking: tuple[str, ...] = ()
    gradients: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Offered:
    """An operator, and what every target has of it."""

    operator: str
    family: str
    provisions: tuple[Provision, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Offer:
    """The table: targets, and a row an operator."""

    targets: tuple[str, ...]
    rows: tuple[Offered, ...]


def offer(collection: Collection) -> Offer:
    """The table of a collection: every operator that was asked of anybody, by every target but the reference."""
    runs = {name: run for name, run in collection.latest.items() if name != REFERENCE.name}
    answered: dict[tuple[str, str], list[Result]] = {}
    for entry in collection.entries:
        if not entry.result.probe:
            answered.setdefault((entry.column.target, entry.result.operator), []).append(entry.result)
    operators = sorted(
        # Chains and trainings are made of operators, and are none.
        {operator for _, operator in answered if operator in OPERATORS and operator != "chain"},
        key=lambda name: (family(name), natural(name)),
    )
    return Offer(
        targets=tuple(runs),
        rows=tuple(
            Offered(
                operator=operator,
                family=family(operator),
                provisions=tuple(
                    _provision(operator, run, answered.get((name, operator), ())) for name, run in runs.items()
                ),
            )
            for operator in operators
        ),
    )


def _provision(operator: str, run: Run, results: Sequence[Result]) -> Provision:
    description = run.header.description
    gradients = not any(
        absent.endswith(":gradients") and fnmatchcase(operator, absent.removesuffix(":gradients"))
        for absent in description.absent
    )
    if operator not in description.operators:
        return Provision(kind="absent")
    # A case counts once, whichever formats it was asked in.
    told = {result.case: result.composed for result in results if result.composed is not None}
    if not told:
        return Provision(kind="untold", gradients=gradients)
    recipes = [lacking for lacking in told.values() if lacking]
    counts = Counter(words for lacking in recipes for words in lacking)
    kind: Kind = "native" if not recipes else "composed" if len(recipes) == len(told) else "partly"
    return Provision(
        kind=kind,
        answered=len(told),
        composed=len(recipes),
        lacking=tuple(words for words, _ in counts.most_common()),
        gradients=gradients,
    )
