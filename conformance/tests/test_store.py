"""Runs on disk: what is written is read back, whatever killed the writer, and nothing tells whose machine it was."""

import getpass
import json
import math
import socket
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import conformance
from conformance.case.job import Description
from conformance.case.model import Case
from conformance.errors import InvalidStore
from conformance.run.result import Result
from conformance.run.store import (
    Run,
    RunWriter,
    case_record,
    cases_digest,
    find_runs,
    folder_name,
    pack,
    read_run,
    read_runs,
    to_plain,
    unpack,
)
from conformance.tests.questions import CHAIN, CONV, MAX_POOL
from conformance.verdict.deviations import Assessment
from conformance.verdict.judge import ClaimResult
from conformance.verdict.model import Comparison, Outcome, Reason, Verdict

DESCRIPTION = Description(
    backend="fake",
    versions={"fake": "1.2.3"},
    device="cpu (x86_64)",
    cpu_features=("avx2",),
    switches={"tf32": "off"},
    accumulators=(("*", "bfloat16", "*", "float32"),),
    stored_sums=(("conv*", "bfloat16"),),
    absent=("x",),
    operators=("conv2d",),
)
COMPARISON = Comparison(
    name="output",
    check="outputs",
    data="normal",
    within=False,
    reason=Reason.NAN,
    expected_shape=(2, 3),
    got_shape=(2, 3),
    expected_format="float32",
    got_format="float32",
    worst_index=(1, 2),
    expected=math.inf,
    got=math.nan,
    error=math.nan,
    bound=-math.inf,
    ratio=math.inf,
    outside=1,
    bits=0.0,
)
RESULT = Result(
    case=CONV.id,
    operator="conv2d",
    target="fake",
    format="float32",
    layout="native",
    verdicts={
        "outputs": Verdict(outcome=Outcome.DIFFERS, reason=Reason.NAN, detail="worst at [1, 2]"),
        "gradients": Verdict(outcome=Outcome.AGREES, reason=Reason.WITHIN_BOUND),
    },
    assessments={
        "outputs": Assessment(standing="expected", deviation="nan"),
        "gradients": Assessment(standing="expected"),
    },
    comparisons=(COMPARISON,),
    claims=(ClaimResult(says="so", holds=True, measured=False),),
    calls=("y = f(x)",),
    sums={"normal/outputs/y": ("y[0] sums 2 terms", "  a = 1")},
    composed=("there is no SAME",),
    script="print(1)\n",
    digest="0123456789abcdef",
    seconds=0.5,
    total_seconds=0.75,
    jobs=2,
    evidence={
        "normal/operand/x": np.array([[1.5, np.nan], [np.inf, -0.0]]),
        "normal/output/output/got": np.zeros((0, 3)),
        "normal/operand/mask": np.array([True, False]),
        "normal/operand/n": np.array(7),
    },
)


def same(one: Result, other: Result) -> None:
    for field in fields(Result):
        if field.name not in ("evidence", "comparisons"):
            assert getattr(one, field.name) == getattr(other, field.name), field.name
    assert repr(one.comparisons) == repr(other.comparisons)  # NaN is not equal to itself


def written(folder: Path, *results: tuple[Result, Case | None], complete: bool = True, target: str = "fake") -> Path:
    writer = RunWriter(folder, target, DESCRIPTION, "digest")
    for result, case in results:
        writer.result(result, case_record(case) if case else None)
    writer.close(complete=complete)
    return writer.path


# Round trips -------------------------------------------------------------------------------------------------------


def test_a_run_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    other = replace(RESULT, format="float64", evidence={})
    path = written(tmp_path, (RESULT, CONV), (other, CONV))
    run = read_run(path)
    assert (run.header.target, run.header.cases_digest, run.header.description) == ("fake", "digest", DESCRIPTION)
    assert run.complete
    assert 0 <= run.seconds < 60
    assert list(run.cases) == [CONV.id]
    assert run.cases[CONV.id].shapes == {"x": (2, 6, 7, 3), "w": (3, 2, 3, 4), "b": (4,)}
    for got, expected in zip(run.results, (RESULT, other), strict=True):
        same(got, expected)


