"""The record of what checks the checker: made, failed, written, read, shown."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from conformance.case.job import Target
from conformance.case.loading import load
from conformance.case.operators import OPERATORS
from conformance.cli import app
from conformance.errors import InvalidStore
from conformance.report.collection import collect
from conformance.report.page import render
from conformance.report.selfcheck import number, share, text
from conformance.run import handworked, selfcheck
from conformance.run.selfcheck import Check, Selfcheck, check_reference, check_target, faults_of
from conformance.tests import fakes
from conformance.tests.questions import CONV
from conformance.verdict import oracle
from conformance.verdict.properties import PROPERTIES

PATH = "conformance.tests.fakes:{}"
FAKE = Target(backend="fake")


@pytest.fixture(scope="module")
def record() -> Selfcheck:
    with pytest.MonkeyPatch.context() as patch:
        for count in ("EXACT_QUESTIONS", "HONEST_QUESTIONS", "PROPERTY_QUESTIONS"):
            patch.setattr(selfcheck, count, 1)
        return check_reference((CONV,))


def by_name(record: Selfcheck) -> dict[str, Check]:
    return {check.name: check for check in record.checks}


def test_one_case_leaves_holes_and_everything_else_holds(record: Selfcheck) -> None:
    """One convolution shows no dilation, no groups and no other operator: the score says so, and the table."""
    checks = by_name(record)
    assert [name for name, check in checks.items() if not check.passed] == ["mutation score", "detectors"]
    assert not record.passed
    assert "conv2d: no case notices 'dilation ignored'" in checks["mutation score"].faults
    assert {f"property: {each.name}" for each in PROPERTIES} < set(checks)
    assert any("reference, mutation score" in line for line in faults_of([record]))


def test_everything_is_counted(record: Selfcheck) -> None:
    for check in record.checks:
        assert next(iter(check.figures.values())) > 0, check.name
    rule = record.detectors[0]
    assert rule.name == "this rule"
    assert rule.alarms == 0
    assert rule.arrays > 500
    assert rule.faults == by_name(record)["mutation score"].figures["variants"]


def test_a_record_is_read_as_it_was_written(record: Selfcheck, tmp_path: Path) -> None:
    path = selfcheck.write(record, tmp_path)
    assert path == tmp_path / "selfcheck" / "reference.json"
    assert selfcheck.read(path) == record
    assert selfcheck.find(tmp_path) == (path,)
    assert [found.name for found in path.parent.iterdir()] == ["reference.json"]


def test_what_is_no_record_is_told_on_the_page(record: Selfcheck, tmp_path: Path) -> None:
    path = selfcheck.write(record, tmp_path)
    path.with_name("torch.json").write_text("{}")
    later = path.read_text().replace('"layout": 1', '"layout": 9')
    path.write_text(later)
    with pytest.raises(InvalidStore, match="layout 9"):
        selfcheck.read(path)
    found = collect(tmp_path)
    assert found.selfchecks == ()
    assert ["reference.json" in found.problems[0], "torch.json" in found.problems[1]] == [True, True]


def test_the_page_shows_the_figures(record: Selfcheck, tmp_path: Path) -> None:
    selfcheck.write(record, tmp_path)
    page = render(collect(tmp_path)).text
    assert "Why believe it" in page
    rational = by_name(record)["rational arithmetic"]
    assert f"{rational.figures['elements']:,.0f} elements" in page
    assert "something is wrong" in page
    for score in record.detectors:
        assert score.name in page
        assert f"{score.noticed:,} of {score.faults:,}" in page
    assert "Why believe it" not in render(collect(tmp_path / "nothing")).text


def test_the_page_says_where_a_record_is_of_another_build(record: Selfcheck, tmp_path: Path) -> None:
    selfcheck.write(record, tmp_path)
    assert "of another build" not in render(collect(tmp_path)).text
    selfcheck.write(replace(record, reference="0123456789abcdef"), tmp_path)
    assert "of another build" in render(collect(tmp_path)).text


def test_the_terminal_shows_the_figures(record: Selfcheck) -> None:
    told = text(record)
    assert "PASS  rational arithmetic" in told
    assert "FAIL  mutation score" in told
    assert "reference: wrong: mutation score, detectors" in told


@pytest.mark.parametrize(
    ("part", "whole", "told"),
    [(0, 7, "0 %"), (7, 7, "100 %"), (1, 3, "33.3 %"), (1, 10_000, "0.01 %"), (99_999, 100_000, "99.999 %")],
)
def test_a_share_is_never_rounded_to_all_or_nothing(part: int, whole: int, told: str) -> None:
    assert share(part, whole) == told


def test_numbers_are_told_shortly() -> None:
    assert [number(n) for n in (1234567, 0.98765, float("inf"), 0)] == ["1,234,567", "0.988", "exact", "0"]


def test_hand_worked_numbers_cover_what_they_say() -> None:
    assert list(handworked.wrong()) == []
    assert {entry.operator for entry in handworked.HAND_WORKED} <= set(OPERATORS)


@pytest.mark.parametrize("operator", sorted({entry.operator for entry in handworked.HAND_WORKED}))
def test_a_reference_that_is_off_by_a_bit_is_told_by_hand(monkeypatch: pytest.MonkeyPatch, operator: str) -> None:
    honest = oracle.REFERENCE[operator]

    def forward(**given: Any) -> dict[str, Any]:
        return {name: np.nextafter(value, np.inf) for name, value in honest.forward(**given).items()}

    monkeypatch.setattr(oracle, "REFERENCE", {**oracle.REFERENCE, operator: replace(honest, forward=forward)})
    assert all(line.startswith(f"{operator}: output is") for line in handworked.wrong())
    assert list(handworked.wrong())


def test_an_honest_target_passes() -> None:
    record = check_target(FAKE, (CONV,), elements=20_000, path=PATH.format(fakes.Honest.__name__))
    assert record.passed
    assert (record.subject, record.versions["fake"]) == ("fake", "1.2.3")
    assert by_name(record)["false alarms"].figures["false alarms"] == 0
    assert record.detectors[0].alarms == 0
    assert record.detectors[0].elements >= 5_000


def test_a_wrong_target_fails_with_cases_to_paste(tmp_path: Path) -> None:
    record = check_target(FAKE, (CONV,), elements=5_000, path=PATH.format(fakes.MeansByPlace.__name__))
    failed = {name for name, check in by_name(record).items() if not check.passed}
    assert failed == {"property: shift", "false alarms"}
    fault = by_name(record)["false alarms"].faults[0]
    path = tmp_path / "average_pool2d.yaml"
    path.write_text(fault[fault.index("# yaml") :])
    assert load([path])[0].operator == "average_pool2d"


def test_the_command_fails_on_a_target_that_nobody_knows(tmp_path: Path) -> None:
    told = CliRunner().invoke(app, ["selfcheck", "-t", "nobody", "--no-reference", "--out", str(tmp_path)])
    assert told.exit_code == 2
    assert CliRunner().invoke(app, ["selfcheck", "--no-reference", "--out", str(tmp_path)]).exit_code == 5
    assert CliRunner().invoke(app, ["fuzz", "-t", "nobody"]).exit_code == 2


def test_the_commands_end_as_their_records_say(
    monkeypatch: pytest.MonkeyPatch, record: Selfcheck, tmp_path: Path
) -> None:
    monkeypatch.setattr(selfcheck, "check_reference", lambda cases, **how: record)
    told = CliRunner().invoke(app, ["selfcheck", "--out", str(tmp_path)])
    assert told.exit_code == 1
    assert "FAIL  mutation score" in told.output
    assert "Why believe it" in (tmp_path / "index.html").read_text()
    passed = replace(record, checks=tuple(check for check in record.checks if check.passed))
    monkeypatch.setattr(selfcheck, "check_reference", lambda cases, **how: passed)
    assert CliRunner().invoke(app, ["selfcheck", "--out", str(tmp_path)]).exit_code == 0
