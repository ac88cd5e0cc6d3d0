"""Models of computing with less than was asked, by name: what differs by value may be no other reading at all.

A model is tried on what the ordinary bound does not hold, and must hold every element of every data set there. It is
a reason, never an excuse: `LOW_PRECISION` fails unless it is on file. One class passes where a backend declares it:
transform algorithms (Winograd, FFT), whose errors follow norms.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Final

import numpy as np

from conformance.case.job import Description, Job, Tensor
from conformance.case.model import CHECKS, Check
from conformance.case.operators import OPERATORS
from conformance.formats import FORMATS, STORED, Float64, Format, from_storage, round_to, truncate_to
from conformance.verdict import oracle
from conformance.verdict.compare import compare, outside
from conformance.verdict.diagnosis import Differing, layers_of
from conformance.verdict.judge import Judgement
from conformance.verdict.model import Expectation, Outcome, Reason, Verdict
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.verdict.variants.precision import VARIANTS as ROUNDINGS
from conformance.verdict.variants.precision import stepped
from conformance.verdict.variants.reading import each_gradient, each_output, with_numbers

# A wide interval holds one wrong element as well, and for long sums anything. A lower precision moves many elements
# by little: some array has this share of its elements outside the ordinary bound, and more than one,
SPREAD: Final = 1 / 8
# and the root mean square of every array's errors is at most this share of its values'.
SMALL: Final = 1 / 16
# What has an accumulator that a kernel may choose to be short.
SUMMING: Final = ("conv*", "dense", "matmul", "average_pool?d", "global_average_pool?d", "mean", "correlate")
# Effective bits that any float64 arithmetic keeps, and no float32 arithmetic has: halfway between 24 and 53.
COARSE: Final = 40
# A differing result may take this long to be given the name of a precision.
SECONDS: Final = 1.0
_ROUNDINGS: Final = frozenset(variant.name for variant in ROUNDINGS)

Expect = Callable[[Job], Expectations | MustRefuse | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Model:
    """A way of computing a job with less.

    Attributes:
        reason: how the verdict calls it.
        expect: what a job's answer is then; None where the model does not apply to it.
        spread: it holds by a wider interval, so the difference must be small and spread over the array.
        coarse: more than one element must have lost so much that float64 is out of the question.
        loose: so wide that another reading, where one explains the difference, goes before it.
    """

    reason: Reason
    expect: Expect
    spread: bool = False
    coarse: bool = False
    loose: bool = False


def explained(
    judgement: Judgement,
    differing: Sequence[Differing],
    accumulators: Accumulators,
    description: Description,
    *,
    agrees_with: Sequence[str] = (),
    seconds: float = SECONDS,
) -> Judgement:
    """A judgement whose differences by value have the name of the first model that holds all of them.

    Args:
        judgement: as drawn from the ordinary bounds.
        differing: the data sets behind it.
        accumulators: what the backend declares.
        description: for the transform algorithms that it declares.
        agrees_with: the readings of the operator that explain it; but for roundings, they go before loose models.
        seconds: of this thread's own work, so that no verdict depends on how busy the machine is; models that are not
            tried within them stay untried.
    """
    deadline = time.thread_time() + seconds
    otherwise = not _ROUNDINGS.issuperset(agrees_with)
    models = [model for model in _models(accumulators) if not (otherwise and model.loose)]
    parts = [part for whole in differing for part in layers_of(whole)]
    verdicts = {
        check: _explain(check, verdict, parts, models, description, deadline)
        if verdict.outcome is Outcome.DIFFERS and verdict.reason is Reason.VALUE and check in CHECKS
        else verdict
        for check, verdict in judgement.verdicts.items()
    }
    return replace(judgement, verdicts=verdicts)


def _explain(
    check: Check,
    verdict: Verdict,
    parts: Sequence[Differing],
    models: Sequence[Model],
    description: Description,
    deadline: float,
) -> Verdict:
    beyond = _beyond(check, parts)
    for model in models:
        if time.thread_time() > deadline:
            break
        if _holds(model, check, beyond):
            declared = model.reason is Reason.NORM_WISE and _transforms(parts, description)
            outcome = Outcome.AGREES if declared else Outcome.LOW_PRECISION
            return Verdict(outcome=outcome, reason=model.reason, detail=f"{model.reason.value}: {verdict.detail}")
    return verdict


def _models(accumulators: Accumulators) -> tuple[Model, ...]:
    """From the nearest to what was asked, to the farthest."""
    return (
        Model(
            reason=Reason.NORM_WISE,
            expect=partial(oracle.expect_norm_wise, accumulators=accumulators),
            spread=True,
        ),
        Model(reason=Reason.TRUNCATED, expect=partial(_truncated, accumulators)),
        Model(reason=Reason.STORAGE_ACCUMULATOR, expect=_storage_accumulator(accumulators), spread=True, loose=True),
        *(
            Model(reason=reason, expect=partial(_rounded_inputs, accumulators, FORMATS[name], round_, kept))
            for reason, name, round_ in (
                (Reason.TF32_INPUTS, "tfloat32", round_to),
                (Reason.TF32_INPUTS, "tfloat32", truncate_to),
                (Reason.BFLOAT16_INPUTS, "bfloat16", round_to),
                (Reason.BFLOAT16_INPUTS, "bfloat16", truncate_to),
                (Reason.FLOAT16_INPUTS, "float16", round_to),
            )
            # A matrix unit rounds what it multiplies, a cast everything; the cotangents' kernel may be another one.
            for kept in (("b",), (), ("b", "cotangents"), ("cotangents",))
        ),
        Model(reason=Reason.FLOAT32_ARITHMETIC, expect=_float32_arithmetic, coarse=True, loose=True),
        # float16's errors lie within bfloat16's bound: which of them it was cannot be told.
        Model(
            reason=Reason.SHORT_ACCUMULATOR,
            expect=partial(_accumulated, FORMATS["bfloat16"]),
            spread=True,
            loose=True,
        ),
    )


def _transforms(parts: Sequence[Differing], description: Description) -> bool:
    """Whether the backend declares transform algorithms for every operator in question."""
    operators = {part.job.operator for part in parts if OPERATORS[part.job.operator].rank}
    return all(any(fnmatchcase(name, glob) for glob in description.transforms) for name in operators)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Array:
    """One array of an answer that lies beyond its ordinary bound.

    Attributes:
        name, got: the array.
        small: its errors are small against its values.
        spread: more of its elements lie outside than one wrong element explains.
        coarsely: how many lie outside, if the worst has lost too much for float64.
    """

    name: str
    got: Tensor
    small: bool
    spread: bool
    coarsely: int


Beyond = Sequence[tuple[Job, Sequence[_Array]]]
"""The jobs of which arrays lie beyond their ordinary bounds, with these."""


def _beyond(check: Check, parts: Sequence[Differing]) -> Beyond:
    """What a model has to hold; the smallest question first: it refutes as well as the others, and sooner."""
    found = []
    for part in sorted(parts, key=lambda part: sum(tensor.data.size for tensor in part.job.operands.values())):
        outputs = check == "outputs"
        got: Mapping[str, Any] = part.answer.outputs if outputs else part.answer.gradients
        expected = part.expected.outputs if outputs else part.expected.gradients
        arrays = [
            array
            for name, expectation in expected.items()
            if isinstance(got.get(name), Tensor)
            for array in _measured(name, got[name], expectation, part.job)
        ]
        if arrays:
            found.append((part.job, arrays))
    return found


def _measured(name: str, got: Tensor, expectation: Expectation, job: Job) -> Iterator[_Array]:
    """How an array lies beyond its bound; nothing where it does not."""
    comparison = compare(name, "", job.data, got, expectation, job.format)
    where = outside(got, expectation, job.format)
    if comparison.within:
        return
    value = expectation.value
    if where is None:  # of another shape or format
        yield _Array(name=name, got=got, small=False, spread=False, coarsely=0)
        return
    with np.errstate(invalid="ignore", over="ignore"):
        error = from_storage(got.data, STORED[got.format]) - value
        finite = np.isfinite(error)
        small = float(np.linalg.norm(error[finite])) <= SMALL * float(np.linalg.norm(value[finite]))
    yield _Array(
        name=name,
        got=got,
        small=small,
        spread=int(where.sum()) > 1 and float(np.mean(where)) >= SPREAD,
        coarsely=comparison.outside if comparison.bits < COARSE else 0,
    )


def _holds(model: Model, check: Check, beyond: Beyond) -> bool:
    """Whether every array that lies beyond its ordinary bound lies within the model's."""
    arrays = [array for _, own in beyond for array in own]
    if not arrays or (model.spread and not any(array.spread for array in arrays)):
        return False
    if (model.spread and not all(array.small for array in arrays)) or (
        model.coarse and sum(array.coarsely for array in arrays) <= 1
    ):
        return False
    for job, own in beyond:
        found = model.expect(job)
        if not isinstance(found, Expectations):
            return False
        wider = found.outputs if check == "outputs" else found.gradients
        for array in own:
            expectation = wider.get(array.name)
            if expectation is None or not _within(job, array.got, expectation):
                return False
    return True


