"""Reproduction scripts: each runs in a process of its own and says what the harness said."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.backends.base import CallLog, Names, Recorded
from conformance.backends.jax.backend import JaxBackend
from conformance.case.families.sampling import RandomDropout
from conformance.case.job import Target
from conformance.run.reproduction import reproduce
from conformance.run.script import CannotReproduce
from conformance.tests.installed import Ended, Installation, install, results
from conformance.tests.questions import case

CASES = """# yaml-language-server: $schema=schema.json
operator: relu
about: "Negative\\nbecomes 0."
cases:
  - {name: few, data: [normal], formats: [float32, float64], inputs: {x: [2, 3]}}
  - {name: many, data: [normal], inputs: {x: [20, 30]}}
  - {name: none, data: [normal], formats: [float32], inputs: {x: [0, 3]}}
  - name: endless
    data: [given]
    formats: [float32, float16]
    inputs: {x: {shape: [4], values: [.inf, -.inf, .nan, -0.1]}}
"""
MORE = """# yaml-language-server: $schema=schema.json
operator: flatten
cases:
  - {name: rows, data: [normal], formats: [float32], checks: [outputs], inputs: {x: [2, 3, 2]}}
"""
DENSE = """# yaml-language-server: $schema=schema.json
operator: dense
cases:
  - {name: biased, data: [normal, wide], formats: [float16], checks: [outputs], inputs: {x: [3, 4], w: [4, 2]}}
  - name: unfit
    checks: [outputs]
    inputs: {x: [3, 4], w: [5, 2]}
    expect: {error: true}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    backends = {"itself": "NumPyItself", "leaks": "NumPyReluLeaks", "pulls": "NumPyPullsBack", "honest": "Honest"}
    return install(tmp_path_factory.mktemp("installed"), backends)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cases").mkdir()
    for name, text in (("relu", CASES), ("flatten", MORE), ("dense", DENSE)):
        (tmp_path / "cases" / f"{name}.yaml").write_text(text)
    return tmp_path


def run(script: Path) -> Ended:
    """Runs a script as a stranger would: elsewhere, without this package."""
    done = subprocess.run(
        [sys.executable, "-I", str(script)], cwd="/", capture_output=True, text=True, timeout=60, check=False
    )
    return Ended(done.returncode, done.stdout, done.stderr)


def written(installed: Installation, folder: Path, case: str, target: str, *more: str) -> str:
    ended = installed.conformance("repro", case, "cases", "-t", target, "-o", "out/script.py", *more, cwd=folder)
    assert ended.code == 0, ended.err
    return (folder / "out" / "script.py").read_text(encoding="utf-8")


def test_an_honest_backend_agrees_in_its_script(installed: Installation, folder: Path) -> None:
    text = written(installed, folder, "relu/few", "itself")
    lines = text.splitlines()
    assert lines[0] == "# relu/few on itself, float32, normal data: Negative becomes 0."
    assert lines[1].startswith(f"# Seen with numpy {np.__version__}: outputs AGREES")
    assert "output = np.maximum(x, np.array([0.0], 'float32'))" in lines
    assert "np.seterr(all='raise')" in lines
    assert "import fractions" not in lines
    assert "conformance" not in text
    assert len(lines) < 30
    ended = run(folder / "out" / "script.py")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("output: agrees\nexpected\n")
    assert ended.out.endswith("\nagrees\n")
    assert not (folder / "out" / "script.npz").exists()


def test_a_fault_differs_in_its_script(installed: Installation, folder: Path) -> None:
    written(installed, folder, "relu/few", "leaks", "--format", "float64")
    ended = run(folder / "out" / "script.py")
    assert ended.code == 1
    assert "output: differs" in ended.out
    assert ended.out.endswith("\ndiffers\n")


def test_gradients_come_the_way_that_the_adapter_says(installed: Installation, folder: Path) -> None:
    text = written(installed, folder, "relu/few", "pulls")
    assert "gradient_x = np.where(x > 0, cotangent_output, x.dtype.type(0))" in text
    ended = run(folder / "out" / "script.py")
    assert ended.code == 0, ended.out + ended.err
    assert "gradient of x: agrees" in ended.out


def test_a_run_keeps_the_script_of_what_is_to_be_reported(installed: Installation, folder: Path) -> None:
    given = ("-k", "relu", "--formats", "float32", "--no-training", "--out", "runs")
    installed.conformance("run", "cases", "-t", "leaks", "-t", "itself", *given, cwd=folder)
    kept = {(record["target"], record["case"]): record["script"] for record in results(folder / "runs")}
    assert kept["leaks", "relu/few"] == written(installed, folder, "relu/few", "leaks")
    # What agrees needs none, and nobody pastes what is long.
    assert kept["itself", "relu/few"] == kept["leaks", "relu/many"] == ""


