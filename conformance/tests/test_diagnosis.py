"""Fake backends are told by the name of what they do; faults without a name by their place."""

import time
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conformance.case.families.convolution import Convolution
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.model import Case
from conformance.pytest_plugin import Disagreement
from conformance.run.engine import Session
from conformance.run.mutate import answer_of
from conformance.run.plan import REFERENCE, question_of
from conformance.run.result import Result
from conformance.run.store import result_from_plain, result_to_plain
from conformance.tests import fakes
from conformance.tests.conftest import Ask
from conformance.tests.questions import AVERAGE_POOL, CHAIN, CONV, DENSE, FLATTEN, MAX_POOL, SQUARE, case, item
from conformance.tests.shipped import shipped
from conformance.verdict import oracle
from conformance.verdict.diagnosis import SECONDS, Differing, diagnose
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.verdict.variants import Variant, evaluate, variants_of

PLAIN = Accumulators()
TIES = replace(MAX_POOL, data=("special",))


@pytest.mark.parametrize(
    ("fake", "case", "name"),
    [
        (fakes.FlipsKernel, CONV, "kernel flipped"),
        (fakes.FlipsKernel, SQUARE, "kernel flipped"),
        (fakes.PadsLeftFirst, CONV, "SAME_LOWER"),
        (fakes.PadsLeftFirst, MAX_POOL, "SAME_LOWER"),
        (fakes.PadsAsIfUnstrided, CONV, "SAME padded as if unstrided"),
        (fakes.DropsBias, CONV, "bias dropped"),
        (fakes.DropsBias, DENSE, "bias dropped"),
        (fakes.LastTieWins, TIES, "tie gradient to the last"),
        (fakes.GradientOfOnes, CONV, "cotangent taken as ones"),
        (fakes.ZeroGradient, DENSE, "gradients zero"),
        (fakes.RoundsOperands, CONV, "inputs rounded to bfloat16"),
        (fakes.RoundsOperandsToTf32, CONV, "inputs rounded to TF32"),
    ],
    ids=lambda value: getattr(value, "__name__", None) or getattr(value, "operator", ""),
)
def test_a_fake_agrees_with_what_it_does(ask: Ask, fake: type[fakes.Honest], case: Case, name: str) -> None:
    result = ask(fake, case)
    assert name in result.agrees_with
    assert result.location
    assert result.diagnosis.startswith("agrees with: ")


def test_an_honest_backend_needs_no_diagnosis(ask: Ask) -> None:
    result = ask(fakes.Honest, CONV)
    assert (result.agrees_with, result.location, result.diagnosis) == ((), "", "")


def test_a_chain_is_told_by_its_layer(ask: Ask) -> None:
    assert ask(fakes.FlipsKernel, CHAIN).agrees_with == ("first: kernel flipped",)


def test_one_wrong_element_is_told_by_its_place(ask: Ask) -> None:
    assert "1 of 48 elements differ, from [0, 14] on, row 0 alone" in ask(fakes.OneElementOff, FLATTEN).location


@pytest.mark.parametrize("case", [CONV, AVERAGE_POOL], ids=lambda case: case.operator)
def test_another_shape_is_told(ask: Ask, case: Case) -> None:
    result = ask(fakes.WrongShape, case)
    assert "has shape" in result.location


# Every variant and some pairs, answered as by a backend -------------------------------------------------------------


def answered(case: Case, *variants: Variant) -> list[Differing] | None:
    """What a backend that reads a case so would give; None where nothing changes or nothing is answered."""
    whole, read = [], False
    for data in case.data:
        job = question_of(item(case, "float32"), data).job
        expected = oracle.expect(job, PLAIN)
        assert isinstance(expected, Expectations)
        found = evaluate(variants, job, lambda job, exact: oracle.values(job))
        if isinstance(found, MustRefuse):
            return None
        read = read or found is not None
        answer = answer_of(job, found or expected)
        assert isinstance(answer, Outputs)
        whole.append(Differing(job=job, answer=answer, expected=expected))
    return whole if read else None


ASYMMETRIC = (
    "conv2d/everything-asymmetric",
    "conv2d_transpose/everything-asymmetric",
    "max_pool2d/same-lower",
    "average_pool2d/ceil-mode-count-padding",
    "softmax_cross_entropy/mean",
    "softmax_cross_entropy/weighted-and-smoothed",
    "softmax_cross_entropy_dense/weighted-mean",
    "binary_cross_entropy/both-weights",
    "adam/other-rates",
    "initialize/glorot-uniform",
    "initialize/constant-truncated_normal",
    "random_dropout/rate-a-quarter",
    "adamw/other-rates",
    "sgd_momentum/nesterov-decayed",
    "rmsprop/momentum-of-steps-inside",
    "convolve/image-same",
    "batch_norm/image",
    "batch_norm_training/image",
    "layer_norm/image",
    "group_norm/image",
    "instance_norm/image",
    "local_response_norm/mean",
    "local_response_norm/even-low-mean",
)


@pytest.mark.parametrize("case_id", ["batch_norm/image", "batch_norm_training/image", "layer_norm/image"])
def test_a_variant_has_nothing_to_say_of_what_another_one_reads_as_another_operator(case_id: str) -> None:
    (case,) = (case for case in shipped("operators") if case.id == case_id)
    job = replace(question_of(item(case, "float32"), case.data[0]).job, cotangents={})
    for first in variants_of(case.operator):
        read = first.read(job)
        for second in variants_of(case.operator):
            found = evaluate((first, second), job, lambda job, exact: oracle.values(job))
            if read is None or not second.covers(read.job.operator):
                assert found is None


