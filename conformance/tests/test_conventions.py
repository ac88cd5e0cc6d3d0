"""Probes: how readings are written and refused, which of them an answer follows, and how a changed default shows."""

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from conformance.backends.base import CallLog, Idiom, Recorded, translated, without_native
from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Gelu, LeakyRelu
from conformance.case.families.convolution import Convolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.job import NATIVE, Job, is_native
from conformance.case.linting import lint
from conformance.case.loading import as_yaml, load
from conformance.case.model import Case, Convention
from conformance.case.operators import OPERATORS
from conformance.cli import app
from conformance.errors import InvalidCases, NotTranslatable
from conformance.report.collection import collect
from conformance.report.conventions import Cell, Row, Topic, ports, topics
from conformance.report.page import write_report
from conformance.run.engine import Session
from conformance.run.execute import Request, select
from conformance.run.mutate import mutate
from conformance.run.plan import question_of
from conformance.run.probes import lint_probes
from conformance.run.result import Result
from conformance.run.store import RunWriter, case_record, load_runs, read_runs
from conformance.tests import fakes, questions
from conformance.tests.conftest import Ask
from conformance.tests.questions import HERE, case, item, numbers
from conformance.tests.shipped import shipped
from conformance.tests.test_loading import loaded, told
from conformance.verdict.conventions import expected_of, indistinct, variant_of
from conformance.verdict.model import Outcome, Reason
from conformance.verdict.oracle import Accumulators, Expectations
from conformance.verdict.variants import CUSTOMS, VARIANTS
from conformance.worker.wire import decode, encode

GELU = """operator: gelu
cases:
  - name: form
    inputs: {x: [5]}
    attributes: {approximate: native}
    readings:
      exact: {approximate: none}
      tanh: {approximate: tanh}
"""
CONV = """operator: conv2d
defaults: {inputs: {x: [1, 5, 6, 2], w: [4, 2, 2, 3]}}
cases:
"""


def probe(operator: str, attributes: Any, readings: dict[str, Any], *, inputs: dict[str, Any], **more: Any) -> Case:
    """A probe: a reading is attributes, or the name of a variant."""
    made = case(operator, attributes, "probe", inputs=inputs, **more)
    return replace(
        made,
        readings=tuple(
            Convention(
                name=name,
                attributes=made.attributes if isinstance(reading, str) else replace(made.attributes, **reading),
                variant=reading if isinstance(reading, str) else "",
                where=HERE,
            )
            for name, reading in readings.items()
        ),
    )


ENDS = {"at the end": {}, "at the beginning": {"padding": "same_lower"}}
ODD_PIXEL = probe(
    "conv2d", Convolution(padding="same"), ENDS, inputs={"x": (1, 5, 6, 2), "w": (4, 2, 2, 3)}, data=("normal",)
)
STRIDED = probe(
    "conv2d",
    Convolution(padding="same", stride=(4, 4)),
    {**ENDS, "as if unstrided": "SAME padded as if unstrided"},
    inputs={"x": (1, 8, 12, 2), "w": (5, 5, 2, 3)},
)
COUNTED = probe(
    "average_pool2d",
    AveragePool(window=(3, 3), stride=(2, 2), padding=((1, 1), (1, 1))),
    {"counted": {"count_padding": True}, "not counted": {"count_padding": False}},
    inputs={"x": (1, 5, 6, 2)},
    native=("count_padding",),
)
TIES = probe(
    "max_pool2d",
    MaxPool(window=(2, 2)),
    {
        "first": {},
        "last": "tie gradient to the last",
        "all": "tie gradient to all",
        "shared": "tie gradient shared",
    },
    inputs={"x": numbers([[[[1], [1]], [[0], [1]]]])},
    data=("given",),
)
NAN = probe(
    "max_pool2d",
    MaxPool(window=(2, 2)),
    {"wins": {}, "ignored": "NaN skipped"},
    inputs={"x": numbers([[[[float("nan")], [1]], [[2], [3]]]])},
    data=("given",),
    checks=("outputs",),
)


