"""Random normalisations, with and without their scales and offsets."""

from collections.abc import Mapping
from math import prod
from types import MappingProxyType
from typing import Final

from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
)
from conformance.case.model import Shape
from conformance.run.sampling.dice import Dice, Drawn, Extent, Sampler, any_shape, data_shape

# Of frameworks' defaults the largest and the smallest, and one beside which no variance is small.
EPSILONS: Final = (1e-5, 1e-3, 0.5)
_AFFINE: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {"both": ("scale", "offset"), "plain": (), "scale-alone": ("scale",), "offset-alone": ("offset",)}
)


def _affine(dice: Dice, shape: Shape) -> tuple[dict[str, Shape], tuple[str, ...]]:
    """Scale and offset of a normalisation, both of them in half of the questions, and a word for what is missing."""
    kind = dice.one_of(("both", "both", "both", "plain", "scale-alone", "offset-alone"))
    return dict.fromkeys(_AFFINE[kind], shape), () if kind == "both" else (kind,)


def _set_words(images: int, numbers: int) -> tuple[str, ...]:
    """Words for few images, and for sets of a single number, whose variance is 0."""
    return (*(("one-image",) if images == 1 else ()), *(("single-value",) if numbers == 1 else ()))


def _batch_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    affine, words = _affine(dice, x[-1:])
    return Drawn(
        attributes=BatchNorm(epsilon=dice.one_of(EPSILONS)),
        shapes={"x": x, "mean": x[-1:], "variance": x[-1:], **affine},
        features=words,
    )


def _batch_norm_training(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    affine, words = _affine(dice, x[-1:])
    bessel = dice.chance(2)
    return Drawn(
        attributes=BatchNormTraining(
            epsilon=dice.one_of(EPSILONS), momentum=dice.one_of((0.0, 0.5, 0.9, 0.99, 1.0)), bessel=bessel
        ),
        shapes={"x": x, "mean": x[-1:], "variance": x[-1:], **affine},
        features=(("bessel" if bessel else "biased"), *_set_words(0, prod(x[:-1])), *words),
    )


def _layer_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    places = tuple(place for place in range(len(x)) if dice.chance(2)) or (len(x) - 1,)
    affine, words = _affine(dice, tuple(x[place] for place in places))
    axes = tuple(place - len(x) for place in places) if dice.chance(2) else places
    return Drawn(
        attributes=LayerNorm(axes=axes, epsilon=dice.one_of(EPSILONS)), shapes={"x": x, **affine}, features=words
    )


def _group_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    *x, channels = any_shape(dice, extent)
    groups = dice.integer(1, 3)
    shape = (*x, channels * groups)
    affine, words = _affine(dice, shape[-1:])
    return Drawn(
        attributes=GroupNorm(groups=groups, epsilon=dice.one_of(EPSILONS)),
        shapes={"x": shape, **affine},
        features=(*_set_words(x[0], prod(x[1:]) * channels), *words),
    )


def _instance_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = data_shape(dice, extent, dice.integer(1, 2), dice.integer(1, extent.channels))
    affine, words = _affine(dice, x[-1:])
    return Drawn(
        attributes=InstanceNorm(epsilon=dice.one_of(EPSILONS)),
        shapes={"x": x, **affine},
        features=(*_set_words(x[0], prod(x[1:-1])), *words),
    )


def _local_response_norm(dice: Dice, extent: Extent, rank: int) -> Drawn:
    *x, channels = any_shape(dice, extent)
    size = dice.integer(1, 9)
    return Drawn(
        attributes=LocalResponseNorm(
            size=size,
            alpha=dice.one_of((1e-4, 0.5, 1.0)),
            beta=dice.one_of((0.5, 0.75, 1.0)),
            bias=dice.one_of((1.0, 2.0, 0.7)),
            alpha_of=dice.one_of(("sum", "mean")),
            extra=dice.one_of(("low", "high")),
        ),
        shapes={"x": (*x, 2 * channels)},
        features=("odd" if size % 2 else "even",),
    )


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        "batch_norm": _batch_norm,
        "batch_norm_training": _batch_norm_training,
        "layer_norm": _layer_norm,
        "group_norm": _group_norm,
        "instance_norm": _instance_norm,
        "local_response_norm": _local_response_norm,
    }
)
