"""Asks one target, item by item, and judges every answer as it comes.

While the worker computes, the parent computes what it expects. A worker that dies costs one answer: the question is
asked once more without cotangents, and the next question finds a new process.
"""

import time
from collections.abc import Sequence
from copy import copy
from dataclasses import replace
from itertools import chain
from typing import Final

from conformance.case.inputs import digest
from conformance.case.job import (
    Answer,
    Crashed,
    Description,
    Failure,
    Job,
    Outputs,
    Refused,
    Target,
    Tensor,
    TimedOut,
    Unsupported,
)
from conformance.case.model import CHECKS, DataSet
from conformance.case.operators import OPERATORS, Chain, gradient_names, operators_of
from conformance.case.second import second_names
from conformance.formats import INTEGERS
from conformance.run.answered import Answered
from conformance.run.plan import REFERENCE, Item, question_of
from conformance.run.result import Evidence, Result
from conformance.run.script import script_of_the_worst
from conformance.verdict import oracle
from conformance.verdict.compare import element_ratios
from conformance.verdict.conventions import Fit, Probed, expected_here, fit
from conformance.verdict.deviations import Deviation, assess, is_absent, lacks_integers
from conformance.verdict.diagnosis import Diagnosis, Differing, diagnose
from conformance.verdict.free_running import FreeRun, free_run
from conformance.verdict.judge import Judgement, judge, merge, steadied
from conformance.verdict.model import Outcome
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.verdict.precision import explained
from conformance.verdict.second import expect_second
from conformance.verdict.tangents import expect_tangents, pushed
from conformance.verdict.terms import explain
from conformance.worker.gateway import Worker, costly

