"""The grammar of case files: which keys there are, what they take, and in which words to say so.

pydantic checks types, here alone; what it finds is told in the format's own words: what was given, what is allowed,
and what was probably meant. `schema` gives editors the same grammar.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import UnionType
from typing import (
    Annotated,
    Any,
    Final,
    Literal,
    NotRequired,
    Required,
    Union,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from pydantic import ConfigDict, Field, TypeAdapter, ValidationError, WithJsonSchema, with_config
from typing_extensions import TypedDict, is_typeddict

from conformance.case.contract import PerAxis
from conformance.case.expansion import did_you_mean, show
from conformance.case.model import Check, DataSet, FillName, FloatName, FormatName, Initializer, Layout, Tier
from conformance.case.operators import OPERATORS
from conformance.case.yaml12 import Plain, Steps


@dataclass(frozen=True, slots=True)
class _Says:
    """What a type is called in messages, where its parts would not say it well."""

    text: str


# What a probe writes for an attribute that is left to the framework.
NATIVE_WORD: Final = "native"

_strict = with_config(ConfigDict(extra="forbid", strict=True))

_Size = Annotated[int, Field(ge=0)]
_Shape = Annotated[tuple[_Size, ...], _Says("a list of integers of at least 0")]
_Numbers = Annotated[
    float | bool | tuple[Any, ...],
    _Says("a number or a nested list of numbers"),
    WithJsonSchema({"type": ["number", "boolean", "array"], "description": "A number, or nested lists of numbers."}),
]
_Count = Annotated[int, Field(ge=1), _Says("an integer of at least 1")]
_OperatorName = Annotated[str, WithJsonSchema({"type": "string", "enum": sorted(OPERATORS)})]


@_strict
class IntegersKeys(TypedDict, total=False):
    """Both ends are included."""

    low: int
    high: int


@_strict
class ArangeKeys(TypedDict, total=False):
    """Counts from `start` in steps of 1."""

    start: float


@_strict
class MaskKeys(TypedDict, total=False):
    """True with probability `keep`."""

    keep: Annotated[float, Field(ge=0, le=1), _Says("a number in 0..1")]


@_strict
class FillKeys(TypedDict, total=False):
    """A fill with options: one of these."""

    integers: IntegersKeys
    arange: ArangeKeys
    mask: MaskKeys


@_strict
class TensorKeys(TypedDict, total=False):
    """A tensor that is given: its shape, and where its numbers come from."""

    shape: _Shape
    fill: Annotated[FillName | FillKeys, Field(description="How the numbers are generated; seeded by the question.")]
    values: Annotated[_Numbers, Field(description="The numbers themselves.")]
    file: Annotated[str, Field(description="A .npy or .npz file, relative to this one.")]
    key: Annotated[str, Field(description="The member of a .npz file.")]


@_strict
class StatedKeys(TypedDict, total=False):
    """Numbers that are stated beside their shape, or in a file."""

    shape: _Shape
    values: _Numbers
    file: str
    key: str


_StatedNumbers = Annotated[float | tuple[Any, ...] | StatedKeys, _Says("numbers, or {values: ...} or {file: ...}")]


@_strict
class StatementKeys(TypedDict, total=False):
    """What can be said of an answer."""

    shape: Annotated[_Shape, Field(description="The output's shape.")]
    output: Annotated[_StatedNumbers, Field(description="The numbers of the only (or last) output.")]
    outputs: dict[str, _StatedNumbers]
    gradients: Annotated[dict[str, _StatedNumbers], Field(description="By operand.")]
    digits: Annotated[
        Literal["exact"] | Annotated[int, Field(ge=0)],
        _Says("'exact' or a number of decimals"),
        Field(description="How many decimals the stated numbers carry; exact is the default."),
    ]
    computed: Annotated[FloatName, Field(description="The format whose arithmetic produced the stated numbers.")]


@_strict
class ExpectKeys(StatementKeys, total=False):
    """What is expected of the answer."""

    error: Annotated[Literal[True, "allowed"], Field(description="The question has no answer, or may have none.")]


@_strict
class ClaimKeys(StatementKeys, total=False):
    """What a source says of the answer."""

    says: Required[Annotated[str, Field(description="What the source says, in its words.")]]
    holds: Required[Annotated[bool, Field(description="Whether it is true.")]]


_Attributes = Annotated[
    dict[str, Any],
    Field(description="The operator's own; of a probe, `native` leaves one to the framework, whose default speaks."),
]
_Readings = Annotated[
    dict[str, dict[str, Any]],
    Field(min_length=2, description="By a short fact, attributes and perhaps a variant: exactly one must fit."),
    _Says("a mapping of at least two names to {attributes}, {variant: ...} or {}"),
]
_Tensors = dict[
    str, Annotated[TensorKeys, _Says("a shape, or a mapping of shape and one of fill, values, file (with key)")]
]


@_strict
class LayerKeys(TypedDict, total=False):
    """One operator of a chain."""

    operator: Required[_OperatorName]
    name: Annotated[str, Field(description="The operator's name, made unique with a number, where it is left out.")]
    takes: Annotated[
        tuple[str, ...],
        _Says("a list of names of layers"),
        Field(
            min_length=1,
            description="Layers before it, or x, that are its first operands; the one before it if left out.",
        ),
    ]
    attributes: _Attributes
    inputs: Annotated[_Tensors, Field(description="Its operands beside those that other layers give.")]


@_strict
class DefaultsKeys(TypedDict, total=False):
    """What a case may inherit."""

    operator: _OperatorName
    about: Annotated[str, Field(description="One sentence of fact.")]
    source: Annotated[str, Field(description="Where the question comes from.")]
    attributes: _Attributes
    inputs: Annotated[_Tensors, Field(description="By operand; a list is short for its shape.")]
    cotangents: Annotated[_Tensors, Field(description="By output; the shape is the output's.")]
    layers: Annotated[tuple[LayerKeys, ...], Field(min_length=1), _Says("a list of at least one layer")]
    network: Annotated[str, Field(description="The network that the layers are, which backends build in their way.")]
    data: Annotated[tuple[DataSet, ...], Field(min_length=1), _Says("a list of at least one data set")]
    formats: Annotated[tuple[FormatName, ...], Field(min_length=1), _Says("a list of at least one format")]
    layouts: Annotated[tuple[Layout, ...], Field(min_length=1), _Says("a list of at least one layout")]
    checks: tuple[Check, ...]
    tier: Annotated[
        Tier, Field(description="The smallest tier that runs it; of a sweep, the cells that cover pairs.")
    ]
    reduced: Annotated[Tier, Field(description="The tier of a second, smaller case of the same geometry.")]
    expect: ExpectKeys
    claims: tuple[ClaimKeys, ...]
    readings: _Readings


@_strict
class CaseKeys(DefaultsKeys, total=False):
    """One question, or as many as its matrix makes."""

    name: Required[Annotated[str, Field(description="{key} is replaced by the value that the matrix chose.")]]
    was: Annotated[
        str | tuple[str, ...],
        _Says("the id that the case had, or a list of ids"),
        Field(description="Ids that it had before, operators/ left out; {key} as in the name."),
    ]
    matrix: Annotated[
        dict[str, Any] | tuple[dict[str, Any], ...],
        Field(description="Values by attribute or path: a mapping is a product, a list of mappings a union."),
    ]
    sweep: Annotated[
        dict[str, Any] | tuple[dict[str, Any], ...],
        Field(
            description="A matrix that asks nothing twice: cells in which every two values meet are of the case's "
            "tier, all others full."
        ),
    ]


@_strict
class FileKeys(TypedDict, total=False):
    """A file of cases."""

    operator: _OperatorName
    about: Annotated[str, Field(description="One sentence of fact.")]
    source: Annotated[str, Field(description="Where the questions come from.")]
    layers: Annotated[tuple[LayerKeys, ...], Field(min_length=1)]
    defaults: Annotated[DefaultsKeys, Field(description="Merged under every case.")]
    cases: Required[Annotated[tuple[CaseKeys, ...], Field(min_length=1)]]


_Filled = Annotated[_Count | str, _Says("an integer of at least 1, or $ and the name of a block's value")]


@_strict
class NetworkLayerKeys(TypedDict, total=False):
    """A layer of a network, or a block of them; what starts with $ is what the block is given."""

    name: Annotated[str, Field(description="The operator's or the block's name where it is left out.")]
    operator: _OperatorName
    takes: Annotated[
        tuple[str, ...],
        _Says("a list of names of layers"),
        Field(min_length=1, description="Layers before it, or input; the one before it if left out."),
    ]
    attributes: _Attributes
    filters: Annotated[_Filled, Field(description="Channels that a convolution gives; classes: one a class.")]
    kernel: Annotated[_Filled | tuple[_Count, ...], _Says("an integer, or one for every axis")]
    units: Annotated[_Filled, Field(description="Numbers that a dense layer gives; classes: one a class.")]
    bias: bool
    inputs: Annotated[_Tensors, Field(description="Operands that do not follow from the layers before.")]
    block: Annotated[str, Field(description="The layers of a block of that name, defined above.")]
    repeat: Annotated[_Count, Field(description="How many of the block follow each other: name.1, name.2, ...")]
    set: Annotated[dict[str, Any], Field(description="What the block's layers write as $name.")]


_NetworkLayers = Annotated[
    tuple[NetworkLayerKeys, ...], Field(min_length=1), _Says("a list of at least one layer or block")
]
_Patterns = Annotated[
    dict[str, FillName], Field(description="How parameters are filled, by layer/operand: the first pattern counts.")
]


@_strict
class NetworkFormKeys(TypedDict, total=False):
    """One form of a network: at full size as it is written, or narrow."""

    name: Required[Annotated[str, Field(description="The last part of the id.")]]
    about: Annotated[str, Field(description="One sentence of fact.")]
    width: Annotated[float, Field(gt=0, description="The share of the channels that is left, rounded up.")]
    image: Annotated[_Shape, Field(description="The spatial sizes, instead of the input's.")]
    batch: _Count
    input: Annotated[_Shape, Field(min_length=2, description="The whole shape, instead of the file's input.")]
    classes: _Count
    mode: Annotated[
        Literal["training", "inference"], Field(description="inference: as it predicts, by given statistics.")
    ]
    initializers: _Patterns
    tier: Annotated[Tier, Field(description="The smallest tier that runs it.")]
    formats: Annotated[tuple[FormatName, ...], Field(min_length=1), _Says("a list of at least one format")]
    shape: Annotated[_Shape, Field(description="The shape of what it gives.")]
    error: Annotated[
        Literal[True], Field(description="The layers do not meet; those behind the fault are not asked.")
    ]


@_strict
class NetworkKeys(TypedDict, total=False):
    """A file that describes one network."""

    network: Required[Annotated[str, Field(description="Its name.")]]
    about: Annotated[str, Field(description="One sentence of fact.")]
    source: Annotated[str, Field(description="Where it comes from.")]
    input: Required[Annotated[_Shape, Field(min_length=2, description="(batch, ..., channels)")]]
    classes: _Count
    blocks: Annotated[dict[str, _NetworkLayers], Field(description="Layers that are used more than once.")]
    layers: Required[_NetworkLayers]
    initializers: _Patterns
    forms: Required[Annotated[tuple[NetworkFormKeys, ...], Field(min_length=1), _Says("a list of at least one form")]]


@_strict
class ReachKeys(TypedDict):
    """What the median over all seeds must reach."""

    epoch: Annotated[int, Field(ge=1, description="By the end of this one, counted from 1.")]
    accuracy: Annotated[float, Field(ge=0, le=1), _Says("a number in 0..1")]


@_strict
class SeededKeys(TypedDict, total=False):
    """Trained once more as the framework's users do it: its own initialisers, shuffling and dropout."""

    seeds: Required[Annotated[int, Field(ge=2), _Says("an integer of at least 2")]]
    margin: Required[
        Annotated[
            float,
            Field(gt=0, lt=1, description="Nearer than this to the reference's mean accuracy is the same."),
            _Says("a number between 0 and 1"),
        ]
    ]
    reaches: tuple[ReachKeys, ...]


