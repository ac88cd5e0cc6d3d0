"""Other readings of normalisations: other statistics, other conventions, gradients that stop half-way."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from math import prod
from typing import Any, Final, Literal

import numpy as np

from conformance.case.families.normalization import BatchNorm, BatchNormTraining, GroupNorm
from conformance.case.job import Job, Tensor
from conformance.case.model import Shape
from conformance.formats import Float64
from conformance.verdict.model import Expectation, exactly
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    Array,
    Reading,
    Variant,
    bounded,
    each_gradient,
    mapped,
    moved,
    numbers,
    replaced,
    reread,
    scaled,
    stored,
    with_cotangents,
    with_operand,
)

NORMS: Final = ("batch_norm", "batch_norm_training", "layer_norm", "group_norm", "instance_norm")
MEASURED: Final = NORMS[1:]
RESPONSE: Final = ("local_response_norm",)

# Roundings beside those of the sums: of roots, quotients and products, generously.
_CHAIN: Final = 64


# Sets of numbers that share a mean ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sets:
    """How x falls into sets: its shape there, the axes of a set, the shape of scale and offset."""

    shape: Shape
    axes: tuple[int, ...]
    row: Shape

    @property
    def count(self) -> int:
        return prod(self.shape[axis] for axis in self.axes)


def _sets(job: Job) -> _Sets:
    """As the operator has them."""
    shape = job.operands["x"].shape
    rank = len(shape)
    row = (1,) * (rank - 1) + shape[-1:]
    match job.operator:
        case "layer_norm":
            axes = tuple(axis % rank for axis in job.attributes.axes)
            row = tuple(size if axis in axes else 1 for axis, size in enumerate(shape))
            return _Sets(shape=shape, axes=axes, row=row)
        case "group_norm":
            groups = job.attributes.groups
            parted = (*shape[:-1], groups, shape[-1] // groups)
            return _Sets(shape=parted, axes=(*range(1, rank - 1), rank), row=(1,) * (rank - 1) + parted[-2:])
        case "instance_norm":
            return _Sets(shape=shape, axes=tuple(range(1, rank - 1)), row=row)
    return _Sets(shape=shape, axes=tuple(range(rank - 1)), row=row)


# (variance, epsilon, n) -> what multiplies x - mean, and its derivative by the variance.
_Inverse = Callable[[Float64, float, int], tuple[Float64, Float64]]


def _root(variance: Float64, epsilon: float, count: int) -> tuple[Float64, Float64]:
    """1 / sqrt(v + epsilon)."""
    inverse = 1 / np.sqrt(variance + epsilon)
    return inverse, -0.5 * inverse**3


def _epsilon_outside(variance: Float64, epsilon: float, count: int) -> tuple[Float64, Float64]:
    """1 / (sqrt(v) + epsilon)."""
    root = np.sqrt(variance)
    inverse = 1 / (root + epsilon)
    # A constant set has no centred numbers to be multiplied by an infinite slope.
    return inverse, np.where(root > 0, -0.5 * inverse**2 / np.where(root > 0, root, 1.0), 0.0)


def _unbiased(variance: Float64, epsilon: float, count: int) -> tuple[Float64, Float64]:
    """1 / sqrt(v n / (n - 1) + epsilon)."""
    share = count / (count - 1)
    inverse, slope = _root(variance * share, epsilon, count)
    return inverse, slope * share


def _not_rooted(variance: Float64, epsilon: float, count: int) -> tuple[Float64, Float64]:
    """1 / (v + epsilon)."""
    inverse = 1 / (variance + epsilon)
    return inverse, -(inverse**2)


def _epsilon_clamped(variance: Float64, epsilon: float, count: int) -> tuple[Float64, Float64]:
    """1 / sqrt(max(v, epsilon))."""
    inverse = 1 / np.sqrt(np.maximum(variance, epsilon))
    return inverse, np.where(variance > epsilon, -0.5 * inverse**3, 0.0)


_Through = Literal["both", "mean", "variance", "neither"]


@np.errstate(all="ignore")
def _normalized(
    job: Job, sets: _Sets, inverse: _Inverse = _root, through: _Through = "both"
) -> dict[str, tuple[Float64, Float64]]:
    """Output and gradients (x, scale, offset) computed here, each with the absolute sum of what enters it.

    Args:
        job: for its numbers.
        sets: whose mean and variance are taken; those of batch_norm are given.
        inverse: what they are multiplied by.
        through: which statistics the gradient for x goes through.
    """
    x = numbers(job.operands["x"]).reshape(sets.shape)
    given = {name: numbers(job.operands[name]) for name in ("scale", "offset") if name in job.operands}
    scale = given["scale"].reshape(sets.row) if "scale" in given else np.ones(())
    offset = given["offset"].reshape(sets.row) if "offset" in given else np.zeros(())
    held = job.operator == "batch_norm"
    if held:
        mean, variance = (numbers(job.operands[name]).reshape(sets.row) for name in ("mean", "variance"))
    else:
        mean = x.mean(axis=sets.axes, keepdims=True)
        variance = np.square(x - mean).mean(axis=sets.axes, keepdims=True)
    factor, slope = inverse(variance, job.attributes.epsilon, sets.count)
    centred = x - mean
    wide = np.abs(x) + (np.abs(mean) if held else np.abs(x).mean(axis=sets.axes, keepdims=True))
    output = centred * factor * scale + offset
    made = {"output": (output, wide * np.abs(factor * scale) + np.abs(offset))}
    if not job.cotangents:
        return made
    g = numbers(job.cotangents["output"]).reshape(sets.shape)
    d = g * scale
    gradient, size = d * factor, np.abs(d * factor)
    if not held:
        along = (d * centred).mean(axis=sets.axes, keepdims=True) * slope * 2
        most = (np.abs(d) * wide).mean(axis=sets.axes, keepdims=True) * np.abs(slope) * 2
        if through in ("both", "variance"):
            gradient, size = gradient + along * centred, size + most * wide
        if through in ("both", "mean"):
            gradient = gradient - (d * factor).mean(axis=sets.axes, keepdims=True)
            size = size + size.mean(axis=sets.axes, keepdims=True)
    made["x"] = (gradient, size)
    summed = tuple(axis for axis, n in enumerate(sets.row) if n == 1)
    if "scale" in given:
        each, absolute = g * centred * factor, np.abs(g * factor) * wide
        made["scale"] = each.sum(axis=summed), absolute.sum(axis=summed)
    if "offset" in given:
        made["offset"] = g.sum(axis=summed), np.abs(g).sum(axis=summed)
    return made


def _computed(job: Job, sets: _Sets, inverse: _Inverse = _root, through: _Through = "both") -> Reading:
    """A reading by `_normalized`; running statistics stay what they are."""

    def change(found: Expectations) -> Expectations:
        terms = _CHAIN + 4 * prod(sets.shape)
        made = {
            name: bounded(job, value.reshape(_shape(job, name)), terms, size.reshape(_shape(job, name)))
            for name, (value, size) in _normalized(job, sets, inverse, through).items()
        }
        output = made.pop("output")
        return replaced(found, {"output": output} if through == "both" else None, made)

    return Reading(job=job, change=change)


def _shape(job: Job, name: str) -> Shape:
    return job.operands["x" if name == "output" else name].shape


def _empty(job: Job) -> bool:
    return not job.operands["x"].data.size


def _inverted(job: Job, inverse: _Inverse) -> Reading | None:
    sets = _sets(job)
    if _empty(job) or (inverse is _unbiased and sets.count < 2):
        return None
    return _computed(job, sets, inverse)


def _stopped(job: Job, through: _Through) -> Reading | None:
    if _empty(job) or not job.cotangents or _sets(job).count < 2:
        return None
    return _computed(job, _sets(job), through=through)


def _over(job: Job, axes: Callable[[int], tuple[int, ...]]) -> Reading | None:
    """Statistics over other axes of x; scale and offset stay where they are."""
    shape = job.operands["x"].shape
    own, other = _sets(job), axes(len(shape))

    def long(of: Shape, along: tuple[int, ...]) -> set[int]:
        return {axis for axis in along if of[axis] > 1}

    if _empty(job) or not other or long(shape, other) == long(own.shape, own.axes):
        return None
    return _computed(job, replace(own, axes=other))


# Conventions --------------------------------------------------------------------------------------------------------


def _epsilon(job: Job, given: float, other: float) -> Reading | None:
    return reread(job, epsilon=other) if job.attributes.epsilon == given else None


def _momentum_turned(job: Job) -> Reading | None:
    return reread(job, momentum=1 - job.attributes.momentum)


def _bessel_turned(job: Job) -> Reading | None:
    return None if _sets(job).count < 2 else reread(job, bessel=not job.attributes.bessel)


def _only_output(found: Expectations) -> Expectations:
    return Expectations(outputs={"output": found.outputs["output"]}, gradients=found.gradients)


def _by_the_batch(job: Job) -> Reading | None:
    if _empty(job):
        return None
    attributes = BatchNormTraining(epsilon=job.attributes.epsilon, momentum=1.0, bessel=False)
    read = replace(job, operator="batch_norm_training", attributes=attributes)
    return Reading(job=read, change=_only_output)


def _by_the_running(job: Job) -> Reading:
    """As at inference: the running statistics are used, and stay."""
    read = replace(job, operator="batch_norm", attributes=BatchNorm(epsilon=job.attributes.epsilon))
    return Reading(job=read, change=lambda found: replaced(found, _running(job)))


def _running(job: Job) -> dict[str, Expectation]:
    return {name: exactly(numbers(job.operands[name])) for name in ("mean", "variance")}


def _not_moved(job: Job) -> Reading:
    return Reading(job=job, change=lambda found: replaced(found, _running(job)))


def _moved_from_zero(job: Job) -> Reading:
    """(1 - momentum) times the batch's statistics, as if the running ones began anew."""
    read = job
    for name in ("mean", "variance"):
        read = with_operand(read, name, moved(job.operands[name], np.zeros_like))
    return Reading(job=read)


