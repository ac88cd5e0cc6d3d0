"""Random questions to activations."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax
from conformance.run.sampling.dice import Dice, Drawn, Extent, Sampler, any_shape, plain, spread_of


def _leaky_relu(dice: Dice, extent: Extent, rank: int) -> Drawn:
    slope = dice.one_of((0.125, 0.01, 0.2))
    return Drawn(
        attributes=LeakyRelu(slope=slope), shapes={"x": any_shape(dice, extent)}, features=(f"slope-{slope}",)
    )


def _prelu(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    return Drawn(attributes=NoAttributes(), shapes={"x": x, "a": x[-1:]})


def _softmax(dice: Dice, extent: Extent, rank: int) -> Drawn:
    x = any_shape(dice, extent)
    return Drawn(attributes=Softmax(axis=dice.integer(-len(x), len(x) - 1)), shapes={"x": x})


def _gelu(dice: Dice) -> Gelu:
    return Gelu(approximate=dice.one_of(("none", "tanh")))


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType(
    {
        "relu": spread_of(plain),
        "relu6": spread_of(plain),
        "leaky_relu": _leaky_relu,
        "prelu": _prelu,
        "hard_sigmoid": spread_of(plain),
        "hard_swish": spread_of(plain),
        "hard_tanh": spread_of(lambda dice: HardTanh(low=-dice.one_of((1.0, 0.5)), high=dice.one_of((1.0, 2.0)))),
        "sigmoid": spread_of(plain),
        "tanh": spread_of(plain),
        "softmax": _softmax,
        "log_softmax": _softmax,
        "elu": spread_of(lambda dice: Elu(alpha=dice.one_of((1.0, 0.5)))),
        "selu": spread_of(plain),
        "gelu": spread_of(_gelu),
        "silu": spread_of(plain),
        "mish": spread_of(plain),
        "softplus": spread_of(plain),
        "softsign": spread_of(plain),
        "log_sigmoid": spread_of(plain),
    }
)