@_strict
class FormKeys(TypedDict, total=False):
    """One form of a training: how it starts, how it learns, what it must reach."""

    name: Required[Annotated[str, Field(description="The last part of the id.")]]
    about: Annotated[str, Field(description="One sentence of fact.")]
    initializers: Required[
        Annotated[dict[str, Initializer], Field(description="By layer/operand: globs, the first match counts.")]
    ]
    optimizer: Required[Literal["adam", "sgd"]]
    attributes: Annotated[dict[str, Any], Field(description="The optimizer's own.")]
    accuracy: Annotated[
        float, Field(ge=0, le=1, description="The floor of the test accuracy."), _Says("a number in 0..1")
    ]
    native: SeededKeys
    predict_relu: Annotated[bool, Field(description="Predictions are taken from the logits after a ReLU.")]


@_strict
class TrainingKeys(TypedDict, total=False):
    """A file that describes the training of one network."""

    training: Required[Annotated[str, Field(description="Its name, the middle part of the ids.")]]
    about: Annotated[str, Field(description="One sentence of fact.")]
    source: Annotated[str, Field(description="Where it comes from.")]
    tier: Annotated[Literal["core", "full"], Field(description="full: trained with --tier full alone.")]
    data: Required[Annotated[str, Field(description="The folder of the digits, relative to this file.")]]
    official: Annotated[bool, Field(description="Trained where --mnist-dir gives the whole official digits alone.")]
    seed: Required[Annotated[str, Field(description="What parameters, batches and masks are drawn from.")]]
    batch: Required[_Count]
    epochs: _Count
    judged_steps: Annotated[int, Field(ge=0), _Says("an integer of at least 0")]
    steps: Annotated[_Count, Field(description="So many steps at most, where an epoch would be long.")]
    tested: Annotated[_Count, Field(description="So many test images at most, where all would take long.")]
    layers: Annotated[tuple[LayerKeys, ...], Field(min_length=1), _Says("a list of at least one layer")]
    network: Annotated[str, Field(description="A network's file beside this one, # and a form; layers come behind.")]
    forms: Required[Annotated[tuple[FormKeys, ...], Field(min_length=1), _Says("a list of at least one form")]]


