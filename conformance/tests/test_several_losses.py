"""Trainings of networks with an image of their own, layers behind them, and several losses."""

from dataclasses import replace

import numpy as np
import pytest

from conformance.case.families.steps import Adam
from conformance.case.listing import default_root
from conformance.case.model import TensorSpec, Values
from conformance.case.operators import Chain
from conformance.case.training import Parameter, learned_layers, load_trainings, losses_of
from conformance.errors import InvalidCases
from conformance.run.course import Course, images, reference_course
from conformance.run.digits import read_digits
from conformance.tests import learners
from conformance.tests.test_training import SMALL, few_digits, layer, train, wrong
from conformance.verdict.model import Outcome


def behind(name, operator, *takes, **attributes):
    return replace(layer(name, operator, **attributes), takes=takes)


# What leads to the one loss leads to the other, too; three tenths of it count.
HEADS = replace(
    SMALL,
    id="training/small/heads",
    network=Chain(
        layers=(
            layer("pad", "pad", padding=((0, 0), (1, 1), (1, 1), (0, 0))),
            layer("conv", "conv2d", stride=(4, 4)),
            layer("relu", "relu"),
            layer("flatten", "flatten"),
            layer("early", "dense"),
            layer("first", "softmax_cross_entropy"),
            layer("share", "multiply"),
            behind("logits", "dense", "flatten"),
            layer("loss", "softmax_cross_entropy"),
            behind("total", "add", "loss", "share"),
        )
    ),
    parameters={
        "conv/w": Parameter(shape=(3, 3, 1, 2), initializer="glorot_uniform"),
        "early/w": Parameter(shape=(98, 10), initializer="glorot_uniform"),
        "logits/w": Parameter(shape=(98, 10), initializer="glorot_uniform"),
    },
    constants={"share/y": TensorSpec(shape=(), source=Values(values=(0.3,)))},
    judged_steps=2,
    most_steps=3,
    tested=4,
)


class ForgetsTheShare(learners.GraphTrainer):
    """The early loss counts as much as the last one."""

    def step(self, step):
        one = learners.Tensor("float32", np.ones((), np.float32))
        return super().step(replace(step, operands={**step.operands, "share/y": one}))


class LeavesOneLossOut(learners.GraphTrainer):
    """The weights of the last layers are pulled by the last loss; what is shared forgets the early one."""

    def pulled(self, gradients):
        return {**gradients, "flatten": learners.scaled(gradients["flatten"], 0.5)}


@pytest.fixture(scope="module")
def course():
    return Course(HEADS, few_digits())


@pytest.fixture(scope="module")
def reference(course):
    return reference_course(course)


def test_losses_are_what_ends_in_labels_or_is_made_of_losses_alone():
    assert losses_of(HEADS.network) == ("first", "share", "loss", "total")
    assert losses_of(SMALL.network) == ("loss",)


def test_what_is_made_of_images_alone_and_constants_are_not_learned():
    assert HEADS.learned == ("conv/w", "early/w", "logits/w")
    assert {"pad", "share/y", "x"}.isdisjoint(learned_layers(HEADS))
    assert {"conv", "early", "share", "total", "conv/w"} <= learned_layers(HEADS)


def test_every_loss_is_given_the_labels_and_every_step_the_constants(course):
    given = course.operands(1)
    assert set(given) == {"x", "first/labels", "loss/labels", "share/y"}
    assert given["first/labels"].data is given["loss/labels"].data
    assert given["share/y"].data == np.float32(0.3)
    assert len(course.digits.test_labels) == 4
    assert course.digest != Course(replace(HEADS, tested=5), few_digits()).digest


def test_a_learner_of_two_losses_agrees_and_its_loss_is_their_weighted_sum(course, reference):
    result, record = train(course, reference, learners.GraphTrainer)
    assert {v.outcome for v in result.verdicts.values()} == {Outcome.AGREES}, result.detail
    assert record["losses"] == pytest.approx(reference.losses, rel=1e-5)
    made = learners.ask("chain", HEADS.network, {**course.operands(1), **course.parameters}).outputs
    parts = float(made["loss"].data), float(made["first"].data)
    assert record["losses"][0] == pytest.approx(parts[0] + 0.3 * parts[1], rel=1e-6)


def test_the_bound_of_a_sum_has_that_of_each_loss_as_often_as_it_counts(course, reference):
    def of_one(network):
        names = {layer.name for layer in network.layers}
        own = {name: p for name, p in HEADS.parameters.items() if name.partition("/")[0] in names}
        alone = replace(HEADS, network=network, parameters=own, constants={}, most_steps=1)
        return reference_course(Course(alone, few_digits())).loss_bounds[0]

    layers = {layer.name: layer for layer in HEADS.network.layers}
    stem = ("pad", "conv", "relu", "flatten")
    first = of_one(Chain(layers=tuple(layers[name] for name in (*stem, "early", "first"))))
    last = of_one(Chain(layers=tuple(layers[name] for name in (*stem, "logits", "loss"))))
    both = reference.loss_bounds[0]
    assert both > last + 0.3 * first  # the product and the sum round, too
    assert both < 1.5 * (last + 0.3 * first)


@pytest.mark.parametrize(
    ("kind", "check", "first"),
    [
        (ForgetsTheShare, "outputs", "step1/share/output"),
        (LeavesOneLossOut, "gradients", "step1/flatten/output"),
    ],
)
def test_a_learner_that_counts_losses_otherwise_is_caught_at_that_layer(course, reference, kind, check, first):
    result, record = train(course, reference, kind)
    assert (check, first) in wrong(result)
    assert result.verdicts[check].outcome is Outcome.DIFFERS
    assert record["first_judged_difference"] == 1


