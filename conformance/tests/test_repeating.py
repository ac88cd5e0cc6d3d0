"""One question, several answers, and answers from elsewhere: neither ever agrees."""

from dataclasses import replace

import pytest

from conformance.case.job import Target
from conformance.case.model import Case
from conformance.run.engine import Session
from conformance.run.result import Result
from conformance.tests import fakes
from conformance.tests.conftest import Ask
from conformance.tests.questions import CHAIN, CONV, RELU, item
from conformance.verdict.model import Outcome, Reason

UNSTABLE = (Outcome.UNSTABLE, Reason.REPEATED)
FELL_BACK = (Outcome.FELL_BACK, Reason.DEVICE)


def asked(fake: type[fakes.Honest], one: Case, repeat: int) -> Result:
    session = Session(Target(backend="fake"), repeat=repeat, path=f"{fake.__module__}:{fake.__name__}")
    try:
        return session.run(item(one))
    finally:
        session.close()


def verdicts(result: Result) -> dict[str, tuple[Outcome, Reason]]:
    return {check: (verdict.outcome, verdict.reason) for check, verdict in result.verdicts.items()}


# Repeated


@pytest.mark.parametrize("one", [CONV, CHAIN], ids=lambda one: one.operator)
def test_an_honest_backend_has_the_same_bits_again(one: Case) -> None:
    result = asked(fakes.Honest, one, 3)
    assert result.agrees
    assert not result.unexpected


def test_low_bits_that_are_drawn_are_unstable_and_the_array_is_named() -> None:
    result = asked(fakes.DrawsLowBits, CONV, 2)
    assert verdicts(result)["outputs"] == UNSTABLE
    assert result.verdicts["gradients"].outcome is Outcome.AGREES
    assert result.outcome is Outcome.UNSTABLE
    assert result.detail.startswith("output on ")
    assert "elements with other bits, first at [" in result.detail
    assert result.unexpected


def test_unrepeated_they_differ_on_integers_alone() -> None:
    result = asked(fakes.DrawsLowBits, CONV, 1)
    assert {c.data for c in result.comparisons if not c.within} == {"wide"}


def test_gradients_are_compared_too() -> None:
    result = asked(fakes.DrawsGradientBits, CONV, 2)
    assert result.verdicts["outputs"].outcome is Outcome.AGREES
    assert verdicts(result)["gradients"] == UNSTABLE
    assert result.detail.startswith("gradient of w on ")


def test_the_sign_of_a_zero_is_a_bit() -> None:
    result = asked(fakes.ZeroOfEitherSign, RELU, 2)
    assert verdicts(result)["outputs"] == UNSTABLE
    assert "0.0, then " in result.detail


def test_an_answer_then_none_is_unstable() -> None:
    result = asked(fakes.AnswersEverySecondTime, replace(CONV, checks=("outputs",)), 2)
    assert verdicts(result) == {"outputs": UNSTABLE}
    assert "an answer, then none when asked again" in result.detail
    whole = asked(fakes.AnswersEverySecondTime, CONV, 2)  # asked without cotangents, it answers once more
    assert whole.verdicts["outputs"].outcome is Outcome.AGREES
    assert verdicts(whole)["gradients"] == UNSTABLE
    assert "gradient of x on wide data: an array in one answer, none in the other" in whole.detail


# Elsewhere


def test_outputs_from_another_device_never_agree(ask: Ask) -> None:
    result = ask(fakes.AnswersFromElsewhere, CONV)
    assert verdicts(result)["outputs"] == FELL_BACK
    assert result.verdicts["gradients"].outcome is Outcome.AGREES
    assert all(c.within for c in result.comparisons)
    assert result.detail == "output was on abacus, not on the device asked"
    assert result.unexpected


def test_gradients_from_another_device_never_agree_right_or_wrong(ask: Ask) -> None:
    result = ask(fakes.PullsBackElsewhere, CONV)
    assert result.verdicts["outputs"].outcome is Outcome.AGREES
    assert verdicts(result)["gradients"] == FELL_BACK
    assert "gradient of w was on abacus" in result.detail


def test_every_layer_of_a_chain_is_seen(ask: Ask) -> None:
    result = ask(fakes.AnswersFromElsewhere, CHAIN)
    assert result.detail.count("was on abacus") == len(CHAIN.attributes.layers)
