"""Other readings of convolve, correlate and polynomial."""

from collections.abc import Callable
from dataclasses import replace
from typing import Final

import numpy as np

from conformance.case.job import Job
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    Array,
    Reading,
    Variant,
    moved_operand,
    moved_output,
    reread,
    with_attributes,
)

_SIGNALS: Final = ("convolve", "correlate")


def _flipped(job: Job) -> Reading | None:
    if job.operands["w"].data.size == 1:
        return None
    return moved_operand(job, "w", np.flip, np.flip)


def _operands_swapped(job: Job) -> Reading | None:
    x, w = job.operands["x"], job.operands["w"]
    if x.shape == w.shape and np.array_equal(x.data, w.data):
        return None

    swapped = {"x": "w", "w": "x"}
    read = replace(job, operands={"x": w, "w": x})

    def change(found: Expectations) -> Expectations:
        return Expectations(
            outputs=found.outputs,
            gradients={name: found.gradients[swapped[name]] for name in found.gradients},
        )

    return Reading(job=read, change=change)


def _full_of(job: Job, cut: Callable[[Array], Array], embed: Callable[[Array], Array]) -> Reading:
    """The full result, of which something else is kept."""
    reading = moved_output(job, cut, embed)
    return replace(reading, job=with_attributes(reading.job, mode="full"))


def _later_middle(job: Job) -> Reading | None:
    x, w = job.operands["x"].shape, job.operands["w"].shape
    if job.attributes.mode != "same" or all(k % 2 for k in w):
        return None
    middle = tuple(slice(k // 2, k // 2 + n) for n, k in zip(x, w, strict=True))

    def embed(y: Array) -> Array:
        full = np.zeros([n + k - 1 for n, k in zip(x, w, strict=True)], y.dtype)
        full[middle] = y
        return full

    return _full_of(job, lambda y: y[middle], embed)


def _size_of_the_larger(job: Job) -> Reading | None:
    x, w = job.operands["x"].shape, job.operands["w"].shape
    if job.attributes.mode != "same" or all(n >= k for n, k in zip(x, w, strict=True)):
        return None
    middle = tuple(slice((min(n, k) - 1) // 2, (min(n, k) - 1) // 2 + max(n, k)) for n, k in zip(x, w, strict=True))
    # The cotangent does not fit: an answer of another shape has no gradients.
    return _full_of(job, lambda y: y[middle], lambda y: y)


def _wrapped(job: Job) -> Reading | None:
    x, w = job.operands["x"].shape, job.operands["w"].shape
    if job.attributes.mode != "same" or max(w) == 1:
        return None
    full = [n + k - 1 for n, k in zip(x, w, strict=True)]
    # Where each position of the full result lands on the circle of x's size, counted from same's start.
    places = [np.mod(np.arange(f) - (k - 1) // 2, n) for f, n, k in zip(full, x, w, strict=True)]

    def cut(y: Array) -> Array:
        total = np.zeros(x)
        np.add.at(total, np.ix_(*places), y)
        return total

    return replace(_full_of(job, cut, lambda y: y[np.ix_(*places)]), rounds=True)


def _mode_ignored(job: Job) -> Reading | None:
    return reread(job, mode="full")


def _reversed(job: Job) -> Reading | None:
    return reread(job, coefficients=job.attributes.coefficients[::-1])


def _constant_dropped(job: Job) -> Reading | None:
    *rest, last = job.attributes.coefficients
    return reread(job, coefficients=(*rest, 0.0)) if last else None


def _degree_off(job: Job) -> Reading:
    return Reading(job=with_attributes(job, coefficients=(*job.attributes.coefficients, 0.0)))


_SAME: Final = "mode same"

VARIANTS: Final = (
    Variant(
        name="convolve and correlate exchanged",
        operators=_SIGNALS,
        about="Networks say convolution where signal processing says correlation.",
        seen_by="a filter without symmetry",
        read=_flipped,
    ),
    Variant(
        name="operands swapped",
        operators=_SIGNALS,
        about="correlate(a, v) and correlate(v, a) differ in order, and same takes the size of the first.",
        seen_by="operands of unequal sizes",
        read=_operands_swapped,
    ),
    Variant(
        name="same centred on the later middle",
        operators=_SIGNALS,
        about="TensorFlow's SAME padding has the other one of an even kernel's two middles.",
        seen_by=f"{_SAME} with an even filter",
        read=_later_middle,
    ),
    Variant(
        name="same has the larger operand's size",
        operators=_SIGNALS,
        about="numpy.convolve gives max(n, k) where scipy.signal gives n.",
        seen_by=f"{_SAME} with a filter larger than x",
        read=_size_of_the_larger,
        touches="outputs",
    ),
    Variant(
        name="wrapped around the ends",
        operators=_SIGNALS,
        about="An FFT without enough padding convolves circularly.",
        seen_by=_SAME,
        read=_wrapped,
    ),
    Variant(
        name="mode ignored",
        operators=_SIGNALS,
        about="The default, full, stands for what was asked.",
        seen_by="modes same and valid",
        read=_mode_ignored,
    ),
    Variant(
        name="coefficients reversed",
        operators=("polynomial",),
        about="numpy.polynomial takes the constant first, numpy.polyval the highest power.",
        seen_by="coefficients that are no palindrome",
        read=_reversed,
    ),
    Variant(
        name="constant term dropped",
        operators=("polynomial",),
        about="A loop over the powers ends one too early.",
        seen_by="a constant term",
        read=_constant_dropped,
    ),
    Variant(
        name="one power too many",
        operators=("polynomial",),
        about="Horner's rule multiplies by x once more after the last coefficient.",
        seen_by="numbers other than 1",
        read=_degree_off,
    ),
)
