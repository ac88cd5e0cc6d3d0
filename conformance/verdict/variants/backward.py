"""Other readings of gradient kernels: what a backward pass forgets, seen in the kernel that computes it."""

from functools import partial
from typing import Final

import numpy as np

from conformance.case.job import Job, Tensor
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    Array,
    Reading,
    Variant,
    each_gradient,
    each_output,
    moved_output,
    on_gradient,
    reread,
    scaled,
    with_operand,
)


def _flipped(job: Job) -> Reading | None:
    axes = tuple(range(len(job.attributes.kernel)))
    flip = partial(np.flip, axis=axes)
    return None if max(job.attributes.kernel) == 1 else moved_output(job, flip, flip)


def _axes_exchanged(job: Job) -> Reading | None:
    kernel = job.attributes.kernel
    if kernel[-1] != kernel[-2] or kernel[-1] == 1:
        return None
    last = len(kernel) - 1
    exchange = partial(np.swapaxes, axis1=last - 1, axis2=last)
    return moved_output(job, exchange, exchange)


def _averaged(job: Job) -> Reading | None:
    images = job.operands["x"].shape[0]
    if images < 2:
        return None

    def change(found: Expectations) -> Expectations:
        outputs = each_output(found, lambda e: scaled(e, 1 / images, job))
        return each_gradient(outputs, lambda e: scaled(e, 1 / images, job))

    return Reading(job=job, change=change, rounds=True)


def _first_image_alone(job: Job) -> Reading | None:
    """The other images take no part, neither in the sum nor in what it is differentiated by."""
    if job.operands["x"].shape[0] < 2:
        return None

    def first(array: Array) -> Array:
        kept = np.array(array)
        kept[1:] = np.zeros((), kept.dtype)
        return kept

    x = job.operands["x"]
    read = with_operand(job, "x", Tensor(x.format, first(x.data)))
    return Reading(job=read, change=lambda found: on_gradient(found, "x", first))


def _same_lower(job: Job) -> Reading | None:
    return reread(job, padding="same_lower") if job.attributes.padding == "same" else None


def _last_alone(job: Job) -> Reading | None:
    """Of several numbers for one place the last one stands, in the order of memory."""
    x = job.operands["x"]
    indices: Array = job.operands["indices"].data
    images, channels = x.shape[0], x.shape[-1]
    places = indices * channels + np.arange(channels) if job.attributes.indexed == "plane" else indices
    flat = places.reshape(images, -1)
    kept = np.zeros(flat.shape, np.bool_)
    for image, row in enumerate(flat):
        kept[image, row.size - 1 - np.unique(row[::-1], return_index=True)[1]] = True
    if kept.all():
        return None

    def standing(array: Array) -> Array:
        return np.where(kept.reshape(x.shape), array, np.zeros((), array.dtype))

    read = with_operand(job, "x", Tensor(x.format, standing(x.data)))
    return Reading(job=read, change=lambda found: on_gradient(found, "x", standing))


_WEIGHT: Final = ("conv?d_weight_gradient",)

VARIANTS: Final = (
    Variant(
        name="kernel's gradient flipped",
        operators=_WEIGHT,
        about="The gradient of a kernel comes back in the order of the other convention.",
        seen_by="a kernel of several taps",
        read=_flipped,
    ),
    Variant(
        name="kernel's gradient with its last spatial axes exchanged",
        operators=_WEIGHT,
        about="Rows and columns of the kernel's gradient are exchanged, which equal sides let pass.",
        seen_by="a kernel with equal sides of several taps",
        read=_axes_exchanged,
    ),
    Variant(
        name="kernel's gradient averaged over the batch",
        operators=_WEIGHT,
        about="The kernel divides by the batch although the loss has done so already.",
        seen_by="a batch of at least 2",
        read=_averaged,
    ),
    Variant(
        name="kernel's gradient of the first image alone",
        operators=_WEIGHT,
        about="The sum over the batch is missing.",
        seen_by="a batch of at least 2",
        read=_first_image_alone,
    ),
    Variant(
        name="kernel's gradient with SAME's odd pixel at the low end",
        operators=_WEIGHT,
        about="The backward pass resolves SAME apart from the forward one, and the other way round.",
        seen_by="SAME with an odd number of pads",
        read=_same_lower,
    ),
    Variant(
        name="of one place's numbers the last",
        operators=("max_pool2d_gradient",),
        about="A scatter that writes where it should add, or a race of threads that do.",
        seen_by="an index that occurs twice in a channel",
        read=_last_alone,
    ),
)