def _deviation_for_variance(job: Job) -> Reading:
    """The operand is a standard deviation that is squared first."""
    return Reading(job=with_operand(job, "variance", stored(job, np.square(numbers(job.operands["variance"])))))


# Scale and offset ---------------------------------------------------------------------------------------------------


def _dropped(job: Job, name: str) -> Reading | None:
    if name not in job.operands:
        return None
    neutral = np.full(job.operands[name].shape, 1.0 if name == "scale" else 0.0)
    read = with_operand(job, name, stored(job, neutral))
    return Reading(
        job=read, change=lambda found: each_gradient(found, lambda e: exactly(np.zeros(e.value.shape)), (name,))
    )


def _scale_from_one(job: Job) -> Reading | None:
    if "scale" not in job.operands:
        return None
    return Reading(job=with_operand(job, "scale", stored(job, 1 + numbers(job.operands["scale"]))))


def _swapped(job: Job) -> Reading | None:
    if not {"scale", "offset"} <= set(job.operands):
        return None
    names = {"scale": "offset", "offset": "scale"}
    read = replace(job, operands={name: job.operands[names.get(name, name)] for name in job.operands})

    def change(found: Expectations) -> Expectations:
        return Expectations(
            outputs=found.outputs,
            gradients={name: found.gradients[names.get(name, name)] for name in found.gradients},
        )

    return Reading(job=read, change=change)


