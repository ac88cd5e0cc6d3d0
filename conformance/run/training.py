"""Trains one network on one target, judges its first steps tensor by tensor, and follows it to the end.

The teacher is forced: every layer is judged on what it was really given in that very step, every update on the
gradient, slots and parameters that it was really made from (an end-to-end bound would be valid and useless). Nothing
is fed back: what a step starts from must be what the step before left. The NumPy reference trains the same, in
float64, from the same initial parameters, batches and masks.

In mixed precision every layer is judged in the formats that the target declares for it (`oracle.expect_chain`);
parameters, slots and statistics are float32 from step to step, and an update is judged in float32 on the gradient
that was captured, in float32, behind the cast. The losses are held against a yardstick that has bfloat16's noise.
"""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np

from conformance.case.families.steps import Adam
from conformance.case.job import (
    BuildNetwork,
    Built,
    Description,
    Failure,
    Job,
    Outputs,
    Predict,
    Predicted,
    Stepped,
    Target,
    TellState,
    Tensor,
    TrainingAnswer,
    TrainingMessage,
    TrainingState,
    TrainStep,
)
from conformance.case.model import Case
from conformance.case.operators import INPUT, Chain, inference_chain, own_of
from conformance.case.training import Training, learned_layers
from conformance.run.checkpoints import Checkpoint, Checkpoints
from conformance.run.course import Course, ReferenceCourse, StepProgress, reference_course, unseen
from conformance.run.digits import read_digits
from conformance.run.engine import COSTLY_TIMES, Session
from conformance.run.result import Result
from conformance.run.store import CaseRecord, result_from_plain, result_to_plain
from conformance.run.yardstick import measure
from conformance.verdict import oracle
from conformance.verdict.compare import compare
from conformance.verdict.deviations import Deviation, assess
from conformance.verdict.diagnosis import Diagnosis, Differing, diagnose
from conformance.verdict.judge import Judgement, judge, merge
from conformance.verdict.model import Expectation, Outcome, Reason, Verdict
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.worker.gateway import costly

STEP_SECONDS: Final = 120.0
# Layers of a training are large, and one step of it is explained, once.
DIAGNOSIS_SECONDS: Final = 5.0


class Learner(Protocol):
    """Who is trained: a worker, which takes a message and later gives its answer."""

    def send(self, message: TrainingMessage) -> None:
        """Sends a message; its answer is fetched by `receive`."""

    def receive(self, timeout: float) -> TrainingAnswer:
        """The answer to the message sent last; a death or silence is an answer, too."""


def train(
    training: Training,
    session: Session,
    *,
    reports: Path | None = None,
    mnist: Path | None = None,
    progress: StepProgress = unseen,
) -> tuple[Result, Mapping[str, Any]]:
    """Trains on a session's target and judges it; whatever the target does, this returns.

    Args:
        training: what is trained.
        session: of any target but the reference, which everybody is compared with.
        reports: where the reference's own training is found, or kept for the next target, and where a long training
            leaves its checkpoint: a call that was killed goes on from there.
        mnist: the folder of the official files, instead of the training's own.
        progress: is told of every step.

    Returns:
        The result, and the record for `RunWriter.training`.

    Raises:
        InvalidData: if the digits, or a checkpoint, are not what they claim to be.
        TargetError: if the worker cannot be started again.
    """
    digits = read_digits(mnist or training.data, official=mnist is not None)
    course = Course(training, digits)
    if session.worker is None:
        raise ValueError("the reference is what others are compared with; it is not a target to be trained")
    checkpoints = None
    if reports is not None:
        depends = (course.digest, training.judged_steps, session.description, oracle.reference_digest())
        checkpoints = Checkpoints(reports, session.target.name, training.id, depends)

    def reference() -> ReferenceCourse:
        made = reference_course(course, reports, progress)
        formats = session.description.layer_formats
        return replace(made, stray_losses=course.stray_losses(formats)) if formats else made

    return train_learner(
        course,
        session.target,
        session.description,
        session.worker,
        reference,
        deviations=session.deviations,
        timeout=STEP_SECONDS * (COSTLY_TIMES if costly(session.target) else 1),
        checkpoints=checkpoints,
        progress=progress,
    )


