from math import prod
from pathlib import Path
from typing import Any

import pytest

from conformance.case.loading import load
from conformance.case.model import Case, Shape
from conformance.case.operators import OPERATORS
from conformance.case.reduction import fewer
from conformance.case.resolved import geometry_of
from conformance.errors import InvalidCases
from conformance.tests.shipped import shipped

HEAD = "operator: conv2d\ndefaults: {tier: full, reduced: core}\ncases:\n"


def loaded(folder: Path, case: str) -> tuple[Case, ...]:
    path = folder / "a.yaml"
    path.write_text(HEAD + case)
    return load([path])


def shapes(case: Case) -> dict[str, Shape]:
    return {name: spec.shape for name, spec in case.inputs.items()}


def test_channels_enter_by_their_logarithm() -> None:
    counts = (0, 1, 2, 3, 4, 6, 16, 32, 64, 96, 112, 128, 512, 1280)
    assert [fewer(count) for count in counts] == [0, 1, 2, 3, 4, 4, 4, 6, 9, 10, 11, 12, 18, 22]


@pytest.mark.parametrize(
    ("case", "small"),
    [
        (
            "inputs: {x: [1, 224, 224, 3], w: [7, 7, 3, 64], b: [64]}, attributes: {stride: 2}",
            {"x": (1, 12, 12, 3), "w": (7, 7, 3, 9), "b": (9,)},
        ),
        (
            "inputs: {x: [1, 27, 28, 96], w: [5, 5, 48, 256], b: [256]}, attributes: {groups: 2}",
            {"x": (1, 7, 7, 14), "w": (5, 5, 7, 24), "b": (24,)},
        ),
        (
            "inputs: {x: [1, 112, 112, 96], w: [3, 3, 1, 96]}, attributes: {groups: 96, stride: 2, padding: same}",
            {"x": (1, 8, 8, 10), "w": (3, 3, 1, 10)},
        ),
        (
            "operator: conv2d_transpose, inputs: {x: [1, 28, 28, 1024], w: [2, 2, 512, 1024], b: [512]}, "
            "attributes: {stride: 2}",
            {"x": (1, 4, 4, 21), "w": (2, 2, 18, 21), "b": (18,)},
        ),
        (
            "operator: max_pool2d, inputs: {x: [1, 55, 56, 96]}, attributes: {window: 3, stride: 2}",
            {"x": (1, 7, 6, 10)},
        ),
        ("operator: global_average_pool2d, inputs: {x: [1, 7, 14, 320]}", {"x": (1, 2, 2, 16)}),
        ("inputs: {x: [1, 1, 1, 32], w: [1, 1, 32, 8]}", {"x": (1, 1, 1, 6), "w": (1, 1, 6, 4)}),
    ],
)
def test_a_layer_stands_once_more_in_small(tmp_path: Path, case: str, small: dict[str, Shape]) -> None:
    whole, reduced = loaded(tmp_path, f"- {{name: a, about: Here., {case}}}\n")
    assert (whole.id, whole.tier, reduced.id, reduced.tier) == ("a/a", "full", "a/a-reduced", "core")
    assert reduced.about == "Here. With a small image and few channels."
    assert shapes(reduced) == small
    assert reduced.data == OPERATORS[reduced.operator].data


def test_two_layers_that_become_one_have_one_small_form(tmp_path: Path) -> None:
    text = "- {name: a, inputs: {x: [1, 14, 14, 512], w: [1, 1, 512, 16]}}\n"
    text += "- {name: b, inputs: {x: [1, 14, 14, 520], w: [1, 1, 520, 16]}}\n"
    assert [case.id for case in loaded(tmp_path, text)] == ["a/a", "a/a-reduced", "a/b"]