def _averaged(job: Job, name: str) -> Reading | None:
    if name not in job.operands or not job.cotangents:
        return None
    terms = job.operands["x"].data.size // max(job.operands[name].data.size, 1)
    if terms < 2:
        return None
    return Reading(job=job, change=lambda found: each_gradient(found, lambda e: scaled(e, 1 / terms, job), (name,)))


def _of_first(job: Job, name: str) -> Reading | None:
    """What the first element of the batch contributes."""
    if name not in job.operands or not job.cotangents or job.operands["x"].shape[0] < 2:
        return None

    def first(tensor: Tensor) -> Tensor:
        data = np.array(tensor.data)
        data[1:] = np.zeros((), data.dtype)
        return Tensor(tensor.format, data)

    return Reading(job=job, pulled={name: with_cotangents(job, first)})


# Groups -------------------------------------------------------------------------------------------------------------


def _interleaved(job: Job) -> Reading | None:
    """Group g has the channels g, g + groups, and so on."""
    groups, channels = job.attributes.groups, job.operands["x"].shape[-1]
    order = np.arange(channels).reshape(-1, groups).T.ravel()
    if (order == np.arange(channels)).all():
        return None
    back = np.argsort(order)

    def along(move: Array) -> Callable[[Array], Array]:
        return lambda values: values[..., move]

    read = replace(
        with_cotangents(job, lambda tensor: moved(tensor, along(order))),
        operands={name: moved(tensor, along(order)) for name, tensor in job.operands.items()},
    )

    def change(found: Expectations) -> Expectations:
        return Expectations(
            outputs={name: mapped(e, along(back)) for name, e in found.outputs.items()},
            gradients={name: mapped(e, along(back)) for name, e in found.gradients.items()},
        )

    return Reading(job=read, change=change)