def test_arrays_are_read_back_in_single_precision(tmp_path: Path) -> None:
    run = read_run(written(tmp_path, (RESULT, CONV)))
    found = run.evidence(run.results[0])
    assert set(found) == set(RESULT.evidence)
    for name, array in RESULT.evidence.items():
        assert found[name].shape == array.shape
        np.testing.assert_array_equal(found[name], array)
    assert found["normal/operand/x"].dtype == np.float32
    assert found["normal/operand/mask"].dtype == np.bool_
    assert np.signbit(found["normal/operand/x"][1, 1])


def test_a_result_without_arrays_leaves_no_file(tmp_path: Path) -> None:
    path = written(tmp_path, (replace(RESULT, evidence={}), CONV))
    assert not path.with_suffix(".arrays").exists()
    run = read_run(path)
    assert run.evidence(run.results[0]) == {}


def test_lost_arrays_are_told(tmp_path: Path) -> None:
    path = written(tmp_path, (RESULT, CONV))
    run = read_run(path)
    arrays = path.with_suffix(".arrays")
    arrays.write_bytes(arrays.read_bytes()[:20])
    with pytest.raises(InvalidStore, match=r"\.arrays: "):
        run.evidence(run.results[0])
    arrays.unlink()
    with pytest.raises(InvalidStore, match=r"\.arrays: "):
        run.evidence(run.results[0])


def test_lines_are_json_without_nan_or_infinity(tmp_path: Path) -> None:
    def strict(name: str) -> None:
        raise AssertionError(name)

    kinds = [
        json.loads(line, parse_constant=strict)["kind"]
        for line in written(tmp_path, (RESULT, CONV), (RESULT, CHAIN)).read_text().splitlines()
    ]
    assert kinds == ["header", "case", "result", "case", "result", "footer"]


def test_what_a_process_packs_another_unpacks() -> None:
    packed = json.loads(json.dumps(pack(RESULT, CONV, DESCRIPTION), allow_nan=False))
    result, case, description = unpack(packed)
    same(result, RESULT)
    for name, array in RESULT.evidence.items():
        np.testing.assert_array_equal(result.evidence[name], array)
        assert result.evidence[name].dtype == array.dtype
    assert description == DESCRIPTION
    assert (case.id, case.operator, case.tier) == (CONV.id, "conv2d", "core")


def test_a_later_result_of_the_same_item_counts(tmp_path: Path) -> None:
    again = replace(RESULT, digest="fedcba9876543210")
    (result,) = read_run(written(tmp_path, (RESULT, CONV), (again, CONV))).results
    assert result.digest == "fedcba9876543210"


def test_what_has_no_place_in_a_run_is_refused() -> None:
    assert to_plain({"a": (1, np.float32(0.5), None, True, "x", math.nan)}) == {"a": [1, 0.5, None, True, "x", "nan"]}
    with pytest.raises(TypeError, match="set has no place in a run"):
        to_plain({1, 2})


# What killed the writer --------------------------------------------------------------------------------------------


def test_a_run_without_a_footer_is_incomplete(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, "fake", DESCRIPTION)
    writer.result(RESULT, case_record(CONV))
    run = read_run(writer.path)  # every line is on disk as soon as it is written
    assert not run.complete
    same(run.results[0], RESULT)
    assert set(run.evidence(run.results[0])) == set(RESULT.evidence)
    writer.close(complete=False)
    assert not read_run(writer.path).complete


