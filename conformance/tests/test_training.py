from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conformance.case.families.steps import Adam
from conformance.case.job import Target, TimedOut
from conformance.case.listing import default_root
from conformance.case.model import Where
from conformance.case.operators import OPERATORS, Chain, Layer
from conformance.case.training import Parameter, Training, load_trainings
from conformance.errors import InvalidCases
from conformance.run.course import Course, reference_course
from conformance.run.digits import Digits
from conformance.run.training import train_learner
from conformance.tests import learners
from conformance.verdict.model import Outcome, Reason
from conformance.worker.gateway import Worker
from conformance.worker.host import respond

TARGET = Target(backend="fake")
SHIPPED = default_root() / "training" / "mnist.yaml"


def layer(name, operator, **attributes):
    contract = OPERATORS[operator]
    return Layer(name=name, operator=operator, attributes=contract.resolve(contract.attributes(**attributes)))


SMALL = Training(
    id="training/small/one",
    about="",
    source="",
    network=Chain(
        layers=(
            layer("conv", "conv2d", padding="same", stride=(2, 2)),
            layer("relu", "relu"),
            layer("pool", "max_pool2d", window=(2, 2), padding="same"),
            layer("flatten", "flatten"),
            layer("dropout", "dropout", keep=0.75),
            layer("dense", "dense"),
            layer("loss", "softmax_cross_entropy"),
        )
    ),
    parameters={
        "conv/w": Parameter(shape=(3, 3, 1, 2), initializer="normal"),
        "dense/w": Parameter(shape=(98, 10), initializer="glorot_uniform"),
        "dense/b": Parameter(shape=(10,), initializer="zeros"),
    },
    optimizer="adam",
    optimizer_attributes=Adam(learning_rate=0.01),
    batch=10,
    epochs=2,
    judged_steps=4,
    data=Path(),
    seed="small",
    where=Where(Path("small.yaml"), 1, 1),
    text="",
)


def few_digits():
    random = np.random.default_rng(7)
    images = random.integers(0, 256, (35, 28, 28), dtype=np.uint8)
    labels = random.integers(0, 10, 35, dtype=np.uint8)
    return Digits(
        train_images=images, train_labels=labels, test_images=images[:15], test_labels=labels[:15], digest="few"
    )


@pytest.fixture(scope="module")
def course():
    return Course(SMALL, few_digits())


@pytest.fixture(scope="module")
def reference(course):
    return reference_course(course)


class InProcess:
    """A worker that is none: it answers at once."""

    def __init__(self, kind):
        self.backend = learners.FakeBackend("cpu", ())
        self.backend.kind = kind

    def send(self, message):
        self.answer = respond(self.backend, message)

    def receive(self, timeout):
        return self.answer


def train(course, reference, kind):
    description = learners.FakeBackend("cpu", ()).describe()
    return train_learner(course, TARGET, description, InProcess(kind), lambda: reference)


def wrong(result):
    """The comparisons that are outside, in order."""
    return [(c.check, c.name) for c in result.comparisons if not c.within]


def test_an_honest_learner_agrees_in_every_tensor(course, reference):
    result, record = train(course, reference, learners.HonestTrainer)
    assert {check: v.outcome for check, v in result.verdicts.items()} == {
        "outputs": Outcome.AGREES,
        "gradients": Outcome.AGREES,
    }
    assert not result.unexpected
    assert record["first_judged_difference"] is None
    assert len(record["losses"]) == 6  # two epochs of three whole batches
    assert record["losses"] == pytest.approx(reference.losses, rel=1e-4)
    assert record["accuracy"] == pytest.approx(record["reference_accuracy"], abs=0.07)
    names = {c.name for c in result.comparisons if c.name.startswith("step4/")}
    assert {"step4/conv/output", "step4/conv/w", "step4/update dense/w", "step4/update conv/w/v"} <= names
    assert len(record["ratios"]["gradient conv/w"]) == 4
    # 7 outputs, 6 gradients of layers, 3 of parameters, 9 updates, in each of the judged steps.
    assert len(result.comparisons) == 4 * 25


