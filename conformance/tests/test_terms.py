"""The terms of an element: hand-worked, against the reference on every case, and the one that is missing by name."""

from dataclasses import replace
from fnmatch import fnmatchcase
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import conformance
from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.job import Job
from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.model import Case, Check
from conformance.case.operators import OPERATORS
from conformance.pytest_plugin import Disagreement
from conformance.run.plan import question_of
from conformance.tests import fakes
from conformance.tests.conftest import Ask
from conformance.tests.installed import install
from conformance.tests.questions import CHAIN, SQUARE, case, item, numbers
from conformance.verdict import oracle
from conformance.verdict.model import Comparison, Reason
from conformance.verdict.oracle import Accumulators, Expectations
from conformance.verdict.terms import FORMS, MOST_SHOWN, explain, terms_of


@cache
def shipped() -> tuple[Case, ...]:
    return load([default_root() / "operators"])


def of_operator(name: str) -> list[Case]:
    return [case for case in shipped() if case.operator == name and case.expect.error == "no"]


OPERATED = sorted(name for globs in FORMS for glob in globs for name in OPERATORS if fnmatchcase(name, glob))


def test_every_sum_of_products_is_covered() -> None:
    assert {"conv3d_transpose", "dense", "average_pool1d", "global_max_pool2d"} <= set(OPERATED)
    assert len(OPERATED) == 20


# All terms together are the element ---------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATED)
def test_the_terms_of_an_element_add_up_to_it(operator: str) -> None:
    generator = np.random.default_rng(7)
    asked = 0
    for case_ in of_operator(operator):
        job = question_of(item(case_, "float64"), case_.data[-1]).job
        if any(not np.isfinite(tensor.data).all() for tensor in job.operands.values()):
            continue
        expected = oracle.expect(job, Accumulators())
        assert isinstance(expected, Expectations)
        found: list[tuple[Check, str, np.ndarray]] = [
            ("outputs", name, one.value) for name, one in expected.outputs.items() if "max_pool" not in operator
        ]
        found += [("gradients", name, one.value) for name, one in expected.gradients.items()]
        for check, name, value in found:
            for place in generator.integers(0, max(value.size, 1), min(value.size, 4)):
                index = tuple(int(i) for i in np.unravel_index(place, value.shape))
                terms = [term.value for term in terms_of(job, check, name, index)]
                assert sum(terms) == pytest.approx(value[index], rel=1e-12, abs=1e-12), (case_.id, check, name, index)
                asked += 1
    assert asked >= 4


# By hand ------------------------------------------------------------------------------------------------------------


def asked(operator: str, attributes: Any, inputs: dict[str, Any], cotangent: Any = None) -> Job:
    given = {name: numbers(values) for name, values in inputs.items()}
    cotangents = {} if cotangent is None else {"output": numbers(cotangent)}
    return question_of(
        item(case(operator, attributes, inputs=given, cotangents=cotangents, data=("given",)), "float32"), "given"
    ).job


def texts(job: Job, check: str, name: str, index: tuple[int, ...]) -> list[tuple[str, float]]:
    return [(term.text, term.value) for term in terms_of(job, check, name, index)]


def row(*values: float) -> np.ndarray:
    """A signal of one channel."""
    return np.array(values).reshape(1, -1, 1)


def test_a_strided_convolution_by_hand() -> None:
    # SAME of 5 by 3 in steps of 2 pads one element on either side; window 0 is (pad, 1, 2), window 1 is (2, 3, 4).
    inputs = {"x": row(1, 2, 3, 4, 5), "w": np.reshape([10, 20, 30], (3, 1, 1)), "b": [7]}
    job = asked("conv1d", Convolution(stride=(2,), padding="same"), inputs, row(1, 2, 4))
    assert texts(job, "outputs", "output", (0, 0, 0)) == [
        ("x[0, 0, 0] * w[1, 0, 0]", 20),
        ("x[0, 1, 0] * w[2, 0, 0]", 60),
        ("b[0]", 7),
    ]
    assert texts(job, "gradients", "x", (0, 1, 0)) == [
        ("cotangent[0, 0, 0] * w[2, 0, 0]", 30),
        ("cotangent[0, 1, 0] * w[0, 0, 0]", 20),
    ]
    assert texts(job, "gradients", "w", (0, 0, 0)) == [
        ("cotangent[0, 1, 0] * x[0, 1, 0]", 4),
        ("cotangent[0, 2, 0] * x[0, 3, 0]", 16),
    ]
    assert [value for _, value in texts(job, "gradients", "b", (0,))] == [1, 2, 4]


