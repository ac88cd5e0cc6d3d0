"""A training that is killed goes on where it was, to the same bits."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from conformance.case.job import BuildNetwork, Stepped, Target, TellState, Tensor, TrainingState, TrainStep
from conformance.errors import InvalidData
from conformance.run.checkpoints import Checkpoint, Checkpoints
from conformance.run.course import Course, train_reference
from conformance.run.training import train_learner
from conformance.tests import learners
from conformance.tests.test_training import NORMALISED, SMALL, TARGET, InProcess, few_digits
from conformance.verdict.model import Outcome
from conformance.worker.gateway import Worker

FEW = replace(SMALL, judged_steps=2)


@pytest.fixture(scope="module")
def course():
    return Course(FEW, few_digits())


@pytest.fixture(scope="module")
def reference(course):
    return train_reference(course)


def kept_in(folder, course, every=0.0):
    return Checkpoints(folder, TARGET.name, course.training.id, (course.digest,), every=every)


class Killed(BaseException):
    """What no code along the way catches."""


def train(course, reference, learner, checkpoints=None, dies_after=None):
    """The result, the record, and what the learner held at its end."""

    def progress(who, step, steps):
        if step == dies_after:
            raise Killed

    description = learners.FakeBackend("cpu", ()).describe()
    result, record = train_learner(
        course, TARGET, description, learner, lambda: reference, checkpoints=checkpoints, progress=progress
    )
    learner.send(TellState())
    return result, record, learner.receive(1.0)


def same_course(one, other):
    result, record, state = one
    again, told, held = other
    timeless = ("seconds", "judge_seconds", "resumed_at")
    assert {k: v for k, v in record.items() if k not in timeless} == {
        k: v for k, v in told.items() if k not in timeless
    }
    assert result.comparisons == again.comparisons
    assert result.verdicts == again.verdicts
    assert (result.agrees_with, result.location, result.terms) == (again.agrees_with, again.location, again.terms)
    assert state.step == held.step
    assert state.tensors.keys() == held.tensors.keys()
    for name, tensor in state.tensors.items():
        assert tensor.data.tobytes() == held.tensors[name].data.tobytes(), name


@pytest.mark.parametrize("kind", [learners.HonestTrainer, learners.AveragesTwice])
@pytest.mark.parametrize("step", [4, 5, 6])
def test_a_training_that_is_killed_goes_on_to_the_same_bits(course, reference, tmp_path, kind, step):
    whole = train(course, reference, InProcess(kind))
    checkpoints = kept_in(tmp_path, course)
    with pytest.raises(Killed):
        train(course, reference, InProcess(kind), checkpoints, dies_after=step)
    found = checkpoints.load()
    assert found.step == step - 1  # killed before it was kept
    again = train(course, reference, InProcess(kind), kept_in(tmp_path, course))
    same_course(whole, again)
    assert again[1]["resumed_at"] == [step - 1]
    assert whole[1]["resumed_at"] == []
    assert checkpoints.load() is None  # the end leaves nothing behind


def test_a_training_may_be_killed_again_and_again(course, reference, tmp_path):
    whole = train(course, reference, InProcess(learners.HonestTrainer))
    for step in (4, 6):
        with pytest.raises(Killed):
            train(course, reference, InProcess(learners.HonestTrainer), kept_in(tmp_path, course), dies_after=step)
    again = train(course, reference, InProcess(learners.HonestTrainer), kept_in(tmp_path, course))
    same_course(whole, again)
    assert again[1]["resumed_at"] == [3, 5]


def test_statistics_are_kept_too(tmp_path):
    course = Course(replace(NORMALISED, judged_steps=2), few_digits())
    reference = train_reference(course)
    whole = train(course, reference, InProcess(learners.GraphTrainer))
    with pytest.raises(Killed):
        train(course, reference, InProcess(learners.GraphTrainer), kept_in(tmp_path, course), dies_after=4)
    again = train(course, reference, InProcess(learners.GraphTrainer), kept_in(tmp_path, course))
    assert again[1]["resumed_at"] == [3]
    same_course(whole, again)


def test_steps_that_are_judged_are_made_in_one_go(course, reference, tmp_path):
    with pytest.raises(Killed):
        train(course, reference, InProcess(learners.HonestTrainer), kept_in(tmp_path, course), dies_after=2)
    assert kept_in(tmp_path, course).load() is None


def test_what_is_not_due_is_not_kept(course, reference, tmp_path):
    with pytest.raises(Killed):
        train(course, reference, InProcess(learners.HonestTrainer), kept_in(tmp_path, course, 3600.0), dies_after=5)
    assert kept_in(tmp_path, course).load() is None


KILLED = """
import os, signal
from pathlib import Path
from conformance.run.course import train_reference
from conformance.tests.test_checkpoints import FEW, Course, InProcess, few_digits, kept_in, learners, train_learner
from conformance.tests.test_training import TARGET

