"""Everything that the page draws by script, as small as it gets: an index, and chunks of details.

The index (what the matrix shows) is JSON; it is read when the page opens. Details stand in chunks of a few dozen
cases, each read when one of its cases is opened: the length of its JSON as four bytes, little-endian, the JSON, and
the arrays that it points into. All are compressed with gzip and written as base64, which closes no HTML element.
A chunk is called by its content, so that a page never reads another page's.

An array is `[shape, encoding, offset]`, its bytes grouped by significance, so that equal ones meet:

- `f`: float32.
- `h`: the upper half of a float32, for bounds: two significant digits are enough for a colour.
- `d`, with a fourth entry, the place of another array in the same list: how many float32 numbers lie between the two,
  as a 32-bit integer with its sign in the lowest bit. What a backend gave is mostly its neighbour's neighbour.

Equal arrays of a case are written once, whichever target they come from.
"""

import base64
import gzip
import hashlib
import json
import re
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.operators import OPERATORS
from conformance.errors import InvalidStore
from conformance.report.collection import STATED, Collection, Column, Entry, agreement, effective_bits, family
from conformance.report.drawings import draw_case
from conformance.run.result import Result
from conformance.run.store import CaseRecord, to_plain
from conformance.verdict.model import Comparison, Outcome, Reason
from conformance.verdict.oracle import Accumulators