def _groups(job: Job, groups: Callable[[int, int], int]) -> Reading | None:
    channels = job.operands["x"].shape[-1]
    return reread(job, groups=groups(job.attributes.groups, channels))


def _one_group(job: Job) -> Reading | None:
    """Instances read as layers: all channels of an image share their statistics."""
    if job.operands["x"].shape[-1] == 1:
        return None
    attributes = GroupNorm(groups=1, epsilon=job.attributes.epsilon)
    return Reading(job=replace(job, operator="group_norm", attributes=attributes))


# Local response -----------------------------------------------------------------------------------------------------


def _other_alpha(job: Job) -> Reading | None:
    if job.attributes.size == 1:
        return None
    return reread(job, alpha_of="sum" if job.attributes.alpha_of == "mean" else "mean")


def _other_side(job: Job) -> Reading | None:
    if job.attributes.size % 2:
        return None
    return reread(job, extra="low" if job.attributes.extra == "high" else "high")


def _constants_swapped(job: Job) -> Reading | None:
    a = job.attributes
    return reread(job, beta=a.bias, bias=a.beta) if a.beta > 0 else None


def _sized(job: Job, size: Callable[[int], int]) -> Reading | None:
    """Another size of the window; alpha is divided by it where it is divided."""
    other = size(job.attributes.size)
    return reread(job, size=other) if other >= 1 else None


def _along_columns(job: Job) -> Reading | None:
    """Windows of neighbouring pixels of one channel."""
    if len(job.operands["x"].shape) < 3:
        return None

    def turn(values: Array) -> Array:
        return np.swapaxes(values, -1, -2)

    read = with_cotangents(with_operand(job, "x", moved(job.operands["x"], turn)), lambda t: moved(t, turn))

    def change(found: Expectations) -> Expectations:
        return Expectations(
            outputs={name: mapped(e, turn) for name, e in found.outputs.items()},
            gradients={name: mapped(e, turn) for name, e in found.gradients.items()},
        )

    return Reading(job=read, change=change)


def _response(job: Job, weights: Float64, *, through: bool = True) -> Reading:
    """Output and gradient computed here, with alpha for every pair (window, channel)."""
    a: Any = job.attributes
    x = numbers(job.operands["x"])

    def change(found: Expectations) -> Expectations:
        with np.errstate(all="ignore"):
            base = a.bias + np.square(x) @ weights.T
            shrunk = base**-a.beta
            terms = _CHAIN + 8 * a.size + 16 * a.beta * float(np.abs(np.log(base)).max(initial=0.0))
            outputs = {"output": bounded(job, x * shrunk, terms, np.abs(x) * shrunk)} if through else None
            gradients = {}
            if job.cotangents:
                g = numbers(job.cotangents["output"])
                inner = g * x * shrunk / base
                bent = 2 * a.beta * x * (inner @ weights) if through else np.zeros(x.shape)
                size = np.abs(g) * shrunk + 2 * a.beta * np.abs(x) * (np.abs(inner) @ weights)
                gradients["x"] = bounded(job, g * shrunk - bent, 3 * terms, size)
        return replaced(found, outputs, gradients)

    return Reading(job=job, change=change)


def _reach(job: Job) -> Array:
    """Which channels lie in which window."""
    a, channels = job.attributes, job.operands["x"].shape[-1]
    smaller, larger = (a.size - 1) // 2, a.size // 2
    low, high = (larger, smaller) if a.extra == "low" else (smaller, larger)
    apart = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    return np.asarray((apart >= -low) & (apart <= high))


