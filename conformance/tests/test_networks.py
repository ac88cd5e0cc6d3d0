"""Network files: blocks, shapes that follow, narrow forms; and what is wrong with one, told with its place."""

import math
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from conformance.case.listing import default_root
from conformance.case.loading import is_case_file, load
from conformance.case.model import Case, Fill
from conformance.case.operators import OPERATORS, operand_of
from conformance.errors import InvalidCases
from conformance.run.plan import question_of
from conformance.tests.questions import item
from conformance.verdict import oracle
from conformance.verdict.diagnosis import Differing, diagnose
from conformance.verdict.judge import judge
from conformance.verdict.oracle import Accumulators, Expectations

FOLDER = default_root() / "networks"


@cache
def networks() -> dict[str, Case]:
    return {case.id.removeprefix("networks/"): case for case in load([FOLDER])}


def learned(case: Case) -> int:
    """How many numbers an optimizer would update."""
    return sum(
        math.prod(spec.shape)
        for name, spec in case.inputs.items()
        if name != "x" and operand_of("chain", case.attributes, name).differentiable and spec.shape
    )


@pytest.mark.parametrize(
    ("form", "count"),
    [
        # LeCun et al., Gradient-based learning applied to document recognition, 1998, with full connections: 61,706.
        ("lenet-5/batched", 61_706),
        # He et al., 2016: what every library's ResNet-50 of 1000 classes has.
        ("resnet-50/full", 25_557_032),
        # Krizhevsky, Sutskever & Hinton, 2012: "60 million parameters".
        ("alexnet/full", 60_965_224),
        # Szegedy et al., 2015, table 1, without its auxiliary heads.
        ("googlenet/full-predicting", 6_998_552),
        # 10 filters of 3x3, 14 * 14 * 10 -> 100 -> 10, with biases.
        ("one-convolution/few-images", 100 + 196_100 + 1_010),
    ],
)
def test_the_parameters_are_as_many_as_are_published(form, count, tmp_path):
    if form == "googlenet/full-predicting":
        text = (FOLDER / "googlenet.yaml").read_text().replace("batch: 1, shape: []", "mode: inference, batch: 1")
        (tmp_path / "googlenet.yaml").write_text(text)
        case = next(case for case in load([tmp_path]) if case.id == "googlenet/full")
    else:
        case = networks()[form]
    assert learned(case) == count


def test_resnet_has_bottlenecks_3_4_6_3_and_narrow_has_the_same_topology():
    full, narrow = networks()["resnet-50/full"].attributes, networks()["resnet-50/narrow"].attributes
    assert [(one.name, one.operator, one.takes) for one in full.layers] == [
        (one.name, one.operator, one.takes) for one in narrow.layers
    ]
    sums = [one.name for one in full.layers if one.operator == "add"]
    stages = [sum(name.startswith(f"stage{n}") for name in sums) for n in (1, 2, 3, 4)]
    assert stages == [3, 4, 6, 3]
    assert sum(one.operator == "conv2d" for one in full.layers) == 53
    assert next(one for one in full.layers if one.name == "stage2-rest.3.add").takes == (
        "stage2-rest.3.branch.expand.active",
        "stage2-rest.2.add",
    )


def test_an_inception_block_joins_four_branches_of_one_image():
    layers = {one.name: one for one in networks()["googlenet/narrow"].attributes.layers}
    assert layers["inception3b.three-reduce.conv"].takes == ("inception3a.join",)
    assert layers["inception3b.pool"].takes == ("inception3a.join",)
    assert layers["inception3b.join"].takes == ("inception3b.join1", "inception3b.join2")
    assert networks()["googlenet/narrow"].attributes.ends == ("total",)


def test_what_predicts_has_no_masks_labels_or_auxiliary_heads():
    case = networks()["googlenet/predicting"]
    assert case.attributes.ends == ("logits",)
    assert not any(
        operand.kind != "float" for one in case.attributes.layers for operand in OPERATORS[one.operator].operands
    )
    assert not any(name.startswith("head") for name in case.inputs)


def test_masks_labels_and_classes_follow_from_the_layers():
    inputs = networks()["mnist/narrow"].inputs
    assert inputs["dropout1/mask"].source == Fill(kind="mask", keep=0.75)
    assert inputs["loss/labels"].source == Fill(kind="integers", low=0, high=9)
    assert inputs["dense3/w"].shape == (64, 10)  # the classes stay
    assert inputs["conv2/w"].shape == (3, 3, 8, 16)


def test_the_printed_network_has_no_answer_and_the_layer_that_does_not_fit_is_its_last():
    case = networks()["mnist-printed/does-not-fit"]
    assert case.expect.error == "required"
    assert case.attributes.layers[-1].name == "dense1"
    job = question_of(item(case), "normal").job
    assert "12544" in str(oracle.answer(job))


@pytest.mark.parametrize(
    "form", [name for name, case in networks().items() if case.tier != "full" and case.expect.error == "no"]
)
def test_the_reference_stored_layer_by_layer_agrees(form):
    case = networks()[form]
    job = question_of(item(case, "float32"), "normal").job
    answer = oracle.answer(job)
    assert isinstance(answer, oracle.Outputs)
    expected = oracle.expect_chain(job, answer, Accumulators())
    assert isinstance(expected, Expectations)
    assert all(one.within for one in judge(case, job, answer, expected, exact=False).comparisons)