@pytest.mark.parametrize("cut", [1, 50, 300])
def test_a_last_line_that_is_cut_off_is_left_out(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path, (RESULT, CONV), (replace(RESULT, format="float64"), CONV))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1])[: -cut - 1])
    run = read_run(path)
    assert not run.complete
    assert [result.format for result in run.results] == ["float32"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "has no header"),
        ("no json\n", "has no header"),
        ('{"kind": "header", "version": 0}\n', "written by version 0, this is 1"),
        ('{"kind": "novel"}\n', ":1: a line of unknown kind 'novel'"),
        ('{"kind": "header", "version": 1}\n', ":1: KeyError"),
    ],
)
def test_what_is_no_run_is_told(tmp_path: Path, text: str, told: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(text)
    with pytest.raises(InvalidStore) as caught:
        read_run(path)
    assert str(caught.value).startswith(str(path))
    assert told in str(caught.value)


# What it tells -----------------------------------------------------------------------------------------------------


def test_a_run_names_no_host_user_or_path(tmp_path: Path) -> None:
    path = written(tmp_path, (RESULT, CONV), target="torch@/home/somebody/venvs/torch-2.12/bin/python")
    text = path.read_text()
    assert path.parent.name == "torch@torch-2.12"
    assert read_run(path).header.target == "torch@torch-2.12"
    for told in (str(Path.home()), socket.gethostname(), str(tmp_path), "/home/", "somebody"):
        assert told not in text
    assert f'"{getpass.getuser()}"' not in text


@pytest.mark.parametrize(
    ("target", "name"),
    [
        ("torch", "torch"),
        ("torch:cuda+compile", "torch-cuda+compile"),
        ("jax@.venvs/jax/bin/python", "jax@jax"),
        ("jax@python3.12", "jax@python3.12"),
    ],
)
def test_a_target_s_folder(target: str, name: str) -> None:
    assert folder_name(target) == name


def test_runs_are_found_target_by_target_the_oldest_first(tmp_path: Path) -> None:
    paths = [written(tmp_path, target=target) for target in ("b", "a", "b")]
    assert list(find_runs(tmp_path)) == [paths[1], paths[0], paths[2]]
    assert [run.header.target for run in read_runs(tmp_path)] == ["a", "b", "b"]
    assert read_runs(tmp_path / "none") == ()


def test_a_digest_names_the_questions_and_not_their_order() -> None:
    assert cases_digest([CONV, MAX_POOL]) == cases_digest([MAX_POOL, CONV])
    assert cases_digest([CONV]) != cases_digest([CONV, MAX_POOL])
    assert cases_digest([CONV]) != cases_digest([replace(CONV, formats=("float64",))])
    assert cases_digest([CONV]) == cases_digest([replace(CONV, about="other words")])


def test_training_records_are_kept(tmp_path: Path) -> None:
    writer = RunWriter(tmp_path, "fake", DESCRIPTION)
    writer.training({"id": "mnist", "losses": [1.5, math.inf]})
    writer.close(complete=True)
    (record,) = read_run(writer.path).training
    assert (record["id"], record["losses"]) == ("mnist", [1.5, "inf"])


def test_results_become_a_frame(tmp_path: Path) -> None:
    written(tmp_path, (RESULT, CONV), (replace(RESULT, format="float64"), CONV))
    written(tmp_path, target="other")
    frame = conformance.load_runs(tmp_path)
    assert list(frame.columns) == [
        "run",
        "target",
        "case",
        "operator",
        "format",
        "layout",
        "outcome",
        "reason",
        "detail",
        "reading",
        "unexpected",
        "deviations",
        "bits",
        "ratio",
        "seconds",
        "total_seconds",
        "digest",
        "versions",
    ]
    row: dict[str, Any] = frame.iloc[0].to_dict()
    assert (row["target"], row["case"], row["outcome"], row["reason"]) == ("fake", CONV.id, "DIFFERS", "nan")
    assert (row["deviations"], row["unexpected"], row["bits"], row["ratio"]) == (["nan"], False, 0, math.inf)
    assert (row["versions"], row["detail"]) == ({"fake": "1.2.3"}, "worst at [1, 2]")
    assert list(frame["format"]) == ["float32", "float64"]
    empty = conformance.load_runs(str(tmp_path / "none"))
    assert list(empty.columns) == list(frame.columns)
    assert empty.empty


# Results -----------------------------------------------------------------------------------------------------------


def test_a_result_is_as_bad_as_its_worst_check() -> None:
    assert (RESULT.worst, RESULT.outcome, RESULT.reason) == ("outputs", Outcome.DIFFERS, Reason.NAN)
    assert not RESULT.agrees
    assert RESULT.detail == "worst at [1, 2]"
    assert (RESULT.deviations, RESULT.stale, RESULT.unexpected) == (("nan",), (), False)
    assert (RESULT.bits, RESULT.ratio) == (0, math.inf)
    stale = replace(RESULT, assessments={"outputs": Assessment(standing="stale", deviation="nan")})
    assert (stale.stale, stale.deviations, stale.unexpected) == (("nan",), (), False)
    unexpected = replace(RESULT, assessments={"outputs": Assessment(standing="unexpected", deviation="nan")})
    assert (unexpected.unexpected, unexpected.deviations) == (True, ())
    assert replace(RESULT, comparisons=()).bits == math.inf


def test_reading_twice_gives_the_same(tmp_path: Path) -> None:
    path = written(tmp_path, (RESULT, CONV))
    first, second = read_run(path), read_run(path)
    assert isinstance(first, Run)
    assert repr(first) == repr(second)
