"""Other readings of pads, strides, dilations, windows and crops."""

from collections.abc import Callable
from functools import partial
from math import prod
from typing import Final

import numpy as np

from conformance.case.geometry import Padding, Pads, extent, resolve_pads
from conformance.case.job import Job
from conformance.verdict.variants.reading import (
    CONV,
    KERNELS,
    KERNELS_OF_PLANES,
    MAX_POOL,
    MAX_POOL_OF_PLANES,
    POOLS,
    POOLS_OF_PLANES,
    TRANSPOSED,
    Array,
    Reading,
    Variant,
    dilation_of,
    kernel_of,
    moved,
    on_gradient,
    on_outputs,
    output_shapes,
    pads_of,
    rank_of,
    repadded,
    reread,
    settled_job,
    sizes_of,
    with_attributes,
    with_operand,
)

NAMED: Final = ("same", "same_lower")


def _spans(job: Job) -> tuple[int, ...]:
    return tuple(map(extent, kernel_of(job), dilation_of(job)))


def _other_same(job: Job, given: Padding, other: str) -> Reading | None:
    if job.attributes.padding != given:
        return None
    read = with_attributes(job, padding=other)
    return None if pads_of(read) == pads_of(job) else Reading(job=read)


def _pads_swapped(job: Job) -> Reading | None:
    if not isinstance(job.attributes.padding, tuple):
        return None
    return repadded(job, tuple((high, low) for low, high in pads_of(job)))


def _pads_of_other_axes(job: Job) -> Reading | None:
    return repadded(job, pads_of(job)[::-1], **_without_output_padding(job))


def _low_pads_at_both_ends(job: Job) -> Reading | None:
    return repadded(job, tuple((low, low) for low, _ in pads_of(job)), **_without_output_padding(job))


def _without_output_padding(job: Job) -> dict[str, tuple[int, ...]]:
    """Nothing for what has none: `changes` that are none leave `repadded` to compare the pads."""
    more = getattr(settled_job(job).attributes, "output_padding", ())
    return {"output_padding": (0,) * len(more)} if any(more) else {}


def _unstrided(job: Job) -> Reading | None:
    if job.attributes.padding not in NAMED:
        return None
    ones = (1,) * rank_of(job)
    return repadded(job, resolve_pads(job.attributes.padding, sizes_of(job), kernel_of(job), ones, dilation_of(job)))


def _undilated(job: Job) -> Reading | None:
    if job.attributes.padding not in NAMED:
        return None
    ones = (1,) * rank_of(job)
    return repadded(
        job, resolve_pads(job.attributes.padding, sizes_of(job), kernel_of(job), job.attributes.stride, ones)
    )


def _unpadded(job: Job) -> Reading | None:
    if job.attributes.padding == "valid":
        return None
    return repadded(job, ((0, 0),) * rank_of(job))


