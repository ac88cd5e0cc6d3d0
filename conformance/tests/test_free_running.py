"""Chains from end to end: honest ones stay within the radius, coarse and wrong ones do not; a note, no verdict."""

from dataclasses import replace
from functools import cache

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.model import Case
from conformance.case.operators import Chain
from conformance.run.plan import question_of
from conformance.run.result import Result
from conformance.run.store import result_from_plain, result_to_plain
from conformance.tests import fakes
from conformance.tests.conftest import Ask
from conformance.tests.questions import CHAIN, CONV, chain, item
from conformance.tests.shipped import core
from conformance.verdict import free_running, oracle
from conformance.verdict.free_running import MOST_ELEMENTS, OWN_ELEMENTS, FreeRun, free_run
from conformance.verdict.model import Outcome
from conformance.verdict.oracle import Accumulators

PLAIN = Accumulators()


@cache
def chains() -> dict[str, Case]:
    return {case.id: case for case in core() if case.operator == "chain" and case.expect.error == "no"}


def asked(case: Case, format_: str = "float32") -> tuple[Job, Outputs]:
    """A chain with the reference's own answer, stored after every layer as a backend would."""
    job = question_of(item(case, format_), case.data[-1]).job  # type: ignore[arg-type]
    answer = oracle.answer(job)
    assert isinstance(answer, Outputs)
    return job, answer


def changed(answer: Outputs, name: str, by: float) -> Outputs:
    got = answer.outputs[name]
    return replace(answer, outputs={**answer.outputs, name: Tensor(got.format, got.data * np.float32(1 + by))})


# Honest and not -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("case_id", chains())
def test_what_is_stored_after_every_layer_stays_within_the_radius(case_id: str) -> None:
    case = chains()[case_id]
    job, answer = asked(case)
    note = free_run(job, answer, PLAIN)
    assert note is not None
    elements = sum(t.data.size for t in (*job.operands.values(), *job.cotangents.values(), *answer.outputs.values()))
    assert bool(note.skipped) is (elements > MOST_ELEMENTS)
    assert note.ratio <= 1
    if not note.skipped:
        assert note.radius > 0
        last = job.attributes.layers[-1].name
        wrong = free_run(job, changed(answer, last, 1e-3), PLAIN)
        assert wrong is not None
        # A whole network grows more from end to end, and its elements share one deviation; a mean cancels.
        grows = elements > OWN_ELEMENTS or job.attributes.layers[-1].operator == "mean"
        assert wrong.ratio > (3 if grows else 10)
        assert (wrong.check, wrong.name, wrong.first) == ("outputs", last, last)


def test_an_honest_backend_is_within_the_radius_and_says_so(ask: Ask) -> None:
    result = ask(fakes.Honest, CHAIN)
    assert result.free_run is not None
    assert 0 < result.free_run.ratio <= 1
    assert result.outcome is Outcome.AGREES
    assert result.diagnosis == ""


@pytest.mark.parametrize("format_", ["bfloat16", "float16"])
def test_short_formats_have_their_own_radius(ask: Ask, format_: str) -> None:
    result = ask(fakes.Honest, CHAIN, format_)
    assert result.free_run is not None
    assert 0 < result.free_run.ratio <= 1
    single = ask(fakes.Honest, CHAIN).free_run
    assert single is not None
    assert result.free_run.radius > 100 * single.radius


@pytest.mark.parametrize("fake", [fakes.RoundsOperandsToTf32, fakes.WeighsTooMuch, fakes.FlipsKernel])
def test_a_coarse_or_a_wrong_layer_lies_outside(ask: Ask, fake: type[fakes.Honest]) -> None:
    result = ask(fake, CHAIN)
    assert result.free_run is not None
    assert result.free_run.ratio > 3
    assert result.diagnosis.splitlines()[-1] == result.free_run.text
    assert result.free_run.text.startswith("from end to end: ")


# The radius itself --------------------------------------------------------------------------------------------------

EXACT = chain(
    ("first", "relu", NoAttributes()),
    ("last", "flatten", NoAttributes()),
    inputs={"x": (2, 3, 4, 2)},
)