CHUNK_BYTES: Final = 192 * 1024
MOST_COMPARISONS: Final = 200
AGREEMENT: Final = {Reason.EXACT: 1, Reason.WITHIN_BOUND: 2, Reason.REFUSED_AS_EXPECTED: 3, Reason.NORM_WISE: 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Payload:
    """Index and chunks as base64 of gzip, the chunks by their names, and what could not be read on the way."""

    index: str
    chunks: Mapping[str, str]
    problems: tuple[str, ...]


def build(
    collection: Collection,
    training: Sequence[Mapping[str, Any]] = (),
    threads: Mapping[str, Sequence[str]] | None = None,
) -> Payload:
    """Index and chunks of a collection.

    Args:
        collection: what was measured.
        training: what the page draws of trainings.
        threads: of deviations on file, by id: what they say, where they stand on the page, their link to the web.
    """
    writer = _Writer(collection)
    written = [(_name(chunk), chunk) for chunk in writer.chunks()]
    places = {"starts": writer.starts, "chunks": [name for name, _ in written]}
    index = {**_index(collection), **places, "training": to_plain(training), "known": to_plain(threads or {})}
    return Payload(
        index=_pack(json.dumps(index, separators=(",", ":"), allow_nan=False).encode()),
        chunks=dict(written),
        problems=tuple(dict.fromkeys(writer.problems)),
    )


def _name(chunk: str) -> str:
    """64 bits of a digest: enough to tell the chunks of one folder apart."""
    return hashlib.sha256(chunk.encode("ascii")).hexdigest()[:16]


def _pack(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode("ascii")


def _index(collection: Collection) -> dict[str, Any]:
    operators = sorted({entry.result.operator for entry in collection.entries})
    codes: list[list[int]] = [[] for _ in collection.columns]
    bits: list[list[int]] = [[] for _ in collection.columns]
    ids, numbers, abouts, families = [], [], [], sorted({family(name) for name in operators})
    for case, row in collection.by_case.items():
        record = collection.cases.get(case)
        ids.append(case)
        numbers.append(operators.index(next(iter(row.values())).result.operator))
        abouts.append(record.about if record else "")
        for place, column in enumerate(collection.columns):
            entry = row.get(column)
            codes[place].append(code(entry.result) if entry else -1)
            bits[place].append(tenths(entry.result) if entry else -2)
    return {
        "outcomes": [outcome.value for outcome in Outcome],
        "columns": [[c.target, c.format, c.layout] for c in collection.columns],
        "operators": operators,
        "families": families,
        "familyOf": [families.index(family(name)) for name in operators],
        "ids": ids,
        "operatorOf": numbers,
        "abouts": abouts,
        "codes": codes,
        "bits": bits,
    }


def code(result: Result) -> int:
    """Outcome, way of agreeing and standing as one number: hundreds, tens, ones."""
    outcome = result.outcome
    way = AGREEMENT[agreement(result)] if outcome is Outcome.AGREES else 0
    standing = 3 if result.unexpected else 2 if result.stale else 1 if result.deviations else 0
    return outcome.severity * 100 + way * 10 + standing


def tenths(result: Result) -> int:
    """Effective bits in tenths; -1 where nothing differs, -2 where nothing was compared."""
    bits = effective_bits(result)
    if bits is None:
        return -2
    return -1 if bits == float("inf") else int(bits * 10)


def digits(value: float, format_name: str = "") -> float | str:
    """A number as short as its format allows: all of its digits, or three where no format is named."""
    written = f"{value:.{_DIGITS.get(format_name, 17) if format_name else 3}g}"
    plain = to_plain(float(written))
    assert isinstance(plain, (float, str))
    return plain


_DIGITS: Final = {"float64": 17, "float32": 9, "bfloat16": 4, "float16": 5}


@dataclass(slots=True)
class _Arrays:
    """The arrays of a chunk."""

    content: bytearray = field(default_factory=bytearray)
    table: list[list[Any]] = field(default_factory=list)
    known: dict[tuple[Any, ...], int] = field(default_factory=dict)

    def single(self, array: NDArray[Any]) -> int:
        """Float32."""
        small = _float32(array)
        return self._add(("f", small.shape, small.tobytes()), small.shape, "f", small)

    def bound(self, array: NDArray[Any]) -> int:
        """The upper half of a float32, rounded up: a bound never shrinks."""
        small = _float32(array)
        half = (small.view(np.uint32).astype(np.uint64) + 0xFFFF >> 16).astype(np.uint16)
        return self._add(("h", small.shape, small.tobytes()), small.shape, "h", half)

    def near(self, array: NDArray[Any], base: int, neighbour: NDArray[Any]) -> int:
        """As the distance from another array of its shape, counted in float32 numbers."""
        small = _float32(array)
        if small.shape != neighbour.shape:
            return self.single(array)
        steps = _ordered(small) - _ordered(_float32(neighbour))
        # Wrapping subtraction of 32-bit words loses nothing, however far apart the two are.
        signed = steps.astype(np.uint32).view(np.int32).astype(np.int64)
        folded = np.where(signed >= 0, 2 * signed, -2 * signed - 1).astype(np.uint32)
        return self._add(("d", base, small.tobytes()), small.shape, "d", folded, base)

    def _add(self, key: tuple[Any, ...], shape: tuple[int, ...], kind: str, words: NDArray[Any], *rest: int) -> int:
        if key not in self.known:
            self.known[key] = len(self.table)
            self.table.append([list(shape), kind, len(self.content), *rest])
            width = words.dtype.itemsize
            grouped = np.frombuffer(words.tobytes(), np.uint8).reshape(-1, width).T if words.size else b""
            self.content += bytes(grouped) if isinstance(grouped, bytes) else grouped.tobytes()
        return self.known[key]


def _float32(array: NDArray[Any]) -> NDArray[np.float32]:
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(array, dtype="<f4").reshape(array.shape)


def _ordered(array: NDArray[np.float32]) -> NDArray[np.int64]:
    """Integers in the order of the numbers: neighbours differ by one."""
    words = array.view(np.uint32).astype(np.int64)
    return np.where(words >= 2**31, 2**31 - 1 - words, words)


class _Writer:
    """Writes the details, chunk by chunk."""

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self.starts: list[int] = []
        self.problems: list[str] = []

    def chunks(self) -> Iterator[str]:
        details: list[dict[str, Any]] = []
        arrays, weight = _Arrays(), 0
        for place, (case, row) in enumerate(self._collection.by_case.items()):
            if not details:
                self.starts.append(place)
            detail = self._case(case, row, arrays)
            details.append(detail)
            weight += len(detail["yaml"]) + 600 * len(row) + 2000
            if weight + len(arrays.content) >= CHUNK_BYTES:
                yield _chunk(details, arrays)
                details, arrays, weight = [], _Arrays(), 0
        if details:
            yield _chunk(details, arrays)

    def _case(self, case: str, row: Mapping[Column, Entry], arrays: _Arrays) -> dict[str, Any]:
        record = self._collection.cases.get(case)
        operator = next(iter(row.values())).result.operator
        return {
            "source": record.source if record else "",
            "tier": record.tier if record else "",
            "yaml": record.yaml if record else "",
            "shapes": {name: list(shape) for name, shape in record.shapes.items()} if record else {},
            "axes": _axis_names(record) if record else {},
            "drawings": [
                {"title": d.title, "plane": d.plane, "strips": d.strips, "lines": d.lines}
                for d in (draw_case(record) if record else ())
            ],
            "operator": operator,
            "results": [
                self._result(row[column], place, arrays)
                for place, column in enumerate(self._collection.columns)
                if column in row
            ],
        }

    def _result(self, entry: Entry, column: int, arrays: _Arrays) -> dict[str, Any]:
        result = entry.result
        description = entry.run.header.description
        return {
            "column": column,
            "run": entry.run.header.started,
            "versions": dict(description.versions),
            "verdicts": [
                [
                    check,
                    verdict.outcome.value,
                    (agreement(result, check) if verdict.outcome is Outcome.AGREES else verdict.reason).value,
                    verdict.detail,
                    result.assessments[check].standing if check in result.assessments else "",
                    result.assessments[check].deviation if check in result.assessments else "",
                ]
                for check, verdict in result.verdicts.items()
            ],
            "comparisons": [_comparison(comparison) for comparison in _foremost(result.comparisons)],
            "compared": len(result.comparisons),
            "diagnosis": result.instead,
            "terms": "\n".join(result.terms),
            "sums": {name: "\n".join(lines) for name, lines in result.sums.items()},
            "composed": list(result.composed or ()),
            "accumulators": _accumulators(entry),
            "script": result.script,
            "free": result.free_run.text if result.free_run else "",
            "reading": result.told if result.probe else "",
            "readings": list(result.readings),
            "claims": [[claim.says, claim.holds, claim.measured] for claim in result.claims],
            "calls": list(result.calls),
            "digest": result.digest,
            "ms": [digits(result.seconds * 1000), digits(result.total_seconds * 1000)],
            "arrays": self._evidence(entry, arrays),
        }

    def _evidence(self, entry: Entry, arrays: _Arrays) -> dict[str, dict[str, dict[str, int]]]:
        """Places of arrays, by data set, tensor (`operand x`, `gradient x`) and role."""
        try:
            kept = entry.run.evidence(entry.result)
        except (InvalidStore, OSError, ValueError) as error:
            run = f"{entry.run.path.parent.name}/{entry.run.path.stem}.arrays"
            self.problems.append(f"{run}: {str(error).removeprefix(str(entry.run.path.with_suffix('.arrays')))}")
            return {}
        found: dict[str, dict[str, dict[str, int]]] = {}
        values: dict[tuple[str, str], NDArray[Any]] = {}
        # What is expected comes first: what was got is told by its distance from it.
        for name in sorted(kept, key=lambda name: name.endswith("/got")):
            data, kind, rest = (*name.split("/", 2), "", "")[:3]
            tensor, role = (rest, "given") if kind in ("operand", "cotangent") else rest.rpartition("/")[::2]
            title = f"{kind} {tensor}"
            roles = found.setdefault(data, {}).setdefault(title, {})
            if role in ("bound", "ratio"):
                roles[role] = arrays.bound(kept[name])
            elif role == "got" and "expected" in roles:
                roles[role] = arrays.near(kept[name], roles["expected"], values[data, title])
            else:
                roles[role] = arrays.single(kept[name])
                values[data, title] = kept[name]
        return found


def _chunk(details: list[dict[str, Any]], arrays: _Arrays) -> str:
    plain = {"cases": to_plain(details), "arrays": arrays.table}
    written = json.dumps(plain, separators=(",", ":"), allow_nan=False).encode()
    return _pack(struct.pack("<I", len(written)) + written + bytes(arrays.content))


def _foremost(comparisons: Sequence[Comparison]) -> Sequence[Comparison]:
    """The comparisons that are worth their place: all, or of a training's thousands those with the largest ratios."""
    if len(comparisons) <= MOST_COMPARISONS:
        return comparisons
    return sorted(comparisons, key=lambda comparison: (comparison.within, -comparison.ratio))[:MOST_COMPARISONS]


def _comparison(c: Comparison) -> list[Any]:
    shapes = [] if c.expected_shape == c.got_shape else [list(c.expected_shape), list(c.got_shape)]
    formats = [] if c.expected_format == c.got_format else [c.expected_format, c.got_format]
    return [
        c.name,
        c.check,
        c.data,
        c.within,
        c.reason.value,
        digits(c.ratio),
        -1 if c.bits == float("inf") else int(c.bits * 10) / 10,
        list(c.worst_index),
        digits(c.expected, c.expected_format if c.expected_format == "float64" else "float32"),
        digits(c.got, c.got_format),
        digits(c.error),
        digits(c.bound),
        c.outside,
        shapes,
        formats,
    ]


def _accumulators(entry: Entry) -> list[list[str]]:
    """In which format every array of a result is summed, and whether a sum is stored before the bias joins it."""
    result = entry.result
    declared = Accumulators.from_description(entry.run.header.description)
    arrays = dict.fromkeys((c.check, c.name) for c in result.comparisons if not c.name.endswith(STATED))
    if result.operator not in OPERATORS or result.operator == "chain":
        return []
    told = [
        [
            name if check == "outputs" else f"gradient of {name}",
            declared.of(result.operator, result.format, check, name).name,
        ]
        for check, name in arrays
    ]
    if declared.stores_sum(result.operator, result.format):
        told.append(["the sum before the bias", f"stored in {result.format}"])
    return told


_DATA_AXES: Final = {1: ("step",), 2: ("row", "column"), 3: ("depth", "row", "column")}


def _axis_names(record: CaseRecord) -> dict[str, list[str]]:
    """What the axes of a case's tensors are called, by the tensor's name."""
    operator = OPERATORS.get(record.operator)
    if operator is None:
        return {}
    named = re.search(r"([123])d", record.operator)
    rank = operator.rank or (int(named[1]) if named else 0)
    if not rank:
        return {}
    spatial = _DATA_AXES[rank]
    data = ["batch", *spatial, "channel"]
    last = ["out", "in"] if record.operator.endswith("_transpose") else ["in", "out"]
    return {"x": data, "output": data, "w": [*spatial, *last], "b": ["channel"]}
