"""Forward mode: what is asked of whom, expectations against finite differences, and what goes wrong in it."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.inputs import Question
from conformance.case.job import Job, Target
from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.model import Case, Expect
from conformance.case.operators import OPERATORS
from conformance.case.tangents import asks_tangents
from conformance.case.turns import ROTATION
from conformance.run.engine import Session
from conformance.run.plan import Item, plan, question_of
from conformance.run.result import Result
from conformance.tests.fakes import Honest
from conformance.tests.forward_mode import (
    DiesForward,
    ForgetsTheKernel,
    Pushes,
    PushesNothing,
    PushesTooLittle,
    RaisesAlways,
    RaisesForward,
)
from conformance.tests.questions import AVERAGE_POOL, CONV, DENSE, MAX_POOL, RELU, TRANSPOSED, case
from conformance.verdict.model import Outcome, Reason
from conformance.verdict.oracle import Accumulators, attribute_values, in_float64, to_float64
from conformance.verdict.references import REFERENCE
from conformance.verdict.tangents import expect_tangents

AskForward = Callable[[type[Honest], Case], Result]
FAKE = Target(backend="fake")


def item_of(case: Case, format_: Any = "float32") -> Item:
    return Item(case=case, target=FAKE, format=format_, layout="native", tangents=True)


@pytest.fixture
def ask_forward(sessions: Callable[..., Session]) -> AskForward:
    """Asks a fake one item with tangents."""
    return lambda fake, case: sessions(fake).run(item_of(case))


def job_of(case: Case, data: Any = "normal", format_: Any = "float64") -> Job:
    return question_of(item_of(case, format_), data, tangents=True).job


# Expectations -------------------------------------------------------------------------------------------------------


def shipped(operator: str) -> Case:
    """The first shipped case of an operator that is asked and has numbers."""
    cases = load([default_root() / "operators" / f"{operator}.yaml"])
    asked = (c for c in cases if asks_tangents(replace(c, checks=("jvp",)), "float64", "native", "full"))
    return next(c for c in asked if all(spec.shape[0] for spec in c.inputs.values()))


@pytest.mark.parametrize("operator", [name for name, own in OPERATORS.items() if own.forward_mode])
def test_tangents_are_the_slope_along_them(operator: str) -> None:
    """Central differences: exact but for roundings where f is quadratic along a line, within h^2 elsewhere."""
    question = shipped(operator)
    data = "normal" if "normal" in question.data else question.data[0]
    job = job_of(question, data)
    given, _ = in_float64(job)
    attributes = attribute_values(job.attributes)
    h = 2.0**-17

    def forward(side: float) -> Any:
        moved = {name: given[name] + side * h * to_float64(job.tangents[name]) for name in job.tangents}
        return REFERENCE[operator].forward(**{**given, **moved}, **attributes)["output"]

    slope = (forward(1) - forward(-1)) / (2 * h)
    expected = expect_tangents(job, Accumulators())["output"]
    # h^2 times third derivatives of order 1, tangents of up to 6, and roundings of 2^-53 times sums over h.
    room = 2.0**-34 * 6**3 + 2.0**-53 / h * 64 * (1 + np.abs(forward(0)))
    crossing = np.abs(slope - expected.value) > room
    # A kink within h of a number is met by one in thousands.
    assert crossing.mean() <= 0.02
    assert np.all(expected.bound <= 2.0**-53 * 1000 * (expected.scale + 1))


def test_a_product_by_hand() -> None:
    question = case("dense", NoAttributes(), "two", inputs={"x": (1, 2), "w": (2, 1), "b": (1,)})
    job = job_of(question)
    x, w = (to_float64(job.operands[name]) for name in ("x", "w"))
    dx, dw, db = (to_float64(job.tangents[name]) for name in ("x", "w", "b"))
    by_hand = dx[0, 0] * w[0, 0] + dx[0, 1] * w[1, 0] + x[0, 0] * dw[0, 0] + x[0, 1] * dw[1, 0] + db[0]
    found = expect_tangents(job, Accumulators())["output"]
    assert abs(found.value[0, 0] - by_hand) <= found.bound[0, 0]


def test_integers_are_exact() -> None:
    found = expect_tangents(job_of(DENSE, "wide", "float32"), Accumulators())["output"]
    assert not found.bound.any()
    assert np.array_equal(found.value, np.rint(found.value))
    assert expect_tangents(job_of(DENSE, "normal", "float32"), Accumulators())["output"].bound.all()


def test_tangents_change_no_other_number() -> None:
    one, other = question_of(item_of(CONV), "normal").job, job_of(CONV, format_="float32")
    assert not one.tangents
    assert other.tangents.keys() == CONV.inputs.keys()
    for name in CONV.inputs:
        assert np.array_equal(one.operands[name].data, other.operands[name].data)
        assert not np.array_equal(other.tangents[name].data, other.operands[name].data)
    assert Question(CONV, "normal", "float32").tangents()["x"].shape == CONV.inputs["x"].shape


# Who is asked -------------------------------------------------------------------------------------------------------


def test_a_quarter_of_the_cases_is_asked_and_full_asks_all() -> None:
    cases = [replace(CONV, id=f"conv2d/number-{n}", formats=("float32", "float64")) for n in range(1000)]
    core = [item for item in plan(cases, [FAKE]) if item.tangents]
    # Six standard deviations of 1000 draws.
    assert abs(len(core) - 1000 / ROTATION) < 6 * (1000 / ROTATION * (1 - 1 / ROTATION)) ** 0.5
    assert {item.format for item in core} == {"float32"}
    assert all(item.tangents for item in plan(cases, [FAKE], tier="full"))


def test_what_is_never_asked() -> None:
    def asked(case: Case, format_: Any = "float32", layout: Any = "native") -> bool:
        return asks_tangents(case, format_, layout, "full")

    assert asked(CONV)
    assert asked(replace(CONV, checks=("outputs", "jvp")))
    assert not asked(replace(CONV, checks=("outputs",)))
    assert not asked(CONV, "float16")
    assert not asked(CONV, layout="channels_first")
    assert not asked(MAX_POOL)
    assert not asked(replace(CONV, expect=Expect(error="required")))
    assert not asked(replace(RELU, data=("special",)))


def test_who_has_no_forward_mode_is_not_asked(sessions: Callable[..., Session]) -> None:
    assert sessions(Honest).run(item_of(CONV)).verdicts.keys() == {"outputs", "gradients"}


# Verdicts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [CONV, TRANSPOSED, DENSE, AVERAGE_POOL], ids=lambda case: case.id)
def test_an_honest_forward_mode_agrees(ask_forward: AskForward, case: Case) -> None:
    result = ask_forward(Pushes, case)
    assert result.verdicts.keys() == {"outputs", "gradients", "jvp"}
    assert result.agrees, result.detail
    assert {c.data for c in result.comparisons if c.check == "jvp"} == set(case.data)


@pytest.mark.parametrize("fake", [ForgetsTheKernel, PushesTooLittle])
def test_wrong_tangents_differ_and_nothing_else_does(ask_forward: AskForward, fake: type[Honest]) -> None:
    result = ask_forward(fake, CONV)
    told = {check: (verdict.outcome, verdict.reason) for check, verdict in result.verdicts.items()}
    assert told.pop("jvp") == (Outcome.DIFFERS, Reason.VALUE)
    assert {outcome for outcome, _ in told.values()} == {Outcome.AGREES}
    assert "tangent of output on " in result.detail
    assert result.agrees_with == ()


def test_a_forward_mode_that_refuses_or_gives_nothing_is_told(ask_forward: AskForward) -> None:
    for fake, outcome, told in (
        (RaisesForward, Outcome.REFUSED, "tangent of output: LookupError: gradient registry has no entry"),
        (PushesNothing, Outcome.REFUSED, "tangent of output: Missing: no tangent came back"),
    ):
        result = ask_forward(fake, DENSE)
        assert result.verdicts["jvp"].outcome is outcome
        assert result.verdicts["jvp"].detail == told
        assert result.verdicts["outputs"].outcome is Outcome.AGREES
        assert result.unexpected


def test_a_process_that_dies_in_forward_mode_has_its_outputs_and_gradients(ask_forward: AskForward) -> None:
    verdicts = ask_forward(DiesForward, DENSE).verdicts
    assert {check: verdict.outcome for check, verdict in verdicts.items()} == {
        "outputs": Outcome.AGREES,
        "gradients": Outcome.AGREES,
        "jvp": Outcome.CRASHED,
    }


def test_what_fails_as_a_whole_tells_nothing_of_its_forward_mode(ask_forward: AskForward) -> None:
    verdicts = ask_forward(RaisesAlways, DENSE).verdicts
    assert {check: verdict.outcome for check, verdict in verdicts.items()} == {
        "outputs": Outcome.REFUSED,
        "gradients": Outcome.REFUSED,
    }
