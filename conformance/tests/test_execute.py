"""One call from start to end, in this process, with workers of fakes."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from conformance.case.job import Target
from conformance.case.listing import default_root
from conformance.case.model import TIERS, Tier
from conformance.errors import InvalidCases
from conformance.run import dealing
from conformance.run import execute as module
from conformance.run.engine import Session
from conformance.run.execute import Request, execute, left_out, select
from conformance.run.floors import Floors, below_floor, load_floors
from conformance.run.plan import REFERENCE
from conformance.run.result import Result
from conformance.run.store import read_runs
from conformance.tests import fakes
from conformance.tests.test_training import SMALL
from conformance.verdict.model import Outcome

CASES = """# yaml-language-server: $schema=schema.json
operator: relu
about: Rectified.
defaults: {data: [normal], formats: [float32]}
cases:
  - {name: one, about: One., inputs: {x: [20, 3]}}
  - {name: two, about: Two., inputs: {x: [30, 2]}, expect: {shape: [30, 2]}}
  - {name: trouble, about: Three., inputs: {x: [8, 9]}}
"""
FAKES = {
    "honest": fakes.Honest,
    "zero": fakes.ZeroGradient,
    "dies": fakes.DiesAtTheSecondStart,
    "raises": fakes.Raises,
    "absent": fakes.LacksItsFramework,
    "waits": fakes.WaitsForAnother,
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with cases, where the targets of these tests are fakes."""
    (tmp_path / "relu.yaml").write_text(CASES)
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "mark"))

    def session(target: Target, deviations: Any, **options: Any) -> Session:
        if target == REFERENCE:
            return Session(target, deviations, **options)
        fake = FAKES[target.backend]
        return Session(target, deviations, path=f"{fake.__module__}:{fake.__name__}", **options)

    monkeypatch.setattr(module, "Session", session)
    monkeypatch.setattr(module, "require_known", lambda target: None)
    return tmp_path


def requested(folder: Path, *names: str, **fields: Any) -> Request:
    fields = {"training": False, **fields}
    return Request(
        paths=(folder / "relu.yaml",),
        targets=tuple(Target(backend=name) for name in names),
        out=folder / "out",
        **fields,
    )


def executed(request: Request, progress: Callable[..., None] = lambda *told: None) -> module.Execution:
    return execute(request, select(request), progress)


@pytest.mark.parametrize(
    ("tier", "official", "asked_by"),
    [
        ("core", False, {("core", None), ("full", None), ("core", "mnist"), ("full", "mnist")}),
        ("full", False, {("full", None), ("full", "mnist")}),
        ("full", True, {("full", "mnist")}),
    ],
)
def test_a_training_waits_for_its_tier_and_its_digits(tier: Tier, official: bool, asked_by: set[Any]) -> None:
    training = replace(SMALL, tier=tier, official=official)
    requests = [(tier, folder) for tier in TIERS for folder in (None, "mnist")]
    asked = {
        (tier, folder)
        for tier, folder in requests
        if module.is_asked(training, Request(tier=tier, mnist=Path(folder) if folder else None))
    }
    assert asked == asked_by


def test_trainings_are_asked_for_alone(folder: Path) -> None:
    assert select(requested(folder, "honest")).items
    assert select(requested(folder, "honest", cases=False, training=True)).empty


SHIPPED = default_root()


@pytest.mark.parametrize("cases", [True, False], ids=["run", "train"])
@pytest.mark.parametrize("path", ["training/mnist.yaml", "training"])
def test_a_training_is_named_by_its_file_or_its_folder(cases: bool, path: str) -> None:
    selection = select(Request(paths=(SHIPPED / path,), targets=(Target(backend="torch"),), cases=cases))
    assert selection.items == selection.cases == ()
    ids = {training.id for training, _ in selection.trainings}
    assert ids >= {"training/mnist/as-printed", "training/mnist/adam-0.001-glorot"}
    assert (len(ids) == 2) == path.endswith(".yaml")


@pytest.mark.parametrize("path", ["networks/lenet-5.yaml", "networks"])
def test_a_network_is_named_by_its_file_or_its_folder(path: str) -> None:
    selection = select(Request(paths=(SHIPPED / path,), targets=(Target(backend="torch"),)))
    assert "networks/lenet-5/batched" in {item.case.id for item in selection.items}
    assert not selection.trainings


