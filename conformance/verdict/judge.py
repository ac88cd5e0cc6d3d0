"""The one place where verdicts are drawn: answers against expectations, stated values and claims."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from conformance.case.inputs import literal_values
from conformance.case.job import Answer, Crashed, Failure, Job, Outputs, Refused, Tensor, TimedOut, Unsupported
from conformance.case.model import CHECKS, Case, Check, Claim, Stated
from conformance.formats import FORMATS, STORED
from conformance.verdict.compare import compare
from conformance.verdict.model import Comparison, Expectation, Outcome, Reason, Verdict
from conformance.verdict.oracle import Expectations, MustRefuse, to_float64
from conformance.verdict.sampling import compare_samples

# What single numbers have wrong: where they change from answer to answer, that is what is wrong with them.
_NUMBERS: Final = (Reason.VALUE, Reason.NAN, Reason.INFINITY, Reason.SIGN)
AGREEING: Final = (Reason.EXACT, Reason.WITHIN_BOUND, Reason.NORM_WISE, Reason.REFUSED_AS_EXPECTED)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimResult:
    """What a source says, and what was measured."""

    says: str
    holds: bool
    measured: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """What one job's answer is worth."""

    comparisons: tuple[Comparison, ...] = ()
    claims: tuple[ClaimResult, ...] = ()
    verdicts: Mapping[Check, Verdict]


def judge(case: Case, job: Job, answer: Answer, expected: Expectations | MustRefuse, *, exact: bool) -> Judgement:
    """Draws the verdict of every check that a job asks.

    Args:
        case: for its stated values and claims.
        job: what was asked.
        answer: what came back.
        expected: what the reference expects.
        exact: the operands are the case's own numbers, unrounded, so that stated values apply.
    """
    checks: tuple[Check, ...] = ("outputs",)
    checks += ("gradients",) if job.cotangents else ()
    checks += ("jvp",) if job.tangents else ()
    checks += ("second",) if job.directions else ()
    if isinstance(expected, MustRefuse) or case.expect.error == "required":
        return _judge_invalid(case, job, answer, expected)
    if not isinstance(answer, Outputs):
        return Judgement(verdicts=dict.fromkeys(checks, _failure(answer)))
    comparisons: list[Comparison] = []
    verdicts: dict[Check, Verdict] = {}
    for check in checks:
        wanted, got = _expected(expected, check), _given(answer, check)
        found, failures = _compare_all(check, job, wanted, got)
        if check == "outputs" and expected.samples:
            found, failures = _compare_samples(job, expected, answer)
        stated = case.expect.outputs if check == "outputs" else case.expect.gradients
        if exact and check in CHECKS:
            found += _compare_stated(check, job, wanted, got, stated)
        comparisons += found
        verdicts[check] = _draw(found, failures)
    objections: list[tuple[Reason, str]] = []
    if case.expect.shape is not None:
        last = list(answer.outputs)[-1]
        if answer.outputs[last].shape != case.expect.shape:
            detail = f"{last} has shape {answer.outputs[last].shape}, the case states {case.expect.shape}"
            objections.append((Reason.SHAPE, detail))
    if answer.mutated:
        detail = f"{', '.join(answer.mutated)} changed while the backend had it"
        objections.append((Reason.MUTATED, detail))
    claims = tuple(_evaluate(claim, job, expected, answer) for claim in case.claims) if exact else ()
    for claim in claims:
        if claim.measured != claim.holds:
            detail = f'"{claim.says}" is {_truth(claim.measured)} here, the case says {_truth(claim.holds)}'
            objections.append((Reason.CLAIM, detail))
    for reason, detail in objections:
        differs = Verdict(outcome=Outcome.DIFFERS, reason=reason, detail=detail)
        verdicts["outputs"] = _worse(verdicts["outputs"], differs)
    verdicts |= _fallen_back(answer)
    return Judgement(comparisons=tuple(comparisons), claims=claims, verdicts=verdicts)


