"""Cases that got another name, and the version of the suite: what is written, and who follows it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from conformance.case.listing import default_root, suite_version
from conformance.case.loading import as_yaml, load
from conformance.case.model import Case
from conformance.cli import app
from conformance.errors import InvalidCases
from conformance.report.collection import collect
from conformance.report.comparison import as_json, markdown, text, write_page
from conformance.run.comparison import compare_runs, measured
from conformance.run.store import RunWriter, case_record, present_names, read_run
from conformance.tests.installed import Installation, install
from conformance.tests.shipped import shipped
from conformance.tests.test_deviations import ON_FILE
from conformance.tests.test_report import case_of, describe, result_of, write_run
from conformance.verdict.deviations import require_present_names, shipped_deviations
from conformance.verdict.model import Outcome

HEAD = """# yaml-language-server: $schema=schema.json
operator: relu
defaults: {inputs: {x: [2, 3]}}
cases:
"""


def loaded(folder: Path, cases: str) -> tuple[Case, ...]:
    (folder / "relu.yaml").write_text(HEAD + cases)
    return load([folder])


def told(folder: Path, cases: str) -> list[str]:
    with pytest.raises(InvalidCases) as caught:
        loaded(folder, cases)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


# In a case file -----------------------------------------------------------------------------------------------------


def test_one_id_or_several_are_read_and_written(tmp_path: Path) -> None:
    one, several, none = loaded(
        tmp_path,
        "- {name: a, was: relu/x}\n- {name: b, was: [relu/y, seeds/old/z]}\n- {name: c}\n",
    )
    assert [case.was for case in (one, several, none)] == [("relu/x",), ("relu/y", "seeds/old/z"), ()]
    (tmp_path / "again").mkdir()
    (tmp_path / "again" / "relu.yaml").write_text(as_yaml(several))
    (again,) = load([tmp_path / "again"])
    assert again.was == several.was
    assert case_record(several).was == several.was


def test_a_matrix_names_former_ids_as_it_names_cases(tmp_path: Path) -> None:
    text = (
        '- {name: "size{inputs.x.shape}", was: "relu/of-{inputs.x.shape}", matrix: {inputs.x.shape: [[1], [2, 3]]}}\n'
    )
    found = loaded(tmp_path, text)
    assert [(case.id, case.was) for case in found] == [
        ("relu/size1", ("relu/of-1",)),
        ("relu/size2x3", ("relu/of-2x3",)),
    ]


@pytest.mark.parametrize(
    ("cases", "problem"),
    [
        (
            "- {name: a, was: relu/b}\n- {name: b}\n",
            "relu.yaml:5:18: was names an id that a case had; 'relu/b' is the id of one now, at relu.yaml:6:10",
        ),
        (
            "- {name: a, was: relu/a}\n",
            "relu.yaml:5:18: was names an id that a case had; 'relu/a' is the id of one now, at relu.yaml:5:10",
        ),
        (
            "- {name: a, was: relu/x}\n- {name: b, was: relu/x}\n",
            "relu.yaml:6:18: was says 'relu/x', which 'relu/a' was; an id leads to one case",
        ),
        ("- {name: a, was: old}\n", "relu.yaml:5:18: was takes ids, such as 'relu/a', got 'old'"),
        (
            "- {name: a, was: relu/Old}\n",
            "relu.yaml:5:18: a name is made of a-z, 0-9, '.', '_' and '-', got 'Old'",
        ),
        ("- {name: a, was: Relu/old}\n", "relu.yaml:5:18: was takes ids, such as 'relu/a', got 'Relu/old'"),
        ("- {name: a, was: 3}\n", "relu.yaml:5:18: was must be the id that the case had, or a list of ids, got [3]"),
    ],
)
def test_what_is_wrong_is_told_with_its_place(tmp_path: Path, cases: str, problem: str) -> None:
    assert told(tmp_path, cases) == [problem]


def test_it_is_no_default(tmp_path: Path) -> None:
    (tmp_path / "relu.yaml").write_text(HEAD.replace("{inputs:", "{was: relu/x, inputs:") + "- {name: a}\n")
    with pytest.raises(InvalidCases, match="unknown key 'was'"):
        load([tmp_path])


# In runs ------------------------------------------------------------------------------------------------------------


def test_a_renamed_case_is_compared_with_itself(tmp_path: Path) -> None:
    before = write_run(tmp_path / "before", [(result_of("conv2d/old"), case_of("conv2d/old"))])
    new = case_of("conv2d/new", was=("conv2d/older", "conv2d/old"))
    after = write_run(tmp_path / "after", [(result_of("conv2d/new", Outcome.DIFFERS), new)])
    for first, second, worse in ((before, after, True), (after, before, False)):
        found = compare_runs(measured(first), measured(second))
        assert (found.new, found.gone) == ((), ())
        (pair,) = found.changed
        assert (pair.question.case, pair.before.case, pair.after.case) == ("conv2d/new",) * 3
        assert pair.worse is worse
    assert "conv2d/old" not in text(compare_runs(measured(before), measured(after)))


def test_without_the_former_id_it_is_gone_and_new(tmp_path: Path) -> None:
    before = write_run(tmp_path / "before", [(result_of("conv2d/old"), case_of("conv2d/old"))])
    after = write_run(tmp_path / "after", [(result_of("conv2d/new"), case_of("conv2d/new"))])
    found = compare_runs(measured(before), measured(after))
    assert [result.case for result in (*found.gone, *found.new)] == ["conv2d/old", "conv2d/new"]


def test_a_folder_s_history_follows_it(tmp_path: Path) -> None:
    write_run(tmp_path, [(result_of("conv2d/old", Outcome.DIFFERS), case_of("conv2d/old"))])
    write_run(tmp_path, [(result_of("conv2d/new"), case_of("conv2d/new", was=("conv2d/old",)))])
    results = measured(tmp_path / "torch").results
    assert [(question.case, result.outcome) for question, result in results.items()] == [
        ("conv2d/new", Outcome.AGREES)
    ]


def test_the_report_has_one_row_for_it_with_its_arrays(tmp_path: Path) -> None:
    arrays = {"normal/operand/x": np.arange(3.0)}
    old = replace(result_of("conv2d/old"), evidence=arrays)
    write_run(tmp_path, [(old, case_of("conv2d/old"))], target="jax")
    write_run(tmp_path, [(result_of("conv2d/new"), case_of("conv2d/new", was=("conv2d/old",)))])
    collection = collect(tmp_path)
    assert list(collection.by_case) == ["conv2d/new"]
    assert list(collection.cases) == ["conv2d/new"]
    row = {column.target: entry for column, entry in collection.by_case["conv2d/new"].items()}
    assert sorted(row) == ["jax", "torch"]
    np.testing.assert_array_equal(row["jax"].run.evidence(row["jax"].result)["normal/operand/x"], np.arange(3.0))


def test_names_are_followed_step_by_step_and_may_be_taken_up_again(tmp_path: Path) -> None:
    steps = (("b", ("a",)), ("c", ("b",)), ("a", ()))
    runs = [
        read_run(write_run(tmp_path, [(result_of(f"conv2d/{name}"), case_of(f"conv2d/{name}", was=was))]))
        for name, was in ((name, tuple(f"conv2d/{old}" for old in was)) for name, was in steps)
    ]
    assert present_names(runs[:2]) == {"conv2d/a": "conv2d/c", "conv2d/b": "conv2d/c"}
    assert present_names(runs) == {"conv2d/b": "conv2d/c"}
    back = read_run(write_run(tmp_path, [(result_of("conv2d/b"), case_of("conv2d/b", was=("conv2d/c",)))]))
    assert present_names([*runs[:2], back]) == {"conv2d/a": "conv2d/b", "conv2d/c": "conv2d/b"}


def test_runs_of_earlier_versions_know_no_former_ids(tmp_path: Path) -> None:
    path = write_run(tmp_path, [(result_of("conv2d/a"), case_of("conv2d/a"))])
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for line in lines:
        line.pop("was", None)
        line.pop("suite", None)
    path.write_text("\n".join(map(json.dumps, lines)) + "\n")
    run = read_run(path)
    assert (run.cases["conv2d/a"].was, run.header.suite) == ((), "")


# In deviations ------------------------------------------------------------------------------------------------------


def test_a_deviation_on_a_former_id_is_told_the_new_one(tmp_path: Path) -> None:
    cases = loaded(tmp_path, "- {name: a, was: relu/x}\n- {name: b}\n")
    require_present_names([replace(ON_FILE, cases=("relu/a", "relu/*", "elsewhere/gone"))], cases)
    with pytest.raises(InvalidCases) as caught:
        require_present_names([replace(ON_FILE, id="mine", cases=("relu/b", "relu/x"))], cases)
    assert str(caught.value) == "deviation mine: 'relu/x' names no case; 'relu/x' is called 'relu/a' now, write that"


def test_the_shipped_deviations_name_cases_by_their_present_ids() -> None:
    require_present_names(shipped_deviations(), shipped())


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("installed"), {"honest": "Honest"})


def test_the_command_says_so(installed: Installation, tmp_path: Path) -> None:
    (tmp_path / "relu.yaml").write_text(HEAD + "- {name: a, was: relu/x}\n")
    mine = "deviations:\n- {id: mine, cases: [relu/x], backend: honest, outcome: DIFFERS, about: It leaks.}\n"
    (tmp_path / "mine.yaml").write_text(mine)
    run = ("run", "relu.yaml", "-t", "honest", "--out", "out")
    ended = installed.conformance(*run, "--deviations", "mine.yaml", cwd=tmp_path)
    assert ended.code == 2
    assert "'relu/x' is called 'relu/a' now, write that" in ended.err
    assert installed.conformance(*run, cwd=tmp_path).code == 0
    assert [read_run(path).header.suite for path in (tmp_path / "out" / "honest").glob("*.jsonl")] == [""]


def test_statistics_tell_the_version_of_the_shipped_cases(tmp_path: Path) -> None:
    line = f"The shipped cases are of version {suite_version([])}."
    assert line in CliRunner().invoke(app, ["list", "--stats", "-k", "relu"]).stdout
    loaded(tmp_path, "- {name: a}\n")
    shown = CliRunner().invoke(app, ["list", str(tmp_path), "--stats"]).stdout
    assert "relu" in shown
    assert "version" not in shown


# The version of the suite -------------------------------------------------------------------------------------------


def test_the_shipped_cases_have_a_version_and_others_none(tmp_path: Path) -> None:
    version = (default_root() / "VERSION").read_text().strip()
    assert version.isdigit()
    assert suite_version([]) == suite_version([default_root() / "operators" / "relu.yaml"]) == version
    assert suite_version([tmp_path]) == suite_version([default_root(), tmp_path]) == ""


def versioned(folder: Path, suite: str) -> Path:
    writer = RunWriter(folder, "torch", describe("torch"), suite=suite)
    writer.result(result_of("conv2d/a"), case_of("conv2d/a"))
    writer.close(complete=True)
    return writer.path


@pytest.mark.parametrize(("before", "after", "said"), [("1", "2", True), ("2", "2", False), ("", "2", False)])
def test_a_comparison_says_where_versions_differ(tmp_path: Path, before: str, after: str, said: bool) -> None:
    one, other = versioned(tmp_path / "one", before), versioned(tmp_path / "other", after)
    assert read_run(other).header.suite == after
    found = compare_runs(measured(one), measured(other))
    line = "The cases are of version 1 before and 2 after."
    page = tmp_path / "page.html"
    write_page(found, page)
    assert [line in part for part in (text(found), markdown(found), page.read_text())] == [said] * 3
    assert [as_json(found)[side]["cases"] for side in ("before", "after")] == [before, after]