@pytest.mark.parametrize(
    ("path", "more", "told"),
    [
        ("networks/lenet-5.yaml", {"cases": False}, ["2 cases are there; conformance run asks them"]),
        ("training/mnist.yaml", {"training": False}, ["2 trainings are there; conformance train asks them"]),
        ("networks/lenet-5.yaml", {"tier": "smoke"}, ["2 are there of larger tiers than smoke; give --tier core"]),
        (
            "training/mnist-full.yaml",
            {},
            [
                "1 are there of larger tiers than core; give --tier full",
                "all of MNIST is needed there; give --mnist-dir, which conformance mnist-download fills",
            ],
        ),
        ("training/mnist.yaml", {"keyword": "nothing-like-that"}, []),
    ],
)
def test_what_a_request_leaves_out_of_the_files_it_names_is_told(
    path: str, more: dict[str, Any], told: list[str]
) -> None:
    request = Request(paths=(SHIPPED / path,), targets=(Target(backend="torch"),), **more)
    assert select(request).empty
    assert list(left_out(request)) == told


def test_every_target_is_asked_in_turn_and_written(folder: Path) -> None:
    told: list[tuple[str, int, int, str]] = []

    def progress(target: Target, done: int, total: int, result: Result | None) -> None:
        told.append((target.name, done, total, result.case if result else ""))

    execution = executed(requested(folder, "honest", "zero"), progress)
    assert [run.target.name for run in execution.runs] == ["reference", "honest", "zero"]
    assert [dict(run.counts) for run in execution.runs] == [
        {Outcome.AGREES: 1},
        {Outcome.AGREES: 3},
        {Outcome.DIFFERS: 3},
    ]
    assert [result.name for result in execution.unexpected] == [
        f"relu/{name} [zero-float32]" for name in ("one", "two", "trouble")
    ]
    assert execution.complete
    assert told[:2] == [("reference", 0, 1, ""), ("reference", 1, 1, "relu/two")]
    assert told[2:6] == [
        ("honest", 0, 3, ""),
        ("honest", 1, 3, "relu/one"),
        ("honest", 2, 3, "relu/two"),
        ("honest", 3, 3, "relu/trouble"),
    ]
    runs = read_runs(folder / "out")
    assert [(run.header.target, len(run.results), run.complete) for run in runs] == [
        ("honest", 3, True),
        ("reference", 1, True),
        ("zero", 3, True),
    ]
    assert len({run.header.cases_digest for run in runs}) == 1


def test_questions_are_dealt_and_written_in_their_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dealing, "QUESTIONS_A_WORKER", 1)
    cases = folder / "relu.yaml"
    text = cases.read_text().replace("name: one", "name: first-trouble").replace("name: trouble", "name: three")
    cases.write_text(text)
    execution = executed(requested(folder, "waits", keyword="not reference", jobs=2))
    assert [(result.case, result.agrees) for result in execution.runs[0].results] == [
        ("relu/first-trouble", True),
        ("relu/two", True),
        ("relu/three", True),
    ]
    (run,) = read_runs(folder / "out")
    assert [result.case for result in run.results] == ["relu/first-trouble", "relu/two", "relu/three"]
    assert run.complete


def test_a_target_that_cannot_start_leaves_no_run_and_the_others_go_on(folder: Path) -> None:
    execution = executed(requested(folder, "absent", "honest"))
    assert not execution.complete
    _, absent, honest = execution.runs
    assert absent.error.endswith("Install it with: pip install no-such-framework")
    assert (absent.results, absent.description) == ((), None)
    assert len(honest.results) == 3
    assert [run.header.target for run in read_runs(folder / "out")] == ["honest", "reference"]


def test_a_worker_that_cannot_start_again_leaves_an_incomplete_run(folder: Path) -> None:
    execution = executed(requested(folder, "dies", "honest", keyword="not reference"))
    dies, honest = execution.runs
    assert not execution.complete
    assert "the device is gone" in dies.error
    assert [result.case for result in dies.results] == ["relu/one", "relu/two"]
    assert len(honest.results) == 3
    run = read_runs(folder / "out")[0]
    assert (run.header.target, run.complete, len(run.results)) == ("dies", False, 2)


