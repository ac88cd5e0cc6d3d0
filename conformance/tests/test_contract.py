"""What every backend promises: the honest fake keeps it, and each broken promise is the one that is named."""

import pytest

from conformance.case.job import Target
from conformance.tests import fakes
from conformance.worker.contract import ContractResult, check_contract
from conformance.worker.gateway import Worker


def checked(fake: type[fakes.Honest]) -> tuple[ContractResult, ...]:
    worker = Worker(Target(backend="fake"), f"{fake.__module__}:{fake.__name__}")
    try:
        return check_contract(worker)
    finally:
        worker.close()


FORMATS = ("float64", "float32", "bfloat16", "float16")
CLAUSES = [
    "operators and absent ones are named truthfully",
    "the device that was asked for is the one described, with versions",
    "a device that is not there is refused",
    "an unknown operator is Unsupported",
    *(
        clause.format(name)
        for name in FORMATS
        for clause in ("{} comes back bit for bit", "operands are not changed in {}")
    ),
    "where the output has not its cotangent's shape, outputs come without gradients",
    "shapes that do not fit are Refused",
    "the worker goes on after a refusal",
    "one process answers everything, whatever it prints",
]


@pytest.mark.parametrize("fake", [fakes.Honest, fakes.PrintsToStdout])
def test_an_honest_backend_keeps_every_promise(fake: type[fakes.Honest]) -> None:
    results = checked(fake)
    assert [result.name for result in results] == CLAUSES
    assert [result.name for result in results if not result.held] == []


@pytest.mark.parametrize(
    ("fake", "broken"),
    [
        (fakes.MutatesInput, [f"operands are not changed in {name}" for name in FORMATS]),
        (fakes.LiesAboutItsDevice, ["the device that was asked for is the one described, with versions"]),
        (fakes.TakesAnyDevice, ["a device that is not there is refused"]),
        (fakes.HidesWhatItHas, ["operators and absent ones are named truthfully"]),
        (fakes.NamesUnknownOperators, ["operators and absent ones are named truthfully"]),
        (fakes.RoundsTwice, ["float64 comes back bit for bit"]),
        (fakes.CutsBfloat16, ["bfloat16 comes back bit for bit"]),
        (fakes.FlushesSmallNumbers, ["float16 comes back bit for bit"]),
        (fakes.ReturnsFloat64, [f"{name} comes back bit for bit" for name in FORMATS[1:]]),
        (fakes.AnswersUnknownOperators, ["an unknown operator is Unsupported"]),
        (fakes.AcceptsAnything, ["shapes that do not fit are Refused"]),
        (
            fakes.PullsBackAnyShape,
            ["where the output has not its cotangent's shape, outputs come without gradients"],
        ),
        (
            fakes.DiesOfRefusals,
            ["shapes that do not fit are Refused", "one process answers everything, whatever it prints"],
        ),
    ],
)
def test_a_broken_promise_is_the_one_that_is_named(fake: type[fakes.Honest], broken: list[str]) -> None:
    results = checked(fake)
    assert [result.name for result in results if not result.held] == broken
    assert all(result.detail for result in results)


def test_a_broken_promise_says_what_was_seen() -> None:
    told = {result.name: result.detail for result in checked(fakes.MutatesInput)}
    assert told["operands are not changed in float32"] == "flatten: changed x"
    told = {result.name: result.detail for result in checked(fakes.LiesAboutItsDevice)}
    assert "asked for 'cpu', got 'cuda (fake)'" in told[CLAUSES[1]]
