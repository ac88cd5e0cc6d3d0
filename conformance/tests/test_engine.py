"""Every fault has its verdict: fake backends in processes of their own, asked as real ones are."""

import math
import os
from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Softmax
from conformance.case.families.convolution import Convolution
from conformance.case.families.pooling import MaxPool
from conformance.case.job import Target
from conformance.case.model import INTEGER_NAMES, Case, Expect, Fill, FormatName, TensorSpec
from conformance.case.operators import Chain
from conformance.errors import BackendMissing, WorkerFailed
from conformance.formats import FORMATS
from conformance.run.engine import Session
from conformance.run.plan import REFERENCE
from conformance.run.result import Result
from conformance.tests import fakes
from conformance.tests.conftest import Ask
from conformance.tests.questions import (
    CHAIN,
    CONV,
    DENSE,
    EVERY,
    MAX_POOL,
    SQUARE,
    case,
    chain,
    item,
    numbers,
    stated,
)
from conformance.tests.shipped import core, shipped
from conformance.verdict.deviations import Deviation
from conformance.verdict.model import Comparison, Outcome, Reason

FLOATS: tuple[FormatName, ...] = ("float64", "float32", "bfloat16", "float16")
AGREES, DIFFERS, REFUSED = Outcome.AGREES, Outcome.DIFFERS, Outcome.REFUSED


def verdict(result: Result, check: str = "outputs") -> tuple[Outcome, Reason]:
    return result.verdicts[check].outcome, result.verdicts[check].reason


def outside(result: Result, check: str = "outputs") -> set[tuple[str, str]]:
    """The arrays that do not fit: (data set, name)."""
    return {(c.data, c.name) for c in result.comparisons if c.check == check and not c.within}


def worst(result: Result, data: str, name: str) -> Comparison:
    (comparison,) = (c for c in result.comparisons if (c.data, c.name) == (data, name))
    return comparison


def known_cases() -> list[Case]:
    """The shipped cases of the operators that the honest fake has."""
    known = set(fakes.Honest.operators())

    def operators(case: Case) -> set[str]:
        layers = case.attributes.layers if isinstance(case.attributes, Chain) else ()
        return {case.operator, *(layer.operator for layer in layers)}

    # Its zeros of padding are numbers like others, and infinity times 0 is NaN: implementation-defined.
    left_alone = {"conv2d/infinite-weight-over-padding"}
    return [
        case
        for case in core()
        if operators(case) <= known
        and not case.readings
        and case.id not in left_alone
        and INTEGER_NAMES.isdisjoint(case.formats)
    ]


# An honest backend -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("format_", FLOATS)
def test_an_honest_backend_agrees_with_every_shipped_case(ask: Ask, format_: FormatName) -> None:
    cases = known_cases()
    assert len(cases) >= 200
    wrong = {case.id: result.detail for case in cases if not (result := ask(fakes.Honest, case, format_)).agrees}
    assert wrong == {}


@pytest.mark.parametrize("case", [*EVERY, CHAIN], ids=lambda case: case.operator)
@pytest.mark.parametrize("format_", FLOATS)
def test_every_output_and_gradient_of_an_honest_backend_is_compared(
    ask: Ask, case: Case, format_: FormatName
) -> None:
    result = ask(fakes.Honest, case, format_)
    assert result.agrees
    assert not result.unexpected
    checks = {(c.data, c.check) for c in result.comparisons}
    assert checks == {(data, check) for data in case.data for check in ("outputs", "gradients")}
    gradients = {c.name for c in result.comparisons if c.check == "gradients"}
    layers = {layer.name for layer in case.attributes.layers[:-1]} if isinstance(case.attributes, Chain) else set()
    assert gradients == set(case.inputs) | layers
    assert all(c.ratio <= 1 for c in result.comparisons)


def test_wide_integers_are_exact_and_normal_numbers_within_the_bound(ask: Ask) -> None:
    result = ask(fakes.Honest, CONV, "float32")
    reasons = {data: {c.reason for c in result.comparisons if c.data == data} for data in CONV.data}
    assert reasons["wide"] == {Reason.EXACT}
    assert Reason.WITHIN_BOUND in reasons["normal"]
    assert verdict(result) == (AGREES, Reason.WITHIN_BOUND)
    assert 20 < result.bits < 53


