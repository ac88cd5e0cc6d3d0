"""YAML 1.2 with places: plain data whose every key and value remembers its line and column.

PyYAML reads YAML 1.1, where `no` is false, `012` is ten, `1e-5` is text and `2001-01-01` a date. Only its parser is
used here; scalars follow the core schema of YAML 1.2 (section 10.3), with the decimal integers of JSON. Sequences
become tuples, so that what is read can be shared. Keys are text. Tags, merge keys and several documents in one file
are not part of the format.
"""

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import yaml

from conformance.case.model import Where
from conformance.errors import InvalidCases, Problem

# A value that was read: None, bool, int, float, str, tuple of values, or dict of text to values.
Plain = Any
Steps = tuple[str | int, ...]

_INTEGER: Final = re.compile(r"[-+]?[0-9]+")
_BASED: Final = re.compile(r"0o[0-7]+|0x[0-9a-fA-F]+")
_FLOAT: Final = re.compile(r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?")
_WORDS: Final[Mapping[str, Plain]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
    **dict.fromkeys((sign + word for sign in ("", "+") for word in (".inf", ".Inf", ".INF")), math.inf),
    **dict.fromkeys(("-.inf", "-.Inf", "-.INF"), -math.inf),
    **dict.fromkeys((".nan", ".NaN", ".NAN"), math.nan),
}
# Python refuses to convert longer ones (sys.set_int_max_str_digits), and no number of a case needs them.
_LONGEST_INTEGER: Final = 4000

# A tensor of a case has 5 axes, and stands within 6 levels of keys.
_DEEPEST: Final = 100

_PLAIN: Final = "plain"
_QUOTED: Final = "quoted"


def scalar(text: str) -> Plain:
    """The value of an unquoted scalar.

    Raises:
        ValueError: if it is a number that no Python number holds.
    """
    if text in _WORDS:
        return _WORDS[text]
    if text[0] in "+-.0123456789":
        if _INTEGER.fullmatch(text) or _BASED.fullmatch(text):
            if len(text) > _LONGEST_INTEGER:
                raise ValueError(f"an integer of {len(text)} characters is too long")
            return int(text, 10 if _INTEGER.fullmatch(text) else 0)
        if _FLOAT.fullmatch(text):
            number = float(text)
            if math.isinf(number):
                raise ValueError(f"{text} is beyond float64; infinity is written .inf")
            return number
    return text


class _Tags:
    """Replaces PyYAML's resolver: tells plain scalars from quoted ones, and leaves the rest to `scalar`.

    Its hooks are called around every node, so they also count how deep nodes nest, before the parser in C runs out of
    stack.
    """

    depth = 0

    def resolve(self, kind: type[yaml.Node], value: Any, implicit: Any) -> str:
        """The tag of a node that has none: whether its text is plain."""
        return _PLAIN if kind is yaml.ScalarNode and implicit[0] else _QUOTED

    def descend_resolver(self, current_node: yaml.Node | None, current_index: Any) -> None:
        """Counts, and refuses what nests too deeply."""
        self.depth += 1
        if self.depth > _DEEPEST and current_node is not None:
            problem = f"lists and mappings nest deeper than {_DEEPEST} levels"
            raise yaml.composer.ComposerError(None, None, problem, current_node.start_mark)

    def ascend_resolver(self) -> None:
        """Counts back."""
        self.depth -= 1


_Base: Final[Any] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Tags, _Base):  # type: ignore[misc]
    """PyYAML's parser and composer, in C where it was built with libyaml."""


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Quotes what YAML 1.2 or 1.1 would read as something else."""

    yaml_implicit_resolvers = dict(yaml.SafeDumper.yaml_implicit_resolvers)  # noqa: RUF012  PyYAML's own protocol

    def ignore_aliases(self, data: Any) -> bool:
        """Written out every time: what is read twice is clearer than an anchor."""
        return True


# Never written, hence only a reason to quote text that looks like it.
_Dumper.add_implicit_resolver("number-of-yaml-1.2", _FLOAT, list("+-.0123456789"))
_Dumper.add_implicit_resolver("number-of-yaml-1.2", _BASED, ["0"])


def dump(data: Plain) -> str:
    """Plain data as YAML, short collections in one line."""
    return str(
        yaml.dump(data, Dumper=_Dumper, sort_keys=False, default_flow_style=None, allow_unicode=True, width=110)
    )


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds: `data`, and where each part of it stands."""

    path: Path
    data: Plain
    root: yaml.Node | None

    def find(self, steps: Steps, *, key: bool = False) -> tuple[int, Where]:
        """How many steps lead somewhere, and the place of the value (or the `key`) that they lead to."""
        if self.root is None:
            return 0, Where(self.path, 1, 1)
        node, mark, found = self.root, self.root.start_mark, 0
        for step in steps:
            if isinstance(node, yaml.MappingNode):
                pairs = [pair for pair in node.value if pair[0].value == step]
                if not pairs:
                    break
                name, node = pairs[0]
                mark = name.start_mark if key and found == len(steps) - 1 else node.start_mark
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and 0 <= step < len(node.value):
                node = node.value[step]
                mark = node.start_mark
            elif isinstance(node, yaml.SequenceNode) and step == "shape":
                pass  # the short form: a list is the shape
            else:
                break
            found += 1
        return found, Where(self.path, mark.line + 1, mark.column + 1)