def test_layers_that_round_nothing_leave_room_for_storing_alone() -> None:
    job, answer = asked(EXACT)
    note = free_run(job, answer, PLAIN)
    assert note is not None
    assert (note.error, note.ratio) == (0, 0)
    beyond = free_run(job, changed(answer, "last", 3e-7), PLAIN)
    assert beyond is not None
    assert beyond.ratio > 1
    assert beyond.radius == pytest.approx(2.0**-24 * np.abs(answer.outputs["last"].data).max(), rel=1)


def test_the_noise_of_one_layer_is_its_model_s() -> None:
    one = chain(("only", "conv2d", Convolution()), inputs={"x": (1, 6, 6, 4), "only/w": (3, 3, 4, 1)})
    job, answer = asked(one)
    expected = oracle.expect_chain(job, answer, PLAIN)
    assert isinstance(expected, oracle.Expectations)
    found = expected.outputs["only"]
    unit = 2.0**-24
    sigma = np.sqrt((found.bound * unit * found.scale + np.square(unit * found.value)) / 3)
    value = np.float64(found.value)
    wrong = Tensor("float32", (value + 1e-3).astype(np.float32))
    note = free_run(job, replace(answer, outputs={"only": wrong}), PLAIN)
    assert note is not None
    radii = 6 * sigma + unit * np.abs(value)
    # The deviation of sixteen numbers is known to 18 percent; the smallest radius of sixteen elements is looked for.
    assert 0.3 * radii.min() < note.radius < 1.1 * radii.max()


def test_the_same_question_has_the_same_radius() -> None:
    job, answer = asked(CHAIN)
    assert free_run(job, answer, PLAIN) == free_run(job, answer, PLAIN)


def test_a_wide_accumulator_leaves_less_room() -> None:
    job, answer = asked(CHAIN, "bfloat16")
    off = Outputs(outputs=answer.outputs, gradients={})
    narrow, wide = (
        free_run(job, off, accumulators)
        for accumulators in (PLAIN, Accumulators((("*", "bfloat16", "*", "float32"),)))
    )
    assert narrow is not None
    assert wide is not None
    assert wide.ratio > narrow.ratio


# What is not measured -----------------------------------------------------------------------------------------------


def test_in_float64_there_is_nothing_to_hold_a_backend_to() -> None:
    job, answer = asked(CHAIN, "float64")
    assert free_run(job, answer, PLAIN) is None


def test_a_large_chain_is_passed_over_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(free_running, "MOST_ELEMENTS", 10)
    job, answer = asked(CHAIN)
    note = free_run(job, answer, PLAIN)
    assert note is not None
    assert "not measured, " in note.text
    assert note.text.endswith("numbers are more than 10")


def test_missing_and_misshapen_arrays_are_the_verdict_s_to_tell() -> None:
    job, answer = asked(CHAIN)
    last = job.attributes.layers[-1].name
    short = Tensor("float32", answer.outputs[last].data[:1])
    assert free_run(job, Outputs(outputs={last: short}), PLAIN) is None
    assert free_run(job, Outputs(outputs={}), PLAIN) is None
    nan = Tensor("float32", np.full_like(answer.outputs[last].data, np.nan))
    assert free_run(job, Outputs(outputs={last: nan}), PLAIN) is not None


def test_what_the_reference_refuses_has_no_note() -> None:
    job, answer = asked(CHAIN)
    assert isinstance(job.attributes, Chain)
    operands = {**job.operands, "x": Tensor("float32", job.operands["x"].data[..., :1])}
    assert free_run(replace(job, operands=operands), answer, PLAIN) is None


# Where it is kept ---------------------------------------------------------------------------------------------------


def test_it_survives_the_store_and_other_results_have_none(ask: Ask) -> None:
    result: Result = ask(fakes.Honest, CHAIN)
    assert result_from_plain(result_to_plain(result)).free_run == result.free_run
    infinite = replace(result, free_run=FreeRun(name="x", ratio=float("inf")))
    assert result_from_plain(result_to_plain(infinite)).free_run == infinite.free_run
    assert ask(fakes.Honest, CONV).free_run is None
    older = {name: value for name, value in result_to_plain(result).items() if name != "free_run"}
    assert result_from_plain(older).free_run is None
