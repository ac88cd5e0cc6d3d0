"""Training as a framework's users do it: its own initialisers, shuffling and dropout, with several seeds.

Nothing can be judged number by number; what is judged is how well the networks learn. The framework draws the initial
kernels, the masks and the order of the images, asked by ordinary questions; the reference draws its own from the
course's words. Their accuracies are two samples, compared by an equivalence test with the margin that the training
states, at its last epoch; and the median over the seeds must reach what the training says it reaches, when it says.
"""

import hashlib
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.case.job import (
    BuildNetwork,
    Built,
    Crashed,
    Description,
    Job,
    Outputs,
    Predict,
    Predicted,
    Refused,
    Stepped,
    Target,
    TellState,
    Tensor,
    TimedOut,
    TrainingState,
    TrainStep,
    Unsupported,
)
from conformance.case.model import Check
from conformance.case.operators import Layer
from conformance.case.training import Training
from conformance.run.checkpoints import Checkpoint, Checkpoints
from conformance.run.course import Course, Pupil, StepProgress, unseen
from conformance.run.digits import Digits, read_digits
from conformance.run.engine import Session
from conformance.run.plan import REFERENCE
from conformance.run.result import Result
from conformance.verdict import oracle
from conformance.verdict.deviations import Deviation, assess
from conformance.verdict.equivalence import Equivalence, compare_means
from conformance.verdict.model import Outcome, Reason, Verdict
from conformance.worker.gateway import Worker

ANSWER_SECONDS: Final = 120.0
# Masks of so many steps are drawn at once: a framework that compiles every question does so for each seed.
MASKS: Final = 50

# By epoch, the accuracy on the test images.
Accuracies = tuple[float, ...]


_FAILURES: Final[Mapping[type[Any], tuple[Outcome, Reason]]] = MappingProxyType(
    {
        Unsupported: (Outcome.UNSUPPORTED, Reason.NO_COUNTERPART),
        Refused: (Outcome.REFUSED, Reason.ERROR),
        Crashed: (Outcome.CRASHED, Reason.DEATH),
        TimedOut: (Outcome.TIMED_OUT, Reason.SILENCE),
    }
)


class NotLearned(Exception):
    """A framework that gave something else than was asked, and when."""

    def __init__(self, when: str, answer: object) -> None:
        outcome, reason = _FAILURES.get(type(answer), (Outcome.DIFFERS, Reason.MISSING))
        self.verdict = Verdict(outcome=outcome, reason=reason, detail=f"{when}: {answer}")
        super().__init__(self.verdict.detail)


class Drawn(Course):
    """A course whose random numbers a framework draws."""

    def __init__(self, training: Training, digits: Digits, ask: Callable[[Any], Any]) -> None:
        super().__init__(training, digits)
        self._ask = ask
        self._masks: dict[str, tuple[int, NDArray[np.bool_]]] = {}

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """The initial parameters, as the framework's own initialisers draw them."""
        made = {}
        for name, parameter in self.training.parameters.items():
            if parameter.initializer in ("zeros", "ones"):
                made[name] = Tensor("float32", np.full(parameter.shape, parameter.initializer == "ones", np.float32))
                continue
            law = Initialize(seed=self._seed_of(f"parameter {name}"))
            if parameter.initializer == "normal":
                law = replace(law, scheme="constant", distribution="normal", scale=1.0)
            made[name] = self._draw("initialize", law, "w", np.zeros(parameter.shape, np.float32))
        return made

    def shuffled(self, epoch: int) -> NDArray[np.int64]:
        """The images in the order of numbers that the framework draws."""
        law = Initialize(scheme="constant", distribution="uniform", scale=1.0, seed=self._seed_of(f"epoch {epoch}"))
        drawn = self._draw("initialize", law, "w", np.zeros(len(self.digits.train_labels), np.float32))
        return np.argsort(drawn.data, kind="stable")

    def mask(self, layer: Layer, step: int) -> Tensor:
        """What the framework's own dropout leaves of ones."""
        name = f"{layer.name}/mask"
        block, place = divmod(step - 1, MASKS)
        if self._masks.get(name, (None,))[0] != block:
            law = RandomDropout(rate=1 - layer.attributes.keep, seed=self._seed_of(f"{name} block {block}"))
            kept = self._draw("random_dropout", law, "x", np.ones((MASKS, *self.shapes[name]), np.float32))
            self._masks[name] = (block, kept.data != 0)
        return Tensor("bool", self._masks[name][1][place])

    def _seed_of(self, what: str) -> int:
        return int.from_bytes(hashlib.sha256(f"{self.training.seed} {what}".encode()).digest()[:4], "little") >> 1

    def _draw(self, operator: str, law: Any, operand: str, given: Any) -> Tensor:
        answer = self._ask(
            Job(
                case_id=self.training.id,
                operator=operator,
                attributes=law,
                format="float32",
                layout="native",
                data="given",
                operands={operand: Tensor("float32", given)},
            )
        )
        if not isinstance(answer, Outputs):
            raise NotLearned(f"drawing by {operator}", answer)
        return answer.outputs["output"]


