"""What an operator's contract is made of, and what all families share."""

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from types import MappingProxyType
from typing import Annotated, Any, Final, Literal, cast, get_type_hints

from conformance.case.geometry import Padding
from conformance.case.model import DataSet, Shape
from conformance.errors import ImpossibleShape

Shapes = Mapping[str, Shape]


class PerAxis:
    """Marks an attribute with one entry for every spatial axis; in a case file one number serves them all."""


Spatial = Annotated[tuple[int, ...], PerAxis]
SpatialPadding = Annotated[Padding, PerAxis]


@dataclass(frozen=True, slots=True, kw_only=True)
class NoAttributes:
    """For operators that have none."""


# Marks a field of `Grown` attributes that came later.
LATER: Final = MappingProxyType({"later": True})


class Grown:
    """Attributes that have grown: their text leaves out what came later while it has its default.

    Numbers are seeded by the text of the question, so that older questions keep theirs. A dataclass of them says
    `repr=False`, or has a text of its own.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        own: Any = self
        told = (
            f"{field.name}={getattr(self, field.name)!r}"
            for field in fields(own)
            if "later" not in field.metadata or getattr(self, field.name) != field.default
        )
        return f"{type(self).__qualname__}({', '.join(told)})"


def per_axis_names(attributes: type[Any]) -> tuple[str, ...]:
    """The names of the attributes that have one entry for every spatial axis."""
    return _per_axis_names(cast("Hashable", attributes))


@cache  # evaluating annotations takes longer than a small convolution
def _per_axis_names(attributes: Hashable) -> tuple[str, ...]:
    kind = cast("type[Any]", attributes)
    hints = get_type_hints(kind, include_extras=True)
    return tuple(field.name for field in fields(kind) if PerAxis in getattr(hints[field.name], "__metadata__", ()))


# What numbers an operand takes: any, those of at least 0, those in [0, 1), or shares: rows that sum to exactly 1.
Domain = Literal["real", "non_negative", "unit", "shares"]


# What an operator gives on integers, in the same integers: what it says, or a quotient without its fraction.
OnIntegers = Literal["exact", "truncated"]


# How the tangents of an operator's outputs follow from itself.
ForwardMode = Literal["product", "sum", "elementwise"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """An input of an operator."""

    name: str
    kind: Literal["float", "integer", "mask"] = "float"
    differentiable: bool = True
    optional: bool = False
    domain: Domain = "real"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What an operator is.

    Attributes:
        name: the field's name for it.
        attributes: its frozen dataclass.
        operands: in the order of a call.
        outputs: names; "output" where there is one.
        state: those outputs that are kept for the next call and never differentiated, as running statistics; they get
            no cotangent.
        integers: those outputs that count places, and are int64 in every format; they stand in `state` as well.
        shapes: (attributes, operand shapes) -> output shapes; raises ImpossibleShape.
        rank: spatial axes (0: not a sliding operator).
        images: operands and outputs that are (batch, *spatial, channels), for layouts that have channels elsewhere.
        forward_mode: how its outputs' tangents follow from it: a `product` of its first two operands, plus b; a
            `sum`, linear in all operands together; `elementwise` in its only one. None where they are not asked.
        linear: in each float operand when the others are held; its results on wide integers are exact.
        data: the data sets that a case asks when it gives no numbers.
        special: the values that the data set `special` draws from: ties, kinks, tails.
        zero: what f(0) = 0 says of signs. "sign" is x g(x) with g(0) > 0: whoever computes it keeps the sign of x.
            "plus" has +0 for +0 in every form, but -0 is open: exp(-0) - 1 is +0.
        on_integers: what its outputs are where its operands are integers; None where that is not asked.
        random: it draws its own numbers; the answer is judged as a sample, and has no gradients.
    """

    name: str
    attributes: type[Any]
    operands: tuple[Operand, ...]
    shapes: Callable[[Any, Shapes], dict[str, Shape]]
    outputs: tuple[str, ...] = ("output",)
    state: tuple[str, ...] = ()
    integers: tuple[str, ...] = ()
    rank: int = 0
    images: tuple[str, ...] = ()
    forward_mode: ForwardMode | None = None
    linear: bool = False
    data: tuple[DataSet, ...] = ("normal", "special")
    special: tuple[float, ...] = ()
    zero: Literal["", "sign", "plus"] = ""
    on_integers: OnIntegers | None = None
    random: bool = False

    def operand(self, name: str) -> Operand:
        """The operand of that name.

        Raises:
            KeyError: if there is none.
        """
        return {operand.name: operand for operand in self.operands}[name]

    def resolve(self, attributes: Any) -> Any:
        """The attributes with every default that depends on the rank filled in."""
        given: dict[str, Any] = {}
        for name in per_axis_names(self.attributes):
            if getattr(attributes, name) == ():
                if name == "stride" and hasattr(attributes, "window"):
                    given[name] = attributes.window
                else:
                    given[name] = (0 if name == "output_padding" else 1,) * self.rank
        return replace(attributes, **given) if given else attributes


X: Final = Operand(name="x")
Y: Final = Operand(name="y")
W: Final = Operand(name="w")
B: Final = Operand(name="b", optional=True)
# Of an operator that makes one image of another.
IMAGES: Final = ("x", "output")
LINEAR: Final[tuple[DataSet, ...]] = ("wide", "normal")
LARGE_LOGITS: Final = (-120.0, -60.0, -1.0, 0.0, 0.0, 1.0, 60.0, 120.0)


def require(condition: bool, message: str) -> None:
    """Refuses a question.

    Raises:
        ImpossibleShape: with the message, unless the condition holds.
    """
    if not condition:
        raise ImpossibleShape(message)


def spatial(x: Shape, rank: int) -> Shape:
    """The spatial sizes of (batch, *spatial, channels).

    Raises:
        ImpossibleShape: if x has another number of axes.
    """
    require(len(x) == rank + 2, f"x must have {rank + 2} axes (batch, {rank} spatial, channels), got shape {x}")
    return x[1:-1]


def check_bias(shapes: Shapes, channels: int) -> None:
    """Refuses a bias that has not one number for every channel.

    Raises:
        ImpossibleShape: if it has another shape; without a bias there is nothing to refuse.
    """
    if "b" in shapes:
        require(shapes["b"] == (channels,), f"b must have shape ({channels},), got {shapes['b']}")


def check_padding(attributes: Any, rank: int) -> None:
    """Refuses attributes that have not one entry for every axis, and negative pads.

    Raises:
        ImpossibleShape: if so.
    """
    for name in per_axis_names(type(attributes)):
        value = getattr(attributes, name)
        if isinstance(value, tuple):
            require(len(value) == rank, f"{name} must have {rank} entries, got {value}")
    if isinstance(attributes.padding, tuple):
        for pair in attributes.padding:
            require(min(pair) >= 0, f"pads must not be negative, got {pair}")


def kernel_sides(attributes: Any, shapes: Shapes, rank: int) -> Shape:
    """The sides of what an operator slides: those of w, or what its attributes say."""
    if "w" in shapes:
        return shapes["w"][:rank]
    sides: Shape = attributes.kernel if hasattr(attributes, "kernel") else attributes.window
    return sides


def same_shape(attributes: Any, shapes: Shapes) -> dict[str, Shape]:
    """Element-wise."""
    return {"output": shapes["x"]}
