"""Network files: layers and blocks of them become chains, one a form, each asked as a case like any other.

A network is written once, at full size. A form makes it narrow (fewer channels, a smaller image, the same layers), or
asks it as it predicts instead of as it learns. What follows from the layers before is not written: the shapes of
kernels, biases and statistics, of masks and labels.
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Final, NoReturn

from conformance.case.attributes import read_attributes
from conformance.case.contract import Operator
from conformance.case.expansion import NAME, did_you_mean, long_network, show
from conformance.case.grammar import NetworkFormKeys, NetworkKeys, NetworkLayerKeys, check_network
from conformance.case.model import Case, Check, Expect, Fill, FillName, Shape, TensorSpec, Where
from conformance.case.operators import INPUT, OPERATORS, Chain, Layer, inference_chain, own_of
from conformance.case.tensors import MOST_BYTES, WrongPart, read_tensor, too_large
from conformance.case.yaml12 import Document, Plain, Steps
from conformance.errors import ImpossibleShape, Problem

# What a layer takes that takes what its block takes, or the image.
BLOCK_INPUT: Final = "input"
# `filters` or `units` that are as many as there are classes; they stay as many in a narrow form.
CLASSES: Final = "classes"

_STATISTICS: Final = ("mean", "variance", "scale", "offset")


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A network in one of its forms.

    Attributes:
        name: of the network.
        form: its own name.
        chain: the layers.
        inputs: `x`, parameters, masks and labels, by `layer/operand`.
        fails: why the layers do not meet, and the last one does not follow; empty where they do.
        keys: the form as it is written.
        where: its place.
    """

    name: str
    form: str
    chain: Chain
    inputs: Mapping[str, TensorSpec]
    fails: str
    keys: NetworkFormKeys
    where: Where


def read_networks(document: Document) -> tuple[tuple[Network, ...], NetworkKeys | None, list[Problem]]:
    """Every form of a network file, the file's keys, and whatever is wrong with it."""
    reader = _Reader(document)
    networks = tuple(reader.networks())
    return networks, reader.keys, reader.problems


def network_cases(document: Document, prefix: str) -> tuple[tuple[Case, ...], list[Problem]]:
    """A network file's forms as cases, `prefix/form`."""
    networks, keys, problems = read_networks(document)
    if keys is None or problems:
        return (), problems
    return tuple(_case(network, keys, prefix) for network in networks), problems


def _case(network: Network, keys: NetworkKeys, prefix: str) -> Case:
    form = network.keys
    usual: dict[str, Any] = {name: form[name] for name in ("tier", "formats") if name in form}
    checks: tuple[Check, ...] = ("outputs", "gradients")
    return Case(
        id=f"{prefix}/{network.form}",
        operator="chain",
        attributes=network.chain,
        inputs=network.inputs,
        data=("normal",),
        checks=checks,
        expect=Expect(shape=form.get("shape"), error="required" if form.get("error") else "no"),
        about=form.get("about", keys.get("about", "")),
        source=keys.get("source", ""),
        where=network.where,
        **usual,
    )