# Written ------------------------------------------------------------------------------------------------------------


def test_readings_are_resolved_and_the_case_has_the_first_ones_attributes(tmp_path: Path) -> None:
    (case,) = loaded(tmp_path, GELU)
    assert case.attributes == Gelu(approximate="none")
    assert case.native == ("approximate",)
    assert [(one.name, one.attributes, one.variant) for one in case.readings] == [
        ("exact", Gelu(approximate="none"), ""),
        ("tanh", Gelu(approximate="tanh"), ""),
    ]
    assert [(one.where.line, one.where.column) for one in case.readings] == [(7, 7), (8, 7)]


def test_a_reading_may_change_what_is_not_native_or_name_a_variant(tmp_path: Path) -> None:
    text = CONV + (
        "  - name: same\n    attributes: {padding: same, stride: 2}\n"
        "    readings: {end: {}, start: {padding: same_lower}, flipped: {variant: kernel flipped}}\n"
    )
    (case,) = loaded(tmp_path, text)
    end, start, flipped = case.readings
    assert (end.attributes.padding, start.attributes.padding, flipped.attributes.padding) == (
        "same",
        "same_lower",
        "same",
    )
    assert {one.attributes.stride for one in case.readings} == {(2, 2)}
    assert flipped.variant == "kernel flipped"


def test_what_is_written_reads_back(tmp_path: Path) -> None:
    for probe in shipped("conventions"):
        path = tmp_path / "one.yaml"
        path.write_text(as_yaml(probe))
        (back,) = load([path])
        assert back.native == probe.native, probe.id
        assert [(r.name, r.attributes, r.variant) for r in back.readings] == [
            (r.name, r.attributes, r.variant) for r in probe.readings
        ]
        assert (back.attributes, back.inputs, back.checks) == (probe.attributes, probe.inputs, probe.checks)


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        (
            GELU.replace("      tanh: {approximate: tanh}\n", ""),
            [
                "a.yaml:7:7: readings must be a mapping of at least two names to {attributes}, {variant: ...} or {}, "
                "got {exact: {approximate: 'none'}}"
            ],
        ),
        (
            GELU.replace("approximate: tanh", "approximate: tan"),
            ["a.yaml:8:27: gelu: approximate must be 'none' or 'tanh', got 'tan'. Did you mean 'tanh'?"],
        ),
        (
            GELU.replace("{approximate: tanh}", "{}"),
            ["a.yaml:8:13: gelu needs the attribute 'approximate'"],
        ),
        (
            GELU.replace("{approximate: tanh}", "{approximate: native}"),
            [
                "a.yaml:8:27: a reading says what approximate is: give it a value, and write native in attributes",
                "a.yaml:8:27: gelu: approximate must be 'none' or 'tanh', got 'native'",
            ],
        ),
        (
            GELU.replace("{approximate: native}", "{approximately: native}"),
            [
                "a.yaml:5:18: gelu has no attribute 'approximately'; it has approximate. Did you mean 'approximate'?",
            ],
        ),
        (
            GELU.replace("{approximate: tanh}", "{approximate: tanh, variant: 3}"),
            ["a.yaml:8:42: variant must be text, the name of one, got 3"],
        ),
        (
            GELU + "    expect: {shape: [5]}\n",
            [
                "a.yaml:9:5: expect goes with a case that has one answer; the readings say what may be expected here",
            ],
        ),
        (
            "operator: gelu\ncases:\n- {name: a, inputs: {x: [5]}, attributes: {approximate: native}}\n",
            [
                "a.yaml:3:57: approximate: native goes with readings, which say what a framework's default may be; "
                "add them"
            ],
        ),
        (
            "operator: chain\ncases:\n- name: a\n  inputs: {x: [5]}\n  layers: [{operator: relu}]\n"
            "  readings: {a: {}, b: {}}\n",
            ["a.yaml:6:3: a chain has no readings; probe its operators one by one"],
        ),
        (
            CONV + "- {name: a, readings: {a: {stride: 9}, b: {padding: [[1, 1]]}}}\n",
            [
                "a.yaml:4:53: conv2d: padding takes one integer, or 2 pairs (one a spatial axis), got [[1, 1]]",
            ],
        ),
    ],
)
def test_what_is_wrong_with_readings_is_told_with_its_place(
    tmp_path: Path, text: str, problems: Sequence[str]
) -> None:
    assert told(tmp_path, text) == list(problems)


