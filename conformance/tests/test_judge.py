"""Verdicts: answers against expectations, stated values, claims and errors."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.job import Answer, Crashed, Job, Outputs, Refused, Tensor, TimedOut, Unsupported
from conformance.case.model import Case, Claim, Expect
from conformance.tests.questions import case, stated
from conformance.verdict.judge import Judgement, judge, merge, stated_expectation
from conformance.verdict.model import Expectation, Outcome, Reason, Verdict
from conformance.verdict.oracle import Expectations, MustRefuse

AGREES, DIFFERS = Outcome.AGREES, Outcome.DIFFERS
QUESTION = case("relu", NoAttributes(), inputs={"x": (2,)})


def tensor(*values: float) -> Tensor:
    return Tensor("float32", np.array(values, np.float32))


def job(*, gradients: bool = True, format_: Any = "float32") -> Job:
    return Job(
        case_id=QUESTION.id,
        operator="relu",
        attributes=NoAttributes(),
        format=format_,
        layout="native",
        data="normal",
        operands={"x": tensor(1, 2)},
        cotangents={"output": tensor(1, 1)} if gradients else {},
    )


def exactly(*values: float, bound: float = 0.0) -> Expectation:
    array = np.array(values, np.float64)
    return Expectation(value=array, size=np.full(array.shape, bound), scale=np.abs(array))


EXPECTED = Expectations(outputs={"output": exactly(1, 2)}, gradients={"x": exactly(3, 4)})
RIGHT = Outputs(outputs={"output": tensor(1, 2)}, gradients={"x": tensor(3, 4)})


def judged(
    answer: Answer = RIGHT,
    expected: Expectations | MustRefuse = EXPECTED,
    *,
    asked: Job | None = None,
    exact: bool = True,
    **fields: Any,
) -> Judgement:
    return judge(replace(QUESTION, **fields), asked or job(), answer, expected, exact=exact)


def told(judgement: Judgement) -> Mapping[str, tuple[Outcome, Reason]]:
    return {check: (verdict.outcome, verdict.reason) for check, verdict in judgement.verdicts.items()}


EXACT = (AGREES, Reason.EXACT)


def test_what_is_right_agrees_in_every_check_that_was_asked() -> None:
    assert told(judged()) == {"outputs": EXACT, "gradients": EXACT}
    assert told(judged(asked=job(gradients=False))) == {"outputs": EXACT}
    assert [c.check for c in judged().comparisons] == ["outputs", "gradients"]


def test_within_the_bound_is_weaker_than_exact() -> None:
    wide = Expectations(outputs={"output": exactly(1, 2.001, bound=0.01)}, gradients=EXPECTED.gradients)
    assert told(judged(expected=wide)) == {"outputs": (AGREES, Reason.WITHIN_BOUND), "gradients": EXACT}


def test_a_vacuous_bound_is_inconclusive() -> None:
    vacuous = Expectations(outputs={"output": exactly(1, 2.5, bound=1)}, gradients=EXPECTED.gradients)
    judgement = judged(expected=vacuous)
    assert told(judgement)["outputs"] == (Outcome.INCONCLUSIVE, Reason.VACUOUS)
    assert judgement.verdicts["outputs"].detail == "output: the bound is as large as the values"


def test_each_check_has_its_own_verdict() -> None:
    wrong = replace(RIGHT, gradients={"x": tensor(3, 5)})
    judgement = judged(wrong)
    assert told(judgement) == {"outputs": EXACT, "gradients": (DIFFERS, Reason.VALUE)}
    assert judgement.verdicts["gradients"].detail == (
        "gradient of x on normal data: 1 of 2 elements outside the bound, worst at [1]: "
        "got 5.0, expected 4.0, error 1, bound 0"
    )


@pytest.mark.parametrize(
    ("answer", "outcome", "reason", "detail"),
    [
        (Unsupported(reason="no relu"), Outcome.UNSUPPORTED, Reason.NO_COUNTERPART, "no relu"),
        (Refused(error="E", message="m"), Outcome.REFUSED, Reason.ERROR, "E: m"),
        (Crashed(cause="SIGSEGV", last_words="w"), Outcome.CRASHED, Reason.DEATH, "SIGSEGV\nw"),
        (Crashed(cause="SIGKILL", last_words=""), Outcome.CRASHED, Reason.DEATH, "SIGKILL"),
        (TimedOut(seconds=2.5), Outcome.TIMED_OUT, Reason.SILENCE, "no answer in 2.5 s"),
    ],
)
def test_no_answer_is_a_verdict_of_every_check(answer: Answer, outcome: Outcome, reason: Reason, detail: str) -> None:
    verdict = Verdict(outcome=outcome, reason=reason, detail=detail)
    assert judged(answer).verdicts == {"outputs": verdict, "gradients": verdict}
    partly = replace(RIGHT, gradients={"x": answer})
    inside = replace(verdict, detail=f"gradient x: {detail}")
    assert judged(partly).verdicts == {"outputs": Verdict(outcome=AGREES, reason=Reason.EXACT), "gradients": inside}


def test_what_does_not_come_back_is_missing() -> None:
    assert told(judged(Outputs(outputs={"output": tensor(1, 2)})))["gradients"] == (DIFFERS, Reason.MISSING)
    assert told(judged(replace(RIGHT, outputs={"y": tensor(1, 2)})))["outputs"] == (DIFFERS, Reason.MISSING)


def test_a_mutated_input_is_a_difference_of_the_outputs() -> None:
    judgement = judged(replace(RIGHT, mutated=("x", "w")))
    assert told(judgement) == {"outputs": (DIFFERS, Reason.MUTATED), "gradients": EXACT}
    assert judgement.verdicts["outputs"].detail == "x, w changed while the backend had it"


def test_the_graver_outcome_stands() -> None:
    crashed = {"x": Crashed(cause="SIGABRT", last_words=""), "w": tensor(9)}
    expected = replace(EXPECTED, gradients={"x": exactly(1), "w": exactly(1)})
    assert told(judged(replace(RIGHT, gradients=crashed), expected))["gradients"] == (Outcome.CRASHED, Reason.DEATH)


# Stated values -----------------------------------------------------------------------------------------------------


def expecting(**fields: Any) -> Any:
    return {"expect": Expect(**fields)}


def test_stated_values_are_compared_too() -> None:
    right = judged(**expecting(outputs={"output": stated([1, 2])}, gradients={"x": stated([3, 4])}))
    assert told(right) == {"outputs": EXACT, "gradients": EXACT}
    assert [c.name for c in right.comparisons] == ["output", "output (stated)", "x", "x (stated)"]
    wrong = judged(**expecting(outputs={"output": stated([1, 3])}))
    assert told(wrong) == {"outputs": (DIFFERS, Reason.VALUE), "gradients": EXACT}
    assert "output (stated) on normal data" in wrong.verdicts["outputs"].detail
    assert told(judged(**expecting(gradients={"x": stated([3, 3])})))["gradients"] == (DIFFERS, Reason.VALUE)


def test_stated_values_do_not_apply_where_inputs_were_rounded() -> None:
    assert told(judged(exact=False, **expecting(outputs={"output": stated([1, 3])})))["outputs"] == EXACT


def test_stated_values_of_another_shape_differ_in_shape() -> None:
    assert told(judged(**expecting(outputs={"output": stated([1, 2, 3])})))["outputs"] == (DIFFERS, Reason.SHAPE)


@pytest.mark.parametrize(
    ("value", "decimals", "within"),
    [(1.04, 1, True), (1.06, 1, False), (1.004, 2, True), (1.006, 2, False), (1.04, None, False), (1.4, 0, True)],
)
def test_stated_decimals_leave_half_a_unit_of_the_last(value: float, decimals: int | None, within: bool) -> None:
    judgement = judged(**expecting(outputs={"output": stated([value, 2], decimals)}))
    assert (told(judgement)["outputs"][0] is AGREES) == within


def test_a_stated_computation_adds_its_own_bound() -> None:
    reference = exactly(1, 2, bound=2.0**-50)
    literal = stated([1, 2], computed="float32")
    bound = stated_expectation(literal, reference, job(format_="float64")).bound
    assert bound[0] == 2.0**-50 * (1 + 2.0**29)  # float32's unit roundoff is 2^29 times float64's
    assert stated_expectation(literal, reference, job()).bound[0] == 2 * 2.0**-50
    assert stated_expectation(stated([1, 2]), reference, job()).bound[0] == 2.0**-50


def test_a_stated_shape_is_that_of_the_last_output() -> None:
    assert told(judged(**expecting(shape=(2,))))["outputs"] == EXACT
    wrong = judged(**expecting(shape=(1, 2)))
    assert told(wrong)["outputs"] == (DIFFERS, Reason.SHAPE)
    assert wrong.verdicts["outputs"].detail == "output has shape (2,), the case states (1, 2)"


# Claims ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parts", "true"),
    [
        ({"shape": (2,)}, True),
        ({"shape": (3,)}, False),
        ({"outputs": {"output": stated([1, 2])}}, True),
        ({"outputs": {"output": stated([1, 3])}}, False),
        ({"outputs": {"output": stated([1, 2, 3])}}, False),
        ({"outputs": {"other": stated([1, 2])}}, False),
        ({"gradients": {"x": stated([3, 4])}}, True),
        ({"gradients": {"x": stated([4, 3])}}, False),
        ({"shape": (2,), "outputs": {"output": stated([1, 3])}}, False),
    ],
)
@pytest.mark.parametrize("holds", [True, False])
def test_a_claim_is_measured_and_must_be_as_the_case_says(parts: dict[str, Any], true: bool, holds: bool) -> None:
    judgement = judged(claims=(Claim(says="it is so", holds=holds, **parts),))
    (claim,) = judgement.claims
    assert (claim.says, claim.holds, claim.measured) == ("it is so", holds, true)
    if true == holds:
        assert told(judgement)["outputs"] == EXACT
    else:
        assert told(judgement)["outputs"] == (DIFFERS, Reason.CLAIM)
        words = ("true", "false") if true else ("false", "true")
        detail = f'"it is so" is {words[0]} here, the case says {words[1]}'
        assert judgement.verdicts["outputs"].detail == detail


def test_a_claim_about_rounded_inputs_is_not_measured() -> None:
    judgement = judged(exact=False, claims=(Claim(says="it is so", holds=True, shape=(9,)),))
    assert judgement.claims == ()
    assert told(judgement)["outputs"] == EXACT


# Questions without an answer ---------------------------------------------------------------------------------------

NO_ANSWER = MustRefuse(why="a stride of 0")
EMPTY = Outputs(outputs={"output": Tensor("float32", np.zeros((1, 0), np.float32))})


@pytest.mark.parametrize(
    ("error", "answer", "outcome", "reason"),
    [
        ("required", Refused(error="E", message="m"), AGREES, Reason.REFUSED_AS_EXPECTED),
        ("required", EMPTY, Outcome.ACCEPTED_INVALID, Reason.ERROR),
        ("required", RIGHT, Outcome.ACCEPTED_INVALID, Reason.ERROR),
        ("required", Crashed(cause="SIGABRT", last_words=""), Outcome.CRASHED, Reason.DEATH),
        ("required", TimedOut(seconds=1), Outcome.TIMED_OUT, Reason.SILENCE),
        ("required", Unsupported(reason="u"), Outcome.UNSUPPORTED, Reason.NO_COUNTERPART),
        ("allowed", Refused(error="E", message="m"), AGREES, Reason.REFUSED_AS_EXPECTED),
        ("allowed", EMPTY, AGREES, Reason.EXACT),
        ("allowed", RIGHT, Outcome.ACCEPTED_INVALID, Reason.ERROR),
        ("no", Refused(error="E", message="m"), DIFFERS, Reason.STATED),
        ("no", RIGHT, DIFFERS, Reason.STATED),
    ],
)
def test_what_must_be_refused(error: Any, answer: Answer, outcome: Outcome, reason: Reason) -> None:
    judgement = judged(answer, NO_ANSWER, asked=job(gradients=False), **expecting(error=error, shape=(1, 0)))
    assert told(judgement) == {"outputs": (outcome, reason)}


def test_an_accepted_question_says_what_came_and_why_it_should_not() -> None:
    judgement = judged(RIGHT, NO_ANSWER, **expecting(error="required"))
    assert judgement.verdicts["outputs"].detail == "gave output (2,); a stride of 0"


def test_a_stated_error_that_the_reference_answers_is_the_case_s_fault() -> None:
    judgement = judged(Refused(error="E", message="m"), EXPECTED, **expecting(error="required"))
    assert told(judgement) == {"outputs": (DIFFERS, Reason.STATED)}


# Several data sets -------------------------------------------------------------------------------------------------


def test_merging_keeps_the_worst_verdict_of_every_check_and_all_comparisons() -> None:
    wrong = judged(replace(RIGHT, outputs={"output": tensor(1, 9)}))
    weak = judged(
        expected=Expectations(outputs={"output": exactly(1, 2.001, bound=0.01)}, gradients=EXPECTED.gradients)
    )
    one = judged(claims=(Claim(says="a", holds=True, shape=(2,)),))
    assert told(merge([one, weak])) == {"outputs": (AGREES, Reason.WITHIN_BOUND), "gradients": EXACT}
    assert told(merge([weak, wrong, one]))["outputs"] == (DIFFERS, Reason.VALUE)
    assert told(merge([wrong, weak, one]))["gradients"] == EXACT
    assert len(merge([one, weak, wrong]).comparisons) == 6
    assert [claim.says for claim in merge([one, one]).claims] == ["a"]


def test_a_check_that_one_data_set_lacks_is_kept() -> None:
    assert set(merge([judged(asked=job(gradients=False)), judged()]).verdicts) == {"outputs", "gradients"}


def test_severity_orders_outcomes_from_the_best_to_the_worst() -> None:
    ordered = sorted(Outcome, key=lambda outcome: outcome.severity)
    assert [ordered[0], ordered[1], *ordered[-2:]] == [
        AGREES,
        Outcome.INCONCLUSIVE,
        Outcome.TIMED_OUT,
        Outcome.CRASHED,
    ]
    assert DIFFERS.severity > Outcome.REFUSED.severity > Outcome.UNSUPPORTED.severity


def test_cases_are_not_changed_by_judging() -> None:
    before = repr(QUESTION)
    judged(**expecting(outputs={"output": stated([1, 3])}))
    assert repr(QUESTION) == before
    assert isinstance(QUESTION, Case)
