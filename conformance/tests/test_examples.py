"""A package of one's own, as `examples/out_of_tree` shows it: a backend, an operator and cases beside the harness."""

import shutil
import tomllib
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from conformance.case.operators import OPERATORS, by_name
from conformance.errors import InvalidOperator
from conformance.reference.operators import OPERATORS as REFERENCES
from conformance.tests.installed import Installation, results
from conformance.verdict.references import joined
from conformance.worker import wire

EXAMPLE = Path(__file__).parents[2] / "examples" / "out_of_tree"


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An environment that has the example's package, with the entry points that its pyproject.toml declares."""
    folder = tmp_path_factory.mktemp("site")
    shutil.copytree(EXAMPLE / "src", folder, dirs_exist_ok=True)
    project = tomllib.loads((EXAMPLE / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    info = folder / "conformance_shuffling-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n", encoding="utf-8"
    )
    lines = [
        line
        for group, entries in project["entry-points"].items()
        for line in (f"[{group}]", *(f"{name} = {value}" for name, value in entries.items()))
    ]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return Installation(folder)


def test_its_backend_keeps_the_contract(environment: Installation, tmp_path: Path) -> None:
    ended = environment.conformance("check-backend", "numpy", cwd=tmp_path)
    assert ended.code == 0, ended.out + ended.err
    assert "3 operators" in ended.out  # its own two, and chains of them


def test_its_cases_are_asked_of_its_backend_and_judged_by_its_reference(
    environment: Installation, tmp_path: Path
) -> None:
    ended = environment.conformance(
        "run", "-t", "numpy", EXAMPLE / "cases", "--formats", "float32,float64", "--out", "runs", cwd=tmp_path
    )
    assert ended.code == 0, ended.out + ended.err
    found = [result for result in results(tmp_path / "runs") if result["target"] == "numpy"]
    asked = {(result["case"], result["format"]) for result in found}
    names = ("groups2", "groups3", "by-hand", "one-group", "no-divisor")
    cases = {*(f"channel_shuffle/{name}" for name in names), "flatten/ours"}
    assert asked == {(case, format_) for case in cases for format_ in ("float32", "float64")}
    assert {result["verdicts"]["outputs"]["outcome"] for result in found} == {"AGREES"}


def test_a_backend_that_has_no_such_method_says_so(environment: Installation, tmp_path: Path) -> None:
    with (environment.folder / "conformance_shuffling-0.1.0.dist-info" / "entry_points.txt").open("a") as file:
        file.write("[conformance.backends]\nhonest = conformance.tests.fakes:Honest\n")
    ended = environment.conformance("run", "-t", "honest", EXAMPLE / "cases", "--out", "runs", cwd=tmp_path)
    outcomes = {
        result["case"]: result["verdicts"]["outputs"]["outcome"]
        for result in results(tmp_path / "runs")
        if result["target"] == "honest"
    }
    assert outcomes["channel_shuffle/groups2"] == "UNSUPPORTED"
    assert outcomes["flatten/ours"] == "AGREES"
    assert ended.code == 1


def test_the_linter_and_the_schema_know_its_operator(environment: Installation, tmp_path: Path) -> None:
    assert environment.conformance("schema", cwd=tmp_path).out.count('"channel_shuffle"') >= 1
    ended = environment.conformance("list", EXAMPLE / "cases", cwd=tmp_path)
    assert "channel_shuffle/by-hand" in ended.out


def test_two_operators_of_one_name_are_refused() -> None:
    relu = OPERATORS["relu"]
    with pytest.raises(InvalidOperator, match="two operators are called 'relu'"):
        by_name((relu, replace(relu, linear=True)))


def test_two_references_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidOperator, match="two references are called 'relu'"):
        joined(REFERENCES, {"relu": REFERENCES["tanh"]})


def test_two_classes_of_one_name_do_not_travel() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Softmax:
        axis: int

    with pytest.raises(InvalidOperator, match="are called 'Softmax'"):
        wire.by_name((OPERATORS["softmax"].attributes, Softmax))