def steadied(judgement: Judgement, job: Job, answer: Outputs, again: Sequence[Answer]) -> Judgement:
    """A judgement that says so where the same question, asked again, got other bits.

    That is `UNSTABLE`, also where the first answer's numbers differ: those of the next would differ otherwise.

    Args:
        judgement: of the first answer.
        job: what was asked.
        answer: the first one.
        again: the later ones.
    """
    verdicts = dict(judgement.verdicts)
    for check, verdict in judgement.verdicts.items():
        detail = next(filter(None, (_changed(check, job, answer, other) for other in again)), "")
        if detail:
            unstable = Verdict(outcome=Outcome.UNSTABLE, reason=Reason.REPEATED, detail=detail)
            verdicts[check] = unstable if verdict.reason in _NUMBERS else _worse(verdict, unstable)
    for other in again:
        if not isinstance(other, Outputs):
            verdicts["outputs"] = _worse(verdicts["outputs"], _failure(other))
    return replace(judgement, verdicts=verdicts)


def merge(judgements: Sequence[Judgement]) -> Judgement:
    """The judgements of a case's data sets as one: all comparisons, the worst verdict of every check."""
    verdicts: dict[Check, Verdict] = {}
    for judgement in judgements:
        for check, verdict in judgement.verdicts.items():
            verdicts[check] = _worse(verdicts[check], verdict) if check in verdicts else verdict
    return Judgement(
        comparisons=tuple(comparison for judgement in judgements for comparison in judgement.comparisons),
        claims=tuple({claim.says: claim for judgement in judgements for claim in judgement.claims}.values()),
        verdicts=verdicts,
    )


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _worse(one: Verdict, other: Verdict) -> Verdict:
    def badness(verdict: Verdict) -> tuple[int, bool, bool]:
        return verdict.outcome.severity, verdict.reason not in AGREEING, verdict.reason is Reason.WITHIN_BOUND

    return max(one, other, key=badness)


def _fallen_back(answer: Outputs) -> dict[Check, Verdict]:
    """Of arrays that were elsewhere than on the device asked: whatever their numbers, they say nothing about it."""
    told: dict[Check, list[str]] = {}
    for check, name, device in answer.elsewhere:
        told.setdefault(check, []).append(f"{_named(check, name)} was on {device}, not on the device asked")
    return {
        check: Verdict(outcome=Outcome.FELL_BACK, reason=Reason.DEVICE, detail="; ".join(lines))
        for check, lines in told.items()
    }


def _changed(check: Check, job: Job, first: Outputs, other: Answer) -> str:
    """The first array of a check that another answer has with other bits; empty if there is none."""
    if not isinstance(other, Outputs):
        return f"on {job.data} data: an answer, then none when asked again" if check == "outputs" else ""
    before, after = _given(first, check), _given(other, check)
    for name in dict.fromkeys((*before, *after)):
        one, two = before.get(name), after.get(name)
        what = f"{_named(check, name)} on {job.data} data"
        if not (isinstance(one, Tensor) and isinstance(two, Tensor)):
            if type(one) is not type(two):
                return f"{what}: an array in one answer, none in the other"
        elif (one.format, one.shape) != (two.format, two.shape):
            return f"{what}: {one.format} of shape {one.shape}, then {two.format} of shape {two.shape}"
        elif one.data.tobytes() != two.data.tobytes():
            word = f"u{one.data.dtype.itemsize}"  # bits, so that NaN and the sign of a zero count
            places = np.argwhere(
                np.ascontiguousarray(one.data).view(word) != np.ascontiguousarray(two.data).view(word)
            )
            at = tuple(places[0].tolist())
            was, then = float(to_float64(one)[at]), float(to_float64(two)[at])
            return f"{what}: {len(places)} elements with other bits, first at {list(at)}: {was!r}, then {then!r}"
    return ""


def _expected(expected: Expectations, check: Check) -> Mapping[str, Expectation]:
    return {
        "outputs": expected.outputs,
        "gradients": expected.gradients,
        "jvp": expected.tangents,
        "second": expected.second,
    }[check]