def _bare(annotation: Any) -> Any:
    while get_origin(annotation) in (Annotated, Required, NotRequired):
        annotation = get_args(annotation)[0]
    return annotation


def _members(annotation: Any) -> tuple[Any, ...]:
    return get_args(annotation) if get_origin(annotation) in (Union, UnionType) else (annotation,)


def _choices(annotation: Any) -> tuple[Plain, ...]:
    """The values that a type enumerates, at any depth."""
    annotation = _bare(annotation)
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    found = [choice for part in get_args(annotation) if part is not Ellipsis for choice in _choices(part)]
    return tuple(dict.fromkeys(found))


def _either(words: Sequence[str]) -> str:
    return " or ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _words(annotation: Any) -> str:
    """A type in words: "an integer, 'same' or 'valid'"."""
    if get_origin(annotation) in (Required, NotRequired):
        return _words(get_args(annotation)[0])
    if get_origin(annotation) is Annotated:
        for note in reversed(annotation.__metadata__):
            if isinstance(note, _Says):
                return note.text
        return _words(get_args(annotation)[0])
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return _either([show(choice) for choice in arguments])
    if origin in (Union, UnionType):
        single = [choice for part in arguments for choice in ([part] if get_origin(part) is not Literal else [])]
        literals = [show(choice) for part in arguments if get_origin(part) is Literal for choice in get_args(part)]
        return _either([*literals, *map(_words, single)])
    if origin is tuple:
        return f"a list of {_plural(arguments[0])}"
    if origin is dict or is_typeddict(annotation):
        keys = list(get_type_hints(annotation)) if is_typeddict(annotation) else []
        return f"a mapping of {', '.join(keys)}" if keys else "a mapping"
    names: dict[Any, str] = {int: "an integer", float: "a number", bool: "true or false", str: "text"}
    return names[annotation]


