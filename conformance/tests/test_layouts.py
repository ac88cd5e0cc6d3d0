"""Layouts: which are asked of whom, that numbers come back in place, and what goes wrong in one of them alone."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.backends.base import Backend
from conformance.backends.jax.backend import JaxBackend
from conformance.backends.tensorflow.backend import TensorFlowBackend
from conformance.case.job import Target, Tensor, Unsupported
from conformance.case.layouts import LAYOUTS, axes_of, may_vary
from conformance.case.model import Case, Expect, Layout
from conformance.case.operators import OPERATORS
from conformance.case.turns import ROTATION, further_layout
from conformance.errors import InvalidCases
from conformance.run.engine import Session
from conformance.run.plan import Item, plan
from conformance.run.result import Result
from conformance.tests.fakes import Honest
from conformance.tests.layouts import KnowsNoOrder, SkipsNoGaps, TakesFirstForLast, TakesLayouts
from conformance.tests.questions import AVERAGE_POOL, CHAIN, CONV, DENSE, MAX_POOL, RELU, SQUARE, case
from conformance.tests.shipped import shipped
from conformance.verdict.deviations import Deviation, load_deviations
from conformance.verdict.model import Outcome
from conformance.worker.gateway import layout_of

TORCH, TF, SCIPY = (Target(backend=name) for name in ("torch", "tf", "scipy"))
AskLaid = Callable[[type[Honest], Case, Layout], Result]


@pytest.fixture
def ask_laid(sessions: Callable[..., Session]) -> AskLaid:
    """Asks a fake one item in a layout."""

    def ask(fake: type[Honest], case: Case, layout: Layout) -> Result:
        item = Item(case=case, target=Target(backend="fake"), format="float32", layout=layout)
        return sessions(fake).run(item)

    return ask


# Which are asked ----------------------------------------------------------------------------------------------------


def of_id(number: int) -> Case:
    return replace(CONV, id=f"conv2d/number-{number}")


def test_about_a_quarter_of_the_cases_asks_one_more_and_every_layout_has_its_turn() -> None:
    layouts: tuple[Layout, ...] = ("channels_first", "strided")
    found = Counter(further_layout(of_id(number), layouts) for number in range(4000))
    # Six standard deviations of a count of 4000 draws with the chance that is meant.
    room = 6 * (4000 / ROTATION * (1 - 1 / ROTATION)) ** 0.5
    assert abs(found["channels_first"] + found["strided"] - 4000 / ROTATION) < room
    assert min(found["channels_first"], found["strided"]) > 4000 / ROTATION / 2 - room
    assert further_layout(of_id(3), layouts) == further_layout(of_id(3), layouts)
    assert {further_layout(of_id(number), ()) for number in range(100)} == {None}


def in_turn(layouts: tuple[Layout, ...]) -> Case:
    return next(of_id(n) for n in range(100) if further_layout(of_id(n), layouts) == layouts[-1])


def names(case: Case, target: Target = TORCH, **options: Any) -> list[str]:
    known = {"layout_of": lambda target, case, layout: layout} | options
    return [item.name.partition("[")[2][:-1] for item in plan([case], [target], **known)]


def test_the_rotation_adds_one_layout_in_the_first_format_and_full_has_them_all() -> None:
    turn = replace(in_turn(("channels_last", "channels_first", "strided")), formats=("float32", "bfloat16"))
    assert names(turn) == ["torch-float32", "torch-bfloat16", "torch-float32-strided"]
    assert names(turn, formats=("bfloat16",)) == ["torch-bfloat16", "torch-bfloat16-strided"]
    assert names(turn, tier="full") == [
        "-".join(("torch", format_, *(() if layout == "native" else (layout,))))
        for format_ in turn.formats
        for layout in LAYOUTS
    ]


def test_who_asks_for_layouts_gets_them_for_every_case() -> None:
    for number in range(8):
        assert names(of_id(number), layouts=("strided",)) == ["torch-float32-strided"]
    assert names(RELU, layouts=("native",)) == ["torch-float32"]


def test_a_case_that_names_its_layouts_has_these_alone() -> None:
    named = replace(RELU, layouts=("native", "strided"))
    assert names(named) == ["torch-float32", "torch-float32-strided"]
    assert names(named, layouts=("strided", "channels_first")) == ["torch-float32-strided"]


def test_probes_and_questions_without_an_answer_have_no_further_layout() -> None:
    refused = replace(in_turn(LAYOUTS), expect=Expect(error="required"))
    assert not may_vary(refused)
    assert names(refused, tier="full") == ["torch-float32"]
    probes = [case for case in shipped("conventions") if case.readings]
    assert not any(map(may_vary, probes))


def test_a_layout_is_native_where_it_is_the_framework_s_own() -> None:
    assert layout_of(TORCH, CONV, "channels_first") == layout_of(TF, CONV, "channels_last") == "native"
    assert layout_of(TORCH, CONV, "channels_last") == "channels_last"
    assert layout_of(TF, CONV, "channels_first") == "channels_first"
    assert layout_of(TF, RELU, "channels_first") is None
    assert layout_of(SCIPY, RELU, "strided") is None
    assert layout_of(Target(backend="unheard-of"), CONV, "native") == "native"
    assert layout_of(Target(backend="unheard-of"), CONV, "strided") is None
    asked = names(CONV, TF, layouts=("channels_last", "native"), layout_of=layout_of)
    assert asked == ["tf-float32"]  # once, by its own name


# Numbers ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", [TensorFlowBackend, JaxBackend])
def test_who_takes_channels_behind_the_batch_is_given_images_so(backend: type[Backend]) -> None:
    """Of an operator without images nothing would be moved, and channels last be taken for channels first."""
    taken = [name for name in OPERATORS if backend.layout_of("channels_first", (name,)) == "channels_first"]
    assert {"conv2d", "batch_norm_training", "instance_norm"} < set(taken)
    assert all(set(OPERATORS[name].images) == {"x", "output"} for name in taken)


def test_images_move_there_and_back_and_nothing_else_does() -> None:
    x = Tensor("float32", np.arange(24, dtype=np.float32).reshape(1, 2, 3, 4))
    axes = axes_of("conv2d", "channels_first")
    first = axes.given("x", x)
    assert first.shape == (1, 4, 2, 3)
    assert first.data[0, 3, 1, 2] == x.data[0, 1, 2, 3]
    assert first.data.flags.c_contiguous
    assert np.array_equal(axes.taken("x", first).data, x.data)
    assert axes.given("w", x) is not first
    assert np.array_equal(axes.given("w", x).data, x.data)
    for layout in ("native", "channels_last", "strided"):
        assert axes_of("conv2d", layout).given("x", x).data is x.data


@pytest.mark.parametrize("case", [CONV, SQUARE, MAX_POOL, AVERAGE_POOL], ids=lambda case: case.id)
def test_an_honest_backend_agrees_in_every_layout(ask_laid: AskLaid, case: Case) -> None:
    for layout in ("native", "channels_last", "channels_first", "strided"):
        result = ask_laid(TakesLayouts, case, layout)
        assert result.agrees, result.detail
        assert result.layout == layout
        assert {c.check for c in result.comparisons} == {"outputs", "gradients"}


@pytest.mark.parametrize("case", [DENSE, CHAIN, RELU], ids=lambda case: case.id)
def test_gaps_in_memory_are_for_all_operators(ask_laid: AskLaid, case: Case) -> None:
    assert ask_laid(TakesLayouts, case, "strided").agrees


def test_a_layout_that_a_backend_does_not_take_is_unsupported(sessions: Callable[..., Session]) -> None:
    for fake, asked, layout in ((Honest, CONV, "channels_first"), (TakesLayouts, DENSE, "channels_first")):
        item = Item(case=asked, target=Target(backend="fake"), format="float32", layout=layout)
        answer = sessions(fake).ask(item, "normal").answer
        assert answer == Unsupported(reason=f"{fake.__name__} gives {asked.operator} no data in the layout {layout}")


def test_memory_that_is_taken_for_another_order_is_named(ask_laid: AskLaid) -> None:
    for asked in (CONV, AVERAGE_POOL):
        assert ask_laid(TakesFirstForLast, asked, "native").agrees
        result = ask_laid(TakesFirstForLast, asked, "channels_first")
        assert {verdict.outcome for verdict in result.verdicts.values()} == {Outcome.DIFFERS}
        assert result.agrees_with == ("channels-first x read as channels last",)
        assert result.unexpected
        assert result.name.endswith("[fake-float32-channels_first]")


def test_gaps_that_are_not_skipped_differ(ask_laid: AskLaid) -> None:
    for asked in (CONV, DENSE, RELU):
        assert ask_laid(SkipsNoGaps, asked, "native").agrees
        assert ask_laid(SkipsNoGaps, asked, "strided").verdicts["outputs"].outcome is Outcome.DIFFERS


def test_a_layout_that_is_taken_and_ignored_does_not_agree(ask_laid: AskLaid) -> None:
    assert ask_laid(KnowsNoOrder, MAX_POOL, "native").agrees
    verdicts = ask_laid(KnowsNoOrder, MAX_POOL, "channels_first").verdicts
    assert (verdicts["outputs"].outcome, verdicts["outputs"].reason) == (Outcome.DIFFERS, "shape")


# On file ------------------------------------------------------------------------------------------------------------


def test_a_deviation_may_speak_of_one_layout(sessions: Callable[..., Session]) -> None:
    on_file = Deviation(
        id="order",
        cases=("conv2d/*",),
        backend="fake",
        outcome=Outcome.DIFFERS,
        about="It takes one order for another.",
        checks=("outputs", "gradients"),
        layouts=("channels_first",),
    )
    fake = TakesFirstForLast
    session = Session(Target(backend="fake"), (on_file,), path=f"{fake.__module__}:{fake.__name__}")
    try:
        for layout, deviations in (("native", ()), ("channels_first", ("order", "order"))):
            result = session.run(
                Item(case=CONV, target=Target(backend="fake"), format="float32", layout=layout)  # type: ignore[arg-type]
            )
            assert result.deviations == deviations
            assert not result.unexpected
            assert not result.stale
    finally:
        session.close()


def test_a_layout_that_is_none_is_told(tmp_path: Path) -> None:
    path = tmp_path / "own.yaml"
    path.write_text("deviations: [{id: a, cases: ['*'], backend: tf, outcome: DIFFERS, about: It is., layouts: [x]}]")
    with pytest.raises(InvalidCases, match="got 'x'"):
        load_deviations([path])


def test_a_lone_channel_or_pixel_has_one_order(ask_laid: AskLaid) -> None:
    """Where memory is the same in both orders, a mixed-up order is no other answer."""
    lone = case("max_pool2d", MAX_POOL.attributes, "lone", inputs={"x": (2, 6, 5, 1)})
    assert ask_laid(TakesFirstForLast, lone, "channels_first").agrees