def train_learner(
    course: Course,
    target: Target,
    description: Description,
    learner: Learner,
    reference: Callable[[], ReferenceCourse],
    *,
    deviations: Sequence[Deviation] = (),
    timeout: float = STEP_SECONDS,
    checkpoints: Checkpoints | None = None,
    progress: StepProgress = unseen,
) -> tuple[Result, Mapping[str, Any]]:
    """Trains one learner.

    While the worker makes a step, the parent judges the one before.

    Args:
        course: what everybody is given.
        target: who is trained.
        description: what it told of itself.
        learner: its worker.
        reference: gives how the reference fared; not asked where nothing was learned.
        deviations: differences on file.
        timeout: seconds that one answer may take.
        checkpoints: where a long training is kept on its way, and taken up from.
        progress: is told of every step.

    Raises:
        InvalidData: if a checkpoint is not what it claims to be.
    """
    started = time.perf_counter()
    lesson = _Lesson(course, target, description, learner, timeout, checkpoints, progress)
    failure = lesson.teach()
    judgements = [*lesson.judgements]
    if failure is not None:
        judgements.append(failure)
    elif course.training.accuracy is not None:
        judgements.append(_judge_accuracy(course.training.accuracy, lesson.accuracy))
    standard = reference() if lesson.losses else ReferenceCourse()
    record = {
        "id": course.training.id,
        "digest": course.digest,
        "target": target.name,
        "losses": lesson.losses,
        "reference_losses": standard.losses,
        "accuracy": lesson.accuracy,
        "reference_accuracy": standard.accuracy,
        "first_judged_difference": lesson.first_difference,
        "first_loss_outside_one_step_bound": _first_outside(lesson.losses, standard),
        "stray_losses": standard.stray_losses,
        "layer_formats": description.layer_formats,
        "drift": measure(lesson.losses, standard.losses, standard.stray_losses, standard.loss_bounds),
        "ratios": lesson.ratios,
        "network_text": lesson.text,
        "seconds": lesson.seconds,
        "judge_seconds": lesson.judge_seconds,
        "resumed_at": lesson.resumed_at,
    }
    result = lesson.result(judgements)
    assessments = {
        check: assess(course.training.id, ("training",), target, "float32", check, verdict, description, deviations)
        for check, verdict in result.verdicts.items()
    }
    result = replace(result, assessments=assessments, total_seconds=time.perf_counter() - started)
    if checkpoints is not None and failure is None:
        checkpoints.discard()
    return result, record


