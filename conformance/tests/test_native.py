"""Native training: a framework draws for itself, and is judged by how well it learns."""

from dataclasses import replace

import numpy as np
import pytest

from conformance.case.families.sampling import RandomDropout
from conformance.case.families.steps import Adam
from conformance.case.job import Crashed, Job, Outputs, Target, Tensor
from conformance.case.training import Parameter, Reach, Seeded, load_trainings
from conformance.errors import InvalidCases
from conformance.report import training as page
from conformance.run.checkpoints import Checkpoints
from conformance.run.course import Course
from conformance.run.digits import Digits
from conformance.run.native import Drawn, NotLearned, concluded, learn, learn_reference, seeded
from conformance.run.store import to_plain
from conformance.tests import learners
from conformance.tests.test_training import SHIPPED, SMALL, InProcess
from conformance.verdict.model import Outcome, Reason
from conformance.worker.gateway import Worker

TARGET = Target(backend="fake")
ASKED = replace(
    SMALL,
    # Eight filters: of two, all may die, and what is learned is a matter of luck.
    parameters={
        "conv/w": Parameter(shape=(3, 3, 1, 8), initializer="normal"),
        "dense/w": Parameter(shape=(392, 10), initializer="glorot_uniform"),
        "dense/b": Parameter(shape=(10,), initializer="zeros"),
    },
    epochs=4,
    optimizer_attributes=Adam(learning_rate=0.02),
    native=Seeded(seeds=3, margin=0.2, reaches=(Reach(epoch=4, accuracy=0.5),)),
)


