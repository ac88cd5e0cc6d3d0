"""Case files become cases, validated once; whatever is wrong is told with its place, all of it at once.

`yaml12` reads, `expansion` merges defaults and multiplies out matrices, `grammar` checks keys and types, `tensors`
reads shapes and numbers; here the operators' contracts say what a case means, and whether it can be asked at all.
"""

import gc
import itertools
import math
import re
from collections.abc import Collection, Container, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

from conformance.case.attributes import read_attributes
from conformance.case.contract import Operand, Operator
from conformance.case.expansion import NAME, Written, did_you_mean, expand, long_form, show
from conformance.case.grammar import (
    NATIVE_WORD,
    FileKeys,
    LayerKeys,
    StatementKeys,
    TensorKeys,
    check_case,
    check_defaults,
    schema,
)
from conformance.case.model import (
    INTEGER_NAMES,
    Case,
    Check,
    Claim,
    Convention,
    DataSet,
    Expect,
    Fill,
    FillName,
    Shape,
    Stated,
    TensorSpec,
    Values,
)
from conformance.case.networks import network_cases
from conformance.case.operators import INPUT, OPERATORS, Chain, Layer
from conformance.case.reduction import is_reducible, reduce
from conformance.case.resolved import question
from conformance.case.second import second_names
from conformance.case.sweeps import Cell, swept
from conformance.case.tensors import FILLS_FOR, MOST_BYTES, TensorRead, WrongPart, read_tensor, too_large
from conformance.case.writing import as_yaml
from conformance.case.yaml12 import Document, Plain, Steps, read
from conformance.errors import ImpossibleShape, InvalidCases, Problem

__all__ = ["as_yaml", "is_case_file", "load", "schema"]

# Fills that make integers.
_WHOLE: Final[tuple[FillName, ...]] = ("integers", "arange", "ones", "zeros", "mask", "one_hot")
_CASE_KEYS: Final = frozenset(("operator", "cases", "layers", "network"))
_SCHEMA_LINE: Final = re.compile(rb"(?:\xef\xbb\xbf)?#.*\$schema\s*=.*schema\.json")
_TOP_LEVEL_KEY: Final = re.compile(rb"^([\"']?)(operator|cases|layers|training|network)\1[ \t]*:", re.MULTILINE)


def is_case_file(path: Path) -> bool:
    """Whether a file says that it holds cases: its first line names our schema, its top level an operator.

    Looked at without parsing, so that a broken file is told as broken instead of being passed over.
    """
    try:
        raw = path.read_bytes()
    except OSError:
        return False
    if not _SCHEMA_LINE.match(raw.partition(b"\n")[0]):
        return False
    keys = {match[2].decode() for match in _TOP_LEVEL_KEY.finditer(raw)}
    return bool(keys & _CASE_KEYS) and "training" not in keys


def load(paths: Sequence[Path]) -> tuple[Case, ...]:
    """Every case of the files, and of the `*.yaml` files in the folders, given.

    Training descriptions are `load_trainings`'s to read; within folders, other files without cases are passed over.

    Raises:
        InvalidCases: with every problem of every file.
    """
    collecting = gc.isenabled()
    gc.disable()  # what is made here stays: to look for garbage among it takes a fifth of the time
    try:
        return _loaded(paths)
    finally:
        if collecting:
            gc.enable()


