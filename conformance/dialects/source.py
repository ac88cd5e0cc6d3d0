"""Layer expressions as people write them, read with `ast` against a table of layers; nothing is evaluated."""

import ast
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeGuard

from conformance.case.expansion import did_you_mean
from conformance.errors import ConformanceError

Value = None | bool | int | float | str | tuple["Value", ...]


class UnreadableLayer(ConformanceError, ValueError):
    """A layer expression that cannot be read: where, what was given, what was expected, the remedy."""

    def __init__(self, text: str, column: int, message: str) -> None:
        self.text = text
        self.column = column
        super().__init__(f"{text!r}, column {column}: {message}")


class Required:
    """Stands for a parameter that has no default."""


class Named:
    """Stands for a parameter that is an array, told by its name; None if it is left out."""


REQUIRED: Final = Required()
NAMED: Final = Named()
Signature = Mapping[str, Value | Required | Named]


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One layer: its name without the module's, every argument by name, its own text, and where it stands."""

    layer: str
    arguments: Mapping[str, Value]
    text: str
    whole: str
    column: int

    def fault(self, message: str) -> UnreadableLayer:
        """An error about this layer."""
        return UnreadableLayer(self.whole, self.column, f"{self.layer}: {message}")

    def integer(self, name: str, least: int = 1) -> int:
        """An argument that is one integer.

        Raises:
            UnreadableLayer: if it is anything else.
        """
        value = self.arguments[name]
        if not _is_integer(value) or value < least:
            raise self.fault(f"{name} must be an integer of at least {least}, got {value!r}")
        return value

    def number(self, name: str) -> float:
        """An argument that is one number.

        Raises:
            UnreadableLayer: if it is anything else.
        """
        value = self.arguments[name]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise self.fault(f"{name} must be a number, got {value!r}")
        return float(value)

    def flag(self, name: str) -> bool:
        """An argument that is true or false.

        Raises:
            UnreadableLayer: if it is anything else.
        """
        value = self.arguments[name]
        if not isinstance(value, bool):
            raise self.fault(f"{name} must be True or False, got {value!r}")
        return value

    def word(self, name: str, allowed: Sequence[str]) -> str:
        """An argument that is one of some words.

        Raises:
            UnreadableLayer: if it is anything else.
        """
        value = self.arguments[name]
        known = [word for word in allowed if isinstance(value, str) and word == value.lower()]
        if not known:
            options = ", ".join(map(repr, allowed))
            raise self.fault(f"{name} must be one of {options}, got {value!r}{did_you_mean(value, allowed)}")
        return known[0]

    def sizes(self, name: str, rank: int, least: int = 1) -> tuple[int, ...]:
        """An argument with one integer for every axis, or one for all.

        Raises:
            UnreadableLayer: if it is anything else.
        """
        value = self.arguments[name]
        given = value if isinstance(value, tuple) else (value,) * rank
        if len(given) == 1 != rank:
            given = given * rank  # PyTorch's own reading of a list of one
        numbers = [entry for entry in given if _is_integer(entry) and entry >= least]
        if len(numbers) != rank or len(given) != rank:
            several = f", or {rank} of them" if rank > 1 else ""
            raise self.fault(f"{name} must be an integer of at least {least}{several}, got {value!r}")
        return tuple(numbers)

    def given(self, name: str) -> bool:
        """Whether an argument that is an array is there.

        Raises:
            UnreadableLayer: if it is neither None nor a name.
        """
        value = self.arguments[name]
        if value is not None and not isinstance(value, str):
            raise self.fault(f"{name} is read as None or an array's name, got {value!r}")
        return value is not None

    def only(self, name: str, *allowed: Value) -> None:
        """Refuses an argument whose other values this harness does not read.

        Raises:
            UnreadableLayer: if it has one of them.
        """
        if self.arguments[name] not in allowed:
            options = " or ".join(map(repr, allowed))
            raise self.fault(f"{name} is read as {options} alone, got {self.arguments[name]!r}")


def _is_integer(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)


@dataclass(frozen=True, slots=True, kw_only=True)
class Grammar:
    """What a framework's expressions are made of.

    Attributes:
        name: the framework.
        modules: what may stand before a layer's name, with its dots.
        layers: parameters and their defaults, in the order of a call.
        unread: keyword arguments that change nothing of what is computed.
    """

    name: str
    modules: tuple[str, ...]
    layers: Mapping[str, Signature]
    unread: frozenset[str]


def expressions(text: str) -> tuple[ast.expr, ...]:
    """The layers of `A(...) | B(...)`, of a list, or of `Sequential(...)`, as they stand.

    Raises:
        UnreadableLayer: if the text is no Python expression.
    """
    try:
        body = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        column = getattr(error, "offset", None) or 1
        raise UnreadableLayer(
            text, column, "expected layers as Python writes them, joined by |: Conv2D(8, 3) | Flatten()"
        ) from error
    return tuple(_parts(body))


def _parts(node: ast.expr) -> list[ast.expr]:
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        return [*_parts(node.left), *_parts(node.right)]
    if isinstance(node, (ast.List, ast.Tuple)):
        return [part for element in node.elts for part in _parts(element)]
    if isinstance(node, ast.Call) and dotted(node.func).rpartition(".")[2] == "Sequential":
        return [part for element in node.args for part in _parts(element)]
    return [node]


def dotted(node: ast.expr) -> str:
    """A name with its modules, as it is written; empty for anything else."""
    if isinstance(node, ast.Attribute):
        before = dotted(node.value)
        return f"{before}.{node.attr}" if before else ""
    return node.id if isinstance(node, ast.Name) else ""


