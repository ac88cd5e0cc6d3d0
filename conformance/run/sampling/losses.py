"""Random predictions, and what they should have been."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

from conformance.case.families.losses import CrossEntropy, DenseCrossEntropy, Divergence, Loss, Reduction
from conformance.case.model import Fill
from conformance.run.sampling.dice import Dice, Drawn, Extent, Sampler, any_shape, flags

REDUCTIONS: Final[tuple[Reduction, ...]] = ("mean", "sum", "none")


def _cross_entropy(dice: Dice, extent: Extent, rank: int) -> Drawn:
    rows, classes = dice.integer(1, 8 * extent.images), dice.integer(2, max(extent.row // 2, 2))
    smooth, ignores, weighs = (dice.chance(3) for _ in range(3))
    a = CrossEntropy(
        reduction=dice.one_of(REDUCTIONS), smoothing=0.125 if smooth else 0.0, ignored=0 if ignores else None
    )
    return Drawn(
        attributes=a,
        shapes={"logits": (rows, classes), "labels": (rows,), **({"weights": (classes,)} if weighs else {})},
        features=flags(smooth=smooth, ignores=ignores, weighs=weighs),
        fills={"labels": Fill(kind="integers", low=0, high=classes - 1)},
    )


def _dense_cross_entropy(dice: Dice, extent: Extent, rank: int) -> Drawn:
    logits = (dice.integer(1, 8 * extent.images), dice.integer(2, max(extent.row // 2, 2)))
    smooth, weighs = dice.chance(3), dice.chance(3)
    return Drawn(
        attributes=DenseCrossEntropy(reduction=dice.one_of(REDUCTIONS), smoothing=0.125 if smooth else 0.0),
        shapes={"logits": logits, "labels": logits, **({"weights": logits[1:]} if weighs else {})},
        features=flags(smooth=smooth, weighs=weighs),
    )


def _binary_cross_entropy(dice: Dice, extent: Extent, rank: int) -> Drawn:
    logits = any_shape(dice, extent)
    weighs, positive = dice.chance(3), dice.chance(3)
    own = {"weights": logits} if weighs else {}
    own |= {"positive_weights": logits[-1:]} if positive else {}
    return Drawn(
        attributes=Loss(reduction=dice.one_of(REDUCTIONS)),
        shapes={"logits": logits, "labels": logits, **own},
        features=flags(weighs=weighs, positive=positive),
    )


def _squared_error(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    return Drawn(attributes=Loss(reduction=dice.one_of(REDUCTIONS)), shapes={"x": x, "targets": x})


def _divergence(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    reduction: Literal["mean", "batch_mean", "sum", "none"] = dice.one_of(("batch_mean", *REDUCTIONS))
    return Drawn(attributes=Divergence(reduction=reduction), shapes={"x": x, "targets": x})


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        "softmax_cross_entropy": _cross_entropy,
        "softmax_cross_entropy_dense": _dense_cross_entropy,
        "binary_cross_entropy": _binary_cross_entropy,
        "kl_divergence": _divergence,
        "mean_squared_error": _squared_error,
    }
)
