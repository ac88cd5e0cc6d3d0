"""Layers one after the other, followed shape by shape until one of them cannot go on."""

import ast
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from conformance.case.model import Shape
from conformance.dialects import keras_layers, torch_layers
from conformance.dialects.model import Step
from conformance.dialects.source import Call, Grammar, UnreadableLayer, dotted, expressions, names, read_call
from conformance.errors import ImpossibleShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Reader:
    """What reads a framework's layers: their grammar, and what a call asks of data of a shape."""

    grammar: Grammar
    read: Callable[[Call, Shape], Step]


READERS: Final[Mapping[str, Reader]] = MappingProxyType(
    {
        "keras": Reader(grammar=keras_layers.GRAMMAR, read=keras_layers.read),
        "torch": Reader(grammar=torch_layers.GRAMMAR, read=torch_layers.read),
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Followed:
    """A chain as far as it goes.

    Attributes:
        dialect: whose layers they are.
        text: the whole chain.
        x: the shape that it is given, batch included, channels last.
        calls: every layer.
        steps: those that go on.
        fault: why the next layer cannot; empty if all go on.
    """

    dialect: str
    text: str
    x: Shape
    calls: tuple[Call, ...]
    steps: tuple[Step, ...]
    fault: str = ""


def calls_of(text: str, dialect: str = "") -> tuple[str, tuple[Call, ...]]:
    """The layers of a text, and whose they are: the dialect's, or else that of the names that tell.

    Raises:
        UnreadableLayer: if it is no chain of layers of one framework.
    """
    nodes = expressions(text)
    if not nodes:
        raise UnreadableLayer(text, 1, "expected a layer, got none")
    chosen = dialect or _dialect_of(nodes)
    return chosen, tuple(read_call(READERS[chosen].grammar, node, text) for node in nodes)


def _dialect_of(nodes: tuple[ast.expr, ...]) -> str:
    """The dialect that knows the most of the layers, by their modules or their names; Keras where both do."""
    known = {name: sum(names(reader.grammar, node) for node in nodes) for name, reader in READERS.items()}
    told = {name: sum(_module(node) in reader.grammar.modules for node in nodes) for name, reader in READERS.items()}
    return max(READERS, key=lambda name: (told[name], known[name]))


def _module(node: ast.expr) -> str:
    return dotted(node.func).rpartition(".")[0] if isinstance(node, ast.Call) else ""


# What helps where a window finds no place.
_SMALLER: Final = "; make the kernel smaller, pad the data, or take fewer strides before"


def follow(text: str, x: Shape, dialect: str = "") -> Followed:
    """Gives data of a shape to layers one after the other.

    Args:
        text: layers joined by `|`, or a `Sequential`.
        x: the shape of the data, batch included, channels last.
        dialect: `torch` or `keras`; what the names tell if empty.

    Raises:
        UnreadableLayer: if the text cannot be read; a layer that cannot be given its data is told in `fault`.
    """
    chosen, calls = calls_of(text, dialect)
    steps: list[Step] = []
    shape = x
    for call in calls:
        try:
            step = READERS[chosen].read(call, shape)
        except ImpossibleShape as error:
            fault = str(error) + (_SMALLER if str(error).startswith("spatial axis") else "")
            return Followed(dialect=chosen, text=text, x=x, calls=calls, steps=tuple(steps), fault=fault)
        steps.append(step)
        shape = step.output
    return Followed(dialect=chosen, text=text, x=x, calls=calls, steps=tuple(steps))
