"""Lower precision: operands or results that went through a shorter format."""

from collections.abc import Callable
from functools import partial
from typing import Final

import numpy as np

from conformance.case.job import Job
from conformance.case.operators import OPERATORS
from conformance.formats import FORMATS, Float64, round_to
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    KERNELS,
    Reading,
    Variant,
    each_gradient,
    each_output,
    with_numbers,
)

# Every operator but compositions, which are read layer by layer, and samples, which have no value to be rounded.
_EVERY: Final = tuple(name for name, operator in OPERATORS.items() if name != "chain" and not operator.random)
_PRODUCTS: Final = (*KERNELS, "dense")


def _inputs(job: Job, name: str) -> Reading | None:
    """Operands and cotangents rounded; exact from there on."""
    format_ = FORMATS[name]
    if format_.precision >= FORMATS[job.format].precision:
        return None
    return Reading(job=with_numbers(job, lambda values: round_to(values, format_)))


def stepped(e: Expectation, step: Callable[[Float64], Float64]) -> tuple[Float64, Float64]:
    """Value and bound after a monotone step to coarser numbers: an interval that holds both of the old one's ends."""
    with np.errstate(invalid="ignore", over="ignore"):
        value, low, high = step(e.value), step(e.value - e.bound), step(e.value + e.bound)
        return value, np.nan_to_num(np.maximum(value - low, high - value), posinf=np.inf)


def _results(job: Job, name: str) -> Reading | None:
    """Outputs and gradients rounded at the end: the interval, rounded."""
    format_ = FORMATS[name]
    if format_.precision >= FORMATS[job.format].precision:
        return None

    def rounded(e: Expectation) -> Expectation:
        value, bound = stepped(e, lambda values: round_to(values, format_))
        return Expectation(value=value, size=bound, scale=e.scale)

    def change(found: Expectations) -> Expectations:
        return each_gradient(each_output(found, rounded), rounded)

    return Reading(job=job, change=change)


_TITLES: Final = {"tfloat32": "TF32", "bfloat16": "bfloat16", "float16": "float16", "float32": "float32"}
_SEEN_BY: Final = "wide integers, or full-mantissa numbers with few terms"

VARIANTS: Final = (
    Variant(
        name="inputs rounded to TF32",
        operators=_PRODUCTS,
        about="Tensor cores read float32 with 11 significant bits; PyTorch lets convolutions do so by default.",
        seen_by=_SEEN_BY,
        read=partial(_inputs, name="tfloat32"),
    ),
    *(
        Variant(
            name=f"inputs rounded to {_TITLES[name]}",
            operators=_EVERY,
            about=f"Automatic mixed precision, or a TPU's default, casts operands to {_TITLES[name]}.",
            seen_by=_SEEN_BY,
            read=partial(_inputs, name=name),
        )
        for name in ("bfloat16", "float16")
    ),
    *(
        Variant(
            name=f"results rounded to {_TITLES[name]}",
            operators=_EVERY,
            about=f"Sums are kept, or handed on, in {_TITLES[name]}.",
            seen_by=_SEEN_BY,
            read=partial(_results, name=name),
        )
        for name in ("bfloat16", "float16")
    ),
    Variant(
        name="inputs rounded to float32",
        operators=_EVERY,
        about="JAX without x64, and most devices, compute float64 questions in float32.",
        seen_by="float64",
        read=partial(_inputs, name="float32"),
        formats=("float64",),
    ),
    Variant(
        name="results rounded to float32",
        operators=_EVERY,
        about="A float32 buffer stands between float64 operations.",
        seen_by="float64",
        read=partial(_results, name="float32"),
        formats=("float64",),
    ),
)
