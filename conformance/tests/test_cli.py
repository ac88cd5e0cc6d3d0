"""The command line, as a user calls it: exit codes, what is printed where, what is written and what is not."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from typer.testing import CliRunner

from conformance.case.listing import default_root
from conformance.cli import app
from conformance.run import doctor
from conformance.run.doctor import Finding
from conformance.tests.installed import Installation, install, results

CASES = """# yaml-language-server: $schema=schema.json
operator: conv2d
about: Correlation.
defaults: {data: [normal], formats: [float32]}
cases:
  - {name: plain, about: Plain., tier: smoke, inputs: {x: [1, 4, 5, 2], w: [2, 3, 2, 3], b: [3]}}
  - name: stated
    about: A stated value.
    inputs: {x: {shape: [1, 1, 1, 1], values: [[[[2]]]]}, w: {shape: [1, 1, 1, 1], values: [[[[3]]]]}}
    data: [given]
    checks: [outputs]
    expect: {output: [[[[6]]]], digits: exact}
"""
BAD = """# yaml-language-server: $schema=schema.json
operator: conv2d
cases:
  - name: plain
    inputs: {x: [1, 4, 5, 2], w: [2, 3, 2, 3]}
    attributes: {padding: smae}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    backends = {
        "honest": "Honest",
        "flips": "FlipsKernel",
        "prints": "PrintsToStdout",
        "crashes": "AbortsInGradient",
        "lacks": "LacksItsFramework",
        "breaks": "BreaksAtTheStart",
        "rounds": "RoundsTwice",
    }
    return install(tmp_path_factory.mktemp("installed"), backends)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "conv.yaml").write_text(CASES)
    return tmp_path


def test_nothing_unexpected_is_0(installed: Installation, folder: Path) -> None:
    ended = installed.conformance("run", "cases", "-t", "honest", cwd=folder)
    assert ended.code == 0, ended.err
    assert "honest" in ended.out
    assert "AGREES" in ended.out
    assert re.search(r"^report: reports/index.html$", ended.out, re.MULTILINE)
    assert (folder / "reports" / "index.html").is_file()
    assert {path.parent.name for path in folder.glob("reports/*/*.jsonl")} == {"honest", "reference"}
    assert {record["case"] for record in results(folder / "reports")} == {"conv/plain", "conv/stated"}


def test_something_unexpected_is_1_and_named(installed: Installation, folder: Path) -> None:
    ended = installed.conformance("run", "cases", "-t", "flips", "-t", "honest", cwd=folder)
    assert ended.code == 1
    assert "conv/plain [flips-float32] DIFFERS (value)" in ended.out
    assert "got " in ended.out
    assert "[honest-float32]" not in ended.out


def test_a_process_that_dies_is_1(installed: Installation, folder: Path) -> None:
    ended = installed.conformance("run", "cases", "-t", "crashes", "--format", "json", cwd=folder)
    assert ended.code == 1
    summary = ended.json()
    assert summary["targets"]["crashes"]["verdicts"] == {"AGREES": 1, "CRASHED": 1}
    (unexpected,) = summary["unexpected"]
    assert (unexpected["case"], unexpected["target"], unexpected["verdict"]) == ("conv/plain", "crashes", "CRASHED")
    assert "SIGABRT" in unexpected["detail"]


def test_a_summary_for_ci_is_markdown(installed: Installation, folder: Path) -> None:
    ended = installed.conformance("run", "cases", "-t", "flips", "--summary", "ci/summary.md", cwd=folder)
    assert ended.code == 1
    written = (folder / "ci" / "summary.md").read_text(encoding="utf-8")
    assert "| flips | 1 | 1 |" in written
    assert "**1 unexpected**" in written
    assert "conv/plain \\[flips-float32\\] **DIFFERS**" in written


def test_a_badge_tells_of_the_newest_results(installed: Installation, folder: Path) -> None:
    ended = installed.conformance("badge", "-o", "drawn/badge.svg", cwd=folder)
    assert (ended.code, ended.out, ended.err) == (5, "", "no results are under reports\n")
    assert not (folder / "drawn").exists()
    for target, told in (("honest", "3 of 3 agree"), ("flips", "1 unexpected of 5")):
        installed.conformance("run", "cases", "-t", target, cwd=folder)
        ended = installed.conformance("badge", "-o", "drawn/badge.svg", cwd=folder)
        assert (ended.code, ended.out) == (0, "drawn/badge.svg\n")
        picture = ElementTree.parse(folder / "drawn" / "badge.svg")
        assert picture.getroot()[0].text == f"conformance: {told}"


