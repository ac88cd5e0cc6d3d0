"""The table of variants: every reading changes something, consistently, and is what its name says."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.job import Job, Tensor
from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.model import Case
from conformance.case.operators import OPERATORS
from conformance.formats import INTEGERS
from conformance.run.mutate import differs, fresh
from conformance.run.plan import question_of
from conformance.tests.questions import CONV, DENSE, MAX_POOL, TRANSPOSED, case, item, numbers
from conformance.verdict import oracle
from conformance.verdict.oracle import Expectations, MustRefuse
from conformance.verdict.variants import VARIANTS, Variant, evaluate, variants_of

# A rounded operand has no derivative to compare with a quotient of differences.
STEPWISE = ("rounded to",)


def values(job: Job, exact: bool = True) -> Expectations | MustRefuse:
    return oracle.values(job)


def asked(case: Case, number: int = 0, shows_on: tuple[float, ...] = ()) -> Job:
    """A case in float64 on normal numbers."""
    return fresh(question_of(item(case), case.data[0]).job, shows_on, number)


def named(name: str, operator: str) -> Variant:
    (variant,) = (variant for variant in variants_of(operator) if variant.name == name)
    return variant


def read(name: str, job: Job) -> Expectations:
    found = evaluate((named(name, job.operator),), job, values)
    assert isinstance(found, Expectations)
    return found


def core_cases() -> list[Case]:
    """Those that variants answer: they are asked of numbers that are rounded."""
    cases = load([default_root() / "operators"])
    return [
        case
        for case in cases
        if case.operator != "chain" and case.expect.error == "no" and case.formats[0] not in INTEGERS
    ]


@pytest.fixture(scope="module")
def readings() -> dict[tuple[str, str], list[tuple[Variant, Case]]]:
    """Every variant that a shipped case can be read by, with those cases."""
    found: dict[tuple[str, str], list[tuple[Variant, Case]]] = {}
    for own in core_cases():
        job = asked(own)
        for variant in variants_of(own.operator):
            if variant.read(job) is not None:
                found.setdefault((own.operator, variant.name), []).append((variant, own))
    return found


def test_there_are_many_and_each_says_what_it_is() -> None:
    assert len(VARIANTS) >= 60
    for variant in VARIANTS:
        assert variant.about.endswith(".")
        assert variant.about[0].isupper() or not variant.about[0].isalpha() or " " in variant.about
        assert not variant.seen_by.endswith(".")
        assert any(variant.covers(operator) or variant.formats for operator in OPERATORS), variant.name


@pytest.mark.parametrize("operator", sorted(set(OPERATORS) - {"chain"}))
def test_names_are_unique_by_operator(operator: str) -> None:
    names = [variant.name for variant in variants_of(operator, "float64")]
    assert names
    assert len(names) == len(set(names))


def test_every_variant_has_a_case_that_it_reads(readings: dict[tuple[str, str], Any]) -> None:
    wanted = {
        (operator, variant.name) for operator in OPERATORS if operator != "chain" for variant in variants_of(operator)
    }
    assert wanted - set(readings) == set()


def test_every_variant_changes_the_result_of_some_case(readings: dict[tuple[str, str], Any]) -> None:
    """On normal data, with the numbers that it shows on among them; a table of no-ops would score for nothing."""
    idle = [
        key
        for key, found in readings.items()
        if not any(
            differs(variant, asked(case, number, variant.shows_on)) for variant, case in found for number in range(3)
        )
    ]
    assert idle == []


def test_outputs_stay_where_a_variant_touches_gradients_alone(readings: dict[tuple[str, str], Any]) -> None:
    for found in readings.values():
        for variant, own_case in found[:2]:
            job = asked(own_case, 0, variant.shows_on)
            other, own = evaluate((variant,), job, values), oracle.values(job)
            assert isinstance(own, Expectations)
            if not isinstance(other, Expectations):
                continue
            if variant.touches == "gradients":
                for name, expectation in own.outputs.items():
                    np.testing.assert_array_equal(other.outputs[name].value, expectation.value, variant.name)


def derivatives(readings: dict[tuple[str, str], list[tuple[Variant, Case]]]) -> Iterator[tuple[Variant, Job]]:
    for found in readings.values():
        for variant, own in found[:3]:
            if variant.touches == "both" and not any(word in variant.name for word in STEPWISE):
                yield variant, asked(own)


def test_gradients_are_those_of_the_other_outputs(readings: dict[tuple[str, str], Any]) -> None:
    """<cotangent, (y(x + h d) - y(x - h d)) / 2 h> = <gradient, d>, with the outputs of the variant itself."""
    wrong = []
    compared = 0
    for variant, job in derivatives(readings):
        found = evaluate((variant,), job, values)
        if not isinstance(found, Expectations) or not found.gradients:
            continue
        rng = np.random.default_rng(7)
        along = {name: rng.normal(size=job.operands[name].shape) for name in found.gradients}
        step = 1e-6

        def shifted(variant: Variant, job: Job, along: dict[str, Any], by: float) -> float:
            operands = {
                name: Tensor("float64", np.asarray(tensor.data + by * along[name], np.float64))
                if name in along
                else tensor
                for name, tensor in job.operands.items()
            }
            found = evaluate((variant,), replace(job, operands=operands), values)
            assert isinstance(found, Expectations)
            return sum(
                float((np.asarray(cotangent.data, np.float64) * found.outputs[name].value).sum())
                for name, cotangent in job.cotangents.items()
            )

        quotient = (shifted(variant, job, along, step) - shifted(variant, job, along, -step)) / (2 * step)
        product = sum(float((found.gradients[name].value * d).sum()) for name, d in along.items())
        compared += 1
        if not abs(quotient - product) <= 1e-5 * (1 + abs(product)):
            wrong.append((variant.name, job.case_id, quotient, product))
    assert compared >= 300
    assert wrong == []


# By hand ------------------------------------------------------------------------------------------------------------

ROW = case(
    "conv1d",
    Convolution(padding="same"),
    inputs={"x": numbers([[[1], [2], [3], [4]]]), "w": numbers([[[1]], [[10]]])},
    data=("given",),
    checks=("outputs",),
)


def given(case: Case) -> Job:
    return question_of(item(case, "float64"), case.data[0]).job


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("kernel flipped", [12, 23, 34, 40]),  # 10 x_i + x_(i+1)
        ("SAME_LOWER", [10, 21, 32, 43]),  # x_(i-1) + 10 x_i
        ("padding ignored", [21, 32, 43]),
        ("last window dropped", [21, 32, 43]),
        ("border replicated instead of zeros", [21, 32, 43, 44]),
        ("wrapped around the border", [21, 32, 43, 14]),
    ],
)
def test_a_row_read_in_other_ways(name: str, expected: list[float]) -> None:
    np.testing.assert_array_equal(read(name, given(ROW)).outputs["output"].value.ravel(), expected)


def test_dilation_spreads_the_input() -> None:
    job = given(replace(ROW, attributes=replace(ROW.attributes, dilation=(2,), padding="valid")))
    # 1 0 2 0 3 0 4 against 1 10
    found = read("dilation applied to the input", job).outputs["output"].value.ravel()
    np.testing.assert_array_equal(found, [1, 20, 2, 30, 3, 40])


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("tie gradient to the last", [0, 0, 5]),
        ("tie gradient to all", [2, 7, 5]),
        ("tie gradient shared", [1, 3.5, 2.5]),
        ("gradient of overlapping windows overwritten", [2, 5, 0]),
    ],
)
def test_ties(name: str, expected: list[float]) -> None:
    ties = case(
        "max_pool1d",
        MaxPool(window=(2,), stride=(1,)),
        inputs={"x": numbers([[[3], [3], [3]]])},
        cotangents={"output": numbers([[[2], [5]]])},
        data=("given",),
    )
    expected = [0, 2, 5] if name == "tie gradient to the last" else expected
    np.testing.assert_array_equal(read(name, given(ties)).gradients["x"].value.ravel(), expected)


def test_a_divisor_of_the_whole_window() -> None:
    hanging = case(
        "average_pool1d",
        AveragePool(window=(2,), stride=(2,), ceil_mode=True),
        inputs={"x": numbers([[[2], [4], [6]]])},
        cotangents={"output": numbers([[[2], [8]]])},
        data=("given",),
    )
    found = read("divisor is the whole window", given(hanging))
    np.testing.assert_array_equal(found.outputs["output"].value.ravel(), [3, 3])
    np.testing.assert_array_equal(found.gradients["x"].value.ravel(), [1, 1, 4])


def test_output_padding_at_the_low_end() -> None:
    placed = case(
        "conv1d_transpose",
        TransposedConvolution(stride=(2,), padding=((1, 1),), output_padding=(1,)),
        inputs={"x": numbers([[[1], [10]]]), "w": numbers([[[1]], [[2]], [[3]]])},
        data=("given",),
        checks=("outputs",),
    )
    # The canvas is 1 2 13 20 30; pads and output padding keep 2 13 20 30 or, at the low end, 1 2 13 20.
    np.testing.assert_array_equal(oracle_output(placed), [2, 13, 20, 30])
    found = read("output padding at the low end", given(placed)).outputs["output"].value.ravel()
    np.testing.assert_array_equal(found, [1, 2, 13, 20])


def oracle_output(case: Case) -> Any:
    found = oracle.values(given(case))
    assert isinstance(found, Expectations)
    return found.outputs["output"].value.ravel()


# What is left alone -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "untouched"),
    [
        ("SAME_LOWER", replace(CONV, attributes=replace(CONV.attributes, padding="valid"))),
        ("dilation ignored", CONV),
        ("groups in reverse order", CONV),
        ("kernel flipped", replace(CONV, inputs={**CONV.inputs, "w": numbers(np.ones((1, 1, 3, 4)))})),
        ("bias dropped", replace(DENSE, inputs={name: DENSE.inputs[name] for name in "xw"})),
        ("output padding ignored", TRANSPOSED),
        ("ceil for floor", MAX_POOL),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_variant_with_nothing_to_change_reads_nothing(name: str, untouched: Case) -> None:
    assert evaluate((named(name, untouched.operator),), asked(untouched), values) is None


def test_variants_compose() -> None:
    job = asked(CONV)
    flipped, dropped = named("kernel flipped", "conv2d"), named("bias dropped", "conv2d")
    both = evaluate((flipped, dropped), job, values)
    assert isinstance(both, Expectations)
    once = read("kernel flipped", job)
    bias = np.asarray(job.operands["b"].data, np.float64)
    # Sums of 19 numbers, of less than 2^7 together, the bias added last or not at all: each rounded 20 times at most.
    rounding = 2 * 20 * 2.0**-53 * 2**7
    np.testing.assert_allclose(
        both.outputs["output"].value, once.outputs["output"].value - bias, rtol=0, atol=rounding
    )
    np.testing.assert_array_equal(both.gradients["w"].value, once.gradients["w"].value)


def test_another_shape_has_no_gradients() -> None:
    found = read("stride ignored", asked(CONV))
    assert found.outputs["output"].value.shape == (2, 6, 7, 4)
    assert found.gradients == {}


def test_a_reading_without_an_answer_is_refused() -> None:
    small = case("conv2d", Convolution(padding="same"), inputs={"x": (1, 2, 3, 1), "w": (3, 3, 1, 1)})
    found = evaluate((named("padding ignored", "conv2d"),), asked(small), values)
    assert isinstance(found, MustRefuse)
