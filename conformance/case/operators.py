"""The contract of every operator, by name; and chains of them, which are graphs of named layers.

To add an operator, give its family's module in `families` its attributes (if no dataclass there has them), its shape
function and an entry; `reference/operators.py` names the same operators. An installed package adds its own by an
entry point of the group `conformance.operators`, whose value is a tuple of them; it imports `contract`, not this
module.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from importlib import metadata
from types import MappingProxyType
from typing import Any, Final, TypeVar

from conformance.case.contract import LATER, Grown, Operand, Operator, Shapes, X
from conformance.case.families import FAMILIES
from conformance.case.model import Shape
from conformance.errors import ImpossibleShape, InvalidOperator

Value = TypeVar("Value")

# What a layer takes that takes none of the layers before it.
INPUT: Final = "x"


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Layer(Grown):
    """One operator of a chain, by name; operands that no other layer gives are called `name/operand` in the chain.

    Attributes:
        name: unique in its chain; dots are the parts of a path, `stage2.1.conv1`.
        operator: one with a single output beside its state.
        attributes: the operator's dataclass.
        takes: what its first operands are, names of layers before it or `x`; the layer before it if empty.
    """

    name: str
    operator: str
    attributes: Any
    takes: tuple[str, ...] = field(default=(), metadata=LATER)


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Chain(Grown):
    """Layers in the order in which they are computed; what layers keep for the next call is `name/output`.

    Attributes:
        layers: each takes the output of the one before it, or of those that it names.
        network: the name of the network that the layers are, for backends that build networks in their own way; empty
            where operators are called one after the other.
    """

    layers: tuple[Layer, ...]
    network: str = field(default="", metadata=LATER)

    def wired(self) -> Iterator[tuple[Layer, Mapping[str, str]]]:
        """Every layer, and by operand what other layers (or the input, `x`) give it."""
        before = INPUT
        for layer in self.layers:
            names = (operand.name for operand in OPERATORS[layer.operator].operands)
            yield layer, dict(zip(names, layer.takes or (before,), strict=False))
            before = layer.name

    @property
    def ends(self) -> tuple[str, ...]:
        """The layers that no other takes: what the chain gives."""
        taken = {source for _, takes in self.wired() for source in takes.values()}
        return tuple(layer.name for layer in self.layers if layer.name not in taken)


def own_of(layer: Layer, values: Mapping[str, Value]) -> dict[str, Value]:
    """What belongs to a layer alone, out of a chain's values by `layer/operand`, by the short names."""
    start = f"{layer.name}/"
    return {name.removeprefix(start): value for name, value in values.items() if name.startswith(start)}


def named_outputs(layer: Layer, outputs: Mapping[str, Value]) -> dict[str, Value]:
    """A layer's outputs as its chain calls them: by the layer's name, and its state by `layer/output`."""
    return {layer.name if name == "output" else f"{layer.name}/{name}": value for name, value in outputs.items()}


def chain_shapes(attributes: Chain, shapes: Shapes) -> dict[str, Shape]:
    """The outputs of every layer, as the chain calls them, in order."""
    outputs: dict[str, Shape] = {}
    for layer, takes in attributes.wired():
        given = {name: shapes[INPUT] if source == INPUT else outputs[source] for name, source in takes.items()}
        try:
            made = OPERATORS[layer.operator].shapes(layer.attributes, {**given, **own_of(layer, shapes)})
        except ImpossibleShape as error:
            told = " and ".join(map(str, given.values()))
            raise ImpossibleShape(f"layer {layer.name!r} ({layer.operator}) given {told}: {error}") from error
        outputs |= named_outputs(layer, made)
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


def output_format(operator: str, attributes: Any, name: str, format_name: str) -> str:
    """What an output is stored in, given the question's format; a chain's is looked up in its layer."""
    if operator == "chain":
        layer_name, _, name = name.partition("/")
        operator = {layer.name: layer.operator for layer in attributes.layers}[layer_name]
    return "int64" if name in OPERATORS[operator].integers else format_name


# What a layer becomes that keeps statistics while it learns, once they are given.
_LEARNED: Final = {"batch_norm_training": "batch_norm"}


def inference_chain(network: Chain) -> Chain:
    """The chain that predicts: what leads to the last loss, or to the end where there is none.

    Layers that take masks are left out; normalisations take the statistics that were kept instead of the batch's.
    """
    kinds = {layer.name: {operand.kind for operand in OPERATORS[layer.operator].operands} for layer in network.layers}
    wired = {layer.name: (layer, tuple(takes.values())) for layer, takes in network.wired()}
    losses = [name for name, found in kinds.items() if "integer" in found]
    wanted = {wired[losses[-1]][1][0] if losses else network.layers[-1].name}
    for layer in reversed(network.layers):
        if layer.name in wanted:
            wanted.update(wired[layer.name][1])
    # What stands in a layer's place: itself, or where it is left out what it takes.
    stands: dict[str, str] = {INPUT: INPUT}
    layers: list[Layer] = []
    for name, (layer, takes) in wired.items():
        if name not in wanted:
            continue
        if "mask" in kinds[name]:
            stands[name] = stands[takes[0]]
            continue
        before = layers[-1].name if layers else INPUT
        sources = tuple(stands[source] for source in takes)
        stands[name] = name
        layers.append(
            replace(
                layer,
                operator=_LEARNED.get(layer.operator, layer.operator),
                attributes=_at_inference(layer),
                takes=() if sources == (before,) else sources,
            )
        )
    return replace(network, layers=tuple(layers))


def _at_inference(layer: Layer) -> Any:
    if layer.operator not in _LEARNED:
        return layer.attributes
    attributes = OPERATORS[_LEARNED[layer.operator]].attributes
    return attributes(**{part.name: getattr(layer.attributes, part.name) for part in fields(attributes)})


def operators_of(operator: str, attributes: Any) -> tuple[str, ...]:
    """The operators that a question asks: itself and, of a chain, every layer's."""
    layers = attributes.layers if isinstance(attributes, Chain) else ()
    return (operator, *(layer.operator for layer in layers))


def gradient_names(operator: str, attributes: Any, operands: Iterable[str]) -> tuple[str, ...]:
    """What gradients are with respect to.

    The differentiable operands and, of a chain, the outputs of all its layers but those at its ends.
    """
    names = tuple(name for name in operands if operand_of(operator, attributes, name).differentiable)
    if not isinstance(attributes, Chain):
        return names
    ends = attributes.ends
    return (*names, *(layer.name for layer in attributes.layers if layer.name not in ends))