@pytest.mark.parametrize(
    "case",
    [
        "operator: relu, inputs: {x: [3]}",
        "inputs: {x: {shape: [1, 3, 3, 1], fill: ones}, w: [1, 1, 1, 1]}",
        "inputs: {x: [1, 3, 3, 1], w: [1, 1, 1, 1]}, expect: {shape: [1, 3, 3, 1]}",
    ],
)
def test_what_has_no_small_form_is_told(tmp_path: Path, case: str) -> None:
    with pytest.raises(InvalidCases) as caught:
        loaded(tmp_path, f"- {{name: a, {case}}}\n")
    (problem,) = caught.value.problems
    assert problem.message == (
        "reduced goes with a layer that slides a window over generated data, and says nothing of the answer; "
        "leave it out"
    )


@pytest.fixture(scope="module")
def published() -> dict[str, Case]:
    return {case.id: case for case in shipped("published")}


def test_every_published_layer_keeps_its_geometry(published: dict[str, Case]) -> None:
    small = [case for id_, case in published.items() if id_.endswith("-reduced")]
    assert len(small) > 190
    for case in small:
        whole = published[case.id.removesuffix("-reduced")]
        if not OPERATORS[case.operator].rank:
            continue
        big, little = geometry_of(whole), geometry_of(case)
        assert (big.kernel, big.stride, big.dilation) == (little.kernel, little.stride, little.dilation)
        if case.operator != "conv2d_transpose":
            assert big.pads == little.pads
        depthwise: Any = [
            one.attributes.groups == one.inputs["x"].shape[-1] for one in (whole, case) if "w" in one.inputs
        ]
        assert len(set(depthwise)) <= 1


def output(case: Case) -> Shape:
    return OPERATORS[case.operator].shapes(case.attributes, shapes(case))["output"]


@pytest.mark.parametrize(
    ("layer", "expected"),
    [
        ("lenet-5/c5", (1, 1, 1, 120)),
        ("alexnet/conv1", (1, 55, 55, 96)),
        ("alexnet/pool5", (1, 6, 6, 256)),
        ("vgg-16/pool5", (1, 7, 7, 512)),
        ("googlenet/conv1", (1, 112, 112, 64)),
        ("googlenet/pool2", (1, 28, 28, 192)),
        ("googlenet/classifier-4a-pool", (1, 4, 4, 512)),
        ("googlenet/average-pool", (1, 1, 1, 1024)),
        ("resnet-50/conv1", (1, 112, 112, 64)),
        ("resnet-50/pool1", (1, 56, 56, 64)),
        ("resnet-50/conv5-1-shortcut", (1, 7, 7, 2048)),
        ("mobilenet-v2/conv1", (1, 112, 112, 32)),
        ("mobilenet-v2/classifier", (1, 1, 1, 1000)),
        ("u-net/down5b", (1, 28, 28, 1024)),
        ("u-net/up1", (1, 392, 392, 64)),
        ("u-net/output", (1, 388, 388, 2)),
        ("efficientnet-b0/block12-depthwise", (1, 7, 7, 672)),
        ("efficientnet-b0/block13-squeeze-reduce", (1, 1, 1, 48)),
    ],
)
def test_published_layers_give_the_sizes_of_their_papers(
    published: dict[str, Case], layer: str, expected: Shape
) -> None:
    assert output(published[f"published/{layer}"]) == expected


def test_the_parameters_of_a_published_network_add_up(published: dict[str, Case]) -> None:
    """VGG-16's thirteen convolutions have 14,714,688 weights and biases; some of their shapes stand for several."""
    of_vgg = [case for id_, case in published.items() if id_.startswith("published/vgg-16/conv")]
    own = [case for case in of_vgg if not case.id.endswith("-reduced")]
    sizes = {
        case.id.rpartition("/")[2]: sum(prod(shape) for name, shape in shapes(case).items() if name != "x")
        for case in own
    }
    again = {"conv3-2": 2, "conv4-2": 2, "conv5-1": 3}
    assert sum(size * again.get(name, 1) for name, size in sizes.items()) == 14_714_688