def learnable_digits():
    """Images whose class is the column that is bright, with some noise."""
    random = np.random.default_rng(11)
    labels = random.integers(0, 10, 90, dtype=np.uint8)
    images = random.integers(0, 20, (90, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        image[:, 2 + 2 * label : 4 + 2 * label] = 250
    return Digits(
        train_images=images[:60],
        train_labels=labels[:60],
        test_images=images[60:],
        test_labels=labels[60:],
        digest="learnable",
    )


DIGITS = learnable_digits()


def drawn_by_numpy(law, shape):
    random = np.random.default_rng(law.seed)
    if isinstance(law, RandomDropout):
        return (random.random(shape) >= law.rate) / (1 - law.rate)
    if law.scheme == "glorot":
        return random.uniform(-1, 1, shape) * np.sqrt(6 / (shape[-1] + shape[-2]))
    return law.scale * (random.uniform(-1, 1, shape) if law.distribution == "uniform" else random.normal(size=shape))


class Draws(InProcess):
    """A worker that trains as a fake does, and draws by NumPy."""

    def send(self, message):
        if isinstance(message, Job):
            drawn = drawn_by_numpy(message.attributes, next(iter(message.operands.values())).shape)
            self.answer = Outputs(outputs={"output": Tensor("float32", drawn.astype(np.float32))})
        else:
            super().send(message)

    def __call__(self, message):
        self.send(message)
        return self.receive(1.0)


class LearnsNothing(learners.HonestTrainer):
    def gradient(self, name, gradient):
        return learners.scaled(gradient, 0.0)


def accuracies(kind):
    ask = Draws(kind)
    return [learn(Drawn(one, DIGITS, ask), ask) for one in seeded(ASKED)]


@pytest.fixture(scope="module")
def expected():
    return [learn_reference(Course(one, DIGITS)) for one in seeded(ASKED)]


@pytest.fixture(scope="module")
def got():
    return accuracies(learners.HonestTrainer)


def verdict(got, expected, training=ASKED):
    result, record = concluded(training, TARGET, learners.FakeBackend("cpu", ()).describe(), got, expected)
    assert record["id"] == result.case == "training/small/one/native"
    return result.verdicts["outputs"], record["native"]


def test_an_honest_learner_is_equivalent(got, expected):
    assert [len(run) for run in got] == [len(run) for run in expected] == [4, 4, 4]
    assert len(set(got)) > 1  # seeds differ
    found, native = verdict(got, expected)
    assert found.outcome is Outcome.AGREES, found.detail
    assert native["equivalence"].standing == "equivalent"


def test_a_learner_that_learns_nothing_differs(expected):
    found, _ = verdict(accuracies(LearnsNothing), expected)
    assert found.outcome is Outcome.DIFFERS
    assert found.reason is Reason.ACCURACY
    assert found.detail.startswith("the median of 3 seeds is 0.")
    assert found.detail.endswith("by epoch 4, below 0.5000")


def test_without_a_floor_the_margin_alone_decides(expected):
    unasked = replace(ASKED, native=replace(ASKED.native, reaches=()))
    nothing, native = verdict(accuracies(LearnsNothing), expected, unasked)
    assert nothing.outcome is Outcome.DIFFERS
    assert native["equivalence"].standing == "different"
    scattered, _ = verdict([(0.2,), (1.0,), (0.9,)], expected, unasked)
    assert scattered.outcome is Outcome.INCONCLUSIVE
    assert scattered.detail.endswith("neither holds nor excludes: more seeds would tell")


def test_what_is_reached_is_the_best_so_far_of_the_median_seed():
    reach = replace(ASKED, native=Seeded(seeds=3, margin=0.3, reaches=(Reach(epoch=2, accuracy=0.9),)))
    expected = [(0.8, 0.9, 0.9), (0.8, 0.9, 0.91), (0.8, 0.9, 0.92)]
    assert verdict([(0.95, 0.5, 0.9), (0.1, 0.9, 0.9), (0.1, 0.1, 0.9)], expected, reach)[0].outcome is Outcome.AGREES
    late, _ = verdict([(0.95, 0.5, 0.9), (0.1, 0.89, 0.9), (0.1, 0.1, 0.9)], expected, reach)
    assert late.detail == "the median of 3 seeds is 0.8900 by epoch 2, below 0.9000"


def test_the_framework_draws_kernels_order_and_masks():
    ask = Draws(learners.HonestTrainer)
    one, again, other = (Drawn(each, DIGITS, ask) for each in (*seeded(ASKED)[:1] * 2, seeded(ASKED)[1]))
    for name in ("loss/labels", "dropout/mask", "x"):
        assert one.operands(7)[name].data.tobytes() == again.operands(7)[name].data.tobytes()
        assert one.operands(7)[name].data.tobytes() != other.operands(7)[name].data.tobytes()
        assert one.operands(7)[name].data.tobytes() != Course(one.training, DIGITS).operands(7)[name].data.tobytes()
    assert sorted(one.shuffled(2)) == list(range(60))
    assert one.operands(1)["dropout/mask"].format == "bool"
    assert 0.5 < one.operands(1)["dropout/mask"].data.mean() < 0.95
    w = one.parameters["dense/w"].data
    assert np.abs(w).max() <= np.sqrt(6 / 402)  # Glorot's interval of 392 and 10
    assert np.abs(w).max() > 0.9 * np.sqrt(6 / 402)
    assert one.parameters["conv/w"].data.std() > 0.5
    assert not one.parameters["dense/b"].data.any()


def test_what_cannot_be_drawn_ends_it():
    def dies(message):
        return Crashed(cause="SIGKILL", last_words="")

    with pytest.raises(NotLearned, match="drawing by initialize: ") as error:
        learn(Drawn(seeded(ASKED)[0], DIGITS, dies), dies)
    assert error.value.verdict.outcome is Outcome.CRASHED


def test_a_loss_that_is_no_number_ends_it_with_its_step():
    ask = Draws(learners.LosesItsNumbers)
    with pytest.raises(NotLearned, match="step 3: the loss is nan"):
        learn(Drawn(seeded(ASKED)[0], DIGITS, ask), ask)


class Killed(BaseException):
    pass


def test_a_native_training_goes_on_where_it_was(tmp_path, got, expected):
    one = seeded(ASKED)[0]

    def kept(name):
        return Checkpoints(tmp_path, name, one.id, (one.seed,), every=0.0)

    def dies(step, steps):
        if step == 9:
            raise Killed

    ask = Draws(learners.HonestTrainer)
    with pytest.raises(Killed):
        learn(Drawn(one, DIGITS, ask), ask, kept("fake"), dies)
    with pytest.raises(Killed):
        learn_reference(Course(one, DIGITS), kept("reference"), dies)
    steps = []
    ask = Draws(learners.HonestTrainer)
    assert learn(Drawn(one, DIGITS, ask), ask, kept("fake"), lambda step, of: steps.append(step)) == got[0]
    assert learn_reference(Course(one, DIGITS), kept("reference"), lambda step, of: steps.append(step)) == expected[0]
    assert steps == [*range(9, 25), *range(9, 25)]
    # A finished course is not made again.
    assert (
        learn_reference(Course(one, DIGITS), kept("reference"), lambda step, of: pytest.fail("made")) == expected[0]
    )


@pytest.mark.parametrize(
    "backend",
    [
        pytest.param("torch", marks=pytest.mark.torch),
        pytest.param("tf", marks=pytest.mark.tf),
        pytest.param("jax", marks=pytest.mark.jax),
    ],
)
def test_a_framework_trains_natively(backend, expected):
    worker = Worker(Target(backend=backend))

    def ask(message):
        worker.send(message)
        return worker.receive(120.0)

    try:
        worker.start()
        got = [learn(Drawn(one, DIGITS, ask), ask) for one in seeded(ASKED)]
    finally:
        worker.close()
    found, _ = verdict(got, expected)
    assert found.outcome is Outcome.AGREES, found.detail


def test_a_training_says_how_it_is_asked_natively(tmp_path):
    (full,) = load_trainings([SHIPPED.with_name("mnist-full.yaml")])
    assert full.native == Seeded(
        seeds=3, margin=0.003, reaches=(Reach(epoch=2, accuracy=0.985), Reach(epoch=5, accuracy=0.99))
    )
    assert (full.tier, full.official, full.epochs) == ("full", True, 5)


@pytest.mark.parametrize(
    ("native", "message"),
    [
        ("{seeds: 1, margin: 0.1}", "an integer of at least 2, got 1"),
        ("{seeds: 2, margin: 0}", "a number between 0 and 1, got 0"),
        ("{seeds: 2}", "margin"),
        ("{seeds: 2, margin: 0.1, reaches: [{epoch: 1, acuracy: 0.5}]}", "Did you mean 'accuracy'"),
    ],
)
def test_what_is_wrong_with_how_it_is_asked_is_told(tmp_path, native, message):
    text = SHIPPED.read_text(encoding="utf-8")
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist.yaml").write_text(
        text.replace("    accuracy: 0.85\n", f"    native: {native}\n"), encoding="utf-8"
    )
    with pytest.raises(InvalidCases, match=message):
        load_trainings([tmp_path])


def test_the_page_tells_accuracies_with_their_interval(got, expected):
    _, native = verdict(got, expected)
    trainings = {
        "training/small/one/native": {"fake": {"native": to_plain(native)}},
        "training/small/one": {"fake": {"losses": [1.0]}},
    }
    (row,) = page.seeded(trainings)
    assert (row.target, row.standing, row.margin, row.median) == ("fake", "equivalent", 0.2, 1.0)
    assert (row.low, row.difference, row.high) == (0.0, 0.0, 0.0)  # all learned all of it
    (form,) = page.forms(trainings, {"training/small/one": "One network."})
    assert (form.id, form.about) == ("training/small/one", "One network.")
