"""Precision that was lost has a name; what only looks so has not."""

from dataclasses import replace

import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution
from conformance.case.job import Description
from conformance.case.model import Case, FormatName
from conformance.run.result import Result
from conformance.tests import fakes, inexact
from conformance.tests.conftest import Ask
from conformance.tests.questions import CHAIN, CONV, DENSE, FLATTEN, RELU, TRANSPOSED, case, numbers
from conformance.verdict.model import Outcome, Reason

LOST = Outcome.LOW_PRECISION
# Sums of 40 terms: enough for a bfloat16 accumulator to leave a float32 one's bound, too few to say nothing.
SUMS = case("dense", NoAttributes(), "sums", inputs={"x": (6, 40), "w": (40, 30), "b": (30,)}, data=("normal",))
PLANE = case(
    "conv2d", Convolution(padding="same"), "plane", inputs={"x": (2, 18, 21, 3), "w": (3, 5, 3, 4), "b": (4,)}
)

# Six terms of a bias's gradient: a sum in bfloat16 leaves the bound of one in float32, and its own says something.
FEW = case(
    "conv2d", Convolution(padding="valid"), "few-terms", inputs={"x": (1, 3, 4, 2), "w": (2, 2, 2, 8), "b": (8,)}
)


def drawn(result: Result) -> dict[str, tuple[Outcome, Reason]]:
    return {check: (verdict.outcome, verdict.reason) for check, verdict in result.verdicts.items()}


@pytest.mark.parametrize("question", [CONV, TRANSPOSED, DENSE, CHAIN], ids=lambda question: question.operator)
@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        (fakes.RoundsOperandsToTf32, Reason.TF32_INPUTS),
        (inexact.TruncatesOperandsToTf32, Reason.TF32_INPUTS),
        (fakes.RoundsOperands, Reason.BFLOAT16_INPUTS),
    ],
    ids=lambda value: getattr(value, "__name__", None) or value.name,
)
def test_rounded_operands_are_named(ask: Ask, fake: type[fakes.Honest], reason: Reason, question: Case) -> None:
    result = ask(fake, question)
    assert drawn(result) == {"outputs": (LOST, reason), "gradients": (LOST, reason)}
    assert result.unexpected


@pytest.mark.parametrize("question", [CONV, DENSE], ids=lambda question: question.operator)
def test_a_unit_that_rounds_what_it_multiplies_is_named_with_bias_and_cotangent_untouched(
    ask: Ask, question: Case
) -> None:
    result = ask(inexact.RoundsProductsToTf32, question)
    assert drawn(result) == {"outputs": (LOST, Reason.TF32_INPUTS), "gradients": (LOST, Reason.TF32_INPUTS)}


@pytest.mark.parametrize(
    ("format_", "reason"),
    [("bfloat16", Reason.STORAGE_ACCUMULATOR), ("float32", Reason.SHORT_ACCUMULATOR)],
)
def test_a_short_accumulator_is_named(ask: Ask, format_: FormatName, reason: Reason) -> None:
    result = ask(inexact.SumsInBfloat16, replace(SUMS, formats=(format_,)))
    assert drawn(result)["outputs"] == (LOST, reason)


def test_sums_that_are_stored_before_the_bias_pass_where_they_are_declared(ask: Ask) -> None:
    silent, declared = (
        ask(fake, replace(PLANE, formats=("bfloat16",)))
        for fake in (inexact.StoresBeforeBias, inexact.DeclaresStoredSums)
    )
    assert drawn(silent)["outputs"] == (LOST, Reason.STORAGE_ACCUMULATOR)
    assert silent.unexpected
    assert declared.agrees


def test_what_is_declared_to_be_stored_twice_may_be_stored_once(ask: Ask) -> None:
    assert ask(StoresOnce, replace(PLANE, formats=("bfloat16",))).agrees


class StoresOnce(fakes.Honest):
    """Declares more roundings than it has."""

    def describe(self) -> Description:
        return replace(super().describe(), stored_sums=(("conv*", "bfloat16"),))


def test_stored_sums_excuse_no_wrong_element(ask: Ask) -> None:
    assert drawn(ask(StoredAndWrong, replace(CONV, formats=("bfloat16",))))["outputs"] == (
        Outcome.DIFFERS,
        Reason.VALUE,
    )


class StoredAndWrong(inexact.OneElementInBfloat16):
    """One element is off by more than both roundings."""

    def describe(self) -> Description:
        return replace(super().describe(), stored_sums=(("conv*", "bfloat16"),))