def test_another_epsilon_in_one_block_of_resnet_is_named_there():
    case = networks()["resnet-50/narrow"]
    job = question_of(item(case, "float32"), "normal").job
    place = "stage3.branch.filter.norm"
    layers = tuple(
        replace(one, attributes=replace(one.attributes, epsilon=1e-3)) if one.name == place else one
        for one in job.attributes.layers
    )
    answer = oracle.answer(replace(job, attributes=replace(job.attributes, layers=layers)))
    assert isinstance(answer, oracle.Outputs)
    expected = oracle.expect_chain(job, answer, Accumulators())
    assert isinstance(expected, Expectations)
    judgement = judge(case, job, answer, expected, exact=False)
    outside = {one.name for one in judgement.comparisons if one.check == "outputs" and not one.within}
    assert outside == {place}
    found = diagnose([Differing(job=job, answer=answer, expected=expected)], Accumulators())
    assert found.location.startswith(f"layer {place}: ")


# What is wrong with a file ------------------------------------------------------------------------------------------

START = "# $schema=schema.json\nnetwork: small\ninput: [2, 6, 6, 3]\ninitializers: {'*': normal}\n"
FORMS = "forms: [{name: one}]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        pytest.param(
            START + "layers:\n- {operator: conv2d, filters: 4, kernel: 7}\n" + FORMS,
            "a.yaml:6:3: layer 'conv2d' (conv2d) given [2, 6, 6, 3]: ",
            id="shapes that do not meet",
        ),
        pytest.param(
            START + "layers:\n- {operator: conv2d, filters: 4, kernel: 3}\n- {operator: flattn}\n" + FORMS,
            "a.yaml:7:14: unknown operator 'flattn' of a layer. Did you mean 'flatten'?",
            id="unknown layer",
        ),
        pytest.param(
            START + "layers:\n- {operator: relu}\n- {operator: add, takes: [relu, reul]}\n" + FORMS,
            "a.yaml:7:33: there is no layer 'reul' before this one, in its block. Did you mean 'relu'?",
            id="takes nobody",
        ),
        pytest.param(
            START + "layers:\n- {operator: add, takes: [input]}\n" + FORMS,
            "a.yaml:6:3: add needs the operand 'y': takes: or inputs: gives it",
            id="lacks what it takes",
        ),
        pytest.param(
            START + "blocks: {one: [{operator: relu}]}\nlayers:\n- {block: on}\n" + FORMS,
            "a.yaml:7:11: there is no block 'on' above this one; there are one. Did you mean 'one'?",
            id="unknown block",
        ),
        pytest.param(
            START + "blocks: {one: [{block: one}]}\nlayers:\n- {block: one}\n" + FORMS,
            "a.yaml:5:24: there is no block 'one' above this one; there are none",
            id="a block within itself",
        ),
        pytest.param(
            START
            + "blocks:\n  one: [{operator: dense, units: $many}]\nlayers:\n- {operator: flatten}\n- {block: one}\n"
            + FORMS,
            "a.yaml:9:3: block 'one' needs a value for $many; write set: {many: ...}",
            id="a value that is missing",
        ),
        pytest.param(
            START + "blocks: {one: [{operator: relu}]}\nlayers:\n- {block: one, set: {slope: 2}}\n" + FORMS,
            "a.yaml:7:22: block 'one' has no $slope; it has none",
            id="a value that nobody takes",
        ),
        pytest.param(
            START + "layers:\n- {operator: dense, kernel: 3, units: 2}\n" + FORMS,
            "a.yaml:6:21: dense has no kernel",
            id="a size of another operator",
        ),
        pytest.param(
            START + "layers:\n- {operator: conv2d, kernel: 3}\n" + FORMS,
            "a.yaml:6:3: conv2d needs filters",
            id="no filters",
        ),
        pytest.param(
            START.replace("'*'", "'*/w'") + "layers:\n- {operator: conv2d, filters: 4, kernel: 3}\n" + FORMS,
            "a.yaml:6:3: parameter 'conv2d/b' has no initializer; add a pattern to initializers",
            id="no initializer",
        ),
        pytest.param(
            START + "layers: [{operator: relu}]\nforms: [{name: one}, {name: one}]\n",
            "a.yaml:6:29: the form 'one' is taken; names of forms are unique",
            id="two forms of one name",
        ),
        pytest.param(
            START + "layers: [{operator: relu}]\nforms: [{name: one, width: none}]\n",
            "a.yaml:6:28: width must be a number, got 'none'",
            id="a wrong type",
        ),
        pytest.param(
            START + "layers: [{operator: relu}]\nforms: [{name: one, error: true}]\n",
            "a.yaml:6:28: error: true is for layers that do not meet, and these do",
            id="nothing is wrong where something should be",
        ),
    ],
)
def test_what_is_wrong_is_told_with_its_place(text: str, message: str, tmp_path: Path):
    file = tmp_path / "a.yaml"
    file.write_text(text)
    assert is_case_file(file)
    with pytest.raises(InvalidCases) as error:
        load([file])
    told = [str(problem).replace(f"{tmp_path}/", "") for problem in error.value.problems]
    assert len(told) == 1
    assert told[0].startswith(message)