def _existing_counted(job: Job) -> Reading | None:
    """The mean of the squares that there are: at the ends the divisor is smaller."""
    reach = _reach(job)
    if job.attributes.alpha_of != "mean" or (reach.sum(axis=1) == job.attributes.size).all() or _empty(job):
        return None
    return _response(job, job.attributes.alpha * reach / reach.sum(axis=1, keepdims=True))


def _clamped(job: Job) -> Reading | None:
    """Windows are moved inside: those at the ends hold as many channels as any."""
    a, channels = job.attributes, job.operands["x"].shape[-1]
    size = min(a.size, channels)
    low = a.size // 2 if a.extra == "low" else (a.size - 1) // 2
    starts = np.clip(np.arange(channels) - low, 0, channels - size)
    apart = np.arange(channels)[None, :] - starts[:, None]
    window = (apart >= 0) & (apart < size)
    if _empty(job) or np.array_equal(window, _reach(job)):
        return None
    return _response(job, _alpha(job) * window)


def _denominator_held(job: Job) -> Reading | None:
    if _empty(job) or not job.cotangents or not job.attributes.alpha or not job.attributes.beta:
        return None
    return _response(job, _alpha(job) * _reach(job), through=False)


def _alpha(job: Job) -> float:
    alpha: float = job.attributes.alpha
    return alpha / job.attributes.size if job.attributes.alpha_of == "mean" else alpha


_STATISTICS: Final = "sets of several numbers, where gradients are asked"

