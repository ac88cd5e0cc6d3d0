"""Questions without numbers, and how a framework says them."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Final

from conformance.case.contract import NoAttributes, Operator, Shapes, X, require, same_shape
from conformance.case.model import Shape
from conformance.case.operators import OPERATORS
from conformance.dialects.moves import Moves


@dataclass(frozen=True, slots=True, kw_only=True)
class Crop:
    """How many elements go at both ends of every spatial axis."""

    cropping: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Drop:
    """The share that a layer of dropout drops in training; `channels`: whole ones, of every image its own."""

    rate: float
    channels: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """The spatial sizes over which the same pixels, row after row, are laid anew."""

    sizes: tuple[int, ...]


def crop_shapes(attributes: Crop, shapes: Shapes) -> dict[str, Shape]:
    """(batch, *spatial, channels) without the elements at the ends."""
    x, cropping = shapes["x"], attributes.cropping
    require(len(x) == len(cropping) + 2, f"x must have {len(cropping)} spatial axes to crop, got shape {x}")
    for axis, (n, pair) in enumerate(zip(x[1:-1], cropping, strict=True)):
        require(min(pair) >= 0, f"spatial axis {axis}: nothing less than 0 can be cropped, got {pair}")
        require(
            sum(pair) < n, f"spatial axis {axis}: {n} elements, {pair[0]} + {pair[1]} of them cropped: none is left"
        )
    sizes = (n - low - high for n, (low, high) in zip(x[1:-1], cropping, strict=True))
    return {"output": (x[0], *sizes, x[-1])}


def flat_shapes(attributes: NoAttributes, shapes: Shapes) -> dict[str, Shape]:
    """(batch, ...) -> (batch, everything else)."""
    x = shapes["x"]
    return {"output": (x[0], math.prod(x[1:]))}


def spread_shapes(attributes: Spread, shapes: Shapes) -> dict[str, Shape]:
    """(batch, *spatial, channels) with other spatial axes that have as many pixels."""
    x, sizes = shapes["x"], attributes.sizes
    require(len(x) > 2, f"x must have a spatial axis at least, got shape {x}")
    require(
        math.prod(sizes) == math.prod(x[1:-1]),
        f"{'x'.join(map(str, sizes))} are {math.prod(sizes)} windows, and the data has {math.prod(x[1:-1])}",
    )
    return {"output": (x[0], *sizes, x[-1])}


# Layers that people write and the harness does not ask: what they do to shapes is known, numbers are not judged.
BESIDE: Final[Mapping[str, Operator]] = MappingProxyType(
    {
        "crop": Operator(name="crop", attributes=Crop, operands=(X,), shapes=crop_shapes, linear=True),
        "flatten_channels_first": Operator(
            name="flatten_channels_first", attributes=NoAttributes, operands=(X,), shapes=flat_shapes, linear=True
        ),
        "spread": Operator(name="spread", attributes=Spread, operands=(X,), shapes=spread_shapes, linear=True),
        # As it is at inference: what it draws in training is not judged.
        "drop": Operator(name="drop", attributes=Drop, operands=(X,), shapes=same_shape, linear=True),
        "identity": Operator(name="identity", attributes=NoAttributes, operands=(X,), shapes=same_shape, linear=True),
    }
)


def batched(contract: Operator) -> bool:
    """Whether the first axis of what an operator is asked of counts images or rows: signals and kernels have none."""
    return contract.operands[0].name in ("x", "logits") and contract.name not in ("convolve", "correlate")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """An operator with resolved attributes, and its operands' shapes in the house's order of axes, batch included."""

    operator: str
    attributes: Any
    shapes: Mapping[str, Shape]

    @property
    def contract(self) -> Operator:
        """What the operator is."""
        return BESIDE.get(self.operator) or OPERATORS[self.operator]

    @property
    def judged(self) -> bool:
        """Whether the harness has the operator, so that numbers can be compared."""
        return self.operator in OPERATORS

    @property
    def first(self) -> Shape:
        """The shape of what it is asked of: `x`, or a loss's logits."""
        return next(iter(self.shapes.values()))

    @property
    def output(self) -> Shape:
        """The first output's shape.

        Raises:
            ImpossibleShape: if there is none.
        """
        return self.contract.shapes(self.attributes, self.shapes)[self.contract.outputs[0]]

    @property
    def learned(self) -> tuple[str, ...]:
        """The operands that gradients are asked for."""
        return tuple(name for name in self.shapes if self.contract.operand(name).differentiable)


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """Where an operand goes: to the parameter `name` of the call's line `line`, by these moves."""

    operand: str
    name: str
    line: int = 0
    moves: Moves = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Written:
    """A question as a framework's call.

    Attributes:
        lines: layers in their order, where the framework's dialect is made of layers; else statements, from `x` and
            the other operands' names to `y`, or to the outputs' names where none is `output`. Of what is drawn the
            first line sets the seed, and the others draw.
        weights: where the operands beside `x` go.
        remark: why it takes more than the framework's own option; empty where it does not.
        statements: the lines are statements, though the dialect is made of layers.
        lies: how operands and the output lie in statements of a framework that has channels first, where they are no
            images.
    """

    lines: tuple[str, ...]
    weights: tuple[Weight, ...] = ()
    remark: str = ""
    statements: bool = False
    lies: Mapping[str, Moves] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unwritten:
    """A question that the framework's dialect has no call for."""

    why: str


Writer = Callable[[Question], Written | Unwritten]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One layer as somebody wrote it: what it asks, one question after the other, and what its parameters are called.

    `weights` follow the questions: those of one are numbered by it.
    """

    text: str
    questions: tuple[Question, ...]
    weights: tuple[Weight, ...] = ()

    @property
    def output(self) -> Shape:
        """The shape after the last question."""
        return self.questions[-1].output