def test_a_variant_that_is_none_is_told_before_anything_runs(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(CONV + "  - {name: a, readings: {a: {}, b: {variant: kernel flip}}}\n")
    with pytest.raises(InvalidCases) as caught:
        select(Request(paths=(path,), targets=(item(ODD_PIXEL, backend="scipy").target,)))
    assert str(caught.value) == f"{path}:4:33: conv2d has no variant 'kernel flip'. Did you mean 'kernel flipped'?"


def test_a_variant_of_another_operator_is_none(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "operator: relu\ncases:\n- {name: a, inputs: {x: [3]}, readings: {a: {}, b: {variant: bias dropped}}}\n"
    )
    (problem,) = lint_probes(load([path]))
    assert problem.message.startswith("relu has no variant 'bias dropped'; it has ")
    assert variant_of("conv2d", "bias dropped") is not None


def test_readings_of_other_shapes_ask_outputs_alone(tmp_path: Path) -> None:
    text = (
        "operator: convolve\ncases: [{name: a, inputs: {x: [7], w: [3]}, attributes: {mode: native}, "
        "readings: {full: {mode: full}, valid: {mode: valid}}}]"
    )
    assert loaded(tmp_path, text)[0].checks == ("outputs",)
    flipped = text.replace("valid: {mode: valid}", "flipped: {mode: full, variant: convolve and correlate exchanged}")
    assert loaded(tmp_path, flipped)[0].checks == ("outputs", "gradients")


# Told apart ---------------------------------------------------------------------------------------------------------


def test_readings_that_one_answer_could_fit_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "operator: conv2d\ncases:\n- name: odd-kernel\n  inputs: {x: [1, 5, 5, 1], w: [3, 3, 1, 1]}\n"
        "  attributes: {padding: same}\n  readings: {end: {}, start: {padding: same_lower}}\n  formats: [float32]\n"
    )
    assert [str(problem) for problem in lint_probes(load([path]))] == [
        f"{path}:3:3: a/odd-kernel: readings 'end' and 'start' cannot be told apart by this case in float32; "
        "give it numbers on which they differ"
    ]


def test_readings_within_each_others_bounds_are_not_told_apart() -> None:
    near = probe(
        "leaky_relu",
        LeakyRelu(slope=0.25),
        {"a": {"slope": 0.25}, "b": {"slope": 0.25 * (1 + 2.0**-26)}, "c": {"slope": 0.3}},
        inputs={"x": (9,)},
        data=("normal",),
    )
    assert indistinct(near, [question_of(item(near), "normal").job]) == (("a", "b"),)


def test_every_shipped_probe_tells_its_readings_apart() -> None:
    cases = shipped("conventions")
    assert len(cases) >= 56
    assert all(case.readings for case in cases)
    assert lint_probes(cases) == ()
    assert lint(cases) == ()


def test_probes_count_nothing_towards_the_mutation_score() -> None:
    assert mutate(shipped("conventions")).mutants == ()


def test_customs_have_names_of_their_own() -> None:
    names = [variant.name for variant in CUSTOMS]
    assert len({*names}) == len(names)
    assert not {*names} & {variant.name for variant in VARIANTS}


