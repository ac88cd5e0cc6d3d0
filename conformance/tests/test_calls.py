"""What an adapter has can be written in its framework, and holds there."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from conformance.backends.base import Backend
from conformance.backends.jax.backend import JaxBackend
from conformance.backends.keras.backend import KerasBackend
from conformance.backends.tensorflow.backend import TensorFlowBackend
from conformance.backends.torch.backend import TorchBackend
from conformance.case.contract import NoAttributes
from conformance.case.model import Shape
from conformance.case.operators import OPERATORS
from conformance.dialects.chains import follow
from conformance.dialects.model import Question, Written
from conformance.dialects.moves import Moves
from conformance.dialects.source import UnreadableLayer
from conformance.dialects.table import DIALECTS
from conformance.report.answers import explain
from conformance.run import rehearsal
from conformance.run.porting import Ported, port, source_of
from conformance.run.questions import Asked, UnclearQuestion, question_of
from conformance.run.rehearsal import missing_module, rehearse
from conformance.verdict.model import Reason

ADAPTERS: Mapping[str, type[Backend]] = {
    "torch": TorchBackend,
    "keras": KerasBackend,
    "tf": TensorFlowBackend,
    "jax": JaxBackend,
}
# Whatever adapter has it, no call of it is written, and why.
WITHOUT_A_CALL = {"chain": "layers one after the other, each of which has calls of its own"}


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    """No framework is installed, whatever is."""
    monkeypatch.setattr(rehearsal, "find_spec", lambda name: None)


def ask(operator: str, data: str, /, **options: Any) -> Question:
    """A question as a person types it, other attributes as Python writes them."""
    own = {name: options.pop(name) for name in tuple(options) if name in Asked.__dataclass_fields__}
    more = {name: value if isinstance(value, str) else repr(value) for name, value in options.items()}
    return question_of(Asked(operator=operator, input=data, more=more, **own))


CONV = {"kernel": "3", "padding": "same"}
UP = {"kernel": "3", "padding": "same", "stride": "2"}
POOL = {"kernel": "2", "stride": "2"}
RESPONSES = {"size": 3, "alpha": 0.1, "beta": 0.75, "bias": 1.0, "alpha_of": "mean"}
EPSILON = {"epsilon": 1e-3}
RATE = {"learning_rate": 0.1}
ROWS = "7"
# What must be said of an operator: the sizes of its data, where others would not do, and its attributes.
SAID: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    **{f"conv{rank}d": ("8", CONV) for rank in (1, 2, 3)},
    **{f"conv{rank}d_transpose": ("5", UP) for rank in (1, 2, 3)},
    **{f"conv{rank}d_weight_gradient": ("7", UP) for rank in (2, 3)},
    **{f"{kind}_pool{rank}d": ("8", POOL) for kind in ("max", "average") for rank in (1, 2, 3)},
    **{f"max_pool{rank}d_with_indices": ("8", POOL) for rank in (1, 2, 3)},
    **{f"adaptive_{kind}_pool2d": ("8x9x3", {"size": (2, 3)}) for kind in ("average", "max")},
    **{
        f"resize{rank}d": ("x".join(["6"] * rank + ["3"]), {"size": (12,) * rank, "method": "nearest"})
        for rank in (1, 2, 3)
    },
    "max_pool2d_gradient": ("6x5x3", {"size": (12, 10), **POOL}),
    "max_unpool2d": ("6x5x3", {"size": (13, 11)}),
    "fractional_max_pool2d": ("8x9x3", {"size": (3, 4), "kernel": "2"}),
    "lp_pool2d": ("8x9", POOL),
    "extract_patches": ("8x9", {"kernel": "3x2", "stride": "2"}),
    "fold": ("6x5x12", {"size": (7, 6), "kernel": "2"}),
    "pad": ("6x5x3", {"padding": "1:2x0:1"}),
    "mean": ("6x5x3", {"axes": (1, 2)}),
    "depth_to_space": ("4x3x12", {"block": 2}),
    "space_to_depth": ("4x6x3", {"block": 2}),
    "local_response_norm": ("5x4x7", RESPONSES),
    "dense": (ROWS, {}),
    "flatten": ("6x1x1", {}),
    "leaky_relu": (ROWS, {"slope": 0.1}),
    "gelu": (ROWS, {"approximate": "none"}),
    "batch_norm": ("5x4x6", EPSILON),
    "batch_norm_training": ("5x4x6", {"momentum": 0.9, "bessel": False, **EPSILON}),
    "instance_norm": ("5x4x6", EPSILON),
    "group_norm": ("5x4x6", {"groups": 3, **EPSILON}),
    "layer_norm": (ROWS, {"axes": (-1,), **EPSILON}),
    **{
        f"{kind}entropy{dense}": (ROWS, {})
        for kind, dense in (("binary_cross_", ""), ("softmax_cross_", ""), ("softmax_cross_", "_dense"))
    },
    "kl_divergence": (ROWS, {}),
    "mean_squared_error": (ROWS, {}),
    "dropout": (ROWS, {"keep": 0.75}),
    **dict.fromkeys(("sgd", "sgd_momentum", "rmsprop", "adagrad", "adam", "adamw"), ("4x3", RATE)),
    "initialize": ("3x3x16x32", {}),
    "random_dropout": ("40x50", {"rate": 0.3}),
    **dict.fromkeys(("convolve", "correlate"), ("9x8", {"kernel": "3x2"})),
    "polynomial": (ROWS, {"coefficients": (2.0, -1.0, 0.5)}),
    "matmul": ("5x4", {}),
}
ELEMENTWISE = ("5x4x3", {})


def usual(operator: str, framework: str = "") -> Question:
    """A question that the operator's framework has a call for, if any question has."""
    data, options = SAID.get(operator, ELEMENTWISE)
    if operator == "batch_norm_training":
        options = {**options, "bessel": framework == "torch"}
    return ask(operator, data, **options)


