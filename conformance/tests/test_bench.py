"""How fast networks learn: who is measured against whom, what counts, and what is told."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from conformance.case.job import Target
from conformance.case.listing import default_root
from conformance.run import bench as benches
from conformance.run.bench import LEAST_SHARE, Bench, Speed, bench, in_turn
from conformance.tests import learners
from conformance.tests.test_training import SMALL
from conformance.worker import gateway

TRAINING = replace(SMALL, data=default_root() / "training" / "mnist")
PATH = f"{learners.__name__}:"


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Fakes under the names of backends: PyTorch's takes a quarter of a second, another one raises at its third."""
    known = {"torch": f"{PATH}TimedBackend", "dying": f"{PATH}DyingBackend"}
    monkeypatch.setattr(gateway, "known_backends", lambda: known)
    gateway.find_adapter.cache_clear()
    yield
    gateway.find_adapter.cache_clear()


def speeds(reference: float, rival: float) -> Bench:
    made = (
        Speed(target="reference", format="float64", seconds=reference),
        Speed(target="torch", format="float64", seconds=rival),
    )
    return Bench(training="a", batch=1, steps=1, speeds=made)


@pytest.mark.usefixtures("installed")
def test_backends_are_measured_as_they_learn_and_who_fails_says_why() -> None:
    heard: list[str] = []
    targets = [Target(backend="torch"), Target(backend="dying")]
    found = bench(TRAINING, targets, steps=2, progress=heard.append)
    assert heard == ["reference and torch in float64", "torch", "dying"]
    reference, rival, timed, dead = found.speeds
    assert (reference.target, reference.format, rival.format) == ("reference", "float64", "float64")
    assert 0 < reference.seconds < 60
    assert (rival.seconds, timed.seconds, timed.steps_a_second, timed.format) == (0.25, 0.25, 4.0, "float32")
    assert found.share == rival.seconds / reference.seconds
    assert not dead.seconds
    assert "SIGKILL" in dead.error
    plain = found.plain()
    assert plain["speeds"][2] == {"target": "torch", "format": "float32", "seconds": 0.25, "steps_a_second": 4.0}
    assert plain["speeds"][3] == {"target": "dying", "format": "float32", "error": dead.error}
    assert (plain["training"], plain["batch"], plain["steps"]) == (TRAINING.id, 10, 2)


def test_without_torch_the_reference_is_measured_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benches, "RIVAL", Target(backend="none-such"))
    found = bench(TRAINING, [], steps=1)
    assert found.speeds[0].seconds > 0
    assert "none-such" in found.speeds[1].error
    assert found.share is None
    assert not found.slow
    assert found.plain()["share"] is None


def test_contestants_make_their_steps_in_turn_and_the_first_does_not_count() -> None:
    made: list[str] = []

    def contestant(name: str, first: float, then: float) -> benches.Step:
        def step(n: int) -> float:
            made.append(f"{name}{n}")
            return first if n == 1 else then * n

        return step

    assert in_turn((contestant("a", 100.0, 1.0), contestant("b", 0.0, 10.0)), 3) == [3.0, 30.0]
    assert made == ["a1", "b1", "a2", "b2", "a3", "b3", "a4", "b4"]


@pytest.mark.parametrize(("reference", "slow"), [(2.9, False), (3.0, False), (3.1, True)])
def test_a_reference_below_a_third_is_slow(reference: float, slow: bool) -> None:
    found = speeds(reference, 1.0)
    assert found.share == 1 / reference
    assert found.slow is slow
    assert LEAST_SHARE == 1 / 3
