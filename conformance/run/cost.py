"""What a verdict costs: reference, bound and comparison beside the reference's own forward and gradients.

Measured over layers of published networks at full size, in float32 on normal numbers, by the time of this thread's
own work. Each is taken a few times, and the shortest counts: what else a machine does only adds to it.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from conformance.case.job import Job, Outputs, Tensor
from conformance.case.model import Case, DataSet
from conformance.case.operators import OPERATORS, Chain
from conformance.run.mutate import item_of
from conformance.run.plan import question_of
from conformance.verdict import oracle
from conformance.verdict.compare import compare
from conformance.verdict.oracle import Accumulators, Expectations

# What a verdict may cost, in times of the reference alone.
AT_MOST: Final = 2.5
# Whose layers stand for real sizes: a small network, an ordinary and a separable one.
NETWORKS: Final = ("lenet-5", "resnet-50", "mobilenet-v2")
TURNS: Final = 3
_DATA: Final[DataSet] = "normal"
_PLAIN: Final = Accumulators()


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the verdicts over some cases cost.

    Attributes:
        name: what the cases have in common.
        questions: how many were measured.
        reference: seconds of the reference's forward and gradients.
        verdict: seconds of reference, bound and comparison together.
    """

    name: str
    questions: int
    reference: float
    verdict: float

    @property
    def times(self) -> float:
        """The second in times of the first."""
        return self.verdict / self.reference

    def plain(self) -> dict[str, Any]:
        """Plain values, for JSON: `name`, `questions`, `reference` and `verdict` in seconds, `times`."""
        return {**asdict(self), "times": self.times}


def cost(name: str, cases: Sequence[Case], *, turns: int = TURNS) -> Cost:
    """Measures the cases that have an answer, but for chains and what draws its own numbers."""
    taken = [_shortest(job, answer, turns) for job, answer in _questions(cases)]
    return Cost(
        name=name,
        questions=len(taken),
        reference=sum(reference for reference, _ in taken),
        verdict=sum(verdict for _, verdict in taken),
    )


def _questions(cases: Sequence[Case]) -> Iterator[tuple[Job, Outputs]]:
    for case in cases:
        if isinstance(case.attributes, Chain) or OPERATORS[case.operator].random or case.readings:
            continue
        job = question_of(item_of(case), _DATA if _DATA in case.data else case.data[0]).job
        answer = oracle.answer(job)
        if isinstance(answer, Outputs):
            yield job, answer


def _shortest(job: Job, answer: Outputs, turns: int) -> tuple[float, float]:
    def alone() -> None:
        oracle.values(job)

    def judged() -> None:
        expected = oracle.expect(job, _PLAIN)
        assert isinstance(expected, Expectations)
        arrays = {**answer.outputs, **answer.gradients}
        for name, expectation in {**expected.outputs, **expected.gradients}.items():
            tensor = arrays[name]
            assert isinstance(tensor, Tensor)
            compare(name, "outputs", job.data, tensor, expectation, job.format)

    judged()  # compiles, and finds what is kept
    return min(_taken(alone) for _ in range(turns)), min(_taken(judged) for _ in range(turns))


def _taken(work: Callable[[], None]) -> float:
    started = time.thread_time()
    work()
    return time.thread_time() - started
