"""Probes before they run: their readings must exist, and their own numbers must tell them apart."""

from collections.abc import Sequence
from typing import Final

from conformance.case.job import Target
from conformance.case.model import Case
from conformance.errors import InvalidCases, Problem
from conformance.run.plan import Item, question_of
from conformance.verdict.conventions import indistinct, missing_variants

_NOBODY: Final = Target(backend="nobody")


def require_variants(cases: Sequence[Case]) -> None:
    """Makes sure that every variant that a reading names exists for its operator.

    Raises:
        InvalidCases: with every one that does not.
    """
    if problems := missing_variants(cases):
        raise InvalidCases(problems)


def lint_probes(cases: Sequence[Case]) -> tuple[Problem, ...]:
    """Readings that do not exist, and pairs of readings that their case cannot tell apart in one of its formats."""
    problems = list(missing_variants(cases))
    unreadable = {problem.where for problem in problems}
    for case in cases:
        if any(str(reading.where) in unreadable for reading in case.readings):
            continue
        for format_name in case.formats if case.readings else ():
            item = Item(case=case, target=_NOBODY, format=format_name, layout="native")
            asked = [question_of(item, data).job for data in case.data]
            problems += [
                Problem(
                    str(case.where),
                    f"{case.id}: readings {one!r} and {other!r} cannot be told apart by this case in {format_name}; "
                    "give it numbers on which they differ",
                )
                for one, other in indistinct(case, asked)
            ]
    return tuple(problems)