def _given(answer: Outputs, check: Check) -> Mapping[str, Tensor | Failure]:
    return {
        "outputs": answer.outputs,
        "gradients": answer.gradients,
        "jvp": answer.tangents,
        "second": answer.second,
    }[check]


def _named(check: str, name: str) -> str:
    return {
        "outputs": name,
        "gradients": f"gradient of {name}",
        "jvp": f"tangent of {name}",
        "second": f"second derivative by {name}",
    }[check]


def _failure(answer: Failure) -> Verdict:
    match answer:
        case Unsupported(reason=why):
            return Verdict(outcome=Outcome.UNSUPPORTED, reason=Reason.NO_COUNTERPART, detail=why)
        case Refused(error=error, message=message):
            return Verdict(outcome=Outcome.REFUSED, reason=Reason.ERROR, detail=f"{error}: {message}")
        case Crashed(cause=cause, last_words=words):
            return Verdict(outcome=Outcome.CRASHED, reason=Reason.DEATH, detail=f"{cause}\n{words}".strip())
        case TimedOut(seconds=seconds):
            detail = f"no answer in {seconds:g} s"
            return Verdict(outcome=Outcome.TIMED_OUT, reason=Reason.SILENCE, detail=detail)


def _judge_invalid(case: Case, job: Job, answer: Answer, expected: Expectations | MustRefuse) -> Judgement:
    """A question without an answer: refusing is right, and so is the stated empty result where the case allows it."""
    if isinstance(expected, Expectations):
        detail = "the case states an error, but the reference answers"
        verdict = Verdict(outcome=Outcome.DIFFERS, reason=Reason.STATED, detail=detail)
    elif case.expect.error == "no":
        detail = f"the reference refuses: {expected.why}"
        verdict = Verdict(outcome=Outcome.DIFFERS, reason=Reason.STATED, detail=detail)
    elif isinstance(answer, Refused):
        detail = f"{answer.error}: {answer.message}"
        verdict = Verdict(outcome=Outcome.AGREES, reason=Reason.REFUSED_AS_EXPECTED, detail=detail)
    elif not isinstance(answer, Outputs):
        verdict = _failure(answer)
    else:
        shapes = {name: tensor.shape for name, tensor in answer.outputs.items()}
        if case.expect.error == "allowed" and case.expect.shape in shapes.values():
            verdict = Verdict(
                outcome=Outcome.AGREES, reason=Reason.EXACT, detail="the empty result that the case allows"
            )
        else:
            detail = f"gave {', '.join(f'{name} {shape}' for name, shape in shapes.items())}; {expected.why}"
            verdict = Verdict(outcome=Outcome.ACCEPTED_INVALID, reason=Reason.ERROR, detail=detail)
    return Judgement(verdicts={"outputs": verdict})


def _compare_all(
    check: Check,
    job: Job,
    wanted: Mapping[str, Expectation],
    got: Mapping[str, Tensor | Failure],
) -> tuple[list[Comparison], list[Verdict]]:
    found, failures = [], []
    for name, expectation in wanted.items():
        answer = got.get(name)
        if isinstance(answer, Tensor):
            found.append(compare(name, check, job.data, answer, expectation, job.format))
        elif answer is None:
            failures.append(Verdict(outcome=Outcome.DIFFERS, reason=Reason.MISSING, detail=f"no {name} came back"))
        else:
            failure = _failure(answer)
            what = f"{check.removesuffix('s')} {name}" if check in CHECKS else _named(check, name)
            detail = f"{what}: {failure.detail}"
            failures.append(Verdict(outcome=failure.outcome, reason=failure.reason, detail=detail))
    return found, failures


def _compare_samples(job: Job, expected: Expectations, answer: Outputs) -> tuple[list[Comparison], list[Verdict]]:
    missing = [
        Verdict(outcome=Outcome.DIFFERS, reason=Reason.MISSING, detail=f"no {name} came back")
        for name in expected.samples
        if name not in answer.outputs
    ]
    return compare_samples("outputs", job.data, answer.outputs, expected.samples, job.format), missing


