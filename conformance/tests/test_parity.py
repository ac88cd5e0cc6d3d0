"""Two models layer by layer, over a framework of NumPy's: pairs, weights, the guilty layer, and what goes wrong."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from conformance.arguments import INCOMPLETE, UNEXPECTED, WRONG
from conformance.case.families.normalization import BatchNormTraining
from conformance.case.job import Tensor
from conformance.case.linting import lint
from conformance.case.loading import load
from conformance.cli import app
from conformance.models.safetensors import read_safetensors, write_safetensors
from conformance.run import hosted

# A convolution that shrinks, one that grows, and a block three; what a port may have otherwise is an argument.
MODEL = """
import os
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.normalization import BatchNorm, BatchNormTraining
from conformance.tests.stacks import Stack, Stacked, numbers
import numpy as np

PADS = ((1, 1), (1, 1))

def stack(seed=0, up={{"padding": PADS, "output_padding": (1, 1)}}, epsilon=1e-5, act="relu", **more):
    layers = [
        Stacked("down", "conv2d", Convolution(stride=(2, 2), dilation=(1, 1), padding=PADS),
                {{"w": numbers(seed, 3, 3, 2, 4), "b": numbers(seed + 1, 4)}}, **more.pop("down", {{}})),
        Stacked("act", act),
        Stacked("up", "conv2d_transpose", TransposedConvolution(stride=(2, 2), dilation=(1, 1), **up),
                {{"w": numbers(seed + 2, 3, 3, 3, 4)}}),
        Stacked("block3", "batch_norm", BatchNorm(epsilon=epsilon),
                {{"mean": numbers(seed + 3, 3), "variance": np.abs(numbers(seed + 4, 3)) + np.float32(1e-3),
                 "scale": numbers(seed + 5, 3), "offset": numbers(seed + 6, 3)}}),
    ]
    if "momentum" in more:
        trained = {{"epsilon": epsilon, "momentum": more["momentum"], "bessel": more.get("bessel", True)}}
        layers[3].operator, layers[3].attributes = "batch_norm_training", BatchNormTraining(**trained)
        layers[3].strays = more.get("strays", {{}})
    layers[3:3] = more.pop("between", [])
    return Stack(layers)

def build():
    {body}
"""
SAME = {"padding": "same", "output_padding": (0, 0)}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a model and its input, where the framework is known."""
    monkeypatch.setitem(hosted.HOSTS, "stack", ("conformance.tests.stacks:StackModels", ()))
    monkeypatch.chdir(tmp_path)
    write(tmp_path, "model.py", "return stack()")
    np.savez(tmp_path / "x.npz", x=np.random.default_rng(7).standard_normal((2, 6, 8, 2)).astype(np.float32))
    return tmp_path


def write(folder: Path, name: str, body: str) -> None:
    (folder / name).write_text(MODEL.format(body=body))


def called(*arguments: str) -> Result:
    return CliRunner().invoke(app, list(arguments), catch_exceptions=False)


def compared(folder: Path, port: str, *more: str) -> Result:
    write(folder, "port.py", port)
    return called("parity", "--from", "stack:model.py", "--to", "stack:port.py", "--input", "x.npz", *more)


def test_an_honest_port_agrees_with_other_initial_weights(folder: Path) -> None:
    ended = compared(folder, "return stack(seed=50)")
    assert ended.exit_code == 0, ended.output
    assert "4 pairs of layers, 7 parameters carried over" in ended.output
    assert "from end to end: off by 0, where rounding explains about" in ended.output
    assert "agree, layer by layer: 4 pairs, forwards and backwards" in ended.output


def test_a_crop_at_the_other_end_is_named_and_nothing_after_it(folder: Path) -> None:
    ended = compared(folder, f"return stack(seed=50, up={SAME})")
    assert ended.exit_code == UNEXPECTED
    assert 'up: agrees with "crop from the end"' in ended.output
    assert "padding: ((1, 1), (1, 1)) became 'same'" in ended.output
    assert "1 of 4 pairs differ, the first is up" in ended.output


def test_an_epsilon_of_another_framework_is_named_at_its_layer(folder: Path) -> None:
    ended = compared(folder, "return stack(epsilon=1e-3)")
    assert ended.exit_code == UNEXPECTED
    assert 'block3: agrees with "epsilon 0.001 for 1e-05"' in ended.output
    assert "epsilon: 1e-05 became 0.001" in ended.output