WEIGHED = ("softmax_cross_entropy", ROWS, {"weights": True})
BINARY = ("binary_cross_entropy", ROWS, {"weights": True, "positive_weights": True})
WINDOWS = ("extract_patches", "8x9x3")
FOLDED = ("fold", "6x5x12")
# What else these can be asked: where no option of a framework says it, another branch of its dialect does.
FURTHER = (
    ("concat", "5x4x3", {"axis": 0}),
    ("concat", "5x4x3", {"axis": 2}),
    ("mean", "5x4x3", {"axes": (0, -1), "keepdims": True}),
    ("mean", "5x4x3", {"axes": (3,)}),
    ("bias_add", "5", {}),
    ("matmul", "3x4x5", {}),
    ("polynomial", ROWS, {"coefficients": (7.0,)}),
    ("depth_to_space", "4x3x12", {"block": 2, "order": "crd"}),
    ("space_to_depth", "4x6x3", {"block": 2, "order": "crd"}),
    ("local_response_norm", "5x4x7", {**RESPONSES, "size": 4, "extra": "low"}),
    ("local_response_norm", "5x4x7", {**RESPONSES, "size": 4, "extra": "high", "alpha_of": "sum"}),
    ("local_response_norm", ROWS, RESPONSES),
    ("lp_pool2d", "8x9", {"p": 1, "padding": "same", **POOL}),
    ("lp_pool2d", "8x9", {"p": 3, **POOL}),
    ("lp_pool2d", "8x9", {"p": 1, "signed": True, "kernel": "2", "stride": "1"}),
    (*WINDOWS, {"kernel": "3x2", "stride": "2", "padding": "same"}),
    (*WINDOWS, {"kernel": "3x2", "padding": "0:1x1:1", "order": "channels_first"}),
    (*WINDOWS, {"kernel": "2", "dilation": "2", "stride": "2", "order": "channels_first"}),
    (*FOLDED, {"size": (12, 10), "kernel": "2", "stride": "2", "order": "channels_first"}),
    (*FOLDED, {"size": (6, 5), "kernel": "2", "padding": "same"}),
    (*FOLDED, {"size": (5, 5), "kernel": "2", "padding": "1:1x0:1"}),
    ("max_unpool2d", "6x5x3", {"size": (12, 10)}),
    ("max_unpool2d", "6x5x3", {"size": (9, 7), "indexed": "image"}),
    ("conv2d_weight_gradient", "7", {"kernel": "3x2", "padding": "same_lower", "groups": 2}),
    ("conv3d_weight_gradient", "5", {"kernel": "2", "groups": 2, "padding": "1"}),
    ("max_pool2d_gradient", "3x3x2", {"size": (5, 6), "kernel": "2x3", "stride": "2", "padding": "same"}),
    ("max_pool2d_gradient", "3x3x2", {"size": (6, 6), "indexed": "image", **POOL}),
    ("max_pool1d_with_indices", "8x3", {"indexed": "images", "padding": "same", "kernel": "3", "stride": "2"}),
    ("max_pool2d_with_indices", "8x3", {"indexed": "planes", "kernel": "3x2", "stride": "2"}),
    ("resize1d", "6x3", {"size": (9,)}),
    ("resize1d", "6x3", {"size": (9,), "coordinates": "align_corners"}),
    ("resize2d", "5x4x3", {"size": (8, 9), "coordinates": "asymmetric"}),
    ("resize2d", "5x4x3", {"size": (8, 9), "method": "nearest", "coordinates": "asymmetric", "rounding": "floor"}),
    ("resize3d", "5x4x6x3", {"size": (8, 9, 7), "method": "nearest", "coordinates": "align_corners"}),
    ("resize3d", "4x5x6x3", {"size": (6, 7, 9)}),
    *((name, "9", {"kernel": "4", "mode": mode}) for name in ("convolve", "correlate") for mode in ("same", "valid")),
    *((name, "3x2", {"kernel": "5x4", "mode": "valid"}) for name in ("convolve", "correlate")),
    ("convolve", "3", {"kernel": "5", "mode": "same"}),
    WEIGHED,
    (*WEIGHED[:2], {"weights": True, "ignored": 3, "smoothing": 0.1}),
    (*WEIGHED[:2], {"weights": True, "reduction": "sum"}),
    ("softmax_cross_entropy_dense", ROWS, {"weights": True, "smoothing": 0.1, "reduction": "none"}),
    BINARY,
    ("binary_cross_entropy", "4x3", {"positive_weights": True, "reduction": "none"}),
    (*BINARY[:2], {"weights": True}),
    ("adam", "4x3", {"epsilon_hat": True, "step": 3}),
    ("adamw", "4x3", {"step": 2, "weight_decay": 0.1}),
    ("sgd_momentum", "4x3", {"velocity_of": "steps", "nesterov": True, "weight_decay": 0.1, **RATE}),
    ("sgd_momentum", "4x3", {"first": True, "dampening": 0.5, **RATE}),
    ("sgd_momentum", "4x3", {"nesterov": True, **RATE}),
    ("rmsprop", "4x3", {"epsilon_inside": True, "momentum": 0.9, "velocity_of": "steps", "mean": True}),
    ("rmsprop", "4x3", {"momentum": 0.9, "mean": True}),
    ("rmsprop", "4x3", {"momentum": 0.9, "velocity_of": "steps"}),
    ("adagrad", "4x3", {"v": False, "initial": 0.1}),
    ("adagrad", "4x3", {"epsilon_inside": True}),
    ("initialize", "3x3x16x32", {"scheme": "he", "distribution": "normal"}),
    ("initialize", "3x3x16x32", {"scheme": "lecun", "distribution": "truncated_normal"}),
    *(
        ("initialize", "40x50", {"scheme": "constant", "distribution": law})
        for law in ("uniform", "normal", "truncated_normal")
    ),
)
BROADCAST = tuple(
    Question(operator=operator, attributes=NoAttributes(), shapes={"x": (2, 5, 4, 3), "y": y})
    for operator, y in (("add", (3,)), ("multiply", (2, 1, 1, 3)))
)