@pytest.mark.parametrize(
    ("operator", "attributes", "x", "below", "above"),
    [
        ("relu", {}, 0.0, 0.0, 1.0),
        ("relu6", {}, 6.0, 1.0, 0.0),
        ("leaky_relu", {"slope": 0.25}, 0.0, 0.25, 1.0),
        ("elu", {"alpha": 2.0}, 0.0, 2.0, 1.0),
        ("selu", {}, 0.0, 1.7580993408473766, 1.0507009873554805),
        ("hard_tanh", {"low": -2.0, "high": 3.0}, 3.0, 1.0, 0.0),
        ("hard_tanh", {"low": -2.0, "high": 3.0}, -2.0, 0.0, 1.0),
        ("hard_sigmoid", {}, -3.0, 0.0, 1 / 6),
        ("hard_swish", {}, 3.0, 1.5, 1.0),
        ("hard_swish", {}, -3.0, 0.0, -0.5),
    ],
)
def test_derivatives_at_kinks_are_one_sided_limits(
    operator: str, attributes: dict[str, float], x: float, below: float, above: float
) -> None:
    """Against the reference's own derivative a hair's breadth beside the kink."""

    def gradient(at: float, variant: str = "") -> float:
        made = case(
            operator,
            OPERATORS[operator].attributes(**attributes),
            inputs={"x": numbers([at])},
            cotangents={"output": numbers([1.0])},
            formats=("float64",),
            data=("given",),
        )
        reading = Convention(name="one", attributes=made.attributes, variant=variant, where=HERE)
        found = expected_of(reading, question_of(item(made), "given").job, Accumulators())
        assert isinstance(found, Expectations)
        return float(found.gradients["x"].value[0])

    assert gradient(x, "derivative from below at kinks") == pytest.approx(below, rel=1e-15)
    assert gradient(x, "derivative from above at kinks") == pytest.approx(above, rel=1e-15)
    assert gradient(x, "mean of both derivatives at kinks") == pytest.approx((below + above) / 2, rel=1e-15)
    assert gradient(x - 2.0**-40) == pytest.approx(below, abs=1e-11)
    assert gradient(x + 2.0**-40) == pytest.approx(above, abs=1e-11)


# On the way ---------------------------------------------------------------------------------------------------------


def test_what_is_left_to_the_framework_travels() -> None:
    sent = question_of(item(COUNTED), "normal").sent
    assert sent.own
    back: Job = decode(encode(sent))
    assert back.own
    assert back.attributes.count_padding is NATIVE
    assert back.attributes == sent.attributes
    assert hash(back.attributes) == hash(sent.attributes)
    plain = question_of(item(questions.AVERAGE_POOL), "normal")
    assert plain.sent is plain.job
    assert not plain.job.own


@pytest.mark.parametrize(
    "use",
    [
        bool,
        float,
        len,
        list,
        lambda value: value == "tanh",
        lambda value: (value,) == ("tanh",),
        lambda value: value != "tanh",
        lambda value: value in ("none", "tanh"),
        lambda value: 1 - value,
        lambda value: value / 2,
        lambda value: value**2,
        lambda value: value < 1,
        lambda value: value.upper(),
        lambda value: value[0],
    ],
)
def test_an_adapter_that_does_not_expect_it_cannot_pass_something_of_its_own(use: Callable[[Any], Any]) -> None:
    with pytest.raises(NotTranslatable, match="no default: the adapter cannot leave this attribute out"):
        use(NATIVE)


class _Module:
    @staticmethod
    def scaled(x: float, *, by: float = 2.0) -> float:
        return x * by

    @staticmethod
    def needs(x: float, *, by: float) -> float:
        return x * by

    @staticmethod
    def breaks(x: float, *, by: float = 2.0) -> float:
        raise TypeError("x must be a tensor")


def test_a_recorded_call_leaves_out_what_is_native() -> None:
    log = CallLog()
    module = Recorded(_Module, "m", log)
    assert module.scaled(3.0, by=NATIVE) == 6.0
    assert module.scaled(3.0, by=5.0) == 15.0
    assert log.lines({}) == ("t1 = m.scaled(3.0)", "t2 = m.scaled(3.0, by=5.0)")
    with pytest.raises(NotTranslatable, match=r"no default: m.needs needs by"):
        module.needs(3.0, by=NATIVE)
    with pytest.raises(NotTranslatable, match=r"no default: the adapter gives m.scaled every argument"):
        module.scaled(NATIVE)
    with pytest.raises(TypeError, match="x must be a tensor"):
        module.breaks(3.0, by=NATIVE)


