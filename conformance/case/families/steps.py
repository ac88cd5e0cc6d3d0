"""What a training step needs beside layers and losses: dropout, updates, initial weights."""

from dataclasses import dataclass, replace
from typing import Any, Final, Literal

from conformance.case.contract import NoAttributes, Operand, Operator, Shapes, X, require
from conformance.case.model import Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Dropout:
    """The probability with which an element was kept: what is kept is divided by it."""

    keep: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sgd:
    """parameter - learning_rate * gradient."""

    learning_rate: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Adam:
    """Kingma and Ba's Algorithm 1; `epsilon_hat` adds epsilon before the bias correction (their section 2).

    `step` counts from 1: the step that is being made.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8
    step: int = 1
    epsilon_hat: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Momentum:
    """A velocity of gradients, which the learning rate multiplies, or of steps, which has it in itself.

    Attributes:
        nesterov: the step looks ahead.
        dampening: the share of the gradient that a velocity of gradients leaves out.
        weight_decay: the share of the parameter that is added to the gradient.
        first: the first step, in which a velocity of gradients becomes the gradient itself.
    """

    learning_rate: float
    momentum: float = 0.9
    nesterov: bool = False
    dampening: float = 0.0
    weight_decay: float = 0.0
    first: bool = False
    velocity_of: Literal["gradients", "steps"] = "gradients"


@dataclass(frozen=True, slots=True, kw_only=True)
class RmsProp:
    """A step is centred where the operand `mean` is given, and has momentum where `velocity` is."""

    learning_rate: float = 0.001
    rho: float = 0.9
    momentum: float = 0.0
    epsilon: float = 1e-8
    epsilon_inside: bool = False
    velocity_of: Literal["gradients", "steps"] = "gradients"


@dataclass(frozen=True, slots=True, kw_only=True)
class Adagrad:
    """A step without the operand `v` is the first: every sum of squares is `initial` before it."""

    learning_rate: float = 0.01
    epsilon: float = 1e-10
    epsilon_inside: bool = False
    initial: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AdamW(Adam):
    """Adam; the parameter also loses its share `learning_rate * weight_decay`."""

    weight_decay: float = 0.01


def dropout_shapes(attributes: Dropout, shapes: Shapes) -> dict[str, Shape]:
    """X and its mask have one shape."""
    require(shapes["mask"] == shapes["x"], f"mask must have x's shape {shapes['x']}, got {shapes['mask']}")
    require(0 < attributes.keep <= 1, f"keep must be in (0, 1], got {attributes.keep}")
    return {"output": shapes["x"]}


def update_shapes(attributes: Any, shapes: Shapes) -> dict[str, Shape]:
    """A parameter, its gradient and its slots have one shape."""
    first = shapes["parameter"]
    for name, shape in shapes.items():
        require(shape == first, f"{name} must have the parameter's shape {first}, got {shape}")
    return {name: first for name in shapes if name != "gradient"}


def momentum_shapes(attributes: Momentum, shapes: Shapes) -> dict[str, Shape]:
    """As `update_shapes`; the forms differ in what they can do."""
    a = attributes
    require(0 < a.momentum < 1, f"momentum must be between 0 and 1, got {a.momentum}")
    if a.velocity_of == "steps":
        require(not a.dampening and not a.first, "a velocity of steps has no dampening and no first step of its own")
    require(not (a.nesterov and a.dampening), f"nesterov goes without dampening, got {a.dampening}")
    return update_shapes(attributes, shapes)


def rmsprop_shapes(attributes: RmsProp, shapes: Shapes) -> dict[str, Shape]:
    """As `update_shapes`; momentum needs a velocity."""
    a = attributes
    require(0 <= a.rho < 1, f"rho must be in [0, 1), got {a.rho}")
    require(bool(a.momentum) == ("velocity" in shapes), f"a velocity goes with momentum, got momentum {a.momentum}")
    return update_shapes(attributes, shapes)


def adagrad_shapes(attributes: Adagrad, shapes: Shapes) -> dict[str, Shape]:
    """As `update_shapes`; the first step makes its slot."""
    initial = attributes.initial
    require(initial >= 0, f"initial must not be negative, got {initial}")
    require(not initial or "v" not in shapes, f"a step from v has no initial sum, got {initial}")
    return {**update_shapes(attributes, shapes), "v": shapes["parameter"]}


def glorot_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """A kernel of at least two axes, (*receptive field, in, out)."""
    require(len(shapes["u"]) >= 2, f"u must have at least 2 axes (..., in, out), got shape {shapes['u']}")
    return {"output": shapes["u"]}


_PARAMETER: Final = Operand(name="parameter", differentiable=False)
_GRADIENT: Final = Operand(name="gradient", differentiable=False)
_VELOCITY: Final = Operand(name="velocity", differentiable=False)
_FIRST_MOMENT: Final = Operand(name="m", differentiable=False)
_SECOND_MOMENT: Final = Operand(name="v", differentiable=False, domain="non_negative")
_UNIFORM: Final = Operand(name="u", differentiable=False, domain="unit")

OPERATORS: Final = (
    Operator(
        name="dropout",
        attributes=Dropout,
        operands=(X, Operand(name="mask", kind="mask", differentiable=False)),
        shapes=dropout_shapes,
        data=("normal",),
    ),
    Operator(
        name="sgd",
        attributes=Sgd,
        operands=(_PARAMETER, _GRADIENT),
        outputs=("parameter",),
        shapes=update_shapes,
        data=("normal",),
    ),
    Operator(
        name="adam",
        attributes=Adam,
        operands=(_PARAMETER, _GRADIENT, _FIRST_MOMENT, _SECOND_MOMENT),
        outputs=("parameter", "m", "v"),
        shapes=update_shapes,
        data=("normal",),
    ),
    Operator(
        name="sgd_momentum",
        attributes=Momentum,
        operands=(_PARAMETER, _GRADIENT, _VELOCITY),
        outputs=("parameter", "velocity"),
        shapes=momentum_shapes,
        data=("normal",),
    ),
    Operator(
        name="rmsprop",
        attributes=RmsProp,
        operands=(
            _PARAMETER,
            _GRADIENT,
            _SECOND_MOMENT,
            Operand(name="mean", differentiable=False, optional=True),
            replace(_VELOCITY, optional=True),
        ),
        outputs=("parameter", "v", "mean", "velocity"),
        shapes=rmsprop_shapes,
        data=("normal",),
    ),
    Operator(
        name="adagrad",
        attributes=Adagrad,
        operands=(_PARAMETER, _GRADIENT, replace(_SECOND_MOMENT, optional=True)),
        outputs=("parameter", "v"),
        shapes=adagrad_shapes,
        data=("normal",),
    ),
    Operator(
        name="adamw",
        attributes=AdamW,
        operands=(_PARAMETER, _GRADIENT, _FIRST_MOMENT, _SECOND_MOMENT),
        outputs=("parameter", "m", "v"),
        shapes=update_shapes,
        data=("normal",),
    ),
    Operator(
        name="glorot_uniform", attributes=NoAttributes, operands=(_UNIFORM,), shapes=glorot_shapes, data=("normal",)
    ),
)