@pytest.mark.parametrize(
    ("kind", "check", "first", "step"),
    [
        (learners.AveragesTwice, "gradients", "step1/conv/w", 1),
        (learners.ForgetsBiasCorrection, "outputs", "step2/update conv/w", 2),
        (learners.FeedsBackOthers, "outputs", "step2/start dense/w", 2),
        (learners.SlightlyWrongGradient, "gradients", "step3/pool/output", 3),
        (learners.ReturnsFloat64, "gradients", "step1/dense/b", 1),
    ],
)
def test_a_faulty_learner_is_caught_with_layer_and_step(course, reference, kind, check, first, step):
    result, record = train(course, reference, kind)
    verdict = result.verdicts[check]
    assert verdict.outcome is Outcome.DIFFERS
    assert first in verdict.detail
    assert wrong(result)[0] == (check, first)
    assert record["first_judged_difference"] == step
    assert result.unexpected
    # Every other tensor is judged on what it was given, and is right; the bias correction is wrong for all
    # parameters.
    blamed = {name.partition("/")[2] for _, name in wrong(result)}
    if kind is learners.ForgetsBiasCorrection:
        assert blamed == {"update conv/w", "update dense/w", "update dense/b"}
    else:
        assert blamed == {first.partition("/")[2]}


@pytest.mark.parametrize(
    ("kind", "agrees_with", "location"),
    [
        (
            learners.AveragesTwice,
            "step 1: conv: weight gradient averaged over the batch",
            "step 1: layer conv: gradient of w on given data: every element differs, from [0, 0, 0, 0] on",
        ),
        (
            learners.NoBiasCorrection,
            "step 1: update: no bias correction",
            "step 1: update: parameter on given data: ",
        ),
        (learners.SlightlyWrongGradient, None, "step 3: layer flatten: gradient of x on given data: "),
        (learners.FeedsBackOthers, None, ""),
        (learners.LosesLayer, None, ""),
        (learners.HonestTrainer, None, ""),
    ],
)
def test_what_a_learner_does_instead_is_named(course, reference, kind, agrees_with, location):
    result, _ = train(course, reference, kind)
    assert result.location.startswith(location)
    assert bool(result.location) is bool(location)
    if agrees_with is None:
        assert result.agrees_with == ()
    else:
        assert agrees_with in result.agrees_with
        assert result.diagnosis.startswith("agrees with: step 1: ")


def test_the_terms_of_a_learner_s_worst_element_are_told(course, reference):
    result, _ = train(course, reference, learners.AveragesTwice)
    assert result.terms[0].startswith("gradient of w[")
    assert any("cotangent[" in line and "* x[" in line for line in result.terms)


def test_a_layer_that_is_not_told_is_missed(course, reference):
    result, record = train(course, reference, learners.LosesLayer)
    assert result.verdicts["outputs"].outcome is Outcome.DIFFERS
    assert result.verdicts["outputs"].reason is Reason.MISSING
    assert "step1/relu/output" in result.verdicts["outputs"].detail
    assert record["first_judged_difference"] == 1


def test_a_learner_that_tells_nothing_does_not_agree(course, reference):
    result, record = train(course, reference, learners.GivesNothing)
    assert result.verdicts["outputs"].outcome is Outcome.DIFFERS
    assert record["first_judged_difference"] == 1


def test_a_learner_that_raises_is_refused_at_its_step(course, reference):
    result, record = train(course, reference, learners.RaisesAtStep3)
    assert result.verdicts["outputs"].outcome is Outcome.REFUSED
    assert result.verdicts["outputs"].detail == "step 3: ArithmeticError: enough"
    assert len(record["losses"]) == 2
    assert record["accuracy"] is None
    assert record["first_judged_difference"] is None


def test_a_worker_that_dies_is_crashed_at_its_step(course, reference):
    worker = Worker(TARGET, path="conformance.tests.learners:DyingBackend")
    try:
        description = worker.start()
        result, record = train_learner(course, TARGET, description, worker, lambda: reference)
    finally:
        worker.close()
    assert {v.outcome for v in result.verdicts.values()} == {Outcome.CRASHED}
    assert result.verdicts["gradients"].detail.startswith("step 3: SIGKILL")
    assert len(record["losses"]) == 2


def test_a_worker_that_is_silent_is_timed_out(course, reference):
    class Silent(InProcess):
        def receive(self, timeout):
            return TimedOut(seconds=timeout)

    description = learners.FakeBackend("cpu", ()).describe()
    learner = Silent(learners.HonestTrainer)
    result, record = train_learner(course, TARGET, description, learner, lambda: pytest.fail("nothing was learned"))
    assert result.verdicts["outputs"].outcome is Outcome.TIMED_OUT
    assert "building the network" in result.verdicts["outputs"].detail
    assert record["losses"] == []