def _plural(annotation: Any) -> str:
    annotation = _bare(annotation)
    if get_origin(annotation) is tuple and get_args(annotation)[1:] != (Ellipsis,):
        return f"pairs of {_plural(get_args(annotation)[0])}"
    names: dict[Any, str] = {int: "integers", float: "numbers", Any: "values"}
    return names.get(annotation) or (_words(annotation) if get_origin(annotation) is Literal else "mappings")


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that pydantic found: where in the data, and in our words."""

    steps: Steps
    message: str
    key: bool = False
    typed: bool = False


def _fault(annotation: Any, data: Plain, loc: Steps, kind: str) -> Fault | None:
    """Walks the type and the data side by side to the innermost part that has a name of its own."""
    steps: list[str | int] = []
    name = "this"
    value = data
    left = list(loc)
    while left:
        inner = _bare(annotation)
        members = _members(inner)
        if len(members) > 1:
            mappings = [member for member in members if is_typeddict(_bare(member))]
            if not (isinstance(value, dict) and len(mappings) == 1):
                break  # the whole union is described, with everything that it allows
            if left.pop(0) != _bare(mappings[0]).__name__:
                return None  # pydantic's complaint that the mapping is none of the other members
            annotation = mappings[0]
            continue
        step = left[0]
        if is_typeddict(inner):
            hints = get_type_hints(inner, include_extras=True)
            if step not in hints:
                message = f"unknown key {step!r}; allowed are {', '.join(hints)}{did_you_mean(step, hints)}"
                return Fault((*steps, step), message, key=True)
            if kind == "missing" and len(left) == 1:
                return Fault(tuple(steps), f"the key {step!r} is missing: {_words(hints[step])}")
            annotation, name = hints[step], str(step)
        elif get_origin(inner) is dict:
            annotation, name = get_args(inner)[1], str(step)
        elif get_origin(inner) is tuple:
            element = get_args(inner)[0]
            if not (is_typeddict(_bare(element)) or get_origin(_bare(element)) is Literal):
                break  # a shape, a pair: described as a whole
            annotation = element
        else:
            break
        value = value[step]
        steps.append(left.pop(0))
    # The place is as deep as the data goes, the words as deep as the type has a name.
    deep = list(steps)
    inner_value = value
    for step in left:
        if isinstance(inner_value, tuple) and isinstance(step, int) and step < len(inner_value):
            deep.append(step)
            inner_value = inner_value[step]
    hint = did_you_mean(value, [choice for choice in _choices(annotation) if isinstance(choice, str)])
    return Fault(tuple(deep), f"{name} must be {_words(annotation)}, got {show(value)}{hint}", typed=True)


@cache
def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


@cache
def _attribute_keys(operator: str) -> Any:
    """An operator's attributes as a case file writes them: one number may stand for all axes, all may be left out."""
    attributes = OPERATORS[operator].attributes
    hints = get_type_hints(attributes, include_extras=True)
    keys = {
        name: int | _bare(hint) if PerAxis in getattr(hint, "__metadata__", ()) else hint
        for name, hint in hints.items()
    }
    return _strict(TypedDict(attributes.__name__, keys, total=False))  # type: ignore[operator]