def train_native(
    training: Training,
    session: Session,
    *,
    reports: Path | None = None,
    mnist: Path | None = None,
    progress: StepProgress = unseen,
) -> tuple[Result, Mapping[str, Any]]:
    """Trains with every seed on a session's target, and the reference likewise.

    Args:
        training: one that says how many seeds, and what they reach.
        session: of any target but the reference.
        reports: where what is measured on the way is kept: a call that was killed goes on from there.
        mnist: the folder of the official files, instead of the training's own.
        progress: is told of every step.

    Returns:
        The result, and the record for `RunWriter.training`. The reference's courses stay, for the next target.

    Raises:
        InvalidData: if the digits, or a checkpoint, are not what they claim to be.
    """
    digits = read_digits(mnist or training.data, official=mnist is not None)
    worker = session.worker
    if worker is None:
        raise ValueError("the reference is what others are compared with; it is not a target to be trained")

    def ask(message: Any) -> Any:
        return asked(worker, message)

    def kept(target: str, seed: str, depends: Any) -> Checkpoints | None:
        if reports is None:
            return None
        digest = (Course(training, digits).digest, seed, oracle.reference_digest(), depends)
        return Checkpoints(reports, target, f"{training.id}/{seed}", digest)

    started = time.perf_counter()
    mine = [kept(session.target.name, one.seed, session.description) for one in seeded(training)]
    got: list[Accuracies] = []
    failure: Verdict | None = None
    try:
        for one, checkpoints in zip(seeded(training), mine, strict=True):
            step = partial(progress, session.target.name)
            got.append(learn(Drawn(one, digits, ask), ask, checkpoints, step))
    except NotLearned as error:
        failure = error.verdict
    expected = [
        learn_reference(
            Course(one, digits),
            kept(REFERENCE.name, one.seed, "native"),
            partial(progress, REFERENCE.name),
        )
        for one in (seeded(training) if failure is None else ())
    ]
    for checkpoints in mine:
        if checkpoints is not None and failure is None:
            checkpoints.discard()
    return concluded(
        training,
        session.target,
        session.description,
        got,
        expected,
        failure,
        seconds=time.perf_counter() - started,
        deviations=session.deviations,
    )


def asked(worker: Worker, message: Any) -> Any:
    """One answer of a worker's, to a question or a message of a training."""
    worker.send(message)
    return worker.receive(ANSWER_SECONDS)


def seeded(training: Training) -> tuple[Training, ...]:
    """The training with every seed, each seen through all epochs."""
    assert training.native is not None
    return tuple(
        replace(training, seed=f"{training.seed} native {n}", most_steps=0)
        for n in range(1, training.native.seeds + 1)
    )


def learn(
    course: Course,
    ask: Callable[[Any], Any],
    checkpoints: Checkpoints | None = None,
    progress: Callable[[int, int], None] = lambda step, steps: None,
) -> Accuracies:
    """A framework's accuracies by epoch, in one course.

    A finished course leaves its checkpoint, too: whoever is killed at the third seed keeps the first two.

    Raises:
        NotLearned: if it gives something else than was asked.
        InvalidData: if a checkpoint is not what it claims to be.
    """
    training = course.training
    build = BuildNetwork(
        network=training.network,
        shapes=course.shapes,
        parameters=course.parameters,
        optimizer=training.optimizer,
        optimizer_attributes=training.optimizer_attributes,
    )
    _require(ask(build), Built, "building the network")
    found = None if checkpoints is None else checkpoints.load()
    accuracies: list[float] = []
    first = 1
    if found is not None:
        _require(ask(TrainingState(step=found.step, tensors=found.tensors)), TrainingState, "taking up")
        accuracies = [float(accuracy) for accuracy in found.record["accuracies"]]
        first = found.step + 1
    for step in range(first, course.steps + 1):
        stepped = _require(ask(TrainStep(operands=course.operands(step), capture=False)), Stepped, f"step {step}")
        if not np.isfinite(stepped.loss):
            raise NotLearned(f"step {step}", f"the loss is {stepped.loss}")
        if step % course.steps_an_epoch == 0:
            accuracies.append(_examined(course, ask))
        progress(step, course.steps)
        if checkpoints is not None and (checkpoints.due or step == course.steps):
            state = _require(ask(TellState()), TrainingState, "telling the state")
            checkpoints.save(Checkpoint(step=step, tensors=state.tensors, record={"accuracies": accuracies}))
    return tuple(accuracies)