def _within(job: Job, got: Tensor, expectation: Expectation) -> bool:
    return compare("", "", job.data, got, expectation, job.format).within


# Models -------------------------------------------------------------------------------------------------------------


def _truncated(accumulators: Accumulators, job: Job) -> Expectations | MustRefuse | None:
    """The right sums, cut off where they should be rounded."""
    found = oracle.expect(job, accumulators)

    def cut(expectation: Expectation) -> Expectation:
        value, bound = stepped(expectation, lambda values: truncate_to(values, FORMATS[job.format]))
        return replace(expectation.within(bound), value=value)

    return each_gradient(each_output(found, cut), cut) if isinstance(found, Expectations) else found


def _storage_accumulator(declared: Accumulators) -> Expect:
    def expect(job: Job) -> Expectations | MustRefuse | None:
        if not declared.beyond_storage(job.operator, job.format):
            return None
        return oracle.expect(job, Accumulators(stored_sums=declared.stored_sums))

    return expect


def _accumulated(accumulator: Format, job: Job) -> Expectations | MustRefuse | None:
    if accumulator.precision >= FORMATS[job.format].precision or not _sums_products(job.operator):
        return None
    # Sums of integers are not exact in it, but where they are they lie within all the same.
    return oracle.expect(job, Accumulators((("*", job.format, "*", accumulator.name),)), exact=False)