JOB_SECONDS: Final = 120.0
# A mode that compiles every question takes seconds for it on an idle machine, a minute where its C++ compiler waits
# for others' work; a network is a question of up to 182 layers, which JAX compiles as one function: so many times the
# usual time-out.
COSTLY_TIMES: Final = 5
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
        repeat: int = 1,
        path: str = "",
    ) -> None:
        """Starts the target's worker and lets it describe itself.

        Args:
            target: who is asked; `REFERENCE` is answered in this process.
            deviations: differences on file.
            timeout: seconds that one answer may take; more of a whole network, and where the target's mode is costly.
            repeat: how often a question is asked; every answer must have the bits of the first.
            path: the adapter as `module:Class`, looked up among the entry points if empty.

        Raises:
            TargetError: if the target cannot be used.
        """
        self.target = target
        self.deviations = deviations
        self._timeout = timeout
        self._repeat = repeat
        self.worker = None if target == REFERENCE else Worker(target, path)
        self.description = describe_reference() if self.worker is None else self.worker.start()
        declared = (*target.accumulators, *self.description.accumulators)
        self.description = replace(self.description, accumulators=declared)
        self._accumulators = Accumulators.from_description(self.description)

    def twin(self) -> "Session":
        """The same target with a worker of its own, which is started when it is first asked."""
        twin = copy(self)
        twin.worker = None if self.worker is None else Worker(self.target, self.worker.path)
        return twin

    def close(self) -> None:
        """Ends the worker, also while another thread waits for its answer."""
        if self.worker is not None:
            self.worker.close()

    def run(self, item: Item) -> Result:
        """Asks every data set of an item and draws its verdicts."""
        started = time.perf_counter()
        case = item.case
        judgements: list[Judgement] = []
        probed: list[Probed] = []
        differing: list[Differing] = []
        free_runs: list[FreeRun] = []
        evidence: dict[str, Evidence] = {}
        sums: dict[str, tuple[str, ...]] = {}
        asked_all: list[tuple[Answered, Judgement]] = []
        composed: list[tuple[str, ...]] = []
        calls: tuple[str, ...] = ()
        digests: list[str] = []
        seconds = 0.0
        for data in case.data:
            asked = self.ask(item, data)
            job, answer = asked.job, asked.answer
            judgement = judge(case, job, answer, asked.expected, exact=asked.exact)
            if isinstance(answer, Outputs):
                judgement = steadied(judgement, job, answer, asked.again)
            judgements.append(judgement)
            asked_all.append((asked, judgement))
            probed.append(Probed(job=job, answer=answer, exact=asked.exact))
            digests.append(digest(job.operands, job.cotangents))
            if isinstance(answer, (Outputs, Refused)):
                calls = answer.calls or calls
            if isinstance(answer, Outputs):
                seconds += answer.seconds
                composed.append(answer.composed)
                if _worth_keeping(item, judgement, job):
                    evidence[data] = _evidence(job, answer, asked.expected)
                    sums |= _sums(job, judgement)
                if isinstance(asked.expected, Expectations):
                    if isinstance(case.attributes, Chain) and self.worker is not None:
                        note = free_run(job, answer, self._accumulators)
                        free_runs += [note] if note is not None else []
                    differing.append(Differing(job=job, answer=answer, expected=asked.expected))
        found = fit(case, probed, self._accumulators) if case.readings else Fit(judgement=merge(judgements))
        whole = found.judgement
        diagnosis = Diagnosis()
        # Other readings tell of outputs and gradients, and of numbers that are rounded.
        if item.format not in INTEGERS and any(
            verdict.outcome is Outcome.DIFFERS for check, verdict in whole.verdicts.items() if check in CHECKS
        ):
            diagnosis = diagnose(differing, self._accumulators)
            if not case.readings:
                names = diagnosis.agrees_with
                whole = explained(whole, differing, self._accumulators, self.description, agrees_with=names)
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
                    operators_of(case.operator, case.attributes),
                    item.target,
                    item.format,
                    check,
                    verdict,
                    self.description,
                    self.deviations,
                    layout=item.layout,
                    may_lack=case.expect.error != "no" or bool(case.readings),
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
            agrees_with=diagnosis.agrees_with,
            location=diagnosis.location,
            terms=diagnosis.terms,
            sums=sums,
            composed=tuple(dict.fromkeys(chain.from_iterable(composed))) if composed else None,
            script="" if case.readings else script_of_the_worst(item, asked_all, self.description),
            free_run=max(free_runs, key=lambda note: note.ratio, default=None),
            readings=tuple(reading.name for reading in case.readings),
            reading=found.reading,
            evidence={f"{data}/{name}": array for data, arrays in evidence.items() for name, array in arrays.items()},
        )

    def ask(self, item: Item, data: DataSet) -> Answered:
        """Asks one data set of an item, and what the answer must be."""
        gradients = not is_absent(
            operators_of(item.case.operator, item.case.attributes), "gradients", self.description
        )
        tangents = item.tangents and self.description.forward_mode
        second = item.second and self.description.second_order
        asked = question_of(item, data, gradients=gradients, tangents=tangents, second=second)
        answer, expected = self._ask(asked.job, asked.sent)
        job = asked.job
        if job.tangents and not (isinstance(answer, Outputs) and answer.tangents):
            job = replace(job, tangents={})  # what fails as a whole tells nothing of its forward mode
        if job.directions and not (isinstance(answer, Outputs) and answer.second and _pulled(answer)):
            job = replace(job, directions={})  # nor of second derivatives; who refuses a gradient refuses those of it
        again: list[Answer] = []
        if isinstance(answer, Outputs) and self.worker is not None and not item.case.readings:
            again = [self._answer(asked.sent) for _ in range(self._repeat - 1)]
        if item.case.readings:
            probed = Probed(job=asked.job, answer=answer, exact=asked.exact)
            expected = expected_here(item.case, probed, self._accumulators)
        return Answered(job=job, answer=answer, expected=expected, exact=asked.exact, again=tuple(again))

    def ask_job(self, job: Job) -> Answered:
        """Asks a job that may stand for no case, and what the answer must be."""
        answer, expected = self._ask(job, job)
        return Answered(job=job, answer=answer, expected=expected, exact=True)

    def _ask(self, job: Job, sent: Job) -> tuple[Answer, Expectations | MustRefuse]:
        """One answer to what is sent, and what it should be; asked again without cotangents where it failed."""
        lacking = _lacking(job, self.description)
        if lacking or self.worker is None:
            answer: Answer = Unsupported(reason=lacking) if lacking else _referred(job)
            return answer, self._expect(job, answer)
        self.worker.send(sent)
        expected = None if job.operator == "chain" else self._expect_operator(job)
        answer = self._received(sent)
        if isinstance(expected, MustRefuse) and isinstance(answer, Outputs) and _has_indices(job):
            # Kernels that do not look where an index leads have read or written there: over whatever is asked next.
            self.worker.stop()
        return answer, expected if expected is not None else self._expect(job, answer)

    def _answer(self, sent: Job) -> Answer:
        assert self.worker is not None
        self.worker.send(sent)
        return self._received(sent)

    def _received(self, sent: Job) -> Answer:
        assert self.worker is not None
        answer: Answer = self.worker.receive(self._patience(sent))
        if (sent.cotangents or sent.tangents or sent.directions) and not isinstance(answer, (Outputs, Unsupported)):
            answer = self._ask_again(sent, answer)
        return answer

    def _ask_again(self, job: Job, first: Failure) -> Answer:
        assert self.worker is not None
        patience = self._patience(job)
        fewer = replace(job, directions={})
        if job.directions and isinstance(first, (Crashed, TimedOut)):
            without = self.worker.ask(fewer, patience)
            if isinstance(without, Outputs):
                return replace(without, second=dict.fromkeys(second_names(job.operator), first))
        if job.tangents and isinstance(first, (Crashed, TimedOut)):
            without = self.worker.ask(replace(fewer, tangents={}), patience)
            if isinstance(without, Outputs):
                return replace(without, tangents=dict.fromkeys(OPERATORS[job.operator].outputs, first))
        second = self.worker.ask(replace(fewer, cotangents={}, tangents={}), patience)
        if not isinstance(second, Outputs):
            # Both failed: the graver of the two is the answer.
            grave = (Crashed, TimedOut)
            return second if isinstance(second, grave) and not isinstance(first, grave) else first
        names = gradient_names(job.operator, job.attributes, job.operands) if job.cotangents else ()
        return replace(second, gradients=dict.fromkeys(names, first))

    def _patience(self, job: Job) -> float:
        """How many seconds an answer may take."""
        network = isinstance(job.attributes, Chain) and job.attributes.network
        return self._timeout * (COSTLY_TIMES if network or costly(self.target) else 1)

    def _expect(self, job: Job, answer: Answer) -> Expectations | MustRefuse:
        if job.operator == "chain":
            captured = answer if isinstance(answer, Outputs) else Outputs(outputs={})
            return oracle.expect_chain(job, captured, self._accumulators)
        return self._expect_operator(job)

    def _expect_operator(self, job: Job) -> Expectations | MustRefuse:
        found = oracle.expect(job, self._accumulators)
        if isinstance(found, MustRefuse):
            return found
        return replace(
            found,
            tangents=expect_tangents(job, self._accumulators),
            second=expect_second(job, self._accumulators),
        )


