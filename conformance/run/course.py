"""What everybody in a training is given, and how the NumPy reference fared with it.

The reference trains in float64, from the same float32 parameters, batches and masks as every backend.
"""

import hashlib
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.contract import NoAttributes
from conformance.case.families.steps import Adam
from conformance.case.inputs import Words, draw_words, literal_values, normal, uniform
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.model import FormatName, Shape
from conformance.case.operators import INPUT, OPERATORS, Layer, inference_chain, own_of
from conformance.case.training import IMAGE, Training, given_shapes, losses_of
from conformance.errors import InvalidStore
from conformance.formats import FORMATS, Float64, to_storage
from conformance.run.checkpoints import Checkpoint, Checkpoints
from conformance.run.digits import Bytes, Digits
from conformance.run.engine import describe_reference
from conformance.run.plan import REFERENCE
from conformance.run.store import RunWriter, folder_name, read_run
from conformance.run.yardstick import stray_losses
from conformance.verdict import oracle
from conformance.verdict.oracle import Accumulators

FLOAT32: Final = FORMATS["float32"]
# Is told of every step: who made it, which one, of how many.
StepProgress = Callable[[str, int, int], None]
# What a Philox stream is for: initial numbers take this many words an element.
_WORDS_FOR_NORMAL: Final = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferenceCourse:
    """How the reference fared.

    Attributes:
        losses: of every step.
        loss_bounds: how far the loss of one honest float32 step may be off, given the reference's logits.
        stray_losses: of its first steps, as an honest framework in float32 may have made them; see `yardstick`.
        accuracy: on the test images.
        seconds: what it took; 0 where it was found among the reports.
    """

    losses: tuple[float, ...] = ()
    loss_bounds: tuple[float, ...] = ()
    stray_losses: tuple[float, ...] = ()
    accuracy: float | None = None
    seconds: float = 0.0


def unseen(who: str, step: int, steps: int) -> None:
    """Shows no progress."""