PAIRS = [
    pytest.param(name, operator, id=f"{name}-{operator}")
    for name, adapter in ADAPTERS.items()
    for operator in adapter.operators()
    if operator not in WITHOUT_A_CALL
]


@pytest.mark.parametrize(("name", "operator"), PAIRS)
def test_what_an_adapter_has_is_written(name: str, operator: str) -> None:
    said = DIALECTS[name].write(usual(operator, name))
    assert isinstance(said, Written), said
    assert said.lines
    assert all(said.lines)


def test_all_frameworks_are_looked_at_and_nothing_is_left_out_twice() -> None:
    assert set(ADAPTERS) == set(DIALECTS)
    assert set(WITHOUT_A_CALL) <= set(OPERATORS)
    assert set(SAID) <= set(OPERATORS)
    for operator in WITHOUT_A_CALL:
        with pytest.raises(UnclearQuestion, match="asked in a case alone"):
            ask(operator, "7")


def questions(name: str, part: str) -> list[Question]:
    """What a framework is asked in one process, and has a call for."""
    if part == "plain":
        asked = [usual(operator, name) for operator in OPERATORS if operator not in WITHOUT_A_CALL]
    else:
        asked = [*BROADCAST, *(ask(operator, data, **options) for operator, data, options in FURTHER)]
    return [one for one in asked if isinstance(DIALECTS[name].write(one), Written)]


