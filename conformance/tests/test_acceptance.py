"""What is accepted from a run: it is expected from then on, and nothing graver is."""

from dataclasses import replace
from pathlib import Path

import pytest

from conformance.case.job import Target
from conformance.run.acceptance import accepted
from conformance.run.comparison import measured
from conformance.run.result import Result
from conformance.tests.installed import Installation, install
from conformance.tests.test_cli import CASES
from conformance.tests.test_report import describe, result_of, write_run
from conformance.verdict.deviations import Deviation, as_yaml, assess, load_deviations
from conformance.verdict.model import Outcome, Reason, Verdict

TORCH = Target(backend="torch")


def of_results(folder: Path, *results: Result, target: str = "torch", device: str = "cpu (x86)") -> list[Deviation]:
    versions = {"torch": "2.13.0+cpu", "numpy": "2.4.6"}
    path = write_run(
        folder,
        [(result, None) for result in results],
        target=target,
        description=describe(versions=versions, device=device),
    )
    made = accepted([measured(path)], "It is so.")
    file = folder / "accepted.yaml"
    file.write_text(as_yaml(made), encoding="utf-8")
    assert load_deviations([file]) == made
    return list(made)


def test_alike_results_are_one_deviation(tmp_path: Path) -> None:
    bad = result_of("conv2d/a", Outcome.DIFFERS)
    both = [
        replace(bad, case=case, format=format_)
        for case in ("conv2d/b", "conv2d/c")
        for format_ in ("float32", "float64")
    ]
    found = of_results(tmp_path, bad, *both, result_of("conv2d/good"), result_of("conv2d/dead", Outcome.CRASHED))
    assert [(d.cases, d.formats, d.outcome, d.reason) for d in found] == [
        (("conv2d/dead",), ("float32",), Outcome.CRASHED, "value"),
        (("conv2d/a",), ("float32",), Outcome.DIFFERS, "value"),
        (("conv2d/b", "conv2d/c"), ("float64", "float32"), Outcome.DIFFERS, "value"),
    ]
    assert {(d.backend, d.device, d.versions, d.checks, d.about) for d in found} == {
        (("torch",), "cpu", "torch==2.13.0", ("outputs",), "It is so.")
    }
    assert found[1].id == "accepted-torch-cpu-torch-2.13.0-outputs-differs-value-float32"
    assert {d.layouts for d in found} == {("native",)}


def test_each_layout_is_accepted_apart(tmp_path: Path) -> None:
    bad = [result_of("conv2d/a", Outcome.DIFFERS, layout=layout) for layout in ("native", "strided")]
    found = of_results(tmp_path, *bad, result_of("conv2d/b", Outcome.DIFFERS))
    assert {(d.id.partition("value-")[2], d.cases, d.layouts) for d in found} == {
        ("float32", ("conv2d/a", "conv2d/b"), ("native",)),
        ("float32-strided", ("conv2d/a",), ("strided",)),
    }


@pytest.mark.parametrize(
    ("outcome", "reason", "version", "standing"),
    [
        (Outcome.DIFFERS, Reason.VALUE, "2.13.0+cpu", "expected"),
        (Outcome.DIFFERS, Reason.SHAPE, "2.13.0+cpu", "unexpected"),
        (Outcome.CRASHED, Reason.DEATH, "2.13.0+cpu", "unexpected"),
        (Outcome.AGREES, Reason.EXACT, "2.13.0+cpu", "stale"),
        (Outcome.DIFFERS, Reason.VALUE, "2.14.0", "unexpected"),
    ],
)
def test_only_what_was_seen_is_expected(
    tmp_path: Path, outcome: Outcome, reason: Reason, version: str, standing: str
) -> None:
    found = of_results(tmp_path, result_of("conv2d/a", Outcome.DIFFERS))
    verdict = Verdict(outcome=outcome, reason=reason)
    description = describe(versions={"torch": version})
    given = ("conv2d/a", ("conv2d",), TORCH, "float32", "outputs", verdict, description)
    assert assess(*given, found).standing == standing


def test_ids_are_matched_exactly(tmp_path: Path) -> None:
    (found,) = of_results(tmp_path, result_of("conv2d/[a]*?", Outcome.DIFFERS))
    for case, covered in (("conv2d/[a]*?", True), ("conv2d/a", False), ("conv2d/[a]bc", False)):
        description = describe(versions={"torch": "2.13.0"})
        assert found.covers(case, TORCH, "float32", "outputs", description) is covered


@pytest.mark.parametrize(
    ("target", "device", "expected"),
    [
        ("torch:cuda", "cuda (H200)", ("torch", "cuda")),
        ("torch+compile@/venvs/old/bin/python", "cpu (x86)", ("torch", "cpu")),
        ("my-cpu", "cpu", ("my-cpu", "cpu")),
    ],
)
def test_the_backend_is_the_target_s(tmp_path: Path, target: str, device: str, expected: tuple[str, str]) -> None:
    (found,) = of_results(tmp_path, result_of("conv2d/a", Outcome.DIFFERS), target=target, device=device)
    assert (*found.backend, found.device) == expected


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    backends = {"flips": "FlipsKernel", "honest": "Honest"}
    return install(tmp_path_factory.mktemp("installed"), backends)


def test_a_run_passes_with_what_was_accepted_and_fails_on_what_is_graver(
    installed: Installation, tmp_path: Path
) -> None:
    (tmp_path / "cases").mkdir()
    (tmp_path / "cases" / "conv.yaml").write_text(CASES)
    run = ("run", "cases", "-t", "flips")
    accept = ("accept", "reports/flips", "-o", "mine/accepted.yaml", "--reason", "It convolves.")
    assert installed.conformance(*run, cwd=tmp_path).code == 1
    ended = installed.conformance(*accept, cwd=tmp_path)
    assert (ended.code, ended.err) == (0, "")
    assert "accepted-flips-cpu-numpy-" in ended.out
    ended = installed.conformance(*run, "--deviations", "mine/accepted.yaml", cwd=tmp_path)
    assert ended.code == 0, ended.out
    # The same cases, and a process that dies where the numbers only differed.
    (tmp_path / "graver").mkdir()
    graver = install(tmp_path / "graver", {"flips": "AbortsInGradient", "honest": "Honest"})
    ended = graver.conformance(*run, "--deviations", "mine/accepted.yaml", cwd=tmp_path)
    assert ended.code == 1
    assert "CRASHED" in ended.out


def test_nothing_is_written_where_nothing_is_to_be_accepted(installed: Installation, tmp_path: Path) -> None:
    good = write_run(tmp_path, [(result_of("conv2d/a"), None)])
    bad = write_run(tmp_path, [(result_of("conv2d/a", Outcome.DIFFERS), None)])
    out = tmp_path / "accepted.yaml"
    for arguments, code, told in (
        ((good, "--reason", "So."), 5, "nothing is unexpected there"),
        ((bad, "--reason", " "), 2, "--reason must say why"),
        ((bad, bad, "--reason", "So."), 2, "same target and version"),
        ((tmp_path, "--reason", "So."), 2, "expected a .jsonl file"),
    ):
        ended = installed.conformance("accept", *arguments, "-o", out, cwd=tmp_path)
        assert (ended.code, ended.out) == (code, "")
        assert told in ended.err
        assert not out.exists()
    out.write_text("mine")
    assert installed.conformance("accept", bad, "-o", out, "--reason", "So.", cwd=tmp_path).code == 2
    assert out.read_text() == "mine"