def test_a_weight_gradient_off_by_one_part_in_a_hundred_thousand_is_the_frameworks_own(folder: Path) -> None:
    ended = compared(folder, 'return stack(down={"spoils": {"w": 1 + 1e-5}})')
    assert ended.exit_code == UNEXPECTED
    assert "down: is not what its own framework says it is" in ended.output
    assert "gradient of w" in ended.output
    assert "1 of 4 pairs differ, the first is down" in ended.output


def test_in_training_running_statistics_are_judged(folder: Path) -> None:
    write(folder, "model.py", "return stack(momentum=0.9)")
    ended = compared(folder, "return stack(seed=50, momentum=0.9)", "--training")
    assert ended.exit_code == 0, ended.output
    ended = compared(folder, "return stack(momentum=0.99)", "--training")
    assert ended.exit_code == UNEXPECTED
    assert "block3: " in ended.output
    assert "momentum: 0.9 became 0.99" in ended.output
    assert "1 of 4 pairs differ, the first is block3" in ended.output
    ended = compared(folder, "return stack(momentum=0.9, bessel=False)", "--training")
    assert ended.exit_code == UNEXPECTED
    assert 'block3: agrees with "running variance with the other divisor"\n' in ended.output


def test_a_running_variance_off_by_one_part_in_ten_thousand_is_the_frameworks_own(folder: Path) -> None:
    write(folder, "model.py", "return stack(momentum=0.9)")
    ended = compared(folder, 'return stack(momentum=0.9, strays={"variance": 1 + 1e-4})', "--training")
    assert ended.exit_code == UNEXPECTED
    assert "block3: is not what its own framework says it is" in ended.output
    assert "variance on given data" in ended.output


def test_a_layer_that_does_not_do_what_it_says_is_found_in_the_first_model_too(folder: Path) -> None:
    told = "return stack(down={'told': Convolution(stride=(2, 2), dilation=(1, 1), padding=((0, 1), (0, 1)))})"
    write(folder, "model.py", told)
    ended = compared(folder, told)
    assert ended.exit_code == UNEXPECTED
    assert 'down: is not what its own framework says it is: agrees with "pads swapped"' in ended.output


def test_another_activation_in_its_place_is_told(folder: Path) -> None:
    ended = compared(folder, "return stack(act='softsign')")
    assert ended.exit_code == UNEXPECTED
    assert "operator: relu became softsign" in ended.output


def test_a_layer_too_many_and_code_between_are_listed_and_the_ends_tell(folder: Path) -> None:
    more = "[Stacked('extra', 'tanh'), Stacked('halves', '', does=lambda x: x / 2)]"
    ended = compared(folder, f"return stack(between={more})")
    assert ended.exit_code == UNEXPECTED
    assert "only in stack:port.py:build:\n    extra: tanh called extra" in ended.output
    assert "not judged in stack:port.py:build:\n    halves" in ended.output
    assert "every pair agrees, but the models do not" in ended.output


def test_a_model_that_breaks_off_is_compared_up_to_there(folder: Path) -> None:
    breaks = "def broken(x):\n        raise RuntimeError('shapes do not meet')\n    "
    ended = compared(folder, f"{breaks}return stack(up={SAME}, between=[Stacked('cat', '', does=broken)])")
    assert ended.exit_code == UNEXPECTED
    assert 'up: agrees with "crop from the end"' in ended.output
    assert "broke off: stack:port.py:build: port.py:" in ended.output
    assert "in broken: RuntimeError: shapes do not meet" in ended.output


def test_the_first_layer_that_gives_nan_is_named(folder: Path) -> None:
    negative = "made = stack(between=[Stacked('after', 'relu')])\n    made.layers[4].parameters['variance'][:] = -1"
    write(folder, "model.py", f"{negative}\n    return made")
    ended = compared(folder, f"{negative}\n    return made")
    assert ended.exit_code == UNEXPECTED
    assert "stack:model.py:build: block3 gives nan at [0, 0, 0, 0] for finite numbers" in ended.output