def test_translated_attributes_stay_native() -> None:
    assert translated("tanh", lambda kind: kind == "tanh") is True
    assert is_native(translated(NATIVE, lambda kind: kind == "tanh"))
    assert without_native({"a": 1, "b": NATIVE}) == {"a": 1}


def test_a_recipe_answers_for_no_option() -> None:
    idiom = Idiom()
    for lacking in ("there is no SAME", "nor a dilation", "there is no SAME"):
        idiom.compose(lacking)
    assert idiom.composed == ("there is no SAME", "nor a dilation")
    idiom.own = True
    with pytest.raises(NotTranslatable, match=r"^no option: there is no SAME$"):
        idiom.compose("there is no SAME")


# Verdicts -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fake", "case", "reading"),
    [
        (fakes.Honest, ODD_PIXEL, "at the end"),
        (fakes.PadsLeftFirst, ODD_PIXEL, "at the beginning"),
        (fakes.Honest, STRIDED, "at the end"),
        (fakes.PadsLeftFirst, STRIDED, "at the beginning"),
        (fakes.PadsAsIfUnstrided, STRIDED, "as if unstrided"),
        (fakes.CountsPadding, COUNTED, "counted"),
        (fakes.CountsNoPadding, COUNTED, "not counted"),
        (fakes.Honest, TIES, "first"),
        (fakes.LastTieWins, TIES, "last"),
        (fakes.Honest, NAN, "wins"),
        (fakes.SwallowsNan, NAN, "ignored"),
    ],
)
def test_another_default_flips_its_row(ask: Ask, fake: type[fakes.Honest], case: Case, reading: str) -> None:
    result = ask(fake, case)
    assert (result.reading, result.outcome, result.told) == (reading, Outcome.AGREES, reading)
    assert not result.unexpected
    assert {comparison.check for comparison in result.comparisons} == set(case.checks)


def test_none_of_the_readings_differs_and_is_diagnosed(ask: Ask) -> None:
    result = ask(fakes.FlipsKernel, ODD_PIXEL)
    assert (result.outcome, result.reason, result.reading) == (Outcome.DIFFERS, Reason.NO_READING, "")
    assert result.agrees_with == ("kernel flipped",)
    assert result.detail.startswith("neither 'at the end' nor 'at the beginning'; nearest: output on normal data: ")
    assert result.told == "differs"
    assert result.unexpected


def test_a_gradient_of_its_own_is_no_reading(ask: Ask) -> None:
    result = ask(fakes.ZeroGradient, ODD_PIXEL)
    assert {check: (v.outcome, v.reason) for check, v in result.verdicts.items()} == {
        "outputs": (Outcome.AGREES, Reason.WITHIN_BOUND),
        "gradients": (Outcome.DIFFERS, Reason.NO_READING),
    }


def test_several_readings_that_fit_are_inconclusive(ask: Ask) -> None:
    both = replace(ODD_PIXEL, inputs={**ODD_PIXEL.inputs, "w": questions.SQUARE.inputs["w"]})
    both = replace(both, inputs={**both.inputs, "x": questions.SQUARE.inputs["x"]})
    result = ask(fakes.Honest, both)
    assert (result.outcome, result.reason, result.reading) == (Outcome.INCONCLUSIVE, Reason.SEVERAL_READINGS, "")
    assert result.detail.startswith("fits 'at the end' and 'at the beginning'")
    assert result.told == "not told apart"
    assert result.unexpected


def test_readings_of_gradients_ask_nothing_of_a_framework_without_them(ask: Ask) -> None:
    result = ask(fakes.HasNoGradients, TIES)
    assert (result.outcome, result.told) == (Outcome.UNSUPPORTED, "no gradients")
    assert result.detail == "no gradients: 'first' and 'last' and 'all' and 'shared' differ in nothing else"
    assert not result.unexpected
    assert ask(fakes.HasNoGradients, ODD_PIXEL).reading == "at the end"