class _Lesson:
    """One training as it happens: what was measured until its end, or until the learner failed."""

    def __init__(
        self,
        course: Course,
        target: Target,
        description: Description,
        learner: Learner,
        timeout: float,
        checkpoints: Checkpoints | None,
        progress: StepProgress,
    ) -> None:
        self._course = course
        self._target = target
        self._accumulators = Accumulators.from_description(description)
        self._learner = learner
        self._timeout = timeout
        self._checkpoints = checkpoints
        self._progress = progress
        self._case = _as_case(course.training)
        network = inference_chain(course.training.network)
        self._logits = self._accumulators.of_layers(network, "float32")[network.layers[-1].name][1]
        # What the next step must start from: what was sent, and slots of zeros; then what the step before left.
        self._held = dict(course.parameters)
        if course.training.optimizer == "adam":
            for name in course.training.learned:
                tensor = course.parameters[name]
                zeros = Tensor("float32", np.zeros(tensor.shape, np.float32))
                self._held |= {f"{name}/m": zeros, f"{name}/v": zeros}
        self.judgements: list[Judgement] = []
        self.losses: list[float] = []
        self.ratios: dict[str, list[float]] = {}
        self.first_difference: int | None = None
        self.diagnosis = Diagnosis()
        self.accuracy: float | None = None
        self.text = ""
        self.seconds = 0.0
        self.judge_seconds = 0.0
        self.resumed_at: list[int] = []

    def teach(self) -> Judgement | None:
        """Trains to the end; the judgement of the failure that ended it early, if one did."""
        training = self._course.training
        build = BuildNetwork(
            network=training.network,
            shapes=self._course.shapes,
            parameters=self._course.parameters,
            optimizer=training.optimizer,
            optimizer_attributes=training.optimizer_attributes,
        )
        self._learner.send(build)
        answer = self._learner.receive(self._timeout)
        if not isinstance(answer, Built):
            return self._failed("building the network", answer)
        self.text = answer.text
        failure = self._take_up()
        if failure is not None:
            return failure
        waiting: tuple[int, dict[str, Tensor], Stepped] | None = None
        for step in range(len(self.losses) + 1, self._course.steps + 1):
            operands = self._course.operands(step)
            self._learner.send(TrainStep(operands=operands, capture=step <= training.judged_steps))
            if waiting is not None:
                self._judge(*waiting)
                waiting = None
            answer = self._learner.receive(self._timeout)
            if not isinstance(answer, Stepped):
                return self._failed(f"step {step}", answer)
            self.losses.append(answer.loss)
            self.seconds += answer.seconds
            if not math.isfinite(answer.loss):
                return self._lost(step, operands, answer)
            if step <= training.judged_steps:
                waiting = (step, operands, answer)
            self._progress(self._target.name, step, self._course.steps)
            if waiting is None and step < self._course.steps:
                failure = self._keep(step)
                if failure is not None:
                    return failure
        if waiting is not None:
            self._judge(*waiting)
        return self._examine()

    def result(self, judgements: Sequence[Judgement]) -> Result:
        """What came of it so far; nothing on file has been looked up."""
        whole = merge(judgements)
        return Result(
            case=self._course.training.id,
            operator="training",
            target=self._target.name,
            format="float32",
            layout="native",
            verdicts=whole.verdicts,
            assessments={},
            comparisons=whole.comparisons,
            calls=tuple(self.text.splitlines()),
            digest=self._course.digest,
            seconds=self.seconds,
            jobs=len(self.losses),
            agrees_with=self.diagnosis.agrees_with,
            location=self.diagnosis.location,
            terms=self.diagnosis.terms,
        )

    def _keep(self, step: int) -> Judgement | None:
        """Leaves a checkpoint behind a step, if one is due; every step that is judged lies before it."""
        if self._checkpoints is None or not self._checkpoints.due:
            return None
        self._learner.send(TellState())
        answer = self._learner.receive(self._timeout)
        if not isinstance(answer, TrainingState):
            return self._failed(f"telling the state after step {step}", answer)
        record = {
            "result": result_to_plain(self.result(self.judgements)),
            "losses": self.losses,
            "ratios": self.ratios,
            "first_difference": self.first_difference,
            "judge_seconds": self.judge_seconds,
            "resumed_at": self.resumed_at,
        }
        self._checkpoints.save(Checkpoint(step=step, tensors=answer.tensors, record=record))
        return None

    def _take_up(self) -> Judgement | None:
        """Goes on from the checkpoint, if there is one: what the learner then holds are its very bits."""
        found = None if self._checkpoints is None else self._checkpoints.load()
        if found is None:
            return None
        sent = TrainingState(step=found.step, tensors=found.tensors)
        self._learner.send(sent)
        answer = self._learner.receive(self._timeout)
        if not isinstance(answer, TrainingState):
            return self._failed(f"taking up step {found.step}", answer)
        lost = _first_unlike(sent, answer)
        if lost:
            detail = f"taking up step {found.step}: {lost} is not what was sent"
            return Judgement(
                verdicts={"outputs": Verdict(outcome=Outcome.DIFFERS, reason=Reason.VALUE, detail=detail)}
            )
        kept = result_from_plain(found.record["result"])
        self.judgements = [Judgement(comparisons=kept.comparisons, verdicts=kept.verdicts)]
        self.diagnosis = Diagnosis(agrees_with=kept.agrees_with, location=kept.location, terms=kept.terms)
        self.seconds = kept.seconds
        self.losses = [float(loss) for loss in found.record["losses"]]
        self.ratios = {name: [float(ratio) for ratio in row] for name, row in found.record["ratios"].items()}
        self.first_difference = found.record["first_difference"]
        self.judge_seconds = float(found.record["judge_seconds"])
        self.resumed_at = [*found.record["resumed_at"], found.step]
        return None

    def _lost(self, step: int, operands: Mapping[str, Tensor], stepped: Stepped) -> Judgement:
        """The judgement of a loss that is no number: the step, and the first layer and operand where one appears."""
        if not stepped.outputs:
            # Nothing was captured; what this step left shows at the start of the next one.
            self._learner.send(TrainStep(operands=operands, capture=True))
            answer = self._learner.receive(self._timeout)
            stepped = answer if isinstance(answer, Stepped) else stepped
        where = _first_lost(self._course.training.network, {**operands, **stepped.before}, stepped.outputs)
        detail = f"step {step}: the loss is {self.losses[-1]}" + (f"; {where}" if where else "")
        return Judgement(verdicts={"outputs": Verdict(outcome=Outcome.DIFFERS, reason=Reason.NAN, detail=detail)})

    def _examine(self) -> Judgement | None:
        right = count = 0
        for x, labels in self._course.test_batches():
            self._learner.send(Predict(x=x))
            answer = self._learner.receive(self._timeout)
            if not isinstance(answer, Predicted):
                return self._failed("predicting", answer)
            if answer.logits.shape[:1] != labels.shape or answer.logits.format != self._logits:
                refusal = f"gave logits {answer.logits.format} {answer.logits.shape} for {len(labels)} images"
                verdict = Verdict(outcome=Outcome.DIFFERS, reason=Reason.SHAPE, detail=f"predicting: {refusal}")
                return Judgement(verdicts={"outputs": verdict})
            right += self._course.right(oracle.to_float64(answer.logits), labels)
            count += len(labels)
        self.accuracy = right / count
        return None

    def _failed(self, when: str, answer: TrainingAnswer) -> Judgement:
        """The verdict of an answer that ends a training."""
        if isinstance(answer, (Built, Stepped, Predicted, TrainingState)):
            detail = f"{when}: an answer of the wrong kind came, {type(answer).__name__}"
            verdict = Verdict(outcome=Outcome.DIFFERS, reason=Reason.MISSING, detail=detail)
            return Judgement(verdicts={"outputs": verdict, "gradients": verdict})
        failure: Failure = answer
        found = judge(self._case, self._job({}), failure, Expectations(outputs={}, gradients={}), exact=False)
        return Judgement(
            verdicts={
                check: replace(verdict, detail=f"{when}: {verdict.detail}")
                for check, verdict in found.verdicts.items()
            }
        )

    def _job(self, operands: Mapping[str, Tensor], cotangents: Mapping[str, Tensor] | None = None) -> Job:
        one = {self._course.loss.name: Tensor("float32", np.ones((), np.float32))}
        return Job(
            case_id=self._case.id,
            operator="chain",
            attributes=self._course.training.network,
            format="float32",
            layout="native",
            data="given",
            operands=operands,
            cotangents=one if cotangents is None else cotangents,
        )

    def _judge(self, step: int, operands: Mapping[str, Tensor], stepped: Stepped) -> None:
        """Judges one step; afterwards the next one must start from what this one left."""
        started = time.perf_counter()
        found = [
            self._judge_start(step, stepped),
            self._judge_layers(step, operands, stepped),
            self._judge_updates(step, stepped),
        ]
        self._held = {name: stepped.after.get(name, tensor) for name, tensor in self._held.items()}
        self.judgements += found
        if self.first_difference is None and any(
            verdict.outcome is not Outcome.AGREES and verdict.outcome is not Outcome.INCONCLUSIVE
            for judgement in found
            for verdict in judgement.verdicts.values()
        ):
            self.first_difference = step
            self.diagnosis = self._diagnose(step, operands, stepped)
        for judgement in found:
            for comparison in judgement.comparisons:
                name = comparison.name.partition("/")[2]
                name = f"gradient {name}" if comparison.check == "gradients" else name
                self.ratios.setdefault(name, []).append(comparison.ratio)
        self.judge_seconds += time.perf_counter() - started

    def _judge_start(self, step: int, stepped: Stepped) -> Judgement:
        """Parameters and slots before a step are those that were left after the one before, bit by bit."""
        expected = {}
        for name, held in self._held.items():
            told = stepped.before.get(name)
            if told is None or told.format != held.format or told.data.tobytes() != held.data.tobytes():
                expected[f"step{step}/start {name}"] = _exactly(held)
        got = {f"step{step}/start {name}": tensor for name, tensor in stepped.before.items()}
        return judge(
            self._case,
            self._job({}, {}),
            Outputs(outputs=got),
            Expectations(outputs=expected, gradients={}),
            exact=False,
        )

    def _judge_layers(self, step: int, operands: Mapping[str, Tensor], stepped: Stepped) -> Judgement:
        """Every layer, forward and backward, on what it was given."""
        job, _, expected = self._asked_of_layers(operands, stepped)
        layers = {layer.name for layer in self._course.training.network.layers}

        def named(name: str) -> str:
            return f"step{step}/{name}/output" if name in layers else f"step{step}/{name}"

        if not isinstance(expected, MustRefuse):
            # Nobody asks for the gradients of the images, of what is constant, and of what is made of these alone.
            asked = learned_layers(self._course.training) | stepped.gradients.keys()
            expected = Expectations(
                outputs={named(name): expectation for name, expectation in expected.outputs.items()},
                gradients={named(name): wanted for name, wanted in expected.gradients.items() if name in asked},
            )
        renamed = Outputs(
            outputs={named(name): tensor for name, tensor in stepped.outputs.items()},
            gradients={named(name): tensor for name, tensor in stepped.gradients.items()},
        )
        return judge(self._case, job, renamed, expected, exact=False)

    def _asked_of_layers(
        self, operands: Mapping[str, Tensor], stepped: Stepped
    ) -> tuple[Job, Outputs, Expectations | MustRefuse]:
        """A step as a question to the chain of its layers, what came of it, and what should have."""
        parameters = {name: self._started_from(name, stepped) for name in self._course.parameters}
        job = self._job({**operands, **parameters})
        answer = Outputs(outputs=stepped.outputs, gradients=stepped.gradients)
        return job, answer, oracle.expect_chain(job, answer, self._accumulators)

    def _diagnose(self, step: int, operands: Mapping[str, Tensor], stepped: Stepped) -> Diagnosis:
        """What the layers, or else the updates, of the first step that differs are instead.

        Layers of mixed formats are no questions in one format, which variants answer: their place alone is told.
        """
        job, answer, expected = self._asked_of_layers(operands, stepped)
        asked = []
        if not self._accumulators.layer_formats and not isinstance(expected, MustRefuse):
            asked.append(Differing(job=job, answer=answer, expected=expected))
        updates = list(self._asked_of_updates(step, stepped).values())
        for differing, prefix in ((asked, f"step {step}: "), (updates, f"step {step}: update: ")):
            found = diagnose(differing, self._accumulators, seconds=DIAGNOSIS_SECONDS)
            if found.location:
                return Diagnosis(
                    agrees_with=tuple(f"{prefix}{name}" for name in found.agrees_with),
                    location=f"{prefix}{found.location}",
                    terms=found.terms,
                )
        return Diagnosis()

    def _judge_updates(self, step: int, stepped: Stepped) -> Judgement:
        """Every update, on the gradient, the slots and the parameter that it was made from."""
        expected = {
            f"step{step}/update {name if output == 'parameter' else f'{name}/{output}'}": expectation
            for name, asked in self._asked_of_updates(step, stepped).items()
            for output, expectation in asked.expected.outputs.items()
        }
        # What a layer gave as its statistics is what it keeps.
        learned = self._course.training.learned
        for name in self._course.parameters:
            if name not in learned and name in stepped.outputs:
                expected[f"step{step}/update {name}"] = _exactly(stepped.outputs[name])
        got = {f"step{step}/update {name}": tensor for name, tensor in stepped.after.items()}
        return judge(
            self._case,
            self._job({}, {}),
            Outputs(outputs=got),
            Expectations(outputs=expected, gradients={}),
            exact=False,
        )

    def _asked_of_updates(self, step: int, stepped: Stepped) -> dict[str, Differing]:
        """The updates of a step as questions of their own, by parameter."""
        training = self._course.training
        attributes = training.optimizer_attributes
        if isinstance(attributes, Adam):
            attributes = replace(attributes, step=step)
        asked = {}
        for name in training.learned:
            parameter = self._course.parameters[name]
            gradient = stepped.gradients.get(name)
            if gradient is None or gradient.shape != parameter.shape or gradient.format != "float32":
                continue  # its absence is told where the layers are judged
            given = {"parameter": self._started_from(name, stepped), "gradient": gradient}
            if training.optimizer == "adam":
                given |= {slot: self._started_from(f"{name}/{slot}", stepped) for slot in ("m", "v")}
            job = replace(self._job(given, {}), operator=training.optimizer, attributes=attributes)
            expected = oracle.expect(job, self._accumulators)
            assert isinstance(expected, Expectations)  # every operand has the parameter's shape
            left = {
                output: stepped.after[whole]
                for output in expected.outputs
                if (whole := name if output == "parameter" else f"{name}/{output}") in stepped.after
            }
            asked[name] = Differing(job=job, answer=Outputs(outputs=left), expected=expected)
        return asked

    def _started_from(self, name: str, stepped: Stepped) -> Tensor:
        """What a step tells that it started from; where it tells nothing usable, what it should have."""
        held = self._held[name]
        told = stepped.before.get(name, held)
        return told if (told.format, told.shape) == (held.format, held.shape) else held


