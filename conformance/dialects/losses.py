"""Losses: as `torch.nn` and `keras.losses` have them, and as recipes out of `tf.nn` and `jax.nn`.

All are statements, from the logits or `x`, the labels or targets, and weights where they are given, to `y`.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from conformance.dialects.model import Question, Unwritten, Writer, Written
from conformance.dialects.source import Name, called, rest
from conformance.dialects.statements import stated

# What torch ignores by default; no label is negative.
_TORCH_IGNORES: Final = -100
# Keras's mean divides by the number of elements, or of rows that count.
_KERAS: Final = {"mean": "sum_over_batch_size", "sum": "sum", "none": "none"}


def _torch_weights(question: Question) -> dict[str, tuple[object, object]]:
    """The arrays that a loss is made with; those of classes lie along the channels of images."""
    given: dict[str, tuple[object, object]] = {}
    if "weights" in question.shapes:
        given["weight"] = (Name("weights"), None)
    if "positive_weights" in question.shapes:
        behind = len(question.first) - 2
        along = f"[{', '.join([':', *['None'] * behind])}]" if behind > 0 else ""
        given["pos_weight"] = (Name(f"positive_weights{along}"), None)
    return given


def _torch(name: str, *operands: str) -> Writer:
    def write(question: Question) -> Written | Unwritten:
        a = question.attributes
        ignored = getattr(a, "ignored", None)
        layer = called(
            f"nn.{name}",
            ignore_index=(_TORCH_IGNORES if ignored is None else ignored, _TORCH_IGNORES),
            reduction=(a.reduction.replace("_", ""), "mean"),
            label_smoothing=(getattr(a, "smoothing", 0.0), 0.0),
            **_torch_weights(question),
        )
        return stated(question, f"y = {layer}({', '.join(operands)})")

    return write


def _keras(
    name: str,
    question: Question,
    truth: str,
    prediction: str,
    weights: str = "",
    /,
    **settings: tuple[object, object],
) -> str:
    reduction = (_KERAS[question.attributes.reduction], "sum_over_batch_size")
    more = f", sample_weight={weights}" if weights else ""
    return f"y = {called(f'losses.{name}', **settings, reduction=reduction)}({truth}, {prediction}{more})"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Words:
    """What a recipe calls a framework's functions."""

    where: str
    one_hot: str
    log_softmax: str
    take: str
    softplus: str
    sum: str
    mean: str
    lacking: str


_KERAS_WORDS: Final = _Words(
    where="ops.where",
    one_hot="ops.one_hot",
    log_softmax="ops.log_softmax",
    take="ops.take",
    softplus="ops.softplus",
    sum="ops.sum",
    mean="ops.mean",
    lacking="Keras's losses weigh rows or elements, neither classes nor positive labels",
)
_TF_WORDS: Final = _Words(
    where="tf.where",
    one_hot="tf.one_hot",
    log_softmax="tf.nn.log_softmax",
    take="tf.gather",
    softplus="tf.math.softplus",
    sum="tf.reduce_sum",
    mean="tf.reduce_mean",
    lacking="TensorFlow's losses weigh no classes",
)
_JAX_WORDS: Final = _Words(
    where="jnp.where",
    one_hot="jax.nn.one_hot",
    log_softmax="jax.nn.log_softmax",
    take="jnp.take",
    softplus="jax.nn.softplus",
    sum="jnp.sum",
    mean="jnp.mean",
    lacking="JAX has no losses",
)


def _of_classes(question: Question, words: _Words) -> Written:
    """The recipe of losses whose classes have weights; the mean divides by the labels' own."""
    a = question.attributes
    classes = question.first[1]
    smoothed = f" * {rest(a.smoothing)} + {a.smoothing / classes!r}" if a.smoothing else ""
    told = f"{words.log_softmax}(logits)"
    if question.operator == "softmax_cross_entropy_dense":
        shown = f"(labels{smoothed})" if smoothed else "labels"
        line = f"y = -{words.sum}({shown} * weights * {told}, axis=1)"
        return stated(question, line, *_reduced(question, words.sum, words.mean), remark=words.lacking)
    shown = f"{words.one_hot}(labels, {classes})"
    lines = [f"y = -{words.sum}({f'({shown}{smoothed})' if smoothed else shown} * weights * {told}, axis=1)"]
    share = f"{words.take}(weights, labels)"
    if a.ignored is not None:
        lines = [
            f"counts = labels != {a.ignored}",
            f"labels = {words.where}(counts, labels, 0)",
            *lines,
            f"y = {words.where}(counts, y, 0.0)",
        ]
        share = f"{words.where}(counts, {share}, 0.0)"
    if a.reduction == "mean":
        lines.append(f"y = {words.sum}(y) / {words.sum}({share})")
    elif a.reduction == "sum":
        lines.append(f"y = {words.sum}(y)")
    return stated(question, *lines, remark=words.lacking)