def test_an_accuracy_below_the_floor_differs(reference):
    demanding = Course(replace(SMALL, accuracy=1.0, predict_relu=True), few_digits())
    result, record = train(demanding, reference, learners.HonestTrainer)
    assert result.verdicts["outputs"].reason is Reason.ACCURACY
    assert result.verdicts["outputs"].outcome is Outcome.DIFFERS
    assert result.verdicts["gradients"].outcome is Outcome.AGREES
    assert record["first_judged_difference"] is None


def test_a_loss_that_leaves_the_reference_is_located(course, reference):
    moved = replace(reference, losses=(*reference.losses[:3], reference.losses[3] * 1.01, *reference.losses[4:]))
    bounds = replace(moved, loss_bounds=tuple(1e-3 for _ in moved.losses))
    _, record = train(course, bounds, learners.HonestTrainer)
    assert record["first_loss_outside_one_step_bound"] == 4


def test_everybody_is_given_the_same_whoever_asks_when(course):
    again = Course(SMALL, few_digits())
    assert again.digest == course.digest
    for step in (5, 1, 2):
        for name, tensor in again.operands(step).items():
            assert tensor.data.tobytes() == course.operands(step)[name].data.tobytes()
    seen = np.concatenate([course.operands(step)["loss/labels"].data for step in (1, 2, 3)])
    assert len(seen) == 30
    assert course.operands(1)["x"].data.tobytes() != course.operands(4)["x"].data.tobytes()
    assert 0.5 < course.operands(1)["dropout/mask"].data.mean() < 0.95
    assert Course(replace(SMALL, seed="other"), few_digits()).digest != course.digest


def test_the_reference_is_trained_once(course, reference, tmp_path):
    made = reference_course(course, tmp_path)
    assert made.losses == reference.losses
    assert made.seconds > 0
    found = reference_course(course, tmp_path)
    assert found.losses == made.losses
    assert found.loss_bounds == made.loss_bounds
    assert found.seconds == 0
    assert len(list(tmp_path.rglob("*.jsonl"))) == 1