def test_native_calls_and_the_framework_s_own_time_are_kept(ask: Ask) -> None:
    result = ask(fakes.Honest, CHAIN)
    assert result.calls[0] == "first = fake.conv2d(x=x, w=first_w, b=first_b)"
    assert result.calls[-1] == "last = fake.dense(x=flat, w=last_w, b=last_b)"
    assert 0 < result.seconds < result.total_seconds
    assert result.jobs == 1


def test_what_agrees_is_explained_term_by_term_too(ask: Ask) -> None:
    result = ask(fakes.Honest, CONV)
    assert {name.partition("/")[2] for name in result.sums} >= {"outputs/output", "gradients/x", "gradients/w"}
    (comparison,) = (c for c in result.comparisons if (c.data, c.check, c.name) == ("normal", "outputs", "output"))
    lines = result.sums["normal/outputs/output"]
    assert lines[0].startswith(f"output{list(comparison.worst_index)} on normal data sums ")
    assert f"expected {comparison.expected:.9g}, got {comparison.got:.9g}" in lines[-1]
    assert result.terms == ()
    # What agrees on wide integers is not kept, so there is nothing to explain.
    assert not [name for name in result.sums if name.startswith("wide/")]


@pytest.mark.parametrize("case", [CONV, MAX_POOL, CHAIN], ids=lambda case: case.id)
def test_the_reference_is_asked_in_this_process(case: Case) -> None:
    session = Session(REFERENCE)
    result = session.run(item(case, backend="reference"))
    assert result.agrees
    assert result.calls == ("the NumPy reference, in float64",)
    session.close()


# Wrong numbers -----------------------------------------------------------------------------------------------------

NAN_IN_A_WINDOW = case(
    "max_pool2d",
    MaxPool(window=(2, 2)),
    "nan",
    inputs={"x": numbers([[[[1.0], [2.0]], [[math.nan], [3.0]]]])},
    data=("given",),
    checks=("outputs",),
)


@pytest.mark.parametrize(
    ("fake", "case"),
    [
        (fakes.FlipsKernel, CONV),
        (fakes.FlipsKernel, SQUARE),
        (fakes.PadsLeftFirst, CONV),
        (fakes.PadsAsIfUnstrided, CONV),
    ],
    ids=lambda value: getattr(value, "__name__", None) or value.id,
)
def test_wrong_values_differ_in_outputs_and_gradients(ask: Ask, fake: type[fakes.Honest], case: Case) -> None:
    result = ask(fake, case)
    assert verdict(result, "outputs") == (DIFFERS, Reason.VALUE)
    assert verdict(result, "gradients") == (DIFFERS, Reason.VALUE)
    assert ("normal", "output") in outside(result)
    assert result.unexpected


def test_a_flipped_kernel_is_shown_at_its_worst_element(ask: Ask) -> None:
    counting = case(
        "conv2d",
        Convolution(),
        "counting",
        inputs={"x": numbers(np.arange(16.0).reshape(1, 4, 4, 1)), "w": numbers([[[[1.0]], [[2.0]], [[4.0]]]])},
        data=("given",),
        checks=("outputs",),
    )
    result = ask(fakes.FlipsKernel, counting)
    # 1 x 0 + 2 x 1 + 4 x 2 = 10 upright, 4 x 0 + 2 x 1 + 1 x 2 = 4 flipped; the difference is 6 everywhere.
    (comparison,) = result.comparisons
    assert (comparison.expected, comparison.got, comparison.error, comparison.bound) == (10, 4, 6, 0)
    assert (comparison.worst_index, comparison.outside, comparison.ratio) == ((0, 0, 0, 0), 8, math.inf)
    assert result.detail == (
        "output on given data: 8 of 8 elements outside the bound, worst at [0, 0, 0, 0]: "
        "got 4.0, expected 10.0, error 6, bound 0"
    )


def test_a_symmetric_kernel_hides_a_flip(ask: Ask) -> None:
    ones = replace(SQUARE, inputs={**SQUARE.inputs, "w": TensorSpec(shape=(3, 3, 2, 4), source=Fill(kind="ones"))})
    assert verdict(ask(fakes.FlipsKernel, ones)) == (AGREES, Reason.WITHIN_BOUND)


