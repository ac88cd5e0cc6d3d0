"""`conformance.toml`: what it names, what is wrong with it, and a device that it brings along."""

import json
from pathlib import Path

import pytest

from conformance.case.job import Target
from conformance.errors import InvalidCases, InvalidTarget
from conformance.run.configuration import load_targets, target_of
from conformance.run.engine import Session
from conformance.run.plan import is_listed
from conformance.tests.installed import Installation, install
from conformance.tests.test_cli import CASES

WHOLE = """
[targets.mydev]
backend = "torch"
device = "privateuseone"
imports = ["torch_mydev"]
environment = {MYDEV_LOG = "/a//b"}
modes = ["compile"]
interpreter = ".venv/bin/python"
operators = ["conv*", "relu"]
accumulators = [
    {operators = "conv*", format = "bfloat16", check = "outputs", sums = "float32"},
    {sums = "tfloat32", format = "float32"},
]

[targets.plain]
backend = "jax"
"""


def file(folder: Path, text: str) -> Path:
    path = folder / "conformance.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_target_has_everything_that_its_table_says(tmp_path: Path) -> None:
    named = load_targets(file(tmp_path, WHOLE))
    assert named == {
        "mydev": Target(
            backend="torch",
            interpreter=".venv/bin/python",
            device="privateuseone",
            modes=("compile",),
            label="mydev",
            imports=("torch_mydev",),
            environment=(("MYDEV_LOG", "/a//b"),),
            operators=("conv*", "relu"),
            accumulators=(("conv*", "bfloat16", "outputs", "float32"), ("*", "float32", "*", "tfloat32")),
        ),
        "plain": Target(backend="jax", label="plain"),
    }
    assert named["mydev"].name == "mydev"
    assert target_of("mydev", named) is named["mydev"]
    assert target_of("torch:cuda", named) == Target(backend="torch", device="cuda")


def test_every_format_is_spelled_out_where_none_is_named(tmp_path: Path) -> None:
    text = '[targets.a]\nbackend = "torch"\naccumulators = [{sums = "float64"}]\n'
    rows = load_targets(file(tmp_path, text))["a"].accumulators
    assert [row[1] for row in rows] == ["float64", "float32", "bfloat16", "float16"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            '[targets.a]\nbackend = "torch"\ndevices = "mps"',
            "targets.a.devices: there is no such key; expected one of",
        ),
        ('[targets.a]\nbackend = "torch"\ndevices = "mps"', "Did you mean 'device'?"),
        ('[target.a]\nbackend = "torch"', "target: there is no such key; expected one of targets. Did you mean"),
        ('[targets.a]\ndevice = "mps"', "targets.a.backend: is missing"),
        ('[targets.a]\nbackend = "torch"\nmodes = "compile"', "targets.a.modes: Input should be a valid tuple, got"),
        ('[targets.a]\nbackend = "torch"\nenvironment = {A = 1}', "targets.a.environment.A: Input should be a valid"),
        ('[targets.a]\nbackend = "torch"\naccumulators = [{sums = "float31"}]', "targets.a.accumulators.0.sums: "),
        ('[targets.a]\nbackend = "torch"\naccumulators = [{sums = "float31"}]', "expected one of float64"),
        ('[targets.a]\nbackend = "torch"\naccumulators = [{sum = "float32"}]', "Did you mean 'sums'?"),
        ('[targets."a+b"]\nbackend = "torch"', "targets.a+b: String should match"),
        ('[targets.torch]\nbackend = "torch"', "targets.torch: is the name of a backend; give the target one"),
        ("targets = [", "is no TOML"),
    ],
)
def test_what_is_wrong_is_told_with_file_key_got_and_remedy(tmp_path: Path, text: str, told: str) -> None:
    path = file(tmp_path, text)
    with pytest.raises(InvalidCases) as error:
        load_targets(path)
    assert str(path) in str(error.value)
    assert told in str(error.value)


