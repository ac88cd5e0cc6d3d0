"""From what a file says to its cases: defaults merged, matrices multiplied out, names made.

Nothing is validated here beyond what expanding needs; every expanded case remembers where each of its parts was
written, so that `loading` can name the place of whatever is wrong with it.
"""

import itertools
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from math import prod
from typing import Any, Final

from conformance.case.model import Where
from conformance.case.sweeps import Level
from conformance.case.yaml12 import Document, Plain, Steps
from conformance.errors import Problem

# More cases than this from one matrix are a slip of the pen: a full run of the shipped cases has a few hundred.
MOST_CASES: Final = 10_000
NAME: Final = re.compile(r"[a-z0-9._-]+")

_PLACEHOLDER: Final = re.compile(r"\{([^{}]*)\}")
_HEAD: Final = ("operator", "about", "source", "layers")
_PATH_STARTS: Final = ("attributes", "inputs", "cotangents", "expect", "layers", "claims")
_NUMBERS: Final = frozenset(("values", "file"))
_SOURCES: Final = frozenset(("fill", "values", "file", "key"))
# Under these keys a mapping is never the value, so a mapping of one key is a label and the value.
_UNMAPPED: Final = frozenset(
    ("operator", "shape", "values", "file", "key", "digits", "computed", "error", "says", "holds", "name")
)


def did_you_mean(given: object, allowed: Any) -> str:
    """'. Did you mean ...?', or nothing where nothing is near."""
    near = get_close_matches(given, list(allowed), n=1) if isinstance(given, str) else []
    return f". Did you mean {near[0]!r}?" if near else ""


def show(value: Plain, *, room: int = 60) -> str:
    """A value as a case file writes it, cut where it gets long."""
    text = _shown(value, 4)
    return text if len(text) <= room else text[: room - 4] + " ..."


def _shown(value: Plain, levels: int) -> str:
    if isinstance(value, tuple):
        if not levels:
            return "[...]"
        parts = [_shown(part, levels - 1) for part in value[:8]] + ["..."] * (len(value) > 8)
        return f"[{', '.join(parts)}]"
    if isinstance(value, dict):
        if not levels:
            return "{...}"
        pairs = [f"{name}: {_shown(part, levels - 1)}" for name, part in itertools.islice(value.items(), 8)]
        return f"{{{', '.join(pairs + ['...'] * (len(value) > 8))}}}"
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    return repr(value)


def slug(value: Plain, joint: str = "x") -> str:
    """A value as a part of a name: (2, 3) is 2x3, ((1, 0), (2, 1)) is 1-0x2-1."""
    if isinstance(value, tuple):
        return joint.join(slug(part, "-") for part in value)
    if isinstance(value, dict):
        return "-".join(name + slug(part) for name, part in value.items())
    text = "none" if value is None else str(value)
    return re.sub(r"[^a-z0-9._-]+", "-", text.lower().replace("e+", "e")).strip("-" if isinstance(value, str) else "")


@dataclass(frozen=True, slots=True)
class Written:
    """One case with defaults merged and one cell of its matrix chosen.

    Attributes:
        document: the file.
        index: its place among the file's `cases`.
        name: with the chosen values filled in.
        data: what the case says; tensors in their long form.
        chosen: where the values that the matrix sets were written, by the path that they set.
        levels: of a sweep, which values were chosen.
    """

    document: Document
    index: int
    name: str
    data: Mapping[str, Plain]
    chosen: Mapping[Steps, Steps]
    levels: tuple[Level, ...] = ()

    def place(self, *steps: str | int, key: bool = False) -> str:
        """Where a part of the case (or its `key`) was written, as messages tell it."""
        return str(self.where(*steps, key=key))

    def where(self, *steps: str | int, key: bool = False) -> Where:
        """Where a part of the case (or its `key`) was written: in the matrix, the case, the defaults or the head."""
        ways = [
            (origin + steps[len(to) :], len(origin) - len(to))
            for to, origin in self.chosen.items()
            if steps[: len(to)] == to
        ]
        ways += [(("cases", self.index, *steps), 2), (("defaults", *steps), 1)]
        if steps and steps[0] in _HEAD:
            ways.append((steps, 0))
        best: Steps = ("cases", self.index)
        best_found = 0
        for way, more in ways:
            found = self.document.find(way)[0] - more
            if found > best_found:
                best, best_found = way, found
        return self.document.find(best, key=key and best_found == len(steps))[1]