def test_json_is_one_object_and_nothing_else(installed: Installation, folder: Path) -> None:
    ended = installed.conformance("run", "cases", "-t", "prints,honest", "--format", "json", cwd=folder)
    assert ended.code == 0
    assert ended.out.count("\n") == 1
    assert ended.err == ""
    assert ended.json() == {
        "targets": {
            "reference": {"versions": ended.json()["targets"]["reference"]["versions"], "verdicts": {"AGREES": 1}},
            "prints": {"versions": ended.json()["targets"]["honest"]["versions"], "verdicts": {"AGREES": 2}},
            "honest": {"versions": ended.json()["targets"]["honest"]["versions"], "verdicts": {"AGREES": 2}},
        },
        "unexpected": [],
        "report": "reports/index.html",
    }
    assert ended.json()["targets"]["honest"]["versions"]["fake"] == "1.2.3"


def test_a_wrong_case_is_2_with_its_place_and_nothing_is_written(installed: Installation, folder: Path) -> None:
    (folder / "cases" / "bad.yaml").write_text(BAD)
    ended = installed.conformance("run", "cases", "-t", "honest", cwd=folder)
    assert ended.code == 2
    assert ended.out == ""
    first, last = ended.err.strip().splitlines()
    assert first.startswith("cases/bad.yaml:6:27: ")
    assert "'smae'" in first
    assert "Did you mean 'same'?" in first
    assert last == "1 problem(s); nothing was run."
    assert sorted(path.name for path in folder.iterdir()) == ["cases"]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("--format", "xml"), "--format must be text or json, got 'xml'"),
        (("--formats", "float23"), "got 'float23'. Did you mean 'float32'?"),
        (("--tier", "smoky"), "got 'smoky'. Did you mean 'smoke'?"),
        (("-k", "a and"), "-k 'a and': it ends where a word is due"),
        (("-t", "scipy:"), "target 'scipy:': the device's name is missing"),
        (("-t", "scipi"), "no backend is named 'scipi'; installed are "),
        (("--floor", "none.yaml"), "none.yaml"),
        (("--deviations", "none.yaml"), "none.yaml"),
        (("nowhere.yaml",), "there is no nowhere.yaml"),
    ],
)
def test_a_wrong_call_is_2_and_nothing_is_written(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(folder)
    paths = () if arguments == ("nowhere.yaml",) else ("cases",)
    ended = CliRunner().invoke(app, ["run", *paths, "-t", "scipy", "--no-training", *arguments])
    assert (ended.exit_code, ended.stdout) == (2, "")
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr
    assert sorted(path.name for path in folder.iterdir()) == ["cases"]


def test_targets_that_cannot_start_are_3_and_told_while_the_others_go_on(
    installed: Installation, folder: Path
) -> None:
    told = {
        "lacks": "cannot import 'no_such_framework'. Install it with: pip install no-such-framework",
        "breaks": "RuntimeError: the driver is too old",
        "honest:cuda": "this fake has no device 'cuda'",
        "honest@/no/such/python": "the worker did not start",
    }
    targets = [argument for target in told for argument in ("-t", target)]
    ended = installed.conformance("run", "cases", *targets, "-t", "honest", "--format", "json", cwd=folder)
    assert ended.code == 3, ended.err
    found = ended.json()["targets"]
    for target, why in told.items():
        assert why in found[target]["error"]
        assert found[target]["verdicts"] == {}
    assert found["honest"]["verdicts"] == {"AGREES": 2}


def test_an_unknown_backend_is_2_with_what_was_meant_and_nothing_is_written(
    installed: Installation, folder: Path
) -> None:
    ended = installed.conformance("run", "cases", "-t", "onest", "-t", "honest", cwd=folder)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("no backend is named 'onest'; installed are ")
    assert ended.err.endswith("Did you mean 'honest'?\n")
    assert sorted(path.name for path in folder.iterdir()) == ["cases"]


def test_an_unknown_mode_is_2_with_those_that_there_are_and_nothing_is_written(
    installed: Installation, folder: Path
) -> None:
    ended = installed.conformance("run", "cases", "-t", "honest+compile", "-t", "honest", cwd=folder)
    assert (ended.code, ended.out) == (2, "")
    assert ended.err.startswith("target 'honest+compile': numpy has no mode 'compile'; it has none.")
    assert sorted(path.name for path in folder.iterdir()) == ["cases"]


def test_a_target_that_is_missing_is_told_once(installed: Installation, folder: Path) -> None:
    ended = installed.conformance("run", "cases", "-t", "lacks", cwd=folder)
    assert ended.code == 3
    assert " ".join(ended.out.split()).count("Install it with: pip install no-such-framework") == 1
    assert ended.err == ""


def test_something_unexpected_weighs_more_than_a_target_that_is_missing(
    installed: Installation, folder: Path
) -> None:
    assert installed.conformance("run", "cases", "-t", "flips,lacks", cwd=folder).code == 1


def test_nothing_selected_is_5_and_nothing_is_written(installed: Installation, folder: Path) -> None:
    ended = installed.conformance("run", "cases", "-t", "honest", "--tier", "smoke", "-k", "stated", cwd=folder)
    assert (ended.code, ended.out, ended.err) == (5, "", "nothing is selected\n")
    assert sorted(path.name for path in folder.iterdir()) == ["cases"]
    assert installed.conformance("list", "cases", "-k", "nothing-like-that", cwd=folder).code == 5


def test_a_training_given_itself_is_told_as_precisely_as_a_case(installed: Installation, folder: Path) -> None:
    (folder / "bad.yaml").write_text("training: bad\nsead: 1\n")
    for command in ("run", "train", "lint-cases"):
        ended = installed.conformance(command, "bad.yaml", cwd=folder)
        assert ended.code == 2
        assert "bad.yaml:2:1: unknown key 'sead'; allowed are training, " in ended.err
        assert "Did you mean 'seed'?" in ended.err
    ended = installed.conformance("list", default_root() / "training" / "mnist.yaml", cwd=folder)
    told = "nothing is selected\n2 trainings are there; conformance train asks them\n"
    assert (ended.code, ended.out, ended.err) == (5, "", told)


def test_keywords_tiers_and_formats_select(installed: Installation, folder: Path) -> None:
    arguments = ("run", "cases", "-t", "honest,flips", "--format", "json")
    ended = installed.conformance(*arguments, "-k", "plain and not flips", "--tier", "smoke", cwd=folder)
    assert {name: target["verdicts"] for name, target in ended.json()["targets"].items()} == {"honest": {"AGREES": 1}}
    assert installed.conformance(*arguments, "--formats", "float64", cwd=folder).code == 5


def test_a_deviation_on_file_makes_a_difference_expected(installed: Installation, folder: Path) -> None:
    stated = {
        "id": "flipped",
        "cases": ["conv/plain"],
        "backend": "flips",
        "outcome": "DIFFERS",
        "about": "It convolves.",
    }
    (folder / "own.yaml").write_text(json.dumps({"deviations": [{**stated, "checks": ["outputs", "gradients"]}]}))
    ended = installed.conformance(
        "run", "cases", "-t", "flips", "--deviations", "own.yaml", "--format", "json", cwd=folder
    )
    assert ended.code == 0, ended.out
    assert ended.json()["targets"]["flips"]["verdicts"] == {"AGREES": 1, "DIFFERS": 1}


def test_a_stale_deviation_is_told_and_fails_in_ci(installed: Installation, folder: Path) -> None:
    stated = {
        "id": "old",
        "cases": ["conv/*"],
        "backend": "honest",
        "outcome": "DIFFERS",
        "about": "It was so once.",
    }
    (folder / "own.yaml").write_text(json.dumps({"deviations": [stated]}))
    arguments = ("run", "cases", "-t", "honest", "--deviations", "own.yaml")
    ended = installed.conformance(*arguments, cwd=folder)
    assert ended.code == 0
    assert "stale: conv/plain [honest-float32] agrees, but old says otherwise" in ended.out
    assert installed.conformance(*arguments, cwd=folder, CI="true").code == 1


def test_too_little_agreement_is_1(installed: Installation, folder: Path) -> None:
    floor = folder / "floor.yaml"
    floor.write_text("floors: {honest: {outputs: 3, gradients: 1}}")
    ended = installed.conformance("run", "cases", "-t", "honest", "--floor", floor, cwd=folder)
    assert ended.code == 1
    assert "honest: 2 results agree in outputs, the floor is 3" in ended.out
    assert "in gradients" not in ended.out


def test_listing_names_cases_and_items(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def listed(*arguments: str) -> tuple[int, str]:
        ended = CliRunner().invoke(app, ["list", "cases", *arguments], env={"COLUMNS": "200"})
        return ended.exit_code, ended.stdout

    monkeypatch.chdir(folder)
    assert listed() == (0, "conv/plain\nconv/stated\n")
    turn = "conv/plain[tf-float32]\nconv/plain[tf-float32-channels_first]\n"
    assert listed("-t", "tf", "-k", "plain") == (0, turn)  # the tier full, in every layout
    assert listed("-t", "scipy")[0] == 5  # it has no conv2d
    assert listed("--tier", "smoke") == (0, "conv/plain\n")
    heads, *rows = (" ".join(line.split()) for line in listed("--stats")[1].splitlines())
    assert heads == "operator smoke core full float32 native outputs grads jvp second stated claims probes"
    assert rows == [f"{name} 1 2 2 2 2 2 1 1 0 1 0 0" for name in ("conv2d", "all")]
    (folder / "cases" / "bad.yaml").write_text(BAD)
    assert listed() == (2, "")


@pytest.mark.parametrize("arguments", [("--help",), ("run", "--help"), ("list",), ("list", "cases"), ("schema",)])
def test_looking_imports_no_framework_and_runs_nothing(
    installed: Installation, folder: Path, arguments: tuple[str, ...]
) -> None:
    code = (
        "import sys\n"
        "from conformance.cli import app\n"
        "try:\n    app()\n"
        "finally:\n"
        "    loaded = {name.partition('.')[0] for name in sys.modules}\n"
        "    slow = loaded & {'torch', 'tensorflow', 'keras', 'jax', 'jaxlib', 'scipy', 'pandas', 'execnet'}\n"
        "    sys.stderr.write(f'loaded: {sorted(slow)}')"
    )
    ended = installed.run("-c", code, *arguments, cwd=folder)
    assert ended.code == 0
    assert ended.err == "loaded: []"
    assert sorted(path.name for path in folder.iterdir()) == ["cases"]


def test_the_contract_of_a_backend_is_0_or_1(installed: Installation, folder: Path) -> None:
    ended = installed.conformance("check-backend", "honest", cwd=folder)
    assert ended.code == 0
    assert all(line.startswith("holds ") for line in ended.out.splitlines())
    ended = installed.conformance("check-backend", "rounds", cwd=folder)
    assert ended.code == 1
    (broken,) = (line for line in ended.out.splitlines() if line.startswith("BROKEN"))
    assert broken.startswith("BROKEN  float64 comes back bit for bit: ")
    ended = installed.conformance("check-backend", "onest", cwd=folder)
    assert (ended.code, ended.out) == (2, "")
    assert "Did you mean 'honest'?" in ended.err


@pytest.mark.parametrize(("failed", "code"), [(False, 0), (True, 3)])
def test_doctor_is_3_where_a_backend_cannot_be_asked(
    monkeypatch: pytest.MonkeyPatch, failed: bool, code: int
) -> None:
    monkeypatch.setattr(doctor, "examine", lambda: [Finding("one", failed=failed), Finding("two")])
    ended = CliRunner().invoke(app, ["doctor"])
    assert (ended.exit_code, ended.stdout) == (code, "one\ntwo\n")


def test_the_report_is_written_anew_from_runs(installed: Installation, folder: Path) -> None:
    assert installed.conformance("run", "cases", "-t", "honest", cwd=folder).code == 0
    page = folder / "reports" / "index.html"
    page.unlink()
    ended = installed.conformance("report", cwd=folder)
    assert (ended.code, ended.out) == (0, "reports/index.html\n")
    assert page.read_text().startswith("<!doctype html>")


def test_the_schema_is_the_published_one() -> None:
    printed = CliRunner().invoke(app, ["schema"])
    assert json.loads(printed.stdout) == json.loads((default_root() / "schema.json").read_text())
