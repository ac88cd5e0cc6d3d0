"""Random dropout, updates and initial weights, of numbers that are given and of a framework's own."""

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

from conformance.case.contract import NoAttributes
from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.case.families.steps import Adagrad, Adam, AdamW, Dropout, Momentum, RmsProp, Sgd
from conformance.case.model import Fill
from conformance.run.sampling.dice import Dice, Drawn, Extent, Sampler, any_shape, flags


def _dropout(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x, keep = any_shape(dice, extent), dice.one_of((0.5, 0.75, 0.9, 1.0))
    return Drawn(
        attributes=Dropout(keep=keep), shapes={"x": x, "mask": x}, fills={"mask": Fill(kind="mask", keep=keep)}
    )


def _update(attributes: Callable[[Dice], Any], *operands: str) -> Sampler:
    def sampler(dice: Dice, extent: Extent, rank: int) -> Drawn:
        return Drawn(attributes=attributes(dice), shapes=dict.fromkeys(operands, any_shape(dice, extent)))

    return sampler


def _sgd(dice: Dice) -> Sgd:
    return Sgd(learning_rate=dice.one_of((0.125, 0.01, 0.1)))


def _momentum(dice: Dice) -> Momentum:
    steps = dice.chance(2)
    nesterov = dice.chance(2)
    return Momentum(
        learning_rate=dice.one_of((0.125, 0.01)),
        momentum=dice.one_of((0.5, 0.9)),
        nesterov=nesterov,
        dampening=0.0 if steps or nesterov else dice.one_of((0.0, 0.25)),
        weight_decay=dice.one_of((0.0, 0.125)),
        first=not steps and dice.chance(3),
        velocity_of="steps" if steps else "gradients",
    )


def _rmsprop(dice: Dice, extent: Extent, rank: int) -> Drawn:
    shape, centred, moves = any_shape(dice, extent), dice.chance(3), dice.chance(2)
    a = RmsProp(
        rho=dice.one_of((0.9, 0.99)),
        momentum=0.5 if moves else 0.0,
        epsilon=dice.one_of((1e-7, 1e-3)),
        epsilon_inside=dice.chance(2),
        velocity_of=dice.one_of(("gradients", "steps")),
    )
    slots = ("parameter", "gradient", "v", *(("mean",) if centred else ()), *(("velocity",) if moves else ()))
    # The mean of squares is no less than the square of the mean: zeros for the one leave the other free.
    fills = {"mean": Fill(kind="zeros")} if centred else {}
    return Drawn(
        attributes=a, shapes=dict.fromkeys(slots, shape), features=flags(centred=centred, moves=moves), fills=fills
    )


def _adagrad(dice: Dice, extent: Extent, rank: int) -> Drawn:
    shape, first = any_shape(dice, extent), dice.chance(3)
    a = Adagrad(
        learning_rate=dice.one_of((0.125, 0.01)),
        epsilon=dice.one_of((1e-7, 1e-3)),
        epsilon_inside=dice.chance(2),
        initial=dice.one_of((0.0, 0.125)) if first else 0.0,
    )
    slots = ("parameter", "gradient", *(() if first else ("v",)))
    return Drawn(attributes=a, shapes=dict.fromkeys(slots, shape), features=flags(first=first))


def _adam(dice: Dice) -> Adam:
    return Adam(step=dice.integer(1, 9), epsilon_hat=dice.chance(2))


def _adamw(dice: Dice) -> AdamW:
    return AdamW(step=dice.integer(1, 9), epsilon_hat=dice.chance(2), weight_decay=dice.one_of((0.125, 0.004)))


def _kernel_of_draws(dice: Dice, extent: Extent, rank: int) -> Drawn:
    u = (*dice.integers(2, 1, 5), *dice.integers(2, 1, extent.channels))
    return Drawn(attributes=NoAttributes(), shapes={"u": u})


def _initialize(dice: Dice, extent: Extent, rank: int) -> Drawn:
    """Kernels of some thousand numbers: a sample of a few says nothing."""
    w = (dice.integer(1, 5), dice.integer(1, 5), dice.integer(8, 32), dice.integer(32, 96))
    a = Initialize(
        scheme=dice.one_of(("glorot", "he", "lecun", "constant")),
        distribution=dice.one_of(("uniform", "normal", "truncated_normal")),
        seed=dice.integer(0, 1 << 20),
    )
    return Drawn(attributes=a, shapes={"w": w})


def _random_dropout(dice: Dice, extent: Extent, rank: int) -> Drawn:
    a = RandomDropout(rate=dice.one_of((0.125, 0.5, 0.9)), seed=dice.integer(0, 1 << 20))
    return Drawn(attributes=a, shapes={"x": (dice.integer(1, 4), dice.integer(20, 60), dice.integer(20, 60))})


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        "dropout": _dropout,
        "sgd": _update(_sgd, "parameter", "gradient"),
        "sgd_momentum": _update(_momentum, "parameter", "gradient", "velocity"),
        "rmsprop": _rmsprop,
        "adagrad": _adagrad,
        "adam": _update(_adam, "parameter", "gradient", "m", "v"),
        "adamw": _update(_adamw, "parameter", "gradient", "m", "v"),
        "glorot_uniform": _kernel_of_draws,
        "initialize": _initialize,
        "random_dropout": _random_dropout,
    }
)
