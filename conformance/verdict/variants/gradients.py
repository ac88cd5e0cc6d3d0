"""Other gradients: what backward passes forget, repeat or turn round."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from math import prod
from typing import Final

import numpy as np

from conformance.case.job import Job, Tensor
from conformance.case.operators import OPERATORS
from conformance.formats import FORMATS, round_to
from conformance.verdict.model import Expectation, exactly
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    KERNELS,
    KERNELS_OF_PLANES,
    Array,
    Reading,
    Variant,
    each_gradient,
    kernel_of,
    moved,
    numbers,
    on_gradient,
    rank_of,
    scaled,
    stored,
    with_cotangents,
    with_operand,
)

DIFFERENTIABLE: Final = tuple(
    name
    for name, operator in OPERATORS.items()
    if name != "chain" and any(operand.differentiable for operand in operator.operands)
)
_LINEAR: Final = tuple(name for name, operator in OPERATORS.items() if operator.linear)
_WEIGHTED: Final = (*KERNELS, "dense")
_BIASED: Final = (*_WEIGHTED, "bias_add")


def _changed(job: Job, change: Callable[[Expectation], Expectation], *names: str) -> Reading | None:
    if not job.cotangents or (names and not set(names) & set(job.operands)):
        return None
    return Reading(job=job, change=lambda found: each_gradient(found, change, names))


def _multiplied(job: Job, factor: float, names: tuple[str, ...] = ()) -> Reading | None:
    reading = _changed(job, lambda e: scaled(e, factor, job), *names)
    return replace(reading, rounds=bool(abs(factor) not in (0.5, 1, 2))) if reading and factor != 1 else None


def _zero(job: Job, names: tuple[str, ...] = ()) -> Reading | None:
    return _changed(job, lambda e: exactly(np.zeros(e.value.shape)), *names)


def _batch(job: Job) -> int:
    return job.operands["x"].shape[0]


def _averaged_weight(job: Job) -> Reading | None:
    return _multiplied(job, 1 / max(_batch(job), 1), ("w",))


def _averaged_bias(job: Job) -> Reading | None:
    places = prod(job.cotangents["output"].shape[:-1]) if job.cotangents else 1
    return _multiplied(job, 1 / max(places, 1), ("b",))


def _of_first_image(job: Job, name: str) -> Reading | None:
    """A gradient without the sum over the batch: what the first image alone contributes."""
    if name not in job.operands or not job.cotangents or _batch(job) < 2:
        return None

    def first(tensor: Tensor) -> Tensor:
        data = np.array(tensor.data)
        data[1:] = np.zeros((), data.dtype)
        return Tensor(tensor.format, data)

    return Reading(job=job, pulled={name: with_cotangents(job, first)})


def _ones(job: Job) -> Reading | None:
    if not job.cotangents:
        return None
    ones = with_cotangents(job, lambda tensor: stored(job, np.ones(tensor.shape)))
    return Reading(job=job, pulled=dict.fromkeys(job.operands, ones))


def _with_flipped_kernel(job: Job) -> Reading | None:
    axes = tuple(range(rank_of(job)))
    if not job.cotangents or max(kernel_of(job)) == 1:
        return None
    flipped = with_operand(job, "w", moved(job.operands["w"], lambda w: np.flip(w, axes)))
    return Reading(job=job, pulled={"x": flipped})


def _weight_moved(job: Job, move: Callable[[Array], Array]) -> Reading | None:
    if not job.cotangents or max(kernel_of(job)) == 1:
        return None
    return Reading(job=job, change=lambda found: on_gradient(found, "w", move))


def _weight_flipped(job: Job) -> Reading | None:
    return _weight_moved(job, partial(np.flip, axis=tuple(range(rank_of(job)))))


def _weight_transposed(job: Job) -> Reading | None:
    kernel = kernel_of(job)
    if kernel[0] != kernel[1]:
        return None
    return _weight_moved(job, partial(np.swapaxes, axis1=0, axis2=1))


def _mask_forgotten(job: Job) -> Reading | None:
    if not job.cotangents:
        return None
    full = Tensor("bool", np.ones(job.operands["mask"].shape, np.bool_))
    return Reading(job=job, pulled={"x": with_operand(job, "mask", full)})


def _mask_alone(job: Job) -> Reading | None:
    if job.attributes.keep == 1 or not job.cotangents:
        return None
    unscaled = replace(job, attributes=replace(job.attributes, keep=1.0))
    return Reading(job=job, pulled={"x": unscaled})


def _slope(job: Job, slope: Callable[[Array, Array], Array]) -> Reading | None:
    """An element-wise gradient with another derivative, as a function of x and the value."""
    if not job.cotangents:
        return None
    x, cotangent = numbers(job.operands["x"]), numbers(job.cotangents["output"])

    def change(found: Expectations) -> Expectations:
        def gradient(e: Expectation) -> Expectation:
            with np.errstate(all="ignore"):
                factor = slope(x, found.outputs["output"].value)
                value = cotangent * factor
                # A dozen roundings are more than the few operations here need; the value's own bound comes on top.
                unit = np.abs(cotangent) * (np.abs(factor) + 1)
                bound = np.nan_to_num(unit * found.outputs["output"].bound + 12 * 2.0**-53 * unit)
            return Expectation(value=value, size=bound + e.bound, scale=np.maximum(e.scale, np.abs(value)))

        return each_gradient(found, gradient, ("x",))

    return Reading(job=job, change=change, rounds=True)


def _one_element_off(job: Job, name: str) -> Reading | None:
    def off(e: Expectation) -> Expectation:
        value = np.array(e.value)
        if value.size:
            place = np.unravel_index(int(np.argmax(np.abs(value))), value.shape)
            value[place] *= 1 + 1e-6
        return replace(e, value=value)

    return _changed(job, off, name)


def _cotangent_rounded(job: Job, name: str) -> Reading | None:
    format_ = FORMATS[name]
    if not job.cotangents or format_.precision >= FORMATS[job.format].precision:
        return None
    return Reading(job=with_cotangents(job, lambda tensor: stored(job, round_to(numbers(tensor), format_))))


_COTANGENT: Final = "a generated cotangent, where gradients are asked"
_BATCH: Final = "a batch of at least 2, where gradients are asked"
_SIGMOIDS: Final = ("sigmoid", "tanh")

VARIANTS: Final = (
    Variant(
        name="gradients doubled",
        operators=DIFFERENTIABLE,
        about="A tensor that is used twice, or 1/2 a square whose factor was forgotten, doubles the gradient.",
        seen_by=_COTANGENT,
        read=partial(_multiplied, factor=2.0),
        touches="gradients",
    ),
    Variant(
        name="gradients negated",
        operators=DIFFERENTIABLE,
        about="A backward pass returns the descent direction.",
        seen_by=_COTANGENT,
        read=partial(_multiplied, factor=-1.0),
        touches="gradients",
    ),
    Variant(
        name="gradients zero",
        operators=DIFFERENTIABLE,
        about="The graph is cut: a detached tensor, a stop_gradient, an integer cast.",
        seen_by=_COTANGENT,
        read=_zero,
        touches="gradients",
    ),
    Variant(
        name="cotangent taken as ones",
        operators=DIFFERENTIABLE,
        about="A backward pass that starts from ones ignores what comes from above.",
        seen_by=_COTANGENT,
        read=_ones,
        touches="gradients",
    ),
    *(
        Variant(
            name=f"one element of {name}'s gradient off by one part in a million",
            operators=operators,
            about="A race of threads that add into the same element loses an addend.",
            seen_by="wide integers, whose gradients must be exact",
            read=partial(_one_element_off, name=name),
            touches="gradients",
        )
        for name, operators in (("x", _LINEAR), ("w", (*_WEIGHTED, "convolve", "correlate")), ("b", _BIASED))
    ),
    *(
        Variant(
            name=f"cotangent rounded to {title}",
            operators=_LINEAR,
            about=f"The backward pass alone runs in {title}, which a flag of its own allows.",
            seen_by="wide integers in the cotangent, or full-mantissa numbers with few terms",
            read=partial(_cotangent_rounded, name=name),
            touches="gradients",
        )
        for name, title in (("tfloat32", "TF32"), ("bfloat16", "bfloat16"))
    ),
    Variant(
        name="weight gradient averaged over the batch",
        operators=_WEIGHTED,
        about="A custom layer divides by the batch although the loss has done so already.",
        seen_by=_BATCH,
        read=_averaged_weight,
        touches="gradients",
    ),
    Variant(
        name="bias gradient averaged",
        operators=_BIASED,
        about="mean stands for sum over batch and positions.",
        seen_by="a bias and several positions, where gradients are asked",
        read=_averaged_bias,
        touches="gradients",
    ),
    Variant(
        name="weight gradient of the first image alone",
        operators=_WEIGHTED,
        about="The sum over the batch is missing.",
        seen_by=_BATCH,
        read=partial(_of_first_image, name="w"),
        touches="gradients",
    ),
    Variant(
        name="bias gradient of the first image alone",
        operators=_BIASED,
        about="The sum over the batch is missing.",
        seen_by=f"a bias and {_BATCH}",
        read=partial(_of_first_image, name="b"),
        touches="gradients",
    ),
    Variant(
        name="bias gradient zero",
        operators=_BIASED,
        about="The bias is kept as a constant.",
        seen_by="a bias, where gradients are asked",
        read=partial(_zero, names=("b",)),
        touches="gradients",
    ),
    Variant(
        name="input gradient with the kernel the other way round",
        operators=KERNELS,
        about="The flip between a convolution and its gradient is forgotten, or made twice.",
        seen_by="a kernel of several taps, where gradients are asked",
        read=_with_flipped_kernel,
        touches="gradients",
    ),
    Variant(
        name="weight gradient flipped",
        operators=KERNELS,
        about="The gradient of a kernel comes back in the order of the other convention.",
        seen_by="a kernel of several taps, where gradients are asked",
        read=_weight_flipped,
        touches="gradients",
    ),
    Variant(
        name="weight gradient with its spatial axes transposed",
        operators=KERNELS_OF_PLANES,
        about="Rows and columns of the kernel's gradient are exchanged, which a square kernel lets pass.",
        seen_by="a square kernel of several taps, where gradients are asked",
        read=_weight_transposed,
        touches="gradients",
    ),
    Variant(
        name="gradient passes the mask",
        operators=("dropout",),
        about="The backward pass scales and forgets what was dropped.",
        seen_by="a mask that drops something, where gradients are asked",
        read=_mask_forgotten,
        touches="gradients",
    ),
    Variant(
        name="gradient not scaled",
        operators=("dropout",),
        about="The backward pass applies the mask and forgets 1 / keep.",
        seen_by="a keep below 1, where gradients are asked",
        read=_mask_alone,
        touches="gradients",
    ),
    Variant(
        name="relu'(0) = 1",
        operators=("relu",),
        about="A comparison with >= passes the cotangent at 0.",
        seen_by="a zero, where gradients are asked",
        read=partial(_slope, slope=lambda x, y: np.where(x >= 0, 1.0, 0.0)),
        touches="gradients",
        shows_on=(0.0,),
    ),
    Variant(
        name="relu'(0) = 1/2",
        operators=("relu",),
        about="The maximum of x and 0 shares its cotangent where both are equal, as JAX's maximum does.",
        seen_by="a zero, where gradients are asked",
        read=partial(_slope, slope=lambda x, y: np.where(x > 0, 1.0, np.where(x == 0, 0.5, 0.0))),
        touches="gradients",
        shows_on=(0.0,),
    ),
    Variant(
        name="derivative taken at x for the value",
        operators=_SIGMOIDS,
        about="x (1 - x) or 1 - x^2 with the input where the formula has the output.",
        seen_by=_COTANGENT,
        read=lambda job: _slope(
            job, (lambda x, y: x * (1 - x)) if job.operator == "sigmoid" else lambda x, y: 1 - x * x
        ),
        touches="gradients",
    ),
    Variant(
        name="derivative without its second factor",
        operators=_SIGMOIDS,
        about="s for s (1 - s), 1 - t for (1 - t)(1 + t).",
        seen_by=_COTANGENT,
        read=lambda job: _slope(job, (lambda x, y: y) if job.operator == "sigmoid" else lambda x, y: 1 - y),
        touches="gradients",
    ),
)