class _Conversion:
    """Turns nodes into plain data, and collects what is not part of the format."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[Problem] = []
        self._made: dict[int, Plain] = {}
        self._open: set[int] = set()

    def _problem(self, node: yaml.Node, message: str) -> None:
        mark = node.start_mark
        self.problems.append(Problem(str(Where(self.path, mark.line + 1, mark.column + 1)), message))

    def convert(self, node: yaml.Node) -> Plain:
        tag = node.tag
        if isinstance(node, yaml.ScalarNode) and tag == _PLAIN:
            try:
                return scalar(node.value)
            except ValueError as error:
                self._problem(node, str(error))
                return None
        if tag is not _PLAIN and tag is not _QUOTED:
            self._problem(node, f"tags are not part of the format, got {tag!r}; write the value without one")
        if isinstance(node, yaml.ScalarNode):
            return node.value
        identity = id(node)
        if identity in self._made:  # an alias: converted once, however often it is named
            return self._made[identity]
        if identity in self._open:
            self._problem(node, "an anchor holds an alias of itself, which no case can mean")
            return None
        self._open.add(identity)
        value = tuple(map(self.convert, node.value)) if isinstance(node, yaml.SequenceNode) else self._mapping(node)
        self._open.remove(identity)
        self._made[identity] = value
        return value

    def _mapping(self, node: yaml.Node) -> dict[str, Plain]:
        made: dict[str, Plain] = {}
        first: dict[str, yaml.Node] = {}
        for name, value in node.value:
            if not isinstance(name, yaml.ScalarNode):
                self._problem(name, "a key must be text, got a list or a mapping")
                continue
            key = str(name.value)
            if key in made:
                self._problem(
                    name,
                    f"key {key!r} is given twice, first in line {first[key].start_mark.line + 1}; "
                    "a key is allowed once in a mapping",
                )
                continue
            first[key] = name
            made[key] = self.convert(value)
        return made


def _place_of_offset(path: Path, raw: bytes, offset: int) -> Where:
    before = raw[:offset]
    line_start = before.rfind(b"\n") + 1
    column = len(before[line_start:].decode("utf-8", "replace")) + 1
    return Where(path, before.count(b"\n") + 1, column)


def _unreadable(path: Path, text: str, error: yaml.MarkedYAMLError) -> Problem:
    mark = error.problem_mark or error.context_mark
    if mark is None:
        return Problem(str(Where(path, 1, 1)), f"not YAML: {error.problem}")
    line = (text.split("\n")[mark.line : mark.line + 1] or [""])[0]
    if "\t" in line[: mark.column + 1] and not line[: mark.column].strip():
        column = line.index("\t")
        message = "a tab indents this line; YAML allows spaces alone"
        return Problem(str(Where(path, mark.line + 1, column + 1)), message)
    context = f" ({error.context})" if error.context else ""
    return Problem(str(Where(path, mark.line + 1, mark.column + 1)), f"not YAML: {error.problem}{context}")


def read(path: Path) -> Document:
    """Reads one file.

    Raises:
        InvalidCases: if it cannot be read, is not YAML in UTF-8, or uses what is not part of the format.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise InvalidCases([Problem(str(path), f"cannot be read: {error.strerror or error}")]) from error
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        where = _place_of_offset(path, raw, error.start)
        message = f"not UTF-8: byte 0x{raw[error.start]:02x} ({error.reason}); save the file as UTF-8"
        raise InvalidCases([Problem(str(where), message)]) from error
    conversion = _Conversion(path)
    try:
        root = yaml.compose(text, Loader=_Loader)
        data = None if root is None else conversion.convert(root)
    except yaml.MarkedYAMLError as error:
        raise InvalidCases([_unreadable(path, text, error)]) from error
    except yaml.reader.ReaderError as error:
        where = _place_of_offset(path, text.encode(), error.position)
        raise InvalidCases([Problem(str(where), f"not YAML: {error.reason}")]) from error
    if conversion.problems:
        raise InvalidCases(conversion.problems)
    return Document(path, data, root)