class _Reader:
    """Reads one network file, and collects what is wrong with it."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.problems: list[Problem] = []
        self.keys: NetworkKeys | None = None

    def note(self, steps: Steps, message: str, *, key: bool = False) -> None:
        """Notes what is wrong at a part of the file, once."""
        problem = Problem(str(self.document.find(steps, key=key)[1]), message)
        if problem not in self.problems:
            self.problems.append(problem)

    def networks(self) -> Iterator[Network]:
        """Every form that can be read."""
        self.keys, faults = check_network(long_network(self.document.data))
        for fault in faults:
            self.note(fault.steps, fault.message, key=fault.key)
        if self.keys is None:
            return
        if not NAME.fullmatch(self.keys["network"]):
            self.note(("network",), f"a name is made of a-z, 0-9, '.', '_' and '-', got {self.keys['network']!r}")
        names: set[str] = set()
        for n, form in enumerate(self.keys["forms"]):
            if not NAME.fullmatch(form["name"]):
                self.note(("forms", n, "name"), f"a name is made of a-z, 0-9, '.', '_' and '-', got {form['name']!r}")
            if form["name"] in names:
                self.note(("forms", n, "name"), f"the form {form['name']!r} is taken; names of forms are unique")
            names.add(form["name"])
            network = _Form(self, self.keys, form, ("forms", n)).network()
            if network is not None:
                yield network


@dataclass(slots=True)
class _Scope:
    """The layers of one level, a block's or the file's, by their names there; what they stand for is the last one."""

    prefix: str
    known: dict[str, str]
    before: str

    def unused(self, wanted: str) -> str:
        """A name that no layer of this level has."""
        numbered = (f"{wanted}_{n}" for n in range(2, len(self.known) + 3))
        return wanted if wanted not in self.known else next(name for name in numbered if name not in self.known)


class _Stop(Exception):
    """The layers do not meet: what follows has no shape."""


class _Form:
    """Makes one form of a network out of its file."""

    def __init__(self, reader: _Reader, keys: NetworkKeys, form: NetworkFormKeys, at: Steps) -> None:
        self._reader = reader
        self._keys = keys
        self._form = form
        self._at = at
        self._width = form.get("width", 1.0)
        self._classes = form.get("classes", keys.get("classes"))
        self._layers: list[Layer] = []
        self._inputs: dict[str, TensorSpec] = {}
        self._shapes: dict[str, Shape] = {}
        self._fails = ""

    def network(self) -> Network | None:
        """The form, or None after noting what is wrong."""
        keys, form = self._keys, self._form
        batch, *image, channels = form.get("input", keys["input"])
        if "image" in form and len(form["image"]) != len(image):
            self._reader.note((*self._at, "image"), f"image has {len(image)} sizes, got {show(form['image'])}")
            return None
        x: Shape = (form.get("batch", batch), *form.get("image", tuple(image)), channels)
        self._inputs[INPUT] = TensorSpec(shape=x)
        self._shapes[INPUT] = x
        try:
            self._level(keys["layers"], ("layers",), _Scope("", {}, INPUT), tuple(keys.get("blocks", {})))
        except _Stop:
            if not (self._fails and form.get("error")):
                return None
        else:
            if form.get("error"):
                self._reader.note((*self._at, "error"), "error: true is for layers that do not meet, and these do")
        if self._reader.problems:
            return None
        chain = Chain(layers=tuple(self._layers), network=keys["network"])
        if form.get("mode") == "inference":
            chain = inference_chain(chain)
        kept = {INPUT: self._inputs[INPUT]}
        for layer in chain.layers:
            kept |= {f"{layer.name}/{name}": spec for name, spec in own_of(layer, self._inputs).items()}
        total = sum(math.prod(spec.shape) for spec in kept.values()) + sum(map(math.prod, self._shapes.values()))
        if 8 * total > MOST_BYTES:
            self._reader.note(self._at, too_large("all parameters and outputs of this form", total))
            return None
        return Network(
            name=keys["network"],
            form=form["name"],
            chain=chain,
            inputs=kept,
            fails=self._fails,
            keys=form,
            where=self._reader.document.find(self._at)[1],
        )

    def _level(
        self, layers: Sequence[NetworkLayerKeys], at: Steps, scope: _Scope, blocks: Sequence[str], **values: Plain
    ) -> str:
        """Adds the layers of one level; gives the last one's name. A block uses those written above it alone."""
        for n, written in enumerate(layers):
            here: Steps = (*at, n)
            layer: Any = self._filled(written, here, values)
            kind = layer.get("block") or layer.get("operator")
            if ("block" in layer) == ("operator" in layer):
                self._stop(here, "a layer has an operator or is a block: give it one of operator, block")
            for key in ("set", "repeat"):
                if key in layer and "block" not in layer:
                    self._stop((*here, key), f"{key} goes with block", key=True)
            name = layer.get("name") or scope.unused(kind)
            if not NAME.fullmatch(name):
                self._stop((*here, "name"), f"a layer's name is made of a-z, 0-9, '.', '_' and '-', got {name!r}")
            if name in scope.known or name in (INPUT, BLOCK_INPUT):
                self._stop((*here, "name"), f"the layer name {name!r} is taken; names of layers are unique")
            sources = [
                self._source(source, scope, (*here, "takes", k)) for k, source in enumerate(layer.get("takes", ()))
            ]
            if "block" in layer:
                last = self._block(layer, here, scope, sources, f"{scope.prefix}{name}", blocks)
            else:
                last = self._layer(layer, here, scope, sources, f"{scope.prefix}{name}")
            scope.known[name] = scope.before = last
        return scope.before

    def _block(
        self, layer: Any, at: Steps, scope: _Scope, sources: Sequence[str], name: str, blocks: Sequence[str]
    ) -> str:
        """The layers of a block, as often as it is repeated, one behind the other."""
        block = layer["block"]
        if block not in blocks:
            known = ", ".join(blocks) or "none"
            message = f"there is no block {block!r} above this one; there are {known}{did_you_mean(block, blocks)}"
            self._stop((*at, "block"), message)
        if len(sources) > 1:
            self._stop((*at, "takes"), f"a block takes one layer, got {len(sources)}")
        for key in layer.keys() - {"name", "block", "takes", "repeat", "set"}:
            self._stop((*at, key), f"{key} is said by the layers of the block; set: gives them values", key=True)
        own = self._keys["blocks"][block]
        wanted = set(_placeholders(own))
        given = layer.get("set", {})
        for key in given.keys() - wanted:
            known = ", ".join(sorted(wanted)) or "none"
            message = f"block {block!r} has no ${key}; it has {known}{did_you_mean(key, wanted)}"
            self._stop((*at, "set", key), message, key=True)
        for key in sorted(wanted - given.keys()):
            self._stop(at, f"block {block!r} needs a value for ${key}; write set: {{{key}: ...}}")
        above = blocks[: list(blocks).index(block)]
        before = sources[0] if sources else scope.before
        repeat = layer.get("repeat")
        for prefix in [f"{name}."] if repeat is None else [f"{name}.{n}." for n in range(1, repeat + 1)]:
            inner = _Scope(prefix, {BLOCK_INPUT: before}, before)
            before = self._level(own, ("blocks", block), inner, above, **given)
        return before

    def _layer(self, layer: Any, at: Steps, scope: _Scope, sources: Sequence[str], name: str) -> str:
        """One layer, with its parameters."""
        operator = OPERATORS.get(layer["operator"])
        if operator is None or operator.name == "chain" or "output" not in operator.outputs:
            known = [other for other in OPERATORS if other != "chain"]
            message = f"unknown operator {layer['operator']!r} of a layer{did_you_mean(layer['operator'], known)}"
            self._stop((*at, "operator"), message)
        attributes, faults = read_attributes(operator, layer.get("attributes", {}))
        for fault in faults:
            self._reader.note((*at, "attributes", *fault.steps), fault.message, key=fault.key)
        if attributes is None:
            raise _Stop
        taken = tuple(sources) or (scope.before,)
        names = [operand.name for operand in operator.operands]
        given = {operand: self._shapes[source] for operand, source in zip(names, taken, strict=False)}
        own = self._parameters(layer, at, operator, attributes, given)
        before = self._layers[-1].name if self._layers else INPUT
        self._layers.append(
            Layer(
                name=name,
                operator=operator.name,
                attributes=attributes,
                takes=() if taken == (before,) else taken,
            )
        )
        for operand, spec in own.items():
            title = f"{name}/{operand}"
            self._inputs[title] = spec if spec.source is not None else self._initialised(title, spec.shape, at)
        try:
            made = operator.shapes(attributes, given | {operand: spec.shape for operand, spec in own.items()})
        except ImpossibleShape as error:
            told = " and ".join(map(show, given.values()))
            self._fails = f"layer {name!r} ({operator.name}) given {told}: {error}"
            if not self._form.get("error"):
                self._reader.note(at, self._fails)
            raise _Stop from error
        self._shapes[name] = made["output"]
        return name

    def _parameters(
        self, layer: Any, at: Steps, operator: Operator, attributes: Any, given: Mapping[str, Shape]
    ) -> dict[str, TensorSpec]:
        """The operands that no other layer gives: as written, or as they follow from the channels that come in."""
        own: dict[str, TensorSpec] = {}
        kinds = {operand.name: operand.kind for operand in operator.operands if operand.name not in given}
        x = next(iter(given.values()))
        sized = (
            {"filters", "kernel"}
            if operator.rank and "w" in kinds
            else {"units"}
            if operator.name == "dense"
            else set()
        )
        for key in {"filters", "kernel", "units", "bias"} & layer.keys():
            if key not in sized and not (key == "bias" and sized):
                self._stop((*at, key), f"{operator.name} has no {key}", key=True)
        if sized and not layer.keys() & {"inputs"} and len(x) < (operator.rank + 2 if operator.rank else 1):
            self._stop(at, f"{operator.name} is given {show(x)}, of too few axes")
        written = layer.get("inputs", {})
        if sized and "w" not in written:
            lacking = sized - layer.keys()
            if lacking:
                self._stop(at, f"{operator.name} needs {' and '.join(sorted(lacking))}")
            groups = getattr(attributes, "groups", 1)
            out = self._channels(layer["filters" if operator.rank else "units"], at, groups)
            ends = (x[-1] // groups, out) if "transpose" not in operator.name else (out // groups, x[-1])
            kernel = layer.get("kernel", ())
            sides = (kernel,) * operator.rank if isinstance(kernel, int) else tuple(kernel)
            own["w"] = TensorSpec(shape=(*sides, *ends))
            if layer.get("bias", True):
                own["b"] = TensorSpec(shape=(out,))
        for name, kind in kinds.items():
            if name in _STATISTICS:
                own[name] = TensorSpec(shape=x[-1:])
            elif kind == "mask":
                own[name] = TensorSpec(shape=x, source=Fill(kind="mask", keep=attributes.keep))
            elif kind == "integer":
                labels = Fill(kind="integers", low=0, high=(self._classes or x[-1]) - 1)
                own[name] = TensorSpec(shape=x[:1], source=labels)
        for name, tensor in written.items():
            steps: Steps = (*at, "inputs", name)
            if name not in kinds:
                known = ", ".join(kinds) or "none"
                self._stop(steps, f"{operator.name} has no operand {name!r} of its own; it has {known}", key=True)
            try:
                spec = read_tensor(tensor, self._reader.document.path.parent, steps, kinds[name])
            except WrongPart as error:
                self._stop(error.steps, error.message, key=error.key)
            if spec.shape is None:
                self._stop(steps, f"{name} needs a shape, or numbers that have one (values: or file:)")
            own[name] = TensorSpec(shape=spec.shape, source=spec.source)
        for operand in operator.operands:
            if operand.name not in given and operand.name not in own and not operand.optional:
                self._stop(at, f"{operator.name} needs the operand {operand.name!r}: takes: or inputs: gives it")
        return own

    def _channels(self, wanted: Plain, at: Steps, groups: int) -> int:
        """How many channels there are in this form: as many as written, or a share that groups divide."""
        if wanted == CLASSES:
            if self._classes is None:
                self._stop(at, "the file says no classes: at its top level")
            return self._classes
        if not isinstance(wanted, int) or wanted < 1:
            self._stop(at, f"filters and units are positive integers or {CLASSES!r}, got {show(wanted)}")
        return max(1, math.ceil(wanted * self._width / groups)) * groups if self._width != 1 else int(wanted)

    def _initialised(self, title: str, shape: Shape, at: Steps) -> TensorSpec:
        """A parameter, filled as the first pattern that matches it says."""
        patterns = {**self._form.get("initializers", {}), **self._keys.get("initializers", {})}
        found: FillName | None = next((how for glob, how in patterns.items() if fnmatchcase(title, glob)), None)
        if found is None:
            self._stop(at, f"parameter {title!r} has no initializer; add a pattern to initializers")
        if found == "glorot_uniform" and len(shape) < 2:
            self._stop(at, f"glorot_uniform needs a kernel of at least 2 axes, {title!r} has shape {show(shape)}")
        return TensorSpec(shape=shape, source=Fill(kind=found))

    def _source(self, source: str, scope: _Scope, at: Steps) -> str:
        if scope.prefix == "" and source == BLOCK_INPUT:
            return INPUT
        if source not in scope.known:
            names = [BLOCK_INPUT, *(name for name in scope.known if name != BLOCK_INPUT)]
            self._stop(at, f"there is no layer {source!r} before this one, in its block{did_you_mean(source, names)}")
        return scope.known[source]

    def _filled(self, node: Plain, at: Steps, values: Mapping[str, Plain]) -> Plain:
        """What is written, with the values that a block was given."""
        if isinstance(node, dict):
            return {name: self._filled(part, (*at, name), values) for name, part in node.items()}
        if isinstance(node, tuple):
            return tuple(self._filled(part, (*at, n), values) for n, part in enumerate(node))
        if isinstance(node, str) and node.startswith("$"):
            if node[1:] not in values:
                self._stop(at, f"{node} is given by set: where a block is used; there is none here")
            return values[node[1:]]
        return node

    def _stop(self, at: Steps, message: str, *, key: bool = False) -> NoReturn:
        """Notes what is wrong; the form goes no further.

        Raises:
            _Stop: always.
        """
        self._reader.note(at, message, key=key)
        raise _Stop


def _placeholders(node: Plain) -> Collection[str]:
    """The names behind `$` in a block."""
    if isinstance(node, dict):
        return [name for part in node.values() for name in _placeholders(part)]
    if isinstance(node, tuple):
        return [name for part in node for name in _placeholders(part)]
    return [node[1:]] if isinstance(node, str) and node.startswith("$") else []
