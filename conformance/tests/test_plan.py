"""What is asked of whom: keywords, tiers, formats, and who covers what."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.case.families.normalization import BatchNormTraining
from conformance.case.job import Target
from conformance.case.model import Case, Claim, Expect
from conformance.errors import InvalidTarget
from conformance.run.keyword import compile_keyword
from conformance.run.plan import REFERENCE, plan, question_of, states_something
from conformance.tests.questions import CONV, MAX_POOL, RELU, case, item, stated
from conformance.verdict import oracle

TORCH, TF = Target(backend="torch"), Target(backend="tf")
CASES = (
    replace(CONV, id="conv2d/same", formats=("float32", "float16"), tier="smoke"),
    replace(MAX_POOL, id="max_pool2d/ties", tier="core"),
    replace(RELU, id="relu/large", tier="full", expect=Expect(shape=(3, 5))),
)


def names(*, cases: tuple[Case, ...] = CASES, targets: tuple[Target, ...] = (TORCH,), **options: Any) -> list[str]:
    return [item.name for item in plan(cases, targets, **options)]


def test_items_are_cases_times_targets_times_formats_target_by_target() -> None:
    assert names(targets=(TORCH, TF)) == [
        "conv2d/same[torch-float32]",
        "conv2d/same[torch-float16]",
        "max_pool2d/ties[torch-float32]",
        "conv2d/same[tf-float32]",
        "conv2d/same[tf-float16]",
        "max_pool2d/ties[tf-float32]",
    ]


def test_a_tier_has_the_smaller_ones_within() -> None:
    counts = {tier: len(names(tier=tier)) for tier in ("smoke", "core", "full")}
    assert counts == {"smoke": 2, "core": 3, "full": 4}


def test_formats_narrow_and_never_widen() -> None:
    assert names(formats=("float16", "bfloat16")) == ["conv2d/same[torch-float16]"]
    assert names(formats=("float64",)) == []


def test_layouts_are_items_of_their_own() -> None:
    both = replace(CONV, layouts=("channels_last", "channels_first"))
    items = plan([both], [TORCH], layout_of=lambda target, case, layout: layout)
    assert [item.layout for item in items] == ["channels_last", "channels_first"]
    assert [item.name for item in items] == [
        "conv2d/case[torch-float32-channels_last]",
        "conv2d/case[torch-float32-channels_first]",
    ]


def test_state_gets_no_cotangent() -> None:
    """What is kept for the next call is an output that nobody differentiates."""
    attributes = BatchNormTraining(epsilon=0.1, momentum=0.9, bessel=True)
    running = {"mean": (2,), "variance": (2,)}
    norm = case("batch_norm_training", attributes, inputs={"x": (3, 2), "scale": (2,), **running})
    job = question_of(item(norm), "normal").job
    assert {name: tensor.shape for name, tensor in job.cotangents.items()} == {"output": (3, 2)}
    found = oracle.expect(job, oracle.Accumulators())
    assert isinstance(found, oracle.Expectations)
    assert found.outputs.keys() == {"output", "mean", "variance"}
    assert found.gradients.keys() == {"x", "scale"}


def test_a_keyword_selects_by_the_item_s_name() -> None:
    assert names(targets=(TORCH, TF), keyword="conv2d and tf and not float16") == ["conv2d/same[tf-float32]"]


def test_who_does_not_cover_a_case_is_not_asked() -> None:
    found = names(targets=(TORCH, TF), covers=lambda target, case: target == TF and case.operator == "conv2d")
    assert found == ["conv2d/same[tf-float32]", "conv2d/same[tf-float16]"]


def test_the_reference_is_asked_where_a_case_states_something() -> None:
    assert names(targets=(REFERENCE,), tier="full") == ["relu/large[reference-float32]"]
    assert not states_something(CONV)
    for fields in (
        {"claims": (Claim(says="a", holds=True),)},
        {"expect": Expect(error="required")},
        {"expect": Expect(error="allowed")},
        {"expect": Expect(outputs={"output": stated([1])})},
        {"expect": Expect(gradients={"x": stated([1])})},
        {"expect": Expect(shape=())},
    ):
        assert states_something(replace(CONV, **fields)), fields


# Keywords ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "matches"),
    [
        ("", True),
        ("conv", True),
        ("CONV2D", True),
        ("pool", False),
        ("not pool", True),
        ("not not conv", True),
        ("conv and torch", True),
        ("conv and tf", False),
        ("tf or torch", True),
        ("not conv or torch", True),
        ("not (conv or torch)", False),
        ("pool and x or torch", True),
        ("torch or pool and x", True),
        ("(torch or pool) and x", False),
        ("not pool and not tf", True),
        ("same-stride2[torch", True),
        ("((conv))", True),
    ],
)
def test_keywords_mean_what_they_mean_in_pytest(expression: str, matches: bool) -> None:
    assert compile_keyword(expression)("conv2d/same-stride2[torch-float32]") is matches


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("and", "'and' stands where a word is due"),
        ("a or", "it ends where a word is due"),
        ("not", "it ends where a word is due"),
        ("(a", "a parenthesis is not closed"),
        ("a)", "')' stands where `and` or `or` is due"),
        ("a b", "'b' stands where `and` or `or` is due"),
        ("()", "')' stands where a word is due"),
        ("a not b", "'not' stands where `and` or `or` is due"),
    ],
)
def test_a_keyword_that_cannot_be_read_is_told(expression: str, told: str) -> None:
    with pytest.raises(ValueError, match="expected words joined by and, or, not and parentheses") as caught:
        compile_keyword(expression)
    assert str(caught.value).startswith(f"-k {expression!r}: {told}")


words = st.sampled_from(["a", "b", "c"])
expressions = st.recursive(
    words,
    lambda inner: st.one_of(
        inner.map(lambda one: f"not ({one})"),
        st.tuples(inner, st.sampled_from(["and", "or"]), inner).map(lambda three: f"({' '.join(three)})"),
    ),
)


@given(expressions, st.sets(words))
def test_any_expression_is_evaluated_as_python_does(expression: str, present: set[str]) -> None:
    expected = eval(expression, {word: word in present for word in "abc"})
    assert compile_keyword(expression)("".join(present)) == expected


# Targets -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("torch", Target(backend="torch")),
        ("torch:cuda", Target(backend="torch", device="cuda")),
        ("jax+eager+x64", Target(backend="jax", modes=("eager", "x64"))),
        (
            "torch:cuda+compile@.venvs/t/bin/python",
            Target(backend="torch", device="cuda", modes=("compile",), interpreter=".venvs/t/bin/python"),
        ),
    ],
)
def test_a_target_is_read_and_named_alike(text: str, target: Target) -> None:
    assert Target.parse(text) == target
    assert target.name == text


def test_a_processor_need_not_be_named() -> None:
    assert Target.parse("torch:cpu").name == "torch"


@pytest.mark.parametrize("text", ["", ":cuda", "torch:", "torch+", "torch@", "torch++x", "@python"])
def test_a_target_with_an_empty_part_is_told(text: str) -> None:
    with pytest.raises(InvalidTarget, match=r"is missing\. Expected BACKEND"):
        Target.parse(text)
