"""The example's own test: the planted fault is found, named and mended, and honest ports agree."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from conformance.models.safetensors import read_safetensors

HERE = Path(__file__).parent


def conformance(*arguments: object, cwd: Path) -> subprocess.CompletedProcess[str]:
    code = "from conformance.cli import app; app()"
    command = [sys.executable, "-c", code, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=600, check=False)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The models, weights as they are after a training, and an input as PyTorch has it."""
    for path in HERE.glob("*.py"):
        shutil.copy(path, tmp_path)
    x = np.random.default_rng(0).standard_normal((2, 3, 16, 24)).astype(np.float32)
    np.savez(tmp_path / "x.npz", x=x)
    np.savez(tmp_path / "x_last.npz", x=np.moveaxis(x, 1, -1))
    code = (
        "import torch, unet\n"
        "model = unet.build()\n"
        "for module in model.modules():\n"
        "    if isinstance(module, torch.nn.BatchNorm2d):\n"
        "        module.running_mean.normal_(), module.running_var.uniform_(0.5, 2)\n"
        "torch.save(model.state_dict(), 'unet.pt')\n"
    )
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\n{code}"], cwd=tmp_path, check=True)
    return tmp_path


UNETS = ("--from", "torch:unet.py:build", "--weights", "unet.pt", "--to", "keras:unet_keras.py:build")


