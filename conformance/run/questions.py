"""Questions as a person types them: an operator, a few sizes, options; and how the frameworks say them.

A call is run in its framework and held to the reference before anybody sees it, where the framework is installed.
"""

import ast
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from conformance.case.attributes import read_attributes
from conformance.case.contract import Operand
from conformance.case.expansion import did_you_mean
from conformance.case.geometry import resolve_pads, window_count
from conformance.case.model import Shape
from conformance.case.operators import OPERATORS
from conformance.case.yaml12 import Plain
from conformance.dialects.model import Question, Unwritten, Written, batched
from conformance.dialects.moves import moved
from conformance.dialects.table import DIALECTS, Dialect
from conformance.errors import ConformanceError
from conformance.run.rehearsal import Rehearsed, rehearse_all

# Two images see what one alone does not; unequal channels see axes that are exchanged.
BATCH: Final = 2
CHANNELS: Final = 2
FILTERS: Final = 3
_PER_CHANNEL: Final = ("mean", "variance", "scale", "offset", "a", "weights", "positive_weights")
_LIKE_X: Final = ("mask", "targets", "labels", "indices", "y", "gradient", "m", "v", "velocity")
# Optional arrays that are there only if they are asked for.
_SELDOM: Final = ("weights", "positive_weights")
# As YAML writes them.
_WORDS: Final = {"true": True, "false": False, "null": None}
# A longer call is written with one layer a line.
WIDEST: Final = 100


class UnclearQuestion(ConformanceError, ValueError):
    """A question that cannot be understood: what was given, what was expected, the remedy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person types; texts such as `20x10`, empty where nothing was said.

    Attributes:
        operator: a name of the operators' table.
        input: spatial sizes, one for all axes; or with the channels behind them. All sizes but the batch where the
            operator slides nothing.
        kernel, stride, dilation: one number, or one an axis.
        padding: a word, a number, one an axis, or `low:high` pairs.
        output_padding: of transposed convolutions.
        groups, channels, filters: numbers; `None` where nothing was said.
        more: other attributes by name, as Python literals; optional arrays by name, as true or false.
    """

    operator: str = "conv2d"
    input: str = ""
    kernel: str = ""
    stride: str = ""
    padding: str = ""
    dilation: str = ""
    output_padding: str = ""
    groups: int | None = None
    channels: int | None = None
    filters: int | None = None
    ceil: bool = False
    more: Mapping[str, str] | None = None


def question_of(asked: Asked) -> Question:
    """A question with everything that was left out filled in: strides of 1, a batch of 2, a few channels.

    Raises:
        UnclearQuestion: if it cannot be understood.
        ImpossibleShape: if it has no answer.
    """
    if asked.operator not in OPERATORS:
        raise UnclearQuestion(f"there is no operator {asked.operator!r}{did_you_mean(asked.operator, OPERATORS)}")
    contract = OPERATORS[asked.operator]
    if asked.operator == "chain":
        raise UnclearQuestion(f"{asked.operator} is asked in a case alone: conformance list -k {asked.operator}")
    own = dict.fromkeys(contract.attributes.__dataclass_fields__, True)
    given = _attributes(asked, contract.rank, own)
    attributes, faults = read_attributes(contract, given)
    if attributes is None or faults:
        problems = "; ".join(fault.message for fault in faults)
        raise UnclearQuestion(f"{problems} (an attribute without an option of its own is given by --with NAME=VALUE)")
    x = _shape(asked, contract.rank)
    question = Question(operator=asked.operator, attributes=attributes, shapes=_operands(asked, attributes, x))
    _ = question.output
    return question


def _attributes(asked: Asked, rank: int, own: Mapping[str, bool]) -> dict[str, Plain]:
    given: dict[str, Plain] = {}
    rank = rank or 2  # what slides over its output does so over images
    options = {
        **{name: ("--kernel", asked.kernel if name in own else "") for name in ("window", "kernel")},
        "stride": ("--stride", asked.stride),
        "dilation": ("--dilation", asked.dilation),
        "output_padding": ("--output-padding", asked.output_padding),
    }
    for name, (option, text) in options.items():
        if text:
            given[name] = _numbers(option, text, rank)
    if asked.padding:
        words = ("same", "valid", "same_lower")
        axes = len(sizes_of(asked.input)) - 1 if asked.operator == "pad" else rank
        pads = asked.padding if asked.padding in words else _pads(asked.padding, axes)
        # Batch and channels are left alone.
        given["padding"] = ((0, 0), *pads, (0, 0)) if asked.operator == "pad" else pads
    if asked.groups is not None:
        given["groups"] = asked.groups
    if asked.ceil:
        given["ceil_mode"] = True
    optional = [operand.name for operand in OPERATORS[asked.operator].operands if operand.optional]
    for name, text in (asked.more or {}).items():
        if name in optional:
            continue
        try:
            given[name] = _tuples(ast.literal_eval(text))
        except (ValueError, SyntaxError):
            given[name] = _WORDS.get(text, text)
    options_of = {"groups": "--groups", "padding": "--padding", "ceil_mode": "--ceil"}
    for name in given:
        if name not in own:
            option = options_of.get(name, options.get(name, ("--with", ""))[0])
            raise UnclearQuestion(
                f"{asked.operator} has no {name} ({option}); its attributes are {', '.join(own) or 'none'}"
                f"{did_you_mean(name, own)}"
            )
    return given