# A busy machine takes its time; what is recognised does not depend on it.
PATIENCE = 30.0


@pytest.mark.parametrize("case_id", ASYMMETRIC)
def test_every_variant_is_recognised_as_itself(case_id: str) -> None:
    (case,) = (case for case in shipped("operators") if case.id == case_id)
    told = 0
    for variant in variants_of(case.operator):
        differing = answered(case, variant)
        if differing is None:
            continue
        found = diagnose(differing, PLAIN, seconds=PATIENCE)
        if found.location:  # it may lie within the bounds on this case's numbers
            assert variant.name in found.agrees_with, (variant.name, found)
            told += 1
    assert told >= 5


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("kernel flipped", "bias dropped"),
        ("kernel flipped", "SAME_LOWER"),
        ("SAME_LOWER", "weight gradient averaged over the batch"),
        ("bias gradient zero", "weight gradient flipped"),
        ("kernel flipped", "the first stride for every axis"),
    ],
)
def test_two_faults_are_told_together(first: str, second: str) -> None:
    table = {variant.name: variant for variant in variants_of("conv2d")}
    names = [first, second]
    differing = answered(CONV, *(table[name] for name in names))
    assert differing is not None
    (told,) = diagnose(differing, PLAIN, seconds=20).agrees_with
    assert set(told.split(", and ")) == set(names)


# Faults without a name ----------------------------------------------------------------------------------------------


def spoilt(case: Case, where: Any, tensor: str = "output") -> list[Differing]:
    """Honest answers with 1 added somewhere."""
    (differing, *_) = answered_honestly(case)
    expected = differing.expected.outputs if tensor == "output" else differing.expected.gradients
    value = np.array(expected[tensor].value)
    value[where] += 1
    changed = {tensor: Tensor("float32", value.astype(np.float32))}
    outputs, gradients = dict(differing.answer.outputs), dict(differing.answer.gradients)
    (outputs if tensor == "output" else gradients).update(changed)
    return [replace(differing, answer=replace(differing.answer, outputs=outputs, gradients=gradients))]


def answered_honestly(case: Case) -> list[Differing]:
    job = question_of(item(case, "float32"), "normal").job
    expected, answer = oracle.expect(job, PLAIN), oracle.answer(job)
    assert isinstance(expected, Expectations)
    assert isinstance(answer, Outputs)
    return [Differing(job=job, answer=answer, expected=expected)]


GROUPED = case(
    "conv2d",
    Convolution(groups=2, padding="same"),
    "grouped",
    inputs={"x": (2, 5, 6, 4), "w": (3, 3, 2, 6), "b": (6,)},
)


@pytest.mark.parametrize(
    ("where", "tensor", "told"),
    [
        ((slice(None), 2, 3), "output", "12 of 360 elements differ, from [0, 2, 3, 0] on, interior alone"),
        ((slice(None), 0), "output", "72 of 360 elements differ, from [0, 0, 0, 0] on, border alone"),
        ((1,), "output", "180 of 360 elements differ, from [1, 0, 0, 0] on, image 1 alone"),
        ((..., 5), "output", "60 of 360 elements differ, from [0, 0, 0, 5] on, channel 5 alone"),
        ((..., slice(3, 6)), "output", "180 of 360 elements differ, from [0, 0, 0, 3] on, group 1 alone"),
        ((...,), "output", "every element differs, from [0, 0, 0, 0] on"),
        ((2,), "w", "36 of 108 elements differ, from [2, 0, 0, 0] on, tap of axis 0 2 alone"),
    ],
)
def test_a_fault_without_a_name_is_told_by_its_place(where: Any, tensor: str, told: str) -> None:
    found = diagnose(spoilt(GROUPED, where, tensor), PLAIN)
    assert found.agrees_with == ()
    assert found.location.partition(": ")[2] == told


def test_the_search_ends_in_time() -> None:
    slow = case(
        "conv2d", Convolution(padding="same"), "slow", inputs={"x": (4, 24, 24, 8), "w": (5, 5, 8, 16), "b": (16,)}
    )
    differing = spoilt(slow, (0, 0, 0, 0))
    started = time.thread_time()
    found = diagnose(differing, PLAIN)
    # One evaluation may be under way when the time is over.
    assert time.thread_time() - started < 2 * SECONDS + 0.5
    assert found.location


# Where it is shown --------------------------------------------------------------------------------------------------


def test_it_survives_the_store_and_older_runs_lack_it(ask: Ask) -> None:
    result = ask(fakes.FlipsKernel, CONV)
    plain = result_to_plain(result)
    again = result_from_plain(plain)
    told = ("agrees_with", "location", "terms")
    assert result.terms
    assert [getattr(again, name) for name in told] == [getattr(result, name) for name in told]
    older = {name: value for name, value in plain.items() if name not in told}
    assert result_from_plain(older).diagnosis == ""


def test_it_stands_in_pytest_s_failure(ask: Ask) -> None:
    text = Disagreement(ask(fakes.FlipsKernel, CONV)).text("a.yaml:1:1")
    assert "agrees with: kernel flipped" in text.splitlines()


def test_the_reference_agrees_with_itself() -> None:
    session = Session(REFERENCE)
    result: Result = session.run(item(CONV, backend="reference"))
    assert result.diagnosis == ""
    session.close()


def test_no_question_no_answer() -> None:
    assert diagnose([], PLAIN).location == ""
    job: Job = question_of(item(CONV), "normal").job
    assert job.cotangents