def _check(annotation: Any, data: Plain) -> tuple[Any, list[Fault]]:
    try:
        return _adapter(annotation).validate_python(data), []
    except ValidationError as error:
        found = (
            _fault(annotation, data, one["loc"], one["type"])
            for one in error.errors(include_url=False, include_context=False)
        )
        faults = list(dict.fromkeys(fault for fault in found if fault is not None))
        places = [fault.steps for fault in faults if fault.typed]
        # Of a list and its entry, the entry is the one to look at.
        return None, [
            fault
            for fault in faults
            if not fault.typed
            or not any(len(deep) > len(fault.steps) and deep[: len(fault.steps)] == fault.steps for deep in places)
        ]


def check_case(data: Plain) -> tuple[CaseKeys | None, list[Fault]]:
    """An expanded case with its numbers as Python has them, or what is wrong with its keys and types."""
    checked, faults = _check(CaseKeys, data)
    return cast("CaseKeys | None", checked), faults


def check_training(data: Plain) -> tuple[TrainingKeys | None, list[Fault]]:
    """A training with its numbers as Python has them, or what is wrong with its keys and types."""
    checked, faults = _check(TrainingKeys, data)
    return cast("TrainingKeys | None", checked), faults


def check_network(data: Plain) -> tuple[NetworkKeys | None, list[Fault]]:
    """A network with its numbers as Python has them, or what is wrong with its keys and types."""
    checked, faults = _check(NetworkKeys, data)
    return cast("NetworkKeys | None", checked), faults