class Course:
    """What everybody in a training is given: the same parameters, batches and masks, on every machine."""

    def __init__(self, training: Training, digits: Digits) -> None:
        self.training = training
        seen = training.tested or len(digits.test_labels)
        self.digits = replace(digits, test_images=digits.test_images[:seen], test_labels=digits.test_labels[:seen])
        self._seed = training.seed.encode()
        self.steps_an_epoch = len(digits.train_labels) // training.batch
        whole = training.epochs * self.steps_an_epoch
        self.steps = min(whole, training.most_steps or whole)
        self.loss = training.network.layers[-1]
        self.shapes = given_shapes(training)
        self._order = (0, np.zeros(0, dtype=np.int64))

    @cached_property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that name these very numbers."""
        t = self.training
        asked = (t.network, sorted(t.parameters.items()), t.optimizer, t.optimizer_attributes, t.batch, t.epochs)
        text = repr((*asked, t.seed, t.predict_relu, self.digits.digest))
        text += f" {t.most_steps}" if t.most_steps else ""
        text += f" {t.tested}" if t.tested else ""
        text += f" {t.image}" if t.image != IMAGE else ""
        text += f" {sorted(t.constants.items())}" if t.constants else ""
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    @cached_property
    def parameters(self) -> dict[str, Tensor]:
        """The initial parameters, rounded to float32."""
        made = {}
        for name, parameter in self.training.parameters.items():
            size = int(np.prod(parameter.shape))
            values: Float64 = np.zeros(parameter.shape)
            if parameter.initializer == "ones":
                values = np.ones(parameter.shape)
            elif parameter.initializer == "normal":
                values = normal(self._words(f"parameter {name}", _WORDS_FOR_NORMAL * size)).reshape(parameter.shape)
            elif parameter.initializer == "glorot_uniform":
                u = uniform(self._words(f"parameter {name}", size)).reshape(parameter.shape)
                answer = _ask_reference("glorot_uniform", NoAttributes(), {"u": Tensor("float64", u)})
                values = oracle.to_float64(answer.outputs["output"])
            made[name] = Tensor("float32", to_storage(values, FLOAT32))
        return made

    def operands(self, step: int) -> dict[str, Tensor]:
        """The batch, its labels and the masks of a step, which counts from 1."""
        epoch, place = divmod(step - 1, self.steps_an_epoch)
        if self._order[0] != epoch + 1:
            self._order = (epoch + 1, self.shuffled(epoch + 1))
        chosen = self._order[1][place * self.training.batch : (place + 1) * self.training.batch]
        labels = Tensor("int64", self.digits.train_labels[chosen].astype(np.int64))
        made = {INPUT: self._seen(self.digits.train_images[chosen]), **self.constants}
        for layer in self.training.network.layers:
            for operand in OPERATORS[layer.operator].operands:
                if operand.kind == "integer":
                    made[f"{layer.name}/{operand.name}"] = labels
                elif operand.kind == "mask":
                    made[f"{layer.name}/{operand.name}"] = self.mask(layer, step)
        return made

    @cached_property
    def constants(self) -> dict[str, Tensor]:
        """What stays as the network's file writes it."""
        written = self.training.constants.items()
        return {name: Tensor("float32", to_storage(literal_values(spec), FLOAT32)) for name, spec in written}

    def shuffled(self, epoch: int) -> NDArray[np.int64]:
        """The images' places in the order of an epoch, which counts from 1."""
        return np.argsort(self._words(f"epoch {epoch}", len(self.digits.train_labels)), kind="stable")

    def mask(self, layer: Layer, step: int) -> Tensor:
        """What a layer of dropout keeps at a step."""
        name = f"{layer.name}/mask"
        words = self._words(f"{name} step {step}", int(np.prod(self.shapes[name])))
        return Tensor("bool", (uniform(words) < layer.attributes.keep).reshape(self.shapes[name]))

    def stray_losses(self, layer_formats: tuple[tuple[str, str, str], ...] = ()) -> tuple[float, ...]:
        """The losses of a stray's first steps, see `yardstick`; in mixed precision, where layers have formats."""
        return stray_losses(self.training, self.parameters, self.operands, self.steps, layer_formats)

    def test_batches(self) -> Iterator[tuple[Tensor, Bytes]]:
        """Images and labels to test with, in batches of the training's size."""
        for start in range(0, len(self.digits.test_labels), self.training.batch):
            part = slice(start, start + self.training.batch)
            yield self._seen(self.digits.test_images[part]), self.digits.test_labels[part]

    def right(self, logits: Float64, labels: Bytes) -> int:
        """How many predictions are right."""
        shown = np.maximum(logits, 0.0) if self.training.predict_relu else logits
        return int((np.argmax(shown, axis=1) == labels).sum())

    def _seen(self, stored: Bytes) -> Tensor:
        return images(stored, self.training.image)

    def _words(self, name: str, count: int) -> Words:
        return draw_words(self._seed, name, count)