def test_groups_read_their_own_channels_by_hand() -> None:
    x, w = np.reshape([1, 2, 3, 4], (1, 1, 4)), np.reshape([1, 10, 100, 1000], (1, 2, 2))
    job = asked("conv1d", Convolution(groups=2, stride=(1,)), {"x": x, "w": w})
    assert texts(job, "outputs", "output", (0, 0, 1)) == [
        ("x[0, 0, 2] * w[0, 0, 1]", 30),
        ("x[0, 0, 3] * w[0, 1, 1]", 4000),
    ]


def test_a_transposed_convolution_by_hand() -> None:
    # Three taps at every second place: the second canvas element has one product, the third two.
    inputs = {"x": row(1, 2), "w": np.reshape([3, 5, 7], (3, 1, 1))}
    job = asked("conv1d_transpose", TransposedConvolution(stride=(2,)), inputs)
    assert texts(job, "outputs", "output", (0, 1, 0)) == [("x[0, 0, 0] * w[1, 0, 0]", 5)]
    assert texts(job, "outputs", "output", (0, 2, 0)) == [
        ("x[0, 0, 0] * w[2, 0, 0]", 7),
        ("x[0, 1, 0] * w[0, 0, 0]", 6),
    ]


def test_a_mean_has_its_divisor_by_hand() -> None:
    pool = AveragePool(window=(2,), stride=(2,), padding="same")
    job = asked("average_pool1d", pool, {"x": row(1, 2, 3)}, row(1, 1))
    assert texts(job, "outputs", "output", (0, 0, 0)) == [("x[0, 0, 0] * 0.5", 0.5), ("x[0, 1, 0] * 0.5", 1.0)]
    assert texts(job, "outputs", "output", (0, 1, 0)) == [("x[0, 2, 0]", 3)]
    counted = replace(pool, count_padding=True)
    job = asked("average_pool1d", counted, {"x": row(1, 2, 3)})
    assert texts(job, "outputs", "output", (0, 1, 0)) == [("x[0, 2, 0] * 0.5", 1.5)]


def test_the_gradient_of_a_maximum_goes_to_the_first_by_hand() -> None:
    job = asked("max_pool1d", MaxPool(window=(2,), stride=(1,)), {"x": row(3, 5, 5, 1)}, row(1, 2, 4))
    assert texts(job, "gradients", "x", (0, 1, 0)) == [("cotangent[0, 0, 0]", 1), ("cotangent[0, 1, 0]", 2)]
    assert texts(job, "gradients", "x", (0, 2, 0)) == [("cotangent[0, 2, 0]", 4)]


# What is told -------------------------------------------------------------------------------------------------------


DENSE = asked("dense", NoAttributes(), {"x": [[2, -3, 5, 7, 1, 0]], "w": np.reshape([1, 4, 2, 3, 1, 9], (6, 1))})


def told(got: float, job: Job = DENSE, **changes: Any) -> tuple[str, ...]:
    comparison = Comparison(
        name="output",
        check="outputs",
        data="given",
        within=False,
        reason=Reason.VALUE,
        expected_shape=(1, 1),
        got_shape=(1, 1),
        expected_format="float32",
        got_format="float32",
        worst_index=(0, 0),
        expected=22,
        got=got,
    )
    return explain(job, replace(comparison, **changes))


def test_the_largest_come_first_and_the_rest_as_a_sum() -> None:
    assert told(100) == (
        "output[0, 0] on given data sums 6 terms, 5 of them not 0:",
        "  x[0, 3] * w[3, 0] = 7 * 3 = 21",
        "  x[0, 1] * w[1, 0] = -3 * 4 = -12",
        "  x[0, 2] * w[2, 0] = 5 * 2 = 10",
        "  x[0, 0] * w[0, 0] = 2 * 1 = 2",
        "  and 1 smaller, together 1",
        "  sum 22, expected 22, got 100",
    )


@pytest.mark.parametrize(
    ("got", "words"),
    [
        (12, "got is the sum without x[0, 2] * w[2, 0]"),
        (32, "got is the sum with x[0, 2] * w[2, 0] counted twice"),
        (46, "got is the sum with the sign of x[0, 1] * w[1, 0] turned"),
        (21, "got is the sum without x[0, 4] * w[4, 0]"),
    ],
)
def test_one_term_that_explains_the_difference_is_named(got: float, words: str) -> None:
    assert told(got)[-1] == words


