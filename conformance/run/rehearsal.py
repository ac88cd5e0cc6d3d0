"""Calls that a dialect writes, run in their framework and held to the reference, outputs and gradients.

Each framework runs in a process of its own, which sees the calls as a reader will see them, arrays in a file, and
nothing of what is expected; the parent imports no framework. The verdict is the harness's own: every element within
the proved bound of an honest float32 computation.
"""

import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.contract import NoAttributes
from conformance.case.geometry import resolve_pads
from conformance.case.inputs import Question as Numbers
from conformance.case.job import Job, Tensor
from conformance.case.model import Case, DataSet, Fill, Shape, TensorSpec, Values, Where
from conformance.dialects.model import Question, Written
from conformance.dialects.table import Dialect
from conformance.formats import Float64
from conformance.verdict.compare import compare
from conformance.verdict.model import Comparison, Reason, exactly
from conformance.verdict.oracle import Accumulators, Expectations, expect, in_float64
from conformance.verdict.sampling import compare_samples

# A framework's import takes seconds, a call milliseconds; minutes mean that the machine is out of breath.
SECONDS: Final = 300.0
# Of a framework's exception, so much is told.
TOLD: Final = 300
_NOWHERE: Final = Where(path=Path("a rehearsal"), line=0, column=0)
# One thread, no GPU, few words, and the one of Keras's backends that the scripts speak to.
ENVIRONMENT: Final[Mapping[str, str]] = {
    "CUDA_VISIBLE_DEVICES": "",
    "JAX_PLATFORMS": "cpu",
    "KERAS_BACKEND": "tensorflow",
    "OMP_NUM_THREADS": "1",
    "PYTHONSAFEPATH": "1",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rehearsed:
    """What came of a call.

    Attributes:
        versions: of the framework that ran it; empty where none did.
        missing: the module that is not installed, so that nothing ran.
        refused: what the framework raised.
        no_gradients: why the framework gave none of them, though it was asked.
        drawn: the arrays are samples, held to the law that is asked.
        comparisons: every array against the reference.
        arrays: what the framework gave for the first data set: `output`, `gradient x`, ...
    """

    versions: str = ""
    missing: str = ""
    refused: str = ""
    no_gradients: str = ""
    drawn: bool = False
    comparisons: tuple[Comparison, ...] = ()
    arrays: Mapping[str, NDArray[np.generic]] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """The call ran, and outputs and gradients lie within their bounds."""
        return bool(self.comparisons) and all(comparison.within for comparison in self.comparisons)

    @property
    def worst(self) -> Comparison | None:
        """The comparison that is furthest outside; None where everything is within."""
        outside = [comparison for comparison in self.comparisons if not comparison.within]
        return max(outside, key=lambda comparison: comparison.ratio, default=None)

    def __str__(self) -> str:
        if self.missing:
            return f"not checked: {self.missing} is not installed"
        if self.refused:
            return f"refused by {self.versions}: {self.refused}"
        worst = self.worst
        if worst is None:
            told = "outputs and gradients agree with the reference"
            if self.drawn:
                told = "two draws have the law that is asked, and are independent"
            elif self.no_gradients:
                told = f"outputs agree with the reference; no gradients: {self.no_gradients}"
            elif all(comparison.check == "outputs" for comparison in self.comparisons):
                told = "outputs agree with the reference"
            return f"checked with {self.versions}: {told}"
        what = worst.name if worst.check == "outputs" else f"gradient {worst.name}"
        if worst.reason is Reason.DISTRIBUTION:
            return f"differs with {self.versions}: {what}: {worst.detail}"
        if worst.got_shape != worst.expected_shape:
            return (
                f"differs with {self.versions}: {what} has shape {worst.got_shape}, expected {worst.expected_shape}"
            )
        return (
            f"differs with {self.versions}: {what}{list(worst.worst_index)} is {worst.got:.6g}, "
            f"expected {worst.expected:.6g}"
        )


def missing_module(dialect: Dialect) -> str:
    """The first module that a dialect's calls need and that is not installed; empty if all are."""
    return next((module for module in dialect.modules if find_spec(module) is None), "")


def job_of(question: Question, data: DataSet) -> Job:
    """A question with its numbers in float32, the same on every machine, and cotangents that are not ones."""
    if not question.judged:
        return _moving_job(question)
    contract = question.contract
    shapes = contract.shapes(question.attributes, question.shapes)
    pulled = [name for name in shapes if question.learned and name not in contract.state]
    case = Case(
        id=f"{question.operator}/rehearsal",
        operator=question.operator,
        attributes=question.attributes,
        inputs={
            name: TensorSpec(shape=shape, source=_source(question, name)) for name, shape in question.shapes.items()
        },
        where=_NOWHERE,
    )
    numbers = Numbers(case, data, "float32")
    return Job(
        case_id=case.id,
        operator=question.operator,
        attributes=question.attributes,
        format="float32",
        layout="native",
        data=data,
        operands=numbers.operands(),
        cotangents=numbers.cotangents({name: shapes[name] for name in pulled}),
    )


def _source(question: Question, operand: str) -> Values | Fill | None:
    """What an operand holds that is not of real numbers: labels, places of maxima, or what dropout keeps."""
    kind = question.contract.operand(operand).kind
    if operand == "indices":
        return Values(values=_places(question))
    if kind == "integer":
        return Values(values=_labels(question.first, question.attributes.ignored))
    return Fill(kind="mask", keep=question.attributes.keep) if kind == "mask" else None


def _labels(logits: Shape, ignored: int | None) -> tuple[int, ...]:
    """A label a row: first the one that is ignored, or the last class, then those that count, in turn."""
    rows, classes = logits
    first = classes - 1 if ignored is None else ignored
    counted = [label for label in range(classes) if label != ignored] or [first]
    return (first, *(counted[row % len(counted)] for row in range(rows - 1)))


def _places(question: Question) -> tuple[int, ...]:
    """Where the maxima that were pooled lay: apart from each other, and in their windows if these are told."""
    a, (batch, *counts, channels) = question.attributes, question.shapes["x"]
    along = [[place * n // count for place in range(count)] for n, count in zip(a.size, counts, strict=True)]
    if hasattr(a, "window"):
        pads = resolve_pads(a.padding, a.size, a.window, a.stride, (1, 1))
        along = [
            [min(max(place * s - low, 0), n - 1) for place in range(count)]
            for n, count, s, (low, _) in zip(a.size, counts, a.stride, pads, strict=True)
        ]
    plane = [row * a.size[1] + column for row in along[0] for column in along[1]]
    image = a.indexed == "image"
    return tuple(
        place * channels + channel if image else place
        for _ in range(batch)
        for place in plane
        for channel in range(channels)
    )


def _moving_job(question: Question) -> Job:
    """The numbers of a layer that only moves elements: those of a flatten of the same data, as many as come out."""
    job = job_of(Question(operator="flatten", attributes=NoAttributes(), shapes=question.shapes), "normal")
    (pulled,) = job.cotangents.values()
    count = math.prod(question.output)
    cotangent = Tensor(pulled.format, pulled.data.ravel()[:count].reshape(question.output))
    return replace(job, operator=question.operator, attributes=question.attributes, cotangents={"output": cotangent})


def _moved(question: Question, x: NDArray[Any]) -> NDArray[Any]:
    """What a layer that only moves elements makes of an array."""
    if question.operator == "crop":
        cropping = question.attributes.cropping
        kept = (slice(low, n - high) for n, (low, high) in zip(x.shape[1:-1], cropping, strict=True))
        return x[(slice(None), *kept)]
    if question.operator == "spread":
        return x.reshape(len(x), *question.attributes.sizes, x.shape[-1])
    if question.operator == "flatten_channels_first":
        return np.moveaxis(x, -1, 1).reshape(len(x), -1)
    return x


def _expected(question: Question, job: Job) -> Expectations:
    """What a job's answer must be: the reference's, or the very elements where they are only moved."""
    if question.judged:
        expected = expect(job, Accumulators())
        assert isinstance(expected, Expectations), expected
        return expected
    operands, cotangents = in_float64(job)
    x = operands["x"]
    gradient = np.zeros(x.size)
    gradient[_moved(question, np.arange(x.size).reshape(x.shape)).ravel()] = cotangents["output"].ravel()
    values = {"output": _moved(question, x)}, {"x": gradient.reshape(x.shape)}
    outputs, gradients = ({name: exactly(value) for name, value in found.items()} for found in values)
    return Expectations(outputs=outputs, gradients=gradients)


def rehearse(dialect: Dialect, calls: Sequence[tuple[Written, Question]]) -> tuple[Rehearsed, ...]:
    """Runs calls in one process of their framework; compares each with what the reference expects of its question."""
    missing = missing_module(dialect)
    if missing or not calls:
        return tuple(Rehearsed(missing=missing) for _ in calls)
    jobs = [
        [job_of(question, data) for data in ("normal", "wide") if data in question.contract.data]
        or [job_of(question, "normal")]
        for _, question in calls
    ]
    with tempfile.TemporaryDirectory(prefix="rehearsal-") as name:
        folder = Path(name)
        for place, asked in enumerate(jobs):
            for number, job in enumerate(asked):
                given = {operand: tensor.data for operand, tensor in job.operands.items()}
                for tensor in job.cotangents.values():
                    given["cotangent"] = tensor.data
                np.savez(folder / f"{place}-{number}.npz", allow_pickle=False, **given)
        (folder / "calls.py").write_text(_program(dialect, calls, [len(asked) for asked in jobs]), encoding="utf-8")
        died = _run(folder)
        versions = _text(folder / "versions.txt") or dialect.title
        return tuple(
            _judged(folder, place, question, asked, versions, died)
            for place, ((_, question), asked) in enumerate(zip(calls, jobs, strict=True))
        )


def rehearse_all(
    calls: Mapping[Dialect, Sequence[tuple[Written, Question]]],
) -> dict[Dialect, tuple[Rehearsed, ...]]:
    """Rehearses the calls of several frameworks, side by side."""
    with ThreadPoolExecutor(max_workers=max(len(calls), 1)) as pool:
        results = pool.map(lambda dialect: rehearse(dialect, calls[dialect]), calls)
        return dict(zip(calls, results, strict=True))


def _run(folder: Path) -> str:
    """Runs the calls; the end of what a process said that died, or nothing."""
    try:
        done = subprocess.run(
            [sys.executable, "calls.py"],
            cwd=folder,
            env={**os.environ, **ENVIRONMENT},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {SECONDS:.0f} s"
    if not done.returncode:
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _program(dialect: Dialect, calls: Sequence[tuple[Written, Question]], counts: Sequence[int]) -> str:
    lines = [
        "from pathlib import Path",
        "import numpy as np",
        *dialect.prelude,
        f"import {', '.join(dialect.modules)}",
        f"versions = [f'{{module.__name__}} {{module.__version__}}' for module in ({', '.join(dialect.modules)},)]",
        'Path("versions.txt").write_text(", ".join(versions))',
    ]
    for place, (written, question) in enumerate(calls):
        lines += [f"def ask{place}(given):", *(f"    {line}" for line in dialect.script(written, question))]
        lines.append("    return found")
    asked = ", ".join(f"(ask{place}, {place}, {count})" for place, count in enumerate(counts))
    lines += [
        f"for ask, place, count in [{asked}]:",
        "    for number in range(count):",
        "        try:",
        '            found = ask(dict(np.load(f"{place}-{number}.npz")))',
        "        except Exception as error:",
        '            Path(f"{place}-{number}.txt").write_text(f"{type(error).__name__}: {error}")',
        "        else:",
        '            np.savez(f"{place}-{number}-found.npz", **found)',
    ]
    return "\n".join(lines) + "\n"


def _judged(folder: Path, place: int, question: Question, jobs: Sequence[Job], versions: str, died: str) -> Rehearsed:
    comparisons: list[Comparison] = []
    arrays: dict[str, NDArray[np.generic]] = {}
    no_gradients = ""
    for number, job in enumerate(jobs):
        path = folder / f"{place}-{number}-found.npz"
        if not path.is_file():
            refused = _text(folder / f"{place}-{number}.txt") or died or "it left no answer"
            return Rehearsed(versions=versions, refused=" ".join(refused.split())[:TOLD])
        with np.load(path, allow_pickle=False) as loaded:
            found = {name: loaded[name] for name in loaded.files}
        no_gradients = no_gradients or " ".join(str(found.pop("no gradients", "")).split())[:TOLD]
        arrays = arrays or found
        expected = _expected(question, job)
        drawn = {name: _tensor(found[name]) for name in expected.samples if name in found}
        comparisons += compare_samples("outputs", job.data, drawn, expected.samples, "float32")
        for name, expectation in expected.outputs.items():
            if name in found:
                comparisons.append(compare(name, "outputs", job.data, _tensor(found[name]), expectation, "float32"))
        for name, expectation in expected.gradients.items():
            if (got := found.get(f"gradient {name}")) is not None:
                comparisons.append(compare(name, "gradients", job.data, _tensor(got), expectation, "float32"))
    return Rehearsed(
        versions=versions,
        no_gradients=no_gradients,
        drawn=question.contract.random,
        comparisons=tuple(comparisons),
        arrays=arrays,
    )


def _tensor(array: NDArray[np.generic]) -> Tensor:
    # JAX counts places in 32 bits where nobody asks for more.
    counted = array.astype(np.int64) if array.dtype == np.int32 else array
    return Tensor(counted.dtype.name, counted)


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""


def expected_values(question: Question) -> dict[str, Float64]:
    """What the reference gives for the first numbers of a rehearsal: `output`, `gradient x`, ..."""
    expected = _expected(question, job_of(question, "normal"))
    outputs = {name: expectation.value for name, expectation in expected.outputs.items()}
    return outputs | {f"gradient {name}": expectation.value for name, expectation in expected.gradients.items()}
