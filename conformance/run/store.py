"""Runs on disk: `reports/<target>/<time>.jsonl`, with the arrays of interesting results beside it.

A run is JSON Lines, written and flushed line by line, so that whatever kills the harness, what was measured stays:
a header (versions, device, switches, digest of the cases), the cases, a result a line, and a footer that says that
the run is complete. The header names no host, user or home folder. Numbers that JSON lacks are the strings "nan",
"inf" and "-inf". Arrays stand in `<time>.arrays`, one after the other in NumPy's `.npy` format; a result gives their
places.
"""

import base64
import hashlib
import io
import json
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.job import Description
from conformance.case.loading import as_yaml
from conformance.case.model import Case
from conformance.errors import InvalidStore
from conformance.run.result import Result
from conformance.verdict.deviations import Assessment
from conformance.verdict.free_running import FreeRun
from conformance.verdict.judge import ClaimResult
from conformance.verdict.model import Comparison, Outcome, Reason, Verdict

if TYPE_CHECKING:
    import pandas as pd

VERSION: Final = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What a run says of itself before anything was asked.

    Attributes:
        target: its name; an interpreter is reduced to its folder's name.
        started: UTC, ISO 8601.
        description: what the backend told of itself.
        cases_digest: names the set of cases, so that runs over different ones are told apart.
        suite: the version of the shipped cases; empty for others.
        backend: the target's, by the name of its entry point.
    """

    target: str
    started: str
    description: Description
    cases_digest: str
    suite: str = ""
    backend: str = ""
    version: int = VERSION


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRecord:
    """What the report needs to know about a case, kept in the run: the files may have changed since."""

    id: str
    operator: str
    about: str
    source: str
    tier: str
    yaml: str
    shapes: Mapping[str, tuple[int, ...]]
    attributes: Mapping[str, Any]
    was: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """A run, read back."""

    path: Path
    header: Header
    cases: Mapping[str, CaseRecord]
    results: tuple[Result, ...]
    training: tuple[Mapping[str, Any], ...] = ()
    complete: bool = False
    seconds: float = 0.0
    places: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    def evidence(self, result: Result) -> dict[str, NDArray[Any]]:
        """The arrays kept with a result, by name; empty if none were kept.

        Raises:
            InvalidStore: if the file of arrays is missing or cut off.
        """
        places = self.places.get(_place_name(result.case, result.format, result.layout), {})
        if not places:
            return {}
        try:
            with self.path.with_suffix(".arrays").open("rb") as file:
                return {name: _read_array(file, place) for name, place in places.items()}
        except (OSError, ValueError) as error:
            raise InvalidStore(f"{self.path.with_suffix('.arrays')}: {error}") from error

    def renamed(self, names: Mapping[str, str]) -> "Run":
        """The same run, with cases called by the names that they have now."""
        if not names.keys() & {*self.cases, *(result.case for result in self.results)}:
            return self

        def now(case: str) -> str:
            return names.get(case, case)

        return replace(
            self,
            cases={now(name): replace(record, id=now(name)) for name, record in self.cases.items()},
            results=tuple(replace(result, case=now(result.case)) for result in self.results),
            places={
                now(name.partition("[")[0]) + "[" + name.partition("[")[2]: kept for name, kept in self.places.items()
            },
        )


def present_names(runs: Iterable[Run]) -> dict[str, str]:
    """What cases are called now, by the ids that they had, as the runs' own cases say; the oldest run first."""
    names: dict[str, str] = {}
    for run in runs:
        for record in run.cases.values():
            names.pop(record.id, None)  # an id that is taken up again leads to its new case
            names = {old: record.id if new in record.was else new for old, new in names.items()}
            names |= dict.fromkeys(record.was, record.id)
    return names


def _place_name(case: str, format_name: str, layout: str) -> str:
    return f"{case}[{format_name}-{layout}]"