class _Astray(Exception):
    """Something that keeps a case from being expanded: where it stands in the file, and what it is."""

    def __init__(self, steps: Steps, message: str) -> None:
        self.steps = steps
        self.message = message
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class _Choice:
    """One value that a cell of the matrix sets."""

    key: str
    target: Steps
    value: Plain
    origin: Steps
    label: str | None
    group: int | None  # choices that one label names together

    @property
    def short(self) -> str:
        return self.key.rpartition(".")[2]

    @property
    def slug(self) -> str:
        return slug(self.value) if self.label is None else slug(self.label)


def expand(document: Document) -> tuple[list[Written], list[Problem]]:
    """Every case of a file, and what keeps others from being expanded."""
    data = document.data
    head = {name: data[name] for name in _HEAD if name in data}
    defaults = data["defaults"] if isinstance(data.get("defaults"), dict) else {}
    expanded: list[Written] = []
    problems: list[Problem] = []
    for index, case in enumerate(data["cases"]):
        if not isinstance(case, dict):
            continue
        merged = _merge(_merge(head, defaults), case)
        try:
            for levels, cell in _cells(index, merged, chain=merged.get("operator") == "chain"):
                try:
                    expanded.append(_written(document, index, merged, levels, cell))
                except _Astray as error:
                    problems.append(Problem(str(document.find(error.steps)[1]), error.message))
        except _Astray as error:
            problems.append(Problem(str(document.find(error.steps)[1]), error.message))
    return expanded, problems


def _merge(under: Mapping[str, Plain], over: Mapping[str, Plain]) -> dict[str, Plain]:
    merged = {**under, **over}
    for name, inner in (("attributes", None), ("inputs", _merge_tensor)):
        low, high = under.get(name), over.get(name)
        if isinstance(low, dict) and isinstance(high, dict):
            both = {**low, **high}
            if inner is not None:
                both.update({key: inner(low[key], high[key]) for key in low.keys() & high.keys()})
            merged[name] = both
    return merged


def _merge_tensor(under: Plain, over: Plain) -> Plain:
    """A source takes the place of the source below it; numbers bring their own shape."""
    under = {"shape": under} if isinstance(under, tuple) else under
    if not isinstance(under, dict) or not isinstance(over, dict):
        return over
    dropped = _SOURCES if over.keys() & (_SOURCES - {"key"}) else frozenset[str]()
    if over.keys() & _NUMBERS:
        dropped |= {"shape"}
    return {**{name: value for name, value in under.items() if name not in dropped}, **over}


def _cells(
    index: int, merged: dict[str, Plain], *, chain: bool
) -> Iterator[tuple[tuple[Level, ...], tuple[_Choice, ...]]]:
    """Every combination of the values in a matrix or sweep, which leave the case; of a sweep with its levels."""
    given = {key: merged.pop(key) for key in ("matrix", "sweep") if key in merged}
    if not given:
        yield (), ()
        return
    key, matrix = given.popitem()
    at: Steps = ("cases", index, key)
    if given:
        raise _Astray(at, "a case has a matrix, all of whose cells are asked, or a sweep; leave one out")
    if isinstance(matrix, dict):
        products = [_axes(at, matrix, chain=chain)]
    elif isinstance(matrix, tuple) and matrix and all(isinstance(part, dict) for part in matrix):
        products = [_axes((*at, n), part, chain=chain) for n, part in enumerate(matrix)]
    else:
        raise _Astray(at, f"{key} must be a mapping, or a list of mappings, got {show(matrix)}")
    count = sum(prod(map(len, axes)) for axes in products)
    if count > MOST_CASES:
        raise _Astray(at, f"this {key} makes {count:,} cases; at most {MOST_CASES:,} are allowed in one case")
    for part, axes in enumerate(products):
        for rows in itertools.product(*(range(len(axis)) for axis in axes)):
            levels = tuple(Level(part, axis, row) for axis, row in enumerate(rows)) if key == "sweep" else ()
            chosen = (axis[row] for axis, row in zip(axes, rows, strict=True))
            yield levels, tuple(itertools.chain.from_iterable(chosen))