def _loaded(paths: Sequence[Path]) -> tuple[Case, ...]:
    cases: list[Case] = []
    problems: list[Problem] = []
    places: dict[str, str] = {}
    renamed: list[tuple[str, str, str]] = []
    for path, named in yaml_files(paths, problems).items():
        try:
            document = read(path)
        except InvalidCases as error:
            problems += error.problems
            continue
        keys = document.data.keys() if isinstance(document.data, dict) else ()
        if "training" in keys:
            continue
        if "network" in keys:
            own, found = network_cases(document, _prefix(path))
            problems += found
            for form in own:
                if form.id in places:
                    message = f"the id {form.id!r} is taken by {places[form.id]}; ids are unique"
                    problems.append(Problem(str(form.where), message))
                places.setdefault(form.id, str(form.where))
            cases += own
            continue
        above = len(problems)
        if not _has_cases(document, problems, named=named):
            continue
        # What is wrong with the defaults is told once, not again for every case.
        told = {problem.where for problem in problems[above:]}
        written, found = expand(document)
        problems += found
        prefix = _prefix(path)
        asked: set[object] = set()
        for _, entry in itertools.groupby(written, key=lambda one: one.index):
            cells: list[Cell] = []
            for one in entry:
                reader = _Reader(one, f"{prefix}/{one.name}")
                made = reader.cases(asked)
                for case in made:
                    renamed += ((old, case.id, one.place("was")) for old in case.was)
                problems += (problem for problem in reader.problems if problem.where not in told)
                for id_ in [reader.id] if not made and NAME.fullmatch(one.name) else [case.id for case in made]:
                    here = one.place("name")
                    if id_ in places:
                        problems.append(Problem(here, f"the id {id_!r} is taken by {places[id_]}; ids are unique"))
                    places.setdefault(id_, here)
                cells += (Cell(one.levels, case) for case in made)
            cases += swept(cells, asked) if cells and cells[0].levels else (cell.case for cell in cells)
    problems += _taken(renamed, places)
    if problems:
        raise InvalidCases(tuple(dict.fromkeys(problems)))
    return tuple(cases)


def _taken(renamed: Sequence[tuple[str, str, str]], places: Mapping[str, str]) -> Iterator[Problem]:
    """Former ids (with the present id and the place of each) that a case has now, or that two cases had."""
    owners: dict[str, str] = {}
    for old, new, place in renamed:
        if old in places:
            message = f"was names an id that a case had; {old!r} is the id of one now, at {places[old]}"
            yield Problem(place, message)
        elif owners.setdefault(old, new) != new:
            yield Problem(place, f"was says {old!r}, which {owners[old]!r} was; an id leads to one case")


def yaml_files(paths: Sequence[Path], problems: list[Problem]) -> dict[Path, bool]:
    """Files to read, each once, and whether a file was named itself."""
    files: dict[Path, tuple[Path, bool]] = {}
    for path in paths:
        if path.is_dir():
            for file in sorted(path.rglob("*.yaml")):
                files.setdefault(file.resolve(), (file, False))
        elif path.exists():
            files[path.resolve()] = (path, True)
        else:
            near = did_you_mean(path.name, [other.name for other in path.parent.glob("*")])
            problems.append(Problem(str(path), f"there is no such file or folder{near}"))
    return dict(files.values())


def read_network(
    document: Document, name: str, layers: Sequence[LayerKeys]
) -> tuple[Chain | None, dict[str, tuple[TensorKeys, Steps]], list[Problem]]:
    """The chain in a file's top-level `layers`, and the tensors given in it by `layer/operand`, with their places."""
    reader = _Reader(Written(document, 0, name, {}, {}), name)
    tensors: dict[str, Any] = {}
    chain = reader._layers(layers, tensors)
    return chain, tensors, reader.problems


def _prefix(path: Path) -> str:
    """What comes before the name in the ids of a file."""
    full = path.resolve().with_suffix("")
    for parent in full.parents:
        if parent.name == "cases":
            return full.relative_to(parent).as_posix().removeprefix("operators/")
    return full.name


