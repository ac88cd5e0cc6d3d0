"""Two runs side by side: what counts as worse, what is refused, and how it is told."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conformance.errors import InvalidStore
from conformance.report.comparison import as_json, markdown, text, write_page
from conformance.run.comparison import RunComparison, compare_runs, measured
from conformance.run.result import Result
from conformance.tests.installed import Installation, install
from conformance.tests.test_report import HOSTILE, Page, comparison_of, describe, result_of, write_run
from conformance.verdict.model import Outcome, Reason, Verdict


def exact_to(bits: float, outcome: Outcome = Outcome.AGREES, *, name: str = "conv2d/a", **more: Any) -> Result:
    compared = comparison_of(bits=bits, within=outcome is Outcome.AGREES)
    return result_of(name, outcome, **{"comparisons": (compared,), **more})


def put_side_by_side(folder: Path, before: list[Result], after: list[Result]) -> RunComparison:
    one = write_run(folder / "one", [(result, None) for result in before])
    other = write_run(folder / "other", [(result, None) for result in after])
    return compare_runs(measured(one), measured(other))


def test_equal_runs_are_the_same(tmp_path: Path) -> None:
    found = put_side_by_side(tmp_path, [exact_to(23.5)], [exact_to(23.1)])
    assert (found.same, found.compared, found.worse) == (1, 1, ())
    assert text(found).endswith("1 compared, 1 the same.\n")


@pytest.mark.parametrize(
    ("before", "after", "worse"),
    [
        (exact_to(23), exact_to(3, Outcome.DIFFERS), True),
        (exact_to(3, Outcome.DIFFERS), exact_to(23), False),
        (exact_to(3, Outcome.DIFFERS), exact_to(0, Outcome.CRASHED), True),
        (exact_to(0, Outcome.REFUSED), exact_to(0, Outcome.UNSUPPORTED), False),
    ],
)
def test_a_graver_outcome_is_worse(tmp_path: Path, before: Result, after: Result, worse: bool) -> None:
    found = put_side_by_side(tmp_path, [before], [after])
    (pair,) = found.changed
    assert pair.worse is worse
    assert bool(found.worse) is worse
    assert f"outputs {before.outcome} -> {after.outcome}" in text(found)


def test_a_graver_gradient_is_worse_though_the_outputs_mended(tmp_path: Path) -> None:
    good, bad = (result_of("conv2d/a", outcome).verdicts["outputs"] for outcome in (Outcome.AGREES, Outcome.DIFFERS))
    before = result_of("conv2d/a", verdicts={"outputs": bad, "gradients": good})
    after = result_of("conv2d/a", verdicts={"outputs": good, "gradients": bad})
    found = put_side_by_side(tmp_path, [before], [after])
    assert [(change.check, change.worse) for change in found.worse[0].changes] == [
        ("outputs", False),
        ("gradients", True),
    ]


def test_a_check_that_only_one_judged_is_told_and_not_worse(tmp_path: Path) -> None:
    bad = Verdict(outcome=Outcome.DIFFERS, reason=Reason.VALUE)
    before = result_of("conv2d/a")
    found = put_side_by_side(tmp_path, [before], [replace(before, verdicts={**before.verdicts, "gradients": bad})])
    assert found.worse == ()
    assert "gradients not judged -> DIFFERS" in text(found)


def test_bits_lost_within_the_bound_are_listed_and_no_fault(tmp_path: Path) -> None:
    found = put_side_by_side(tmp_path, [exact_to(23.5)], [exact_to(21.25)])
    assert [pair.bits_gained for pair in found.lost] == [-2.25]
    assert found.worse == ()
    assert "23.5 -> 21.2 effective bits" in text(found)
    (pair,) = put_side_by_side(tmp_path / "back", [exact_to(21.25)], [exact_to(23.5)]).gained
    assert pair.bits == (21.25, 23.5)


def test_bits_lost_by_what_did_not_agree_are_worse(tmp_path: Path) -> None:
    found = put_side_by_side(tmp_path, [exact_to(12, Outcome.DIFFERS)], [exact_to(5, Outcome.DIFFERS)])
    assert [pair.bits for pair in found.worse] == [(12, 5)]


def test_exact_has_no_more_than_the_precision_to_lose(tmp_path: Path) -> None:
    found = put_side_by_side(tmp_path, [exact_to(float("inf"))], [exact_to(23.5)])
    assert (found.same, found.lost) == (1, ())


def test_the_array_that_lost_most_counts(tmp_path: Path) -> None:
    def result(x: float, w: float) -> Result:
        return result_of("conv2d/a", comparisons=(comparison_of(name="x", bits=x), comparison_of(name="w", bits=w)))

    found = put_side_by_side(tmp_path, [result(10, 23)], [result(12, 20)])
    assert [pair.bits for pair in found.lost] == [(23, 20)]


def test_another_reading_of_a_probe_is_told_and_not_worse(tmp_path: Path) -> None:
    asked = {"readings": ("at the end", "at the beginning")}
    before = exact_to(23, name="conventions/a", reading="at the end", **asked)
    after = replace(before, reading="at the beginning")
    found = put_side_by_side(tmp_path, [before], [after])
    (pair,) = found.changed
    assert (pair.readings, pair.changes, pair.worse, found.same) == (("at the end", "at the beginning"), (), False, 0)
    assert "conventions/a [float32]  reading: at the end -> at the beginning\n" in text(found)
    assert as_json(found)["changed"][0]["readings"] == ["at the end", "at the beginning"]
    other = replace(after, readings=("at the beginning", "nowhere"))
    assert put_side_by_side(tmp_path / "other", [before], [other]).same == 1


def test_new_and_gone_are_listed_and_never_worse(tmp_path: Path) -> None:
    bad = exact_to(1, Outcome.DIFFERS, name="conv2d/new")
    found = put_side_by_side(
        tmp_path,
        [exact_to(23), exact_to(23, name="conv2d/gone")],
        [exact_to(23), bad, exact_to(23, format="float64")],
    )
    assert [(result.case, result.format) for result in found.new] == [
        ("conv2d/a", "float64"),
        ("conv2d/new", "float32"),
    ]
    assert [result.case for result in found.gone] == ["conv2d/gone"]
    assert found.worse == ()


def test_unequal_inputs_are_refused_by_name(tmp_path: Path) -> None:
    found = put_side_by_side(tmp_path, [exact_to(23)], [exact_to(1, Outcome.CRASHED, digest="4567")])
    assert (found.compared, found.worse) == (0, ())
    assert [pair.question.name for pair in found.refused] == ["conv2d/a [float32]"]
    assert "conv2d/a [float32]  inputs 0123 and 4567" in text(found)


def test_a_folder_is_the_newest_of_its_complete_runs(tmp_path: Path) -> None:
    for outcome, name, complete, version in (
        (Outcome.CRASHED, "conv2d/other-version", True, "2.12.0"),
        (Outcome.DIFFERS, "conv2d/a", True, "2.13.0"),
        (Outcome.DIFFERS, "conv2d/once", True, "2.13.0"),
        (Outcome.AGREES, "conv2d/a", True, "2.13.0"),
        (Outcome.CRASHED, "conv2d/a", False, "2.13.0"),
    ):
        description = describe(versions={"torch": version})
        write_run(tmp_path, [(result_of(name, outcome), None)], complete=complete, description=description)
    read = measured(tmp_path / "torch")
    assert {question.case: result.outcome for question, result in read.results.items()} == {
        "conv2d/a": Outcome.AGREES,
        "conv2d/once": Outcome.DIFFERS,
    }
    assert read.complete


def test_what_is_no_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidStore, match=r"expected a \.jsonl file, or a target's folder"):
        measured(tmp_path)
    path = write_run(tmp_path, [], complete=False)
    with pytest.raises(InvalidStore, match="none of its 1 runs is complete"):
        measured(path.parent)
    assert not measured(path).complete


def test_texts_stay_texts(tmp_path: Path) -> None:
    before = exact_to(23, name=f"conv2d/{HOSTILE}")
    detail = Verdict(outcome=Outcome.DIFFERS, reason=Reason.VALUE, detail=HOSTILE)
    after = replace(before, verdicts={"outputs": detail})
    found = put_side_by_side(tmp_path, [before], [after])
    write_page(found, tmp_path / "deep" / "page.html")
    page = Page((tmp_path / "deep" / "page.html").read_text(encoding="utf-8"))
    assert not page.tags("script")
    assert not page.tags("img")
    assert HOSTILE in page.words
    assert "<img" not in markdown(found)
    assert json.loads(json.dumps(as_json(found)))["worse"] == [f"conv2d/{HOSTILE} [float32]"]


def test_markdown_opens_what_got_worse_alone(tmp_path: Path) -> None:
    found = put_side_by_side(
        tmp_path,
        [exact_to(23), exact_to(23, name="conv2d/gone")],
        [exact_to(3, Outcome.DIFFERS)],
    )
    written = markdown(found)
    assert written.startswith("**1 got worse.** 1 compared, 0 the same; worse: 1; gone: 1.")
    assert "<details open><summary>Worse (1)" in written
    assert "<details><summary>Gone (1)" in written


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    return install(tmp_path_factory.mktemp("installed"), {})


def test_the_command_fails_for_what_got_worse_alone(installed: Installation, tmp_path: Path) -> None:
    good = write_run(tmp_path / "good", [(exact_to(23), None)])
    bad = write_run(tmp_path / "bad", [(exact_to(2, Outcome.DIFFERS), None)])
    unequal = write_run(tmp_path / "unequal", [(exact_to(23, digest="4567"), None)])
    compare = ("compare", good.parent)
    ended = installed.conformance(*compare, bad, "--out", "page.html", cwd=tmp_path)
    assert (ended.code, ended.err) == (1, "")
    assert "Worse (1)" in ended.out
    assert "1 got worse" in (tmp_path / "page.html").read_text(encoding="utf-8")
    assert installed.conformance("compare", bad, good, "--format", "json", cwd=tmp_path).json()["worse"] == []
    assert installed.conformance("compare", bad, good, cwd=tmp_path).code == 0
    ended = installed.conformance(*compare, unequal, "--format", "markdown", cwd=tmp_path)
    assert ended.code == 5
    assert "Refused (1)" in ended.out
    assert installed.conformance(*compare, "nowhere", cwd=tmp_path).code == 2
    assert installed.conformance(*compare, bad, "--format", "html", cwd=tmp_path).code == 2