class RunWriter:
    """Writes one run as it happens."""

    def __init__(
        self,
        folder: Path,
        target: str,
        description: Description,
        digest: str = "",
        suite: str = "",
        backend: str = "",
    ) -> None:
        """Opens the files and writes the header.

        Args:
            folder: of all runs.
            target: the target's name; an interpreter's path is reduced to the name of its environment.
            description: what the backend told of itself.
            digest: of the cases that are asked, where all are known beforehand.
            suite: the version of the shipped cases, where all are of them.
            backend: the target's, by the name of its entry point.
        """
        now = datetime.now(UTC)
        self._target = name = folder_name(target)
        self.path = folder / name / f"{now:%Y%m%dT%H%M%S_%fZ}.jsonl"
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lines: IO[str] = self.path.open("x", encoding="utf-8")
        self._arrays: IO[bytes] | None = None
        self._started = now
        self._written: set[str] = set()
        header = Header(
            target=name,
            started=now.isoformat(timespec="seconds"),
            description=description,
            cases_digest=digest,
            suite=suite,
            backend=backend,
        )
        self._write("header", to_plain(header))

    def result(self, result: Result, case: CaseRecord | None) -> None:
        """Writes a result, its case before the first one, and its arrays beside."""
        if case is not None and case.id not in self._written:
            self._written.add(case.id)
            self._write("case", to_plain(case))
        places = {name: self._append(array) for name, array in result.evidence.items()}
        if self._arrays is not None:
            self._arrays.flush()
        self._write("result", {**result_to_plain(result), "target": self._target, "places": places})

    def training(self, record: Mapping[str, Any]) -> None:
        """Writes a training's record."""
        self._write("training", {**to_plain(record), "target": self._target})

    def close(self, *, complete: bool) -> None:
        """Writes the footer and closes the files."""
        seconds = (datetime.now(UTC) - self._started).total_seconds()
        self._write("footer", {"complete": complete, "seconds": seconds})
        self._lines.close()
        if self._arrays is not None:
            self._arrays.close()

    def _append(self, array: NDArray[Any]) -> int:
        if self._arrays is None:
            self._arrays = self.path.with_suffix(".arrays").open("xb")
        place = self._arrays.tell()
        # Single precision is enough to look at; the numbers of the verdict stand in the result itself.
        with np.errstate(over="ignore"):
            small = array.astype(np.float32) if array.dtype == np.float64 else array
        np.lib.format.write_array(self._arrays, np.ascontiguousarray(small).reshape(array.shape), allow_pickle=False)
        return place

    def _write(self, kind: str, content: Mapping[str, Any]) -> None:
        self._lines.write(json.dumps({"kind": kind, **content}, allow_nan=False) + "\n")
        self._lines.flush()


_RESULT_FIELDS: Final = tuple(f.name for f in fields(Result) if f.name != "evidence")


def folder_name(target: str) -> str:
    """A target as a folder's name; an interpreter is told by the name of its environment, never by its path."""
    name, at, interpreter = target.partition("@")
    if at:
        parts = Path(interpreter).parts
        name += f"@{parts[-3] if len(parts) >= 3 else parts[-1]}"
    return re.sub(r"[^A-Za-z0-9.+@_-]", "-", name)


def result_to_plain(result: Result) -> dict[str, Any]:
    """A result as one line of a run, without its arrays."""
    return {name: to_plain(getattr(result, name)) for name in _RESULT_FIELDS}


def pack(result: Result, case: Case, description: Description) -> dict[str, Any]:
    """A result with all that its run must know, as plain values that travel between processes."""
    arrays = {}
    for name, array in result.evidence.items():
        file = io.BytesIO()
        np.save(file, array, allow_pickle=False)
        arrays[name] = base64.b64encode(file.getvalue()).decode()
    return {
        "result": result_to_plain(result),
        "arrays": arrays,
        "case": to_plain(case_record(case)),
        "description": to_plain(description),
    }


