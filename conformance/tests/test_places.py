"""Outputs that count places: integers in every format, exact, and never differentiated."""

from dataclasses import replace
from typing import Any, get_args

import numpy as np
import pytest

import conformance
from conformance.case.families.pooling import Indexed, IndexedMaxPool, index_weights, place_steps
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.operators import Chain, Layer, output_format
from conformance.reference import indexed_pooling
from conformance.run.mutate import answer_of
from conformance.run.plan import question_of
from conformance.tests.questions import case, item
from conformance.verdict import oracle
from conformance.verdict.conventions import variant_of
from conformance.verdict.judge import judge
from conformance.verdict.model import Outcome, Reason
from conformance.verdict.oracle import Accumulators, Expectations
from conformance.verdict.variants import evaluate

POOL = case(
    "max_pool2d_with_indices",
    IndexedMaxPool(window=(3, 2), stride=(2, 1), padding="same"),
    inputs={"x": (2, 6, 5, 3)},
)


def asked(format_: Any = "float16") -> tuple[Job, Outputs, Expectations]:
    job = question_of(item(POOL, format_), "normal").job
    answer, expected = oracle.answer(job), oracle.expect(job, Accumulators())
    assert isinstance(answer, Outputs)
    assert isinstance(expected, Expectations)
    return job, answer, expected


@pytest.mark.parametrize("format_", ["float64", "float32", "bfloat16", "float16"])
def test_places_are_integers_in_every_format_and_have_no_cotangent(format_: Any) -> None:
    job, answer, expected = asked(format_)
    assert {name: tensor.format for name, tensor in answer.outputs.items()} == {"output": format_, "indices": "int64"}
    assert answer.outputs["indices"].data.dtype == np.int64
    assert job.cotangents.keys() == {"output"}
    assert judge(POOL, job, answer, expected, exact=False).verdicts["outputs"].outcome is Outcome.AGREES


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda places: Tensor("int64", places + np.eye(*places.shape[2:], dtype=np.int64)), Reason.VALUE),
        (lambda places: Tensor("int64", places + 2**60), Reason.VALUE),
        (lambda places: Tensor("float16", places.astype(np.float16)), Reason.FORMAT),
        (lambda places: Tensor("int32", places.astype(np.int32)), Reason.FORMAT),
        (lambda places: Tensor("int64", places[:, :-1]), Reason.SHAPE),
    ],
)
def test_another_place_or_type_differs(change: Any, reason: Reason) -> None:
    job, answer, expected = asked()
    outputs = {**answer.outputs, "indices": change(answer.outputs["indices"].data)}
    verdict = judge(POOL, job, replace(answer, outputs=outputs), expected, exact=False).verdicts["outputs"]
    assert (verdict.outcome, verdict.reason) == (Outcome.DIFFERS, reason)


def test_a_variant_answers_with_integers_too() -> None:
    job, _, expected = asked()
    variant = variant_of(job.operator, "indices count all images with their channels")
    assert variant is not None
    found = evaluate((variant,), job, lambda job, exact: oracle.expect(job, Accumulators(), exact=exact))
    assert isinstance(found, Expectations)
    answer = answer_of(job, found)
    assert isinstance(answer, Outputs)
    assert answer.outputs["indices"].format == "int64"
    verdict = judge(POOL, job, answer, expected, exact=False).verdicts["outputs"]
    assert (verdict.outcome, verdict.reason) == (Outcome.DIFFERS, Reason.VALUE)


def test_a_layer_s_places_are_integers_within_a_chain() -> None:
    chain = Chain(layers=(Layer(name="pool", operator=POOL.operator, attributes=POOL.attributes),))
    assert output_format("chain", chain, "pool/indices", "float16") == "int64"
    assert output_format("chain", chain, "pool", "float16") == "float16"


def test_they_are_judged_in_a_call() -> None:
    x = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    got = indexed_pooling.forward(
        x=x, window=(2, 3), stride=(2, 3), dilation=(1, 1), padding="valid", ceil_mode=False, indexed="image"
    )
    given: dict[str, Any] = {"x": x, "window": (2, 3), "indexed": "image"}
    right = {"output": got["output"].astype(np.float32), "indices": got["indices"]}
    for format_ in (None, "float32"):
        assert conformance.judge("max_pool2d_with_indices", got=right, format=format_, **given).within
    wrong = {**right, "indices": got["indices"] + 1}
    assert not conformance.judge("max_pool2d_with_indices", got=wrong, **given).within


@pytest.mark.parametrize("indexed", get_args(Indexed))
def test_adapters_count_as_the_reference_does(indexed: Indexed) -> None:
    """The weights and steps that adapters add up, against windows of one element, which tell every place."""
    x = np.zeros((2, 3, 4, 5, 2))
    places = indexed_pooling.forward(
        x=x,
        window=(1, 1, 1),
        stride=(1, 1, 1),
        dilation=(1, 1, 1),
        padding="valid",
        ceil_mode=False,
        indexed=indexed,
    )["indices"]
    image, place, channel = index_weights(indexed, x.shape)
    steps = (image, *(place * step for step in place_steps(indexed, x.shape[1:-1])), channel)
    np.testing.assert_array_equal(places, np.tensordot(steps, np.indices(x.shape), axes=1))