def _sums_products(operator: str) -> bool:
    return any(fnmatchcase(operator, glob) for glob in SUMMING)


def _rounded_inputs(
    accumulators: Accumulators,
    format_: Format,
    round_: Callable[[Float64, Format], Float64],
    kept: tuple[str, ...],
    job: Job,
) -> Expectations | MustRefuse | None:
    if format_.precision >= FORMATS[job.format].precision:
        return None
    return oracle.expect(with_numbers(job, lambda values: round_(values, format_), kept), accumulators)


def _float32_arithmetic(job: Job) -> Expectations | MustRefuse | None:
    """A float64 question answered in float32: operands, sums and results."""
    if job.format != "float64":
        return None
    single = FORMATS["float32"]
    rounded = with_numbers(job, lambda values: round_to(values, single))
    found = oracle.expect(rounded, Accumulators((("*", "float64", "*", "float32"),)), exact=False)
    if not isinstance(found, Expectations):
        return found

    def stored(expectation: Expectation) -> Expectation:
        with np.errstate(invalid="ignore", over="ignore"):
            size = np.nan_to_num(np.abs(expectation.value)) + expectation.bound
        return replace(expectation.within(expectation.bound + single.unit * size + single.eta), signed=None)

    return each_gradient(each_output(found, stored), stored)
