"""Other readings of maxima and means: divisors, ties, NaN, and what padding counts for.

Windows are enumerated here once more, by the places that their taps see: which of them is the maximum, and what a
divisor counts, is then a line each.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from itertools import product
from typing import Final

import numpy as np

from conformance.case.families.pooling import IndexedMaxPool, index_weights, place_steps
from conformance.case.geometry import Pads, window_count
from conformance.case.job import Job, Tensor
from conformance.formats import FORMATS
from conformance.verdict.model import exactly
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    AVERAGE_POOL,
    INDEXED_POOL,
    MAX_POOL,
    Array,
    Reading,
    Variant,
    bounded,
    dilation_of,
    each_output,
    kernel_of,
    moved,
    numbers,
    pads_of,
    replaced,
    reread,
    sizes_of,
)


@dataclass(frozen=True, slots=True)
class _Windows:
    """The windows of a pool, flattened.

    Attributes:
        places: (windows, taps) -> position in the flattened plane, -1 outside it.
        padded: (windows, taps) -> inside the padded input.
        counts: windows by axis.
        x: (batch, positions, channels).
    """

    places: Array
    padded: Array
    counts: tuple[int, ...]
    x: Array

    @classmethod
    def of(cls, job: Job) -> "_Windows":
        a, sizes, kernel, dilation, pads = (
            job.attributes,
            sizes_of(job),
            kernel_of(job),
            dilation_of(job),
            pads_of(job),
        )
        ceil_mode = a.ceil_mode and a.padding not in ("same", "same_lower")  # SAME has its windows
        counts = window_count(sizes, pads, kernel, a.stride, dilation, ceil_mode=ceil_mode)
        places = np.zeros((1, 1), np.int64)
        inside = padded = np.ones((1, 1), np.bool_)
        for n, count, k, s, d, (low, high) in zip(sizes, counts, kernel, a.stride, dilation, pads, strict=True):
            at = np.arange(count)[:, None] * s + np.arange(k) * d - low
            places = _crossed(np.add, places * n, np.clip(at, 0, n - 1))
            inside = _crossed(np.logical_and, inside, (at >= 0) & (at < n))
            padded = _crossed(np.logical_and, padded, at < n + high)
        x = numbers(job.operands["x"])
        flat = x.reshape(x.shape[0], math.prod(sizes), x.shape[-1])
        return cls(np.where(inside, places, -1), padded, counts, flat)

    @property
    def inside(self) -> Array:
        return self.places >= 0

    def seen(self, outside: float) -> Array:
        """(batch, windows, taps, channels), with a number for what lies outside."""
        return np.where(self.inside[:, :, None], self.x[:, self.places], outside)

    def output(self, flat: Array) -> Array:
        return flat.reshape(flat.shape[0], *self.counts, flat.shape[-1])

    def cotangent(self, job: Job) -> Array:
        array = numbers(job.cotangents["output"])
        return array.reshape(array.shape[0], math.prod(self.counts), array.shape[-1])

    def collected(self, shares: Array, job: Job) -> Array:
        """(batch, windows, taps, channels) added up where the taps look, in the shape of x."""
        total = np.zeros_like(self.x)
        for window, tap in product(*map(range, self.places.shape)):
            if self.inside[window, tap]:
                total[:, self.places[window, tap]] += shares[:, window, tap]
        return total.reshape(job.operands["x"].shape)


def _crossed(join: np.ufunc, one: Array, other: Array) -> Array:
    """Windows and taps of an axis joined to those before, in row-major order."""
    crossed: Array = join(one[:, None, :, None], other[None, :, None, :])
    return crossed.reshape(one.shape[0] * other.shape[0], one.shape[1] * other.shape[1])


# Maxima -------------------------------------------------------------------------------------------------------------


def _indices(windows: _Windows, shares: Array, job: Job) -> Array:
    """Of the elements that get a share, one a window."""
    places = np.take_along_axis(windows.places[None, :, :, None], np.argmax(shares, axis=2)[:, :, None], axis=2)
    return windows.output(_counted(places[:, :, 0], job))


def _counted(places: Array, job: Job) -> Array:
    """Places of planes, counted along rows first, as the indices that a job asks for."""
    a: IndexedMaxPool = job.attributes
    shape = job.operands["x"].shape
    image, place, channel = index_weights(a.indexed, shape)
    along = np.unravel_index(places, shape[1:-1])
    own = sum(at * step for at, step in zip(along, place_steps(a.indexed, shape[1:-1]), strict=True))
    return np.asarray(own * place + np.arange(shape[0])[:, None, None] * image + np.arange(shape[-1]) * channel)


def _first(seen: Array) -> Array:
    return _at(seen, np.argmax(seen, axis=2))


def _last(seen: Array) -> Array:
    return _at(seen, seen.shape[2] - 1 - np.argmax(seen[:, :, ::-1], axis=2))


def _at(seen: Array, place: Array) -> Array:
    return np.asarray(np.arange(seen.shape[2])[:, None] == place[:, :, None, :], np.float64)


def _every(seen: Array) -> Array:
    return np.asarray(seen == seen.max(axis=2, keepdims=True), np.float64)


def _shared(seen: Array) -> Array:
    every = _every(seen)
    return np.asarray(every / np.maximum(every.sum(axis=2, keepdims=True), 1))


def _maximum(
    job: Job,
    choose: Callable[[Array], Array] = _first,
    *,
    outside: float = -math.inf,
    skips_nan: bool = False,
    tells: bool = False,
) -> Reading | None:
    """Maxima of what the windows see, the cotangent handed to what `choose` says; indices `tell` of that, too."""
    windows = _Windows.of(job)
    if not windows.x.size or (outside == 0 and windows.inside.all()):
        return None

    def change(found: Expectations) -> Expectations:
        seen = windows.seen(outside)
        if skips_nan:
            seen = np.where(np.isnan(seen), -np.inf, seen)
        outputs, shares = {"output": exactly(windows.output(seen.max(axis=2)))}, choose(seen)
        if tells and "indices" in found.outputs:
            outputs["indices"] = exactly(_indices(windows, shares, job))
        if not found.gradients:
            return replaced(found, outputs)
        cotangent = windows.cotangent(job)[:, :, None, :]
        gradient = windows.collected(shares * cotangent, job)
        absolute = windows.collected(shares * np.abs(cotangent), job)
        # As many terms as windows overlap, and one rounding of a share.
        return replaced(found, outputs, {"x": bounded(job, gradient, windows.places.shape[1], absolute)})

    return Reading(job=job, change=change)


def _overwritten(job: Job) -> Reading | None:
    windows = _Windows.of(job)
    if not windows.x.size or len(np.unique(windows.places[windows.inside])) == windows.inside.sum():
        return None

    def change(found: Expectations) -> Expectations:
        if not found.gradients:
            return found
        shares, cotangent = _first(windows.seen(-np.inf)), windows.cotangent(job)
        total = np.zeros_like(windows.x)
        for window, tap in product(*map(range, windows.places.shape)):
            if windows.inside[window, tap]:
                place = windows.places[window, tap]
                total[:, place] = np.where(shares[:, window, tap] > 0, cotangent[:, window], total[:, place])
        return replaced(found, None, {"x": exactly(total.reshape(job.operands["x"].shape))})

    return Reading(job=job, change=change)


def _lowest_number(job: Job) -> Reading:
    lowest = -FORMATS[job.format].largest

    def change(found: Expectations) -> Expectations:
        return each_output(found, lambda e: exactly(np.maximum(e.value, lowest)))

    return Reading(job=job, change=change)


def _last_nan(seen: Array) -> Array:
    numbers = np.isnan(seen)
    return np.where(numbers.any(axis=2, keepdims=True), _last(np.where(numbers, 1.0, 0.0)), _first(seen))


def _past_nan(seen: Array) -> Array:
    return _first(np.where(np.isnan(seen), -np.inf, seen))


def _above_minus_infinity(seen: Array) -> Array:
    return _first(seen) * (seen > -np.inf)


# Indices ------------------------------------------------------------------------------------------------------------


def _of_taps(job: Job) -> Reading | None:
    """Indices that count the elements of a window."""
    windows = _Windows.of(job)
    if not windows.x.size:
        return None

    def change(found: Expectations) -> Expectations:
        taps = np.argmax(_first(windows.seen(-np.inf)), axis=2)
        return replaced(found, {"indices": exactly(windows.output(taps))})

    return Reading(job=job, change=change)


def _of_the_padded(job: Job) -> Reading | None:
    """Indices into planes that were padded by hand."""
    windows, pads = _Windows.of(job), pads_of(job)
    if not windows.x.size or not any(map(any, pads)):
        return None

    def change(found: Expectations) -> Expectations:
        padded = replace(job, operands={"x": _padded(job.operands["x"], pads)})
        places = np.take_along_axis(
            windows.places[None, :, :, None],
            np.argmax(_first(windows.seen(-np.inf)), axis=2)[:, :, None],
            axis=2,
        )[:, :, 0]
        along = np.unravel_index(places, sizes_of(job))
        moved = tuple(at + low for at, (low, _) in zip(along, pads, strict=True))
        places = np.ravel_multi_index(moved, sizes_of(padded))
        return replaced(found, {"indices": exactly(windows.output(_counted(places, padded)))})

    return Reading(job=job, change=change)


def _padded(x: Tensor, pads: Pads) -> Tensor:
    return moved(x, lambda data: np.pad(data, ((0, 0), *pads, (0, 0))))


# Means --------------------------------------------------------------------------------------------------------------


def _mean(job: Job, divisor: Callable[[_Windows], Array]) -> Reading | None:
    """Sums of what the windows see, over another divisor."""
    windows = _Windows.of(job)
    own = (windows.padded if job.attributes.count_padding else windows.inside).sum(axis=1)
    counts = np.broadcast_to(divisor(windows), own.shape)
    if not windows.x.size or np.array_equal(own, counts):
        return None

    def change(found: Expectations) -> Expectations:
        weights = (windows.inside / counts[:, None])[:, :, None]
        seen = windows.seen(0.0)
        terms = windows.places.shape[1] + 3  # the sum, and what a division may cost, as the reference counts it
        outputs = {
            "output": bounded(
                job,
                windows.output((seen * weights).sum(axis=2)),
                terms,
                windows.output((np.abs(seen) * weights).sum(axis=2)),
            )
        }
        if not found.gradients:
            return replaced(found, outputs)
        shares = windows.cotangent(job)[:, :, None, :] * weights
        gradient, absolute = windows.collected(shares, job), windows.collected(np.abs(shares), job)
        return replaced(found, outputs, {"x": bounded(job, gradient, terms, absolute)})

    return Reading(job=job, change=change)


def _padding_counts(job: Job, counted: bool) -> Reading | None:
    windows = _Windows.of(job)
    if np.array_equal(windows.padded, windows.inside):
        return None
    return reread(job, count_padding=counted)


def _whole_window(windows: _Windows) -> Array:
    return np.asarray(windows.places.shape[1])


def _one(windows: _Windows) -> Array:
    return np.asarray(1)


_TIES: Final = (-1.0, -2.0)

VARIANTS: Final = (
    Variant(
        name="maximum padded with 0",
        operators=MAX_POOL,
        about="The input is padded with zeros before an unpadded maximum is taken.",
        seen_by="padding and windows of negative numbers alone",
        read=partial(_maximum, outside=0.0),
    ),
    Variant(
        name="tie gradient to the last",
        operators=MAX_POOL,
        about="A comparison with >= lets the last of equal maxima take the gradient.",
        seen_by="ties, with a cotangent for gradients",
        read=partial(_maximum, choose=_last),
        touches="gradients",
        shows_on=_TIES,
    ),
    Variant(
        name="tie gradient to all",
        operators=MAX_POOL,
        about="A gradient made of x == maximum gives every one of equal maxima the whole cotangent.",
        seen_by="ties, with a cotangent for gradients",
        read=partial(_maximum, choose=_every),
        touches="gradients",
        shows_on=_TIES,
    ),
    Variant(
        name="tie gradient shared",
        operators=MAX_POOL,
        about="Equal maxima share the cotangent evenly, as JAX's own maximum of two numbers does.",
        seen_by="ties, with a cotangent for gradients",
        read=partial(_maximum, choose=_shared),
        touches="gradients",
        shows_on=_TIES,
    ),
    Variant(
        name="gradient of overlapping windows overwritten",
        operators=MAX_POOL,
        about="A scatter that assigns where it must add keeps the last window's cotangent.",
        seen_by="windows that overlap in a maximum",
        read=_overwritten,
        touches="gradients",
    ),
    Variant(
        name="NaN skipped",
        operators=MAX_POOL,
        about="TensorFlow's maximum on a processor compares with >, and never takes NaN.",
        seen_by="a NaN in a window",
        read=partial(_maximum, skips_nan=True, tells=True),
        shows_on=(math.nan,),
    ),
    Variant(
        name="the lowest number for minus infinity",
        operators=MAX_POOL,
        about="TensorFlow starts a maximum at the lowest finite number.",
        seen_by="a window of minus infinities alone",
        read=_lowest_number,
        touches="outputs",
        shows_on=(-math.inf, -math.inf, -math.inf),
    ),
    Variant(
        name="gradient skips NaN",
        operators=MAX_POOL,
        about="XLA selects the largest number of a window for the gradient, though the maximum itself is NaN.",
        seen_by="a NaN in a window, with a cotangent for gradients",
        read=partial(_maximum, choose=_past_nan),
        touches="gradients",
        shows_on=(math.nan,),
    ),
    Variant(
        name="no gradient to minus infinity",
        operators=MAX_POOL,
        about="A maximum that starts at the lowest finite number equals nothing in a window of minus infinities.",
        seen_by="a window of minus infinities alone, with a cotangent for gradients",
        read=partial(_maximum, choose=_above_minus_infinity),
        touches="gradients",
        shows_on=(-math.inf, -math.inf, -math.inf),
    ),
    Variant(
        name="the last of equal maxima",
        operators=INDEXED_POOL,
        about="A comparison with >= tells the last of equal maxima, which takes the gradient.",
        seen_by="ties",
        read=partial(_maximum, choose=_last, tells=True),
        shows_on=_TIES,
    ),
    Variant(
        name="the last NaN",
        operators=INDEXED_POOL,
        about="PyTorch's loop takes every NaN that it meets, so that the last of a window is told.",
        seen_by="two NaN in a window",
        read=partial(_maximum, choose=_last_nan, tells=True),
        shows_on=(math.nan, math.nan, math.nan),
    ),
    Variant(
        name="indices within the window",
        operators=INDEXED_POOL,
        about="An argmax over patches tells the element of the window, which nobody adds to its beginning.",
        seen_by="more than one window",
        read=_of_taps,
        touches="outputs",
    ),
    Variant(
        name="indices count the padding",
        operators=INDEXED_POOL,
        about="Where the input is padded by hand first, indices count the places of the padded planes.",
        seen_by="padding",
        read=_of_the_padded,
        touches="outputs",
    ),
    *(
        Variant(
            name=f"indices count {what}",
            operators=INDEXED_POOL,
            about=about,
            seen_by=f"indices that do not count {what}, of several images and channels",
            read=partial(reread, indexed=indexed),
            touches="outputs",
        )
        for indexed, what, about in (
            ("plane", "one plane", "PyTorch's indices begin anew in every channel."),
            ("image", "an image with its channels", "TensorFlow's indices count the channels, image by image."),
            ("images", "all images with their channels", "TensorFlow's include_batch_in_index counts all images."),
            ("planes", "the planes of all images", "ONNX's indices count channels-first tensors from end to end."),
            ("columns", "columns first", "ONNX's storage_order 1 counts a plane column by column."),
        )
    ),
    Variant(
        name="padding counted in averages",
        operators=AVERAGE_POOL,
        about="PyTorch's default, count_include_pad, divides by windows with their padding.",
        seen_by="padding without count_padding",
        read=partial(_padding_counts, counted=True),
    ),
    Variant(
        name="padding not counted in averages",
        operators=AVERAGE_POOL,
        about="TensorFlow divides by the elements inside the input alone.",
        seen_by="padding with count_padding",
        read=partial(_padding_counts, counted=False),
    ),
    Variant(
        name="divisor is the whole window",
        operators=AVERAGE_POOL,
        about="Older runtimes divide a window that hangs over the end by its whole size.",
        seen_by="ceil_mode with a window that hangs over the end",
        read=partial(_mean, divisor=_whole_window),
    ),
    Variant(
        name="windows summed, not averaged",
        operators=AVERAGE_POOL,
        about="The division by the window's size is left to somebody else.",
        seen_by="a window of several elements",
        read=partial(_mean, divisor=_one),
    ),
)
