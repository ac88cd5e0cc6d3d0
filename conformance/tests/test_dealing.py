"""Questions dealt over several workers: what one of them does to itself is its own affair."""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from conformance.backends.base import STOCK
from conformance.case.job import Target
from conformance.errors import WorkerFailed
from conformance.run import dealing
from conformance.run.dealing import dealt, workers_for
from conformance.run.engine import Session
from conformance.run.plan import REFERENCE, Item
from conformance.run.result import Result
from conformance.run.store import result_to_plain
from conformance.tests import fakes
from conformance.tests.questions import CHAIN, CONV, EVERY, RELU, item
from conformance.verdict.model import Outcome

AGREES, CRASHED, TIMED_OUT = Outcome.AGREES, Outcome.CRASHED, Outcome.TIMED_OUT
# How a machine was disposed: nothing of it is a result.
CLOCKS = ("seconds", "total_seconds")


def named(*names: str) -> list[Item]:
    """One question, many times over."""
    return [item(replace(RELU, id=f"relu/{name}")) for name in names]


@contextmanager
def session(fake: type[fakes.Honest], timeout: float = 60.0, repeat: int = 1) -> Iterator[Session]:
    path = f"{fake.__module__}:{fake.__name__}"
    one = Session(Target(backend="fake"), timeout=timeout, repeat=repeat, path=path)
    try:
        yield one
    finally:
        one.close()


def asked(
    fake: type[fakes.Honest], items: Sequence[Item], workers: int, *, timeout: float = 60.0, repeat: int = 1
) -> list[Result]:
    with session(fake, timeout, repeat) as one, dealt(items, one, workers) as results:
        return list(results)


@pytest.mark.parametrize("fake", [fakes.Honest, fakes.FlipsKernel, fakes.Raises])
def test_several_workers_give_what_one_gives_in_the_order_of_the_questions(fake: type[fakes.Honest]) -> None:
    items = [item(case, format_) for case in (*EVERY, CHAIN) for format_ in ("float32", "float16")]
    alone, together = (asked(fake, items, workers) for workers in (1, 3))
    assert [result.case for result in together] == [one.case.id for one in items]
    for mine, other in zip(alone, together, strict=True):
        plain, others = (
            {name: value for name, value in result_to_plain(result).items() if name not in CLOCKS}
            for result in (mine, other)
        )
        assert plain == others
        assert mine.evidence.keys() == other.evidence.keys()
        for name, array in mine.evidence.items():
            np.testing.assert_array_equal(array, other.evidence[name], strict=True)


def test_answers_out_of_turn_are_told_in_turn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "mark"))
    results = asked(fakes.WaitsForAnother, named("trouble", "one", "two", "three"), 2)
    assert [(result.case, result.outcome) for result in results] == [
        ("relu/trouble", AGREES),
        ("relu/one", AGREES),
        ("relu/two", AGREES),
        ("relu/three", AGREES),
    ]


def test_alone_nobody_answers_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "mark"))
    first, second = asked(fakes.WaitsForAnother, named("trouble", "one"), 1, timeout=2.0)
    assert (first.outcome, second.outcome) == (TIMED_OUT, AGREES)


@pytest.mark.parametrize(
    ("fake", "outcome"), [(fakes.Aborts, CRASHED), (fakes.Killed, CRASHED), (fakes.Hangs, TIMED_OUT)]
)
def test_who_dies_or_hangs_costs_one_answer_each_time(fake: type[fakes.Honest], outcome: Outcome) -> None:
    names = ["one", "first-trouble", "two", "three", "second-trouble", "four", "five"]
    results = asked(fake, named(*names), 2, timeout=3.0)
    assert [(result.case, result.outcome) for result in results] == [
        (f"relu/{name}", outcome if name.endswith("trouble") else AGREES) for name in names
    ]


def test_every_worker_is_asked_again_and_must_repeat_itself() -> None:
    results = asked(fakes.DrawsLowBits, [item(replace(CONV, id=f"conv2d/{n}")) for n in range(4)], 2, repeat=2)
    assert [result.outcome for result in results] == [Outcome.UNSTABLE] * 4


def test_a_worker_that_cannot_start_ends_what_it_was_asked_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAKE_MARK", str(tmp_path / "mark"))
    told: list[str] = []

    def listen(one: Session) -> None:
        with dealt(named("one", "two", "trouble", *"345678"), one, 2) as results:
            for result in results:
                told.append(result.case)

    with session(fakes.DiesAtTheSecondStart) as one, pytest.raises(WorkerFailed, match="the device is gone"):
        listen(one)
    # How far it came depends on whether the other one was started before.
    assert told in ([], ["relu/one"], ["relu/one", "relu/two"])


def test_an_interrupt_ends_every_worker_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_MARK", str(tmp_path))

    def interrupt(one: Session) -> None:
        with dealt(named("one", "first-trouble", "second-trouble", "two"), one, 2):
            while len(list(tmp_path.iterdir())) < 2:
                time.sleep(0.05)
            raise KeyboardInterrupt

    started = time.monotonic()
    with session(fakes.HangsAndTells, timeout=600.0) as one, pytest.raises(KeyboardInterrupt):
        interrupt(one)
    assert time.monotonic() - started < 120
    for process in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process.name), 0)


@pytest.mark.parametrize(
    ("target", "questions", "most", "workers"),
    [
        (Target(backend="torch"), 1000, 2, 2),
        (Target(backend="torch"), 1000, 1, 1),
        (Target(backend="torch"), 2 * dealing.QUESTIONS_A_WORKER, 8, 2),
        (Target(backend="torch"), 3, 8, 1),
        (Target(backend="torch"), 0, 8, 1),
        (Target(backend="torch", modes=("compile",)), 3, 8, 3),
        (Target(backend="torch", modes=(STOCK,)), 1000, 8, 1),
        (Target(backend="torch", device="cuda:1"), 1000, 8, 1),
        (REFERENCE, 1000, 8, 1),
    ],
)
def test_as_many_workers_as_are_of_use(target: Target, questions: int, most: int, workers: int) -> None:
    assert workers_for(target, questions, most) == workers