VARIANTS: Final = (
    *(
        Variant(
            name=f"epsilon {other:g} for {given:g}",
            operators=NORMS,
            about="Keras has 1e-3 for its default, PyTorch and Flax 1e-5; a port that keeps its own is a little off.",
            seen_by=f"epsilon {given:g}, and variances that are not large",
            read=partial(_epsilon, given=given, other=other),
        )
        for given, other in ((1e-5, 1e-3), (1e-3, 1e-5))
    ),
    Variant(
        name="epsilon outside the root",
        operators=NORMS,
        about="The standard deviation is taken first, and epsilon keeps the quotient alone from overflowing.",
        seen_by="a variance that epsilon changes",
        read=partial(_inverted, inverse=_epsilon_outside),
    ),
    Variant(
        name="epsilon as a floor of the variance",
        operators=NORMS,
        about="The larger of variance and epsilon is taken, not their sum.",
        seen_by="an epsilon that is not far below the variance",
        read=partial(_inverted, inverse=_epsilon_clamped),
    ),
    Variant(
        name="divided by the variance",
        operators=NORMS,
        about="The root is forgotten.",
        seen_by="a variance other than 1",
        read=partial(_inverted, inverse=_not_rooted),
    ),
    Variant(
        name="normalised by the unbiased variance",
        operators=MEASURED,
        about="torch.var and MATLAB's var divide by n - 1 unless told otherwise.",
        seen_by="sets of several numbers",
        read=partial(_inverted, inverse=_unbiased),
    ),
    Variant(
        name="no gradient through the statistics",
        operators=MEASURED,
        about="Mean and variance are detached, as those of inference are: a stop_gradient too many.",
        seen_by=_STATISTICS,
        read=partial(_stopped, through="neither"),
        touches="gradients",
    ),
    Variant(
        name="no gradient through the variance",
        operators=MEASURED,
        about="The variance alone is taken for a constant.",
        seen_by=_STATISTICS,
        read=partial(_stopped, through="mean"),
        touches="gradients",
    ),
    Variant(
        name="no gradient through the mean",
        operators=MEASURED,
        about="The mean alone is taken for a constant.",
        seen_by=_STATISTICS,
        read=partial(_stopped, through="variance"),
        touches="gradients",
    ),
    *(
        Variant(
            name=f"{name} dropped",
            operators=NORMS,
            about=f"A converter, or affine=False, forgets the {name}.",
            seen_by=f"a {name}",
            read=partial(_dropped, name=name),
        )
        for name in ("scale", "offset")
    ),
    Variant(
        name="scale counted from one",
        operators=NORMS,
        about="Some networks keep the scale's distance from 1, so that zeros begin and decay to the identity.",
        seen_by="a scale",
        read=_scale_from_one,
    ),
    Variant(
        name="scale and offset swapped",
        operators=NORMS,
        about="tf.nn.batch_normalization takes the offset first, PyTorch the weight.",
        seen_by="both operands",
        read=_swapped,
    ),
    *(
        Variant(
            name=f"{name}'s gradient averaged",
            operators=NORMS,
            about="A mean stands where the terms of a gradient are summed.",
            seen_by=f"a {name} that serves several numbers, where gradients are asked",
            read=partial(_averaged, name=name),
            touches="gradients",
        )
        for name in ("scale", "offset")
    ),
    *(
        Variant(
            name=f"{name}'s gradient of the first element of the batch",
            operators=NORMS,
            about="The sum over the batch is forgotten.",
            seen_by=f"a batch of several and a {name}, where gradients are asked",
            read=partial(_of_first, name=name),
            touches="gradients",
        )
        for name in ("scale", "offset")
    ),
    Variant(
        name="statistics of the batch at inference",
        operators=("batch_norm",),
        about="A network is left in training mode, or never asked its running statistics.",
        seen_by="statistics that are not the batch's own",
        read=_by_the_batch,
    ),
    Variant(
        name="a standard deviation taken for the variance",
        operators=("batch_norm",),
        about="Stored statistics are read as deviations, and squared.",
        seen_by="a variance other than 0 and 1",
        read=_deviation_for_variance,
    ),
    Variant(
        name="running statistics used in training",
        operators=("batch_norm_training",),
        about="A network is left in inference mode, or a layer is frozen.",
        seen_by="statistics that are not the batch's own",
        read=_by_the_running,
    ),
    Variant(
        name="running statistics not moved",
        operators=("batch_norm_training",),
        about="Update operations are never run, as in TensorFlow 1 without its dependencies.",
        seen_by="a momentum below 1",
        read=_not_moved,
        touches="outputs",
    ),
    Variant(
        name="running statistics begun anew",
        operators=("batch_norm_training",),
        about="The old values are lost on the way, or a copy of them is moved.",
        seen_by="a momentum above 0",
        read=_moved_from_zero,
        touches="outputs",
    ),
    Variant(
        name="momentum read the other way",
        operators=("batch_norm_training",),
        about="Keras's momentum is the share that stays, PyTorch's the share that comes.",
        seen_by="a momentum other than 1/2",
        read=_momentum_turned,
        touches="outputs",
    ),
    Variant(
        name="running variance with the other divisor",
        operators=("batch_norm_training",),
        about="PyTorch and TensorFlow's fused kernel divide by n - 1, Keras and Flax by n.",
        seen_by="a momentum below 1 and few numbers a channel",
        read=_bessel_turned,
        touches="outputs",
    ),
    Variant(
        name="statistics of each image",
        operators=("batch_norm_training",),
        about="Instances are normalised where the batch should be.",
        seen_by="a batch of several images",
        read=partial(_over, axes=lambda rank: tuple(range(1, rank - 1))),
    ),
    Variant(
        name="statistics over the channels too",
        operators=("batch_norm_training",),
        about="An axis that is not given is read as all of them.",
        seen_by="several channels",
        read=partial(_over, axes=lambda rank: tuple(range(rank))),
    ),
    Variant(
        name="statistics of axis 1",
        operators=("batch_norm_training",),
        about="A channels-first layer takes the statistics of the second axis.",
        seen_by="an x of at least three axes",
        read=partial(_over, axes=lambda rank: (0, *range(2, rank)) if rank > 2 else ()),
    ),
    Variant(
        name="statistics of each row",
        operators=("batch_norm_training",),
        about="A layer is normalised where the batch should be.",
        seen_by="several numbers in an element of the batch",
        read=partial(_over, axes=lambda rank: tuple(range(1, rank))),
    ),
    Variant(
        name="statistics over the batch",
        operators=("layer_norm", "instance_norm"),
        about="The batch is normalised where each of its elements should be.",
        seen_by="a batch of several",
        read=partial(_over, axes=lambda rank: tuple(range(rank - 1))),
    ),
    Variant(
        name="statistics of the last axis alone",
        operators=("layer_norm",),
        about="Keras's default axis is the last one.",
        seen_by="several axes, or one that is not the last",
        read=partial(_over, axes=lambda rank: (rank - 1,)),
    ),
    Variant(
        name="statistics over all but the batch",
        operators=("layer_norm",),
        about="The layer of the paper is all of an element of the batch.",
        seen_by="an x of three axes, of which one is normalised",
        read=partial(_over, axes=lambda rank: tuple(range(1, rank))),
    ),
    Variant(
        name="instance read as layer",
        operators=("instance_norm",),
        about="All channels of an image share a mean.",
        seen_by="several channels",
        read=_one_group,
    ),
    Variant(
        name="groups of interleaved channels",
        operators=("group_norm",),
        about="A reshape to (channels of a group, groups) instead of (groups, channels of a group).",
        seen_by="several groups of several channels",
        read=_interleaved,
    ),
    Variant(
        name="groups taken for channels of a group",
        operators=("group_norm",),
        about="The number of groups is read as their size.",
        seen_by="other groups than channels in each",
        read=partial(_groups, groups=lambda groups, channels: channels // groups),
    ),
    Variant(
        name="group read as layer",
        operators=("group_norm",),
        about="All channels of an image share a mean.",
        seen_by="several groups",
        read=partial(_groups, groups=lambda groups, channels: 1),
    ),
    Variant(
        name="group read as instance",
        operators=("group_norm",),
        about="Every channel of an image has a mean of its own.",
        seen_by="groups of several channels",
        read=partial(_groups, groups=lambda groups, channels: channels),
    ),
    Variant(
        name="alpha of the other sum",
        operators=RESPONSE,
        about="PyTorch, Caffe and ONNX divide alpha by the size of the window, TensorFlow does not.",
        seen_by="a window of several channels",
        read=_other_alpha,
    ),
    Variant(
        name="the extra channel on the other side",
        operators=RESPONSE,
        about="An even window begins one channel later in ONNX than in PyTorch.",
        seen_by="an even window",
        read=_other_side,
    ),
    Variant(
        name="size read as a radius",
        operators=RESPONSE,
        about="TensorFlow's depth_radius is given PyTorch's size.",
        seen_by="more channels than the window has",
        read=partial(_sized, size=lambda size: 2 * size + 1),
    ),
    Variant(
        name="radius read as a size",
        operators=RESPONSE,
        about="PyTorch's size is given TensorFlow's depth_radius.",
        seen_by="a window of several channels",
        read=partial(_sized, size=lambda size: size // 2),
    ),
    Variant(
        name="neighbours left out",
        operators=RESPONSE,
        about="The window is one channel wide, whatever its size.",
        seen_by="a window of several channels",
        read=partial(_sized, size=lambda size: 1),
    ),
    Variant(
        name="neighbours are pixels",
        operators=RESPONSE,
        about="Windows run along the axis before the channels, as a layout mistaken for another has it.",
        seen_by="an x of at least three axes",
        read=_along_columns,
    ),
    Variant(
        name="divisor counts the channels that exist",
        operators=RESPONSE,
        about="An average pool that does not count padding makes the mean.",
        seen_by="alpha of the mean, near the ends",
        read=_existing_counted,
    ),
    Variant(
        name="windows moved inside",
        operators=RESPONSE,
        about="At the ends a window is shifted instead of cut.",
        seen_by="a window of several channels, fewer than there are",
        read=_clamped,
    ),
    Variant(
        name="beta and bias swapped",
        operators=RESPONSE,
        about="TensorFlow's order is bias, alpha, beta; PyTorch's alpha, beta, k.",
        seen_by="a beta other than the bias",
        read=_constants_swapped,
    ),
    Variant(
        name="bias 1",
        operators=RESPONSE,
        about="A default stands where the paper has 2.",
        seen_by="another bias",
        read=partial(reread, bias=1.0),
    ),
    *(
        Variant(
            name=f"beta {beta:g}",
            operators=RESPONSE,
            about=f"{whose} default is {beta:g}.",
            seen_by="another beta",
            read=partial(reread, beta=beta),
        )
        for beta, whose in ((0.5, "TensorFlow's"), (0.75, "PyTorch's"))
    ),
    Variant(
        name="no gradient through the denominator",
        operators=RESPONSE,
        about="What divides is taken for a constant.",
        seen_by="alpha and beta other than 0, where gradients are asked",
        read=_denominator_held,
        touches="gradients",
    ),
)
