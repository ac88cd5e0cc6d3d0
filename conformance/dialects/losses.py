"""Losses: as `torch.nn` and `keras.losses` have them, and as recipes out of `tf.nn` and `jax.nn`.

All are statements, from the logits or `x`, and the labels or targets, to `y`. None has weights: they are arrays.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Final

from conformance.dialects.model import Question, Unwritten, Weight, Written
from conformance.dialects.source import called, rest

Writer = Callable[[Question], Written | Unwritten]

# What torch ignores by default; no label is negative.
_TORCH_IGNORES: Final = -100
# Keras's mean divides by the number of elements, or of rows that count.
_KERAS: Final = {"mean": "sum_over_batch_size", "sum": "sum", "none": "none"}


def _stated(question: Question, *lines: str, remark: str = "") -> Written | Unwritten:
    optional = [operand.name for operand in question.contract.operands if operand.optional]
    if weights := [name for name in optional if name in question.shapes]:
        return Unwritten(why=f"losses are written without {' and '.join(weights)}")
    weights = list(question.shapes)[1:]
    return Written(
        lines=lines,
        weights=tuple(Weight(operand=name, name=name) for name in weights),
        remark=remark,
        statements=True,
    )


def _torch(name: str, *operands: str) -> Writer:
    def write(question: Question) -> Written | Unwritten:
        a = question.attributes
        ignored = getattr(a, "ignored", None)
        layer = called(
            f"nn.{name}",
            ignore_index=(_TORCH_IGNORES if ignored is None else ignored, _TORCH_IGNORES),
            reduction=(a.reduction.replace("_", ""), "mean"),
            label_smoothing=(getattr(a, "smoothing", 0.0), 0.0),
        )
        return _stated(question, f"y = {layer}({', '.join(operands)})")

    return write


def _keras(name: str, question: Question, truth: str, prediction: str, **settings: tuple[object, object]) -> str:
    reduction = (_KERAS[question.attributes.reduction], "sum_over_batch_size")
    return f"y = {called(f'losses.{name}', **settings, reduction=reduction)}({truth}, {prediction})"


def _keras_cross_entropy(question: Question) -> Written | Unwritten:
    a = question.attributes
    logits = (True, False)
    if not a.smoothing:
        kind = "SparseCategoricalCrossentropy"
        line = _keras(kind, question, "labels", "logits", from_logits=logits, ignore_class=(a.ignored, None))
        return _stated(question, line)
    if a.ignored is not None:
        return Unwritten(why="Keras smooths labels that are one-hot, and ignores none of those")
    shown = "ops.one_hot(labels, logits.shape[-1])"
    smoothing = (a.smoothing, 0.0)
    line = _keras("CategoricalCrossentropy", question, shown, "logits", from_logits=logits, label_smoothing=smoothing)
    return _stated(question, line, remark="Keras smooths labels that are one-hot")


def _keras_dense_cross_entropy(question: Question) -> Written | Unwritten:
    smoothing = (question.attributes.smoothing, 0.0)
    line = _keras(
        "CategoricalCrossentropy",
        question,
        "labels",
        "logits",
        from_logits=(True, False),
        label_smoothing=smoothing,
    )
    return _stated(question, line)


def _keras_by_element(name: str, truth: str, prediction: str, **settings: tuple[object, object]) -> Writer:
    """A loss that averages over the last axis first, which is one of size 1 where no mean is asked."""

    def write(question: Question) -> Written | Unwritten:
        if question.attributes.reduction == "mean":
            return _stated(question, _keras(name, question, truth, prediction, **settings))
        apart = "ops.expand_dims({}, -1)".format
        line = _keras(name, question, apart(truth), apart(prediction), **settings)
        return _stated(question, line, remark="Keras averages over the last axis, which is one more here")

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
    return _stated(question, *lines, *_reduced(question, "tf.reduce_sum", "tf.reduce_mean"), remark=remark)


def _tf_cross_entropy(question: Question) -> Written | Unwritten:
    a = question.attributes
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
        return _stated(question, f"y = {loss}(labels, logits)", remark="tf.nn ignores no class, Keras does")
    if a.smoothing:
        shown = "tf.one_hot(labels, logits.shape[-1])"
        return _tf(question, _tf_smoothed(shown, a.smoothing), remark="tf.nn smooths no labels, Keras does")
    return _tf(question, "y = tf.nn.sparse_softmax_cross_entropy_with_logits(labels=labels, logits=logits)")


def _tf_smoothed(shown: str, smoothing: float) -> str:
    return (
        f"y = tf.keras.losses.categorical_crossentropy("
        f"{shown}, logits, from_logits=True, label_smoothing={smoothing!r})"
    )


def _tf_dense_cross_entropy(question: Question) -> Written | Unwritten:
    smoothing = question.attributes.smoothing
    if smoothing:
        return _tf(question, _tf_smoothed("labels", smoothing), remark="tf.nn smooths no labels, Keras does")
    return _tf(question, "y = tf.nn.softmax_cross_entropy_with_logits(labels=labels, logits=logits)")


def _jax(question: Question, *lines: str, remark: str) -> Written | Unwritten:
    return _stated(question, *lines, *_reduced(question, "jnp.sum", "jnp.mean"), remark=remark)


_JAX_LACKS: Final = "JAX has no losses"


def _jax_cross_entropy(question: Question) -> Written | Unwritten:
    a = question.attributes
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
        return _stated(question, *lines, "y = jnp.sum(y) / jnp.sum(counts)", remark=_JAX_LACKS)
    return _jax(question, *lines, remark=_JAX_LACKS)


_JAX_DENSE: Final = "y = -jnp.sum(labels * jax.nn.log_softmax(logits), axis=1)"


def _jax_smoothed(shown: str, smoothing: float) -> str:
    return f"labels = {shown} * {rest(smoothing)} + {smoothing!r} / logits.shape[-1]"


def _jax_dense_cross_entropy(question: Question) -> Written | Unwritten:
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
        "binary_cross_entropy": _recipe(
            _tf, "y = tf.nn.sigmoid_cross_entropy_with_logits(labels=labels, logits=logits)", ""
        ),
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
        "binary_cross_entropy": _recipe(
            _jax,
            "y = -(labels * jax.nn.log_sigmoid(logits) + (1.0 - labels) * jax.nn.log_sigmoid(-logits))",
            _JAX_LACKS,
        ),
        "kl_divergence": _recipe(_jax, "y = jax.scipy.special.xlogy(targets, targets) - targets * x", _JAX_LACKS),
        "mean_squared_error": _recipe(_jax, "y = jnp.square(x - targets)", _JAX_LACKS),
    }
)