def _first_lost(network: Chain, operands: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> str:
    """The first layer that is given, or gives, what is no finite number; empty if all are finite."""

    def lost(tensor: Tensor | None) -> bool:
        return tensor is not None and not np.isfinite(np.asarray(oracle.to_float64(tensor), np.float64)).all()

    for layer, takes in network.wired():
        given = {name: operands.get(source) for name, source in takes.items() if source == INPUT}
        given |= own_of(layer, operands)
        for name, tensor in given.items():
            if lost(tensor):
                return f"layer {layer.name} ({layer.operator}) is given it by its operand {name}"
        if lost(outputs.get(layer.name)):
            return f"layer {layer.name} ({layer.operator}) gives it, of operands that are finite: {', '.join(takes)}"
    return ""


def _first_unlike(sent: TrainingState, told: TrainingState) -> str:
    """The first tensor that was not taken as it was sent; empty if all were."""
    if told.step != sent.step:
        return f"the step, {told.step},"
    for name in sorted(sent.tensors.keys() | told.tensors.keys()):
        one, other = sent.tensors.get(name), told.tensors.get(name)
        if one is None or other is None or _bits(one) != _bits(other):
            return name
    return ""


def _bits(tensor: Tensor) -> tuple[str, tuple[int, ...], bytes]:
    return tensor.format, tensor.shape, tensor.data.tobytes()


def training_record(training: Training) -> CaseRecord:
    """What a run keeps of a training."""
    return CaseRecord(
        id=training.id,
        operator="training",
        about=training.about,
        source=training.source,
        tier=training.tier,
        yaml=training.text,
        shapes={name: parameter.shape for name, parameter in training.parameters.items()},
        attributes={training.optimizer: asdict(training.optimizer_attributes), "batch": training.batch},
    )


def _as_case(training: Training) -> Case:
    """The training as the judge knows questions: it states nothing beside the reference."""
    return Case(
        id=training.id,
        operator="chain",
        attributes=training.network,
        inputs={},
        formats=("float32",),
        about=training.about,
        source=training.source,
        where=training.where,
    )


def _exactly(tensor: Tensor) -> Expectation:
    value = oracle.to_float64(tensor)
    return Expectation(value=value, size=np.zeros(value.shape), scale=np.abs(value))


def _judge_accuracy(floor: float, accuracy: float | None) -> Judgement:
    if accuracy is None or accuracy >= floor:
        return Judgement(verdicts={})
    detail = f"test accuracy {accuracy:.4f} is below the floor of {floor:.4f}"
    return Judgement(verdicts={"outputs": Verdict(outcome=Outcome.DIFFERS, reason=Reason.ACCURACY, detail=detail)})


def _first_outside(losses: Sequence[float], reference: ReferenceCourse) -> int | None:
    """The first step whose loss is off by more than one honest step may be: from there on the paths differ."""
    for step, (got, value, bound) in enumerate(
        zip(losses, reference.losses, reference.loss_bounds, strict=False), start=1
    ):
        expectation = Expectation(value=np.array(value), size=np.array(bound), scale=np.array(abs(value)))
        tensor = Tensor("float32", np.array(got, dtype=np.float32))
        if not compare("loss", "outputs", "given", tensor, expectation, "float32").within:
            return step
    return None
