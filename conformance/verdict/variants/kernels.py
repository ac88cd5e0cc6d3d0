"""Other readings of kernels, biases, groups and channels."""

from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from conformance.case.job import Job
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    KERNELS,
    KERNELS_OF_PLANES,
    POOLS,
    TRANSPOSED,
    Array,
    Reading,
    Variant,
    as_channels_first,
    each_gradient,
    each_output,
    kernel_of,
    moved,
    moved_operand,
    moved_output,
    numbers,
    on_gradient,
    on_outputs,
    rank_of,
    scaled,
    stored,
    with_operand,
)

BIASED: Final = (*KERNELS, "dense")
LAYERS: Final = (*BIASED, "bias_add")


def _flipped(job: Job, axes: tuple[int, ...] | None = None) -> Reading | None:
    kernel = kernel_of(job)
    turned = tuple(range(len(kernel))) if axes is None else axes
    others = [size for axis, size in enumerate(kernel) if axis not in turned]
    if all(kernel[axis] == 1 for axis in turned) or (axes is not None and all(size == 1 for size in others)):
        return None  # a flip of one axis is the whole flip where the other ones have a single tap

    def flip(w: Array) -> Array:
        return np.flip(w, turned)

    return moved_operand(job, "w", flip, flip)


def _axes_transposed(job: Job) -> Reading | None:
    if max(kernel_of(job)[:2]) == 1:
        return None
    return moved_operand(job, "w", lambda w: np.swapaxes(w, 0, 1), lambda w: np.swapaxes(w, 0, 1))


def _channels_first_memory(job: Job) -> Reading | None:
    shape = job.operands["w"].shape
    rank = rank_of(job)
    if sum(size > 1 for size in shape) < 2:
        return None
    first = (shape[-1], shape[-2], *shape[:rank])

    def reread(w: Array) -> Array:
        return w.reshape(first).transpose(*range(2, rank + 2), 1, 0)

    def back(w: Array) -> Array:
        return w.transpose(rank + 1, rank, *range(rank)).reshape(shape)

    return moved_operand(job, "w", reread, back)


def _last_axes_swapped(job: Job) -> Reading | None:
    shape = job.operands["w"].shape
    if min(shape[-2:]) == 1:
        return None
    other = (*shape[:-2], shape[-1], shape[-2])
    return moved_operand(
        job,
        "w",
        lambda w: np.swapaxes(w.reshape(other), -1, -2),
        lambda w: np.swapaxes(w, -1, -2).reshape(shape),
    )


def _bias_dropped(job: Job) -> Reading | None:
    if "b" not in job.operands:
        return None
    return Reading(job=with_operand(job, "b", moved(job.operands["b"], np.zeros_like)))


def _bias_twice(job: Job) -> Reading | None:
    if "b" not in job.operands:
        return None
    return Reading(
        job=with_operand(job, "b", stored(job, 2.0 * numbers(job.operands["b"]))),
        change=lambda found: each_gradient(found, lambda e: scaled(e, 2.0, job), ("b",)),
    )


def _bias_along_second_axis(job: Job) -> Reading | None:
    x, b = job.operands["x"], job.operands["b"]
    if len(x.shape) < 3 or x.shape[1] != b.shape[0]:
        return None
    turned = {name: moved(tensor, _second_last) for name, tensor in job.cotangents.items()}
    read = replace(with_operand(job, "x", moved(x, _second_last)), cotangents=turned)
    return Reading(job=read, change=lambda found: on_gradient(on_outputs(found, _second_last), "x", _second_last))


def _second_last(x: Array) -> Array:
    return np.swapaxes(x, 1, -1)


def _groups(job: Job) -> int:
    groups: int = job.attributes.groups
    return groups