def test_an_adapter_that_composes_has_no_option_and_that_is_no_fault(ask: Ask) -> None:
    same = replace(
        COUNTED,
        attributes=replace(COUNTED.attributes, padding="same"),
        readings=tuple(replace(r, attributes=replace(r.attributes, padding="same")) for r in COUNTED.readings),
    )
    result = ask(fakes.CountsPadding, same)
    assert result.outcome is Outcome.UNSUPPORTED
    assert {*result.detail.splitlines()} == {"no option: this fake's means have no SAME"}
    assert result.told == "no option"
    assert not result.unexpected
    composed = replace(same, readings=(), native=())
    result = ask(fakes.CountsPadding, composed)
    assert result.agrees
    assert result.composed == ("this fake's means have no SAME",)
    assert ask(fakes.CountsPadding, replace(composed, attributes=COUNTED.attributes)).composed == ()


def test_an_adapter_that_cannot_leave_an_attribute_out_has_no_default(ask: Ask) -> None:
    result = ask(fakes.Honest, COUNTED)
    assert (result.outcome, result.told) == (Outcome.UNSUPPORTED, "no default")
    assert not result.unexpected


def test_a_framework_that_raises_refuses_a_probe_too(ask: Ask) -> None:
    result = ask(fakes.Raises, ODD_PIXEL)
    assert (result.outcome, result.told) == (Outcome.REFUSED, "refused")
    assert result.unexpected


# Kept and shown -----------------------------------------------------------------------------------------------------


def written(folder: Path, sessions: Callable[..., Session], fake: type[fakes.Honest], *cases: Case) -> None:
    """A run of a fake, kept under the name of one target."""
    session = sessions(fake)
    writer = RunWriter(folder, "fake", session.description)
    for one in cases:
        writer.result(session.run(item(one)), case_record(one))
    writer.close(complete=True)


def table(folder: Path) -> tuple[Topic, ...]:
    return topics(collect(folder))


def cell(folder: Path, case: Case) -> Cell:
    (found,) = (row.cells[0] for topic in table(folder) for row in topic.rows if row.case == case.id)
    assert found is not None
    return found


def test_a_run_keeps_the_reading(tmp_path: Path, sessions: Callable[..., Session]) -> None:
    written(tmp_path, sessions, fakes.PadsLeftFirst, ODD_PIXEL)
    (run,) = read_runs(tmp_path)
    (result,) = run.results
    assert (result.reading, result.readings) == ("at the beginning", ("at the end", "at the beginning"))
    frame = load_runs(tmp_path)
    assert frame["reading"].tolist() == ["at the beginning"]
    (file,) = tmp_path.glob("*/*.jsonl")
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    for line in lines:  # a run of an earlier version
        line.pop("reading", None)
        line.pop("readings", None)
    file.write_text("\n".join(map(json.dumps, lines)))
    (result,) = read_runs(tmp_path)[0].results
    assert (result.reading, result.readings, result.probe) == ("", (), False)


def test_the_table_tells_readings_and_a_flip_since_the_run_before(
    tmp_path: Path, sessions: Callable[..., Session]
) -> None:
    written(tmp_path, sessions, fakes.CountsPadding, COUNTED, NAN)
    before = cell(tmp_path, COUNTED)
    assert (before.told, before.follows, before.since, before.before) == ("counted", True, "", "")
    written(tmp_path, sessions, fakes.CountsNoPadding, COUNTED)
    after = cell(tmp_path, COUNTED)
    day = read_runs(tmp_path)[-1].header.started[:10]
    assert (after.told, after.since, after.before) == ("not counted", day, "counted")
    assert cell(tmp_path, NAN).since == ""
    assert f"changed since {day}: before counted" in write_report(tmp_path).read_text()
    written(tmp_path, sessions, fakes.CountsNoPadding, COUNTED)
    assert cell(tmp_path, COUNTED).since == ""