def test_many_numbers_stand_beside_the_script(installed: Installation, folder: Path) -> None:
    text = written(installed, folder, "relu/many", "itself")
    assert 'x = np.array(data["x"], "float32")' in text
    assert (folder / "out" / "script.npz").is_file()
    assert run(folder / "out" / "script.py").code == 0
    # Printed, it holds them all.
    ended = installed.conformance("repro", "relu/many", "cases", "-t", "itself", cwd=folder)
    assert "np.load" not in ended.out
    (folder / "printed.py").write_text(ended.out)
    assert run(folder / "printed.py").code == 0


@pytest.mark.parametrize("format_", ["float32", "float16"])
def test_infinities_and_nan_are_written_so_that_they_run(installed: Installation, folder: Path, format_: str) -> None:
    text = written(installed, folder, "relu/endless", "itself", "--format", format_)
    assert "from numpy import inf, nan" in text
    text = text.replace("np.seterr(all='raise')\n", "")  # as the honest fake's own NaN is none of its concern here
    (folder / "out" / "script.py").write_text(text)
    ended = run(folder / "out" / "script.py")
    assert (ended.code, ended.err) == (0, "")


def test_every_data_set_and_short_formats_can_be_asked(installed: Installation, folder: Path) -> None:
    written(installed, folder, "relu/none", "itself")
    assert run(folder / "out" / "script.py").code == 0
    for data in ("normal", "wide"):
        text = written(installed, folder, "dense/biased", "itself", "--data", data)
        assert f"float16, {data} data" in text
        assert run(folder / "out" / "script.py").code == 0


def test_a_refusal_is_reproduced(installed: Installation, folder: Path) -> None:
    text = written(installed, folder, "flatten/rows", "leaks")
    assert "    np.reshape(x, (2, 5))" in text
    ended = run(folder / "out" / "script.py")
    assert ended.code == 1
    assert ended.err.startswith("ValueError: ")
    assert ended.err.endswith("differs\n")


def test_a_right_refusal_agrees(installed: Installation, folder: Path) -> None:
    written(installed, folder, "dense/unfit", "itself")
    ended = run(folder / "out" / "script.py")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("ValueError: matmul")
    assert ended.out.endswith("agrees\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("relu/fewer", "cases", "-t", "itself"), "Did you mean 'relu/few'?"),
        (
            ("relu/few", "cases", "-t", "itself", "--format", "float16"),
            "no format 'float16'; it has float32, float64",
        ),
        (("relu/few", "cases", "-t", "itself", "--data", "wide"), "no data 'wide'; it has normal"),
        (("relu/few", "cases", "-t", "honest"), "names no imports"),
        (("relu/few", "cases", "-t", "nobody"), "no backend is named 'nobody'"),
    ],
)
def test_what_cannot_be_had_is_told(
    installed: Installation, folder: Path, arguments: tuple[str, ...], told: str
) -> None:
    ended = installed.conformance("repro", *arguments, cwd=folder)
    assert (ended.code, ended.out) == (2, "")
    assert told in ended.err
    assert "Traceback" not in ended.err


def test_an_output_that_two_layers_share_is_named_twice() -> None:
    log = CallLog()
    x = np.zeros(2)
    log.name(x, "x")
    y = Recorded(np, "np", log).add(x, x)
    assert log.lines({"first": y, "last-one": y}) == ("first = np.add(x, x)", "last_one = first")


def test_a_type_is_written_by_its_name() -> None:
    log = CallLog()
    Recorded(np, "np", log).ones((2,), np.dtype("float32"))
    assert log.lines({}) == ("t1 = np.ones((2,), 'float32')",)


def test_a_script_of_jax_hands_its_state_over() -> None:
    """An output that has an operand's name is assigned inside a function, and read there before."""
    names = Names(
        operands=("x", "mean"),
        outputs=("output", "mean"),
        heads=("output",),
        cotangents=("g",),
        sources=("x",),
        gradients=("gradient_x",),
    )
    lines = JaxBackend.script(("output = x * mean", "mean = mean + 1.0"), names)
    assert "    def forward(x, mean=mean):" in lines
    function = "\n".join(line for line in lines if "jax" not in line and not line.startswith("["))
    function = function.replace("return outputs, pull([g])", "return forward(x)")
    scope: dict[str, Any] = {}
    exec(function, scope)
    assert scope["run"](2.0, 3.0, 1.0) == ([6.0], [6.0, 4.0])


def test_a_sample_has_no_script() -> None:
    question = case("random_dropout", RandomDropout(rate=0.5), inputs={"x": (3, 4)})
    with pytest.raises(CannotReproduce, match="draws its own numbers"):
        reproduce(question, Target(backend="torch"))
