"""The mutation score: what the cases would notice.

Every variant answers the cases as if it were a backend: its answer is encoded, decoded and judged as any other. A
variant that no case tells from the reference is a hole in the cases. Everything happens in this process.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Literal

import numpy as np

from conformance.case.contract import Domain
from conformance.case.inputs import draw_words, drawn
from conformance.case.job import Answer, Job, Outputs, Refused, Target, Tensor
from conformance.case.model import TIERS, Case, FormatName, Tier
from conformance.case.operators import gradient_names, operand_of, output_format
from conformance.formats import FORMATS, STORED, to_storage
from conformance.run.keyword import compile_keyword
from conformance.run.plan import Asked, Item, question_of
from conformance.verdict import oracle
from conformance.verdict.judge import judge
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.verdict.variants import Variant, evaluate, variants_of
from conformance.verdict.variants.reading import stored
from conformance.worker.wire import decode, encode

FORMAT: Final[FormatName] = "float32"
# Fresh draws on which a reading is bit-equal before it counts as equivalent.
DRAWS: Final = 3
# One element in so many gets a number that a variant shows on; few enough to leave lines without, many enough to tie.
SPRINKLED: Final = 3
_FAKE: Final = Target(backend="variant")
_PLAIN: Final = Accumulators()

Status = Literal["killed", "survived", "equivalent"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Mutant:
    """What became of a variant of an operator.

    Attributes:
        status: killed: a case noticed it. Survived: cases could have with other numbers, and none did. Equivalent:
            no case leaves it anything to change, whatever its numbers; a case that does is missing.
        killers: the cases that noticed it; the first one unless all were asked.
        survived: the cases that could have noticed it and did not; empty where it was killed, unless all were asked.
    """

    operator: str
    variant: Variant
    status: Status
    killers: tuple[str, ...] = ()
    survived: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """What became of all of them."""

    mutants: tuple[Mutant, ...]

    @property
    def alive(self) -> tuple[Mutant, ...]:
        """Those without a killer."""
        return tuple(mutant for mutant in self.mutants if mutant.status != "killed")

    @property
    def operators(self) -> tuple[str, ...]:
        """In the order of asking."""
        return tuple(dict.fromkeys(mutant.operator for mutant in self.mutants))

    def count(self, operator: str, status: Status) -> int:
        """How many of an operator's variants came to that."""
        return sum(mutant.operator == operator and mutant.status == status for mutant in self.mutants)


def mutate(
    cases: Sequence[Case],
    *,
    tier: Tier = "core",
    keyword: str = "",
    every: bool = False,
) -> Score:
    """Lets every variant answer the cases.

    Args:
        cases: those of the seeds, questions without an answer, probes and chains are left out.
        tier: cases of this tier and the smaller ones.
        keyword: a `-k` expression over the cases' ids.
        every: asks all cases of a variant that was killed, too.

    Raises:
        ValueError: if the keyword expression cannot be read.
    """
    matches = compile_keyword(keyword)
    by_operator: dict[str, list[Case]] = {}
    for case in eligible(cases, FORMAT, tier):
        if matches(case.id):
            by_operator.setdefault(case.operator, []).append(case)
    mutants: list[Mutant] = []
    for operator, own in by_operator.items():
        mutants += _mutants(operator, own, every=every)
    return Score(mutants=tuple(mutants))


def eligible(cases: Sequence[Case], format_: FormatName, tier: Tier = "core") -> tuple[Case, ...]:
    """The cases that variants answer: without those of the seeds, probes, chains and questions without an answer."""
    allowed = TIERS[: TIERS.index(tier) + 1]
    return tuple(
        case
        for case in cases
        if case.tier in allowed
        and not case.id.startswith("seeds/")
        and case.expect.error == "no"
        and not case.readings
        and case.operator != "chain"
        and format_ in case.formats
    )


@dataclass(slots=True)
class _Trial:
    """What is known of a variant so far: the cases that it reads in another way, and those that noticed."""

    variant: Variant
    read: list[Case]
    killers: list[str]


def _mutants(operator: str, cases: Sequence[Case], *, every: bool) -> Iterator[Mutant]:
    trials = [_Trial(variant, [], []) for variant in variants_of(operator, FORMAT)]
    for case in cases:
        pending = [trial for trial in trials if every or not trial.killers]
        if not pending:
            break
        asked = [question_of(item_of(case), data) for data in case.data]
        expected = [oracle.expect(question.job, _PLAIN) for question in asked]
        for trial in pending:
            found = [
                _notices(case, question, wanted, trial.variant)
                for question, wanted in zip(asked, expected, strict=True)
            ]
            if any(notices is not None for notices in found):
                trial.read.append(case)
            if any(found):
                trial.killers.append(case.id)
    for trial in trials:
        missed = [case for case in trial.read if case.id not in trial.killers] if every or not trial.killers else []
        survived = tuple(case.id for case in missed if not _equivalent(trial.variant, case))
        status: Status = "killed" if trial.killers else "survived" if survived else "equivalent"
        yield Mutant(
            operator=operator,
            variant=trial.variant,
            status=status,
            killers=tuple(trial.killers),
            survived=survived,
        )


