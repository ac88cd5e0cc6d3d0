"""The mutation score finds the holes of a weak set of cases, and none in the shipped one."""

from pathlib import Path

import pytest
from typer.testing import CliRunner

from conformance.case.loading import load
from conformance.cli import app
from conformance.run.mutate import Mutant, Score, mutate
from conformance.tests.shipped import core

WEAK = """operator: conv2d
cases:
- name: square
  inputs:
    x: {shape: [2, 5, 5, 2], fill: ones}
    w: {shape: [3, 3, 2, 2], fill: ones}
    b: {shape: [2], fill: ones}
  attributes: {padding: same}
  cotangents: {output: {shape: [2, 5, 5, 2], fill: ones}}
"""
BETTER = (
    WEAK
    + """- {name: even, inputs: {x: [2, 5, 6, 2], w: [2, 3, 2, 2], b: [2]}, attributes: {padding: same}}
"""
)


def cases_of(folder: Path, text: str) -> Score:
    path = folder / "weak.yaml"
    path.write_text(text)
    return mutate(load([path]))


def by_name(score: Score) -> dict[str, Mutant]:
    return {mutant.variant.name: mutant for mutant in score.mutants}


@pytest.fixture(scope="module")
def score() -> Score:
    return mutate(core())


def test_the_shipped_cases_notice_every_variant(score: Score) -> None:
    assert [(mutant.operator, mutant.variant.name) for mutant in score.alive] == []
    assert len(score.mutants) >= 700
    assert all(mutant.killers and not mutant.survived for mutant in score.mutants)


def test_a_killer_is_a_case_of_the_operator(score: Score) -> None:
    operators = {case.id: case.operator for case in core()}
    for mutant in score.mutants:
        assert [operators[case] for case in mutant.killers] == [mutant.operator]
        assert not mutant.killers[0].startswith("seeds/")


@pytest.mark.parametrize(
    "name",
    [
        "kernel flipped",
        "kernel axes transposed",
        "input gradient with the kernel the other way round",
        "cotangent taken as ones",
        "batch reversed",
        "channels reversed",
        "inputs rounded to TF32",
    ],
)
def test_symmetric_cases_with_ones_let_variants_survive(tmp_path: Path, name: str) -> None:
    mutant = by_name(cases_of(tmp_path, WEAK))[name]
    assert mutant.status == "survived"
    assert mutant.survived == ("weak/square",)


@pytest.mark.parametrize("name", ["SAME_LOWER", "dilation ignored", "groups in reverse order", "pads swapped"])
def test_what_no_case_asks_about_is_equivalent_and_counts(tmp_path: Path, name: str) -> None:
    score = cases_of(tmp_path, WEAK)
    mutant = by_name(score)[name]
    assert (mutant.status, mutant.killers, mutant.survived) == ("equivalent", (), ())
    assert mutant in score.alive


def test_another_case_kills_them(tmp_path: Path) -> None:
    found = by_name(cases_of(tmp_path, BETTER))
    for name in ("kernel flipped", "SAME_LOWER", "cotangent taken as ones", "inputs rounded to TF32"):
        assert found[name].killers == ("weak/even",)
        assert found[name].survived == ()


def test_some_are_noticed_even_by_ones(tmp_path: Path) -> None:
    found = by_name(cases_of(tmp_path, WEAK))
    assert found["bias dropped"].killers == ("weak/square",)
    assert found["padding ignored"].status == "killed"


def test_all_cases_are_asked_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "weak.yaml"
    path.write_text(BETTER)
    found = by_name(mutate(load([path]), every=True))
    assert found["bias dropped"].killers == ("weak/square", "weak/even")
    assert found["kernel flipped"].survived == ("weak/square",)
    # The square case leaves SAME_LOWER nothing to change, and is no survivor.
    assert found["SAME_LOWER"].survived == ()


def test_a_keyword_and_a_tier_choose(score: Score) -> None:
    cases = core()
    assert mutate(cases, keyword="conv1d and not transpose").operators == ("conv1d",)
    assert 0 < len(mutate(cases, tier="smoke").mutants) < len(score.mutants)
    assert mutate(cases, keyword="seeds").mutants == ()
    assert mutate(cases, keyword="rejects").mutants == ()


def test_the_command_tells_what_to_add(tmp_path: Path) -> None:
    path = tmp_path / "weak.yaml"
    path.write_text(WEAK)
    told = CliRunner().invoke(app, ["mutate", str(path)])
    assert told.exit_code == 1
    assert (
        "conv2d: no case notices 'kernel flipped'; add a case with a kernel of several taps with unequal numbers"
        in told.output
    )
    assert (
        "conv2d: no case could notice 'SAME_LOWER'; add a case with SAME with an even kernel or window" in told.output
    )


def test_the_command_is_content_with_the_shipped_cases() -> None:
    told = CliRunner().invoke(app, ["mutate", "-k", "flatten/ or bias_add/"])
    assert told.exit_code == 0
    assert "variants of 2 operators are noticed" in told.output
    assert CliRunner().invoke(app, ["mutate", "-k", "nothing-is-called-so"]).exit_code == 5


def test_survivors_are_listed_by_case_on_demand(tmp_path: Path) -> None:
    path = tmp_path / "weak.yaml"
    path.write_text(BETTER)
    told = CliRunner().invoke(app, ["mutate", "--all", str(path)])
    assert "weak/square does not notice: kernel flipped" in told.output