def test_an_odd_pixel_on_the_wrong_side_shows_in_pooling(ask: Ask) -> None:
    result = ask(fakes.PadsLeftFirst, MAX_POOL)
    assert verdict(result, "outputs") == (DIFFERS, Reason.VALUE)
    assert verdict(result, "gradients") == (DIFFERS, Reason.VALUE)


def test_an_odd_pixel_on_the_wrong_side_does_not_show_where_there_is_none(ask: Ask) -> None:
    assert ask(fakes.PadsLeftFirst, SQUARE).agrees


@pytest.mark.parametrize("case", [CONV, DENSE], ids=lambda case: case.operator)
def test_a_dropped_bias_differs_in_every_output_and_no_gradient(ask: Ask, case: Case) -> None:
    result = ask(fakes.DropsBias, case)
    assert verdict(result, "outputs") == (DIFFERS, Reason.VALUE)
    assert verdict(result, "gradients")[0] is AGREES
    assert outside(result) == {("wide", "output"), ("normal", "output")}
    wide = worst(result, "wide", "output")
    assert wide.error in (1, 2, 3)
    assert wide.outside == math.prod(wide.expected_shape)


def test_a_swallowed_nan_differs(ask: Ask) -> None:
    assert ask(fakes.Honest, NAN_IN_A_WINDOW).agrees
    result = ask(fakes.SwallowsNan, NAN_IN_A_WINDOW)
    assert verdict(result) == (DIFFERS, Reason.NAN)
    (comparison,) = result.comparisons
    assert (comparison.got, comparison.worst_index) == (3, (0, 0, 0, 0))
    assert math.isnan(comparison.expected)


def test_the_tie_s_gradient_at_the_wrong_place_differs_on_special_data_alone(ask: Ask) -> None:
    result = ask(fakes.LastTieWins, MAX_POOL)
    assert verdict(result, "outputs")[0] is AGREES
    assert verdict(result, "gradients") == (DIFFERS, Reason.VALUE)
    assert outside(result, "gradients") == {("special", "x")}


def test_one_element_off_by_a_millionth_is_seen_by_wide_integers_alone(ask: Ask) -> None:
    result = ask(fakes.OneElementOff, SQUARE)
    assert verdict(result) == (DIFFERS, Reason.VALUE)
    assert outside(result) == {("wide", "output")}
    wide = worst(result, "wide", "output")
    assert wide.outside == 1
    assert 0 < wide.error < 2e-6 * abs(wide.expected)


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (fakes.NanForNumber, Reason.NAN),
        (fakes.InfinityForNumber, Reason.INFINITY),
        (fakes.WrongShape, Reason.SHAPE),
        (fakes.ReturnsFloat64, Reason.FORMAT),
    ],
)
def test_wrong_outputs_are_told_by_their_kind(ask: Ask, fake: type[fakes.Honest], reason: Reason) -> None:
    result = ask(fake, CONV)
    assert verdict(result, "outputs") == (DIFFERS, reason)
    assert verdict(result, "gradients")[0] is AGREES
    assert outside(result) == {("wide", "output"), ("normal", "output")}
    assert {c.outside for c in result.comparisons if not c.within} <= {0, 1}


def test_a_wrong_shape_and_a_wrong_format_are_told_in_words(ask: Ask) -> None:
    shape = ask(fakes.WrongShape, CONV).verdicts["outputs"].detail
    assert shape == "output on wide data: shape (2, 3, 6, 4), expected (2, 3, 7, 4)"
    format_ = ask(fakes.ReturnsFloat64, CONV).verdicts["outputs"].detail
    assert format_ == "output on wide data: float64, expected float32"


def test_double_precision_is_right_where_it_was_asked_for(ask: Ask) -> None:
    assert ask(fakes.ReturnsFloat64, CONV, "float64").agrees