def test_another_question_is_no_change(tmp_path: Path, sessions: Callable[..., Session]) -> None:
    written(tmp_path, sessions, fakes.CountsPadding, COUNTED)
    renamed = replace(COUNTED, readings=tuple(replace(r, name=f"{r.name}!") for r in COUNTED.readings))
    written(tmp_path, sessions, fakes.CountsPadding, renamed)
    assert (cell(tmp_path, COUNTED).told, cell(tmp_path, COUNTED).since) == ("counted!", "")
    larger = replace(COUNTED, inputs=case("relu", NoAttributes(), inputs={"x": (1, 7, 6, 2)}).inputs)
    written(tmp_path, sessions, fakes.CountsNoPadding, larger)
    assert (cell(tmp_path, COUNTED).told, cell(tmp_path, COUNTED).since) == ("not counted", "")


def test_rows_where_targets_disagree_are_marked(tmp_path: Path, sessions: Callable[..., Session]) -> None:
    for name, fake in (("one", fakes.Honest), ("two", fakes.PadsLeftFirst), ("three", fakes.FlipsKernel)):
        session = sessions(fake)
        writer = RunWriter(tmp_path, name, session.description)
        for one in (ODD_PIXEL, COUNTED):
            writer.result(session.run(item(one)), case_record(one))
        writer.close(complete=True)
    (row,) = (row for topic in table(tmp_path) for row in topic.rows if row.case == ODD_PIXEL.id)
    assert dict(zip(row.targets, [c.told if c else None for c in row.cells], strict=True)) == {
        "one": "at the end",
        "two": "at the beginning",
        "three": "differs",
    }
    assert row.apart
    third = row.cells[row.targets.index("three")]
    assert third is not None
    assert (third.why, third.follows, third.lacks) == ("agrees with: kernel flipped", False, False)
    (counted,) = (row for topic in table(tmp_path) for row in topic.rows if row.case == COUNTED.id)
    assert not counted.apart
    assert {c.told for c in counted.cells if c} == {"no default"}
    text = write_report(tmp_path).read_text()
    assert row.camps == (("one",), ("two",))
    assert row.divided == "one against two"
    assert counted.divided == ""
    assert '<span class="divided">one against two</span>' in text
    (port,) = ports(table(tmp_path))
    assert (port.one, port.other, port.both) == ("one", "two", 1)
    assert [(each.row.case, each.before.told, each.after.told) for each in port.differences] == [
        (ODD_PIXEL.id, "at the end", "at the beginning")
    ]
    assert "differ in 1 of the 1 conventions that both have" in " ".join(text.split())
    assert '<a href="#view=conventions"' in text
    assert 'id="view-conventions"' in text
    assert text.count('<tr class="apart">') == 1
    assert text.count("<summary>Example</summary>") == 1
    assert "x: 1 \N{MULTIPLICATION SIGN} " in text


def test_targets_that_read_alike_stand_together_and_those_without_a_reading_apart() -> None:
    told = (("a", "x"), ("b", "y"), ("c", "x"), ("d", "x"), ("e", "z"))
    cells = tuple(Cell(told=reading, follows=True) for _, reading in told)
    row = Row(
        case="conventions/topic/one",
        name="one",
        about="",
        shapes={},
        targets=(*(target for target, _ in told), "f", "g"),
        cells=(*cells, Cell(told="no option", lacks=True), None),
    )
    assert row.divided == "a, c and d against b against e"
    found = {(port.one, port.other): len(port.differences) for port in ports([_topic(row)])}
    assert len(found) == 10
    assert [pair for pair, count in found.items() if count == 0] == [("a", "c"), ("a", "d"), ("c", "d")]