def _axes(at: Steps, matrix: Mapping[str, Plain], *, chain: bool) -> list[list[tuple[_Choice, ...]]]:
    axes = []
    for group, (keys, rows) in enumerate(matrix.items()):
        here = (*at, keys)
        parts = [part.strip() for part in keys.split(",")]
        targets = [_target(here, part, chain=chain) for part in parts]
        if not isinstance(rows, tuple) or not rows:
            raise _Astray(here, f"{at[2]} key {keys!r} needs a list of at least one value, got {show(rows)}")
        axes.append([_row((*here, n), group, parts, targets, row) for n, row in enumerate(rows)])
    return axes


def _target(at: Steps, key: str, *, chain: bool) -> Steps:
    """The path that a matrix key sets; a bare name is an attribute, or the operator itself."""
    steps = tuple(key.split("."))
    if not all(steps):
        raise _Astray(
            at, f"matrix key {key!r} has an empty part; write an attribute or a path such as inputs.x.shape"
        )
    if key == "operator":
        return steps
    if len(steps) == 1:
        if chain:
            raise _Astray(
                at, f"matrix key {key!r} is bare, and a chain has no attributes; write layers.0.attributes.{key}"
            )
        return ("attributes", key)
    if steps[0] not in _PATH_STARTS:
        hint = did_you_mean(steps[0], _PATH_STARTS)
        raise _Astray(at, f"matrix key {key!r}: a path starts with {', '.join(_PATH_STARTS)}, got {steps[0]!r}{hint}")
    return steps


def _row(at: Steps, group: int, keys: list[str], targets: list[Steps], row: Plain) -> tuple[_Choice, ...]:
    if len(keys) == 1:
        label, value, origin = _unlabelled(at, targets[0], row)
        return (_Choice(keys[0], targets[0], value, origin, label, None),)
    joint = None
    if isinstance(row, dict) and len(row) == 1:
        ((joint, row),) = row.items()
        at = (*at, joint)
    if not isinstance(row, tuple) or len(row) != len(keys):
        raise _Astray(at, f"matrix key {', '.join(keys)!r} takes lists of {len(keys)} values, got {show(row)}")
    choices = []
    for n, (key, target, cell) in enumerate(zip(keys, targets, row, strict=True)):
        label, value, origin = _unlabelled((*at, n), target, cell)
        choices.append(_Choice(key, target, value, origin, joint or label, group if joint else None))
    return tuple(choices)


def _unlabelled(at: Steps, target: Steps, value: Plain) -> tuple[str | None, Plain, Steps]:
    plain = target[-1] in _UNMAPPED or (len(target) > 1 and target[-2] == "attributes")
    if plain and isinstance(value, dict) and len(value) == 1:
        ((label, inner),) = value.items()
        return label, inner, (*at, label)
    return None, value, at


def _written(
    document: Document,
    index: int,
    merged: Mapping[str, Plain],
    levels: tuple[Level, ...],
    cell: tuple[_Choice, ...],
) -> Written:
    data = dict(merged)
    chosen: dict[Steps, Steps] = {}
    for choice in cell:
        data = _put(data, choice.target, choice)
        chosen[tuple(int(step) if step.isdigit() else step for step in map(str, choice.target))] = choice.origin
    data = long_form(data)
    name = data.get("name", "")
    if isinstance(name, str) and name:
        name = data["name"] = _name(index, name, cell)
    if "was" in data:
        data["was"] = _formerly(index, data["was"], cell)
    return Written(document, index, str(name), data, chosen, levels)