def unpack(packed: Mapping[str, Any]) -> tuple[Result, CaseRecord, Description]:
    """What `pack` put together."""
    arrays = {
        name: np.load(io.BytesIO(base64.b64decode(text)), allow_pickle=False)
        for name, text in packed["arrays"].items()
    }
    result = replace(result_from_plain(packed["result"]), evidence=arrays)
    return result, _case_record(packed["case"]), _description(packed["description"])


def cases_digest(cases: Iterable[Case]) -> str:
    """Sixteen hexadecimal digits that name a set of questions."""
    total = hashlib.sha256()
    for case in sorted(cases, key=lambda case: case.id):
        asked: tuple[object, ...] = (
            case.id,
            case.operator,
            case.attributes,
            sorted(case.inputs.items()),
            case.data,
            case.formats,
        )
        if case.readings:
            readings = [(reading.name, reading.attributes, reading.variant) for reading in case.readings]
            asked = (*asked, case.native, readings)
        total.update(repr(asked).encode())
    return total.hexdigest()[:16]


def case_record(case: Case) -> CaseRecord:
    """What a run keeps of a case."""
    return CaseRecord(
        id=case.id,
        operator=case.operator,
        about=case.about,
        source=case.source,
        tier=case.tier,
        yaml=as_yaml(case),
        shapes={name: spec.shape for name, spec in case.inputs.items()},
        attributes=asdict(case.attributes),
        was=case.was,
    )


def to_plain(value: Any) -> Any:
    """Nested plain values for JSON."""
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, str):
        return str(value)
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(item) for key, item in value.items()}
    if isinstance(value, (tuple, list)):
        return [to_plain(item) for item in value]
    if isinstance(value, np.generic):
        return to_plain(value.item())
    raise TypeError(f"{type(value).__name__} has no place in a run")


def read_run(path: Path) -> Run:
    """Reads a run, a cut-off one too: its last, incomplete line is left out.

    Raises:
        InvalidStore: if the file is not a run, or of another version.
    """
    header: Header | None = None
    cases: dict[str, CaseRecord] = {}
    results: dict[str, Result] = {}
    places: dict[str, Mapping[str, int]] = {}
    training: list[Mapping[str, Any]] = []
    complete, seconds = False, 0.0
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = json.loads(line)
        except json.JSONDecodeError:
            break  # the harness was killed while it wrote this line
        try:
            match record.pop("kind", None):
                case "header":
                    if record.get("version") != VERSION:
                        raise InvalidStore(f"{path}: written by version {record.get('version')}, this is {VERSION}")
                    header = Header(**{**record, "description": _description(record["description"])})
                case "case":
                    cases[record["id"]] = _case_record(record)
                case "result":
                    name = _place_name(record["case"], record["format"], record["layout"])
                    places[name] = record.pop("places")
                    results[name] = result_from_plain(record)
                case "training":
                    training.append(record)
                case "footer":
                    complete, seconds = record["complete"], record["seconds"]
                case kind:
                    raise InvalidStore(f"{path}:{number}: a line of unknown kind {kind!r}")
        except (TypeError, KeyError, ValueError) as error:
            raise InvalidStore(f"{path}:{number}: {type(error).__name__}: {error}") from error
    if header is None:
        raise InvalidStore(f"{path}: has no header; a run starts with one")
    return Run(
        path=path,
        header=header,
        cases=cases,
        results=tuple(results.values()),
        training=tuple(training),
        complete=complete,
        seconds=seconds,
        places=places,
    )