@pytest.mark.parametrize(
    ("text", "x", "operators", "output"),
    [
        ("nn.LocalResponseNorm(5, k=2.0)", (2, 4, 5, 6), ["local_response_norm"], (2, 4, 5, 6)),
        ("nn.LPPool2d(3, 2, stride=1)", (2, 4, 5, 6), ["lp_pool2d"], (2, 3, 4, 6)),
        ("nn.Unfold((3, 2), padding=1)", (2, 4, 5, 6), ["extract_patches", "spread"], (2, 24, 36)),
        ("nn.Fold((4, 5), (3, 2), padding=1)", (2, 24, 36), ["spread", "fold"], (2, 4, 5, 6)),
        ("nn.MaxUnpool2d(2, stride=3)", (2, 4, 5, 6), ["max_unpool2d"], (2, 11, 14, 6)),
        ("layers.Add()", (2, 4, 5, 6), ["add"], (2, 4, 5, 6)),
        ("layers.Multiply()", (2, 7), ["multiply"], (2, 7)),
        ("layers.Concatenate(axis=1)", (2, 4, 5, 6), ["concat"], (2, 8, 5, 6)),
        ("nn.CrossEntropyLoss(weight=balance)", (2, 5), ["softmax_cross_entropy"], ()),
        ("nn.BCEWithLogitsLoss(pos_weight=self.rare)", (2, 5), ["binary_cross_entropy"], ()),
    ],
)
def test_layers_of_windows_and_of_several_arrays_are_read(
    text: str, x: Shape, operators: list[str], output: Shape
) -> None:
    followed = follow(text, x)
    assert not followed.fault
    (step,) = followed.steps
    assert [question.operator for question in step.questions] == operators
    assert step.output == output


def test_weights_are_arrays_that_are_named() -> None:
    (step,) = follow("nn.BCEWithLogitsLoss(weight=w, pos_weight=p)", (2, 5)).steps
    assert step.questions[0].shapes["weights"] == (2, 5)
    assert step.questions[0].shapes["positive_weights"] == (5,)
    with pytest.raises(UnreadableLayer, match="nothing is evaluated"):
        follow("nn.CrossEntropyLoss(weight=torch.ones(5))", (2, 5))


@pytest.mark.parametrize(
    ("text", "x", "told"),
    [
        ("nn.Fold((4, 5), 2)", (2, 11, 4), "3x4 are 12 windows, and the data has 11"),
        ("nn.Unfold(3)", (2, 7), "(channels, height, width)"),
    ],
)
def test_windows_that_do_not_fit_say_why(text: str, x: Shape, told: str) -> None:
    assert told in follow(text, x).fault


def ported(text: str, to: str) -> Ported:
    (found,) = port(text, source_of(text, ""), [DIALECTS[to]]).ported
    return found


@pytest.mark.usefixtures("bare")
def test_what_one_framework_counts_otherwise_is_the_trap_that_is_told() -> None:
    responses = ported("nn.LocalResponseNorm(5)", "tf")
    call = "y = tf.nn.local_response_normalization(x, depth_radius=2, alpha={}, beta=0.75)"
    assert responses.lines == (call.format("2e-05"),)
    assert responses.near is not None
    assert responses.near.lines == (call.format("0.0001"),)
    blocks = ported("nn.PixelShuffle(2)", "keras")
    assert blocks.lines[-1] == "y = ops.depth_to_space(x, 2)"
    assert len(blocks.lines) == 2
    assert blocks.near is not None
    assert blocks.near.lines == blocks.lines[-1:]