def images(stored: Bytes, shape: Shape = IMAGE) -> Tensor:
    """Grey levels 0 to 255 as float32 in 0 to 1: images of a shape, alike in every channel.

    A digit is as many times larger, by whole numbers, as the shape has room for, and stands in its middle.
    """
    *sides, channels = shape
    times = min(side // own for side, own in zip(sides, stored.shape[1:], strict=True))
    larger = stored.repeat(times, axis=1).repeat(times, axis=2)
    gaps = [side - own for side, own in zip(sides, larger.shape[1:], strict=True)]
    placed = np.pad(larger, ((0, 0), *((gap // 2, gap - gap // 2) for gap in gaps)))
    return Tensor("float32", to_storage(np.repeat(placed[..., None], channels, axis=-1) / 255.0, FLOAT32))


def reference_course(course: Course, folder: Path | None = None, progress: StepProgress = unseen) -> ReferenceCourse:
    """Trains the reference, or finds among the reports how it fared on the very same.

    Args:
        course: what everybody is given.
        folder: the reports; a fresh training leaves a run of the target `reference` there, and a long one its
            checkpoint on its way. None keeps nothing.
        progress: is told of every step.
    """
    code = oracle.reference_digest()
    found = None if folder is None else _find_course(course.digest, code, folder)
    if found is not None:
        return found
    checkpoints = None
    if folder is not None:
        checkpoints = Checkpoints(folder, REFERENCE.name, course.training.id, (course.digest, code, "float64"))
    made = train_reference(course, checkpoints=checkpoints, progress=progress)
    made = replace(made, stray_losses=course.stray_losses())
    if folder is not None:
        writer = RunWriter(folder, REFERENCE.name, describe_reference())
        writer.training(
            {
                "id": course.training.id,
                "digest": course.digest,
                "target": REFERENCE.name,
                "reference_digest": code,
                "losses": made.losses,
                "loss_bounds": made.loss_bounds,
                "stray_losses": made.stray_losses,
                "reference_losses": made.losses,
                "accuracy": made.accuracy,
                "reference_accuracy": made.accuracy,
                "first_judged_difference": None,
                "first_loss_outside_one_step_bound": None,
                "ratios": {},
                "network_text": "",
                "seconds": made.seconds,
                "judge_seconds": 0.0,
            }
        )
        writer.close(complete=True)
    if checkpoints is not None:
        checkpoints.discard()
    return made


def _find_course(digest: str, code: str, folder: Path) -> ReferenceCourse | None:
    for path in sorted((folder / folder_name(REFERENCE.name)).glob("*.jsonl"), reverse=True):
        try:
            run = read_run(path)
        except InvalidStore:
            continue
        for record in run.training:
            known = (record.get("digest"), record.get("reference_digest")) == (digest, code)
            if known and "stray_losses" in record:  # runs of earlier versions lack them
                return ReferenceCourse(
                    losses=tuple(map(float, record["losses"])),
                    loss_bounds=tuple(map(float, record["loss_bounds"])),
                    stray_losses=tuple(map(float, record["stray_losses"])),
                    accuracy=float(record["accuracy"]),
                    seconds=0.0,
                )
    return None


def train_reference(
    course: Course,
    format_name: FormatName = "float64",
    *,
    checkpoints: Checkpoints | None = None,
    progress: StepProgress = unseen,
) -> ReferenceCourse:
    """Trains the NumPy reference, from the float32 parameters that everybody starts from.

    Args:
        course: what everybody is given.
        format_name: what every layer, gradient and update is stored in. It computes in float64 in between: stored in
            float32, it is as near to itself in float64 as anybody in float32 may hope to be.
        checkpoints: where a long training is kept on its way, and taken up from.
        progress: is told of every step.
    """
    started = time.perf_counter()
    pupil = Pupil(course, format_name)
    found = None if checkpoints is None else checkpoints.load()
    if found is not None:
        pupil.restore(found)
        started -= float(found.record["seconds"])
    for step in range(pupil.step + 1, course.steps + 1):
        pupil.learn()
        progress(REFERENCE.name, step, course.steps)
        if checkpoints is not None and checkpoints.due:
            checkpoints.save(pupil.checkpoint(time.perf_counter() - started))
    return ReferenceCourse(
        losses=tuple(pupil.losses),
        loss_bounds=tuple(pupil.bounds),
        accuracy=pupil.examine(),
        seconds=time.perf_counter() - started,
    )


class Pupil:
    """The reference on its way through a course."""

    def __init__(self, course: Course, format_name: FormatName) -> None:
        self._course = course
        self._training = training = course.training
        self._format = format_name
        self._losses = losses_of(training.network)
        self.step = 0
        self.losses: list[float] = []
        self.bounds: list[float] = []
        self._held = {name: self._stored(oracle.to_float64(tensor)) for name, tensor in course.parameters.items()}
        for name in training.learned if training.optimizer == "adam" else ():
            self._held |= {
                f"{name}/{slot}": self._stored(np.zeros(course.parameters[name].shape)) for slot in ("m", "v")
            }

    def learn(self) -> None:
        """Makes one step."""
        course, training = self._course, self._training
        self.step += 1
        given = {name: self._given(tensor) for name, tensor in course.operands(self.step).items()}
        parameters = {name: self._held[name] for name in training.parameters}
        one = {course.loss.name: self._stored(np.ones(()))}
        answer = _ask_reference("chain", training.network, {**given, **parameters}, one, self._format)
        self.losses.append(float(oracle.to_float64(answer.outputs[course.loss.name])))
        self.bounds.append(self._honest({**given, **parameters, **answer.outputs}, answer))
        self._held |= {name: answer.outputs[name] for name in parameters if name in answer.outputs}
        attributes = training.optimizer_attributes
        if isinstance(attributes, Adam):
            attributes = replace(attributes, step=self.step)
        for name in training.learned:
            gradient = answer.gradients[name]
            assert isinstance(gradient, Tensor)
            slots = {slot: self._held[f"{name}/{slot}"] for slot in ("m", "v") if f"{name}/{slot}" in self._held}
            operands = {"parameter": self._held[name], "gradient": gradient, **slots}
            made = _ask_reference(training.optimizer, attributes, operands, format_name=self._format)
            self._held[name] = made.outputs["parameter"]
            self._held |= {f"{name}/{slot}": made.outputs[slot] for slot in slots}

    def _honest(self, held: Mapping[str, Tensor], answer: Outputs) -> float:
        """How far the loss of one honest float32 step may be off, given these logits.

        That of every loss, and of every sum and share of losses, counts as often as the whole grows with it.
        """
        bound = 0.0
        for layer, takes in self._training.network.wired():
            if layer.name not in self._losses:
                continue
            given = {name: held[source] for name, source in takes.items()} | own_of(layer, held)
            honest = oracle.expect_operator(
                layer.operator,
                layer.attributes,
                {name: _numbers(tensor) for name, tensor in given.items()},
                {},
                "float32",
                Accumulators(),
            )
            share = answer.gradients.get(layer.name)
            grows = abs(float(oracle.to_float64(share))) if isinstance(share, Tensor) else 1.0
            bound += grows * float(honest.outputs["output"].bound)
        return bound

    def examine(self) -> float:
        """The accuracy on the test images."""
        inference = inference_chain(self._training.network)
        parameters = {name: self._held[name] for name in self._training.parameters}
        right = 0
        for x, labels in self._course.test_batches():
            predicted = _ask_reference(
                "chain", inference, {"x": self._given(x), **parameters}, format_name=self._format
            )
            right += self._course.right(oracle.to_float64(predicted.outputs[inference.layers[-1].name]), labels)
        return right / len(self._course.digits.test_labels)

    def checkpoint(self, seconds: float) -> Checkpoint:
        """All that the next step starts from."""
        record = {"losses": self.losses, "loss_bounds": self.bounds, "seconds": seconds}
        return Checkpoint(step=self.step, tensors=self._held, record=record)

    def restore(self, found: Checkpoint) -> None:
        """Goes on from there."""
        self.step = found.step
        self.losses = [float(value) for value in found.record["losses"]]
        self.bounds = [float(value) for value in found.record["loss_bounds"]]
        self._held = dict(found.tensors)

    def _stored(self, values: Float64) -> Tensor:
        return Tensor(self._format, to_storage(values, FORMATS[self._format]))

    def _given(self, tensor: Tensor) -> Tensor:
        """What comes with a step, which is exact in either format; labels and masks stay as they are."""
        return self._stored(oracle.to_float64(tensor)) if tensor.format in FORMATS else tensor


def _numbers(tensor: Tensor) -> NDArray[Any]:
    """As the oracle takes them: in float64, integers as they are."""
    return oracle.to_float64(tensor) if tensor.format in FORMATS else tensor.data


def _ask_reference(
    operator: str,
    attributes: Any,
    operands: Mapping[str, Tensor],
    cotangents: Mapping[str, Tensor] | None = None,
    format_name: FormatName = "float64",
) -> Outputs:
    """The reference's answer, to a question that has one."""
    answer = oracle.answer(
        Job(
            case_id="training",
            operator=operator,
            attributes=attributes,
            format=format_name,
            layout="native",
            data="given",
            operands=operands,
            cotangents=cotangents or {},
        )
    )
    assert isinstance(answer, Outputs), answer
    return answer