def test_an_interrupted_run_says_that_it_is_incomplete(folder: Path) -> None:
    def interrupt(target: Target, done: int, total: int, result: Result | None) -> None:
        if target.name == "honest" and done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        executed(requested(folder, "honest"), interrupt)
    honest, reference = read_runs(folder / "out")
    assert (honest.complete, len(honest.results)) == (False, 2)
    assert reference.complete


def test_selecting_starts_and_writes_nothing(folder: Path) -> None:
    selection = select(requested(folder, "absent"))
    assert [item.name for item in selection.items] == [
        "relu/two[reference-float32]",
        *(f"relu/{name}[absent-float32]" for name in ("one", "two", "trouble")),
    ]
    assert not selection.empty
    assert select(requested(folder, "honest", keyword="nothing")).empty
    assert sorted(path.name for path in folder.iterdir()) == ["relu.yaml"]


# Floors ------------------------------------------------------------------------------------------------------------


def test_green_cannot_come_from_silence(folder: Path) -> None:
    floor = folder / "floor.yaml"
    floor.write_text("floors: {raises: {outputs: 3}, honest: {outputs: 4, gradients: 3}}")
    execution = executed(requested(folder, "raises", "honest", floor=floor, keyword="not reference"))
    raises, honest = execution.runs
    assert raises.below_floor == ("raises: 0 results agree in outputs, the floor is 3",)
    assert honest.below_floor == ("honest: 3 results agree in outputs, the floor is 4",)


def test_the_floor_counts_each_check_of_its_own_target(folder: Path) -> None:
    (run,) = executed(requested(folder, "zero", keyword="zero")).runs
    assert run.description is not None
    told = partial(below_floor, run.target, run.description)
    assert told(run.results, Floors(floors={})) == ()
    assert told(run.results, Floors(floors={"honest": {"outputs": 9}})) == ()
    floors = Floors(floors={"zero": {"outputs": 3, "gradients": 1}})
    assert told(run.results, floors) == ("zero: 0 results agree in gradients, the floor is 1",)
    only_outputs = [replace(result, verdicts={"outputs": result.verdicts["outputs"]}) for result in run.results]
    assert told(only_outputs, Floors(floors={"zero": {"gradients": 1}})) != ()


def test_a_machine_without_a_feature_has_a_floor_of_its_own(folder: Path) -> None:
    (run,) = executed(requested(folder, "zero", keyword="zero")).runs
    missed = ("zero: 0 results agree in gradients, the floor is 1",)
    assert run.description is not None
    able, old = (replace(run.description, cpu_features=features) for features in (("onednn-float32",), ("avx2",)))
    floors = Floors(floors={"zero": {"outputs": 3}}, without={"onednn-float32": {"zero": {"gradients": 1}, "tf": {}}})
    assert below_floor(run.target, able, run.results, floors) == ()
    assert below_floor(run.target, old, run.results, floors) == missed
    assert floors.of(Target(backend="torch"), old) == {}


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("floors: {torch: {outputs: many}}", "1:27"),
        ("floors: {torch: {output: 3}}", "1:26"),
        ("floors: 3", "1:"),
        ("other: {}", "1:"),
        ("[]", "1:"),
    ],
)
def test_a_floor_that_cannot_be_read_is_told_with_its_place(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "floor.yaml"
    path.write_text(text)
    with pytest.raises(InvalidCases) as caught:
        load_floors(path)
    assert str(caught.value).startswith(f"{path}:{place}")


def test_a_floor_is_read(tmp_path: Path) -> None:
    path = tmp_path / "floor.yaml"
    path.write_text(
        "floors: {torch: {outputs: 600, gradients: 500}, tf: {}}\nwithout: {amx_bf16: {tf: {outputs: 1}}}"
    )
    assert load_floors(path) == Floors(
        floors={"torch": {"outputs": 600, "gradients": 500}, "tf": {}}, without={"amx_bf16": {"tf": {"outputs": 1}}}
    )


def test_the_reference_is_no_target_of_the_user() -> None:
    assert REFERENCE.name == "reference"