def test_given_pairs_come_first(folder: Path) -> None:
    (folder / "names.yaml").write_text("down: down\nact: act\n")
    assert compared(folder, "return stack()", "--map", "names.yaml").exit_code == 0
    (folder / "names.yaml").write_text("down: up\n")
    ended = compared(folder, "return stack()", "--map", "names.yaml")
    assert ended.exit_code == UNEXPECTED
    assert "operator: conv2d became conv2d_transpose" in ended.output


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("--from", "stack:none.py"), WRONG, "none.py: there is no such file"),
        (("--from", "stock:model.py"), WRONG, "got 'stock'"),
        (("--from", "stack:model.py:built"), WRONG, "'built' is not there; the file defines build, stack"),
        (("--from", "stack:model.py:PADS"), WRONG, "'PADS' is no function"),
        (("--weights", "none.pt"), WRONG, "none.pt: there is no such file"),
        (("--input", "none.npz"), WRONG, "none.npz: there is no such file"),
        (("--input", "nan.npz"), WRONG, "nan.npz['x']: is nan at [1, 2]; every number has to be finite"),
        (("--input", "bytes.npz"), WRONG, "bytes.npz['x']: is uint8 of shape (2, 3), expected float32"),
        (("--input", "model.py"), WRONG, "is no .npz or .npy of numbers"),
        (("--input", "channels.npz"), INCOMPLETE, "stack:model.py:build: running: InvalidShape"),
        (("--weights", "other.safetensors"), WRONG, "down.w has shape (4, 2, 3), the model's has (4, 2, 3, 3)"),
        (("--map", "names.yaml"), WRONG, "'nobody': no layer of --from is called so; it has down, act, up, block3"),
        (("--from", "stack:dies.py"), INCOMPLETE, "loading: its process died"),
        (("--from", "stack:raises.py"), INCOMPLETE, "loading: ZeroDivisionError: raises.py:"),
        (("--from", "stack:gives.py"), WRONG, "gives.py: its function gave int, expected a Stack"),
    ],
)
def test_what_does_not_go_together_is_told(folder: Path, arguments: tuple[str, str], code: int, told: str) -> None:
    np.savez(folder / "nan.npz", x=np.array([[1.0, 2, 3], [4, 5, np.nan]], np.float32))
    np.savez(folder / "bytes.npz", x=np.zeros((2, 3), np.uint8))
    np.savez(folder / "channels.npz", x=np.zeros((1, 6, 8, 5), np.float32))
    write_safetensors(folder / "other.safetensors", {"down.w": Tensor("float32", np.zeros((4, 2, 3), np.float32))})
    (folder / "names.yaml").write_text("nobody: down\n")
    write(folder, "dies.py", "os.abort()")
    write(folder, "raises.py", "return 1 / 0")
    write(folder, "gives.py", "return 1")
    given = {"--from": "stack:model.py", "--to": "stack:model.py", "--input": "x.npz", **dict([arguments])}
    ended = called("parity", *(part for pair in given.items() for part in pair))
    assert ended.exit_code == code, ended.output
    assert told in ended.output


def test_weights_travel_there_and_back_bit_by_bit(folder: Path) -> None:
    write(folder, "port.py", "return stack(seed=50)")
    own: dict[str, Any] = {}
    common = ("--input", "x.npz", "-o")
    write_safetensors(folder / "start.safetensors", random_weights(own))
    there = called(
        "convert", "start.safetensors", "--from", "stack:model.py", "--to", "stack:port.py", *common, "a.safetensors"
    )
    assert there.exit_code == 0, there.output
    back = called(
        "convert", "a.safetensors", "--from", "stack:port.py", "--to", "stack:model.py", *common, "b.safetensors"
    )
    assert back.exit_code == 0, back.output
    assert (folder / "b.safetensors").read_bytes() == (folder / "start.safetensors").read_bytes()
    found = read_safetensors(folder / "a.safetensors")
    assert all(np.array_equal(found[name].data, array) for name, array in own.items())


def random_weights(own: dict[str, Any]) -> dict[str, Tensor]:
    shapes = {"down.w": (4, 2, 3, 3), "down.b": (4,), "up.w": (4, 3, 3, 3)}
    shapes |= {f"block3.{name}": (3,) for name in ("mean", "variance", "scale", "offset")}
    generator = np.random.default_rng(3)
    own |= {name: np.abs(generator.standard_normal(shape)).astype(np.float32) for name, shape in shapes.items()}
    return {name: Tensor("float32", array) for name, array in own.items()}