def test_terms_of_one_size_are_not_told_apart() -> None:
    job = asked("dense", NoAttributes(), {"x": [[3, 3, 1]], "w": np.ones((3, 1))})
    assert told(4, job, expected=7)[-1] == "got is the sum without x[0, 0] * w[0, 0] (or 1 more that fit)"


def test_within_the_bound_is_near_enough_and_beyond_it_is_not() -> None:
    assert told(12.5, bound=0.5)[-1] == "got is the sum without x[0, 2] * w[2, 0]"
    assert told(12.5, bound=0.25)[-1].startswith("  sum")


def test_what_agrees_is_summed_without_a_suspect() -> None:
    assert told(21, within=True, bound=2)[-1] == "  sum 22, expected 22, got 21"


def test_an_empty_array_has_no_element_to_explain() -> None:
    empty = asked("max_pool2d", of_operator("max_pool2d")[0].attributes, {"x": np.zeros((0, 6, 6, 1))})
    shape = {"expected_shape": (0, 3, 3, 1), "got_shape": (0, 3, 3, 1), "worst_index": ()}
    assert told(0, empty, within=True, **shape) == ()


@pytest.mark.parametrize("changes", [{"got": float("nan")}, {"expected": float("inf")}, {"got_shape": (1, 2)}])
def test_what_is_no_number_or_no_counterpart_has_no_terms(changes: dict[str, Any]) -> None:
    assert told(**{"got": 1.0, **changes}) == ()


def test_other_operators_have_none() -> None:
    job = asked("relu", NoAttributes(), {"x": [[2, -3]]})
    assert told(100, job) == ()


@pytest.mark.parametrize(("size", "count"), [(200, 40_000), (300, 0)])
def test_too_many_are_not_listed(size: int, count: int) -> None:
    job = asked("global_average_pool2d", NoAttributes(), {"x": np.ones((1, size, size, 1))})
    assert len(terms_of(job, "outputs", "output", (0, 0))) == count


def test_a_maximum_is_told_by_its_candidates() -> None:
    judged = conformance.judge("max_pool1d", x=row(1, 5, 3).astype(np.float32), window=3, got=np.float32([[[3]]]))
    assert judged.terms == (
        "output[0, 0, 0] on given data is the largest of 3: x[0, 1, 0] = 5, x[0, 2, 0] = 3, x[0, 0, 0] = 1; got 3",
        "got is x[0, 2, 0]",
    )


# From end to end ----------------------------------------------------------------------------------------------------


def test_the_missing_product_of_a_backend_is_named(ask: Ask) -> None:
    result = ask(fakes.MissesOneProduct, SQUARE)
    assert result.agrees_with == ()
    assert "1 of 96 elements differ, from [1, 2, 3, 1] on" in result.location
    assert result.terms[-1] == "got is the sum without x[1, 3, 5, 0] * w[1, 2, 0, 1]"
    assert len(result.terms) == MOST_SHOWN + 4
    assert result.diagnosis.splitlines() == [result.location, *result.terms]
    assert result.terms[-1] in Disagreement(result).text("a.yaml:1:1").splitlines()


def test_a_chain_tells_the_terms_of_its_first_layer_that_differs(ask: Ask) -> None:
    result = ask(fakes.FlipsKernel, CHAIN)
    assert result.location.startswith("layer first: ")
    assert result.terms[0].startswith("output[")
    assert result.diagnosis.splitlines()[0] == "agrees with: first: kernel flipped"
    assert not set(result.terms) & set(result.diagnosis.splitlines())


def test_the_command_tells_them(tmp_path: Path) -> None:
    installed = install(tmp_path / "installed", {"misses": "MissesOneProduct"})
    (tmp_path / "conv2d.yaml").write_text(
        "# yaml-language-server: $schema=schema.json\n"
        "operator: conv2d\n"
        "cases: [{name: a, inputs: {x: [2, 5, 6, 2], w: [3, 3, 2, 4]}, data: [normal], formats: [float32]}]\n"
    )
    ended = installed.conformance("run", "conv2d.yaml", "-t", "misses", "--out", "out", cwd=tmp_path)
    assert ended.code == 1
    lines = [line.strip() for line in ended.out.splitlines()]
    assert "got is the sum without x[1, 3, 5, 0] * w[1, 2, 0, 1]" in lines


def test_a_judged_call_tells_them() -> None:
    x, w = np.float32([[1, 2, 3]]), np.float32([[1], [20], [300]])
    judged = conformance.judge("dense", x=x, w=w, got=np.float32([[901]]))
    assert str(judged).splitlines()[-1] == "got is the sum without x[0, 1] * w[1, 0]"
