"""Other readings of activations, losses, dropout and flattening."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import log, prod
from typing import Any, Final

import numpy as np

from conformance.case.job import Job, Tensor
from conformance.formats import FORMATS, Float64
from conformance.verdict.model import Expectation, exactly
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    Array,
    Reading,
    Variant,
    as_channels_first,
    bounded,
    each_gradient,
    each_output,
    moved_operand,
    numbers,
    replaced,
    reread,
    scaled,
    with_operand,
)

# Roundings of a chain of exponential, sum, quotient and logarithm, as the reference counts them for its longest.
_CHAIN: Final = 64

# torch.nn.functional.softplus's own.
SOFTPLUS_THRESHOLD: Final = 20.0


def _clipped(job: Job) -> Reading:
    """Clipped at 6 where the definition has no end."""
    x = numbers(job.operands["x"])

    def change(found: Expectations) -> Expectations:
        outputs = {"output": replace(found.outputs["output"], value=np.minimum(found.outputs["output"].value, 6.0))}
        gradients = {name: _where(x < 6, e) for name, e in found.gradients.items()}
        return replaced(found, outputs, gradients)

    return Reading(job=job, change=change)


def _where(mask: Array, e: Expectation) -> Expectation:
    return Expectation(value=np.where(mask, e.value, 0.0), size=np.where(mask, e.bound, 0.0), scale=e.scale)


def _nan_dropped(job: Job) -> Reading:
    return Reading(
        job=job,
        change=lambda found: each_output(
            found, lambda e: replace(e, value=np.where(np.isnan(e.value), 0.0, e.value))
        ),
    )


def _masked_by_product(job: Job) -> Reading:
    """Multiplied by 0 where it is not positive: the sign of zero stays, and infinity becomes NaN."""
    x = numbers(job.operands["x"])

    def change(found: Expectations) -> Expectations:
        with np.errstate(invalid="ignore"):
            return replaced(found, {"output": exactly(x * (x > 0))})

    return Reading(job=job, change=change)


def _linear_above_20(job: Job) -> Reading | None:
    """softplus(x) = x, of slope 1, above the threshold."""
    x = numbers(job.operands["x"])
    above = x > SOFTPLUS_THRESHOLD
    if not above.any():
        return None

    def line(e: Expectation, value: Float64) -> Expectation:
        return replace(e.within(np.where(above, 0.0, e.bound)), value=np.where(above, value, e.value))

    def change(found: Expectations) -> Expectations:
        outputs = {"output": line(found.outputs["output"], x)}
        gradients = {name: line(e, numbers(job.cotangents["output"])) for name, e in found.gradients.items()}
        return replaced(found, outputs, gradients)

    return Reading(job=job, change=change)


def _hard_sigmoid(job: Job) -> Reading:
    x = numbers(job.operands["x"])

    def change(found: Expectations) -> Expectations:
        with np.errstate(invalid="ignore"):
            value = np.clip(0.2 * x + 0.5, 0.0, 1.0)
        outputs = {"output": bounded(job, value, 4, np.minimum(0.2 * np.abs(x), 1.0) + 0.5)}
        gradients = {}
        if job.cotangents:
            slope = np.where(np.abs(x) < 2.5, 0.2, 0.0) * numbers(job.cotangents["output"])
            gradients = {"x": bounded(job, slope, 4, np.abs(slope))}
        return replaced(found, outputs, gradients)

    return Reading(job=job, change=change)


# Softmax ------------------------------------------------------------------------------------------------------------


def _axis(job: Job, axis: int) -> Reading | None:
    rank = len(job.operands["x"].shape)
    if axis % rank == job.attributes.axis % rank or axis >= rank:
        return None
    return reread(job, axis=axis)


def _everything(job: Job) -> Reading | None:
    """One sum over all elements: x as a single row."""
    if job.operands["x"].data.size == job.operands["x"].shape[job.attributes.axis]:
        return None
    return _in_rows(job, 1)


def _from_its_axis(job: Job) -> Reading | None:
    """One sum over the axis and all that follow it; from the first one on, that is everything."""
    shape = job.operands["x"].shape
    axis = job.attributes.axis % len(shape)
    if axis == 0 or prod(shape) == 0 or prod(shape[axis + 1 :]) == 1:
        return None
    return _in_rows(job, prod(shape[:axis]))


def _from_the_second(job: Job) -> Reading | None:
    """One sum over all axes but the first, where another than the second was asked."""
    shape = job.operands["x"].shape
    if len(shape) < 3 or prod(shape) == 0 or job.attributes.axis % len(shape) == 1:
        return None
    return _in_rows(job, shape[0])


def _in_rows(job: Job, count: int) -> Reading:
    """One sum over each of so many rows."""
    shape = job.operands["x"].shape

    def row(x: Array) -> Array:
        return x.reshape(count, -1)

    def back(x: Array) -> Array:
        return x.reshape(shape)

    read = replace(
        job,
        attributes=replace(job.attributes, axis=1),
        operands={"x": Tensor(job.format, row(job.operands["x"].data))},
        cotangents={name: Tensor(t.format, row(t.data)) for name, t in job.cotangents.items()},
    )

    def change(found: Expectations) -> Expectations:
        def reshaped(e: Expectation) -> Expectation:
            return Expectation(value=back(e.value), size=back(np.array(e.bound)), scale=back(np.array(e.scale)))

        return each_gradient(each_output(found, reshaped), reshaped)

    return Reading(job=read, change=change)


def _logarithm(job: Job) -> Reading:
    """The logarithm of the softmax."""
    x, axis = numbers(job.operands["x"]), job.attributes.axis

    def change(found: Expectations) -> Expectations:
        with np.errstate(all="ignore"):
            shifted = x - x.max(axis=axis, keepdims=True)
            total = np.log(np.exp(shifted).sum(axis=axis, keepdims=True))
        terms = _CHAIN + x.shape[axis]
        outputs = {"output": bounded(job, shifted - total, terms, np.abs(shifted) + total + 1)}
        gradients = {}
        if job.cotangents:
            g = numbers(job.cotangents["output"])
            share = np.exp(shifted - total)
            value = g - share * g.sum(axis=axis, keepdims=True)
            size = np.abs(g) + share * np.abs(g).sum(axis=axis, keepdims=True)
            gradients = {"x": bounded(job, value, terms, size)}
        return replaced(found, outputs, gradients)

    return Reading(job=job, change=change)


def _diagonal(job: Job) -> Reading | None:
    if not job.cotangents:
        return None
    g = numbers(job.cotangents["output"])

    def change(found: Expectations) -> Expectations:
        share = found.outputs["output"].value
        value = g * share * (1 - share)
        return replaced(found, None, {"x": bounded(job, value, _CHAIN, np.abs(g) * share)})

    return Reading(job=job, change=change)


def _overflowing(job: Job, name: str) -> Reading | None:
    """exp(x) without the maximum subtracted: NaN or zeros where it overflows or all of it underflows."""
    x = numbers(job.operands[name])
    axis = getattr(job.attributes, "axis", 1)
    format_ = FORMATS[job.format]
    if not x.size:
        return None
    over = x > log(format_.largest)

    def change(found: Expectations) -> Expectations:
        some = np.broadcast_to(over.any(axis=axis, keepdims=True), x.shape)

        def outputs(e: Expectation) -> Expectation:
            if name == "x":  # infinity / infinity in the element itself; its neighbours are 1 / infinity
                return replace(e, value=np.where(over, np.nan, np.where(some, 0.0, e.value)))
            if e.value.ndim == 0:
                return replace(e, value=np.where(over.any(), np.inf, e.value))
            return replace(e, value=np.where(over.any(axis=1), np.inf, e.value))

        return each_gradient(each_output(found, outputs), lambda e: replace(e, value=np.where(some, np.nan, e.value)))

    return Reading(job=job, change=change)


# Losses -------------------------------------------------------------------------------------------------------------


def _reduction(job: Job, given: str, other: str) -> Reading | None:
    if job.attributes.reduction != given or job.operands["labels"].shape[0] == 1:
        return None
    return reread(job, reduction=other)


def _labels_off(job: Job) -> Reading | None:
    classes = job.operands["logits"].shape[1]
    labels = job.operands["labels"]
    if classes == 1 or job.attributes.ignored is not None:
        return None
    return Reading(job=with_operand(job, "labels", Tensor(labels.format, (labels.data - 1) % classes)))


def _plain(job: Job) -> bool:
    """Labels pick one class each: there are no options."""
    a = job.attributes
    return "weights" not in job.operands and not a.smoothing and a.ignored is None


# (logits, labels, cotangents of the rows) -> losses of the rows, gradient by the logits.
Loss = Callable[[Float64, Array, Float64], tuple[Float64, Float64]]


def _loss(job: Job, rows: Loss) -> Reading | None:
    """Losses a row, and their gradient, computed in another way."""
    logits = numbers(job.operands["logits"])
    labels: Any = job.operands["labels"].data
    if logits.shape[1] == 1 or not logits.size or not _plain(job):
        return None
    reduction = job.attributes.reduction
    share = 1 / len(labels) if reduction == "mean" else 1.0

    def change(found: Expectations) -> Expectations:
        none = np.zeros(len(labels))
        g = np.broadcast_to(numbers(job.cotangents["output"]), none.shape) * share if job.cotangents else none
        with np.errstate(all="ignore"):
            losses, gradient = rows(logits, labels, g)
        value = losses if reduction == "none" else np.asarray(losses.sum() * share)
        size = np.abs(logits).max() + _CHAIN
        terms = _CHAIN + logits.shape[1] + len(labels)
        outputs = {"output": bounded(job, value, terms, np.full(value.shape, size))}
        absolute = np.full(gradient.shape, (1 + size) * np.abs(g).max(initial=0.0))
        return replaced(found, outputs, {"logits": bounded(job, gradient, terms, absolute)})

    return Reading(job=job, change=change)


def _softmax(x: Float64, axis: int = 1) -> Float64:
    e = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(e / e.sum(axis=axis, keepdims=True))


def _hot(x: Float64, labels: Array) -> Float64:
    return np.asarray(np.arange(x.shape[1]) == labels[:, None], np.float64)


def _over_the_batch(x: Float64, labels: Array, g: Float64) -> tuple[Float64, Float64]:
    hot, share = _hot(x, labels), _softmax(x, 0)
    shifted = x - x.max(axis=0, keepdims=True)
    logs = shifted - np.log(np.exp(shifted).sum(axis=0, keepdims=True))
    sent = hot * g[:, None]
    return -(hot * logs).sum(axis=1), share * sent.sum(axis=0) - sent


def _taken_twice(x: Float64, labels: Array, g: Float64) -> tuple[Float64, Float64]:
    share = _softmax(x)
    again = _softmax(share)
    slope = (again - _hot(x, labels)) * g[:, None]
    losses = np.log(np.exp(share).sum(axis=1)) - (share * _hot(x, labels)).sum(axis=1)
    return losses, share * (slope - (slope * share).sum(axis=1, keepdims=True))


def _clipped_probability(x: Float64, labels: Array, g: Float64) -> tuple[Float64, Float64]:
    hot, share = _hot(x, labels), _softmax(x)
    own = (share * hot).sum(axis=1)
    inside = (own > 1e-7) & (own < 1 - 1e-7)
    return -np.log(np.clip(own, 1e-7, 1 - 1e-7)), (share - hot) * (inside * g)[:, None]


def _not_averaged(job: Job) -> Reading | None:
    rows = job.operands["labels"].shape[0]
    if job.attributes.reduction != "mean" or rows < 2 or not _plain(job):
        return None
    return Reading(
        job=job, change=lambda found: each_gradient(found, lambda e: scaled(e, float(rows), job)), rounds=True
    )


def _one_hot_forgotten(job: Job) -> Reading | None:
    def rows(x: Float64, labels: Array, g: Float64) -> tuple[Float64, Float64]:
        logs = np.log(np.exp(x - x.max(axis=1, keepdims=True)).sum(axis=1)) + x.max(axis=1)
        return logs - (x * _hot(x, labels)).sum(axis=1), _softmax(x) * g[:, None]

    reading = _loss(job, rows)
    if reading is None or not job.cotangents:
        return None
    inner = reading.change
    return replace(
        reading, change=lambda found: Expectations(outputs=found.outputs, gradients=inner(found).gradients)
    )


# Dropout and flattening ---------------------------------------------------------------------------------------------


def _unscaled(job: Job) -> Reading | None:
    return reread(job, keep=1.0)


def _rate_for_keep(job: Job) -> Reading | None:
    return reread(job, keep=1 - job.attributes.keep) if job.attributes.keep < 1 else None


def _mask_inverted(job: Job) -> Reading:
    mask: Any = job.operands["mask"].data
    return Reading(job=with_operand(job, "mask", Tensor("bool", ~mask)))


def _channels_first(job: Job) -> Reading | None:
    shape = job.operands["x"].shape
    if len(shape) < 3 or shape[-1] == 1:
        return None
    back, move = as_channels_first(shape)
    return moved_operand(job, "x", move, back)


def _columns_first(job: Job) -> Reading | None:
    shape = job.operands["x"].shape
    if len(shape) < 3 or sum(size > 1 for size in shape[1:]) < 2:
        return None
    turned = (shape[0], *shape[:0:-1])
    axes = (0, *range(len(shape) - 1, 0, -1))
    return moved_operand(
        job, "x", lambda x: x.transpose(axes).reshape(shape), lambda x: x.reshape(turned).transpose(axes)
    )


_LOGITS: Final = "logits of several rows and classes"

VARIANTS: Final = (
    Variant(
        name="clipped at 6",
        operators=("relu",),
        about="relu6 of the mobile networks stands where relu was asked.",
        seen_by="a number above 6",
        read=_clipped,
        shows_on=(9.0, 30.0),
    ),
    Variant(
        name="NaN becomes 0",
        operators=("relu",),
        about="x > 0 ? x : 0 drops NaN, as fused kernels do.",
        seen_by="a NaN",
        read=_nan_dropped,
        touches="outputs",
        shows_on=(float("nan"),),
    ),
    Variant(
        name="product with a mask",
        operators=("relu",),
        about="x * (x > 0) gives -0 for negative numbers, and NaN for minus infinity.",
        seen_by="a negative number, or minus infinity",
        read=_masked_by_product,
        touches="outputs",
        shows_on=(float("-inf"),),
    ),
    Variant(
        name="linear above 20",
        operators=("softplus",),
        about="PyTorch's default threshold spares the exponential, in float64 as well, where it still shows.",
        seen_by="a number between 20 and 36, in float64",
        read=_linear_above_20,
        formats=("float64",),
        shows_on=(20.5, 30.0),
    ),
    Variant(
        name="hard sigmoid",
        operators=("sigmoid",),
        about="Old recurrent layers take clip(0.2 x + 0.5, 0, 1) for a sigmoid.",
        seen_by="normal numbers",
        read=_hard_sigmoid,
    ),
    *(
        Variant(
            name=f"softmax along axis {axis}",
            operators=("softmax",),
            about="A default axis of another framework or layout: 0, 1 (channels first) or -1.",
            seen_by=f"an axis that is not {axis}, and more than one line along it",
            read=partial(_axis, axis=axis),
        )
        for axis in (0, 1, -1)
    ),
    Variant(
        name="softmax over everything",
        operators=("softmax", "log_softmax"),
        about="Without an axis the sum runs over the whole array.",
        seen_by="several lines",
        read=_everything,
    ),
    Variant(
        name="softmax from its axis on",
        operators=("softmax", "log_softmax"),
        about="Up to ONNX's opset 12 the axis and all that follow it make one row.",
        seen_by="an axis before the last",
        read=_from_its_axis,
    ),
    Variant(
        name="softmax from the second axis on",
        operators=("softmax", "log_softmax"),
        about="Up to ONNX's opset 12 the axis is 1 where nobody says, and all that follow it make one row with it.",
        seen_by="the last of three axes",
        read=_from_the_second,
    ),
    Variant(
        name="logarithm of the softmax",
        operators=("softmax",),
        about="log_softmax and softmax are mistaken for each other.",
        seen_by="several classes",
        read=_logarithm,
    ),
    Variant(
        name="gradient of the diagonal alone",
        operators=("softmax",),
        about="s (1 - s), the sigmoid's derivative, leaves out what one class takes from another.",
        seen_by="several classes, where gradients are asked",
        read=_diagonal,
        touches="gradients",
    ),
    *(
        Variant(
            name="maximum not subtracted",
            operators=(operator,),
            about="exp of a large logit overflows: NaN or infinity.",
            seen_by="logits above 89, float32's logarithm of the largest number",
            read=partial(_overflowing, name=name),
            shows_on=(1000.0,),
        )
        for operator, name in (("softmax", "x"), ("softmax_cross_entropy", "logits"))
    ),
    *(
        Variant(
            name=f"{other} for {given}",
            operators=("softmax_cross_entropy",),
            about="Frameworks and layers differ in how the losses of a batch become one.",
            seen_by=f"reduction {given} over several rows",
            read=partial(_reduction, given=given, other=other),
        )
        for given, other in (("mean", "sum"), ("sum", "mean"), ("mean", "none"), ("none", "mean"))
    ),
    Variant(
        name="labels off by one",
        operators=("softmax_cross_entropy",),
        about="Labels that count from 1 are read as counting from 0.",
        seen_by="several classes",
        read=_labels_off,
    ),
    Variant(
        name="softmax over the batch",
        operators=("softmax_cross_entropy",),
        about="The log-softmax runs along axis 0.",
        seen_by=_LOGITS,
        read=partial(_loss, rows=_over_the_batch),
    ),
    Variant(
        name="softmax taken twice",
        operators=("softmax_cross_entropy",),
        about="A loss of logits gets probabilities: from_logits is forgotten.",
        seen_by=_LOGITS,
        read=partial(_loss, rows=_taken_twice),
    ),
    Variant(
        name="probability clipped at 1e-7",
        operators=("softmax_cross_entropy",),
        about="Keras clips probabilities before the logarithm.",
        seen_by="a row whose label's probability is below 1e-7",
        read=partial(_loss, rows=_clipped_probability),
        shows_on=(-60.0, 60.0),
    ),
    Variant(
        name="gradient not averaged",
        operators=("softmax_cross_entropy",),
        about="The backward pass of the mean forgets 1 / batch.",
        seen_by="reduction mean over several rows, where gradients are asked",
        read=_not_averaged,
        touches="gradients",
    ),
    Variant(
        name="one-hot not subtracted",
        operators=("softmax_cross_entropy",),
        about="The gradient is the softmax itself.",
        seen_by="several classes, where gradients are asked",
        read=_one_hot_forgotten,
        touches="gradients",
    ),
    Variant(
        name="kept elements not scaled",
        operators=("dropout",),
        about="Dropout as first published scales at inference, not in training.",
        seen_by="a keep below 1",
        read=_unscaled,
    ),
    Variant(
        name="rate taken for keep",
        operators=("dropout",),
        about="TensorFlow 1 was given the probability of keeping, TensorFlow 2 that of dropping.",
        seen_by="a keep other than 1/2 and 1",
        read=_rate_for_keep,
    ),
    Variant(
        name="mask inverted",
        operators=("dropout",),
        about="True is taken for dropped.",
        seen_by="a mask",
        read=_mask_inverted,
    ),
    Variant(
        name="flattened channels first",
        operators=("flatten",),
        about="NHWC is flattened as NCHW: channel after channel.",
        seen_by="several channels and positions",
        read=_channels_first,
    ),
    Variant(
        name="flattened in column-major order",
        operators=("flatten",),
        about="MATLAB and Fortran run through the first axis fastest.",
        seen_by="several axes of more than one element",
        read=_columns_first,
    ),
)