def test_a_shape_stands_for_an_input(folder: Path) -> None:
    write(folder, "port.py", f"return stack(up={SAME})")
    both = ("--from", "stack:model.py", "--to", "stack:port.py")
    ended = called("parity", *both, "--shape", "2x6x8x2")
    assert ended.exit_code == UNEXPECTED
    assert 'up: agrees with "crop from the end"' in ended.output
    assert called("capture", "stack:model.py", "--shape", "2x6x8x2", "-o", "mine").exit_code == 0
    assert {case.inputs["x"].shape for case in load([folder / "mine" / "conv2d.yaml"])} == {(2, 6, 8, 2)}
    for given in ((), ("--shape", "2x6x8x2", "--input", "x.npz")):
        ended = called("parity", *both, *given)
        assert ended.exit_code == WRONG
        assert "Name one of --input x.npz and --shape 1x3x32x32" in ended.output
    for wrong in ("2x6x", "2x0x8x2", "2,,3", "two"):
        ended = called("parity", *both, "--shape", wrong)
        assert ended.exit_code == WRONG
        assert "expected sizes with x between, batch first" in ended.output


def test_shapes_are_those_that_the_framework_takes() -> None:
    images, row = hosted.draw_inputs("1x3x5x7,2x4", "torch")
    assert (images.shape, row.shape) == ((1, 5, 7, 3), (2, 4))
    (same,) = hosted.draw_inputs("1x3x5x7", "jax")
    np.testing.assert_array_equal(same.data, np.moveaxis(images.data, -1, 1))


def test_weights_without_a_counterpart_are_not_written(folder: Path) -> None:
    more = "[Stacked('extra', 'dense', parameters={'w': numbers(9, 3, 3)})]"
    write(folder, "port.py", f"return stack(between={more})")
    write_safetensors(folder / "start.safetensors", random_weights({}))
    ended = called(
        *("convert", "start.safetensors", "--from", "stack:model.py", "--to", "stack:port.py"),
        *("--input", "x.npz", "-o", "a.safetensors"),
    )
    assert ended.exit_code == WRONG
    assert "stack:port.py:build keeps extra.w alone" in ended.output
    assert not (folder / "a.safetensors").exists()


def test_layers_in_training_become_cases_of_training(folder: Path) -> None:
    body = """
    own, trained = stack(), stack(momentum=0.9, bessel=False)
    own.layers[3].trained = trained.layers[3]
    return own"""
    write(folder, "model.py", body)
    for mode, operator in (((), "batch_norm"), (("--training",), "batch_norm_training")):
        out = f"mine-{operator}"
        ended = called("capture", "stack:model.py", "--input", "x.npz", "-o", out, *mode)
        assert ended.exit_code == 0, ended.output
        (case,) = [case for case in load([folder / out]) if case.operator.startswith("batch_norm")]
        assert case.id == f"{operator}/block3"
        assert set(case.inputs) == {"x", "mean", "variance", "scale", "offset"}
        assert lint([case]) == ()
    assert case.attributes == BatchNormTraining(epsilon=1e-5, momentum=0.9, bessel=False)


def test_layers_become_cases_that_load_and_lint(folder: Path) -> None:
    more = "[Stacked('again', 'relu'), Stacked('third', 'relu')]"
    write(folder, "model.py", f"return stack(between={more})")
    ended = called("capture", "stack:model.py", "--input", "x.npz", "-o", "mine")
    assert ended.exit_code == 0, ended.output
    assert "6 layers, 5 questions" in ended.output  # the second and third ReLU ask the same
    cases = {case.id: case for case in load([folder / "mine"])}
    assert set(cases) == {"conv2d/down", "relu/act", "conv2d_transpose/up", "relu/again", "batch_norm/block3"}
    assert cases["conv2d/down"].attributes.padding == ((1, 1), (1, 1))
    assert cases["conv2d_transpose/up"].inputs["w"].shape == (3, 3, 3, 4)
    assert lint(list(cases.values())) == ()
    again = called("capture", "stack:model.py", "--input", "x.npz", "-o", "mine")
    assert again.exit_code == WRONG
    assert "is there already, and nothing is overwritten" in again.output
