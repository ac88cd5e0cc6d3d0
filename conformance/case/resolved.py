"""What a case asks once its pads and shapes are resolved: two cases that ask the same are one."""

from dataclasses import dataclass, replace
from typing import Any

from conformance.case.contract import kernel_sides
from conformance.case.families.convolution import TransposedConvolution, settled
from conformance.case.geometry import Pads, extent, resolve_pads, transposed_crop
from conformance.case.model import Case, Shape
from conformance.case.operators import OPERATORS


@dataclass(frozen=True, slots=True)
class Geometry:
    """The configuration of a sliding operator, resolved."""

    sizes: Shape
    kernel: Shape
    stride: Shape
    dilation: Shape
    pads: Pads  # of a transposed operator: what is cropped


def geometry_of(case: Case) -> Geometry:
    """The configuration of a case whose operator slides a window."""
    attributes: Any = case.attributes
    sizes = case.inputs["x"].shape[1:-1]
    rank = OPERATORS[case.operator].rank
    kernel = kernel_sides(attributes, {name: spec.shape for name, spec in case.inputs.items()}, rank)
    dilation: Shape = getattr(attributes, "dilation", (1,) * rank)
    stride: Shape = attributes.stride
    if isinstance(attributes, TransposedConvolution):
        told = settled(attributes, sizes, kernel)
        starts, outputs = transposed_crop(told.padding, sizes, kernel, stride, dilation, told.output_padding)
        canvas = [(n - 1) * s + extent(k, d) for n, k, s, d in zip(sizes, kernel, stride, dilation, strict=True)]
        pads = tuple((low, c - low - size) for low, c, size in zip(starts, canvas, outputs, strict=True))
    else:
        pads = resolve_pads(attributes.padding, sizes, kernel, stride, dilation)
    return Geometry(sizes, kernel, stride, dilation, pads)


def question(case: Case) -> object:
    """What is asked once pads and shapes are resolved: two cases with the same one are one case."""
    attributes = case.attributes
    if OPERATORS[case.operator].rank and case.expect.error == "no":
        own: dict[str, Any] = {"padding": geometry_of(case).pads}
        if isinstance(attributes, TransposedConvolution):
            own["output_padding"] = ()  # the crop tells it; a size that is told is another option's
        attributes = replace(attributes, **own)
    return (
        case.operator,
        attributes,
        tuple(sorted((name, spec.shape, repr(spec.source)) for name, spec in case.inputs.items())),
        tuple(sorted((name, repr(spec.source)) for name, spec in case.cotangents.items())),
        case.data,
        case.layouts,
        case.native,
        tuple((reading.attributes, reading.variant) for reading in case.readings),
    )