def _of_positives(question: Question, words: _Words) -> Written:
    """The recipe of losses whose positive labels have weights."""
    weights = " * weights" if "weights" in question.shapes else ""
    positive = f"labels * positive_weights * {words.softplus}(-logits)"
    line = f"y = ({positive} + (1.0 - labels) * {words.softplus}(logits)){weights}"
    if not weights:
        line = f"y = {positive} + (1.0 - labels) * {words.softplus}(logits)"
    return stated(question, line, *_reduced(question, words.sum, words.mean), remark=words.lacking)


def _keras_cross_entropy(question: Question) -> Written | Unwritten:
    a = question.attributes
    logits = (True, False)
    if "weights" in question.shapes:
        return _of_classes(question, _KERAS_WORDS)
    if not a.smoothing:
        kind = "SparseCategoricalCrossentropy"
        line = _keras(kind, question, "labels", "logits", from_logits=logits, ignore_class=(a.ignored, None))
        return stated(question, line)
    if a.ignored is not None:
        return Unwritten(why="Keras smooths labels that are one-hot, and ignores none of those")
    shown = "ops.one_hot(labels, logits.shape[-1])"
    smoothing = (a.smoothing, 0.0)
    line = _keras("CategoricalCrossentropy", question, shown, "logits", from_logits=logits, label_smoothing=smoothing)
    return stated(question, line, remark="Keras smooths labels that are one-hot")


def _keras_dense_cross_entropy(question: Question) -> Written | Unwritten:
    if "weights" in question.shapes:
        return _of_classes(question, _KERAS_WORDS)
    smoothing = (question.attributes.smoothing, 0.0)
    line = _keras(
        "CategoricalCrossentropy",
        question,
        "labels",
        "logits",
        from_logits=(True, False),
        label_smoothing=smoothing,
    )
    return stated(question, line)


def _keras_by_element(name: str, truth: str, prediction: str, **settings: tuple[object, object]) -> Writer:
    """A loss that averages over the last axis first, which is one of size 1 where no mean is asked."""

    def write(question: Question) -> Written | Unwritten:
        if "positive_weights" in question.shapes:
            return _of_positives(question, _KERAS_WORDS)
        weights = "weights" if "weights" in question.shapes else ""
        if question.attributes.reduction == "mean" and not weights:
            return stated(question, _keras(name, question, truth, prediction, **settings))
        apart = "ops.expand_dims({}, -1)".format
        line = _keras(name, question, apart(truth), apart(prediction), weights, **settings)
        return stated(question, line, remark="Keras averages over the last axis, which is one more here")

    return write


def _no_divergence(question: Question) -> Unwritten:
    return Unwritten(why="losses.KLDivergence takes probabilities, cut off at 1e-7, and not their logarithms")


def _reduced(question: Question, total: str, mean: str) -> list[str]:
    """Statements that reduce `y`, the losses one by one."""
    reduction = question.attributes.reduction
    if reduction == "none":
        return []
    if reduction == "batch_mean":
        return [f"y = {total}(y) / {next(iter(question.shapes))}.shape[0]"]
    return [f"y = {total if reduction == 'sum' else mean}(y)"]


def _tf(question: Question, *lines: str, remark: str = "") -> Written | Unwritten:
    return stated(question, *lines, *_reduced(question, "tf.reduce_sum", "tf.reduce_mean"), remark=remark)


def _tf_cross_entropy(question: Question) -> Written | Unwritten:
    a = question.attributes
    if "weights" in question.shapes:
        return _of_classes(question, _TF_WORDS)
    if a.ignored is not None and a.smoothing:
        return Unwritten(why="Keras smooths labels that are one-hot, and ignores none of those; tf.nn does neither")
    if a.ignored is not None:
        reduction = ("mean_with_sample_weight" if a.reduction == "mean" else a.reduction, "sum_over_batch_size")
        loss = called(
            "tf.keras.losses.SparseCategoricalCrossentropy",
            from_logits=(True, False),
            ignore_class=(a.ignored, None),
            reduction=reduction,
        )
        return stated(question, f"y = {loss}(labels, logits)", remark="tf.nn ignores no class, Keras does")
    if a.smoothing:
        shown = "tf.one_hot(labels, logits.shape[-1])"
        return _tf(question, _tf_smoothed(shown, a.smoothing), remark="tf.nn smooths no labels, Keras does")
    return _tf(question, "y = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)")


def _tf_smoothed(shown: str, smoothing: float) -> str:
    return (
        f"y = tf.keras.losses.categorical_crossentropy("
        f"{shown}, logits, from_logits=True, label_smoothing={smoothing!r})"
    )


def _tf_binary(question: Question) -> Written | Unwritten:
    weighted = ["y = y * weights"] if "weights" in question.shapes else []
    if "positive_weights" in question.shapes:
        return _tf(
            question, "y = tf.nn.weighted_cross_entropy_with_logits(labels, logits, positive_weights)", *weighted
        )
    return _tf(question, "y = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)", *weighted)