def test_a_row_shows_how_each_framework_is_asked_in_the_smallest_way(tmp_path: Path) -> None:
    calls = {"one": ("F.pad(x)", "F.conv(x)"), "two": ("F.pad(x)", "F.conv(x)"), "three": ("tf.conv(x, '<b>')",)}
    cells = tuple(Cell(told="x", follows=True, calls=lines) for lines in calls.values())
    row = Row(
        case="conventions/topic/one",
        name="one",
        about="",
        shapes={"x": (1, 2, 3, 1)},
        targets=(*calls, "four"),
        cells=(*cells, None),
    )
    assert row.examples == ((("one", "two"), calls["one"]), (("three",), calls["three"]))


def _topic(row: Row) -> Topic:
    return Topic(name="Topic", targets=row.targets, rows=(row,))


def test_a_topic_has_the_targets_that_were_asked_one_of_it(tmp_path: Path, sessions: Callable[..., Session]) -> None:
    other = replace(NAN, id="conventions/other/nan")
    first = replace(ODD_PIXEL, id="conventions/one/odd")
    for name, asked in (("one", (first, other)), ("two", (other,))):
        session = sessions(fakes.Honest)
        writer = RunWriter(tmp_path, name, session.description)
        for each in asked:
            writer.result(session.run(item(each)), case_record(each))
        writer.close(complete=True)
    assert {topic.name: topic.targets for topic in table(tmp_path)} == {"One": ("one",), "Other": ("one", "two")}


def test_a_report_without_probes_has_no_such_page(tmp_path: Path, sessions: Callable[..., Session]) -> None:
    written(tmp_path, sessions, fakes.Honest, questions.RELU)
    assert table(tmp_path) == ()
    assert "view-conventions" not in write_report(tmp_path).read_text()


def test_a_target_that_was_not_asked_has_no_cell(tmp_path: Path, sessions: Callable[..., Session]) -> None:
    pixel, nan = (replace(one, id=f"conventions/one/{n}") for n, one in enumerate((ODD_PIXEL, NAN)))
    for name, asked in (("one", pixel), ("two", nan)):
        session = sessions(fakes.Honest)
        writer = RunWriter(tmp_path, name, session.description)
        result: Result = session.run(item(asked))
        writer.result(result, case_record(asked))
        writer.close(complete=True)
    rows = {row.case: row.cells for topic in table(tmp_path) for row in topic.rows}
    assert [c is None for c in rows[pixel.id]] == [False, True]


def test_what_is_kept_for_the_pictures_is_the_reading_that_fits(sessions: Callable[..., Session]) -> None:
    result = sessions(fakes.PadsLeftFirst).run(item(ODD_PIXEL))
    ratios = [array for name, array in result.evidence.items() if name.endswith("/ratio")]
    assert ratios
    assert all((array <= 1).all() for array in ratios)


def test_lists_and_linters_of_the_command_line_know_probes(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(GELU)
    runner = CliRunner()
    listed = runner.invoke(app, ["list", str(path), "--stats"], env={"COLUMNS": "120"})
    assert listed.exit_code == 0
    assert "probes" in listed.output
    assert runner.invoke(app, ["lint-cases", str(path)]).exit_code == 0
    path.write_text(GELU.replace("{approximate: tanh}", "{approximate: none}"))
    linted = runner.invoke(app, ["lint-cases", str(path)])
    assert linted.exit_code == 2
    assert "readings 'exact' and 'tanh' cannot be told apart by this case in float32" in linted.output


def test_a_hard_sigmoid_with_a_slope_of_one_fifth_by_hand() -> None:
    made = case(
        "hard_sigmoid",
        NoAttributes(),
        inputs={"x": numbers([-3.0, -1.0, 0.0, 2.0, 2.75])},
        cotangents={"output": numbers([1.0, 2.0, 3.0, 4.0, 5.0])},
        data=("given",),
    )
    reading = Convention(name="one", attributes=made.attributes, variant="slope of one fifth", where=HERE)
    found = expected_of(reading, question_of(item(made), "given").job, Accumulators())
    assert isinstance(found, Expectations)
    assert found.outputs["output"].value == pytest.approx([0.0, 0.3, 0.5, 0.9, 1.0])
    assert found.gradients["x"].value == pytest.approx([0.0, 0.4, 0.6, 0.8, 0.0])