def _has_cases(document: Document, problems: list[Problem], *, named: bool) -> bool:
    """Whether a file holds cases; notes what is wrong with its top level."""

    def problem(message: str, *steps: str | int, key: bool = False) -> None:
        problems.append(Problem(str(document.find(steps, key=key)[1]), message))

    data = document.data
    allowed = list(FileKeys.__annotations__)
    if data is None:
        problem("the file has no cases; write operator: and cases:")
        return False
    if not isinstance(data, dict) or not data.keys() & _CASE_KEYS:
        if named:
            got = f"the keys {', '.join(data)}" if isinstance(data, dict) else show(data)
            problem(
                f"not a file of cases: its top level takes {', '.join(allowed)}, got {got}; "
                "a network's names its network, a training's its training"
            )
        return False
    for name in data:
        if name not in allowed:
            message = f"unknown key {name!r}; allowed are {', '.join(allowed)}{did_you_mean(name, allowed)}"
            problem(message, name, key=True)
    if "defaults" in data:
        defaults = data["defaults"]
        for fault in check_defaults(long_form(defaults) if isinstance(defaults, dict) else defaults):
            problem(fault.message, "defaults", *fault.steps, key=fault.key)
    cases = data.get("cases")
    if cases is None or cases == ():
        problem("the file has no cases; write cases: as a list of at least one", "cases")
        return False
    if not isinstance(cases, tuple):
        problem(f"cases must be a list of mappings, got {show(cases)}", "cases")
        return False
    for index, case in enumerate(cases):
        if not isinstance(case, dict):
            problem(f"a case must be a mapping, got {show(case)}", "cases", index)
    return True


@dataclass(frozen=True, slots=True)
class _Names:
    """What a case can state numbers of."""

    outputs: tuple[str, ...]
    differentiable: tuple[str, ...]