def _tuples(value: Any) -> Any:
    return tuple(_tuples(part) for part in value) if isinstance(value, (list, tuple)) else value


def _numbers(option: str, text: str, rank: int) -> tuple[int, ...]:
    parts = text.lower().split("x")
    if not all(part.isdigit() for part in parts) or len(parts) not in (1, rank):
        axes = f"{rank} joined by x, one a spatial axis" if rank > 1 else "one number"
        raise UnclearQuestion(f"{option} takes one integer for all axes, or {axes}; got {text!r}")
    numbers = tuple(map(int, parts))
    return numbers * rank if len(numbers) == 1 else numbers


def _pads(text: str, rank: int) -> tuple[tuple[int, int], ...]:
    pairs = [part.split(":") for part in text.lower().split("x")]
    if not all(part.isdigit() for pair in pairs for part in pair) or len(pairs) not in (1, rank):
        hint = did_you_mean(text, ("same", "valid", "same_lower"))
        raise UnclearQuestion(
            f"--padding takes same, valid, same_lower, one integer, one an axis (1x2) or pairs low:high (0:1x1:1); "
            f"got {text!r}{hint}"
        )
    if any(len(pair) > 2 for pair in pairs):
        raise UnclearQuestion(f"--padding takes two numbers an axis, low:high, got {text!r}")
    found = tuple((int(pair[0]), int(pair[-1])) for pair in pairs)
    return found * rank if len(found) == 1 else found


def sizes_of(text: str) -> tuple[int, ...]:
    """The sizes that a text such as `20x10x1` tells.

    Raises:
        UnclearQuestion: if it tells none.
    """
    parts = text.lower().replace("\N{MULTIPLICATION SIGN}", "x").split("x")
    if not all(part.isdigit() and int(part) > 0 for part in parts):
        raise UnclearQuestion(f"--input takes sizes of at least 1 joined by x, as in 20x10, got {text!r}")
    return tuple(map(int, parts))


def _shape(asked: Asked, rank: int) -> Shape:
    if not asked.input:
        raise UnclearQuestion("--input is missing: the sizes of the data, as in --input 20x10")
    sizes = sizes_of(asked.input)
    if not rank:
        return (BATCH, *sizes) if batched(OPERATORS[asked.operator]) else sizes
    if len(sizes) == 1:
        sizes = sizes * rank
    channels = asked.channels if asked.channels is not None else CHANNELS * (asked.groups or 1)
    if len(sizes) == rank + 1:
        if asked.channels not in (None, sizes[-1]):
            raise UnclearQuestion(f"--input {asked.input} has {sizes[-1]} channels, --channels says {asked.channels}")
        *spatial, channels = sizes
        sizes = tuple(spatial)
    if len(sizes) != rank:
        raise UnclearQuestion(f"{asked.operator} has {rank} spatial axes, --input {asked.input} has {len(sizes)}")
    return (BATCH, *sizes, channels)


def _operands(asked: Asked, attributes: Any, x: Shape) -> dict[str, Shape]:
    first, *others = OPERATORS[asked.operator].operands
    shapes = {first.name: x}
    for operand in others:
        if not operand.optional or _given(asked, attributes, operand.name):
            shapes[operand.name] = _shape_of(operand, asked, attributes, x)
    return shapes


def _given(asked: Asked, attributes: Any, name: str) -> bool:
    """Whether a question has an optional array: as was said, or as most questions do."""
    text = (asked.more or {}).get(name)
    if text is None:
        if asked.operator == "rmsprop":
            return name == "velocity" and bool(attributes.momentum)
        return name not in _SELDOM
    if text.lower() not in ("true", "false"):
        raise UnclearQuestion(f"{name} is an array, which is there or not: --with {name}=true or false, got {text!r}")
    return text.lower() == "true"