def _tf_dense_cross_entropy(question: Question) -> Written | Unwritten:
    if "weights" in question.shapes:
        return _of_classes(question, _TF_WORDS)
    smoothing = question.attributes.smoothing
    if smoothing:
        return _tf(question, _tf_smoothed("labels", smoothing), remark="tf.nn smooths no labels, Keras does")
    return _tf(question, "y = tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)")


def _jax(question: Question, *lines: str, remark: str) -> Written | Unwritten:
    return stated(question, *lines, *_reduced(question, "jnp.sum", "jnp.mean"), remark=remark)


_JAX_LACKS: Final = "JAX has no losses"


def _jax_cross_entropy(question: Question) -> Written | Unwritten:
    a = question.attributes
    if "weights" in question.shapes:
        return _of_classes(question, _JAX_WORDS)
    lines = []
    if a.ignored is not None:
        lines = [f"counts = labels != {a.ignored}", "labels = jnp.where(counts, labels, 0)"]
    if a.smoothing:
        lines += [_jax_smoothed("jax.nn.one_hot(labels, logits.shape[-1])", a.smoothing), _JAX_DENSE]
    else:
        lines.append("y = -jnp.take_along_axis(jax.nn.log_softmax(logits), labels[:, None], axis=1)[:, 0]")
    if a.ignored is None:
        return _jax(question, *lines, remark=_JAX_LACKS)
    lines.append("y = jnp.where(counts, y, 0.0)")
    if a.reduction == "mean":
        return stated(question, *lines, "y = jnp.sum(y) / jnp.sum(counts)", remark=_JAX_LACKS)
    return _jax(question, *lines, remark=_JAX_LACKS)


_JAX_DENSE: Final = "y = -jnp.sum(labels * jax.nn.log_softmax(logits), axis=1)"


def _jax_smoothed(shown: str, smoothing: float) -> str:
    return f"labels = {shown} * {rest(smoothing)} + {smoothing!r} / logits.shape[-1]"


def _jax_binary(question: Question) -> Written | Unwritten:
    if "positive_weights" in question.shapes:
        return _of_positives(question, _JAX_WORDS)
    line = "y = -(labels * jax.nn.log_sigmoid(logits) + (1.0 - labels) * jax.nn.log_sigmoid(-logits))"
    weighted = ["y = y * weights"] if "weights" in question.shapes else []
    return _jax(question, line, *weighted, remark=_JAX_LACKS)


def _jax_dense_cross_entropy(question: Question) -> Written | Unwritten:
    if "weights" in question.shapes:
        return _of_classes(question, _JAX_WORDS)
    smoothing = question.attributes.smoothing
    lines = [_jax_smoothed("labels", smoothing)] if smoothing else []
    return _jax(question, *lines, _JAX_DENSE, remark=_JAX_LACKS)


def _recipe(reduced: Callable[..., Written | Unwritten], line: str, remark: str) -> Writer:
    return lambda question: reduced(question, line, remark=remark)


TORCH: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "softmax_cross_entropy": _torch("CrossEntropyLoss", "logits", "labels"),
        "softmax_cross_entropy_dense": _torch("CrossEntropyLoss", "logits", "labels"),
        "binary_cross_entropy": _torch("BCEWithLogitsLoss", "logits", "labels"),
        "kl_divergence": _torch("KLDivLoss", "x", "targets"),
        "mean_squared_error": _torch("MSELoss", "x", "targets"),
    }
)
KERAS: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "softmax_cross_entropy": _keras_cross_entropy,
        "softmax_cross_entropy_dense": _keras_dense_cross_entropy,
        "binary_cross_entropy": _keras_by_element(
            "BinaryCrossentropy", "labels", "logits", from_logits=(True, False)
        ),
        "kl_divergence": _no_divergence,
        "mean_squared_error": _keras_by_element("MeanSquaredError", "targets", "x"),
    }
)
TENSORFLOW: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "softmax_cross_entropy": _tf_cross_entropy,
        "softmax_cross_entropy_dense": _tf_dense_cross_entropy,
        "binary_cross_entropy": _tf_binary,
        "kl_divergence": _recipe(
            _tf, "y = tf.math.xlogy(targets, targets) - targets * x", "tf.nn has no divergence of logarithms"
        ),
        "mean_squared_error": _recipe(_tf, "y = tf.math.squared_difference(x, targets)", ""),
    }
)
JAX: Final[Mapping[str, Writer]] = MappingProxyType(
    {
        "softmax_cross_entropy": _jax_cross_entropy,
        "softmax_cross_entropy_dense": _jax_dense_cross_entropy,
        "binary_cross_entropy": _jax_binary,
        "kl_divergence": _recipe(_jax, "y = jax.scipy.special.xlogy(targets, targets) - targets * x", _JAX_LACKS),
        "mean_squared_error": _recipe(_jax, "y = jnp.square(x - targets)", _JAX_LACKS),
    }
)
