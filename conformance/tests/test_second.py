"""Second derivatives: what is asked of whom, expectations against finite differences, and what goes wrong in them."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.job import Job, Target
from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.model import TIERS, Case, Expect
from conformance.case.operators import OPERATORS
from conformance.case.second import CURVED, ROTATION, ROTATION_IN_FULL, asks_second, second_names
from conformance.reference.curvature import CURVATURES
from conformance.run.engine import Session
from conformance.run.plan import Item, plan, question_of
from conformance.run.result import Result
from conformance.tests.fakes import Honest
from conformance.tests.questions import AVERAGE_POOL, CONV, DENSE, MAX_POOL, RELU, TRANSPOSED, case
from conformance.tests.second_order import (
    CotangentShort,
    CurvesALine,
    DiesInBoth,
    DiesTwice,
    GivesTwice,
    GradientIsConstant,
    PullsNothing,
    PullsTwice,
    RaisesTwice,
    RefusesOneGradient,
)
from conformance.verdict.model import Outcome, Reason
from conformance.verdict.oracle import Accumulators, attribute_values, in_float64, to_float64
from conformance.verdict.references import REFERENCE
from conformance.verdict.second import expect_second

AskTwice = Callable[[type[Honest], Case], Result]
FAKE = Target(backend="fake")
ASKED = [name for name in OPERATORS if second_names(name)]


def item_of(case: Case, format_: Any = "float32", *, tangents: bool = False) -> Item:
    return Item(case=case, target=FAKE, format=format_, layout="native", second=True, tangents=tangents)


@pytest.fixture
def ask_twice(sessions: Callable[..., Session]) -> AskTwice:
    """Asks a fake one item with second derivatives."""
    return lambda fake, case: sessions(fake).run(item_of(case))


def job_of(case: Case, data: Any = "normal", format_: Any = "float64") -> Job:
    return question_of(item_of(case, format_), data, second=True).job


# Expectations -------------------------------------------------------------------------------------------------------


def shipped(operator: str) -> Case:
    """The first shipped case of an operator that is asked and has numbers."""
    cases = load([default_root() / "operators" / f"{operator}.yaml"])
    named = (replace(c, checks=("gradients", "second")) for c in cases)
    asked = (c for c in named if asks_second(c, "float64", "native", "full"))
    return next(c for c in asked if all(spec.shape[0] for spec in c.inputs.values()))


@pytest.mark.parametrize("operator", ASKED)
def test_second_derivatives_are_the_slopes_of_the_gradients(operator: str) -> None:
    """Of <J^T u, v>, along random steps of operands and of u: central differences of the reference's gradients."""
    question = shipped(operator)
    job = job_of(question, "normal" if "normal" in question.data else question.data[0])
    given, cotangents = in_float64(job)
    directions = {name: to_float64(tensor) for name, tensor in job.directions.items()}
    expected = expect_second(job, Accumulators())
    assert tuple(expected) == second_names(operator)
    h = 2.0**-17
    random = np.random.default_rng(1)

    def inner(**moved: Any) -> float:
        pulled = REFERENCE[operator].vjp(
            {name: moved.get(name, value) for name, value in cotangents.items()},
            **{name: moved.get(name, value) for name, value in given.items()},
            **attribute_values(job.attributes),
        )
        return float(sum((pulled[name] * direction).sum() for name, direction in directions.items()))

    for name, expectation in expected.items():
        start = {**given, **cotangents}[name]
        for _ in range(3):
            step = random.standard_normal(start.shape)
            slope = (inner(**{name: start + h * step}) - inner(**{name: start - h * step})) / (2 * h)
            # h^2 / 6 times third derivatives and steps of order 1, a term an element; and roundings of the inner
            # product over h. A kink is not met by a step of h.
            size = np.abs(expectation.value * step).sum() + np.sqrt(start.size)
            assert abs(slope - (expectation.value * step).sum()) <= 64 * (h**2 + 2.0**-53 / h) * start.size * (
                1 + size
            )
        assert np.all(expectation.bound <= 2.0**-53 * 1000 * (expectation.scale + 1))


def test_a_product_by_hand() -> None:
    question = case("dense", NoAttributes(), "two", inputs={"x": (1, 2), "w": (2, 1), "b": (1,)})
    job = job_of(question)
    x, w = (to_float64(job.operands[name]) for name in ("x", "w"))
    vx, vw, vb = (to_float64(job.directions[name]) for name in ("x", "w", "b"))
    u = to_float64(job.cotangents["output"])[0, 0]
    # J^T u = (u w, u x, u), and so <J^T u, v> = u (w vx + x vw + vb).
    by_hand = {
        "x": u * vw.T,
        "w": u * vx.T,
        "output": vx @ w + x @ vw + vb,
    }
    found = expect_second(job, Accumulators())
    assert found.keys() == by_hand.keys()
    for name, value in by_hand.items():
        assert np.all(np.abs(found[name].value - value) <= found[name].bound)


def test_integers_and_lines_are_exact() -> None:
    found = expect_second(job_of(DENSE, "wide", "float32"), Accumulators())
    assert not any(expectation.bound.any() for expectation in found.values())
    assert all(e.bound.all() for e in expect_second(job_of(DENSE, "normal", "float32"), Accumulators()).values())
    line = expect_second(job_of(RELU, "normal", "float32"), Accumulators())["x"]
    assert not line.value.any()
    assert not line.bound.any()