def _compare_stated(
    check: Check,
    job: Job,
    wanted: Mapping[str, Expectation],
    got: Mapping[str, Tensor | Failure],
    stated: Mapping[str, Stated],
) -> list[Comparison]:
    found = []
    for name, literal in stated.items():
        tensor = got.get(name)
        if isinstance(tensor, Tensor) and name in wanted:
            expectation = stated_expectation(literal, wanted[name], job)
            comparison = compare(f"{name} (stated)", check, job.data, tensor, expectation, job.format)
            # Few digits say little, but what the case means to say; whether the bound itself says anything is told
            # where the reference is compared.
            if comparison.reason is Reason.VACUOUS:
                comparison = replace(comparison, reason=Reason.WITHIN_BOUND)
            found.append(comparison)
    return found


def stated_expectation(literal: Stated, reference: Expectation, job: Job) -> Expectation:
    """Stated numbers, with room for what they carry.

    That is the reference's bound, half a unit of their last decimal, and the bound of the arithmetic that computed
    them.
    """
    value = literal_values(literal.tensor)
    if value.shape != reference.value.shape:
        zeros = np.zeros(value.shape)
        return Expectation(value=value, size=zeros, scale=zeros, format=reference.format)
    bound = reference.bound
    if literal.decimals is not None:
        bound = bound + 0.5 * 10.0**-literal.decimals
    if literal.computed is not None:
        # The bound grows in proportion to the unit roundoff.
        bound = bound * (1 + FORMATS[literal.computed].unit / STORED[job.format].unit)
    return Expectation(value=value, size=bound, scale=reference.scale, format=reference.format)


def _draw(found: Sequence[Comparison], failures: Sequence[Verdict]) -> Verdict:
    verdicts = list(failures)
    for comparison in found:
        if not comparison.within:
            verdicts.append(Verdict(outcome=Outcome.DIFFERS, reason=comparison.reason, detail=describe(comparison)))
        elif comparison.reason is Reason.VACUOUS:
            detail = f"{comparison.name}: the bound is as large as the values"
            verdicts.append(Verdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.VACUOUS, detail=detail))
        else:
            verdicts.append(Verdict(outcome=Outcome.AGREES, reason=comparison.reason))
    worst = Verdict(outcome=Outcome.AGREES, reason=Reason.EXACT)
    for verdict in verdicts:
        within = verdict.reason is Reason.WITHIN_BOUND and worst.reason is Reason.EXACT
        if verdict.outcome.severity > worst.outcome.severity or within:
            worst = verdict
    return worst


def describe(comparison: Comparison) -> str:
    """One line about what is wrong with an array: where, got, expected, and how far outside."""
    c = comparison
    what = f"{_named(c.check, c.name)} on {c.data} data"
    if c.reason is Reason.SHAPE:
        return f"{what}: shape {c.got_shape}, expected {c.expected_shape}"
    if c.reason is Reason.FORMAT:
        return f"{what}: {c.got_format}, expected {c.expected_format}"
    if c.detail:
        return f"{what}: {c.detail}"
    return (
        f"{what}: {c.outside} of {int(np.prod(c.expected_shape))} elements outside the bound, worst at "
        f"{list(c.worst_index)}: got {c.got!r}, expected {c.expected!r}, error {c.error:.3g}, bound {c.bound:.3g}"
    )


def _evaluate(claim: Claim, job: Job, expected: Expectations, answer: Outputs) -> ClaimResult:
    """Measures a claim on what was got: every part of it must be true."""
    truths = []
    last = list(answer.outputs)[-1]
    if claim.shape is not None:
        truths.append(answer.outputs[last].shape == claim.shape)
    for check, stated, wanted, got in (
        ("outputs", claim.outputs, expected.outputs, answer.outputs),
        ("gradients", claim.gradients, expected.gradients, answer.gradients),
    ):
        for name, literal in stated.items():
            tensor = got.get(name)
            truths.append(
                isinstance(tensor, Tensor)
                and name in wanted
                and compare(
                    name, check, job.data, tensor, stated_expectation(literal, wanted[name], job), job.format
                ).within
            )
    return ClaimResult(says=claim.says, holds=claim.holds, measured=all(truths))