def _blocks(groups: int, size: int) -> Array:
    return np.arange(size).reshape(groups, size // groups)


def _input_channels(job: Job, order: Array) -> Reading | None:
    back = np.argsort(order)
    if np.array_equal(order, back) and np.array_equal(order, np.arange(len(order))):
        return None
    return moved_operand(job, "x", lambda x: x[..., order], lambda x: x[..., back])


def _groups_interleaved_in(job: Job) -> Reading | None:
    return _input_channels(job, _blocks(_groups(job), job.operands["x"].shape[-1]).T.ravel())


def _groups_reversed(job: Job) -> Reading | None:
    return _input_channels(job, _blocks(_groups(job), job.operands["x"].shape[-1])[::-1].ravel())


def _groups_interleaved_out(job: Job) -> Reading | None:
    w = job.operands["w"].shape
    size = w[-1] if "transpose" not in job.operator else w[-2] * _groups(job)
    order = _blocks(_groups(job), size).T.ravel()
    back = np.argsort(order)
    if np.array_equal(order, np.arange(size)):
        return None
    return moved_output(job, lambda y: y[..., order], lambda y: y[..., back])


def _first_group_alone(job: Job) -> Reading | None:
    groups, size = _groups(job), job.operands["x"].shape[-1]
    if groups == 1:
        return None
    each = size // groups

    def back(gradient: Array) -> Array:
        summed = gradient.reshape(*gradient.shape[:-1], groups, each).sum(axis=-2)
        return np.concatenate([summed, np.zeros((*summed.shape[:-1], size - each))], axis=-1)

    read = with_operand(job, "x", moved(job.operands["x"], lambda x: np.tile(x[..., :each], groups)))
    return Reading(job=read, change=lambda found: on_gradient(found, "x", back), rounds=True)


def _channels_first_data(job: Job) -> Reading | None:
    shape = job.operands["x"].shape
    if shape[-1] == 1 or all(size == 1 for size in shape[1:-1]):
        return None
    move, back = as_channels_first(shape)
    return moved_operand(job, "x", move, back)


def _channels_last_data(job: Job) -> Reading | None:
    shape = job.operands["x"].shape
    if shape[-1] == 1 or all(size == 1 for size in shape[1:-1]):
        return None
    back, move = as_channels_first(shape)
    return moved_operand(job, "x", move, back)


def _channels_reversed(job: Job) -> Reading | None:
    if job.operands["x"].shape[-1] == 1:
        return None
    return moved_operand(job, "x", lambda x: x[..., ::-1], lambda x: x[..., ::-1])


def _batch_reversed(job: Job) -> Reading | None:
    if job.operands["x"].shape[0] < 2:
        return None
    return Reading(job=job, change=lambda found: on_outputs(found, lambda y: y[::-1]))


def _first_image_alone(job: Job) -> Reading | None:
    if job.operands["x"].shape[0] < 2:
        return None
    return Reading(
        job=job, change=lambda found: on_outputs(found, lambda y: np.repeat(y[:1], len(y), axis=0) if len(y) else y)
    )


def _one_element_off(job: Job) -> Reading:
    def off(y: Array) -> Array:
        y = np.array(y)
        if y.size:
            with np.errstate(invalid="ignore"):
                place = np.unravel_index(int(np.argmax(np.where(np.isfinite(y), np.abs(y), -1.0))), y.shape)
            y[place] *= 1 + 1e-6
        return y

    def change(found: Expectations) -> Expectations:
        return each_output(found, lambda e: replace(e, value=off(e.value)))

    return Reading(job=job, change=change)


_TAPS: Final = "a kernel of several taps with unequal numbers"
_GROUPS: Final = "several groups of several channels each, as {groups: 2} with 4 channels in and out"

VARIANTS: Final = (
    Variant(
        name="kernel flipped",
        operators=KERNELS,
        about="Signal processing's convolution, and code that calls scipy.signal.convolve, flips the kernel.",
        seen_by=_TAPS,
        read=_flipped,
    ),
    *(
        Variant(
            name=f"kernel flipped along spatial axis {axis}",
            operators=KERNELS_OF_PLANES if axis < 2 else ("conv3d", "conv3d_transpose"),
            about="A flip of one axis alone, w[::-1], is the usual half of a conversion between the conventions.",
            seen_by="a kernel with several taps along every axis",
            read=partial(_flipped, axes=(axis,)),
        )
        for axis in range(3)
    ),
    Variant(
        name="kernel axes transposed",
        operators=KERNELS_OF_PLANES,
        about="Column-major imports and (width, height) conventions exchange the first two axes of a kernel.",
        seen_by="a kernel with unequal sides or unequal numbers",
        read=_axes_transposed,
    ),
    Variant(
        name="kernel memory read as (out, in, taps)",
        operators=KERNELS,
        about="Weights of a channels-first framework are reshaped where they must be transposed.",
        seen_by=_TAPS,
        read=_channels_first_memory,
    ),
    Variant(
        name="transposed kernel's channels not swapped",
        operators=TRANSPOSED,
        about="Transposed kernels are (out, in) in TensorFlow and (in, out) in PyTorch; the axes stay as they were.",
        seen_by="as many channels in as out, more than one",
        read=_last_axes_swapped,
    ),
    Variant(
        name="matrix read as (out, in)",
        operators=("dense",),
        about="torch.nn.Linear keeps (out, in); its memory is read as (in, out).",
        seen_by="a matrix with several inputs and outputs",
        read=_last_axes_swapped,
    ),
    Variant(
        name="bias dropped",
        operators=LAYERS,
        about="A fused kernel or a converter forgets the bias.",
        seen_by="a bias",
        read=_bias_dropped,
        touches="outputs",
    ),
    Variant(
        name="bias added twice",
        operators=LAYERS,
        about="A bias that was folded into the convolution is added again after it.",
        seen_by="a bias",
        read=_bias_twice,
    ),
    Variant(
        name="bias added along axis 1",
        operators=("bias_add",),
        about="A channels-first bias_add broadcasts the bias along the second axis.",
        seen_by="an x with as many rows as channels",
        read=_bias_along_second_axis,
    ),
    Variant(
        name="groups read interleaved channels",
        operators=KERNELS,
        about="A channel shuffle too few or too many: group g reads channels g, g + groups, and so on.",
        seen_by=_GROUPS,
        read=_groups_interleaved_in,
    ),
    Variant(
        name="groups write interleaved channels",
        operators=KERNELS,
        about="Depthwise multipliers are outermost in some layouts: output channels come in another order.",
        seen_by=_GROUPS,
        read=_groups_interleaved_out,
    ),
    Variant(
        name="groups in reverse order",
        operators=KERNELS,
        about="The blocks of channels are handed to the groups from the other end.",
        seen_by=_GROUPS,
        read=_groups_reversed,
    ),
    Variant(
        name="every group reads the first group's channels",
        operators=KERNELS,
        about="The offset of a group into the channels of x is forgotten.",
        seen_by=_GROUPS,
        read=_first_group_alone,
    ),
    Variant(
        name="x read as channels first",
        operators=(*KERNELS, *POOLS),
        about="Memory in (batch, channels, rows, columns) is taken for channels last without a transposition.",
        seen_by="several channels and pixels",
        read=_channels_first_data,
    ),
    Variant(
        name="channels-first x read as channels last",
        operators=(*KERNELS, *POOLS),
        about="A kernel written for channels last is given memory in (batch, channels, rows, columns).",
        seen_by="several channels and pixels",
        read=_channels_last_data,
    ),
    Variant(
        name="channels reversed",
        operators=(*KERNELS, *POOLS),
        about="Images are read as BGR for RGB.",
        seen_by="several channels of x",
        read=_channels_reversed,
    ),
    Variant(
        name="batch reversed",
        operators=(*LAYERS, *POOLS),
        about="Results of a batch are handed back in another order.",
        seen_by="a batch of at least 2",
        read=_batch_reversed,
        touches="outputs",
    ),
    Variant(
        name="the first image for every image",
        operators=(*LAYERS, *POOLS),
        about="A stride of zero over the batch: every image gives what the first one gives.",
        seen_by="a batch of at least 2",
        read=_first_image_alone,
        touches="outputs",
    ),
    Variant(
        name="one element off by one part in a million",
        operators=(*LAYERS, "max_pool?d", "pad", "flatten", "relu", "convolve", "correlate"),
        about="A lane of a vector unit, a tail loop or a memory cell gives one wrong number.",
        seen_by="wide integers, whose result must be exact",
        read=_one_element_off,
        touches="outputs",
    ),
)
