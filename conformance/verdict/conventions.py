"""Which reading an answer follows: the verdict of a probe, and whether readings can be told apart at all.

A reading fits where every output and gradient of every data set lies within what it expects, by the one comparator.
Exactly one must fit; what the framework does is then that reading's name.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import combinations
from typing import Final

import numpy as np

from conformance.case.expansion import did_you_mean
from conformance.case.job import Answer, Job, Tensor
from conformance.case.model import Case, Check, Convention
from conformance.errors import Problem
from conformance.formats import FORMATS, to_storage
from conformance.verdict import oracle
from conformance.verdict.compare import interval
from conformance.verdict.judge import Judgement, judge, merge
from conformance.verdict.model import Expectation, Outcome, Reason, Verdict
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.verdict.sampling import compare_samples
from conformance.verdict.variants import CUSTOMS, VARIANTS, Variant, evaluate

# Outcomes of arrays that lie within a reading's bounds.
_FITTING: Final = (Outcome.AGREES, Outcome.INCONCLUSIVE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fit:
    """What came of a probe: the verdicts, with the comparisons that they rest on, and the only reading that fits."""

    judgement: Judgement
    reading: str = ""


def variant_of(operator: str, name: str) -> Variant | None:
    """The variant of an operator that a reading names."""
    return next((one for one in (*VARIANTS, *CUSTOMS) if one.name == name and one.covers(operator)), None)


def missing_variants(cases: Sequence[Case]) -> tuple[Problem, ...]:
    """Readings that name a variant which does not exist, or does not cover their operator."""
    problems = []
    for case in (case for case in cases if case.readings):
        known = {one.name for one in (*VARIANTS, *CUSTOMS) if one.covers(case.operator)}
        problems += [
            Problem(
                str(reading.where),
                f"{case.operator} has no variant {reading.variant!r}"
                f"{did_you_mean(reading.variant, known) or '; it has ' + ', '.join(sorted(known))}",
            )
            for reading in case.readings
            if reading.variant and reading.variant not in known
        ]
    return tuple(dict.fromkeys(problems))


def expected_of(
    reading: Convention, job: Job, accumulators: Accumulators, *, exact: bool = True
) -> Expectations | MustRefuse:
    """What a job's answer must be under a reading."""
    job = replace(job, attributes=reading.attributes)
    ask = partial(_asked, accumulators=accumulators)
    variant = variant_of(job.operator, reading.variant)
    found = None if variant is None else evaluate((variant,), job, ask)
    # A variant that has nothing to change leaves the reference's own reading.
    return ask(job, exact) if found is None else found


def _asked(job: Job, exact: bool, accumulators: Accumulators) -> Expectations | MustRefuse:
    return oracle.expect(job, accumulators, exact=exact)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Probed:
    """One data set of a probe: what was asked, what came back; `exact` says that no number was rounded."""

    job: Job
    answer: Answer
    exact: bool


def fit(case: Case, probed: Sequence[Probed], accumulators: Accumulators) -> Fit:
    """Draws the verdict of a probe from all of its data sets."""
    judgements = {
        reading.name: merge([_judged(case, one, expected_of(reading, one.job, accumulators)) for one in probed])
        for reading in case.readings
    }
    fitting = [name for name, judgement in judgements.items() if _fits(judgement)]
    if len(fitting) == 1:
        judgement = judgements[fitting[0]]
        agrees = all(verdict.outcome is Outcome.AGREES for verdict in judgement.verdicts.values())
        return Fit(judgement=judgement, reading=fitting[0] if agrees else "")
    if fitting:
        several = _several(case, probed, fitting)
        judgement = judgements[fitting[0]]
        return Fit(judgement=replace(judgement, verdicts=dict.fromkeys(judgement.verdicts, several)))
    nearest = min(judgements.values(), key=_distance)
    verdicts: dict[Check, Verdict] = {
        check: _unread(verdict, list(judgements)) if verdict.outcome is Outcome.DIFFERS else verdict
        for check, verdict in nearest.verdicts.items()
    }
    return Fit(judgement=replace(nearest, verdicts=verdicts))