def test_a_digit_is_enlarged_by_a_whole_number_and_stands_in_the_middle():
    stored = few_digits().train_images[:2]
    assert images(stored).shape == (2, 28, 28, 1)
    seen = images(stored, (67, 75, 3)).data
    assert seen.shape == (2, 67, 75, 3)
    assert (seen == seen[..., :1]).all()
    grey = images(stored).data[..., 0]
    assert (seen[:, 5:61:2, 9:65:2, 0] == grey).all()
    assert (seen[:, 6:62:2, 10:66:2, 2] == grey).all()
    assert seen[:, 5:61, 9:65].sum() == pytest.approx(seen.sum())


# The shipped ones ---------------------------------------------------------------------------------------------------


class OneBlockLoosened(learners.GraphTrainer):
    """One of 53 normalisations has an epsilon of 1e-3 where 1e-5 is asked."""

    place = "stage3-rest.2.branch.filter.norm"

    def asked(self, chain):
        def loosened(layer):
            if layer.name != self.place:
                return layer
            return replace(layer, attributes=replace(layer.attributes, epsilon=1e-3))

        return replace(chain, layers=tuple(map(loosened, chain.layers)))


@pytest.fixture(scope="module")
def shipped():
    return {training.id: training for training in load_trainings((default_root() / "training",))}


def test_an_epsilon_in_the_middle_of_the_deep_network_is_named_there(shipped):
    deep = replace(
        shipped["training/resnet-50/sgd"],
        optimizer="adam",
        optimizer_attributes=Adam(),
        batch=2,
        judged_steps=1,
        most_steps=1,
        tested=1,
    )
    course = Course(deep, read_digits(deep.data))
    result, record = train(course, reference_course(course), OneBlockLoosened)
    assert record["first_judged_difference"] == 1
    assert {name.partition("/")[2].partition("/")[0] for _, name in wrong(result)} <= {
        OneBlockLoosened.place,
        OneBlockLoosened.place.replace("norm", "conv"),  # what a layer pulls back is called by the one before it
    }
    assert wrong(result)[0] == ("outputs", f"step1/{OneBlockLoosened.place}/output")
    assert any(told.startswith(f"step 1: {OneBlockLoosened.place}: ") for told in result.agrees_with)


def test_every_network_of_the_notes_is_trained(shipped):
    trained = {training.network.network for training in shipped.values() if training.tier == "core"}
    written = {path.stem for path in (default_root() / "networks").glob("*.yaml")}
    assert written - trained == {"mnist", "mnist-printed"}  # its layers stand in the training; this one does not fit


def test_the_heads_of_the_shipped_network_share_the_loss(shipped):
    training = shipped["training/googlenet/sgd"]
    assert {name: spec.source.values for name, spec in training.constants.items()} == {
        "share1/y": (0.3,),
        "share2/y": (0.3,),
    }
    assert training.image == (80, 96, 3)
    last = ("head1.loss", "share1", "head2.loss", "share2", "loss", "auxiliary", "total")
    assert losses_of(training.network) == last


NAMED = """training: named
data: .
seed: named
batch: 10
{asked}
forms:
- {{name: one, initializers: {{"*": zeros}}, optimizer: sgd, attributes: {{learning_rate: 0.1}}}}
"""
NETWORK = """network: small
input: [10, 28, 28, 1]
classes: 10
initializers: {"*": normal}
layers: [{operator: flatten}, {name: logits, operator: dense, units: classes}]
forms: [{name: whole}, {name: larger, input: [2, 30, 29, 3]}, {name: smaller, image: [28, 27]}]
"""


def named(tmp_path, asked):
    (tmp_path / "net.yaml").write_text(NETWORK)
    (tmp_path / "named.yaml").write_text(NAMED.format(asked=asked))
    return load_trainings([tmp_path / "named.yaml"])


def test_layers_come_behind_a_network_that_is_named(tmp_path):
    layers = "layers: [{name: more, operator: dense, inputs: {w: [10, 10]}}, {operator: softmax_cross_entropy}]"
    (found,) = named(tmp_path, f"network: net.yaml#larger\ntested: 3\n{layers}")
    assert [layer.name for layer in found.network.layers] == ["flatten", "logits", "more", "softmax_cross_entropy"]
    assert found.network.network == "small"
    assert found.image == (30, 29, 3)
    assert found.tested == 3
    shapes = {name: parameter.shape for name, parameter in found.parameters.items()}
    assert shapes == {"logits/w": (2610, 10), "logits/b": (10,), "more/w": (10, 10)}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ("epochs: 1", "names a network, or adds layers to one: give one of them"),
        ("network: net.yaml#whole", ":5:10: the last layer must be a loss, got dense"),
        (
            "network: net.yaml#whole\nlayers: [{name: logits, operator: softmax_cross_entropy}]",
            ":6:10: the layer name 'logits' is the network's; names are unique",
        ),
        (
            "network: net.yaml#whole\nlayers: [{name: more, operator: relu}]",
            ":6:10: the last layer must be a loss, got relu",
        ),
        (
            "network: net.yaml#smaller\nlayers: [{operator: softmax_cross_entropy}]",
            ":5:10: digits of 28x28 need images of at least that, 'smaller' takes (28, 27, 1)",
        ),
    ],
)
def test_what_does_not_fit_behind_a_network_is_told_with_its_place(tmp_path, asked, message):
    with pytest.raises(InvalidCases) as error:
        named(tmp_path, asked)
    assert message in str(error.value.problems[0])