def _has_indices(job: Job) -> bool:
    """Whether integers say where floating-point numbers are: places of maxima, labels."""
    return job.format not in INTEGERS and any(operand.format in INTEGERS for operand in job.operands.values())


def _referred(job: Job) -> Answer:
    """The reference's own answer."""
    answer = oracle.answer(job)
    return replace(answer, tangents=pushed(job)) if job.tangents and isinstance(answer, Outputs) else answer


def _pulled(answer: Outputs) -> bool:
    """Whether every gradient is there."""
    return all(isinstance(gradient, Tensor) for gradient in answer.gradients.values())


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
        integers=tuple(("*", name) for name in INTEGERS),
        forward_mode=True,
    )


def _lacking(job: Job, description: Description) -> str:
    """What of a job the backend does not have: an operator, or one of integers; empty if it has all."""
    operators = operators_of(job.operator, job.attributes)
    missing = [name for name in operators if name not in description.operators]
    if missing:
        return f"{description.backend} has no {', '.join(missing)}"
    if lacks_integers(operators, job.format, description):
        return f"{description.backend} has no {job.operator} of {job.format}"
    return ""


def _worth_keeping(item: Item, judgement: Judgement, job: Job) -> bool:
    elements = sum(tensor.data.size for tensor in (*job.operands.values(), *job.cotangents.values()))
    if any(verdict.outcome is not Outcome.AGREES for verdict in judgement.verdicts.values()):
        return elements <= KEPT_ELEMENTS
    return item.format == item.case.formats[0] and job.data != "wide" and elements <= SHOWN_ELEMENTS


def _sums(job: Job, judgement: Judgement) -> dict[str, tuple[str, ...]]:
    """The worst element of every array, term by term, where the operator is a sum of products."""
    told = {f"{c.data}/{c.check}/{c.name}": explain(job, c) for c in judgement.comparisons}
    return {name: lines for name, lines in told.items() if lines}


def _evidence(job: Job, answer: Outputs, expected: Expectations | MustRefuse) -> Evidence:
    """The arrays that a reader may want to see, all as float64."""
    operands, cotangents = oracle.in_float64(job)
    arrays = {f"operand/{name}": array for name, array in operands.items()}
    arrays |= {f"cotangent/{name}": array for name, array in cotangents.items()}
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
