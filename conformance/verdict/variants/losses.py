"""Other readings of losses and their options."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import Any, Final

import numpy as np

from conformance.case.job import Job
from conformance.formats import Float64
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    Array,
    Reading,
    Variant,
    bounded,
    each_gradient,
    each_output,
    numbers,
    replaced,
    reread,
    scaled,
    stored,
    with_operand,
)

SPARSE: Final = "softmax_cross_entropy"
DENSE: Final = "softmax_cross_entropy_dense"
BINARY: Final = "binary_cross_entropy"
SQUARED: Final = "mean_squared_error"
DIVERGENCE: Final = "kl_divergence"
ENTROPIES: Final = (SPARSE, DENSE)
# Roundings of a chain of exponential, sum, quotient and logarithm, as the reference counts them for its longest.
_CHAIN: Final = 64
# Keras keeps probabilities so far from 0 and 1 before it takes their logarithm.
_CLIP: Final = 1e-7


def _without(job: Job, name: str) -> Reading | None:
    """An operand that is not passed on."""
    if name not in job.operands:
        return None
    return Reading(job=replace(job, operands={key: value for key, value in job.operands.items() if key != name}))


def _times(job: Job, factor: float) -> Reading | None:
    """Outputs and gradients multiplied."""
    if factor == 1 or not np.isfinite(factor):
        return None

    def change(found: Expectations) -> Expectations:
        return each_gradient(each_output(found, lambda e: scaled(e, factor, job)), lambda e: scaled(e, factor, job))

    return Reading(job=job, change=change, rounds=True)


def _reduction(job: Job, given: str, other: str) -> Reading | None:
    first = next(iter(job.operands.values()))
    rows = first.data.size if job.operator in (BINARY, SQUARED, DIVERGENCE) else first.shape[0]
    return reread(job, reduction=other) if job.attributes.reduction == given and rows > 1 else None


def _entropy_left_out(job: Job) -> Reading:
    shares = numbers(job.operands["targets"])
    own = np.where(shares == 0, 0.0, shares * np.log(np.where(shares == 0, 1.0, shares)))
    divisor = {"mean": own.size, "batch_mean": own.shape[0]}.get(job.attributes.reduction, 1)
    left_out = own if job.attributes.reduction == "none" else own.sum() / max(divisor, 1)

    def change(found: Expectations) -> Expectations:
        def cross(e: Expectation) -> Expectation:
            return Expectation(value=e.value - left_out, size=e.bound, scale=e.scale)

        return each_output(found, cross)

    return Reading(job=job, change=change)


def _labels_kept(job: Job, name: str) -> Reading | None:
    """The other side of a loss is a constant."""
    if not job.cotangents:
        return None
    none = np.zeros(job.operands[name].shape)
    zero = Expectation(value=none, size=none, scale=none)
    return Reading(job=job, change=lambda found: replaced(found, {}, {name: zero}))


# Of rows ------------------------------------------------------------------------------------------------------------


def _counted(job: Job) -> Array:
    """Which rows count."""
    labels: Any = job.operands["labels"].data
    ignored = getattr(job.attributes, "ignored", None)
    return labels != ignored if ignored is not None else np.ones(len(labels), np.bool_)


def _shown(job: Job) -> Float64:
    """What the labels say, as probabilities."""
    if job.operator == DENSE:
        return numbers(job.operands["labels"])
    labels: Any = job.operands["labels"].data
    return np.asarray(np.arange(job.operands["logits"].shape[1]) == labels[:, None], np.float64)


def _weights(job: Job) -> Float64:
    if "weights" in job.operands:
        return numbers(job.operands["weights"])
    return np.ones(job.operands["logits"].shape[1])


def _divisor(job: Job) -> float:
    """What the mean divides by."""
    if job.operator == DENSE:
        return float(job.operands["logits"].shape[0])
    return float((_shown(job) @ _weights(job))[_counted(job)].sum())


def _averaged_over(job: Job, divisor: Callable[[Job], float]) -> Reading | None:
    other = divisor(job)
    if job.attributes.reduction != "mean" or not other:
        return None
    return _times(job, _divisor(job) / other)


def _all_weights(job: Job) -> float:
    return float(_weights(job).sum())


def _batch(job: Job) -> float:
    return float(job.operands["logits"].shape[0])


def _rows_that_count(job: Job) -> float:
    return float(_counted(job).sum())


def _spread_over_others(job: Job) -> Reading | None:
    classes = job.operands["logits"].shape[1]
    smoothing = job.attributes.smoothing
    if not smoothing or classes == 1 or smoothing * classes > classes - 1:
        return None
    # 1 - s stays with the label where it keeps 1 - s' + s' / C.
    return reread(job, smoothing=smoothing * classes / (classes - 1))


Targets = Callable[[Float64, Float64, float], Float64]


def _targets(job: Job, targets: Targets) -> Reading | None:
    """Other targets out of labels, weights and smoothing; what the mean divides by stays."""
    a = job.attributes
    logits, counts = numbers(job.operands["logits"]), _counted(job)
    asked = np.where(counts[:, None], targets(_shown(job), _weights(job), a.smoothing), 0.0)
    share = 1 / _divisor(job) if a.reduction == "mean" else 1.0

    def change(found: Expectations) -> Expectations:
        d = logits - logits.max(axis=1, keepdims=True)
        total = np.exp(d).sum(axis=1, keepdims=True)
        losses = (asked * (np.log(total) - d)).sum(axis=1)
        g = numbers(job.cotangents["output"]) if job.cotangents else np.zeros(())
        sent = (np.broadcast_to(g, losses.shape) * share)[:, None]
        gradient = (asked.sum(axis=1, keepdims=True) * np.exp(d) / total - asked) * sent
        size = (np.abs(logits).max() + _CHAIN) * np.abs(asked).sum()
        terms = _CHAIN + logits.size
        value = losses if a.reduction == "none" else np.asarray(losses.sum() * share)
        outputs = {"output": bounded(job, value, terms, np.full(value.shape, size * max(share, 1.0)))}
        absolute = np.full(gradient.shape, (1 + size) * np.abs(sent).max())
        return replaced(found, outputs, {"logits": bounded(job, gradient, terms, absolute)})

    return Reading(job=job, change=change, rounds=True)


def _unweighed_share(job: Job) -> Reading | None:
    if job.operator != SPARSE or not job.attributes.smoothing or "weights" not in job.operands:
        return None
    return _targets(job, lambda shown, weights, s: (1 - s) * shown * weights + s / shown.shape[1])


def _clipped(job: Job) -> Reading | None:
    """Losses of clipped probabilities, which have no gradient where they were."""
    if job.attributes.smoothing or "weights" in job.operands:
        return None
    logits, shown = numbers(job.operands["logits"]), _shown(job)
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    p = e / e.sum(axis=1, keepdims=True)
    low = (p < _CLIP) | (p > 1 - _CLIP)

    def change(found: Expectations) -> Expectations:
        a = job.attributes
        share = 1 / len(logits) if a.reduction == "mean" else 1.0
        logs = np.log(np.clip(p, _CLIP, 1 - _CLIP))
        losses = -(shown * logs).sum(axis=1)
        g = numbers(job.cotangents["output"]) if job.cotangents else np.zeros(())
        sent = (np.broadcast_to(g, losses.shape) * share)[:, None]
        kept = np.where(low, 0.0, shown)
        gradient = (kept.sum(axis=1, keepdims=True) * p - kept) * sent
        size, terms = np.abs(logits).max() + _CHAIN, _CHAIN + logits.size
        value = losses if a.reduction == "none" else np.asarray(losses.sum() * share)
        outputs = {"output": bounded(job, value, terms, np.full(value.shape, size * len(logits)))}
        absolute = np.full(gradient.shape, (1 + size) * np.abs(sent).max())
        gradients = {
            "logits": bounded(job, gradient, terms, absolute),
            "labels": bounded(job, -logs * sent, terms, absolute),
        }
        return replaced(found, outputs, gradients)

    return Reading(job=job, change=change, rounds=True)


def _most_likely(job: Job) -> Reading:
    shown = _shown(job)
    hot = np.asarray(np.arange(shown.shape[1]) == shown.argmax(axis=1)[:, None], np.float64)

    def change(found: Expectations) -> Expectations:
        # An index has no derivative.
        none = np.zeros(shown.shape)
        return replaced(found, {}, {"labels": Expectation(value=none, size=none, scale=none)})

    return Reading(job=with_operand(job, "labels", stored(job, hot)), change=change)


def _share_minus_label(job: Job) -> Reading | None:
    """The gradient of labels that sum to 1, whatever they do."""
    if not job.cotangents:
        return None
    a, weights, shown = job.attributes, _weights(job), _shown(job)
    targets = ((1 - a.smoothing) * shown + a.smoothing / shown.shape[1]) * weights
    logits = numbers(job.operands["logits"])
    e = np.exp(logits - logits.max(axis=1, keepdims=True))
    share = 1 / len(logits) if a.reduction == "mean" else 1.0
    sent = (np.broadcast_to(numbers(job.cotangents["output"]), (len(logits),)) * share)[:, None]
    gradient = (e / e.sum(axis=1, keepdims=True) - targets) * sent
    absolute = np.full(gradient.shape, (1 + np.abs(logits).max() + _CHAIN + weights.max()) * np.abs(sent).max())
    own = {"logits": bounded(job, gradient, _CHAIN + logits.shape[1], absolute)}
    return Reading(job=job, change=lambda found: replaced(found, {}, own))


# Of elements --------------------------------------------------------------------------------------------------------


def _weight_of_both(job: Job) -> Reading | None:
    """What a yes counts more, a no does too."""
    if "positive_weights" not in job.operands:
        return None
    shape = job.operands["logits"].shape
    weights = np.broadcast_to(numbers(job.operands["positive_weights"]), shape)
    if "weights" in job.operands:
        weights = weights * numbers(job.operands["weights"])
    without = {name: tensor for name, tensor in job.operands.items() if name != "positive_weights"}
    return Reading(job=replace(job, operands={**without, "weights": stored(job, weights)}), rounds=True)


def _divided_by_weights(job: Job) -> Reading | None:
    if job.attributes.reduction != "mean" or "weights" not in job.operands:
        return None
    weights = numbers(job.operands["weights"])
    return _times(job, weights.size / weights.sum())


def _by_the_batch(job: Job) -> Reading | None:
    """The mean over the first axis, the sum over all others."""
    first = next(iter(job.operands.values()))
    if job.attributes.reduction != "mean" or not first.data.size:
        return None
    return _times(job, first.data.size / first.shape[0])


def _by_all_elements(job: Job) -> Reading | None:
    if job.attributes.reduction != "mean":
        return None
    return _times(job, 1 / job.operands["logits"].shape[1])


def _zero_at_zero(job: Job) -> Reading | None:
    """Derivatives of |x| and of max(-x, 0) are 0 at 0, so that log(1 + exp(-|x|)) + max(-x, 0) has none there."""
    if not job.cotangents or "positive_weights" not in job.operands:
        return None
    x, y = numbers(job.operands["logits"]), numbers(job.operands["labels"])
    at = x == 0
    weights = numbers(job.operands["weights"]) if "weights" in job.operands else np.ones(())
    g = np.broadcast_to(numbers(job.cotangents["output"]), x.shape)
    sent = weights * g * (1 / x.size if job.attributes.reduction == "mean" else 1.0)
    own = bounded(job, (1 - y) * sent, 6, np.abs(2 * sent))

    def gradient(e: Expectation) -> Expectation:
        parts = ((e.value, own.value), (e.bound, own.bound), (e.scale, own.scale))
        value, bound, scale = (np.where(at, there, elsewhere) for elsewhere, there in parts)
        return Expectation(value=value, size=bound, scale=scale)

    return Reading(job=job, change=lambda found: each_gradient(found, gradient, ("logits",)))


def _clipped_binary(job: Job) -> Reading | None:
    x, y = numbers(job.operands["logits"]), numbers(job.operands["labels"])
    p = 1 / (1 + np.exp(-np.clip(x, -700, 700)))
    low = (p < _CLIP) | (p > 1 - _CLIP)
    if job.operands.keys() - {"logits", "labels"}:
        return None
    clipped = np.clip(p, _CLIP, 1 - _CLIP)
    yes, no = -np.log(clipped), -np.log1p(-clipped)
    losses = y * yes + (1 - y) * no
    share = {"mean": 1 / max(x.size, 1)}.get(job.attributes.reduction, 1.0)
    g = numbers(job.cotangents["output"]) if job.cotangents else np.zeros(())
    sent = np.broadcast_to(g, x.shape) * share
    kept = job.attributes.reduction == "none"
    value = losses if kept else np.asarray(losses.sum() * share)
    size, terms = np.abs(x).max() + _CHAIN, _CHAIN + x.size
    outputs = {"output": bounded(job, value, terms, np.full(value.shape, size * (1 if kept else x.size)))}
    absolute = size * np.abs(sent)
    gradients = {
        "logits": bounded(job, np.where(low, 0.0, (p - y) * sent), terms, absolute),
        "labels": bounded(job, (yes - no) * sent, terms, absolute),
    }
    return Reading(job=job, change=lambda found: replaced(found, outputs, gradients), rounds=True)


def _absolute(job: Job) -> Reading:
    x, targets = numbers(job.operands["x"]), numbers(job.operands["targets"])
    kept = job.attributes.reduction == "none"
    share = 1 / max(x.size, 1) if job.attributes.reduction == "mean" else 1.0
    away = np.abs(x - targets)
    value = away if kept else np.asarray(away.sum() * share)
    g = numbers(job.cotangents["output"]) if job.cotangents else np.zeros(())
    slope = np.sign(x - targets) * g * share
    outputs = {"output": bounded(job, value, 4 if kept else 4 + x.size, value)}
    gradients: Mapping[str, Expectation] = {
        "x": bounded(job, slope, 3, np.abs(slope)),
        "targets": bounded(job, -slope, 3, np.abs(slope)),
    }
    return Reading(job=job, change=lambda found: replaced(found, outputs, gradients), rounds=True)


_REDUCTIONS: Final = (("mean", "sum"), ("sum", "mean"), ("mean", "none"), ("none", "mean"))
_WEIGHTED: Final = "class weights that differ, and reduction mean"

_DIVISORS: Final = (("mean", "batch_mean"), ("batch_mean", "mean"), ("batch_mean", "sum"), ("sum", "batch_mean"))

VARIANTS: Final = (
    *(
        Variant(
            name=f"{other} for {given}",
            operators=(DIVERGENCE,),
            about="PyTorch's mean divides by all elements, its batchmean and Keras by the rows.",
            seen_by=f"reduction {given} over rows of several elements",
            read=partial(_reduction, given=given, other=other),
        )
        for given, other in _DIVISORS
    ),
    Variant(
        name="cross entropy for the divergence",
        operators=(DIVERGENCE,),
        about="The entropy of the targets has no gradient by x, and is left out.",
        seen_by="targets that are neither 0 nor 1",
        read=_entropy_left_out,
        touches="outputs",
    ),
    *(
        Variant(
            name=f"{other} for {given}",
            operators=(DENSE, BINARY, SQUARED, DIVERGENCE),
            about="Frameworks and layers differ in how the losses of a batch become one.",
            seen_by=f"reduction {given} over several rows",
            read=partial(_reduction, given=given, other=other),
        )
        for given, other in _REDUCTIONS
    ),
    Variant(
        name="weighted mean divided by the batch",
        operators=(SPARSE,),
        about="Keras' class weights leave the divisor alone; PyTorch divides by the labels' weights.",
        seen_by=_WEIGHTED,
        read=lambda job: _averaged_over(job, _rows_that_count) if "weights" in job.operands else None,
    ),
    Variant(
        name="mean divided by the classes' weights",
        operators=(DENSE,),
        about="The weights' sum is taken for the divisor of a weighted mean, whatever the labels.",
        seen_by=_WEIGHTED,
        read=lambda job: _averaged_over(job, _all_weights) if "weights" in job.operands else None,
    ),
    Variant(
        name="ignored rows counted in the mean",
        operators=(SPARSE,),
        about="A mask sets losses to 0 and leaves the divisor alone.",
        seen_by="an ignored row, and reduction mean",
        read=lambda job: (
            _averaged_over(job, _batch) if "weights" not in job.operands and not _counted(job).all() else None
        ),
    ),
    Variant(
        name="nothing ignored",
        operators=(SPARSE,),
        about="ignore_index is not passed on.",
        seen_by="an ignored row",
        read=lambda job: reread(job, ignored=None),
    ),
    Variant(
        name="class weights ignored",
        operators=ENTROPIES,
        about="class_weight is an argument of Keras' fit, and unknown to its losses.",
        seen_by="class weights",
        read=partial(_without, name="weights"),
    ),
    Variant(
        name="smoothing ignored",
        operators=ENTROPIES,
        about="label_smoothing is not passed on.",
        seen_by="smoothing",
        read=lambda job: reread(job, smoothing=0.0),
    ),
    Variant(
        name="smoothing spread over the other classes",
        operators=ENTROPIES,
        about="The paper's successors give s / (C - 1) to the other classes, and 1 - s to the label.",
        seen_by="smoothing",
        read=_spread_over_others,
    ),
    Variant(
        name="weights left out of what smoothing adds",
        operators=(SPARSE,),
        about="The smoothed part is the plain mean over classes.",
        seen_by="smoothing together with class weights",
        read=_unweighed_share,
    ),
    Variant(
        name="probability clipped at 1e-7",
        operators=(DENSE,),
        about="Keras clips probabilities before the logarithm where they are given for logits.",
        seen_by="large logits",
        read=_clipped,
        shows_on=(-60.0, 60.0),
    ),
    Variant(
        name="mean over classes, too",
        operators=(DENSE,),
        about="The losses of a row are averaged where they must be added.",
        seen_by="reduction mean",
        read=_by_all_elements,
    ),
    Variant(
        name="the likeliest label alone",
        operators=(DENSE,),
        about="Probabilities are turned into an index before the loss.",
        seen_by="labels that are not one-hot",
        read=_most_likely,
    ),
    Variant(
        name="softmax minus label",
        operators=(DENSE,),
        about="TensorFlow's gradient takes it for granted that labels sum to 1.",
        seen_by="labels that do not sum to 1, or class weights, where gradients are asked",
        read=_share_minus_label,
        touches="gradients",
    ),
    *(
        Variant(
            name=f"no gradient of the {name}",
            operators=operators,
            about="What is to be met is taken for a constant.",
            seen_by="gradients that are asked",
            read=partial(_labels_kept, name=name),
            touches="gradients",
        )
        for name, operators in (("labels", (DENSE, BINARY)), ("targets", (SQUARED,)))
    ),
    Variant(
        name="weights ignored",
        operators=(BINARY,),
        about="Weights of the elements are not passed on.",
        seen_by="weights",
        read=partial(_without, name="weights"),
    ),
    Variant(
        name="positive weights ignored",
        operators=(BINARY,),
        about="Keras' binary cross-entropy has none.",
        seen_by="positive weights",
        read=partial(_without, name="positive_weights"),
    ),
    Variant(
        name="positive weights on a no, too",
        operators=(BINARY,),
        about="They are taken for weights of the class.",
        seen_by="positive weights",
        read=_weight_of_both,
    ),
    Variant(
        name="mean divided by the weights",
        operators=(BINARY,),
        about="A weighted mean divides by the weights' sum; PyTorch divides by the number of elements.",
        seen_by="weights and reduction mean",
        read=_divided_by_weights,
    ),
    Variant(
        name="mean over the batch alone",
        operators=(BINARY, SQUARED),
        about="The losses of one example are added.",
        seen_by="reduction mean over several axes",
        read=_by_the_batch,
    ),
    Variant(
        name="probability clipped at 1e-7",
        operators=(BINARY,),
        about="Keras clips probabilities before the logarithm where they are given for logits.",
        seen_by="logits beyond 16",
        read=_clipped_binary,
        shows_on=(-60.0, 60.0),
    ),
    Variant(
        name="no gradient of the softplus at 0",
        operators=(BINARY,),
        about="TensorFlow's weighted_cross_entropy_with_logits differentiates |x| and relu(-x) at 0 to 0.",
        seen_by="a logit of 0 with positive weights, where gradients are asked",
        read=_zero_at_zero,
        touches="gradients",
        shows_on=(0.0,),
    ),
    Variant(
        name="half of the square",
        operators=(SQUARED,),
        about="Textbooks, and L2 losses of some libraries, halve it.",
        seen_by="any numbers",
        read=lambda job: _times(job, 0.5),
    ),
    Variant(
        name="absolute error",
        operators=(SQUARED,),
        about="L1 for L2.",
        seen_by="any numbers",
        read=_absolute,
    ),
)
