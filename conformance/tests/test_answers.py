"""Explanations without a case, and layers in other frameworks' words: what they say where nothing is installed."""

import re
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import conformance
from conformance.case.families.convolution import Convolution
from conformance.case.families.normalization import BatchNormTraining
from conformance.cli import app
from conformance.dialects.chains import READERS
from conformance.dialects.model import Question, Weight, Written
from conformance.dialects.moves import kernel_first
from conformance.dialects.source import UnreadableLayer
from conformance.dialects.table import DIALECTS
from conformance.errors import ImpossibleShape
from conformance.report.answers import Call, Explanation, Stage, explain
from conformance.report.explained import write_answer
from conformance.run import rehearsal
from conformance.run.porting import Port, port, source_of
from conformance.run.questions import Asked, UnclearQuestion, question_of
from conformance.run.rehearsal import expected_values, rehearse

TRANSPOSED = "nn.ConvTranspose2d(16, 8, 3, stride=2, padding=1, output_padding=1)"


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No framework is installed, whatever is."""
    monkeypatch.setattr(rehearsal, "find_spec", lambda name: None)


def ported(text: str, to: str, given: str = "") -> Port:
    return port(text, source_of(text, ""), [DIALECTS[name] for name in to.split(",")], given)


@pytest.mark.usefixtures("bare")
def test_a_transposed_convolution_is_explained_without_a_case() -> None:
    answer = explain("conv2d_transpose", input="20x10", kernel=3, stride=2, padding="same", to="torch")
    text = str(answer)
    assert "conv2d_transpose: 20x10x2 -> 40x20x3" in text
    assert text.splitlines()[0].startswith("conv2d_transpose, kernel 3x3, stride 2x2, padding same (")
    assert "canvas (20 - 1) x 2 + 3 = 41; SAME keeps 20 x 2 = 40, from 0" in text
    assert "cropped: 0 at the low end, 1 at the high end" in text
    assert "nn.Sequential(nn.ConvTranspose2d(2, 3, 3, stride=2), nn.ZeroPad2d((0, -1, 0, -1)))" in text
    assert text.count("not checked: torch is not installed") == 1
    assert "checked with" not in text


@pytest.mark.usefixtures("bare")
def test_pads_windows_and_what_is_unread_are_told() -> None:
    text = str(explain(input="8", kernel=3, stride=2, channels=1, filters=1))
    assert text.startswith("conv2d, kernel 3x3, stride 2x2, padding valid\n")
    assert "rows: floor((8 + 0 + 0 - 3) / 2) + 1 = 3" in text
    assert "no pads; unread: 7" in text
    assert [call.title for call in explain(input="8", kernel=3).calls] == ["PyTorch", "Keras", "TensorFlow", "JAX"]
    assert "ceil((7 + 0 + 0 - 2) / 2) + 1 = 4" in str(explain("max_pool1d", input="7", kernel=2, ceil=True))


def test_a_call_that_does_not_hold_is_not_printed(monkeypatch: pytest.MonkeyPatch) -> None:
    from conformance.run import questions

    def wrong(calls: object) -> dict[object, tuple[rehearsal.Rehearsed, ...]]:
        return {dialect: (rehearsal.Rehearsed(versions="torch 9", refused="no"),) for dialect in calls}  # type: ignore[attr-defined]

    monkeypatch.setattr(questions, "rehearse_all", wrong)
    (call,) = explain("relu", input="4x3", to="torch").calls
    assert call == Call(title="PyTorch", lines=(), remarks=("refused by torch 9: no",))


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"kernel": 3, "stride": "2x2x2", "input": "9"}, "--stride takes one integer for all axes, or 2 joined by x"),
        ({"kernel": 3, "padding": "smae", "input": "9"}, "Did you mean 'same'?"),
        ({"input": "9"}, "conv2d needs --kernel"),
        ({"kernel": 3, "input": ""}, "--input is missing"),
        ({"kernel": 3, "input": "9x-1"}, "sizes of at least 1"),
        ({"kernel": 3, "input": "9x9x9x9"}, "has 2 spatial axes"),
        ({"kernel": 3, "input": "9", "strid": 2}, "Did you mean 'stride'?"),
        ({"kernel": 3, "input": "9", "to": "toch"}, "Did you mean 'torch'?"),
        ({"kernel": 3, "input": "9", "ceil": True}, "conv2d has no ceil_mode (--ceil)"),
    ],
)
def test_an_unclear_question_says_what_is_expected(options: dict[str, object], told: str) -> None:
    with pytest.raises(UnclearQuestion) as caught:
        explain("conv2d", **options)  # type: ignore[arg-type]
    assert told in str(caught.value)


def test_what_has_no_answer_says_why() -> None:
    with pytest.raises(ImpossibleShape, match="the kernel spans 7 elements"):
        explain("conv2d", input="5", kernel=7)


def test_options_and_attributes_make_one_question() -> None:
    asked = Asked(operator="conv1d", input="9x4", kernel="3", padding="1:0", groups=2, more={"dilation": "2"})
    question = question_of(asked)
    assert question.attributes.padding == ((1, 0),)
    assert question.attributes.dilation == (2,)
    assert question.shapes == {"x": (2, 9, 4), "w": (3, 2, 6), "b": (6,)}


def test_a_chain_names_where_it_breaks() -> None:
    answer = conformance.explain("nn.Conv2d(1, 6, 5) | nn.MaxPool2d(2) | nn.Linear(6, 10)", input=(1, 20, 10))
    assert [stage.output for stage in answer.stages] == ["6x16x6", "6x8x3"]
    assert not answer.whole
    assert "layer 3, nn.Linear(6, 10), breaks, given 6x8x3" in str(answer)
    whole = explain("Conv2D(1, 4, strides=2, padding='same') | MaxPool2D(2, strides=1) | Flatten()", input="20x10x1")
    assert [stage.output for stage in whole.stages] == ["10x5x1", "9x4x1", "36"]
    assert whole.whole
    with pytest.raises(UnclearQuestion, match="say everything themselves"):
        explain("Flatten()", input="20x10x1", kernel=3)


def test_nothing_that_is_shown_is_taken_for_markup(tmp_path: Path) -> None:
    evil = "</pre><script>alert(1)</script>"
    answer = Explanation(
        title=evil,
        stages=(Stage(text=evil, given=evil, output=evil, lines=(evil,)),),
        fault=evil,
        calls=(Call(title=evil, lines=(evil,), remarks=(evil,)),),
    )
    page = write_answer(answer, tmp_path / "page.html").read_text(encoding="utf-8")
    for text in (answer._repr_html_(), page):
        assert "<script>" not in text
        assert "&lt;script&gt;" in text


@pytest.mark.usefixtures("bare")
def test_a_page_has_the_drawings(tmp_path: Path) -> None:
    answer = explain("conv2d", input="6", kernel=3, padding="same", to="tf")
    page = write_answer(answer, tmp_path / "deep" / "page.html").read_text(encoding="utf-8")
    assert page.count('class="drawing strip"') == 2
    assert page.count('class="drawing plane"') == 1
    assert "<script" not in page


def test_the_command_line_explains_and_ports(capsys: pytest.CaptureFixture[str]) -> None:
    def run(*arguments: str) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            app(list(arguments))
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    code, out, _ = run("explain", "Conv2D(4, 3) | Flatten()", "--input", "9x9x1")
    assert (code, "Flatten(): 7x7x4 -> 196" in out) == (0, True)
    code, out, _ = run("explain", "Conv2D(4, 33) | Flatten()", "--input", "9x9x1")
    assert (code, "layer 1, Conv2D(4, 33), breaks" in out) == (1, True)
    code, _, err = run("explain", "con2d", "--input", "9", "--kernel", "3")
    assert (code, "Did you mean 'conv2d'?" in err) == (2, True)
    code, _, err = run("port", "nn.Conv2D(3, 8, 3)")
    assert (code, "Did you mean 'Conv2d'?" in err) == (2, True)
    code, _, err = run("port", "nn.Conv2d(3, 8, 3)", "--from", "jax")
    assert (code, "layers of keras, torch are read" in err) == (2, True)


@pytest.mark.usefixtures("bare")
def test_output_padding_and_keras_same_share_a_shape_and_differ() -> None:
    (keras,) = ported(TRANSPOSED, "keras").ported
    assert keras.lines == (
        "keras.Sequential([layers.Conv2DTranspose(8, 3, strides=2), layers.Cropping2D(((1, 0), (1, 0)))])",
    )
    assert keras.weights[0] == "kernel = weight.transpose(2, 3, 1, 0)  # (16, 8, 3, 3) -> (3, 3, 8, 16)"
    assert keras.near is not None
    assert keras.near.lines == ('layers.Conv2DTranspose(8, 3, strides=2, padding="same")',)
    assert 0 < keras.near.most < 2 * keras.near.of
    assert keras.checked == "not checked: keras is not installed"
    assert keras.exact


def test_the_equivalent_holds_and_the_trap_differs_where_keras_is_installed() -> None:
    (keras,) = ported(TRANSPOSED, "keras").ported
    missing = next((name for name in ("keras", "tensorflow") if find_spec(name) is None), "")
    assert keras.near is not None
    if missing:
        assert keras.checked == f"not checked: {missing} is not installed"
        assert keras.near.measured == "by the reference"
    else:
        assert keras.checked.endswith("outputs and gradients agree with the reference")
        assert keras.near.measured.startswith("measured with keras")
        assert keras.near.share > 0.9


@pytest.mark.usefixtures("bare")
def test_where_none_is_exact_the_nearest_is_told_with_its_difference() -> None:
    answer = ported("nn.AvgPool2d(3, stride=2, padding=1, ceil_mode=True)", "keras", "4x8x9")
    (keras,) = answer.ported
    assert not answer.exact
    assert not keras.lines
    assert "'same' and 'valid' alone" in keras.lacking
    assert keras.near is not None
    assert keras.near.measured == "by the reference"
    assert "warning: no exact equivalent" in str(keras)
    assert "nearest: layers.AveragePooling2D" in str(keras)


@pytest.mark.usefixtures("bare")
def test_pads_that_belong_to_a_size_are_told_as_such() -> None:
    (torch,) = ported("Conv2D(8, 3, strides=2, padding='same')", "torch", "20x20x3").ported
    assert torch.lines == ("nn.Sequential(nn.ZeroPad2d((0, 1, 0, 1)), nn.Conv2d(3, 8, 3, stride=2))",)
    assert any("20x20x3" in remark for remark in torch.remarks)
    (again,) = ported("Conv2D(8, 3, padding='same')", "torch", "20x20x3").ported
    assert again.lines == ('nn.Conv2d(3, 8, 3, padding="same")',)
    assert not any("20x20x3" in remark for remark in again.remarks)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("text", "to", "line", "weights"),
    [
        (
            "nn.Conv2d(3, 8, 3)",
            "keras",
            "layers.Conv2D(8, 3)",
            ["kernel = weight.transpose(2, 3, 1, 0)", "bias = bias"],
        ),
        ("nn.Linear(12, 5)", "tf", "y = tf.matmul(x, w)", ["w = weight.transpose(1, 0)", "b = bias"]),
        (
            "DepthwiseConv2D(3, depth_multiplier=2)",
            "torch",
            "nn.Conv2d(6, 12, 3, groups=6)",
            ["weight = kernel.reshape(3, 3, 1, 12).transpose(3, 2, 0, 1)", "bias = bias"],
        ),
        (
            "BatchNormalization()",
            "torch",
            "nn.BatchNorm2d(6, eps=0.001)",
            ["weight = gamma", "bias = beta", "running_mean = moving_mean", "running_var = moving_variance"],
        ),
        ("nn.BatchNorm2d(6)", "keras", "layers.BatchNormalization(epsilon=1e-05)", None),
        ("nn.MaxPool2d(2)", "keras", "layers.MaxPooling2D(2)", []),
        ("nn.LeakyReLU()", "keras", "layers.LeakyReLU(0.01)", []),
    ],
)
def test_layers_and_weights_in_other_words(text: str, to: str, line: str, weights: list[str] | None) -> None:
    (found,) = ported(text, to).ported
    assert found.lines[0] == line
    if weights is not None:
        assert [re.split(r", as it is|  #", told)[0] for told in found.weights] == weights


def test_one_layer_at_a_time() -> None:
    with pytest.raises(UnreadableLayer, match="one layer is ported at a time"):
        ported("nn.ReLU() | nn.Flatten()", "keras")
    assert set(READERS) == {"keras", "torch"}


def test_a_wrong_call_is_seen_where_its_framework_is_installed() -> None:
    """The rehearsal is what catches a dialect's mistake: pads that lie at the other end."""
    question = Question(
        operator="conv2d",
        attributes=Convolution(stride=(2, 2), dilation=(1, 1), padding="same"),
        shapes={"x": (2, 6, 6, 2), "w": (3, 3, 2, 3)},
    )
    swapped = Written(
        lines=("nn.ZeroPad2d((1, 0, 1, 0))", "nn.Conv2d(2, 3, 3, stride=2, bias=False)"),
        weights=(Weight(operand="w", name="weight", line=1, moves=kernel_first(2)),),
    )
    refused = Written(lines=("nn.Conv2d(3, 3, 3)",))
    differs, fails = rehearse(DIALECTS["torch"], [(swapped, question), (refused, question)])
    if find_spec("torch") is None:
        assert (differs.missing, fails.missing) == ("torch", "torch")
    else:
        assert str(differs).startswith("differs with torch")
        assert str(fails).startswith("refused by torch")
        wanted = expected_values(question)["output"]
        assert not np.allclose(differs.arrays["output"], wanted)
    assert not differs.holds
    assert not fails.holds


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("to", "line"),
    [
        ("keras", "layers.Dropout(0.3)"),
        ("tf", "y = tf.nn.dropout(x, rate=0.3) if training else x"),
        ("jax", "y = jnp.where(jax.random.bernoulli(key, 0.7, x.shape), x / 0.7, 0.0) if training else x"),
    ],
)
def test_a_layer_that_draws_is_ported_with_its_rate_and_not_as_the_identity(to: str, line: str) -> None:
    (found,) = ported("nn.Dropout(0.3)", to).ported
    assert found.lines == (line,)
    told = "the rate is the share that is dropped in training, and the rest is divided by 0.7"
    assert any(told in remark and "it was run as at inference" in remark for remark in found.remarks)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("operator", "options", "to", "line"),
    [
        (
            "softmax_cross_entropy",
            {"smoothing": 0.1},
            "torch",
            "y = nn.CrossEntropyLoss(label_smoothing=0.1)(logits, labels)",
        ),
        ("dropout", {"keep": 0.75}, "keras", "y = x * ops.cast(mask, x.dtype) / 0.75"),
        (
            "batch_norm_training",
            {"epsilon": 1e-5, "momentum": 0.9, "bessel": "true"},
            "torch",
            "nn.BatchNorm1d(7)",
        ),
    ],
)
def test_what_learns_is_explained_without_a_case(
    operator: str, options: dict[str, object], to: str, line: str
) -> None:
    answer = explain(operator, input="7", to=to, **options)
    assert answer.whole
    assert answer.calls[0].lines == (line,)


def test_statistics_that_are_kept_otherwise_are_seen_where_a_framework_is_installed() -> None:
    names = {"scale": "weight", "offset": "bias", "mean": "running_mean", "variance": "running_var"}
    question = Question(
        operator="batch_norm_training",
        attributes=BatchNormTraining(epsilon=1e-5, momentum=0.9, bessel=True),
        shapes={"x": (2, 4, 3, 5), **dict.fromkeys(names, (5,))},
    )
    weights = tuple(Weight(operand=operand, name=name) for operand, name in names.items())
    own, swapped = (Written(lines=(f"nn.BatchNorm2d(5, momentum={m})",), weights=weights) for m in (0.1, 0.9))
    holds, differs = rehearse(DIALECTS["torch"], [(own, question), (swapped, question)])
    assert not differs.holds
    if find_spec("torch") is not None:
        assert holds.holds
        assert {c.name for c in differs.comparisons if not c.within} == {"mean", "variance"}


def test_other_attributes_are_written_as_in_yaml_or_in_python() -> None:
    for word in ("true", "True"):
        more = {"epsilon": "1e-5", "momentum": "0.9", "bessel": word}
        assert question_of(Asked(operator="batch_norm_training", input="4x5x3", more=more)).attributes.bessel is True