def result_from_plain(record: Mapping[str, Any]) -> Result:
    """A result out of its line."""
    return Result(
        **{
            **record,
            "verdicts": {
                check: Verdict(
                    outcome=Outcome(verdict["outcome"]), reason=Reason(verdict["reason"]), detail=verdict["detail"]
                )
                for check, verdict in record["verdicts"].items()
            },
            "assessments": {check: Assessment(**found) for check, found in record["assessments"].items()},
            "comparisons": tuple(_comparison(found) for found in record["comparisons"]),
            "claims": tuple(ClaimResult(**claim) for claim in record["claims"]),
            "calls": tuple(record["calls"]),
            # Runs of earlier versions lack these; `location` and `reading` have their defaults.
            "agrees_with": tuple(record.get("agrees_with", ())),
            "terms": tuple(record.get("terms", ())),
            "sums": {name: tuple(lines) for name, lines in record.get("sums", {}).items()},
            "composed": None if (lacking := record.get("composed")) is None else tuple(lacking),
            "free_run": _free_run(record.get("free_run")),
            "readings": tuple(record.get("readings", ())),
        }
    )


def _free_run(record: Mapping[str, Any] | None) -> FreeRun | None:
    if record is None:
        return None
    return FreeRun(**{**record, **{key: float(record[key]) for key in ("error", "radius", "ratio")}})


def _comparison(record: Mapping[str, Any]) -> Comparison:
    numbers = {key: float(record[key]) for key in ("expected", "got", "error", "bound", "ratio", "bits")}
    shapes = {key: tuple(record[key]) for key in ("expected_shape", "got_shape", "worst_index")}
    return Comparison(**{**record, **numbers, **shapes, "reason": Reason(record["reason"])})


def _description(record: Mapping[str, Any]) -> Description:
    names = ("cpu_features", "absent", "operators", "transforms", "modes")
    tuples = {key: tuple(record.get(key, ())) for key in names}
    listed = ("accumulators", "stored_sums", "integers", "layer_formats")
    rows = {key: tuple(map(tuple, record.get(key, ()))) for key in listed}
    return Description(**{**record, **tuples, **rows})


def _case_record(record: Mapping[str, Any]) -> CaseRecord:
    shapes = {name: tuple(shape) for name, shape in record["shapes"].items()}
    return CaseRecord(**{**record, "shapes": shapes, "was": tuple(record.get("was", ()))})


def _read_array(file: IO[bytes], place: int) -> NDArray[Any]:
    file.seek(place)
    array: NDArray[Any] = np.lib.format.read_array(file, allow_pickle=False)
    return array


def find_runs(folder: Path) -> Iterator[Path]:
    """The runs below a folder, target by target, the oldest first."""
    yield from sorted(folder.glob("*/*.jsonl"))


def read_runs(folder: Path) -> tuple[Run, ...]:
    """Every run below a folder.

    Raises:
        InvalidStore: if one of them cannot be read.
    """
    return tuple(read_run(path) for path in find_runs(folder))


def load_runs(folder: str | Path = "reports") -> "pd.DataFrame":
    """Every result of every run below a folder, a row each.

    Columns: run (the file's stem), target, case, operator, format, layout, outcome, reason, detail, reading (a
    probe's), unexpected, deviations, bits, ratio, seconds (the framework's own), total_seconds, digest, and versions
    (the backend's, by package).

    Raises:
        InvalidStore: if a run cannot be read.
    """
    import pandas as pd

    return pd.DataFrame(
        [
            {
                "run": run.path.stem,
                "target": run.header.target,
                "case": result.case,
                "operator": result.operator,
                "format": result.format,
                "layout": result.layout,
                "outcome": result.outcome.value,
                "reason": result.reason.value,
                "detail": result.detail,
                "reading": result.reading,
                "unexpected": result.unexpected,
                "deviations": list(result.deviations),
                "bits": result.bits,
                "ratio": result.ratio,
                "seconds": result.seconds,
                "total_seconds": result.total_seconds,
                "digest": result.digest,
                "versions": dict(run.header.description.versions),
            }
            for run in read_runs(Path(folder))
            for result in run.results
        ],
        columns=_COLUMNS,
    )


_COLUMNS: Final = [
    "run",
    "target",
    "case",
    "operator",
    "format",
    "layout",
    "outcome",
    "reason",
    "detail",
    "reading",
    "unexpected",
    "deviations",
    "bits",
    "ratio",
    "seconds",
    "total_seconds",
    "digest",
    "versions",
]