def item_of(case: Case, format_: FormatName = FORMAT) -> Item:
    """A case as variants are asked it."""
    return Item(case=case, target=_FAKE, format=format_, layout="native")


def values(job: Job, exact: bool) -> Expectations | MustRefuse:
    """The reference's values, as `evaluate` asks for them."""
    return oracle.values(job)


def _notices(case: Case, asked: Asked, expected: Expectations | MustRefuse, variant: Variant) -> bool | None:
    """Whether a data set of a case notices a variant; None where it is not read in another way."""
    found = evaluate((variant,), asked.job, values)
    if found is None:
        return None
    answer: Answer = decode(encode(answer_of(asked.job, found)))
    judgement = judge(case, asked.job, answer, expected, exact=asked.exact)
    return any(verdict.outcome.severity > 1 for verdict in judgement.verdicts.values())


def answer_of(job: Job, found: Expectations | MustRefuse) -> Answer:
    """What a backend that computes these values would answer, stored in the job's format."""
    if isinstance(found, MustRefuse):
        return Refused(error="InvalidShape", message=found.why)
    outputs = {name: _stored_output(job, name, expectation) for name, expectation in found.outputs.items()}
    outputs |= {name: stored(job, sample) for name, sample in oracle.drawn(job, found.samples).items()}
    gradients: dict[str, Any] = {name: stored(job, e.value) for name, e in found.gradients.items()}
    if job.cotangents and not gradients:
        why = Refused(error="InvalidShape", message="the cotangent has the shape of another output")
        gradients = dict.fromkeys(gradient_names(job.operator, job.attributes, job.operands), why)
    return Outputs(outputs=outputs, gradients=gradients, calls=("a variant of the reference",))


def _stored_output(job: Job, name: str, expectation: Expectation) -> Tensor:
    format_name = output_format(job.operator, job.attributes, name, job.format)
    return Tensor(format_name, to_storage(expectation.value, STORED[format_name]))


# Equivalence --------------------------------------------------------------------------------------------------------


def _equivalent(variant: Variant, case: Case) -> bool:
    """Bit-equal to the reference in float64 on fresh draws of all operands and cotangents."""
    asked = question_of(item_of(case), case.data[0]).job
    return not any(differs(variant, fresh(asked, variant.shows_on, number)) for number in range(DRAWS))


def differs(variant: Variant, job: Job) -> bool:
    """Whether a variant gives other values than the reference, bit by bit."""
    found = evaluate((variant,), job, values)
    if found is None:
        return False
    expected = oracle.values(job)
    if isinstance(found, MustRefuse) or isinstance(expected, MustRefuse):
        return type(found) is not type(expected)
    if expected.samples:  # two laws are the same where their samples are
        own, other = (oracle.drawn(job, laws.samples) for laws in (expected, found))
        return not all(np.array_equal(own[name], other[name]) for name in own)
    return not (_equal(found.outputs, expected.outputs) and _equal(found.gradients, expected.gradients))


def _equal(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    return one.keys() == other.keys() and all(
        np.array_equal(one[name].value, other[name].value, equal_nan=True) for name in one
    )


def fresh(job: Job, shows_on: Sequence[float], number: int) -> Job:
    """The same question in float64 on other numbers: normal, with what a variant shows on sprinkled among them.

    Labels and masks stay: they have no normal draws.
    """
    seed = hashlib.sha256(f"{job.case_id} {number}".encode()).digest()

    def redrawn(name: str, tensor: Tensor, domain: Domain) -> Tensor:
        if tensor.format not in FORMATS:
            return tensor
        size = tensor.data.size
        values = drawn(lambda count: draw_words(seed, name, count), domain, tensor.shape)
        if shows_on and name in job.operands and domain != "shares":
            words = draw_words(seed, f"{name} sprinkled", 2 * size).reshape(2, size)
            picked = np.asarray(shows_on)[(words[1] % np.uint64(len(shows_on))).astype(np.int64)]
            values = np.where(words[0] % np.uint64(SPRINKLED) == 0, picked, values)
        return Tensor("float64", values.reshape(tensor.shape))

    return replace(
        job,
        format="float64",
        operands={
            name: redrawn(name, tensor, operand_of(job.operator, job.attributes, name).domain)
            for name, tensor in job.operands.items()
        },
        cotangents={name: redrawn(f"cotangent {name}", tensor, "real") for name, tensor in job.cotangents.items()},
    )