def _shape_of(operand: Operand, asked: Asked, attributes: Any, x: Shape) -> Shape:
    """The shape of an array beside the first."""
    name, operator, rank = operand.name, asked.operator, OPERATORS[asked.operator].rank
    filters = asked.filters if asked.filters is not None else FILTERS * getattr(attributes, "groups", 1)
    if name == "w" and operator == "dense":
        return (x[-1], filters)
    if name == "w" and (rank or operator in ("convolve", "correlate")):
        if not asked.kernel:
            raise UnclearQuestion(f"{operator} needs --kernel, as in --kernel 3 or --kernel 3x2")
        kernel = _numbers("--kernel", asked.kernel, rank or len(x))
        if not rank:
            return kernel
        if operator.endswith("transpose"):
            return (*kernel, max(filters // attributes.groups, 1), x[-1])
        return (*kernel, max(x[-1] // attributes.groups, 1), filters)
    if name == "b":
        return x[-1:] if operator == "bias_add" else (filters,)
    if name == "g":
        pads = resolve_pads(attributes.padding, x[1:-1], attributes.kernel, attributes.stride, attributes.dilation)
        counts = window_count(x[1:-1], pads, attributes.kernel, attributes.stride, attributes.dilation)
        return (x[0], *counts, filters)
    if name == "y" and operator == "matmul":
        return (*x[:-2], x[-1], filters)
    if name == "samples":
        return (x[0], x[-1], 2)
    if name == "labels" and operand.kind == "integer":
        return x[:1]
    if name in ("scale", "offset") and operator == "layer_norm":
        return tuple(x[axis] for axis in attributes.axes if -len(x) <= axis < len(x))
    if name in _PER_CHANNEL and operator != "rmsprop" and not (name == "weights" and operator.startswith("binary")):
        return x[-1:]
    if name in (*_LIKE_X, *_PER_CHANNEL):
        return x
    raise UnclearQuestion(f"{operator} takes several arrays; it is asked in a case alone")


def dialects_of(text: str) -> tuple[Dialect, ...]:
    """The dialects that a text such as `keras,jax` names; all if it is empty.

    Raises:
        UnclearQuestion: if one of them is none.
    """
    names = [name.strip() for name in text.split(",") if name.strip()] or list(DIALECTS)
    for name in names:
        if name not in DIALECTS:
            raise UnclearQuestion(
                f"no framework {name!r} is known here; there are {', '.join(DIALECTS)}{did_you_mean(name, DIALECTS)}"
            )
    return tuple(DIALECTS[name] for name in dict.fromkeys(names))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spoken:
    """A question as one framework says it, and what came of running that; None where there is no call."""

    dialect: Dialect
    said: Written | Unwritten
    rehearsed: Rehearsed | None

    @property
    def lines(self) -> tuple[str, ...]:
        """The call as a person would write it; nothing where it was run and does not hold."""
        stands = self.rehearsed is not None and (self.rehearsed.holds or bool(self.rehearsed.missing))
        return call_lines(self.dialect, self.said) if stands and isinstance(self.said, Written) else ()

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is to be known about it."""
        if isinstance(self.said, Unwritten):
            return (f"no call: {self.said.why}",)
        kept = [weight_line(self.dialect, self.said, weight.operand) for weight in self.said.weights]
        told = [self.said.remark, *kept] if self.lines else []
        return tuple(filter(None, [*told, str(self.rehearsed) if self.rehearsed else ""]))


def call_lines(dialect: Dialect, written: Written) -> tuple[str, ...]:
    """A call as a person would write it: a `Sequential` where it is of several layers."""
    if not dialect.layered or written.statements or len(written.lines) == 1:
        return written.lines
    name, opened, closed = (
        ("nn.Sequential", "(", ")") if dialect.name == "torch" else ("keras.Sequential", "([", "])")
    )
    short = f"{name}{opened}{', '.join(written.lines)}{closed}"
    if len(short) <= WIDEST:
        return (short,)
    return (f"{name}{opened}", *(f"    {line}," for line in written.lines), closed)


def weight_line(dialect: Dialect, written: Written, operand: str) -> str:
    """How an operand in the house's order becomes the framework's parameter; empty where it is taken as it is."""
    for weight in written.weights:
        if weight.operand == operand and weight.moves:
            return f"{weight.name} = {moved(operand, weight.moves)}, where {operand} lies as TensorFlow has it"
    return ""


def say(question: Question, dialects: Sequence[Dialect]) -> tuple[Spoken, ...]:
    """A question in the words of every framework, each run and held to the reference where it is installed."""
    said = {dialect: dialect.write(question) for dialect in dialects}
    calls = {dialect: [(written, question)] for dialect, written in said.items() if isinstance(written, Written)}
    found = rehearse_all(calls)
    return tuple(
        Spoken(
            dialect=dialect,
            said=written,
            rehearsed=found[dialect][0] if dialect in found else None,
        )
        for dialect, written in said.items()
    )