def names(grammar: Grammar, node: ast.expr) -> bool:
    """Whether an expression is a call of one of a grammar's layers, by its module or, without one, by its name."""
    module, _, layer = dotted(node.func).rpartition(".") if isinstance(node, ast.Call) else ("", "", "")
    return module in grammar.modules if module else layer in grammar.layers


def read_call(grammar: Grammar, node: ast.expr, whole: str) -> Call:
    """One layer, its arguments bound to its parameters.

    Raises:
        UnreadableLayer: if it is no call of a layer of the table with literal arguments.
    """
    whole = whole.strip()
    column = node.col_offset + 1
    if not isinstance(node, ast.Call) or not dotted(node.func):
        given = ast.get_source_segment(whole, node) or ""
        raise UnreadableLayer(whole, column, f"expected a layer with its arguments, got {given!r}")
    module, _, layer = dotted(node.func).rpartition(".")
    if module and module not in grammar.modules:
        options = ", ".join(f"{name}." for name in grammar.modules)
        raise UnreadableLayer(
            whole, column, f"a layer of {grammar.name} starts with {options} or nothing, got {module}."
        )
    if layer not in grammar.layers:
        hint = did_you_mean(layer, grammar.layers) or f"; it has {', '.join(grammar.layers)}"
        raise UnreadableLayer(whole, column, f"no layer {layer!r} of {grammar.name} is known here{hint}")
    signature = grammar.layers[layer]
    bound: dict[str, Value] = {}
    order = list(signature)
    for place, argument in enumerate(node.args):
        if isinstance(argument, ast.Starred):
            raise UnreadableLayer(
                whole, argument.col_offset + 1, f"{layer}: arguments are written out, got a * of many"
            )
        if place >= len(order):
            most = f"at most {len(order)} arguments ({', '.join(order)})" if order else "no arguments"
            raise UnreadableLayer(whole, argument.col_offset + 1, f"{layer} takes {most}, got {len(node.args)}")
        bound[order[place]] = _argument(argument, signature[order[place]], whole, f"{layer}: {order[place]}")
    for keyword in node.keywords:
        at = keyword.col_offset + 1
        if keyword.arg is None:
            raise UnreadableLayer(whole, at, f"{layer}: arguments are written out, got a ** of many")
        if keyword.arg in bound:
            raise UnreadableLayer(whole, at, f"{layer}: {keyword.arg} is given twice")
        if keyword.arg in signature:
            bound[keyword.arg] = _argument(keyword.value, signature[keyword.arg], whole, f"{layer}: {keyword.arg}")
        elif keyword.arg not in grammar.unread:
            options = ", ".join(signature) or "none"
            hint = did_you_mean(keyword.arg, signature)
            raise UnreadableLayer(whole, at, f"{layer} has no argument {keyword.arg!r}; it has {options}{hint}")
    for name, default in signature.items():
        if name not in bound and isinstance(default, Required):
            raise UnreadableLayer(whole, column, f"{layer} needs {name}; it takes {', '.join(signature)}")
        if name not in bound and not isinstance(default, Required):
            bound[name] = None if isinstance(default, Named) else default
    text = ast.get_source_segment(whole, node) or layer
    return Call(layer=layer, arguments=bound, text=text, whole=whole, column=column)


def _argument(node: ast.expr, default: Value | Required | Named, whole: str, what: str) -> Value:
    """A literal; where an array is taken, its name."""
    named = dotted(node) if isinstance(default, Named) else ""
    return named or _literal(node, whole, what)


def _literal(node: ast.expr, whole: str, what: str) -> Value:
    if isinstance(node, ast.Constant) and (node.value is None or isinstance(node.value, (bool, int, float, str))):
        return node.value
    if isinstance(node, (ast.Tuple, ast.List)):
        return tuple(_literal(element, whole, what) for element in node.elts)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        value = _literal(node.operand, whole, what)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            return -value
    if (
        isinstance(node, ast.Call)
        and dotted(node.func) == "float"
        and len(node.args) == 1
        and isinstance(node.args[0], ast.Constant)
        and node.args[0].value in _INFINITE
    ):
        return _INFINITE[node.args[0].value]
    given = ast.get_source_segment(whole, node) or ""
    raise UnreadableLayer(
        whole,
        node.col_offset + 1,
        f"{what} must be a literal (numbers, words, tuples), got {given!r}: nothing is evaluated, write its value",
    )


_INFINITE: Final[Mapping[object, float]] = {"inf": math.inf, "-inf": -math.inf}


@dataclass(frozen=True, slots=True)
class Name:
    """A variable, or an expression, in a call's text."""

    text: str

    def __repr__(self) -> str:
        return self.text


def called(name: str, *given: object, **settings: tuple[object, object]) -> str:
    """The text of a call: arguments, then the settings (value, default) that differ from their default."""
    more = (f"{key}={_text(value)}" for key, (value, default) in settings.items() if value != default)
    return f"{name}({', '.join([*map(_text, given), *more])})"


def _text(value: object) -> str:
    if isinstance(value, float) and math.isinf(value):
        return f'float("{value}")'
    if isinstance(value, tuple):
        return f"({', '.join(map(_text, value))}{',' if len(value) == 1 else ''})"
    return f'"{value}"' if isinstance(value, str) else repr(value)


def rest(share: float) -> float:
    """What a share leaves of 1, as people write it: 0.1 beside 0.9."""
    return float(f"{1 - share:.12g}")


def each(values: Sequence[object]) -> object:
    """One entry where all axes have the same, else all of them."""
    return values[0] if len(set(values)) == 1 else tuple(values)
