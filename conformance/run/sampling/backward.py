"""Random questions to gradient kernels."""

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Final, Literal

from conformance.case.families.backward import MaxPoolGradient, WeightGradient
from conformance.case.families.convolution import convolution_shapes
from conformance.case.families.pooling import MaxPool, pool_shapes
from conformance.case.model import Fill
from conformance.run.sampling.convolution import convolution
from conformance.run.sampling.dice import Dice, Drawn, Extent, Sampler, data_shape, said


def _weight_gradient(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """A convolution's image and its maps."""
    drawn = convolution(dice, extent, rank)
    a, x, w = drawn.attributes, drawn.shapes["x"], drawn.shapes["w"]
    return Drawn(
        attributes=WeightGradient(
            kernel=w[:-2], stride=a.stride, dilation=a.dilation, groups=a.groups, padding=a.padding
        ),
        shapes={"x": x, "g": convolution_shapes(a, {"x": x, "w": w})["output"]},
        features=drawn.features,
    )


def _max_pool_gradient(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """Indices anywhere in an image, some of them twice."""
    images, *size, channels = data_shape(dice, extent, 2, dice.integer(1, extent.channels))
    window, stride = (dice.integers(2, 1, most) for most in (5, 3))
    padding: Literal["same", "valid"] = dice.one_of(("same", "valid"))
    indexed: Literal["plane", "image"] = dice.one_of(("plane", "image"))
    pool = MaxPool(window=window, stride=stride, dilation=(1, 1), padding=padding)
    x = pool_shapes(pool, {"x": (images, *size, channels)})["output"]
    places = prod(size) * (channels if indexed == "image" else 1)
    return Drawn(
        attributes=MaxPoolGradient(
            size=(size[0], size[1]),
            window=(window[0], window[1]),
            stride=(stride[0], stride[1]),
            padding=padding,
            indexed=indexed,
        ),
        shapes={"x": x, "indices": x},
        features=said(padding, stride=max(stride) > 1, **{indexed: True}),
        fills={"indices": Fill(kind="integers", low=0, high=places - 1)},
    )


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        **{f"conv{rank}d_weight_gradient": _weight_gradient for rank in (2, 3)},
        "max_pool2d_gradient": _max_pool_gradient,
    }
)