def test_results_that_are_cut_off_instead_of_rounded_are_named(ask: Ask) -> None:
    result = ask(fakes.Truncates, SQUARE, "bfloat16")
    assert verdict(result, "outputs") == (Outcome.LOW_PRECISION, Reason.TRUNCATED)
    assert verdict(result, "gradients")[0] is AGREES
    assert outside(result) == {("normal", "output")}
    assert ask(fakes.Truncates, SQUARE, "float32").agrees


# Wrong gradients ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fake", "wrong"),
    [
        (fakes.WeightGradientTransposed, {"w"}),
        (fakes.GradientOfOnes, {"x", "w"}),
        (fakes.ZeroGradient, {"x", "w"}),
    ],
)
def test_wrong_gradients_differ_where_outputs_agree(ask: Ask, fake: type[fakes.Honest], wrong: set[str]) -> None:
    result = ask(fake, SQUARE)
    assert verdict(result, "outputs")[0] is AGREES
    assert verdict(result, "gradients") == (DIFFERS, Reason.VALUE)
    assert outside(result, "gradients") == {(data, name) for data in ("wide", "normal") for name in wrong}
    assert result.verdicts["gradients"].detail.startswith(f"gradient of {sorted(wrong)[-1]} on wide data: ")


def test_a_kernel_s_gradient_of_another_shape_is_named(ask: Ask) -> None:
    result = ask(fakes.WeightGradientTransposed, CONV)
    assert verdict(result, "gradients") == (DIFFERS, Reason.SHAPE)
    assert result.detail == "gradient of w on wide data: shape (2, 3, 3, 4), expected (3, 2, 3, 4)"


def test_a_gradient_that_does_not_come_is_missed(ask: Ask) -> None:
    result = ask(fakes.MissingGradient, CONV)
    assert verdict(result, "outputs")[0] is AGREES
    assert verdict(result, "gradients") == (DIFFERS, Reason.MISSING)
    assert result.detail == "no w came back"
    assert verdict(ask(fakes.MissingGradient, CHAIN), "gradients") == (DIFFERS, Reason.MISSING)


@pytest.mark.parametrize("case", [CONV, CHAIN], ids=lambda case: case.operator)
def test_a_backward_pass_that_raises_leaves_the_outputs(ask: Ask, case: Case) -> None:
    result = ask(fakes.RaisesInGradient, case)
    assert verdict(result, "outputs")[0] is AGREES
    assert verdict(result, "gradients") == (REFUSED, Reason.ERROR)
    assert result.detail.endswith(": RuntimeError: no backward kernel")


def test_a_chain_is_judged_layer_by_layer_and_the_wrong_one_is_named(ask: Ask) -> None:
    result = ask(fakes.DropsBias, CHAIN)
    assert outside(result) == {("normal", "first"), ("normal", "last")}
    assert not outside(result, "gradients")
    ties = ask(fakes.LastTieWins, CHAIN)
    assert not outside(ties)
    assert outside(ties, "gradients") == {("normal", "active")}


# Wrong manners -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", [CONV, CHAIN], ids=lambda case: case.operator)
def test_a_mutated_input_differs_although_the_numbers_are_right(ask: Ask, case: Case) -> None:
    result = ask(fakes.MutatesInput, case)
    assert verdict(result, "outputs") == (DIFFERS, Reason.MUTATED)
    assert verdict(result, "gradients")[0] is AGREES
    assert result.detail == "x changed while the backend had it"
    assert all(comparison.within for comparison in result.comparisons)


def test_what_a_backend_raises_is_a_refusal(ask: Ask) -> None:
    result = ask(fakes.Raises, CONV)
    assert verdict(result, "outputs") == verdict(result, "gradients") == (REFUSED, Reason.ERROR)
    assert result.detail.splitlines()[0] == "RuntimeError: no kernel for conv2d"
    assert result.unexpected
    assert result.comparisons == ()


# No maps, or maps of zeros, are as right as a refusal, and both fakes give them.
EMPTY: Final = ("rejects/conv2d/no-output-channels", "rejects/conv2d/no-input-channels")


def rejects() -> list[Case]:
    known = set(fakes.Honest.operators())
    return [case for case in shipped("rejects") if case.operator in known]