def test_the_line_that_is_told_mends_the_port(folder: Path) -> None:
    found = conformance("parity", *UNETS, "--input", "x.npz", cwd=folder)
    assert found.returncode == 1, found.stdout + found.stderr
    first = 'dec2.up: agrees with "crop from the end"; write Conv2DTranspose(16, 3, strides=2, padding="valid") + '
    assert f"{first}Cropping2D(((1, 0), (1, 0)))" in found.stdout
    assert "2 of 22 pairs differ, the first is dec2.up" in found.stdout
    port = folder / "unet_keras.py"
    told = re.search(r'strides=2, (padding="valid")\) \+ (Cropping2D\(.*\))$', found.stdout, re.MULTILINE)
    assert told is not None
    line = 'layers.Conv2DTranspose(filters, 3, strides=2, padding="same", name=f"{name}_up")(x)'
    source = port.read_text()
    assert source.count(line) == 1
    mended = line.replace('padding="same"', told[1])
    port.write_text(source.replace(line, f"layers.{told[2]}({mended})"))
    again = conformance("parity", *UNETS, "--input", "x.npz", cwd=folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "agree, layer by layer: 22 pairs, forwards and backwards" in again.stdout


def test_in_training_the_divisor_of_the_running_variance_is_all_that_differs(folder: Path) -> None:
    models = ("--from", "torch:resnet.py", "--to", "keras:resnet_keras.py", "--training")
    found = conformance("parity", *models, "--input", "x.npz", cwd=folder)
    assert found.returncode == 1, found.stdout + found.stderr
    told = [line for line in found.stdout.splitlines() if "agrees with" in line]
    assert told[0] == 'norm: agrees with "running variance with the other divisor"'
    assert len({line.partition(":")[2] for line in told}) == 1
    assert "6 of 22 pairs differ, the first is norm" in found.stdout
    ends = [line for line in found.stdout.splitlines() if line.startswith("from end to end")]
    ratio = re.search(r"ratio ([\d.e+-]+)", ends[0])
    assert ratio is not None
    assert float(ratio[1]) < 1


def test_an_honest_port_of_another_shape_agrees(folder: Path) -> None:
    models = ("--from", "torch:resnet.py", "--to", "keras:resnet_keras.py")
    found = conformance("parity", *models, "--input", "x.npz", cwd=folder)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "agree, layer by layer: 22 pairs, forwards and backwards" in found.stdout


def test_every_slip_of_a_port_is_named_with_its_line(folder: Path) -> None:
    models = ("--from", "torch:classifier.py", "--to", "keras:classifier_keras.py")
    found = conformance("parity", *models, "--input", "x.npz", cwd=folder)
    assert found.returncode == 1, found.stdout + found.stderr
    told = [line for line in found.stdout.splitlines() if "; write " in line]
    assert told == [
        'conv: agrees with "SAME for pads of one\'s own"; write ZeroPadding2D(1) + Conv2D(6, 3, strides=2)',
        "view: differs in reading; write Permute((3, 1, 2)) + Flatten()",
        'norm: agrees with "epsilon 0.001 for 1e-05"; write LayerNormalization(epsilon=1e-05)',
        "act: differs in approximate; write keras.activations.gelu(x, approximate=True)",
    ]
    assert "4 of 10 pairs differ, the first is conv" in found.stdout


def test_from_keras_to_torch_the_line_is_torchs(folder: Path) -> None:
    models = ("--from", "keras:unet_keras.py", "--to", "torch:unet.py")
    found = conformance("parity", *models, "--input", "x_last.npz", cwd=folder)
    assert found.returncode == 1, found.stdout + found.stderr
    assert "write nn.ConvTranspose2d(32, 16, 3, stride=2) + nn.ZeroPad2d((0, -1, 0, -1))" in found.stdout


def test_the_line_that_is_told_mends_the_port_to_jax(folder: Path) -> None:
    models = ("--from", "torch:unet.py", "--weights", "unet.pt", "--to", "jax:unet_jax.py")
    found = conformance("parity", *models, "--input", "x.npz", cwd=folder)
    assert found.returncode == 1, found.stdout + found.stderr
    assert 'dec2.up: agrees with "crop from the end"; write y = lax.conv_transpose(x, w, ' in found.stdout
    assert "2 of 22 pairs differ, the first is dec2.up" in found.stdout
    told = re.search(r"padding=(\(\(\d, \d\), \(\d, \d\)\))", found.stdout)
    assert told is not None
    port = folder / "unet_jax.py"
    line = 'lax.conv_transpose(x, params["up"]["w"], (2, 2), "SAME", '
    source = port.read_text()
    assert source.count(line) == 1
    port.write_text(source.replace(line, line.replace('"SAME"', told[1])))
    again = conformance("parity", *models, "--input", "x.npz", cwd=folder)
    assert again.returncode == 0, again.stdout + again.stderr
    assert "agree, layer by layer: 22 pairs, forwards and backwards" in again.stdout


def test_an_honest_port_to_jax_agrees(folder: Path) -> None:
    models = ("--from", "torch:resnet.py", "--to", "jax:resnet_jax.py")
    found = conformance("parity", *models, "--input", "x.npz", cwd=folder)
    assert found.returncode == 0, found.stdout + found.stderr
    assert "22 pairs of layers, 32 parameters carried over" in found.stdout
    assert "agree, layer by layer: 22 pairs, forwards and backwards" in found.stdout


def test_weights_travel_from_jax_to_keras_and_back_bit_by_bit(folder: Path) -> None:
    code = (
        "import jax, numpy as np, unet_jax\n"
        "leaves, tree = jax.tree_util.tree_flatten_with_path(unet_jax.build()[1])\n"
        "draw = np.random.default_rng(0).standard_normal\n"
        "named = {'.'.join(key.key for key in path): draw(leaf.shape).astype('f') for path, leaf in leaves}\n"
        "np.savez('jax.npz', **named)\n"
    )
    subprocess.run([sys.executable, "-c", f"import sys; sys.path.insert(0, '.')\n{code}"], cwd=folder, check=True)
    there = conformance(
        *("convert", "jax.npz", "--from", "jax:unet_jax.py", "--to", "keras:unet_keras.py"),
        *("--input", "x_last.npz", "-o", "keras.safetensors"),
        cwd=folder,
    )
    assert there.returncode == 0, there.stderr
    back = conformance(
        *("convert", "keras.safetensors", "--from", "keras:unet_keras.py", "--to", "jax:unet_jax.py"),
        *("--input", "x_last.npz", "-o", "jax.safetensors"),
        cwd=folder,
    )
    assert back.returncode == 0, back.stderr
    found = read_safetensors(folder / "jax.safetensors")
    with np.load(folder / "jax.npz") as start:
        assert found.keys() == set(start.files)
        assert all(found[name].data.tobytes() == start[name].tobytes() for name in start.files)


def test_the_layers_of_a_jax_model_become_cases(folder: Path) -> None:
    found = conformance("capture", "jax:unet_jax.py", "--input", "x_last.npz", "-o", "mine", cwd=folder)
    assert found.returncode == 0, found.stderr
    assert "22 layers, 18 questions" in found.stdout
    assert conformance("lint-cases", "mine", cwd=folder).returncode == 0


def test_weights_travel_to_keras_and_back_bit_by_bit(folder: Path) -> None:
    there = conformance(
        *("convert", "unet.pt", "--from", "torch:unet.py", "--to", "keras:unet_keras.py"),
        *("--input", "x.npz", "-o", "keras.safetensors"),
        cwd=folder,
    )
    assert there.returncode == 0, there.stderr
    back = conformance(
        *("convert", "keras.safetensors", "--from", "keras:unet_keras.py", "--to", "torch:unet.py"),
        *("--input", "x_last.npz", "-o", "torch.safetensors"),
        cwd=folder,
    )
    assert back.returncode == 0, back.stderr
    start = torch.load(folder / "unet.pt", weights_only=True)
    found = read_safetensors(folder / "torch.safetensors")
    assert found.keys() == start.keys()
    assert all(found[name].data.tobytes() == tensor.numpy().tobytes() for name, tensor in start.items())


def test_weights_of_another_model_are_refused_by_name_and_shape(folder: Path) -> None:
    weights = torch.load(folder / "unet.pt", weights_only=True)
    weights["enc1.conv.weight"] = torch.zeros(8, 1, 3, 3)
    torch.save(weights, folder / "unet.pt")
    found = conformance("parity", *UNETS, "--input", "x.npz", cwd=folder)
    assert found.returncode == 2
    assert "enc1.conv.weight has shape (8, 1, 3, 3), the model's has (8, 3, 3, 3)" in found.stderr


def test_the_layers_of_a_model_become_cases_that_its_framework_answers(folder: Path) -> None:
    found = conformance("capture", "torch:unet.py", "--input", "x.npz", "-o", "mine", cwd=folder)
    assert found.returncode == 0, found.stderr
    assert "22 layers, 18 questions" in found.stdout
    assert conformance("lint-cases", "mine", cwd=folder).returncode == 0
    asked = ("--formats", "float32", "--layouts", "native")
    ran = conformance("run", "-t", "torch", "mine", *asked, "--out", "runs", cwd=folder)
    assert ran.returncode == 0, ran.stdout
    assert "18 AGREES" in ran.stdout
