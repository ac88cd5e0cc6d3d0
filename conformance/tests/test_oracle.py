"""Expectations: values and bounds of one operator, and of chains on what was really given."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Gelu
from conformance.case.families.arrays import Pad
from conformance.case.families.convolution import Convolution
from conformance.case.families.pooling import MaxPool
from conformance.case.inputs import Question
from conformance.case.job import Description, Job, Outputs, Refused, Tensor
from conformance.case.model import Case, FormatName
from conformance.case.operators import OPERATORS
from conformance.formats import FORMATS, from_storage, round_to, to_storage
from conformance.tests.questions import CHAIN, CONV, DENSE, EVERY, case, chain, numbers
from conformance.verdict import oracle
from conformance.verdict.compare import compare
from conformance.verdict.model import Reason
from conformance.verdict.oracle import REFERENCE_UNIT, Accumulators, Expectations, MustRefuse, expect, expect_chain

NONE = Accumulators()


def job_of(case: Case, data: Any = "normal", format_: FormatName = "float32", **cotangents: Any) -> Job:
    question = Question(case, data, format_)
    return Job(
        case_id=case.id,
        operator=case.operator,
        attributes=case.attributes,
        format=format_,
        layout="native",
        data=data,
        operands=question.operands(),
        cotangents=question.cotangents(cotangents),
    )


def expected(job: Job, accumulators: Accumulators = NONE) -> Expectations:
    found = expect(job, accumulators)
    assert isinstance(found, Expectations), found
    return found


def gamma(n: int, u: float) -> float:
    return n * u / (1 - n * u)


# One operator ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [name for name, operator in OPERATORS.items() if operator.zero])
def test_a_function_of_zero_keeps_the_signs_that_every_form_of_it_keeps(name: str) -> None:
    attributes = Gelu(approximate="none") if name == "gelu" else NoAttributes()
    asked = case(name, attributes, inputs={"x": numbers([0.0, -0.0, 1.0])})
    found = expected(job_of(asked, "given")).outputs["output"]
    assert found.signed is not None
    both = OPERATORS[name].zero == "sign"
    assert found.signed.tolist() == [True, both, False]
    assert np.signbit(found.value[: 1 + both]).tolist() == [False, True][: 1 + both]
    given = np.asarray(found.value, np.float32)
    assert compare("output", "outputs", "given", Tensor("float32", given), found, "float32").within
    for place in range(1 + both):
        wrong = given.copy()
        wrong[place] = -wrong[place]
        told = compare("output", "outputs", "given", Tensor("float32", wrong), found, "float32")
        assert (told.reason, told.worst_index) == (Reason.SIGN, (place,))


def test_the_bound_of_a_sum_of_products_worked_by_hand() -> None:
    asked = case(
        "dense",
        NoAttributes(),
        inputs={"x": numbers([[0.5, -1.5]]), "w": numbers([[3.0], [0.25]]), "b": numbers([2.0])},
    )
    found = expected(job_of(asked, "given")).outputs["output"]
    # 0.5 3 - 1.5 0.25 + 2 = 3.125; |0.5 3| + |1.5 0.25| + |2| = 3.875; two products and a bias.
    assert found.value.tolist() == [[3.125]]
    float32 = FORMATS["float32"]
    low = gamma(3, float32.unit) * 3.875
    assert low <= found.bound[0, 0] <= 1.01 * gamma(3, float32.unit + REFERENCE_UNIT) * 3.875 + 4 * float32.eta
    assert (found.at((0, 0)).scale, found.at((0, 0)).root) == (3.875, 3**0.5)


def test_borders_have_fewer_terms_and_tighter_bounds() -> None:
    ones = case(
        "conv2d",
        Convolution(padding="same"),
        inputs={"x": numbers(np.full((1, 5, 5, 1), 0.5)), "w": numbers(np.full((3, 3, 1, 1), 0.5))},
    )
    bound = expected(job_of(ones, "given")).outputs["output"].bound[0, :, :, 0]
    assert bound[0, 0] < bound[0, 2] < bound[2, 2]
    assert bound[0, 0] / bound[2, 2] == pytest.approx((4 * 4) / (9 * 9), rel=1e-5)


@pytest.mark.parametrize("asked", EVERY, ids=lambda case: case.operator)
@pytest.mark.parametrize("format_", ["float32", "bfloat16"])
def test_the_reference_keeps_its_own_bound(asked: Case, format_: FormatName) -> None:
    answered = oracle.answer(job_of(asked, format_=format_))
    found = expected(job_of(asked, format_=format_))
    assert isinstance(answered, Outputs)
    exact = found.outputs["output"].value
    stored = oracle.to_float64(answered.outputs["output"])
    np.testing.assert_array_equal(stored, round_to(exact, FORMATS[format_]))
    assert answered.gradients == {}


def test_integers_whose_products_stay_below_2_to_the_p_are_exact() -> None:
    def asked(value: float) -> Case:
        return case("dense", NoAttributes(), inputs={"x": numbers([[value, 1.0]]), "w": numbers([[1.0], [0.0]])})

    for value, exact in ((2.0**24, True), (2.0**24 + 2, False), (0.5, False), (3.0, True)):
        bound = expected(job_of(asked(value), "given")).outputs["output"].bound
        assert (not bound.any()) == exact
    # A declared accumulator moves the gate: float16 stores 2048, and float32 sums 2^24 of them.
    job = job_of(asked(2048.0), "given", "float16")
    wide = replace(job, operands={**job.operands, "w": Tensor("float16", np.array([[4.0], [0.0]], np.float16))})
    assert expected(wide).outputs["output"].bound.any()
    assert not expected(wide, Accumulators((("*", "float16", "outputs", "float32"),))).outputs["output"].bound.any()


def test_the_gate_of_gradients_counts_the_cotangent() -> None:
    asked = case("dense", NoAttributes(), inputs={"x": numbers([[1.0]]), "w": numbers([[3.0]])})
    job = job_of(asked, "given", output=(1, 1))
    halves = replace(job, cotangents={"output": Tensor("float32", np.array([[0.5]], np.float32))})
    whole = replace(job, cotangents={"output": Tensor("float32", np.array([[2.0]], np.float32))})
    assert not expected(whole).gradients["x"].bound.any()
    assert expected(halves).gradients["x"].bound.any()


def test_what_moves_numbers_without_computing_is_exact_on_any_data() -> None:
    for asked in (
        case("flatten", NoAttributes(), inputs={"x": (2, 3, 4)}),
        case("pad", Pad(padding=((1, 0), (0, 2)), value=0.3), inputs={"x": (2, 3)}),
        case("max_pool2d", MaxPool(window=(2, 2)), inputs={"x": (1, 4, 4, 2)}),
    ):
        assert not expected(job_of(asked)).outputs["output"].bound.any()


def test_only_differentiable_operands_have_expected_gradients() -> None:
    found = expected(job_of(DENSE, output=(3, 4)))
    assert set(found.gradients) == {"x", "w", "b"}
    assert set(expected(job_of(DENSE)).gradients) == set()


def test_what_the_reference_refuses_nobody_may_answer() -> None:
    asked = case("dense", NoAttributes(), inputs={"x": (2, 3), "w": (4, 5)})
    found = expect(job_of(asked), NONE)
    assert isinstance(found, MustRefuse)
    assert "4" in found.why
    answered = oracle.answer(job_of(asked))
    assert isinstance(answered, Refused)
    assert answered.error == "InvalidShape"
    assert answered.message == found.why


# Accumulators ------------------------------------------------------------------------------------------------------

DECLARED = Accumulators(
    (
        ("conv*", "bfloat16", "gradients", "bfloat16"),
        ("conv*", "bfloat16", "*", "float32"),
        ("*", "float16", "outputs", "float32"),
        ("dense", "float16", "gradients/w", "float32"),
    ),
    stored_sums=(("conv*", "bfloat16"),),
)


@pytest.mark.parametrize(
    ("operator", "storage", "array", "accumulator"),
    [
        ("conv2d", "bfloat16", "outputs/output", "float32"),
        ("conv2d", "bfloat16", "gradients/x", "bfloat16"),  # the first match counts
        ("conv1d_transpose", "bfloat16", "outputs/output", "float32"),
        ("dense", "bfloat16", "outputs/output", "bfloat16"),
        ("dense", "float16", "outputs/output", "float32"),
        ("dense", "float16", "gradients/x", "float16"),
        ("dense", "float16", "gradients/w", "float32"),  # one gradient of several
        ("conv2d", "float32", "outputs/output", "float32"),
        ("conv2d", "float64", "gradients/w", "float64"),
    ],
)
def test_the_first_declaration_that_matches_counts(operator: str, storage: str, array: str, accumulator: str) -> None:
    assert DECLARED.of(operator, storage, *array.split("/")) is FORMATS[accumulator]


def test_what_goes_beyond_storage_is_told_by_operator_and_format() -> None:
    assert DECLARED.beyond_storage("conv2d", "bfloat16")
    assert DECLARED.beyond_storage("dense", "float16")
    assert not DECLARED.beyond_storage("dense", "bfloat16")
    assert not Accumulators((("*", "bfloat16", "*", "bfloat16"),)).beyond_storage("dense", "bfloat16")


def test_accumulators_come_from_the_description() -> None:
    description = Description(
        backend="b",
        versions={},
        device="cpu",
        cpu_features=(),
        switches={},
        accumulators=DECLARED.declared,
        absent=(),
        operators=(),
        stored_sums=DECLARED.stored_sums,
    )
    assert Accumulators.from_description(description) == DECLARED


def test_a_wider_accumulator_makes_a_tighter_bound() -> None:
    job = job_of(CONV, format_="bfloat16", output=(2, 3, 7, 4))
    plain, declared = expected(job), expected(job, Accumulators(DECLARED.declared))
    ratio = plain.outputs["output"].bound / declared.outputs["output"].bound
    assert ratio.min() > 2.0**15  # 2^-8 against 2^-24
    np.testing.assert_array_equal(plain.gradients["w"].bound, declared.gradients["w"].bound)


# 257 + 1 in bfloat16: 257 lies between 256 and 258, and the even of them is stored; 256 + 1 rounds to 256 again,
# where 258 is right.
ODD = case(
    "dense",
    NoAttributes(),
    "odd",
    inputs={"x": numbers([[1.0, 1.0]]), "w": numbers([[128.0, 64.0], [129.0, 64.0]]), "b": numbers([1.0, 0.0])},
    data=("given",),
)
SINGLE = (("*", "bfloat16", "*", "float32"),)


def test_a_sum_that_is_stored_before_the_bias_may_miss_by_what_it_was_rounded_by() -> None:
    job = job_of(ODD, format_="bfloat16", output=(1, 2))
    stored = ((), (("d*", "bfloat16"),))
    once, twice = (expected(job, Accumulators(SINGLE, sums)).outputs["output"] for sums in stored)
    np.testing.assert_array_equal(once.value, [[258.0, 128.0]])
    np.testing.assert_array_equal(twice.value, once.value)
    assert not once.bound.any()
    assert 1.0 <= twice.bound[0, 0] < 1.0001  # 257 was stored as 256
    assert twice.bound[0, 1] == 0.0  # 128 is stored as it is: exact all the same


def test_storing_before_the_bias_costs_one_rounding_of_the_sum_and_gradients_nothing() -> None:
    job = job_of(CONV, format_="bfloat16", output=(2, 3, 7, 4))
    once, twice = (expected(job, Accumulators(SINGLE, sums)) for sums in ((), (("conv2d", "bfloat16"),)))
    bias = from_storage(job.operands["b"].data, FORMATS["bfloat16"])
    one, two = once.outputs["output"], twice.outputs["output"]
    extra = two.bound - one.bound
    assert (extra >= 0).all()
    # u (|mid| + e), and the rounding of the addition in float32
    unit, single = FORMATS["bfloat16"].unit, FORMATS["float32"].unit
    most = unit * (np.abs(one.value - bias) + one.bound) + single * (np.abs(one.value) + two.bound)
    assert (extra <= most * (1 + 2.0**-20)).all()
    assert np.median(extra / most) > 0.2
    for name, gradient in once.gradients.items():
        np.testing.assert_array_equal(gradient.bound, twice.gradients[name].bound)


# Chains ------------------------------------------------------------------------------------------------------------

TWO = chain(
    ("double", "dense", NoAttributes()),
    ("clip", "relu", NoAttributes()),
    inputs={"x": numbers([[1.0, -2.0]]), "double/w": numbers([[2.0, 0.0], [0.0, 2.0]])},
)


def tensor(*values: float) -> Tensor:
    return Tensor("float32", np.array([values], np.float32))


def test_every_layer_is_expected_on_what_was_really_given() -> None:
    job = job_of(TWO, "given")
    # The first layer is wrong; the second is right about what it was given.
    answer = Outputs(outputs={"double": tensor(5, -7), "clip": tensor(5, 0)})
    found = expect_chain(job, answer, NONE)
    assert isinstance(found, Expectations)
    assert found.outputs["double"].value.tolist() == [[2, -4]]
    assert found.outputs["clip"].value.tolist() == [[5, 0]]


def test_gradients_are_expected_on_the_captured_cotangents() -> None:
    job = replace(job_of(TWO, "given"), cotangents={"clip": tensor(10, 20)})
    answer = Outputs(
        outputs={"double": tensor(2, -4), "clip": tensor(2, 0)},
        gradients={"double": tensor(7, 1), "x": tensor(0, 0), "double/w": tensor(0, 0)},
    )
    found = expect_chain(job, answer, NONE)
    assert isinstance(found, Expectations)
    assert set(found.gradients) == {"double", "x", "double/w"}
    assert found.gradients["double"].value.tolist() == [[10, 0]]  # of relu, from the job's own cotangent
    assert found.gradients["x"].value.tolist() == [[14, 2]]  # of dense, from the captured 7 and 1
    assert found.gradients["double/w"].value.tolist() == [[7, 1], [-14, -2]]


def test_after_a_wrong_shape_nothing_more_is_expected() -> None:
    answer = Outputs(outputs={"double": tensor(1, 2, 3), "clip": tensor(1, 2, 3)})
    found = expect_chain(job_of(TWO, "given"), answer, NONE)
    assert isinstance(found, Expectations)
    assert set(found.outputs) == {"double"}


def test_a_chain_without_an_answer_is_expected_from_end_to_end() -> None:
    found = expect_chain(job_of(CHAIN), Outputs(outputs={}), NONE)
    assert isinstance(found, Expectations)
    assert list(found.outputs) == [layer.name for layer in CHAIN.attributes.layers]
    assert found.outputs["last"].value.shape == (2, 4)


def test_a_layer_that_cannot_be_makes_the_chain_refuse_and_is_named() -> None:
    broken = replace(TWO, inputs={**TWO.inputs, "double/w": numbers(np.ones((3, 2)))})
    found = expect_chain(job_of(broken, "given"), Outputs(outputs={}), NONE)
    assert isinstance(found, MustRefuse)
    assert found.why.startswith("layer double: ")


def test_the_reference_s_answer_to_a_chain_stores_what_passes_between_layers() -> None:
    job = job_of(CHAIN, format_="bfloat16", last=(2, 4))
    answered = oracle.answer(job)
    assert isinstance(answered, Outputs)
    assert set(answered.gradients) == {
        "x",
        "first/w",
        "first/b",
        "last/w",
        "last/b",
        "first",
        "active",
        "pooled",
        "flat",
    }
    found = expect_chain(job, answered, NONE)
    assert isinstance(found, Expectations)
    for wanted, got in ((found.outputs, answered.outputs), (found.gradients, answered.gradients)):
        assert set(wanted) == set(got)
        for name, expectation in wanted.items():
            stored = to_storage(expectation.value, FORMATS["bfloat16"])
            assert got[name].data.tobytes() == stored.tobytes(), name


def test_the_digest_of_the_reference_is_that_of_its_source(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    before = oracle.reference_digest()
    assert oracle.reference_digest() == before
    (tmp_path / "conv.py").write_text("x = 1\n")
    monkeypatch.setattr(oracle.reference, "__path__", [str(tmp_path)])
    changed = oracle.reference_digest()
    assert len(changed) == 16
    assert changed != before