def test_the_shipped_training_has_its_two_forms():
    printed, glorot = load_trainings([SHIPPED])
    assert printed.id == "training/mnist/as-printed"
    assert printed.accuracy is None
    assert printed.predict_relu
    assert printed.parameters["conv1/w"] == Parameter(shape=(3, 3, 1, 32), initializer="normal")
    assert printed.optimizer_attributes == Adam(learning_rate=0.01, epsilon_hat=True)
    assert glorot.id == "training/mnist/adam-0.001-glorot"
    assert glorot.accuracy == 0.85
    assert glorot.parameters["dense1/b"] == Parameter(shape=(256,), initializer="zeros")
    assert glorot.batch == 100
    assert glorot.judged_steps == 20


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("batch: 100", "bacth: 100", ":8:1: unknown key 'bacth'.*Did you mean 'batch'"),
        ("batch: 100", "batch: 0", ":8:8: batch must be an integer of at least 1, got 0"),
        ("normal,", "normel,", ":32:.*got 'normel'. Did you mean 'normal'"),
        ("{learning_rate: 0.001}", "{learning_rat: 0.001}", "unknown key 'learning_rat'.*'learning_rate'"),
        ("operator: relu}", "operator: rely}", "unknown operator 'rely'.*Did you mean 'relu'"),
        ("[3136, 256]", "[3137, 256]", r"layer 'dense1' \(dense\) given \(100, 3136\).*3137 inputs"),
        ("conv*/w", "cnv*/w", "'cnv[*]/w' matches no parameter"),
        ("data: mnist", "data: minst", "there is no folder"),
        (", inputs: {w: [3, 3, 1, 32]}", "", r"layer 'conv1' \(conv2d\) needs 'w'"),
        ("  - {name: loss, operator: softmax_cross_entropy}\n", "", "the last layer must be a loss, got dense"),
        ("- name: adam-0.001-glorot", "- name: as-printed", "the id 'training/mnist/as-printed' is taken by"),
    ],
)
def test_what_is_wrong_with_a_training_file_is_told_with_its_place(tmp_path, old, new, message):
    text = SHIPPED.read_text(encoding="utf-8")
    assert old in text
    (tmp_path / "mnist").mkdir()
    (tmp_path / "mnist.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InvalidCases, match=message):
        load_trainings([tmp_path])


# Layers that keep statistics, and losses that are no numbers --------------------------------------------------------

NORMALISED = replace(
    SMALL,
    id="training/small/normalised",
    network=Chain(
        layers=(
            layer("conv", "conv2d", padding="same", stride=(4, 4)),
            layer("norm", "batch_norm_training", epsilon=1e-3, momentum=0.9, bessel=True),
            layer("relu", "relu"),
            replace(layer("sum", "add"), takes=("relu", "conv")),
            layer("flatten", "flatten"),
            layer("dense", "dense"),
            layer("loss", "softmax_cross_entropy"),
        )
    ),
    parameters={
        "conv/w": Parameter(shape=(3, 3, 1, 2), initializer="normal"),
        "norm/mean": Parameter(shape=(2,), initializer="zeros"),
        "norm/variance": Parameter(shape=(2,), initializer="ones"),
        "norm/scale": Parameter(shape=(2,), initializer="ones"),
        "norm/offset": Parameter(shape=(2,), initializer="zeros"),
        "dense/w": Parameter(shape=(98, 10), initializer="glorot_uniform"),
    },
    judged_steps=3,
    most_steps=4,
)


@pytest.fixture(scope="module")
def normalised():
    return Course(NORMALISED, few_digits())


@pytest.fixture(scope="module")
def normalised_reference(normalised):
    return reference_course(normalised)


def test_statistics_go_from_step_to_step_and_are_judged(normalised, normalised_reference):
    assert NORMALISED.learned == ("conv/w", "norm/scale", "norm/offset", "dense/w")
    result, record = train(normalised, normalised_reference, learners.GraphTrainer)
    assert {check: v.outcome for check, v in result.verdicts.items()} == {
        "outputs": Outcome.AGREES,
        "gradients": Outcome.AGREES,
    }
    assert len(record["losses"]) == 4
    assert record["losses"] == pytest.approx(normalised_reference.losses, rel=1e-4)
    names = {c.name for c in result.comparisons}
    assert {"step3/norm/mean", "step3/norm/variance", "step3/update norm/variance", "step2/norm/scale"} <= names


def test_statistics_that_are_not_kept_are_named_at_their_step(normalised, normalised_reference):
    result, record = train(normalised, normalised_reference, learners.KeepsNoStatistics)
    assert wrong(result)[0] == ("outputs", "step1/update norm/mean")
    assert {name.partition("/")[2] for _, name in wrong(result)} == {"update norm/mean", "update norm/variance"}
    assert record["first_judged_difference"] == 1


def test_epsilon_inside_adam_s_root_is_named_at_its_step(normalised, normalised_reference):
    result, record = train(normalised, normalised_reference, learners.EpsilonInsideRoot)
    assert record["first_judged_difference"] == 2
    assert all(check == "outputs" and "/update " in name for check, name in wrong(result))
    assert "step 2: update: epsilon inside the root" in result.agrees_with


def blocks(count):
    """Residual blocks, each a convolution, a normalisation and the sum with what came in."""
    made, before = [], "stem"
    for n in range(1, count + 1):
        conv = replace(layer(f"block{n}.conv", "conv2d", padding="same"), takes=(before,))
        norm = layer(f"block{n}.norm", "batch_norm_training", epsilon=1e-5, momentum=0.9, bessel=True)
        made += [conv, norm, replace(layer(f"block{n}.sum", "add"), takes=(f"block{n}.norm", before))]
        before = f"block{n}.relu"
        made.append(layer(before, "relu"))
    return made


RESIDUAL = replace(
    NORMALISED,
    id="training/small/residual",
    network=Chain(
        layers=(
            layer("stem", "conv2d", padding="same", stride=(4, 4)),
            *blocks(4),
            layer("flatten", "flatten"),
            layer("dense", "dense"),
            layer("loss", "softmax_cross_entropy"),
        )
    ),
    parameters={
        "stem/w": Parameter(shape=(3, 3, 1, 2), initializer="glorot_uniform"),
        "dense/w": Parameter(shape=(98, 10), initializer="glorot_uniform"),
    }
    | {f"block{n}.conv/w": Parameter(shape=(3, 3, 2, 2), initializer="glorot_uniform") for n in range(1, 5)}
    | {
        f"block{n}.norm/{name}": Parameter(shape=(2,), initializer=initializer)
        for n in range(1, 5)
        for name, initializer in (("mean", "zeros"), ("variance", "ones"), ("scale", "ones"), ("offset", "zeros"))
    },
)


@pytest.mark.parametrize(
    ("kind", "first", "step", "named"),
    [
        (learners.LooseEpsilon, ("outputs", "step1/block3.norm/output"), 1, "step 1: block3.norm: "),
        (learners.WrongInTheFifthPlace, ("gradients", "step2/dense/w"), 2, "step 2: layer dense: "),
        (
            learners.EpsilonInsideRoot,
            ("outputs", "step2/update dense/w"),
            2,
            "step 2: update: epsilon inside the root",
        ),
        (learners.GraphTrainer, None, None, ""),
    ],
)
def test_a_fault_in_one_block_of_a_residual_network_is_named_there(kind, first, step, named):
    course = Course(RESIDUAL, few_digits())
    result, record = train(course, reference_course(course), kind)
    found = wrong(result)
    assert (found[0] if found else None) == first
    assert record["first_judged_difference"] == step
    told = (*result.agrees_with, result.location)
    assert any(text.startswith(named) for text in told), told
    if kind in (learners.LooseEpsilon, learners.WrongInTheFifthPlace):
        # Every other block is judged on what it was given, and is right; what a layer pulls back is called by the
        # one before it.
        block = first[1].partition("/")[2].partition(".")[0]
        assert {name.partition("/")[2].partition(".")[0] for _, name in found} == {block}


def test_a_loss_that_is_no_number_names_step_layer_and_operand(course, reference):
    result, record = train(course, reference, learners.LosesItsNumbers)
    verdict = result.verdicts["outputs"]
    assert verdict.outcome is Outcome.DIFFERS
    assert verdict.reason is Reason.NAN
    assert verdict.detail == "step 3: the loss is nan; layer conv (conv2d) is given it by its operand w"
    assert len(record["losses"]) == 3  # it ends there


def test_a_loss_that_is_no_number_is_looked_for_where_nothing_was_captured(reference):
    late = Course(replace(SMALL, judged_steps=1), few_digits())
    result, _ = train(late, reference, learners.LosesItsNumbers)
    assert result.verdicts["outputs"].detail.endswith("layer conv (conv2d) is given it by its operand w")


NAMED = """training: named
data: .
seed: named
batch: 10
network: {network}
forms:
- {{name: one, initializers: {{"*": zeros}}, optimizer: sgd, attributes: {{learning_rate: 0.1}}}}
"""
NETWORK = """network: small
input: [10, 28, 28, 1]
classes: 10
initializers: {"*": normal}
layers: [{operator: flatten}, {operator: dense, units: classes}, {operator: softmax_cross_entropy}]
forms: [{name: whole}, {name: predicting, mode: inference}]
"""


def test_a_training_takes_a_network_s_layers_and_shapes(tmp_path):
    (tmp_path / "net.yaml").write_text(NETWORK)
    (tmp_path / "named.yaml").write_text(NAMED.format(network="net.yaml#whole"))
    (found,) = load_trainings([tmp_path / "named.yaml"])
    assert found.network.network == "small"
    assert {name: p.shape for name, p in found.parameters.items()} == {"dense/w": (784, 10), "dense/b": (10,)}


@pytest.mark.parametrize(
    ("network", "message"),
    [
        ("net.yaml#hole", "5:10: net.yaml has no form 'hole'; it has whole, predicting. Did you mean 'whole'?"),
        ("net.yaml#predicting", "5:10: the last layer must be a loss, got dense"),
        ("other.yaml#whole", "5:10: other.yaml cannot be read: "),
    ],
)
def test_a_network_that_cannot_be_trained_is_told_with_its_place(network, message, tmp_path):
    (tmp_path / "net.yaml").write_text(NETWORK)
    (tmp_path / "named.yaml").write_text(NAMED.format(network=network))
    with pytest.raises(InvalidCases) as error:
        load_trainings([tmp_path / "named.yaml"])
    assert message in str(error.value.problems[0])