def test_an_honest_backend_refuses_what_must_be_refused(ask: Ask) -> None:
    cases = rejects()
    assert len(cases) >= 15
    told = {case.id: verdict(ask(fakes.Honest, case)) for case in cases}
    assert told == dict.fromkeys(told, (AGREES, Reason.REFUSED_AS_EXPECTED)) | dict.fromkeys(
        EMPTY, (AGREES, Reason.EXACT)
    )


def test_who_accepts_anything_accepts_the_invalid(ask: Ask) -> None:
    told = {case.id: verdict(ask(fakes.AcceptsAnything, case)) for case in rejects()}
    assert told == dict.fromkeys(told, (Outcome.ACCEPTED_INVALID, Reason.ERROR)) | dict.fromkeys(
        EMPTY, (AGREES, Reason.EXACT)
    )
    assert ask(fakes.AcceptsAnything, rejects()[0]).unexpected
    assert ask(fakes.AcceptsAnything, CONV).agrees


def test_who_follows_an_index_anywhere_is_asked_nothing_more_in_that_process(
    ask: Ask, sessions: Callable[..., Session]
) -> None:
    fake, starts = fakes.FollowsIndices, lambda: sessions(fakes.FollowsIndices).worker.starts
    assert ask(fake, CONV).agrees
    known = {case.id: case for case in shipped("rejects")}
    for number, name in enumerate(("index-beyond-the-plane", "negative-index"), start=1):
        assert verdict(ask(fake, known[f"rejects/max_unpool2d/{name}"])) == (Outcome.ACCEPTED_INVALID, Reason.ERROR)
        assert ask(fake, CONV).agrees
        assert starts() == number + 1
    assert verdict(ask(fake, known["rejects/conv2d/zero-stride"])) == (Outcome.ACCEPTED_INVALID, Reason.ERROR)
    assert ask(fake, CONV).agrees
    assert starts() == 3  # nothing led anywhere


def test_an_error_that_the_reference_does_not_know_is_a_fault_of_the_case(ask: Ask) -> None:
    result = ask(fakes.Raises, replace(CONV, expect=Expect(error="required")))
    assert verdict(result) == (DIFFERS, Reason.STATED)
    assert result.detail.splitlines()[0] == "the case states an error, but the reference answers"


def test_printing_reaches_nobody(ask: Ask, capfd: pytest.CaptureFixture[str]) -> None:
    result = ask(fakes.PrintsToStdout, CONV)
    assert result.agrees
    assert capfd.readouterr() == ("", "")


def test_an_operator_that_is_not_there_is_unexpected_unless_it_is_known_to_be_absent(ask: Ask) -> None:
    soft = case("softmax", Softmax(), inputs={"x": (2, 3)})
    for fake, detail, standing in (
        (fakes.Honest, "Honest has no softmax", "unexpected"),
        (fakes.LiesAboutOperators, "LiesAboutOperators has no softmax", "unexpected"),
    ):
        result = ask(fake, soft)
        assert verdict(result) == (Outcome.UNSUPPORTED, Reason.NO_COUNTERPART)
        assert result.verdicts["outputs"].detail == detail
        assert result.assessments["outputs"].standing == standing
    result = ask(fakes.HidesOperators, CONV)
    assert verdict(result) == (Outcome.UNSUPPORTED, Reason.NO_COUNTERPART)
    assert not result.unexpected


def test_a_backend_without_gradients_is_asked_for_outputs(ask: Ask) -> None:
    result = ask(fakes.HasNoGradients, CONV)
    assert set(result.verdicts) == {"outputs"}
    assert result.agrees


@pytest.mark.parametrize(
    ("fake", "told"),
    [
        (fakes.InventsFormats, "TypeError: data type 'float31' not understood"),
        (fakes.MislabelsFormats, "TypeError: float32 is stored as float32, got float64"),
        (fakes.AnswersWithLists, "TypeError: set has no place on the wire"),
    ],
)
def test_an_answer_that_cannot_travel_is_a_refusal(ask: Ask, fake: type[fakes.Honest], told: str) -> None:
    result = ask(fake, CONV)
    assert verdict(result) == (REFUSED, Reason.ERROR)
    assert result.detail.splitlines()[0] == told


# Deaths and silences -----------------------------------------------------------------------------------------------