def check_defaults(data: Plain) -> list[Fault]:
    """What is wrong with the keys and types of a file's defaults."""
    return _check(DefaultsKeys, data)[1]


def check_attributes(operator: str, data: Plain) -> tuple[dict[str, Plain] | None, list[Fault]]:
    """An operator's attributes as written, or what is wrong with their names and types."""
    return _check(_attribute_keys(operator), data)


def schema() -> dict[str, Any]:
    """The JSON schema (2020-12) of a case file, for editors; attributes are completed by operator."""
    made = _adapter(FileKeys).json_schema(ref_template="#/$defs/{model}")
    definitions: dict[str, Any] = made["$defs"]
    # A list is short for a tensor's shape.
    tensor = definitions["TensorKeys"]
    definitions["TensorKeys"] = {"anyOf": [tensor["properties"]["shape"], tensor]}
    # The operator decides which attributes there are: the case's own, or else the file's.
    users: dict[type[Any], list[str]] = {}
    for name, operator in sorted(OPERATORS.items()):
        if name != "chain":
            users.setdefault(operator.attributes, []).append(name)
    of_file, of_item = [], []
    for attributes, names in users.items():
        title = attributes.__name__
        keys = _adapter(_attribute_keys(names[0])).json_schema()
        # A reading gives values; the case itself may leave an attribute to the framework.
        plain = keys.get("properties", {})
        definitions[f"{title}Reading"] = {**keys, "properties": {**plain, "variant": {"type": "string"}}}
        left = {name: {"anyOf": [part, {"const": NATIVE_WORD}]} for name, part in plain.items()}
        definitions[title] = {**keys, "properties": left}
        own = {
            "properties": {
                "attributes": {"$ref": f"#/$defs/{title}"},
                "readings": {"additionalProperties": {"$ref": f"#/$defs/{title}Reading"}},
            }
        }
        named = {"properties": {"operator": {"enum": names}}, "required": ["operator"]}
        unnamed = {"if": {"not": {"required": ["operator"]}}, "then": own}
        of_item.append({"if": named, "then": own})
        of_file.append({"if": named, "then": {"properties": {"defaults": unnamed, "cases": {"items": unnamed}}}})
    for name in ("LayerKeys", "CaseKeys", "DefaultsKeys"):
        definitions[name]["allOf"] = of_item
    definitions["Operator"] = {"type": "string", "enum": sorted(OPERATORS)}
    training = _adapter(TrainingKeys).json_schema(ref_template="#/$defs/{model}")
    definitions.update({name: part for name, part in training.pop("$defs").items() if name not in definitions})
    definitions["TrainingKeys"] = training
    network = _adapter(NetworkKeys).json_schema(ref_template="#/$defs/{model}")
    definitions.update({name: part for name, part in network.pop("$defs").items() if name not in definitions})
    definitions["NetworkKeys"] = network
    tidied: dict[str, Any] = _tidy(definitions, definitions["Operator"])
    tidied["Operator"] = definitions["Operator"]
    del made["$defs"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Conformance cases",
        "if": {"required": ["training"]},
        "then": {"$ref": "#/$defs/TrainingKeys"},
        "else": {
            "if": {"required": ["network"]},
            "then": {"$ref": "#/$defs/NetworkKeys"},
            "else": _tidy({**made, "allOf": of_file}, definitions["Operator"]),
        },
        "$defs": tidied,
    }


def _tidy(node: Any, operator: Mapping[str, Any]) -> Any:
    """Without pydantic's titles, and with the long list of operators written once."""
    if isinstance(node, list):
        return [_tidy(part, operator) for part in node]
    if not isinstance(node, dict):
        return node
    if node.items() >= operator.items():
        return {"$ref": "#/$defs/Operator"}
    return {key: _tidy(part, operator) for key, part in node.items() if key != "title"}
