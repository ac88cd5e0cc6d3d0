"""Variants: named other readings of operators, one table for diagnosis and for the mutation score.

The table is a tuple by family; an order that is kept, the likeliest reading of a family first.
"""

from typing import Final

from conformance.case.model import FormatName
from conformance.verdict.variants import (
    backward,
    elementwise,
    fractional,
    gradients,
    kernels,
    losses,
    normalization,
    pooling,
    precision,
    resizing,
    sampling,
    signals,
    steps,
    windows,
)
from conformance.verdict.variants.customs import CUSTOMS
from conformance.verdict.variants.reading import Ask, Reading, Variant, evaluate

VARIANTS: Final = (
    *kernels.VARIANTS,
    *windows.VARIANTS,
    *pooling.VARIANTS,
    *fractional.VARIANTS,
    *resizing.VARIANTS,
    *elementwise.VARIANTS,
    *normalization.VARIANTS,
    *losses.VARIANTS,
    *steps.VARIANTS,
    *sampling.VARIANTS,
    *signals.VARIANTS,
    *gradients.VARIANTS,
    *backward.VARIANTS,
    *precision.VARIANTS,
)


def variants_of(operator: str, format_name: FormatName = "float32") -> tuple[Variant, ...]:
    """The variants of an operator that exist in a format."""
    return tuple(variant for variant in VARIANTS if variant.covers(operator, format_name))


__all__ = ["CUSTOMS", "VARIANTS", "Ask", "Reading", "Variant", "evaluate", "variants_of"]