@pytest.mark.usefixtures("bare")
def test_layers_among_statements_are_called() -> None:
    assert ported("nn.Fold((6, 8), 2, stride=2)", "keras").lines[:2] == ("y = layers.Reshape((3, 4, 8))(x)", "x = y")
    assert ported("nn.Unfold(3)", "jax").lines[-1] == "y = x.reshape(-1, 99, 54)"


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(
    ("operator", "data", "options", "told"),
    [
        ("matmul", "5x4", {}, "matmul (3 columns of y, as none are given)\n\nmatmul: 5x4 -> 5x3\n"),
        ("mean", "6x5x3", {"axes": (1, 2)}, "mean, axes (1, 2)\n\nmean: 6x5x3 -> 3\n"),
        ("sgd", "4x3", RATE, "sgd: 4x3 -> 4x3\n"),
        ("convolve", "9x8", {"kernel": "3x2"}, "convolve: 9x8 -> 11x9\n"),
        ("pad", "6x5x3", {"padding": "1:2x0:1"}, "pad: 6x5x3 -> 9x6x3\n"),
    ],
)
def test_sizes_are_those_of_what_is_asked(operator: str, data: str, options: dict[str, Any], told: str) -> None:
    assert told in str(explain(operator, input=data, to="torch", **options))


def test_arrays_that_are_optional_are_there_or_not() -> None:
    assert "weights" not in ask("softmax_cross_entropy", ROWS).shapes
    assert ask("softmax_cross_entropy", ROWS, weights=True).shapes["weights"] == (7,)
    assert set(ask("rmsprop", "4x3", momentum=0.9, mean=True).shapes) == {
        *("parameter", "gradient", "v", "mean", "velocity")
    }
    with pytest.raises(UnclearQuestion, match="weights is an array, which is there or not"):
        ask("softmax_cross_entropy", ROWS, weights=2)


def test_an_update_that_is_not_the_one_asked_is_seen_where_its_framework_is_installed() -> None:
    question = ask("adam", "4x3")
    said = DIALECTS["torch"].write(question)
    assert isinstance(said, Written)
    late = replace(said, lines=tuple(line.replace("torch.tensor(0.0)", "torch.tensor(1.0)") for line in said.lines))
    drawn = ask("initialize", "3x3x16x32")
    wide = Written(lines=("torch.manual_seed(0)", "y = torch.rand(32, 16, 3, 3) - 0.5"), lies=lies(drawn))
    holds, differs, too_wide = rehearse(
        DIALECTS["torch"], [(said, question), (late, question), (replace(wide, statements=True), drawn)]
    )
    assert not differs.holds
    assert not too_wide.holds
    if not missing_module(DIALECTS["torch"]):
        assert str(holds).endswith("outputs agree with the reference")
        assert {one.name for one in differs.comparisons if not one.within} == {"parameter"}
        assert {one.reason for one in too_wide.comparisons} == {Reason.DISTRIBUTION}
        assert str(too_wide).startswith("differs with torch")


def lies(question: Question) -> Mapping[str, Moves]:
    """How the arrays of a question lie in torch."""
    said = DIALECTS["torch"].write(question)
    assert isinstance(said, Written)
    return said.lies


# What a framework's own kernel has no gradient for, in whose words.
NO_GRADIENTS = {("tf", "max_pool2d_gradient"): "gradient registry has no entry for: MaxPoolGradWithArgmax"}


# A process has minutes, and JAX compiles every one of its calls.
CALLS = 45


# In which of tox's environments a dialect's framework is.
INSTALLED = [
    pytest.param(name, marks=getattr(pytest.mark, "tf" if name == "keras" else name), id=name) for name in DIALECTS
]


@pytest.mark.parametrize("part", ["plain", "further"])
@pytest.mark.parametrize("name", INSTALLED)
def test_what_is_written_holds(name: str, part: str) -> None:
    dialect, given = DIALECTS[name], questions(name, part)
    written = [(said, one) for one in given if isinstance(said := dialect.write(one), Written)]
    found = [
        rehearsed
        for start in range(0, len(written), CALLS)
        for rehearsed in rehearse(dialect, written[start : start + CALLS])
    ]
    assert len(found) > 45
    for (said, question), rehearsed in zip(written, found, strict=True):
        assert rehearsed.holds, (question, said.lines, str(rehearsed))
        outputs = {one.name for one in rehearsed.comparisons if one.check == "outputs"}
        assert outputs == set(question.contract.shapes(question.attributes, question.shapes))
        gradients = {one.name for one in rehearsed.comparisons if one.check == "gradients"}
        lacking = NO_GRADIENTS.get((name, question.operator), "")
        assert gradients == (set() if lacking else set(question.learned)), (question, rehearsed)
        assert lacking in rehearsed.no_gradients
