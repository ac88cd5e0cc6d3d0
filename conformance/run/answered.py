"""A question that was asked, with what came back and what must."""

from dataclasses import dataclass

from conformance.case.job import Answer, Job
from conformance.verdict.oracle import Expectations, MustRefuse


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Answered:
    """One question with its numbers, what came back, and what must; `exact` says that no number was rounded.

    `again` is what came back when it was repeated.
    """

    job: Job
    answer: Answer
    expected: Expectations | MustRefuse
    exact: bool
    again: tuple[Answer, ...] = ()