FAKE = Target(backend="fake")
ONE = replace(SQUARE, data=("normal",))
TROUBLE = replace(ONE, id=f"conv2d/{fakes.TROUBLE}")


@pytest.mark.parametrize(
    ("fake", "cause", "last_words"),
    [
        (fakes.Aborts, "SIGABRT", "native assertion failed: stride > 0"),
        (fakes.Segfaults, "SIGSEGV", "Fatal Python error: Segmentation fault"),
        (fakes.Exits, "exit code 3", ""),
        (fakes.Killed, "SIGKILL", ""),
    ],
)
def test_a_death_costs_one_answer(
    sessions: Callable[..., Session], ask: Ask, fake: type[fakes.Honest], cause: str, last_words: str
) -> None:
    assert ask(fake, ONE).agrees
    result = ask(fake, TROUBLE)
    assert verdict(result, "outputs") == verdict(result, "gradients") == (Outcome.CRASHED, Reason.DEATH)
    first, *words = result.verdicts["outputs"].detail.splitlines()
    assert first == cause
    assert last_words in "\n".join(words)
    assert bool(words) == bool(last_words)
    assert result.unexpected
    assert ask(fake, ONE).agrees
    assert sessions(fake).worker.starts == 3  # asked once more without cotangents; then the next question


@pytest.mark.parametrize(
    ("fake", "told"), [(fakes.SystemExits, "SystemExit: 4"), (fakes.Interrupts, "the channel broke: keyboard-interr")]
)
def test_leaving_by_exception_costs_one_answer_and_no_time(ask: Ask, fake: type[fakes.Honest], told: str) -> None:
    result = ask(fake, TROUBLE)
    assert result.outcome in (REFUSED, Outcome.CRASHED)
    assert result.detail.startswith(told)
    assert result.total_seconds < 8
    assert ask(fake, ONE).agrees


def test_silence_costs_one_answer(ask: Ask) -> None:
    assert ask(fakes.Hangs, ONE, timeout=1.0).agrees
    result = ask(fakes.Hangs, TROUBLE, timeout=1.0)
    assert verdict(result, "outputs") == verdict(result, "gradients") == (Outcome.TIMED_OUT, Reason.SILENCE)
    assert result.detail.splitlines()[0] == "no answer in 1 s"
    assert ask(fakes.Hangs, ONE, timeout=1.0).agrees


@pytest.mark.parametrize("case", [ONE, CHAIN], ids=lambda case: case.operator)
def test_a_backward_pass_that_dies_leaves_the_outputs(ask: Ask, case: Case) -> None:
    result = ask(fakes.AbortsInGradient, case)
    assert verdict(result, "outputs")[0] is AGREES
    assert verdict(result, "gradients") == (Outcome.CRASHED, Reason.DEATH)
    assert result.verdicts["gradients"].detail.split("\n")[0].split(": ")[1] == "SIGABRT"


def test_a_backward_pass_that_hangs_leaves_the_outputs(ask: Ask) -> None:
    result = ask(fakes.HangsInGradient, ONE, timeout=1.0)
    assert verdict(result, "outputs")[0] is AGREES
    assert verdict(result, "gradients") == (Outcome.TIMED_OUT, Reason.SILENCE)
    assert result.detail == "gradient x: no answer in 1 s"


def test_a_network_is_given_five_times_as_long(ask: Ask) -> None:
    assert isinstance(CHAIN.attributes, Chain)
    network = replace(CHAIN, attributes=replace(CHAIN.attributes, network="five-layers"))
    told = [ask(fakes.HangsInGradient, one, timeout=0.3).detail for one in (CHAIN, network)]
    assert [detail.rpartition(": ")[2] for detail in told] == ["no answer in 0.3 s", "no answer in 1.5 s"]


def test_no_process_is_left_behind() -> None:
    session = Session(FAKE, path="conformance.tests.fakes:Honest")
    assert session.run(item(ONE)).agrees
    pid = session.worker._gateway._io.popen.pid
    os.kill(pid, 0)
    session.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