def _half_kernel(job: Job) -> Reading | None:
    if job.attributes.padding not in NAMED:
        return None
    if "transpose" in job.operator:
        return repadded(job, tuple((max((span - 1) // 2, 0),) * 2 for span in _spans(job)))
    return repadded(job, tuple((span // 2,) * 2 for span in _spans(job)))


def _bordered(job: Job, index: Callable[[Array, int], Array]) -> Reading | None:
    """Reads x at other positions where the definition has zeros; the gradient adds up there."""
    pads, sizes = pads_of(job), sizes_of(job)
    if not any(map(any, pads)) or 0 in job.operands["x"].shape:
        return None
    places = [index(np.arange(-low, n + high), n) for n, (low, high) in zip(sizes, pads, strict=True)]

    def bordered(x: Array) -> Array:
        for axis, place in enumerate(places, start=1):
            x = np.take(x, place, axis=axis)
        return x

    def back(gradient: Array) -> Array:
        for axis, (place, n) in enumerate(zip(places, sizes, strict=True), start=1):
            small = np.zeros((n, *np.delete(gradient.shape, axis)))
            np.add.at(small, place, np.moveaxis(gradient, axis, 0))
            gradient = np.moveaxis(small, 0, axis)
        return gradient

    read = with_attributes(with_operand(job, "x", moved(job.operands["x"], bordered)), padding="valid")
    return Reading(job=read, change=lambda found: on_gradient(found, "x", back), rounds=True)


def _clipped(place: Array, n: int) -> Array:
    return np.clip(place, 0, n - 1)


def _wrapped(place: Array, n: int) -> Array:
    return np.mod(place, n)


def _reversed_axes(job: Job, name: str) -> Reading | None:
    given: tuple[int, ...] = getattr(job.attributes, name)
    return reread(job, **{name: given[::-1]})


def _first_for_all(job: Job, name: str) -> Reading | None:
    given: tuple[int, ...] = getattr(job.attributes, name)
    return reread(job, **{name: given[:1] * len(given)})


def _ones(job: Job, name: str) -> Reading | None:
    return reread(job, **{name: (1,) * rank_of(job)})


def _dilated_input(job: Job) -> Reading | None:
    dilation, rank = dilation_of(job), rank_of(job)
    if max(dilation) == 1 or 0 in job.operands["x"].shape:
        return None
    pads = pads_of(job)
    every = (slice(None), *(slice(None, None, d) for d in dilation))

    def spread(x: Array) -> Array:
        sizes = ((n - 1) * d + 1 for n, d in zip(x.shape[1:-1], dilation, strict=True))
        large = np.zeros((x.shape[0], *sizes, x.shape[-1]), x.dtype)
        large[every] = x
        return large

    read = with_attributes(
        with_operand(job, "x", moved(job.operands["x"], spread)), dilation=(1,) * rank, padding=pads
    )
    return Reading(job=read, change=lambda found: on_gradient(found, "x", lambda x: x[every]))


def _last_window_dropped(job: Job) -> Reading | None:
    rank = rank_of(job)

    def cut(y: Array) -> Array:
        return y[(slice(None), *(slice(0, max(n - 1, 1)) for n in y.shape[1 : rank + 1]))]

    if max(output_shapes(job)["output"][1:-1]) == 1:
        return None
    return Reading(job=job, change=lambda found: on_outputs(found, cut))


def _hanging_window(job: Job) -> Reading | None:
    """One more window an axis where the last one does not end at the end."""
    if job.attributes.padding in NAMED:
        return None
    pads = []
    for n, (low, high), span, s in zip(sizes_of(job), pads_of(job), _spans(job), job.attributes.stride, strict=True):
        left = (n + low + high - span) % s
        pads.append((low, high + (s - left if left else 0)))
    return repadded(job, tuple(pads))


def _ceil(job: Job, mode: bool) -> Reading | None:
    if job.attributes.padding in NAMED:
        return None
    return reread(job, ceil_mode=mode)


def _stride_is_the_window(job: Job) -> Reading | None:
    return reread(job, stride=job.attributes.window)


# Transposed convolutions --------------------------------------------------------------------------------------------


def _output_padding_low(job: Job) -> Reading | None:
    job = settled_job(job)
    more, pads = job.attributes.output_padding, job.attributes.padding
    if not any(more) or any(low < m for (low, _), m in zip(pads, more, strict=True)):
        return None
    shifted: Pads = tuple((low - m, high) for (low, high), m in zip(pads, more, strict=True))
    return Reading(job=with_attributes(job, padding=shifted, output_padding=(0,) * len(more)))


def _crop_from_the_end(job: Job) -> Reading | None:
    """SAME's crop: what is cut off in all is split evenly, and the odd row comes off the end."""
    job = settled_job(job)
    if not isinstance(job.attributes.padding, tuple):
        return None
    crops = [
        (low, high - more)
        for (low, high), more in zip(job.attributes.padding, job.attributes.output_padding, strict=True)
    ]
    if any(low + high < 0 for low, high in crops):
        return None
    split = tuple(((low + high) // 2, low + high - (low + high) // 2) for low, high in crops)
    if split == tuple(crops):
        return None
    return Reading(job=with_attributes(job, padding=split, output_padding=(0,) * len(split)))


def _as_same(job: Job) -> Reading | None:
    """SAME in the place of pads, where as many windows fit."""
    if not isinstance(job.attributes.padding, tuple):
        return None
    read = _other_same(job, job.attributes.padding, "same")
    return read if read is not None and output_shapes(read.job) == output_shapes(job) else None


def _output_padding_ignored(job: Job) -> Reading | None:
    job = settled_job(job)
    more = job.attributes.output_padding
    return reread(job, output_padding=(0,) * len(more))


def _told_size_ignored(job: Job) -> Reading | None:
    return reread(job, output_size=())


def _usual_crop(job: Job) -> Reading | None:
    """SAME's first elements of the size that is told, from where the usual size begins."""
    if not job.attributes.output_size or job.attributes.padding not in NAMED:
        return None
    usual = pads_of(with_attributes(job, output_size=()))
    crops = settled_job(job).attributes.padding
    return repadded(
        job, tuple((begin, low + high - begin) for (begin, _), (low, high) in zip(usual, crops, strict=True))
    )


def _cut_off(job: Job) -> Reading | None:
    return reread(job, pad_mode="zeros")


def _shared_out(job: Job, other: str) -> Reading | None:
    """Circular pads of as many elements, as SAME has them."""
    a = job.attributes
    if a.pad_mode != "circular" or a.padding == other or a.output_size:
        return None
    read = with_attributes(job, padding=other, output_padding=(0,) * rank_of(job))
    if output_shapes(read) != output_shapes(job) or pads_of(read) == pads_of(job):
        return None
    return Reading(job=read)


def _whole_canvas(job: Job) -> Reading | None:
    if job.attributes.padding != "valid":
        return None
    wide = any(s > span for s, span in zip(job.attributes.stride, _spans(job), strict=True))
    return repadded(job, ((0, 0),) * rank_of(job), output_padding=(0,) * rank_of(job)) if wide else None


# Padding as an operator ---------------------------------------------------------------------------------------------


def _pad_pairs(job: Job, change: Callable[[Pads], Pads]) -> Reading | None:
    return reread(job, padding=change(job.attributes.padding))


def _pad_swapped(pads: Pads) -> Pads:
    return tuple((high, low) for low, high in pads)


def _pad_reversed(pads: Pads) -> Pads:
    return pads[::-1]


def _without_cuts(pads: Pads) -> Pads:
    return tuple((max(low, 0), max(high, 0)) for low, high in pads)


def _other_side(pads: Pads) -> Pads:
    return tuple((abs(low), abs(high)) for low, high in pads)


def _pad_value_ignored(job: Job) -> Reading | None:
    return reread(job, value=0.0)


def _pad_border(job: Job) -> Reading | None:
    pads = job.attributes.padding
    shape = job.operands["x"].shape
    if not any(map(any, pads)) or prod(shape) == 0:
        return None
    places = [np.clip(np.arange(-low, n + high), 0, n - 1) for n, (low, high) in zip(shape, pads, strict=True)]

    def back(gradient: Array) -> Array:
        for axis, (place, n) in enumerate(zip(places, shape, strict=True)):
            small = np.zeros((n, *np.delete(gradient.shape, axis)))
            np.add.at(small, place, np.moveaxis(gradient, axis, 0))
            gradient = np.moveaxis(small, 0, axis)
        return gradient

    read = with_attributes(
        with_operand(job, "x", moved(job.operands["x"], lambda x: x[np.ix_(*places)])),
        padding=tuple((0, 0) for _ in pads),
    )
    return Reading(job=read, change=lambda found: on_gradient(found, "x", back), rounds=True)


_EVEN: Final = "SAME with an even kernel or window"
_EXPLICIT: Final = "explicit pads that differ between the ends and between the axes"
_DILATED: Final = "a dilation above 1"
_MIXED: Final = "unequal values along the axes"
_SLIDING: Final = (*KERNELS, *POOLS)
_DILATABLE: Final = (*KERNELS, *MAX_POOL)

VARIANTS: Final = (
    Variant(
        name="SAME_LOWER",
        operators=_SLIDING,
        about="Caffe2, and ONNX with auto_pad SAME_LOWER, put SAME's odd pixel at the top and the left.",
        seen_by=_EVEN,
        read=partial(_other_same, given="same", other="same_lower"),
    ),
    Variant(
        name="SAME_UPPER",
        operators=_SLIDING,
        about="A converter reads SAME_LOWER as plain SAME, the odd pixel at the bottom and the right.",
        seen_by="SAME_LOWER with an even kernel or window",
        read=partial(_other_same, given="same_lower", other="same"),
    ),
    Variant(
        name="pads swapped",
        operators=_SLIDING,
        about="The two ends of an axis are exchanged: (high, low) for (low, high).",
        seen_by=_EXPLICIT,
        read=_pads_swapped,
    ),
    Variant(
        name="pads of the axes in reverse order",
        operators=(*KERNELS_OF_PLANES, *POOLS_OF_PLANES),
        about="torch.nn.functional.pad takes the last axis first.",
        seen_by=_EXPLICIT,
        read=_pads_of_other_axes,
    ),
    Variant(
        name="low pads at both ends",
        operators=_SLIDING,
        about="A framework with one pad an axis gets the first of the two.",
        seen_by=_EXPLICIT,
        read=_low_pads_at_both_ends,
    ),
    Variant(
        name="SAME for pads of one's own",
        operators=(*CONV, *POOLS),
        about="A port writes padding='same' for PyTorch's pads; with a stride its odd pixel is at the high end.",
        seen_by="pads with a stride above 1, of as many windows as SAME has",
        read=_as_same,
    ),
    Variant(
        name="SAME padded as if unstrided",
        operators=(*CONV, *POOLS),
        about="Total SAME padding is taken as k - 1, as for a stride of 1.",
        seen_by="SAME with a stride above 1 and a size that it does not divide evenly",
        read=_unstrided,
    ),
    Variant(
        name="SAME padded as if undilated",
        operators=(*CONV, *MAX_POOL),
        about="SAME padding counts the kernel's taps, not the dilated span.",
        seen_by="SAME with a dilation above 1",
        read=_undilated,
    ),
    Variant(
        name="padding ignored",
        operators=_SLIDING,
        about="The padding argument gets lost, and VALID is what is left.",
        seen_by="padding",
        read=_unpadded,
    ),
    Variant(
        name="SAME as k // 2 at both ends",
        operators=_SLIDING,
        about="PyTorch code writes padding=k // 2 for SAME; transposed, (k - 1) // 2 is cropped at both ends.",
        seen_by=_EVEN,
        read=_half_kernel,
    ),
    Variant(
        name="border replicated instead of zeros",
        operators=CONV,
        about="Image libraries repeat the border pixel where networks pad with zeros.",
        seen_by="padding",
        read=partial(_bordered, index=_clipped),
    ),
    Variant(
        name="wrapped around the border",
        operators=CONV,
        about="An FFT without enough padding convolves circularly.",
        seen_by="padding",
        read=partial(_bordered, index=_wrapped),
    ),
    *(
        Variant(
            name=f"{name}s of the axes swapped",
            operators=(*operators,),
            about=f"(width, height) conventions exchange the {name}s of rows and columns.",
            seen_by=f"a {name} with {_MIXED}",
            read=partial(_reversed_axes, name=name),
        )
        for name, operators in (
            ("stride", (*KERNELS_OF_PLANES, *POOLS_OF_PLANES)),
            ("dilation", (*KERNELS_OF_PLANES, *MAX_POOL_OF_PLANES)),
            ("window", POOLS_OF_PLANES),
        )
    ),
    *(
        Variant(
            name=f"the first {name} for every axis",
            operators=(*operators,),
            about=f"A kernel that supports one {name} takes it from the first axis.",
            seen_by=f"a {name} with {_MIXED}",
            read=partial(_first_for_all, name=name),
        )
        for name, operators in (
            ("stride", (*KERNELS_OF_PLANES, *POOLS_OF_PLANES)),
            ("dilation", (*KERNELS_OF_PLANES, *MAX_POOL_OF_PLANES)),
            ("window", POOLS_OF_PLANES),
        )
    ),
    Variant(
        name="stride ignored",
        operators=_SLIDING,
        about="The stride does not reach the kernel, which then moves one by one.",
        seen_by="a stride above 1",
        read=partial(_ones, name="stride"),
    ),
    Variant(
        name="dilation ignored",
        operators=_DILATABLE,
        about="Backends without dilated kernels have dropped the argument silently.",
        seen_by=_DILATED,
        read=partial(_ones, name="dilation"),
    ),
    Variant(
        name="dilation applied to the input",
        operators=CONV,
        about="XLA has lhs_dilation beside rhs_dilation; the wrong one spreads the input.",
        seen_by=_DILATED,
        read=_dilated_input,
    ),
    Variant(
        name="last window dropped",
        operators=(*CONV, *POOLS),
        about="(n - k) // s without the + 1.",
        seen_by="more than one window",
        read=_last_window_dropped,
    ),
    Variant(
        name="ceil for floor",
        operators=CONV,
        about="Caffe's pooling rule applied to convolution: a last window hangs over the end.",
        seen_by="VALID or explicit pads with a stride that leaves a rest",
        read=_hanging_window,
    ),
    Variant(
        name="ceil for floor",
        operators=POOLS,
        about="Caffe rounds the number of pooling windows up.",
        seen_by="VALID or explicit pads with a stride that leaves a rest",
        read=partial(_ceil, mode=True),
    ),
    Variant(
        name="floor for ceil",
        operators=POOLS,
        about="A backend without ceil_mode rounds the number of windows down.",
        seen_by="ceil_mode with a stride that leaves a rest",
        read=partial(_ceil, mode=False),
    ),
    Variant(
        name="stride is the window",
        operators=POOLS,
        about="PyTorch's and Keras' default stride stands where another one was asked.",
        seen_by="a stride that is not the window",
        read=_stride_is_the_window,
    ),
    Variant(
        name="crop from the end",
        operators=TRANSPOSED,
        about="TensorFlow's SAME crops the odd row from the end, PyTorch's output padding leaves it off the start.",
        seen_by="output padding, or pads that differ between the ends",
        read=_crop_from_the_end,
    ),
    Variant(
        name="output padding at the low end",
        operators=TRANSPOSED,
        about="The additional rows and columns are kept at the top and the left.",
        seen_by="output padding, with pads at least as large at the low end",
        read=_output_padding_low,
    ),
    Variant(
        name="output padding ignored",
        operators=TRANSPOSED,
        about="The output size that was asked for does not reach the kernel.",
        seen_by="output padding",
        read=_output_padding_ignored,
    ),
    Variant(
        name="told size ignored",
        operators=TRANSPOSED,
        about="A layer's own size stands where another was told when it was called.",
        seen_by="an output size that is not the usual one",
        read=_told_size_ignored,
    ),
    Variant(
        name="told size cut from the usual one",
        operators=TRANSPOSED,
        about="SAME is computed at stride times the input, and its first elements are kept.",
        seen_by="SAME with an output size below the stride times the input, and an overlap",
        read=_usual_crop,
    ),
    Variant(
        name="circular pads left out",
        operators=TRANSPOSED,
        about="What the pads cut off is not added at the other end, as in a layer that has zeros alone.",
        seen_by="circular pads that cut",
        read=_cut_off,
    ),
    *(
        Variant(
            name=f"circular pads shared out, the odd one {end}",
            operators=TRANSPOSED,
            about=f"Flax shares what exceeds the stride out between both ends{kernels}, and not what nn.Conv pads.",
            seen_by="circular pads of half the kernel, with even kernels at stride 1, or odd ones at stride 3",
            read=partial(_shared_out, other=other),
        )
        for end, kernels, other in (
            ("at the end", "", "same"),
            ("at the start", " of a kernel that it transposes", "same_lower"),
        )
    ),
    Variant(
        name="transposed VALID of the canvas's size",
        operators=TRANSPOSED,
        about="PyTorch keeps (n - 1) s + k, TensorFlow n s + max(k - s, 0).",
        seen_by="VALID with a stride above the kernel's span",
        read=_whole_canvas,
    ),
    Variant(
        name="pad value ignored",
        operators=("pad",),
        about="Zeros are padded whatever value is given.",
        seen_by="a value that is not 0",
        read=_pad_value_ignored,
    ),
    Variant(
        name="low and high pads swapped",
        operators=("pad",),
        about="The two ends of an axis are exchanged.",
        seen_by="pads that differ between the ends",
        read=partial(_pad_pairs, change=_pad_swapped),
    ),
    Variant(
        name="pads of the axes in reverse order",
        operators=("pad",),
        about="torch.nn.functional.pad takes the last axis first.",
        seen_by="pads that differ between the axes",
        read=partial(_pad_pairs, change=_pad_reversed),
    ),
    Variant(
        name="negative pads ignored",
        operators=("pad",),
        about="A pad that only adds takes what is negative for nothing.",
        seen_by="negative pads",
        read=partial(_pad_pairs, change=_without_cuts),
    ),
    Variant(
        name="negative pads added",
        operators=("pad",),
        about="The sign of a pad gets lost, and what was to be cut is added.",
        seen_by="negative pads",
        read=partial(_pad_pairs, change=_other_side),
    ),
    Variant(
        name="border replicated instead of a constant",
        operators=("pad",),
        about="The padding mode is edge instead of constant.",
        seen_by="pads",
        read=_pad_border,
    ),
)