def test_directions_change_no_other_number() -> None:
    one, other = question_of(item_of(CONV), "normal", tangents=True).job, job_of(CONV, format_="float32")
    assert not one.directions
    assert not other.tangents
    assert other.directions.keys() == CONV.inputs.keys()
    for name in CONV.inputs:
        assert np.array_equal(one.operands[name].data, other.operands[name].data)
        assert not np.array_equal(other.directions[name].data, one.tangents[name].data)


# Who is asked -------------------------------------------------------------------------------------------------------


def test_the_functions_that_are_asked_are_those_whose_curvature_is_known() -> None:
    assert set(CURVED) == set(CURVATURES)
    assert all(OPERATORS[name].forward_mode == "elementwise" for name in CURVED)


def test_every_operator_that_has_them_is_asked_in_core() -> None:
    cases = [case for case in load([default_root() / "operators"]) if case.tier in TIERS[:2]]
    asked = {case.operator for case in cases if asks_second(case, case.formats[0], "native", "core")}
    assert asked == set(ASKED)


def test_some_in_turn_are_asked_of_what_slides_a_window_and_all_of_the_rest() -> None:
    cases = [replace(CONV, id=f"conv2d/number-{n}", formats=("float32", "float64")) for n in range(1000)]
    for tier, one_in in (("core", ROTATION), ("full", ROTATION_IN_FULL)):
        asked = [item for item in plan(cases, [FAKE], tier=tier) if item.second]
        chosen = {item.case.id for item in asked}
        # Six standard deviations of 1000 draws.
        assert abs(len(chosen) - 1000 / one_in) < 6 * (1000 / one_in * (1 - 1 / one_in)) ** 0.5
        assert {item.format for item in asked} == ({"float32"} if tier == "core" else {"float32", "float64"})
    items = plan([replace(DENSE, id=f"dense/number-{n}", formats=("float32",)) for n in range(20)], [FAKE])
    assert all(item.second for item in items)


def test_what_is_never_asked() -> None:
    def asked(case: Case, format_: Any = "float32", layout: Any = "native") -> bool:
        return asks_second(case, format_, layout, "full")

    assert asked(DENSE)
    assert asked(replace(CONV, checks=("outputs", "gradients", "second")))
    assert not asked(replace(DENSE, checks=("outputs",)))
    assert not asked(DENSE, "float16")
    assert not asked(DENSE, layout="strided")
    assert not asked(MAX_POOL)
    assert not asked(replace(DENSE, expect=Expect(error="required")))
    assert not asked(replace(RELU, data=("special",)))


def test_who_does_not_differentiate_twice_is_not_asked(sessions: Callable[..., Session]) -> None:
    assert sessions(Honest).run(item_of(CONV)).verdicts.keys() == {"outputs", "gradients"}


# Verdicts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [CONV, TRANSPOSED, DENSE, AVERAGE_POOL, RELU], ids=lambda case: case.id)
def test_honest_second_derivatives_agree(ask_twice: AskTwice, case: Case) -> None:
    result = ask_twice(PullsTwice, case)
    assert result.verdicts.keys() == {"outputs", "gradients", "second"}
    assert result.agrees, result.detail
    found = [c for c in result.comparisons if c.check == "second"]
    assert {c.name for c in found} == set(second_names(case.operator))
    assert {c.data for c in found} == set(case.data) - {"special"}


@pytest.mark.parametrize(
    ("fake", "case", "name"),
    [
        (GradientIsConstant, CONV, "x"),
        (GivesTwice, TRANSPOSED, "w"),
        (CotangentShort, AVERAGE_POOL, "output"),
        (CurvesALine, RELU, "x"),
    ],
)
def test_a_wrong_second_derivative_differs_and_nothing_else_does(
    ask_twice: AskTwice, fake: type[Honest], case: Case, name: str
) -> None:
    result = ask_twice(fake, case)
    told = {check: (verdict.outcome, verdict.reason) for check, verdict in result.verdicts.items()}
    assert told.pop("second") == (Outcome.DIFFERS, Reason.VALUE)
    assert {outcome for outcome, _ in told.values()} == {Outcome.AGREES}
    assert f"second derivative by {name} on " in result.detail
    assert result.agrees_with == ()


def test_who_refuses_or_gives_nothing_is_told(ask_twice: AskTwice) -> None:
    for fake, told in (
        (RaisesTwice, "second derivative by x: LookupError: derivative of the backward kernel is not implemented"),
        (PullsNothing, "second derivative by x: Missing: no second derivative came back"),
    ):
        result = ask_twice(fake, DENSE)
        assert result.verdicts["second"].outcome is Outcome.REFUSED
        assert result.verdicts["second"].detail == told
        assert result.verdicts["outputs"].outcome is Outcome.AGREES
        assert result.unexpected


def test_who_refuses_a_gradient_is_told_of_it_once(ask_twice: AskTwice) -> None:
    verdicts = ask_twice(RefusesOneGradient, DENSE).verdicts
    assert {check: verdict.outcome for check, verdict in verdicts.items()} == {
        "outputs": Outcome.AGREES,
        "gradients": Outcome.REFUSED,
    }


def test_a_process_that_dies_there_has_its_outputs_and_gradients(sessions: Callable[..., Session]) -> None:
    for fake, jvp in ((DiesTwice, Outcome.AGREES), (DiesInBoth, Outcome.CRASHED)):
        verdicts = sessions(fake).run(item_of(DENSE, tangents=True)).verdicts
        found = {check: verdict.outcome for check, verdict in verdicts.items()}
        assert (found["outputs"], found["gradients"], found["jvp"]) == (Outcome.AGREES, Outcome.AGREES, jvp)
        # Who dies of either is asked for neither: the one is told of that was found to be the cause.
        assert found.get("second") is (Outcome.CRASHED if jvp is Outcome.AGREES else None)
