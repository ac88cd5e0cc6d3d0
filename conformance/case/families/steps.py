"""What a training step needs beside layers and losses: dropout, updates, initial weights."""

from dataclasses import dataclass
from typing import Any, Final

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


def glorot_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """A kernel of at least two axes, (*receptive field, in, out)."""
    require(len(shapes["u"]) >= 2, f"u must have at least 2 axes (..., in, out), got shape {shapes['u']}")
    return {"output": shapes["u"]}


_PARAMETER: Final = Operand(name="parameter", differentiable=False)
_GRADIENT: Final = Operand(name="gradient", differentiable=False)
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
        operands=(
            _PARAMETER,
            _GRADIENT,
            Operand(name="m", differentiable=False),
            Operand(name="v", differentiable=False, domain="non_negative"),
        ),
        outputs=("parameter", "m", "v"),
        shapes=update_shapes,
        data=("normal",),
    ),
    Operator(
        name="glorot_uniform", attributes=NoAttributes, operands=(_UNIFORM,), shapes=glorot_shapes, data=("normal",)
    ),
)
