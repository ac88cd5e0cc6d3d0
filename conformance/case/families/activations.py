"""Activations, element by element or along an axis."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from conformance.case.contract import LARGE_LOGITS, NoAttributes, Operand, Operator, Shapes, X, require, same_shape
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Softmax:
    """softmax, log_softmax: the axis along which the probabilities sum to 1."""

    axis: int = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakyRelu:
    """The slope of the negative side. Frameworks disagree on a default (0.01, 0.2, 0.3), so there is none."""

    slope: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Elu:
    """What exp(x) - 1 is multiplied by."""

    alpha: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Gelu:
    """The normal distribution function itself, or an approximation with a tanh; frameworks differ in the default."""

    approximate: Literal["none", "tanh"]


@dataclass(frozen=True, slots=True, kw_only=True)
class HardTanh:
    """Where the line ends on either side."""

    low: float = -1.0
    high: float = 1.0


def hard_tanh_shapes(attributes: HardTanh, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise; the ends must be in order."""
    require(attributes.low < attributes.high, f"low must be below high, got {attributes.low} and {attributes.high}")
    return {"output": shapes["x"]}


def prelu_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """X (batch, ..., channels), a slope for every channel."""
    x, a = shapes["x"], shapes["a"]
    require(len(x) >= 2, f"x must have a batch and channels, got shape {x}")
    require(a == x[-1:], f"a must have shape {x[-1:]}, one slope a channel, got {a}")
    return {"output": x}


def softmax_shapes(attributes: Softmax, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise in shape; the axis must exist."""
    x = shapes["x"]
    require(-len(x) <= attributes.axis < len(x), f"x of shape {x} has no axis {attributes.axis}")
    return {"output": x}


_KINKS_AND_TAILS: Final = (0.0, -0.0, 0.5, -0.5, 3.0, -3.0, 9.0, -9.0, 30.0, -30.0, math.inf, -math.inf)
# Without 0, where derivatives are conventions that differ, and without what is infinite times 0: both have cases of
# their own.
_AWAY_FROM_KINKS: Final = (0.25, -0.25, 2.5, -2.5, 9.0, -9.0, 30.0, -30.0)
_TAILS: Final = (0.0, -0.0, 0.5, -0.5, 3.0, -3.0, 9.0, -9.0, 30.0, -30.0)

_ZEROS: Final[Mapping[str, Literal["sign", "plus"]]] = {
    **dict.fromkeys(("gelu", "silu", "mish", "softsign", "hard_swish"), "sign"),
    **dict.fromkeys(("tanh", "selu"), "plus"),
}

OPERATORS: Final = (
    *(
        Operator(
            name=name,
            attributes=attributes,
            operands=(X,),
            shapes=shapes,
            # Softmax mixes the elements of its axis.
            forward_mode="elementwise" if attributes is not Softmax else None,
            special=special,
            zero=_ZEROS.get(name, ""),
        )
        for name, attributes, shapes, special in (
            ("relu", NoAttributes, same_shape, _KINKS_AND_TAILS),
            ("sigmoid", NoAttributes, same_shape, _KINKS_AND_TAILS),
            ("tanh", NoAttributes, same_shape, _KINKS_AND_TAILS),
            ("softmax", Softmax, softmax_shapes, LARGE_LOGITS),
            ("log_softmax", Softmax, softmax_shapes, LARGE_LOGITS),
            ("relu6", NoAttributes, same_shape, (*_KINKS_AND_TAILS, 6.0)),
            ("leaky_relu", LeakyRelu, same_shape, (*_AWAY_FROM_KINKS, math.inf, -math.inf)),
            ("elu", Elu, same_shape, _KINKS_AND_TAILS),
            ("selu", NoAttributes, same_shape, (*_AWAY_FROM_KINKS, math.inf, -math.inf)),
            ("gelu", Gelu, same_shape, _TAILS),
            ("silu", NoAttributes, same_shape, _TAILS),
            ("mish", NoAttributes, same_shape, _TAILS),
            ("softplus", NoAttributes, same_shape, (0.0, 0.5, -0.5, 9.0, -9.0, -30.0, 60.0, math.inf, -math.inf)),
            ("softsign", NoAttributes, same_shape, _TAILS),
            ("log_sigmoid", NoAttributes, same_shape, _KINKS_AND_TAILS),
            ("hard_sigmoid", NoAttributes, same_shape, (*_AWAY_FROM_KINKS, 0.0, 2.75, -2.75, math.inf, -math.inf)),
            ("hard_swish", NoAttributes, same_shape, (*_AWAY_FROM_KINKS, 0.0, 2.75, -2.75)),
            ("hard_tanh", HardTanh, hard_tanh_shapes, (*_AWAY_FROM_KINKS, 0.0, math.inf, -math.inf)),
        )
    ),
    Operator(
        name="prelu",
        attributes=NoAttributes,
        operands=(X, Operand(name="a")),
        shapes=prelu_shapes,
        special=_AWAY_FROM_KINKS,
    ),
)