def test_a_bias_s_gradient_has_an_accumulator_of_its_own(ask: Ask) -> None:
    silent, declared = (
        ask(fake, replace(FEW, formats=("bfloat16",)))
        for fake in (inexact.SumsBiasGradientInBfloat16, inexact.DeclaresBiasGradient)
    )
    assert drawn(silent)["gradients"] == (LOST, Reason.STORAGE_ACCUMULATOR)
    assert declared.agrees
    (wide,) = (c for c in silent.comparisons if (c.name, c.data) == ("b", "wide"))
    assert wide.bound == 0  # a sum of integers in float32 is exact


@pytest.mark.parametrize("question", [SUMS, CONV], ids=lambda question: question.operator)
def test_one_wrong_element_is_no_accumulator(ask: Ask, question: Case) -> None:
    result = ask(inexact.OneElementInBfloat16, replace(question, formats=("bfloat16",)))
    assert drawn(result)["outputs"] == (Outcome.DIFFERS, Reason.VALUE)
    assert "1 of" in result.location


@pytest.mark.parametrize("question", [CONV, DENSE, RELU], ids=lambda question: question.operator)
def test_float32_arithmetic_is_named_where_float64_was_asked(ask: Ask, question: Case) -> None:
    result = ask(inexact.ComputesInFloat32, replace(question, formats=("float64",)))
    assert drawn(result)["outputs"] == (LOST, Reason.FLOAT32_ARITHMETIC)


def test_a_transform_algorithm_passes_where_it_is_declared_and_is_named_where_not(ask: Ask) -> None:
    silent, declared = (ask(fake, PLANE) for fake in (inexact.ConvolvesByFourier, inexact.DeclaresTransforms))
    assert drawn(silent)["outputs"] == (LOST, Reason.NORM_WISE)
    assert drawn(declared)["outputs"] == (Outcome.AGREES, Reason.NORM_WISE)
    assert drawn(declared)["gradients"][0] is Outcome.AGREES
    assert silent.unexpected
    assert not declared.unexpected


def test_a_declared_transform_excuses_no_other_fault(ask: Ask) -> None:
    assert drawn(ask(fakes.FlipsKernel, CONV))["outputs"] == (Outcome.DIFFERS, Reason.VALUE)
    assert drawn(ask(FourierFlipped, PLANE))["outputs"] == (Outcome.DIFFERS, Reason.VALUE)


class FourierFlipped(inexact.DeclaresTransforms):
    """Declares transforms, and flips."""

    def conv2d(self, attributes: Convolution, x: fakes.Array, w: fakes.Array, b: fakes.Array | None = None):
        return fakes.Honest.conv2d(self, attributes, x, fakes.Array(w.format, w.numbers[::-1, ::-1]), b)


@pytest.mark.parametrize(
    "question",
    [
        case("relu", NoAttributes(), "sides", inputs={"x": numbers([-1.0, 2.0, -3.0, 0.0])}, data=("given",)),
        case(
            "flatten", NoAttributes(), "zeros", inputs={"x": numbers([[[0.0, 1.0]], [[2.0, 0.0]]])}, data=("given",)
        ),
        # 1 x 2 - 2 x 1: what cancels is +0 in any order.
        case(
            "dense",
            NoAttributes(),
            "cancels",
            inputs={"x": numbers([[1.0, 2.0]]), "w": numbers([[2.0, 1.0], [-1.0, 1.0]])},
            data=("given",),
        ),
    ],
    ids=lambda question: question.id,
)
def test_the_sign_of_a_zero_is_told_where_every_honest_computation_gives_it(ask: Ask, question: Case) -> None:
    assert ask(fakes.Honest, question).agrees
    result = ask(inexact.GivesNegativeZeros, question)
    assert drawn(result)["outputs"] == (Outcome.DIFFERS, Reason.SIGN)
    (comparison,) = (c for c in result.comparisons if not c.within)
    assert (comparison.expected, comparison.got) == (0.0, 0.0)
    assert comparison.outside >= 1


def test_a_zero_of_no_determined_sign_is_left_alone(ask: Ask) -> None:
    """A sum of zeros alone, and what a kink does to -0, are nobody's fault."""
    for question in (
        case(
            "dense",
            NoAttributes(),
            "of-zeros",
            inputs={"x": numbers([[0.0, 0.0]]), "w": numbers([[2.0], [-1.0]])},
            data=("given",),
        ),
        case("relu", NoAttributes(), "negative-zero", inputs={"x": numbers([-0.0, 1.0])}, data=("given",)),
    ):
        assert ask(inexact.GivesNegativeZeros, question).agrees
    assert FLATTEN.data == ("wide", "normal")
