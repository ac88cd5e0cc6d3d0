"""Lower precision: operands or results that went through a shorter format."""

from dataclasses import replace
from functools import partial
from typing import Final

import numpy as np

from conformance.case.job import Job, Tensor
from conformance.case.operators import OPERATORS
from conformance.formats import FORMATS, round_to
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import Expectations
from conformance.verdict.variants.reading import (
    KERNELS,
    Reading,
    Variant,
    each_gradient,
    each_output,
    numbers,
    stored,
)

# Every operator but compositions, which are read layer by layer, and samples, which have no value to be rounded.
_EVERY: Final = tuple(name for name, operator in OPERATORS.items() if name != "chain" and not operator.random)
_PRODUCTS: Final = (*KERNELS, "dense")


def _inputs(job: Job, name: str) -> Reading | None:
    """Operands and cotangents rounded; exact from there on."""
    format_ = FORMATS[name]
    if format_.precision >= FORMATS[job.format].precision:
        return None

    def rounded(tensor: Tensor) -> Tensor:
        return stored(job, round_to(numbers(tensor), format_)) if tensor.format == job.format else tensor

    return Reading(
        job=replace(
            job,
            operands={key: rounded(tensor) for key, tensor in job.operands.items()},
            cotangents={key: rounded(tensor) for key, tensor in job.cotangents.items()},
        )
    )


def _results(job: Job, name: str) -> Reading | None:
    """Outputs and gradients rounded at the end: the interval, rounded."""
    format_ = FORMATS[name]
    if format_.precision >= FORMATS[job.format].precision:
        return None

    def rounded(e: Expectation) -> Expectation:
        with np.errstate(invalid="ignore"):
            value = round_to(e.value, format_)
            ends = round_to(e.value - e.bound, format_), round_to(e.value + e.bound, format_)
            # An interval around the rounded value that holds both rounded ends.
            bound = np.nan_to_num(np.maximum(value - ends[0], ends[1] - value), posinf=np.inf)
        return Expectation(value=value, bound=bound, scale=e.scale)

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
