"""Calls as the frameworks write them, and layers as people do: written, read, and written as they were read."""

import itertools
from importlib.util import find_spec

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.losses import CrossEntropy, DenseCrossEntropy, Divergence, Loss
from conformance.case.families.normalization import BatchNormTraining
from conformance.case.families.pooling import AveragePool, IndexedMaxPool, MaxPool
from conformance.case.families.steps import Dropout
from conformance.case.geometry import Padding
from conformance.case.operators import OPERATORS
from conformance.dialects.chains import READERS, calls_of, follow
from conformance.dialects.model import Crop, Drop, Question, Unwritten, Written
from conformance.dialects.moves import Reshape, Transpose, after, back, joined, moved
from conformance.dialects.source import UnreadableLayer
from conformance.dialects.table import DIALECTS
from conformance.errors import ImpossibleShape
from conformance.run.rehearsal import Rehearsed, missing_module, rehearse

LAYERED = ("torch", "keras")


def conv(
    padding: Padding = "valid", *, stride: int = 1, groups: int = 1, kernel: tuple[int, int] = (3, 2)
) -> Question:
    return Question(
        operator="conv2d",
        attributes=Convolution(stride=(stride, stride), dilation=(1, 1), groups=groups, padding=padding),
        shapes={"x": (2, 9, 8, 4), "w": (*kernel, 4 // groups, 6), "b": (6,)},
    )


def transposed(
    padding: Padding, *, stride: int = 2, kernel: int = 3, more: int = 0, size: tuple[int, ...] = ()
) -> Question:
    return Question(
        operator="conv2d_transpose",
        attributes=TransposedConvolution(
            stride=(stride, stride),
            dilation=(1, 1),
            padding=padding,
            output_padding=(more, more),
            output_size=size,
        ),
        shapes={"x": (2, 5, 4, 3), "w": (kernel, kernel, 2, 3), "b": (2,)},
    )


def pooled(kind: str, padding: Padding, *, stride: int = 2, window: int = 3, ceil: bool = False) -> Question:
    own = {"window": (window, window), "stride": (stride, stride), "padding": padding, "ceil_mode": ceil}
    attributes = MaxPool(dilation=(1, 1), **own) if kind == "max" else AveragePool(**own)  # type: ignore[arg-type]
    return Question(operator=f"{kind}_pool2d", attributes=attributes, shapes={"x": (2, 8, 7, 3)})


def plain(operator: str, **shapes: tuple[int, ...]) -> Question:
    return Question(operator=operator, attributes=NoAttributes(), shapes=shapes)


SAME = "same"
QUESTIONS = (
    conv(),
    conv(SAME),
    conv(SAME, stride=2),
    conv(SAME, stride=2, kernel=(4, 3)),
    conv("same_lower", kernel=(2, 4)),
    conv(((1, 1), (1, 1)), groups=2),
    conv(((2, 0), (0, 1)), stride=3),
    *(transposed(p, kernel=k) for p in (SAME, "valid", "same_lower") for k in (1, 2, 3, 4)),
    transposed(((1, 1), (1, 1)), more=1),
    transposed(((0, 0), (0, 0)), more=1, kernel=1),
    transposed(((2, 0), (0, 1)), stride=3, kernel=4),
    *(transposed(p, kernel=k, size=(9, 8)) for p in (SAME, "same_lower") for k in (1, 2, 3, 4)),
    transposed("valid", size=(12, 9)),
    transposed(((1, 1), (0, 2)), size=(10, 7)),
    *(
        pooled(kind, padding, stride=stride, window=window)
        for kind in ("max", "average")
        for padding in (SAME, "valid", ((1, 1), (1, 1)))
        for stride in (1, 2)
        for window in (2, 3)
    ),
    pooled("max", "valid", ceil=True),
    pooled("max", ((1, 0), (0, 1)), stride=1),
    plain("dense", x=(2, 5), w=(5, 4), b=(4,)),
    plain("flatten", x=(2, 3, 4, 1)),
    plain("relu", x=(2, 4, 3)),
    Question(operator="crop", attributes=Crop(cropping=((1, 0), (2, 1))), shapes={"x": (2, 5, 6, 3)}),
)
LOGITS = {"logits": (2, 5), "labels": (2,)}
IMAGE = (2, 6, 5, 3)


def normed(*, bessel: bool) -> Question:
    names = ("mean", "variance", "scale", "offset")
    return Question(
        operator="batch_norm_training",
        attributes=BatchNormTraining(epsilon=1e-3, momentum=0.9, bessel=bessel),
        shapes={"x": IMAGE, **dict.fromkeys(names, IMAGE[-1:])},
    )


def indexed(places: str, padding: Padding = "valid") -> Question:
    attributes = IndexedMaxPool(
        window=(3, 2),
        stride=(2, 1),
        dilation=(1, 1),
        padding=padding,
        indexed=places,  # type: ignore[arg-type]
    )
    return Question(operator="max_pool2d_with_indices", attributes=attributes, shapes={"x": IMAGE})


# What is learned by: losses, batches' own statistics, masks; and indices, which are outputs without a gradient.
LEARNING = (
    *(
        Question(operator="softmax_cross_entropy", attributes=CrossEntropy(**how), shapes=LOGITS)  # type: ignore[arg-type]
        for how in (
            {},
            {"reduction": "none"},
            {"smoothing": 0.125},
            {"ignored": 3},
            {"ignored": 255, "reduction": "sum"},
            {"ignored": 0, "smoothing": 0.25},
        )
    ),
    *(
        Question(operator=operator, attributes=attributes, shapes=dict.fromkeys(names, (2, 4)))
        for operator, names, attributes in (
            ("softmax_cross_entropy_dense", ("logits", "labels"), DenseCrossEntropy(smoothing=0.125)),
            ("softmax_cross_entropy_dense", ("logits", "labels"), DenseCrossEntropy(reduction="sum")),
            ("binary_cross_entropy", ("logits", "labels"), Loss()),
            ("binary_cross_entropy", ("logits", "labels"), Loss(reduction="none")),
            ("kl_divergence", ("x", "targets"), Divergence(reduction="batch_mean")),
            ("mean_squared_error", ("x", "targets"), Loss(reduction="sum")),
            ("dropout", ("x", "mask"), Dropout(keep=0.75)),
        )
    ),
    normed(bessel=True),
    normed(bessel=False),
    indexed("plane"),
    indexed("plane", ((1, 1), (0, 0))),
    indexed("image", "same"),
    indexed("images"),
    Question(operator="drop", attributes=Drop(rate=0.25), shapes={"x": IMAGE}),
    Question(operator="drop", attributes=Drop(rate=0.25, channels=True), shapes={"x": IMAGE}),
)
ASKED = (*QUESTIONS, *LEARNING)
CALLS = [
    pytest.param(name, question, id=f"{name}-{place}-{question.operator}")
    for name, (place, question) in itertools.product(DIALECTS, enumerate(QUESTIONS))
]


def written(name: str, question: Question) -> Written:
    said = DIALECTS[name].write(question)
    assert isinstance(said, Written), said
    return said


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize("question", [question for question in QUESTIONS if question.operator != "relu"])
def test_what_is_written_in_one_layer_reads_as_what_was_asked(name: str, question: Question) -> None:
    said = DIALECTS[name].write(question)
    if isinstance(said, Unwritten):
        assert said.why
        return
    followed = follow(" | ".join(said.lines), question.shapes["x"], name)
    assert not followed.fault
    assert followed.steps[-1].output == question.output
    if len(said.lines) > 1:
        return  # composed: the shape says what can be said, running it (below) the rest
    (read,) = followed.steps[0].questions
    assert (read.operator, read.shapes) == (question.operator, question.shapes)
    again = written(name, read)
    assert again.lines == said.lines
    assert again.weights == said.weights


@pytest.mark.parametrize("name", LAYERED)
@pytest.mark.parametrize(
    "attributes",
    [
        Convolution(stride=(2, 1), dilation=(1, 1), groups=2, padding="valid"),
        Convolution(stride=(1, 1), dilation=(1, 2), groups=1, padding="same"),
        Convolution(stride=(1, 1), dilation=(3, 1), groups=1, padding="valid"),
    ],
)
def test_attributes_come_back_as_they_went(name: str, attributes: Convolution) -> None:
    question = Question(
        operator="conv2d",
        attributes=attributes,
        shapes={"x": (2, 11, 9, 4), "w": (3, 2, 4 // attributes.groups, 6)},
    )
    (line,) = written(name, question).lines
    (read,) = follow(line, question.shapes["x"], name).steps[0].questions
    pads = {"valid": ("valid", ((0, 0), (0, 0))), "same": ("same",)}[str(attributes.padding)]
    assert read.attributes.padding in pads
    assert (read.attributes.stride, read.attributes.dilation) == (attributes.stride, attributes.dilation)
    assert read.attributes.groups == attributes.groups
    assert read.shapes == question.shapes


def test_every_layer_of_a_table_has_what_reads_it() -> None:
    from conformance.dialects import keras_layers, torch_layers

    for module in (keras_layers, torch_layers):
        assert set(module.GRAMMAR.layers) == set(module._READERS)


def test_what_dialects_write_are_operators_of_the_house() -> None:
    from conformance.dialects import jax, keras, tensorflow, torch
    from conformance.dialects.model import BESIDE

    for module in (jax, keras, tensorflow, torch):
        assert set(module._WRITERS) <= {*OPERATORS, *BESIDE}


@pytest.mark.parametrize(
    ("name", "question", "lines"),
    [
        (
            "torch",
            conv(SAME, stride=2, kernel=(4, 3)),
            ("nn.ZeroPad2d((0, 1, 1, 2))", "nn.Conv2d(4, 6, (4, 3), stride=2)"),
        ),
        ("torch", transposed(SAME), ("nn.ConvTranspose2d(3, 2, 3, stride=2)", "nn.ZeroPad2d((0, -1, 0, -1))")),
        (
            "torch",
            transposed("same_lower"),
            ("nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1, output_padding=1)",),
        ),
        (
            "keras",
            transposed(((1, 1), (1, 1)), more=1),
            ("layers.Conv2DTranspose(2, 3, strides=2)", "layers.Cropping2D(((1, 0), (1, 0)))"),
        ),
        ("torch", transposed(SAME, size=(9, 7)), ("nn.ConvTranspose2d(3, 2, 3, stride=2, padding=1)",)),
        ("keras", transposed(SAME), ('layers.Conv2DTranspose(2, 3, strides=2, padding="same")',)),
        ("tf", pooled("max", SAME), ('y = tf.nn.max_pool2d(x, 3, 2, "SAME")',)),
    ],
)
def test_known_recipes(name: str, question: Question, lines: tuple[str, ...]) -> None:
    assert written(name, question).lines == lines


def test_what_has_no_call_says_why() -> None:
    grouped = Question(
        operator="conv2d_transpose",
        attributes=TransposedConvolution(stride=(1, 1), dilation=(1, 1), groups=2, output_padding=(0, 0)),
        shapes={"x": (2, 5, 5, 4), "w": (3, 3, 2, 4)},
    )
    assert DIALECTS["keras"].write(grouped) == Unwritten(why="Keras's transposed convolutions have no groups")
    flat = DIALECTS["torch"].write(plain("flatten", x=(2, 3, 4, 5)))
    assert isinstance(flat, Unwritten)
    assert "permute" in flat.why


@pytest.mark.parametrize(
    ("text", "column", "told"),
    [
        ("nn.Conv2D(3, 16, 5)", 1, "Did you mean 'Conv2d'?"),
        ("nn.Conv2d(3, 16, 5, strid=2)", 21, "Did you mean 'stride'?"),
        ("nn.Conv2d(3, 16)", 1, "needs kernel_size"),
        ("nn.ReLU() | nn.Conv2d(3, n, 5)", 26, "'n': nothing is evaluated"),
        ("nn.Conv2d(3, 16, 5, kernel_size=3)", 21, "given twice"),
        ("nn.Conv2d(*sizes)", 11, "got a * of many"),
        ("nn.Flatten(1, -1, 3)", 19, "at most 2 arguments"),
        ("__import__('os').system('true')", 1, "expected a layer"),
        ("(lambda: 0)()", 1, "expected a layer"),
        ("nn.Conv2d(3, 16", 10, "expected layers as Python writes them"),
        ("", 1, "expected"),
        ("nn.Conv2d(3, __import__('os').getpid(), 5)", 14, "nothing is evaluated"),
        ("optim.Conv2d(3, 4, 5)", 1, "starts with nn."),
    ],
)
def test_what_cannot_be_read_says_where_and_the_remedy(text: str, column: int, told: str) -> None:
    with pytest.raises(UnreadableLayer) as caught:
        calls_of(text, "torch")
    assert told in str(caught.value)
    assert caught.value.column == column


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("Conv2D(4, 3, padding='smae')", "got 'smae'. Did you mean 'same'?"),
        ("Conv2D(4, 0)", "kernel_size must be an integer of at least 1"),
        ("Conv2D(4, (3, 3, 3))", "or 2 of them"),
        ("Conv2D(4, 3, strides=2, dilation_rate=2)", "refuses strides together with dilations"),
        ("Conv2D(4, 3, data_format='channels_first')", "'channels_last' alone"),
        ("Cropping2D((1, 2, 3))", "2 pairs"),
    ],
)
def test_an_argument_of_another_kind_says_what_is_expected(text: str, told: str) -> None:
    with pytest.raises(UnreadableLayer) as caught:
        follow(text, (2, 9, 9, 3))
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("text", "dialect"),
    [
        ("Conv2D(4, 3)", "keras"),
        ("Conv2d(3, 4, 3)", "torch"),
        ("Flatten() | Conv2d(3, 4, 3)", "torch"),
        ("nn.Flatten()", "torch"),
        ("tf.keras.layers.Flatten()", "keras"),
        ("Flatten()", "keras"),
        ("nn.Sequential(nn.ReLU(), nn.Flatten())", "torch"),
    ],
)
def test_names_tell_whose_layers_they_are(text: str, dialect: str) -> None:
    assert calls_of(text)[0] == dialect


def test_a_chain_is_followed_shape_by_shape() -> None:
    followed = follow("Conv2D(1, 4, strides=2, padding='same') | MaxPool2D(2, strides=1) | Flatten()", (2, 20, 10, 1))
    assert [step.output for step in followed.steps] == [(2, 10, 5, 1), (2, 9, 4, 1), (2, 36)]
    assert not followed.fault


@pytest.mark.parametrize(
    ("text", "steps", "told"),
    [
        ("nn.Conv2d(1, 6, 5) | nn.MaxPool2d(2) | nn.Linear(6, 10)", 2, "nn.Linear(144, 10)"),
        ("nn.Flatten() | nn.Linear(400, 10)", 1, "write nn.Linear(200, 10)"),
        ("nn.Conv2d(3, 6, 5)", 0, "write in_channels=1"),
        ("Conv2D(6, 5) | Conv2D(6, 25)", 1, "make the kernel smaller"),
        ("Flatten() | Conv2D(6, 25)", 1, "2 spatial axes"),
    ],
)
def test_where_a_chain_breaks_it_says_why_and_the_remedy(text: str, steps: int, told: str) -> None:
    followed = follow(text, (2, 20, 10, 1))
    assert len(followed.steps) == steps
    assert told in followed.fault


def test_a_separable_convolution_is_two() -> None:
    (step,) = follow("SeparableConv2D(8, 3, depth_multiplier=2, activation='relu')", (2, 9, 9, 3)).steps
    assert [question.operator for question in step.questions] == ["conv2d", "conv2d", "relu"]
    spread, mixed, _ = step.questions
    assert (spread.attributes.groups, spread.shapes["w"]) == (3, (3, 3, 1, 6))
    assert mixed.shapes["w"] == (1, 1, 6, 8)


def test_moves_and_their_text_do_the_same() -> None:
    moves = (Reshape((3, 2, 1, 8), (3, 2, 4, 2)), Transpose((3, 0, 1, 2)), Transpose((1, 0, 2, 3)))
    array = np.arange(48).reshape(3, 2, 1, 8)
    there = eval(moved("array", moves), {"array": array})
    assert there.shape == after(array.shape, moves)
    home = eval(moved("there", back(moves)), {"there": there})
    assert np.array_equal(home, array)
    assert joined(moves, back(moves)) == ()


@pytest.fixture(scope="module")
def rehearsals() -> dict[str, tuple[Rehearsed, ...]]:
    """All questions that a dialect writes, run in two processes of every framework that is installed."""
    found = {}
    for name, dialect in DIALECTS.items():
        parts = [
            [(said, q) for q in asked if isinstance(said := dialect.write(q), Written)]
            for asked in (QUESTIONS, LEARNING)
        ]
        found[name] = tuple(one for calls in parts for one in rehearse(dialect, calls))
    return found


@pytest.mark.parametrize("name", DIALECTS)
def test_calls_hold_where_their_framework_is_installed(
    name: str, rehearsals: dict[str, tuple[Rehearsed, ...]]
) -> None:
    """Elsewhere each says that it was not checked, and never that it holds."""
    dialect = DIALECTS[name]
    assert len(rehearsals[name]) >= 45
    absent = next((module for module in dialect.modules if find_spec(module) is None), "")
    assert missing_module(dialect) == absent
    for question, rehearsed in zip(
        [q for q in ASKED if isinstance(dialect.write(q), Written)], rehearsals[name], strict=True
    ):
        if absent:
            assert str(rehearsed) == f"not checked: {absent} is not installed"
            assert not rehearsed.holds
        else:
            assert rehearsed.holds, (question, dialect.write(question), str(rehearsed))
            checks = {comparison.check for comparison in rehearsed.comparisons}
            assert checks == {"outputs", "gradients"}
            outputs = {comparison.name for comparison in rehearsed.comparisons if comparison.check == "outputs"}
            assert outputs == set(question.contract.outputs)


@pytest.mark.parametrize(
    ("text", "operator", "attributes"),
    [
        ("nn.CrossEntropyLoss()", "softmax_cross_entropy", CrossEntropy()),
        (
            'nn.CrossEntropyLoss(ignore_index=255, label_smoothing=0.1, reduction="sum")',
            "softmax_cross_entropy",
            CrossEntropy(ignored=255, smoothing=0.1, reduction="sum"),
        ),
        ('nn.BCEWithLogitsLoss(reduction="none")', "binary_cross_entropy", Loss(reduction="none")),
        ('nn.KLDivLoss(reduction="batchmean")', "kl_divergence", Divergence(reduction="batch_mean")),
        ("nn.MSELoss()", "mean_squared_error", Loss()),
        (
            "losses.SparseCategoricalCrossentropy(True, ignore_class=0)",
            "softmax_cross_entropy",
            CrossEntropy(ignored=0),
        ),
        (
            'keras.losses.CategoricalCrossentropy(from_logits=True, label_smoothing=0.1, reduction="none")',
            "softmax_cross_entropy_dense",
            DenseCrossEntropy(smoothing=0.1, reduction="none"),
        ),
        ("losses.BinaryCrossentropy(from_logits=True)", "binary_cross_entropy", Loss()),
        ("losses.MeanSquaredError()", "mean_squared_error", Loss()),
        ("nn.Dropout(0.3)", "drop", Drop(rate=0.3)),
        ("layers.Dropout(0.3)", "drop", Drop(rate=0.3)),
    ],
)
def test_losses_and_dropouts_are_read(text: str, operator: str, attributes: object) -> None:
    dialect, (call,) = calls_of(text)
    (question,) = READERS[dialect].read(call, (2, 5)).questions
    assert (question.operator, question.attributes) == (operator, attributes)
    assert question.first == (2, 5)


@pytest.mark.parametrize("text", ["nn.Dropout2d(0.3)", "layers.SpatialDropout2D(0.3)"])
def test_whole_channels_are_dropped_of_images_alone(text: str) -> None:
    dialect, (call,) = calls_of(text)
    (question,) = READERS[dialect].read(call, (2, 5, 4, 3)).questions
    assert question.attributes == Drop(rate=0.3, channels=True)
    assert written(dialect, question).lines == (text,)
    with pytest.raises(ImpossibleShape, match="2 spatial axes"):
        READERS[dialect].read(call, (2, 5))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("losses.CategoricalCrossentropy()", "from_logits=True alone"),
        ("nn.CrossEntropyLoss(weight=2)", "weight is read as None or an array's name, got 2"),
        ('losses.BinaryCrossentropy(True, reduction="none")', "reduction is read as 'sum_over_batch_size' alone"),
        ('nn.CrossEntropyLoss(reduction="men")', "Did you mean 'mean'"),
        ("nn.CrossEntropyLoss(ignore_index=None)", "ignore_index must be an integer, got None"),
    ],
)
def test_a_loss_that_is_not_read_says_why(text: str, told: str) -> None:
    dialect, (call,) = calls_of(text)
    with pytest.raises(UnreadableLayer, match=told):
        READERS[dialect].read(call, (2, 5))


def test_readers_refuse_shapes_that_have_no_answer() -> None:
    _, (call,) = calls_of("nn.MaxPool2d(2, padding=2)")
    with pytest.raises(ImpossibleShape, match="at most half"):
        READERS["torch"].read(call, (2, 9, 9, 3))