@pytest.mark.parametrize(
    ("fake", "error", "told"),
    [
        (fakes.LacksItsFramework, BackendMissing, "Install it with: pip install no-such-framework"),
        (fakes.BreaksAtTheStart, WorkerFailed, "RuntimeError: the driver is too old"),
        (fakes.DiesAtTheStart, WorkerFailed, "no such instruction: vfmadd"),
    ],
)
def test_what_cannot_start_says_why(fake: type[fakes.Honest], error: type[Exception], told: str) -> None:
    with pytest.raises(error) as caught:
        Session(FAKE, path=f"{fake.__module__}:{fake.__name__}")
    assert told in str(caught.value)
    assert "fake" in str(caught.value)


# What the files say ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "standing"), [(CONV, "expected"), (replace(CONV, id="conv2d/other"), "unexpected")], ids=str
)
def test_a_difference_on_file_is_expected_where_it_is_on_file(
    sessions: Callable[..., Session], case: Case, standing: str
) -> None:
    session = sessions(fakes.DropsBias)
    on_file = Deviation(
        id="no-bias", cases=(CONV.id,), backend="fake", outcome=DIFFERS, reason="value", about="It has no bias."
    )
    session.deviations = (on_file,)
    result = session.run(item(case))
    session.deviations = ()
    assert verdict(result) == (DIFFERS, Reason.VALUE)
    assert result.assessments["outputs"].standing == standing
    assert result.unexpected == (standing == "unexpected")
    assert result.deviations == (("no-bias",) if standing == "expected" else ())


# Evidence, digests, bounds -----------------------------------------------------------------------------------------


def test_the_arrays_of_a_difference_are_kept(ask: Ask) -> None:
    result = ask(fakes.DropsBias, CONV)
    assert {name.split("/")[0] for name in result.evidence} == {"wide", "normal"}
    got, expected = (result.evidence[f"normal/output/output/{which}"] for which in ("got", "expected"))
    bias = result.evidence["normal/operand/b"]
    np.testing.assert_array_less(np.abs(expected - bias - got), 1e-5)
    assert {"normal/gradient/w/bound", "normal/cotangent/output", "normal/operand/x"} <= set(result.evidence)


def test_agreement_keeps_small_arrays_of_the_first_format_alone(ask: Ask) -> None:
    both = replace(CONV, formats=("float32", "float64"))
    assert {name.split("/")[0] for name in ask(fakes.Honest, both, "float32").evidence} == {"normal"}
    assert ask(fakes.Honest, both, "float64").evidence == {}


def test_every_backend_is_asked_the_same_numbers(ask: Ask) -> None:
    assert ask(fakes.Honest, CONV).digest == ask(fakes.FlipsKernel, CONV).digest
    assert ask(fakes.Honest, CONV).digest != ask(fakes.Honest, SQUARE).digest
    assert ask(fakes.Honest, CONV).digest == ask(fakes.Honest, replace(CONV, id="conv2d/renamed")).digest


def test_a_declared_accumulator_narrows_the_bound(ask: Ask) -> None:
    # The honest fake declares float32 sums for bfloat16: off by far less than a sum in bfloat16 might be.
    result = ask(fakes.Honest, SQUARE, "bfloat16")
    bound = worst(result, "normal", "output").bound
    unit = FORMATS["float32"].unit
    assert 0 < bound < 100 * 19 * unit


def test_a_stated_value_that_is_wrong_accuses_everybody(ask: Ask) -> None:
    wrong = case(
        "relu",
        NoAttributes(),
        "stated",
        inputs={"x": numbers([-1.0, 2.0])},
        data=("given",),
        checks=("outputs",),
        expect=Expect(outputs={"output": stated([0.0, 3.0])}),
    )
    result = ask(fakes.Honest, wrong)
    assert verdict(result) == (DIFFERS, Reason.VALUE)
    assert outside(result) == {("given", "output (stated)")}


def test_a_chain_s_layer_after_a_wrong_shape_is_not_judged_on_another_question(ask: Ask) -> None:
    two = chain(
        ("first", "relu", NoAttributes()),
        ("last", "relu", NoAttributes()),
        inputs={"x": (2, 3, 4)},
        checks=("outputs",),
    )
    result = ask(fakes.WrongShape, two)
    assert verdict(result) == (DIFFERS, Reason.SHAPE)
    assert outside(result) == {("normal", "first")}
