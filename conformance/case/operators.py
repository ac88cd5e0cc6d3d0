"""The contract of every operator, by name; and chains of them.

To add an operator, give its family's module in `families` its attributes (if no dataclass there has them), its shape
function and an entry; `reference/operators.py` names the same operators. An installed package adds its own by an
entry point of the group `conformance.operators`, whose value is a tuple of them; it imports `contract`, not this
module.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from importlib import metadata
from types import MappingProxyType
from typing import Any, Final

from conformance.case.contract import Operand, Operator, Shapes, X
from conformance.case.families import FAMILIES
from conformance.case.model import Shape
from conformance.errors import ImpossibleShape, InvalidOperator


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One operator of a chain, by name; its operands beside `x` are called `name/operand` in the chain."""

    name: str
    operator: str
    attributes: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Chain:
    """Operators in sequence: the single output of each is the `x` of the next."""

    layers: tuple[Layer, ...]


def chain_shapes(attributes: Chain, shapes: Shapes) -> dict[str, Shape]:
    """The output of every layer, by the layer's name, in order."""
    outputs: dict[str, Shape] = {}
    x = shapes["x"]
    for layer in attributes.layers:
        operator = OPERATORS[layer.operator]
        own = {name.partition("/")[2]: s for name, s in shapes.items() if name.startswith(f"{layer.name}/")}
        try:
            x = operator.shapes(layer.attributes, {operator.operands[0].name: x, **own})["output"]
        except ImpossibleShape as error:
            raise ImpossibleShape(f"layer {layer.name!r} ({layer.operator}) given {x}: {error}") from error
        outputs[layer.name] = x
    return outputs


def offered() -> Iterator[Operator]:
    """The operators of other installed packages."""
    for entry in metadata.entry_points(group="conformance.operators"):
        yield from entry.load()


def by_name(operators: Iterable[Operator]) -> Mapping[str, Operator]:
    """A table of operators.

    Raises:
        InvalidOperator: if two have one name.
    """
    table: dict[str, Operator] = {}
    for operator in operators:
        if table.setdefault(operator.name, operator) is not operator:
            raise InvalidOperator("operators", operator.name)
    return MappingProxyType(table)


OPERATORS: Final[Mapping[str, Operator]] = by_name(
    (
        *(operator for family in FAMILIES for operator in family.OPERATORS),
        Operator(name="chain", attributes=Chain, operands=(X,), shapes=chain_shapes, data=("normal",)),
        *offered(),
    )
)


def operand_of(operator: str, attributes: Any, name: str) -> Operand:
    """The operand that a job's tensor stands for; in a chain `layer/operand` is looked up in its layer.

    Raises:
        KeyError: if there is none.
    """
    if operator == "chain" and "/" in name:
        layer_name, _, own = name.partition("/")
        layer = {layer.name: layer for layer in attributes.layers}[layer_name]
        return OPERATORS[layer.operator].operand(own)
    return OPERATORS[operator].operand(name)


def inference_chain(network: Chain) -> Chain:
    """The chain that predicts: without the layers that take masks or labels."""
    return Chain(
        layers=tuple(
            layer
            for layer in network.layers
            if all(operand.kind == "float" for operand in OPERATORS[layer.operator].operands)
        )
    )


def operators_of(operator: str, attributes: Any) -> tuple[str, ...]:
    """The operators that a question asks: itself and, of a chain, every layer's."""
    layers = attributes.layers if isinstance(attributes, Chain) else ()
    return (operator, *(layer.operator for layer in layers))


def gradient_names(operator: str, attributes: Any, operands: Iterable[str]) -> tuple[str, ...]:
    """What gradients are with respect to.

    The differentiable operands and, of a chain, the outputs of all its layers but the last.
    """
    names = tuple(name for name in operands if operand_of(operator, attributes, name).differentiable)
    layers = attributes.layers[:-1] if isinstance(attributes, Chain) else ()
    return (*names, *(layer.name for layer in layers))
