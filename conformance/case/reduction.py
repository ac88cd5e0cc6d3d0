"""A layer of a published network made small: the same kernel, stride, dilation, pads and pattern of groups.

Images and channels enter by their logarithms, so that most layers that differ stay different, and a job has some ten
thousand multiply-adds. An image keeps its remainder by the stride, which decides what SAME pads and VALID drops.
Layers of one file that become the same have one small form.
"""

from dataclasses import replace
from math import floor, log2
from typing import Any, Final

from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.geometry import extent
from conformance.case.model import Case, Shape, TensorSpec, Tier
from conformance.case.operators import OPERATORS

SUFFIX: Final = "-reduced"

# Whole images are their windows: there is a kernel of any size.
_GLOBAL: Final = frozenset(("global_average_pool2d", "global_max_pool2d"))
# Three sizes an octave, and 64 channels are 9, 512 are 18. The fraction decides which neighbours fall together: with
# this one none of two networks do, of all shipped.
_AN_OCTAVE: Final = 3
_BELOW: Final = 8.8
# Up to so many channels there is nothing to save: images have 1 or 3.
_FEW: Final = 4
# An image of 8 elements is its kernel and one element more, and every doubling adds one: its borders and its interior
# are both there.
_EIGHT: Final = 3


def is_reducible(case: Case) -> bool:
    """Whether a case is a layer that has a smaller form: it slides a window over data made from the question."""
    plain = not (case.readings or case.claims or case.cotangents) and case.expect.error == "no"
    generated = all(spec.source is None for spec in case.inputs.values())
    slides = bool(OPERATORS[case.operator].rank) or case.operator in _GLOBAL
    return slides and plain and generated and case.expect.shape is None and not case.expect.outputs


def reduce(case: Case, tier: Tier) -> Case:
    """The smaller form of a layer, as a case of that tier."""
    attributes: Any = case.attributes
    shapes = {name: spec.shape for name, spec in case.inputs.items()}
    rank = len(shapes["x"]) - 2
    if isinstance(attributes, Convolution | TransposedConvolution):
        attributes, shapes = _with_fewer_channels(attributes, shapes, rank)
    else:
        shapes["x"] = (*shapes["x"][:-1], fewer(shapes["x"][-1]))
    shapes["x"] = (shapes["x"][0], *_smaller(attributes, shapes, rank), shapes["x"][-1])
    return replace(
        case,
        id=case.id + SUFFIX,
        attributes=attributes,
        inputs={name: TensorSpec(shape=shape) for name, shape in shapes.items()},
        data=OPERATORS[case.operator].data,
        tier=tier,
        about=f"{case.about} With a small image and few channels.".lstrip(),
        was=tuple(old + SUFFIX for old in case.was),
    )


def fewer(channels: int) -> int:
    """How many channels are left: 3 of 3, 6 of 32, 9 of 64, 12 of 128, 18 of 512."""
    return max(min(channels, _FEW), floor(_AN_OCTAVE * log2(channels) - _BELOW)) if channels else 0


def _with_fewer_channels(
    attributes: Convolution | TransposedConvolution, shapes: dict[str, Shape], rank: int
) -> tuple[Any, dict[str, Shape]]:
    """Groups, and the channels in each: a depthwise layer stays one, two groups stay two."""
    kernel, (first, last) = shapes["w"][:rank], shapes["w"][rank:]
    groups = fewer(attributes.groups)
    # One of the kernel's channel axes counts the channels of a group, the other those of all groups.
    of_group, of_all = fewer(first), fewer(last // attributes.groups) * groups
    transposed = isinstance(attributes, TransposedConvolution)
    inside, outside = (of_all, of_group * groups) if transposed else (of_group * groups, of_all)
    made = {**shapes, "x": (*shapes["x"][:-1], inside), "w": (*kernel, of_group, of_all)}
    if "b" in shapes:
        made["b"] = (outside,)
    return replace(attributes, groups=groups), made


def _smaller(attributes: Any, shapes: dict[str, Shape], rank: int) -> Shape:
    """The least image that holds the dilated kernel and a little more, with the same remainder by the stride."""
    ones = (1,) * rank
    kernel = shapes["w"][:rank] if "w" in shapes else getattr(attributes, "window", ones)
    stride = getattr(attributes, "stride", ones)
    dilation = getattr(attributes, "dilation", ones)
    sizes = []
    for n, k, s, d in zip(shapes["x"][1:-1], kernel, stride, dilation, strict=True):
        least = extent(k, d) + max(n.bit_length() - _EIGHT, 1)
        sizes.append(min(n, least + (n - least) % s))
    return tuple(sizes)