def progress(who, step, steps):
    if step == 5:
        os.kill(os.getpid(), signal.SIGKILL)

course = Course(FEW, few_digits())
train_learner(
    course, TARGET, learners.FakeBackend("cpu", ()).describe(), InProcess(learners.HonestTrainer),
    lambda: train_reference(course), checkpoints=kept_in(Path({folder!r}), course), progress=progress,
)
"""


def test_a_process_that_is_killed_leaves_a_whole_checkpoint(course, reference, tmp_path):
    code = KILLED.format(folder=str(tmp_path))
    ended = subprocess.run([sys.executable, "-c", code], check=False, timeout=120, capture_output=True)
    assert ended.returncode == -9, ended.stderr.decode()
    again = train(course, reference, InProcess(learners.HonestTrainer), kept_in(tmp_path, course))
    assert again[1]["resumed_at"] == [4]
    same_course(train(course, reference, InProcess(learners.HonestTrainer)), again)
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_worker_that_is_killed_is_followed_by_one_that_goes_on(course, reference, tmp_path):
    class DiesAtStep5(InProcess):
        def send(self, message):
            if isinstance(message, TrainStep) and self.backend._trainer.count == 4:
                raise Killed
            super().send(message)

    with pytest.raises(Killed):
        train(course, reference, DiesAtStep5(learners.HonestTrainer), kept_in(tmp_path, course))
    worker = Worker(TARGET, path="conformance.tests.learners:FakeBackend")
    try:
        worker.start()
        again = train(course, reference, worker, kept_in(tmp_path, course))
    finally:
        worker.close()
    assert again[1]["resumed_at"] == [4]
    same_course(train(course, reference, InProcess(learners.HonestTrainer)), again)


def test_the_reference_goes_on_where_it_was(course, reference, tmp_path):
    def progress(who, step, steps):
        assert (who, steps) == ("reference", 6)
        if step == 4:
            raise Killed

    with pytest.raises(Killed):
        train_reference(course, checkpoints=kept_in(tmp_path, course), progress=progress)
    assert kept_in(tmp_path, course).load().step == 3
    steps = []
    again = train_reference(
        course, checkpoints=kept_in(tmp_path, course), progress=lambda who, step, of: steps.append(step)
    )
    assert steps == [4, 5, 6]
    assert (again.losses, again.loss_bounds, again.accuracy) == (
        reference.losses,
        reference.loss_bounds,
        reference.accuracy,
    )


class ForgetsItsSlots(learners.HonestTrainer):
    def restore(self, state):
        super().restore(state)
        self.held["conv/w/m"] = learners.scaled(self.held["conv/w/m"], 0.0)


class CountsAnew(learners.HonestTrainer):
    def restore(self, state):
        super().restore(replace(state, step=0))


@pytest.mark.parametrize(
    ("kind", "detail"),
    [
        (ForgetsItsSlots, "taking up step 4: conv/w/m is not what was sent"),
        (CountsAnew, "taking up step 4: the step, 0, is not what was sent"),
    ],
)
def test_a_learner_that_does_not_take_up_what_was_sent_is_told(course, reference, tmp_path, kind, detail):
    with pytest.raises(Killed):
        train(course, reference, InProcess(kind), kept_in(tmp_path, course), dies_after=5)
    result, record, _ = train(course, reference, InProcess(kind), kept_in(tmp_path, course))
    assert result.verdicts["outputs"].outcome is Outcome.DIFFERS
    assert result.verdicts["outputs"].detail == detail
    assert record["accuracy"] is None


def a_checkpoint(folder, depends=("one",)):
    tensors = {"w": Tensor("float32", np.arange(6, dtype=np.float32).reshape(2, 3))}
    checkpoints = Checkpoints(folder, "torch", "training/mnist/adam", depends)
    checkpoints.save(Checkpoint(step=7, tensors=tensors, record={"losses": [0.1, float("nan")]}))
    return checkpoints


def test_a_checkpoint_comes_back_as_it_was(tmp_path):
    found = a_checkpoint(tmp_path).load()
    assert found.step == 7
    assert found.tensors["w"].data.tolist() == [[0, 1, 2], [3, 4, 5]]
    assert found.record == {"losses": [0.1, "nan"]}


def test_what_the_numbers_depend_on_names_the_checkpoint(tmp_path):
    assert a_checkpoint(tmp_path).path != a_checkpoint(tmp_path, ("another version",)).path
    assert Checkpoints(tmp_path, "torch", "training/mnist/adam", ("a third",)).load() is None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda data: data[:-1], "is not a whole safetensors file: its tensors take 24 bytes, 23 follow"),
        (lambda data: data[:-1] + b"\x01", "is no checkpoint of a training .its tensors are not those that were"),
        (lambda data: b"", "is not a whole safetensors file"),
        (lambda data: b"\x02" + bytes(7) + b"{}", "is no checkpoint of a training .it has no record.; delete it"),
    ],
)
def test_a_damaged_checkpoint_is_named(tmp_path, damage, message):
    checkpoints = a_checkpoint(tmp_path)
    checkpoints.path.write_bytes(damage(checkpoints.path.read_bytes()))
    with pytest.raises(InvalidData, match=message) as error:
        checkpoints.load()
    assert str(checkpoints.path) in str(error.value)


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("torch", marks=pytest.mark.torch),
        pytest.param("tf", marks=pytest.mark.tf),
        pytest.param("jax", marks=pytest.mark.jax),
    ],
)
@pytest.mark.parametrize("training", [SMALL, NORMALISED], ids=["adam", "statistics"])
def test_a_framework_takes_up_the_very_bits(backend, training):
    course = Course(training, few_digits())
    worker = Worker(Target(backend=backend))

    def ask(message):
        worker.send(message)
        return worker.receive(120.0)

    def steps(first, last):
        found = [ask(TrainStep(operands=course.operands(step), capture=False)) for step in range(first, last + 1)]
        assert all(isinstance(step, Stepped) for step in found), found
        return [step.loss for step in found]

    build = BuildNetwork(
        network=training.network,
        shapes=course.shapes,
        parameters=course.parameters,
        optimizer=training.optimizer,
        optimizer_attributes=training.optimizer_attributes,
    )
    try:
        worker.start()
        ask(build)
        steps(1, 2)
        middle = ask(TellState())
        losses, end = steps(3, 4), ask(TellState())
        ask(build)
        told = ask(middle)
        again, held = steps(3, 4), ask(TellState())
    finally:
        worker.close()
    assert isinstance(told, TrainingState)
    assert middle.tensors.keys() == told.tensors.keys()
    for name, tensor in middle.tensors.items():
        assert tensor.data.tobytes() == told.tensors[name].data.tobytes(), name
        assert end.tensors[name].data.tobytes() == held.tensors[name].data.tobytes(), name
    assert losses == again
    assert end.step == held.step == 4
