"""A network's first weights as frameworks have them: names, layouts, numbers, and what is told without any."""

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from conformance.arguments import WRONG
from conformance.case.inputs import Question
from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.cli import app
from conformance.errors import InvalidModel
from conformance.models.safetensors import read_safetensors
from conformance.run.initialised import initial_weights, network_form

NETWORKS = default_root() / "networks"
LENET = NETWORKS / "lenet-5.yaml"


def called(*arguments: object) -> Result:
    return CliRunner().invoke(app, list(map(str, arguments)), catch_exceptions=False)


@pytest.mark.parametrize(
    ("framework", "kernel", "bias", "order"),
    [
        ("torch", "conv1.weight", "conv1.bias", (3, 2, 0, 1)),
        ("keras", "conv1/kernel", "conv1/bias", (0, 1, 2, 3)),
        ("tf", "conv1/w", "conv1/b", (0, 1, 2, 3)),
        ("jax", "conv1.w", "conv1.b", (0, 1, 2, 3)),
    ],
)
def test_weights_are_named_and_laid_out_as_the_framework_has_them(
    tmp_path: Path, framework: str, kernel: str, bias: str, order: tuple[int, ...]
) -> None:
    path = tmp_path / "weights.safetensors"
    ended = called("convert", LENET, "--to", framework, "-o", path)
    assert ended.exit_code == 0, ended.output
    assert ended.output.startswith(f"10 parameters of networks/lenet-5/batched as {framework} has them")
    found = read_safetensors(path)
    assert list(found)[:2] == [kernel, bias]
    (case,) = (case for case in load([LENET]) if case.id.endswith("/batched"))
    own = Question(case, "normal", "float32").operands()
    assert found[kernel].data.tobytes() == own["conv1/w"].data.transpose(order).tobytes()
    assert found[kernel].shape == tuple(own["conv1/w"].shape[axis] for axis in order)
    assert found[bias].data.tobytes() == own["conv1/b"].data.tobytes()


def test_a_matrix_of_torchs_is_turned_round() -> None:
    case = network_form(LENET)
    dense = Question(case, "normal", "float32").operands()["dense1/w"].data
    np.testing.assert_array_equal(initial_weights(case, "torch")["dense1.weight"].data, dense.T)


@pytest.mark.parametrize("framework", ["torch", "keras", "tf", "jax"])
@pytest.mark.parametrize("network", ["alexnet", "googlenet", "mnist", "resnet-50"])
def test_every_number_of_a_network_is_there_once(network: str, framework: str) -> None:
    case = network_form(NETWORKS / f"{network}.yaml", "narrow")
    drawn = Question(case, "normal", "float32").operands()
    data = ("x", "y", "labels", "mask")
    kept = [t.data.ravel() for name, t in drawn.items() if name.rpartition("/")[2] not in data]
    made = [tensor.data.ravel() for tensor in initial_weights(case, framework).values()]
    np.testing.assert_array_equal(np.sort(np.concatenate(made)), np.sort(np.concatenate(kept)))


def test_statistics_are_weights_too() -> None:
    made = initial_weights(network_form(NETWORKS / "resnet-50.yaml", "narrow"), "torch")
    assert {name.rpartition(".")[2] for name in made} == {"weight", "bias", "running_mean", "running_var"}


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((LENET, "--to", "caffe"), "--to caffe: a network's weights are written for torch, keras, tf, jax"),
        ((LENET, "--to", "torch", "--form", "wide"), "has no form 'wide'; it has batched, one-image"),
        ((NETWORKS.parent / "operators" / "relu.yaml", "--to", "torch"), "describes no network"),
        (("weights.pt", "--to", "torch:unet.py"), "whose weights are they? Give --from"),
    ],
)
def test_what_has_no_weights_is_told(tmp_path: Path, arguments: tuple[object, ...], told: str) -> None:
    ended = called("convert", *arguments, "-o", tmp_path / "weights.safetensors")
    assert ended.exit_code == WRONG
    assert told in " ".join(ended.output.split())
    assert not (tmp_path / "weights.safetensors").exists()


def test_a_layer_that_a_framework_has_not_is_told_by_name(tmp_path: Path) -> None:
    (tmp_path / "own.yaml").write_text(
        "network: own\nabout: Strides and dilations together.\ninput: [1, 9, 9, 1]\nclasses: 2\n"
        'initializers: {"*/w": glorot_uniform, "*/b": uniform}\nlayers:\n'
        "  - {name: wide, operator: conv2d, filters: 2, kernel: 2, attributes: {stride: 2, dilation: 2}}\n"
        "forms:\n  - {name: alone}\n"
    )
    case = network_form(tmp_path / "own.yaml")
    assert initial_weights(case, "torch")["wide.weight"].shape == (2, 1, 2, 2)
    with pytest.raises(InvalidModel, match="layer 'wide': Keras: Keras refuses strides together with dilations"):
        initial_weights(case, "keras")