def _several(case: Case, probed: Sequence[Probed], fitting: Sequence[str]) -> Verdict:
    """What no single reading explains: because no gradient could be asked, or because the case tells too little."""
    if "gradients" in case.checks and not any(one.job.cotangents for one in probed):
        detail = f"no gradients: {_listed(fitting)} differ in nothing else"
        return Verdict(outcome=Outcome.UNSUPPORTED, reason=Reason.NO_COUNTERPART, detail=detail)
    detail = f"fits {_listed(fitting)}: the case cannot tell them apart here"
    return Verdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.SEVERAL_READINGS, detail=detail)


def expected_here(case: Case, one: Probed, accumulators: Accumulators) -> Expectations | MustRefuse:
    """What one data set of a probe must be under the first reading that fits it; under the first where none does."""
    expected = [expected_of(reading, one.job, accumulators) for reading in case.readings]
    fitting = (found for found in expected if _fits(_judged(case, one, found)))
    return next(fitting, expected[0])


def _judged(case: Case, one: Probed, expected: Expectations | MustRefuse) -> Judgement:
    """A reading under which the question has no answer fits who refuses."""
    if isinstance(expected, MustRefuse):
        case = replace(case, expect=replace(case.expect, error="required"))
    return judge(case, one.job, one.answer, expected, exact=one.exact)


def _fits(judgement: Judgement) -> bool:
    return all(verdict.outcome in _FITTING for verdict in judgement.verdicts.values())


def _distance(judgement: Judgement) -> tuple[int, int, int]:
    """Checks that should have been refused, checks that do not fit, then arrays."""
    return (
        sum(verdict.outcome is Outcome.ACCEPTED_INVALID for verdict in judgement.verdicts.values()),
        sum(verdict.outcome not in _FITTING for verdict in judgement.verdicts.values()),
        sum(not comparison.within for comparison in judgement.comparisons),
    )


def _unread(verdict: Verdict, names: Sequence[str]) -> Verdict:
    detail = f"neither {_listed(names, 'nor')}; nearest: {verdict.detail}"
    return Verdict(outcome=Outcome.DIFFERS, reason=Reason.NO_READING, detail=detail)


def _listed(names: Sequence[str], joint: str = "and") -> str:
    return f" {joint} ".join(f"'{name}'" for name in names)


# Before anything runs ----------------------------------------------------------------------------------------------


def indistinct(case: Case, jobs: Sequence[Job]) -> tuple[tuple[str, str], ...]:
    """Pairs of readings that no data set among the jobs tells apart: one answer could fit both."""
    found = [[expected_of(reading, job, Accumulators()) for job in jobs] for reading in case.readings]
    return tuple(
        (case.readings[one].name, case.readings[other].name)
        for one, other in combinations(range(len(found)), 2)
        if not any(
            _exclude(first, second, job) for first, second, job in zip(found[one], found[other], jobs, strict=True)
        )
    )


def _exclude(one: Expectations | MustRefuse, other: Expectations | MustRefuse, job: Job) -> bool:
    """Whether no answer to a job lies within both."""
    if isinstance(one, MustRefuse) or isinstance(other, MustRefuse):
        return type(one) is not type(other)
    if one.samples and other.samples:
        return _refused(job, one, other) and _refused(job, other, one)
    pairs: tuple[tuple[Mapping[str, Expectation], Mapping[str, Expectation]], ...] = (
        (one.outputs, other.outputs),
        (one.gradients, other.gradients),
    )
    return any(
        _apart(expectation, second[name], job)
        for first, second in pairs
        for name, expectation in first.items()
        if name in second
    )


def _refused(job: Job, drawn: Expectations, expected: Expectations) -> bool:
    """Whether samples of one law, the same for the same case, are none of another."""
    format_ = FORMATS[job.format]
    got = {
        name: Tensor(job.format, to_storage(array, format_))
        for name, array in oracle.drawn(job, drawn.samples).items()
    }
    found = compare_samples("outputs", job.data, got, expected.samples, job.format)
    return not all(comparison.within for comparison in found)


def _apart(one: Expectation, other: Expectation, job: Job) -> bool:
    """Whether the intervals of an element, rounded to the job's format, have no number in common."""
    if one.value.shape != other.value.shape:
        return True
    (low, high), (other_low, other_high) = (
        interval(each.value, each.bound, each.stored_in(job.format)) for each in (one, other)
    )
    with np.errstate(invalid="ignore"):
        apart = (low > other_high) | (other_low > high) | (np.isnan(one.value) != np.isnan(other.value))
    return bool(apart.any())