class _Reader:
    """Reads one expanded case, and collects what is wrong with it."""

    def __init__(self, written: Written, identity: str) -> None:
        self.written = written
        self.id = identity
        self.problems: list[Problem] = []
        # A question that must be refused may ask the impossible: its types are checked, its values are not.
        expect = written.data.get("expect")
        error = expect.get("error") if isinstance(expect, dict) else None
        self.lenient = error is not None

    def note(self, steps: Steps, message: str, *, key: bool = False) -> None:
        """Notes what is wrong at a part of the case."""
        self.problems.append(Problem(self.written.place(*steps, key=key), message))

    def cases(self, asked: set[object]) -> tuple[Case, ...]:
        """The case, and its smaller form where that is asked for; none where something is wrong with it.

        Args:
            asked: what smaller forms and sweeps of the file ask so far; a smaller form that asks it too is left out.
        """
        case = self._case()
        tier = self.written.data.get("reduced")
        if case is None or tier is None:
            return () if case is None else (case,)
        if not is_reducible(case) or self.written.levels:
            message = (
                "reduced goes with a layer that slides a window over generated data, and says nothing of the answer"
            )
            self.note(("reduced",), f"{message}; leave it out", key=True)
            return ()
        smaller = reduce(case, tier)
        mine = question(smaller)
        known = mine in asked
        asked.add(mine)
        return (case,) if known else (case, smaller)

    def _case(self) -> Case | None:
        """The case, or None where something is wrong with it."""
        data = self.written.data
        checked, faults = check_case(data)
        for fault in faults:
            self.note(fault.steps, fault.message, key=fault.key)
        operator = self._operator(data.get("operator"), ("operator",))
        if operator is None:
            return None
        chain = operator.name == "chain"
        if checked is None:
            if not chain and isinstance(data.get("attributes", {}), dict) and "readings" not in data:
                self._attributes(operator, data.get("attributes", {}), ("attributes",))
            return None
        readings: tuple[Convention, ...] = ()
        native: tuple[str, ...] = ()
        tensors = {name: (tensor, ("inputs", name)) for name, tensor in checked.get("inputs", {}).items()}
        if chain:
            if "attributes" in checked:
                self.note(("attributes",), "a chain has no attributes of its own; its layers have", key=True)
            attributes = self._layers(checked.get("layers", ()), tensors)
            if attributes is not None and "network" in checked:
                attributes = replace(attributes, network=checked["network"])
        else:
            for name in ("layers", "network"):
                if name in checked:
                    verb = "go" if name == "layers" else "goes"
                    message = f"{name} {verb} with operator: chain, got operator: {operator.name}"
                    self.note((name,), message, key=True)
            given = checked.get("attributes", {})
            if "readings" in checked:
                native = tuple(name for name, value in given.items() if value == NATIVE_WORD)
                readings = self._readings(operator, given, checked["readings"])
                attributes = readings[0].attributes if readings else None
            else:
                attributes = self._attributes(operator, given, ("attributes",))
        if "readings" in checked:
            self._is_a_probe(checked, chain=chain)
        if attributes is None:
            return None
        operands = _operands(operator, attributes)
        inputs = self._inputs(operator, operands, tensors)
        self._stated_names = _Names(
            _outputs(operator, attributes), tuple(n for n in inputs if operands[n].differentiable)
        )
        expect = self._expect(checked.get("expect", {}))
        claims = tuple(self._claim(n, claim) for n, claim in enumerate(checked.get("claims", ())))
        if self.problems:
            return None
        shapes = self._shapes(operator, attributes, inputs)
        one_shape = all(self._shapes(operator, one.attributes, inputs) == shapes for one in readings)
        shapes = {name: shape for name, shape in shapes.items() if name not in operator.state}
        cotangents = self._cotangents(checked.get("cotangents", {}), shapes, operator.state)
        self._gradients_have_cotangents(expect, claims, cotangents, shapes)
        on_integers = self._is_on_integers(operator, checked, inputs)
        checks = self._checks(operator, ("outputs",) if on_integers else checked.get("checks"), expect, claims)
        if not one_shape:  # a cotangent has one shape
            checks = ("outputs",)
        was = self._was(checked.get("was", ()))
        if self.problems:
            return None
        line = self.written.document.find(("cases", self.written.index))[1]
        optional: dict[str, Any] = {
            name: checked[name] for name in ("formats", "layouts", "tier", "about", "source") if name in checked
        }
        return Case(
            id=self.id,
            operator=operator.name,
            attributes=attributes,
            inputs=inputs,
            cotangents=cotangents,
            data=("given",) if on_integers else checked.get("data") or _data(operator, operands, inputs, expect),
            checks=checks,
            expect=expect,
            claims=claims,
            was=was,
            readings=readings,
            native=native,
            where=line,
            **optional,
        )

    def _is_on_integers(
        self, operator: Operator, checked: Mapping[str, Any], inputs: Mapping[str, TensorSpec]
    ) -> bool:
        """Whether the formats are integers; notes what cannot be asked of them."""
        formats: tuple[str, ...] = checked.get("formats", ())
        if INTEGER_NAMES.isdisjoint(formats):
            return False
        if not INTEGER_NAMES.issuperset(formats):
            self.note(("formats",), "integers and other formats are two questions; make them two cases")
        if operator.on_integers is None:
            known = ", ".join(name for name, other in OPERATORS.items() if other.on_integers)
            self.note(("formats",), f"{operator.name} is not asked on integers; {known} are")
        for key, usual in (("checks", ("outputs",)), ("data", ("given",)), ("cotangents", {}), ("readings", {})):
            if checked.get(key, usual) != usual:
                self.note((key,), f"integers ask outputs, of one set of numbers; leave {key} out", key=True)
        for name, spec in inputs.items():
            if isinstance(spec.source, Fill) and spec.source.kind not in _WHOLE:
                fills = ", ".join(_WHOLE)
                self.note(("inputs", name), f"{name} must hold integers: values:, file:, or fill: {fills}")
            elif isinstance(spec.source, Values) and not all(value.is_integer() for value in spec.source.values):
                self.note(("inputs", name), f"{name} must hold integers, got other numbers")
        return True

    def _was(self, given: Any) -> tuple[str, ...]:
        for old in given:
            if "/" not in old or not all(map(NAME.fullmatch, old.split("/"))):
                self.note(("was",), f"was takes ids, such as {self.id!r}, got {old!r}")
        return tuple(given)

    def _operator(self, name: Plain, steps: Steps) -> Operator | None:
        known = ", ".join(sorted(OPERATORS))
        if name is None:
            self.note(steps, f"the key 'operator' is missing: one of {known}")
        elif isinstance(name, str) and name not in OPERATORS:
            self.note(steps, f"unknown operator {name!r}; known are {known}{did_you_mean(name, OPERATORS)}")
        return OPERATORS.get(name) if isinstance(name, str) else None

    def _attributes(
        self, operator: Operator, given: Plain, steps: Steps, *, base: Steps = (), own: frozenset[str] = frozenset()
    ) -> Any:
        """The operator's dataclass, one number for all axes written out; None where something is wrong.

        Of a reading, `own` are the attributes that it gives itself, at `steps`; the others stand at `base`.
        """

        def at(name: str) -> Steps:
            return (*(steps if not base or name in own else base), name)

        if not base and isinstance(given, dict):
            for name in (name for name, value in given.items() if value == NATIVE_WORD):
                message = f"{name}: native goes with readings, which say what a framework's default may be; add them"
                self.note(at(name), message)
                return None
        attributes, faults = read_attributes(operator, given, lenient=self.lenient)
        for fault in faults:
            place = (*at(str(fault.steps[0])), *fault.steps[1:]) if fault.steps else steps
            self.note(place, fault.message, key=fault.key)
        return attributes

    def _readings(
        self, operator: Operator, given: Mapping[str, Plain], readings: Mapping[str, Mapping[str, Plain]]
    ) -> tuple[Convention, ...]:
        """Every reading with the case's attributes and its own; none where something is wrong with one."""
        for name, value in given.items():
            if value == NATIVE_WORD and name not in _names(operator.name):
                known = ", ".join(_names(operator.name)) or "none"
                hint = did_you_mean(name, _names(operator.name))
                message = f"{operator.name} has no attribute {name!r}; it has {known}{hint}"
                self.note(("attributes", name), message, key=True)
        said = {name: value for name, value in given.items() if value != NATIVE_WORD}
        made: list[Convention] = []
        for name, reading in readings.items():
            steps: Steps = ("readings", name)
            variant = reading.get("variant", "")
            if not isinstance(variant, str):
                self.note((*steps, "variant"), f"variant must be text, the name of one, got {show(variant)}")
            own = {key: value for key, value in reading.items() if key != "variant"}
            for key, value in own.items():
                if value == NATIVE_WORD:
                    message = f"a reading says what {key} is: give it a value, and write native in attributes"
                    self.note((*steps, key), message)
            attributes = self._attributes(operator, {**said, **own}, steps, base=("attributes",), own=frozenset(own))
            if attributes is not None:
                where = self.written.where(*steps, key=True)
                made.append(Convention(name=name, attributes=attributes, variant=str(variant), where=where))
        return tuple(made) if len(made) == len(readings) else ()

    def _is_a_probe(self, checked: Mapping[str, Any], *, chain: bool) -> None:
        """Notes what cannot stand beside readings."""
        if chain:
            self.note(("readings",), "a chain has no readings; probe its operators one by one", key=True)
        for name in ("expect", "claims"):
            if name in checked:
                message = f"{name} goes with a case that has one answer; the readings say what may be expected here"
                self.note((name,), message, key=True)

    def _layers(self, layers: Sequence[Any], tensors: dict[str, Any]) -> Chain | None:
        """The layers of a chain; their operands join the chain's own as `layer/operand`."""
        if not layers:
            self.note((), "a chain needs layers: a list of {operator: ..., attributes: ..., inputs: ...}")
            return None
        made: list[Layer] = []
        names: set[str] = set()
        for n, layer in enumerate(layers):
            at: Steps = ("layers", n)
            operator = self._operator(layer["operator"], (*at, "operator"))
            if operator is None:
                continue
            if operator.name == "chain" or "output" not in operator.outputs:
                message = f"a layer has one output beside its state, and is no chain; got {operator.name!r}"
                self.note((*at, "operator"), message)
                continue
            name = layer.get("name") or _unused(operator.name, names)
            if not NAME.fullmatch(name):
                self.note((*at, "name"), f"a layer's name is made of a-z, 0-9, '.', '_' and '-', got {name!r}")
            if name in names or name == INPUT:
                self.note((*at, "name"), f"the layer name {name!r} is taken; names of layers are unique in a chain")
            takes = self._takes(layer.get("takes", ()), operator, names, (*at, "takes"))
            names.add(name)
            attributes = self._attributes(operator, layer.get("attributes", {}), (*at, "attributes"))
            if attributes is not None:
                made.append(Layer(name=name, operator=operator.name, attributes=attributes, takes=takes))
            for operand, tensor in layer.get("inputs", {}).items():
                if operand in [part.name for part in operator.operands[: max(len(takes), 1)]]:
                    message = f"{operand!r} of layer {name!r} is what another layer gives; leave it out"
                    self.note((*at, "inputs", operand), message, key=True)
                else:
                    tensors[f"{name}/{operand}"] = (tensor, (*at, "inputs", operand))
        return Chain(layers=tuple(made)) if len(made) == len(layers) else None

    def _takes(
        self, takes: tuple[str, ...], operator: Operator, known: Collection[str], steps: Steps
    ) -> tuple[str, ...]:
        """The layers that a layer takes, which come before it."""
        most = [operand for operand in operator.operands if operand.kind == "float" and operand.differentiable]
        if len(takes) > len(most):
            self.note(steps, f"{operator.name} takes at most {len(most)} layers, got {len(takes)}")
        for n, source in enumerate(takes):
            if source != INPUT and source not in known:
                names = [INPUT, *sorted(known)]
                message = f"there is no layer {source!r} before this one{did_you_mean(source, names)}"
                self.note((*steps, n), message)
        return takes

    def _inputs(
        self, operator: Operator, operands: Mapping[str, Operand], given: Mapping[str, Any]
    ) -> dict[str, TensorSpec]:
        for name, (_, steps) in given.items():
            if name not in operands:
                message = f"{operator.name} has no operand {name!r}; it has {', '.join(operands)}"
                self.note(steps, message + did_you_mean(name, operands), key=True)
        inputs = {}
        for name, operand in operands.items():
            if name in given:
                spec = self._tensor(given[name][0], given[name][1], operand.kind)
                if spec is None:
                    continue
                if spec.shape is None:
                    self.note(given[name][1], f"{name} needs a shape, or numbers that have one (values: or file:)")
                    continue
                if operand.kind != "float" and spec.source is None:
                    fills = ", ".join(FILLS_FOR[operand.kind])
                    message = f"{name} holds {operand.kind}s and needs a source: values:, file:, or fill: {fills}"
                    self.note(given[name][1], message)
                inputs[name] = TensorSpec(shape=spec.shape, source=spec.source)
            elif not operand.optional:
                got = ", ".join(given) or "none"
                self.note(("inputs",), f"{operator.name} needs the operand {name!r}; given are {got}")
        return inputs

    def _tensor(self, given: TensorKeys, steps: Steps, kind: str = "float") -> TensorRead | None:
        """A tensor, or None after noting why it cannot be read."""
        try:
            return read_tensor(given, self.written.document.path.parent, steps, kind)
        except WrongPart as error:
            self.note(error.steps, error.message, key=error.key)
            return None

    def _stated(self, given: Any, steps: Steps, keys: StatementKeys) -> Stated | None:
        tensor: Any = given if isinstance(given, dict) else {"values": given}
        spec = self._tensor(tensor, steps)
        if spec is None:
            return None
        if spec.shape is None or spec.source is None:
            self.note(steps, f"expected numbers are values: or file:, got {show(given)}")
            return None
        digits = keys.get("digits", "exact")
        return Stated(
            tensor=TensorSpec(shape=spec.shape, source=spec.source),
            decimals=None if digits == "exact" else digits,
            computed=keys.get("computed"),
        )

    def _statement(self, given: StatementKeys, steps: Steps) -> dict[str, Any]:
        """Shape, outputs and gradients that are expected or claimed."""
        names = self._stated_names
        outputs = {name: (value, (*steps, "outputs", name)) for name, value in given.get("outputs", {}).items()}
        if "output" in given:
            if outputs:
                self.note((*steps, "output"), "output is short for outputs; give one of them", key=True)
            if len(names.outputs) > 1:
                message = f"output is for operators with one; this has {', '.join(names.outputs)}: use outputs"
                self.note((*steps, "output"), message, key=True)
            outputs[names.outputs[-1]] = (given["output"], (*steps, "output"))
        gradients = {name: (value, (*steps, "gradients", name)) for name, value in given.get("gradients", {}).items()}
        for part, allowed, what in (
            (outputs, names.outputs, "output"),
            (gradients, names.differentiable, "differentiable operand"),
        ):
            for name, (_, at) in part.items():
                if name not in allowed:
                    known = ", ".join(allowed) or "none"
                    message = f"there is no {what} {name!r}; there are {known}{did_you_mean(name, allowed)}"
                    self.note(at, message, key=True)
        if not outputs and not gradients:
            for name in ("digits", "computed"):
                if name in given:
                    self.note((*steps, name), f"{name} goes with output, outputs or gradients", key=True)
        shape = given.get("shape")
        made: dict[str, Any] = {"shape": shape}
        for key, part in (("outputs", outputs), ("gradients", gradients)):
            stated = {name: self._stated(value, at, given) for name, (value, at) in part.items()}
            made[key] = {name: value for name, value in stated.items() if value is not None}
        for name, value in made["outputs"].items():
            if shape is not None and value.tensor.shape != shape and name == names.outputs[-1]:
                message = f"shape says {show(shape)}, but the numbers of {name} have shape {show(value.tensor.shape)}"
                self.note((*steps, "shape"), message)
        return made

    def _expect(self, given: Any) -> Expect:
        made = self._statement(given, ("expect",))
        error = given.get("error")
        if error is True and any(made.values()):
            self.note(("expect", "error"), "a question that must be refused has no shape, outputs or gradients")
        return Expect(error="no" if error is None else "required" if error is True else "allowed", **made)

    def _claim(self, n: int, given: Any) -> Claim:
        made = self._statement(given, ("claims", n))
        if made["shape"] is None and not {"output", "outputs", "gradients"} & given.keys():
            self.note(("claims", n), "a claim says something: shape, output, outputs or gradients")
        return Claim(says=given["says"], holds=given["holds"], **made)

    def _shapes(self, operator: Operator, attributes: Any, inputs: Mapping[str, TensorSpec]) -> dict[str, Shape]:
        """The outputs' shapes; none where the question is expected to have no answer."""
        shapes = {name: spec.shape for name, spec in inputs.items()}
        outputs: dict[str, Shape] = {}
        if self.lenient:
            if self.written.data["expect"]["error"] == "allowed":
                with suppress(ValueError):
                    outputs = operator.shapes(attributes, shapes)
        else:
            try:
                outputs = operator.shapes(attributes, shapes)
            except ImpossibleShape as error:
                self.note((), f"{operator.name} {self.written.name}: {error}")
        total = sum(math.prod(shape) for shape in (*shapes.values(), *outputs.values()))
        if 8 * total > MOST_BYTES:
            self.note(("inputs",), too_large("all operands and outputs of this case", total))
        if operator.name == "chain" and outputs:
            return {name: outputs[name] for name in attributes.ends}
        return outputs

    def _cotangents(
        self, given: Mapping[str, TensorKeys], shapes: Mapping[str, Shape], state: tuple[str, ...]
    ) -> dict[str, TensorSpec]:
        made = {}
        for name, tensor in given.items():
            steps: Steps = ("cotangents", name)
            if name not in shapes:
                if self.problems:
                    continue
                known = ", ".join(shapes) or "none, for this question has no answer"
                message = f"there is no output {name!r}; there are {known}{did_you_mean(name, shapes)}"
                if name in state:
                    message = f"{name} is never differentiated; only {known} has a cotangent"
                self.note(steps, message, key=True)
                continue
            spec = self._tensor(tensor, steps)
            if spec is None:
                continue
            if spec.shape not in (None, shapes[name]):
                message = f"the cotangent has the output's shape {show(shapes[name])}, got {show(spec.shape)}"
                self.note(steps, message)
            made[name] = TensorSpec(shape=shapes[name], source=spec.source)
        return made

    def _gradients_have_cotangents(
        self,
        expect: Expect,
        claims: Sequence[Claim],
        cotangents: Mapping[str, TensorSpec],
        shapes: Mapping[str, Shape],
    ) -> None:
        open_ = {name: shape for name, shape in shapes.items() if shape != () and name not in cotangents}
        said: list[tuple[Steps, Expect | Claim]] = [(("expect",), expect)]
        said += [(("claims", n), claim) for n, claim in enumerate(claims)]
        for steps, part in said:
            if part.gradients and open_:
                name, shape = next(iter(open_.items()))
                self.note(
                    (*steps, "gradients"),
                    f"gradients of an output of shape {show(shape)} need its cotangent; "
                    f"write cotangents: {{{name}: ...}}",
                    key=True,
                )

    def _checks(
        self, operator: Operator, given: tuple[Check, ...] | None, expect: Expect, claims: Sequence[Claim]
    ) -> tuple[Check, ...]:
        checks: tuple[Check, ...] = ("outputs", "gradients") if given is None else given
        if given is not None and "gradients" not in given and expect.gradients:
            self.note(("checks",), f"gradients are expected, and checks are {show(given)}; add gradients")
        if not self._stated_names.differentiable:
            checks = tuple(check for check in checks if check != "gradients")
        if "jvp" in checks and operator.forward_mode is None:
            self.note(("checks",), f"jvp is asked, and {operator.name} has no forward mode stated; leave it out")
        if "second" in checks and not second_names(operator.name):
            told = f"second is asked, and {operator.name} has no second derivative stated; leave it out"
            self.note(("checks",), told)
        if "second" in checks and "gradients" not in checks:
            self.note(("checks",), "second is asked, which differentiates the gradients; add gradients")
        if not checks and expect == Expect() and not claims:
            self.note(
                ("checks",), "nothing is asked: there are no checks, expected values or claims; add one of them"
            )
        return checks


