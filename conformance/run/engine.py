"""Asks one target, item by item, and judges every answer as it comes.

While the worker computes, the parent computes what it expects. A worker that dies costs one answer: the question is
asked once more without cotangents, and the next question finds a new process.
"""

import time
from collections.abc import Sequence
from typing import Final

from conformance.case.attributes import Chain
from conformance.case.inputs import Question, digest
from conformance.case.job import (
    Answer,
    Crashed,
    Description,
    Failure,
    Job,
    Outputs,
    Target,
    Tensor,
    TimedOut,
    Unsupported,
)
from conformance.case.model import Shape
from conformance.case.operators import OPERATORS, operand_of
from conformance.errors import ImpossibleShape
from conformance.run.plan import REFERENCE, Item
from conformance.run.result import Evidence, Result
from conformance.verdict import oracle
from conformance.verdict.compare import element_ratios
from conformance.verdict.deviations import Deviation, assess, is_absent
from conformance.verdict.judge import Judgement, judge, merge
from conformance.verdict.model import Outcome
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.worker.gateway import Worker

JOB_SECONDS: Final = 120.0
# Arrays of at most this many elements are kept even where everything agrees, so that the report can show them.
SHOWN_ELEMENTS: Final = 4096
# Beyond this no arrays are kept at all: nobody reads a heat map of a million squares.
KEPT_ELEMENTS: Final = 1_000_000


class Session:
    """One target, ready to be asked."""

    def __init__(
        self,
        target: Target,
        deviations: Sequence[Deviation] = (),
        *,
        timeout: float = JOB_SECONDS,
        path: str = "",
    ) -> None:
        """Starts the target's worker and lets it describe itself.

        Args:
            target: who is asked; `REFERENCE` is answered in this process.
            deviations: differences on file.
            timeout: seconds that one answer may take.
            path: the adapter as `module:Class`, looked up among the entry points if empty.

        Raises:
            TargetError: if the target cannot be used.
        """
        self.target = target
        self.deviations = deviations
        self._timeout = timeout
        self.worker = None if target == REFERENCE else Worker(target, path)
        self.description = describe_reference() if self.worker is None else self.worker.start()
        self._accumulators = Accumulators.from_description(self.description)

    def close(self) -> None:
        """Ends the worker."""
        if self.worker is not None:
            self.worker.close()

    def run(self, item: Item) -> Result:
        """Asks every data set of an item and draws its verdicts."""
        started = time.perf_counter()
        case = item.case
        judgements: list[Judgement] = []
        evidence: dict[str, Evidence] = {}
        calls: tuple[str, ...] = ()
        digests: list[str] = []
        seconds = 0.0
        for data in case.data:
            question = Question(case, data, item.format)
            operands = question.operands()
            cotangents = question.cotangents(self._cotangent_shapes(item, operands))
            job = Job(
                case_id=case.id,
                operator=case.operator,
                attributes=case.attributes,
                format=item.format,
                layout=item.layout,
                data=data,
                operands=operands,
                cotangents=cotangents,
            )
            answer, expected = self._ask(job)
            judgement = judge(case, job, answer, expected, exact=question.exact)
            judgements.append(judgement)
            digests.append(digest(operands, cotangents))
            if isinstance(answer, Outputs):
                calls = answer.calls or calls
                seconds += answer.seconds
                if _worth_keeping(item, judgement, job):
                    evidence[data] = _evidence(job, answer, expected)
        whole = merge(judgements)
        return Result(
            case=case.id,
            operator=case.operator,
            target=item.target.name,
            format=item.format,
            layout=item.layout,
            verdicts=whole.verdicts,
            assessments={
                check: assess(
                    case.id,
                    case.operator,
                    item.target,
                    item.format,
                    check,
                    verdict,
                    self.description,
                    self.deviations,
                    invalid=case.expect.error != "no",
                )
                for check, verdict in whole.verdicts.items()
            },
            comparisons=whole.comparisons,
            claims=whole.claims,
            calls=calls,
            digest="-".join(digests),
            seconds=seconds,
            total_seconds=time.perf_counter() - started,
            jobs=len(case.data),
            evidence={f"{data}/{name}": array for data, arrays in evidence.items() for name, array in arrays.items()},
        )

    def _cotangent_shapes(self, item: Item, operands: dict[str, Tensor]) -> dict[str, Shape]:
        """The outputs that get a cotangent: none where no gradient is asked or the question has no answer."""
        case = item.case
        if is_absent(case.operator, "gradients", self.description):
            return {}
        if "gradients" not in case.checks or not any(
            operand_of(case.operator, case.attributes, name).differentiable for name in operands
        ):
            return {}
        given = {name: tensor.shape for name, tensor in operands.items()}
        try:
            shapes = OPERATORS[case.operator].shapes(case.attributes, given)
        except ImpossibleShape:
            return {}
        if isinstance(case.attributes, Chain):
            last = case.attributes.layers[-1].name
            return {last: shapes[last]}
        return shapes

    def _ask(self, job: Job) -> tuple[Answer, Expectations | MustRefuse]:
        """One answer and what it should be; asked again without cotangents where the backend raised or died."""
        lacking = _lacking(job, self.description)
        if lacking or self.worker is None:
            answer: Answer = Unsupported(reason=lacking) if lacking else oracle.answer(job)
            return answer, self._expect(job, answer)
        self.worker.send(job)
        expected = None if job.operator == "chain" else oracle.expect(job, self._accumulators)
        answer = self.worker.receive(self._timeout)
        if job.cotangents and not isinstance(answer, (Outputs, Unsupported)):
            answer = self._ask_again(job, answer)
        return answer, expected if expected is not None else self._expect(job, answer)

    def _ask_again(self, job: Job, first: Failure) -> Answer:
        assert self.worker is not None
        outputs_only = Job(
            case_id=job.case_id,
            operator=job.operator,
            attributes=job.attributes,
            format=job.format,
            layout=job.layout,
            data=job.data,
            operands=job.operands,
        )
        second = self.worker.ask(outputs_only, self._timeout)
        if not isinstance(second, Outputs):
            # Both failed: the graver of the two is the answer.
            grave = (Crashed, TimedOut)
            return second if isinstance(second, grave) and not isinstance(first, grave) else first
        names = [name for name in job.operands if operand_of(job.operator, job.attributes, name).differentiable]
        if isinstance(job.attributes, Chain):
            names += [layer.name for layer in job.attributes.layers[:-1]]
        return Outputs(
            outputs=second.outputs,
            gradients=dict.fromkeys(names, first),
            calls=second.calls,
            mutated=second.mutated,
            seconds=second.seconds,
        )

    def _expect(self, job: Job, answer: Answer) -> Expectations | MustRefuse:
        if job.operator == "chain":
            captured = answer if isinstance(answer, Outputs) else Outputs(outputs={})
            return oracle.expect_chain(job, captured, self._accumulators)
        return oracle.expect(job, self._accumulators)