def _examined(course: Course, ask: Callable[[Any], Any]) -> float:
    right = 0
    for x, labels in course.test_batches():
        predicted = _require(ask(Predict(x=x)), Predicted, "predicting")
        right += course.right(oracle.to_float64(predicted.logits), labels)
    return right / len(course.digits.test_labels)


def _require(answer: Any, kind: type[Any], when: str) -> Any:
    if not isinstance(answer, kind):
        raise NotLearned(when, answer)
    return answer


def learn_reference(
    course: Course,
    checkpoints: Checkpoints | None = None,
    progress: Callable[[int, int], None] = lambda step, steps: None,
) -> Accuracies:
    """The reference's accuracies by epoch, in one course; a finished one leaves its checkpoint, too."""
    pupil = Pupil(course, "float64")
    accuracies: list[float] = []
    found = None if checkpoints is None else checkpoints.load()
    if found is not None:
        pupil.restore(found)
        accuracies = [float(accuracy) for accuracy in found.record["accuracies"]]
    for step in range(pupil.step + 1, course.steps + 1):
        pupil.learn()
        if step % course.steps_an_epoch == 0:
            accuracies.append(pupil.examine())
        progress(step, course.steps)
        if checkpoints is not None and (checkpoints.due or step == course.steps):
            made = pupil.checkpoint(0.0)
            checkpoints.save(replace(made, record={**made.record, "accuracies": accuracies}))
    return tuple(accuracies)


def concluded(
    training: Training,
    target: Target,
    description: Description,
    got: Sequence[Accuracies],
    expected: Sequence[Accuracies],
    failure: Verdict | None = None,
    *,
    seconds: float = 0.0,
    deviations: Sequence[Deviation] = (),
) -> tuple[Result, Mapping[str, Any]]:
    """The verdict on a framework's accuracies, beside the reference's; and the record."""
    native = training.native
    assert native is not None
    name = f"{training.id}/native"
    equivalence: Equivalence | None = None
    verdict = failure
    if verdict is None:
        equivalence = compare_means([run[-1] for run in got], [run[-1] for run in expected], native.margin)
        verdict = _verdict(training, got, equivalence)
    check: Check = "outputs"
    result = Result(
        case=name,
        operator="training",
        target=target.name,
        format="float32",
        layout="native",
        verdicts={check: verdict},
        assessments={check: assess(name, ("training",), target, "float32", check, verdict, description, deviations)},
        total_seconds=seconds,
        jobs=len(got),
    )
    record = {
        "id": name,
        "target": target.name,
        "native": {"accuracies": got, "reference": expected, "equivalence": equivalence},
        "seconds": seconds,
    }
    return result, record


def _verdict(training: Training, got: Sequence[Accuracies], equivalence: Equivalence) -> Verdict:
    """What is not reached comes first; then whether the means are the same."""
    assert training.native is not None
    for reach in training.native.reaches:
        best = statistics.median(max(run[: reach.epoch]) for run in got)
        if best < reach.accuracy:
            detail = (
                f"the median of {len(got)} seeds is {best:.4f} by epoch {reach.epoch}, below {reach.accuracy:.4f}"
            )
            return Verdict(outcome=Outcome.DIFFERS, reason=Reason.ACCURACY, detail=detail)
    e = equivalence
    told = f"mean accuracy less the reference's: {e.difference:+.4f} in [{e.low:+.4f}, {e.high:+.4f}]"
    if e.standing == "equivalent":
        return Verdict(outcome=Outcome.AGREES, reason=Reason.WITHIN_BOUND, detail=f"{told}, within {e.margin:g}")
    if e.standing == "different":
        return Verdict(outcome=Outcome.DIFFERS, reason=Reason.ACCURACY, detail=f"{told}, outside {e.margin:g}")
    detail = f"{told}, which {e.margin:g} neither holds nor excludes: more seeds would tell"
    return Verdict(outcome=Outcome.INCONCLUSIVE, reason=Reason.ACCURACY, detail=detail)