def long_form(data: Mapping[str, Plain]) -> dict[str, Plain]:
    """What a case (or the defaults) says, with every list that is short for a shape written out."""
    made = dict(data)
    for name in ("inputs", "cotangents"):
        if isinstance(made.get(name), dict):
            made[name] = _long(made[name])
    if isinstance(made.get("layers"), tuple):
        made["layers"] = tuple(
            {**layer, "inputs": _long(layer["inputs"])}
            if isinstance(layer, dict) and isinstance(layer.get("inputs"), dict)
            else layer
            for layer in made["layers"]
        )
    return made


def long_network(data: Mapping[str, Plain]) -> dict[str, Plain]:
    """What a network says, with every list that is short for a shape written out, in its blocks too."""
    made = long_form(data)
    if isinstance(made.get("blocks"), dict):
        made["blocks"] = {name: long_form({"layers": block})["layers"] for name, block in made["blocks"].items()}
    return made


def _long(tensors: Mapping[str, Plain]) -> dict[str, Plain]:
    return {name: {"shape": value} if isinstance(value, tuple) else value for name, value in tensors.items()}


def _put(node: Plain, steps: Steps, choice: _Choice) -> Any:
    """A copy of `node` in which the value at the end of `steps` is the chosen one."""
    if not steps:
        return choice.value
    step, rest = str(steps[0]), steps[1:]
    if isinstance(node, tuple) and step == "shape":
        node = {"shape": node}
    if isinstance(node, dict):
        return {**node, step: _put(node.get(step, {}), rest, choice)}
    if isinstance(node, tuple) and step.isdigit() and int(step) < len(node):
        n = int(step)
        return (*node[:n], _put(node[n], rest, choice), *node[n + 1 :])
    what = f"a list of {len(node)}, counted from 0" if isinstance(node, tuple) else show(node)
    raise _Astray(choice.origin, f"matrix key {choice.key!r} leads nowhere: {step!r} is no part of {what}")


def _formerly(index: int, given: Plain, cell: tuple[_Choice, ...]) -> Plain:
    """Former ids, with the chosen values filled in; what is no text stays, for the grammar to refuse."""
    ids = given if isinstance(given, tuple) else (given,)
    made: list[Plain] = []
    for one in ids:
        folder, slash, name = one.rpartition("/") if isinstance(one, str) else ("", "", "")
        made.append(f"{folder}/{_name(index, name, cell, 'was')}" if slash else one)
    return tuple(made)


def _name(index: int, name: str, cell: tuple[_Choice, ...], key: str = "name") -> str:
    at: Steps = ("cases", index, key)
    used: set[int] = set()

    def fill(match: re.Match[str]) -> str:
        wanted = match[1].strip()
        found = [n for n, choice in enumerate(cell) if choice.key == wanted]
        found = found or [n for n, choice in enumerate(cell) if choice.short == wanted]
        if len(found) != 1:
            keys = [choice.key for choice in cell]
            what = "is more than one matrix key" if found else "is no matrix key"
            known = ", ".join(keys) or "none"
            raise _Astray(at, f"name {name!r}: {{{wanted}}} {what}; there are {known}{did_you_mean(wanted, keys)}")
        used.add(found[0])
        return cell[found[0]].slug

    filled = _PLACEHOLDER.sub(fill, name)
    named = {cell[n].group for n in used} - {None}
    for n, choice in enumerate(cell):
        if choice.group is not None and choice.group not in named:
            named.add(choice.group)
            filled += f"-{choice.slug}"
        elif choice.group is None and n not in used:
            filled += f"-{choice.short}{choice.slug}"
    if not NAME.fullmatch(filled):
        raise _Astray(at, f"a name is made of a-z, 0-9, '.', '_' and '-', got {filled!r}")
    return filled