def test_a_file_that_is_named_must_be_there_the_usual_one_need_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_targets() == {}
    with pytest.raises(InvalidCases, match="cannot be read"):
        load_targets(tmp_path / "other.toml")
    file(tmp_path, WHOLE)
    assert set(load_targets()) == {"mydev", "plain"}


def test_near_names_and_more_than_a_name_are_refused(tmp_path: Path) -> None:
    named = load_targets(file(tmp_path, WHOLE))
    with pytest.raises(InvalidTarget, match="did you mean 'mydev'"):
        target_of("mydve", named)
    with pytest.raises(InvalidTarget, match="takes its device and modes from there"):
        target_of("mydev+compile", named)


def test_a_question_is_listed_with_all_its_operators() -> None:
    target = Target(backend="torch", operators=("conv*", "relu"))
    assert is_listed(target, ("conv2d",))
    assert is_listed(target, ("chain", "conv1d", "relu"))
    assert not is_listed(target, ("chain", "conv1d", "dense"))
    assert is_listed(Target(backend="torch"), ("dense",))


def test_declared_accumulators_come_before_the_adapter_s() -> None:
    row = ("conv2d", "float32", "outputs", "bfloat16")
    session = Session(Target(backend="fake", accumulators=(row,)), path="conformance.tests.fakes:Honest")
    try:
        assert session.description.accumulators[0] == row
        assert len(session.description.accumulators) == 3
    finally:
        session.close()


# From the command line


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("installed")
    (folder / "registers.py").write_text("import os\nos.environ['REGISTERED'] = os.environ.get('MYDEV', '')\n")
    (folder / "breaks.py").write_text("raise OSError('the driver is too old')\n")
    return install(folder, {"honest": "Honest", "registered": "Registered"})


def run(installed: Installation, folder: Path, text: str, *more: str) -> tuple[int, str]:
    (folder / "cases").mkdir()
    (folder / "cases" / "conv.yaml").write_text(CASES)
    file(folder, text)
    ended = installed.conformance("run", "cases", "-t", "mydev", *more, cwd=folder)
    return ended.code, ended.out + ended.err


def test_a_named_target_runs_with_its_imports_and_environment(installed: Installation, tmp_path: Path) -> None:
    text = '[targets.mydev]\nbackend = "registered"\nimports = ["registers"]\nenvironment = {MYDEV = "yes"}\n'
    code, told = run(installed, tmp_path, text)
    assert (code, "mydev" in told) == (0, True), told
    assert list((tmp_path / "reports" / "mydev").glob("*.jsonl"))


def test_without_them_it_says_what_the_device_says(installed: Installation, tmp_path: Path) -> None:
    code, told = run(installed, tmp_path, '[targets.mydev]\nbackend = "registered"\n')
    assert code == 3
    assert "no device has registered" in told


def test_an_import_that_fails_is_told(installed: Installation, tmp_path: Path) -> None:
    code, told = run(installed, tmp_path, '[targets.mydev]\nbackend = "honest"\nimports = ["breaks"]\n')
    assert code == 3
    assert "cannot import 'breaks', which it names: OSError: the driver is too old" in told


def test_operators_that_are_not_listed_are_counted_as_not_asked(installed: Installation, tmp_path: Path) -> None:
    text = '[targets.mydev]\nbackend = "honest"\noperators = ["max_*"]\n'
    code, told = run(installed, tmp_path, text, "--format", "json", "--summary", "summary.md")
    assert code == 0, told
    assert json.loads(told)["targets"]["mydev"] == {"versions": {}, "verdicts": {}, "not_asked": 2}
    assert "- mydev: 2 not asked" in (tmp_path / "summary.md").read_text()


def test_a_wrong_file_ends_the_call(installed: Installation, tmp_path: Path) -> None:
    code, told = run(installed, tmp_path, '[targets.mydev]\nbackend = "honest"\nmode = ["compile"]\n')
    assert code == 2
    assert "conformance.toml: targets.mydev.mode: there is no such key" in told
    assert "Did you mean 'modes'?" in told
