"""How fast the network of two convolutions learns: the NumPy reference beside PyTorch in float64, and every backend.

The two that are held against each other take their steps in turn, so that whatever else the machine does meets both;
backends follow one by one, in float32, as they are trained. One thread each. A step is what it is in a free training:
forward, gradients, update, nothing captured or judged; of a framework, its own time in it. The median of a few steps
counts, after the first, which compiles.
"""

import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from conformance.case.job import BuildNetwork, Built, Stepped, Target, Tensor, TrainStep
from conformance.case.model import FormatName
from conformance.case.training import Training
from conformance.errors import TargetError
from conformance.formats import FORMATS, to_storage
from conformance.run.course import Course, Pupil
from conformance.run.digits import read_digits
from conformance.run.plan import REFERENCE
from conformance.verdict import oracle
from conformance.worker.gateway import Worker

TRAINING: Final = "training/mnist/adam-0.001-glorot"
RIVAL: Final = Target(backend="torch")
# What the reference must reach of PyTorch's speed in float64: slower, trainings of the full tier take days.
LEAST_SHARE: Final = 1 / 3
STEPS: Final = 5
ANSWER_SECONDS: Final = 600.0

# Makes a step, which counts from 1, and gives the seconds that it took.
Step = Callable[[int], float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Speed:
    """How fast one learns.

    Attributes:
        target: who.
        format: what parameters, layers and gradients are stored in.
        seconds: the median of one step; 0 if there was none.
        error: why there was none.
    """

    target: str
    format: FormatName
    seconds: float = 0.0
    error: str = ""

    @property
    def steps_a_second(self) -> float:
        """Its reciprocal."""
        return 1 / self.seconds if self.seconds else 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """What was measured.

    Attributes:
        training: whose network learns.
        batch: images a step.
        steps: so many were timed.
        speeds: the reference's first, then PyTorch's in float64, then the backends'.
    """

    training: str
    batch: int
    steps: int
    speeds: tuple[Speed, ...]

    @property
    def share(self) -> float | None:
        """The reference's speed as a share of PyTorch's in float64; None where that was not measured."""
        reference, rival = self.speeds[:2]
        return rival.seconds / reference.seconds if rival.seconds and reference.seconds else None

    @property
    def slow(self) -> bool:
        """Whether the reference is slower than it must be."""
        return self.share is not None and self.share < LEAST_SHARE

    def plain(self) -> dict[str, Any]:
        """Plain values, for JSON.

        Returns:
            `{"training": ID, "batch": IMAGES, "steps": TIMED, "speeds": [{"target", "format", "seconds",
            "steps_a_second"}], "share": REFERENCE / TORCH IN FLOAT64 | null, "least_share": 1/3}`; who could not be
            measured has an `error` instead of the two numbers.
        """
        return {
            "training": self.training,
            "batch": self.batch,
            "steps": self.steps,
            "speeds": [
                {"target": speed.target, "format": speed.format}
                | (
                    {"error": speed.error}
                    if speed.error
                    else {"seconds": speed.seconds, "steps_a_second": speed.steps_a_second}
                )
                for speed in self.speeds
            ],
            "share": self.share,
            "least_share": LEAST_SHARE,
        }


class NotMeasured(Exception):
    """Somebody who makes no step, and why."""


def bench(
    training: Training,
    targets: Sequence[Target],
    *,
    steps: int = STEPS,
    progress: Callable[[str], None] = lambda who: None,
) -> Bench:
    """Measures the reference, PyTorch in float64, and targets.

    Args:
        training: whose network learns.
        targets: who learns beside them, each in its own process.
        steps: so many are timed.
        progress: is told who is next.

    Raises:
        InvalidData: if the digits are not what they must be.
    """
    course = Course(training, read_digits(training.data))
    progress(f"{REFERENCE.name} and {RIVAL.name} in float64")
    speeds = [*_against(course, steps)]
    for target in targets:
        progress(target.name)
        speeds.append(_alone(course, target, steps))
    return Bench(training=training.id, batch=training.batch, steps=steps, speeds=tuple(speeds))


def in_turn(contestants: Sequence[Step], steps: int) -> list[float]:
    """The median seconds of each one's step; all of them make a step before one makes the next."""
    taken = [[contestant(step) for contestant in contestants] for step in range(1, steps + 2)]
    return [statistics.median(own) for own in zip(*taken[1:], strict=True)]


def _against(course: Course, steps: int) -> tuple[Speed, Speed]:
    """The reference and PyTorch in float64; without PyTorch, the reference alone."""
    pupil = Pupil(course, "float64")

    def learn(step: int) -> float:
        started = time.perf_counter()
        pupil.learn()
        return time.perf_counter() - started

    try:
        with _learner(course, RIVAL, "float64") as rival:
            reference, seconds = in_turn((learn, rival), steps)
            told = Speed(target=RIVAL.name, format="float64", seconds=seconds)
    except (NotMeasured, TargetError) as error:
        (reference,) = in_turn((learn,), steps)
        told = Speed(target=RIVAL.name, format="float64", error=str(error))
    return Speed(target=REFERENCE.name, format="float64", seconds=reference), told


def _alone(course: Course, target: Target, steps: int) -> Speed:
    try:
        with _learner(course, target, "float32") as learner:
            (seconds,) = in_turn((learner,), steps)
    except (NotMeasured, TargetError) as error:
        return Speed(target=target.name, format="float32", error=str(error))
    return Speed(target=target.name, format="float32", seconds=seconds)


@contextmanager
def _learner(course: Course, target: Target, format_name: FormatName) -> Iterator[Step]:
    """A target's network in its worker, ready to make steps.

    Raises:
        NotMeasured: if it builds no network, or makes no step.
        TargetError: if it cannot be used.
    """

    def stored(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
        return {
            name: Tensor(format_name, to_storage(oracle.to_float64(tensor), FORMATS[format_name]))
            if tensor.format in FORMATS
            else tensor
            for name, tensor in tensors.items()
        }

    def asked(message: Any, kind: type[Any]) -> Any:
        worker.send(message)
        answer = worker.receive(ANSWER_SECONDS)
        if not isinstance(answer, kind):
            raise NotMeasured(str(answer))
        return answer

    def learn(step: int) -> float:
        message = TrainStep(operands=stored(course.operands(step)), capture=False)
        seconds: float = asked(message, Stepped).seconds
        return seconds

    training = course.training
    worker = Worker(target)
    try:
        worker.start()
        build = BuildNetwork(
            network=training.network,
            shapes=course.shapes,
            parameters=stored(course.parameters),
            optimizer=training.optimizer,
            optimizer_attributes=training.optimizer_attributes,
        )
        asked(build, Built)
        yield learn
    finally:
        worker.close()