@cache
def _names(operator: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(OPERATORS[operator].attributes))


def _unused(name: str, taken: Container[str]) -> str:
    numbered = (f"{name}_{n}" for n in itertools.count(2))
    return next(one for one in itertools.chain([name], numbered) if one not in taken)


def _operands(operator: Operator, attributes: Any) -> dict[str, Operand]:
    operands = {operand.name: operand for operand in operator.operands}
    if isinstance(attributes, Chain):
        for layer, takes in attributes.wired():
            own = OPERATORS[layer.operator].operands[len(takes) :]
            operands |= {f"{layer.name}/{operand.name}": operand for operand in own}
    return operands


def _outputs(operator: Operator, attributes: Any) -> tuple[str, ...]:
    return attributes.ends if isinstance(attributes, Chain) else operator.outputs


def _data(
    operator: Operator, operands: Mapping[str, Operand], inputs: Mapping[str, TensorSpec], expect: Expect
) -> tuple[DataSet, ...]:
    """The operator's data sets, unless every float operand has numbers of its own.

    What must be refused is refused whatever its numbers are; a crash for each of them costs a process each.
    """
    own = [spec.source is not None for name, spec in inputs.items() if operands[name].kind == "float"]
    if all(own):
        return ("given",)
    return ("normal",) if expect.error == "required" and "normal" in operator.data else operator.data