def describe_reference() -> Description:
    """The reference, described as a backend is."""
    import numpy

    return Description(
        backend="reference",
        versions={"numpy": numpy.__version__},
        device="cpu",
        cpu_features=(),
        switches={},
        accumulators=(),
        absent=(),
        operators=tuple(OPERATORS),
    )


def _lacking(job: Job, description: Description) -> str:
    """Which operator of a job the backend does not have; empty if it has all."""
    names = [job.operator]
    if isinstance(job.attributes, Chain):
        names += [layer.operator for layer in job.attributes.layers]
    missing = [name for name in names if name not in description.operators]
    return f"{description.backend} has no {', '.join(missing)}" if missing else ""


def _worth_keeping(item: Item, judgement: Judgement, job: Job) -> bool:
    elements = sum(tensor.data.size for tensor in (*job.operands.values(), *job.cotangents.values()))
    if any(verdict.outcome is not Outcome.AGREES for verdict in judgement.verdicts.values()):
        return elements <= KEPT_ELEMENTS
    return item.format == item.case.formats[0] and job.data != "wide" and elements <= SHOWN_ELEMENTS


def _evidence(job: Job, answer: Outputs, expected: Expectations | MustRefuse) -> Evidence:
    """The arrays that a reader may want to see, all as float64."""
    arrays = {f"operand/{name}": oracle.to_float64(tensor) for name, tensor in job.operands.items()}
    arrays |= {f"cotangent/{name}": oracle.to_float64(tensor) for name, tensor in job.cotangents.items()}
    if isinstance(expected, MustRefuse):
        return arrays
    for check, wanted, got in (
        ("output", expected.outputs, answer.outputs),
        ("gradient", expected.gradients, answer.gradients),
    ):
        for name, expectation in wanted.items():
            tensor = got.get(name)
            arrays[f"{check}/{name}/expected"] = expectation.value
            arrays[f"{check}/{name}/bound"] = expectation.bound
            if isinstance(tensor, Tensor):
                arrays[f"{check}/{name}/got"] = oracle.to_float64(tensor)
                ratios = element_ratios(tensor, expectation, job.format)
                if ratios is not None:
                    arrays[f"{check}/{name}/ratio"] = ratios
    return arrays
