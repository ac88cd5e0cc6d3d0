"""What every backend promises, asked of an installed one: `conformance check-backend`.

The questions go the way of every job, through a worker process; nothing here imports an adapter. They do not ask
whether operators are right (cases do), but whether the answers can be believed.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Pad
from conformance.case.families.convolution import Convolution
from conformance.case.families.signals import Polynomial, Signal
from conformance.case.job import Answer, Description, Job, Outputs, Refused, Tensor, Unsupported
from conformance.case.model import FormatName
from conformance.case.operators import OPERATORS
from conformance.errors import TargetError
from conformance.formats import FORMATS, to_storage
from conformance.worker.gateway import Worker

ANSWER_SECONDS: Final = 60.0
FLOATS: Final[tuple[FormatName, ...]] = ("float64", "float32", "bfloat16", "float16")
_NO_DEVICE: Final = "abacus"

Numbers = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class ContractResult:
    """One promise: whether it held, and what was seen."""

    name: str
    held: bool
    detail: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """A question to an operator, without a format."""

    operator: str
    attributes: Any
    operands: Mapping[str, Numbers]

    def job(self, format_name: FormatName, **cotangents: Numbers) -> Job:
        """The question as a job."""

        def stored(values: Numbers) -> Tensor:
            return Tensor(format_name, to_storage(values, FORMATS[format_name]))

        return Job(
            case_id=f"contract/{self.operator}",
            operator=self.operator,
            attributes=self.attributes,
            format=format_name,
            layout="native",
            data="given",
            operands={name: stored(values) for name, values in self.operands.items()},
            cotangents={name: stored(values) for name, values in cotangents.items()},
        )


def keeping_probes(x: Numbers) -> tuple[Probe, ...]:
    """Questions whose answer is x itself, of shape (2, n) or (n,), in any format: nothing is rounded."""
    one = np.ones(1)
    return (
        Probe(operator="flatten", attributes=NoAttributes(), operands={"x": x}),
        Probe(operator="pad", attributes=Pad(padding=((0, 0), (0, 0))), operands={"x": x}),
        Probe(operator="dense", attributes=NoAttributes(), operands={"x": x[..., None], "w": one[:, None]}),
        Probe(operator="bias_add", attributes=NoAttributes(), operands={"x": x[..., None], "b": 0 * one}),
        Probe(
            operator="conv1d",
            attributes=Convolution(stride=(1,), dilation=(1,)),
            operands={"x": x[..., None], "w": one[:, None, None]},
        ),
        Probe(operator="convolve", attributes=Signal(), operands={"x": x.ravel(), "w": one}),
        Probe(operator="correlate", attributes=Signal(), operands={"x": x.ravel(), "w": one}),
        Probe(operator="polynomial", attributes=Polynomial(coefficients=(1.0, 0.0)), operands={"x": x}),
        Probe(operator="relu", attributes=NoAttributes(), operands={"x": abs(x)}),
    )


def impossible_probes() -> tuple[Probe, ...]:
    """Questions without an answer, whatever the framework: shapes that do not fit."""
    return (
        Probe(operator="dense", attributes=NoAttributes(), operands={"x": np.ones((2, 3)), "w": np.ones((4, 5))}),
        Probe(operator="bias_add", attributes=NoAttributes(), operands={"x": np.ones((2, 3)), "b": np.ones(4)}),
        Probe(
            operator="conv1d",
            attributes=Convolution(stride=(1,), dilation=(1,)),
            operands={"x": np.ones((1, 5, 3)), "w": np.ones((2, 2, 4))},
        ),
        Probe(operator="convolve", attributes=Signal(), operands={"x": np.ones(3), "w": np.ones((2, 2))}),
        Probe(operator="correlate", attributes=Signal(), operands={"x": np.ones(3), "w": np.ones((2, 2))}),
    )


def numbers_of(format_name: FormatName) -> Numbers:
    """The corners of a format: its largest and smallest normal numbers, neighbours of 1, a full significand.

    Subnormal numbers are left out, which frameworks may flush, and -0.0, which a sum may lose.
    """
    format_ = FORMATS[format_name]
    beside, below = 1 + 2 * format_.unit, 1 - format_.unit
    return np.array([[format_.largest, -format_.largest, format_.eta, beside], [below, -beside, 0.0, 3.0]])


def check_contract(worker: Worker) -> tuple[ContractResult, ...]:
    """Asks an installed backend for everything that `Backend` promises; the worker is started afresh.

    Returns:
        One result a promise, broken ones included.

    Raises:
        UnknownBackend, BackendMissing, WorkerFailed: if the worker does not start.
    """
    return tuple(_results(worker))


def _results(worker: Worker) -> Iterator[ContractResult]:
    described = worker.start()
    starts = worker.starts
    yield _described_operators(described)
    yield _described_device(worker, described)
    yield _other_device(worker)
    answer = worker.ask(
        Probe(operator="no_such_operator", attributes=NoAttributes(), operands={}).job("float32"), ANSWER_SECONDS
    )
    yield ContractResult(
        name="an unknown operator is Unsupported", held=isinstance(answer, Unsupported), detail=_told(answer)
    )
    kept = [probe.operator for probe in keeping_probes(np.ones((2, 1))) if probe.operator in described.operators]
    for format_name in FLOATS:
        if kept:
            yield from _round_trip(worker, kept[0], format_name)
    if kept:
        yield _wrong_cotangent(worker, kept[0])
    impossible = [probe for probe in impossible_probes() if probe.operator in described.operators]
    if impossible:
        answer = worker.ask(impossible[0].job("float32"), ANSWER_SECONDS)
        yield ContractResult(
            name="shapes that do not fit are Refused",
            held=isinstance(answer, Refused),
            detail=f"{impossible[0].operator}: {_told(answer)}",
        )
    if kept:
        answer = worker.ask(_keeping(kept[0], "float32").job("float32"), ANSWER_SECONDS)
        yield ContractResult(
            name="the worker goes on after a refusal", held=isinstance(answer, Outputs), detail=_told(answer)
        )
    yield ContractResult(
        name="one process answers everything, whatever it prints",
        held=worker.starts == starts,
        detail=f"{worker.starts - starts + 1} process(es)",
    )


def _keeping(operator: str, format_name: FormatName) -> Probe:
    (probe,) = (probe for probe in keeping_probes(numbers_of(format_name)) if probe.operator == operator)
    return probe


def _told(answer: Answer) -> str:
    """An answer in a few words."""
    text = type(answer).__name__
    for name in ("error", "message", "reason", "cause", "seconds"):
        if hasattr(answer, name) and not isinstance(answer, Outputs):
            text += f" {name}={getattr(answer, name)!r}"
    return text


def _described_operators(described: Description) -> ContractResult:
    faults = []
    if not described.operators:
        faults.append("there are none")
    faults += [f"{name} is no operator of the contract" for name in described.operators if name not in OPERATORS]
    for entry in described.absent:
        glob, colon, _ = entry.partition(":")
        if not any(fnmatchcase(name, glob) for name in OPERATORS):
            faults.append(f"absent {entry!r} matches no operator of the contract")
        faults += [
            f"{name} is both there and absent ({entry!r})"
            for name in described.operators
            if not colon and fnmatchcase(name, glob)
        ]
    return ContractResult(
        name="operators and absent ones are named truthfully",
        held=not faults,
        detail="; ".join(faults)
        or f"{len(described.operators)} operators, absent: {', '.join(described.absent) or 'none'}",
    )


def _described_device(worker: Worker, described: Description) -> ContractResult:
    told = described.device
    return ContractResult(
        name="the device that was asked for is the one described, with versions",
        held=told.split(" ")[0] == worker.target.device and bool(described.versions),
        detail=f"asked for {worker.target.device!r}, got {told!r}, {dict(described.versions)}",
    )


def _other_device(worker: Worker) -> ContractResult:
    other = Worker(replace(worker.target, device=_NO_DEVICE), worker.path)
    try:
        told = other.start().device
    except TargetError as error:
        held, detail = True, str(error).splitlines()[0]
    else:
        held, detail = False, f"it started, and described {told!r}"
    finally:
        other.close()
    return ContractResult(name="a device that is not there is refused", held=held, detail=detail)


def _round_trip(worker: Worker, operator: str, format_name: FormatName) -> Iterator[ContractResult]:
    probe = _keeping(operator, format_name)
    job = probe.job(format_name)
    answer = worker.ask(job, ANSWER_SECONDS)
    name = f"{format_name} comes back bit for bit"
    if not isinstance(answer, Outputs):
        # A format that a framework has not got is no broken promise, if it says so.
        yield ContractResult(
            name=name, held=isinstance(answer, (Unsupported, Refused)), detail=f"{operator}: {_told(answer)}"
        )
        return
    got, expected = next(iter(answer.outputs.values())), job.operands["x"]
    held = got.format == expected.format and got.data.tobytes() == expected.data.tobytes()
    detail = f"{operator}: {got.format}"
    if not held:
        detail += f" {got.data.ravel().tolist()}, expected {expected.format} {expected.data.ravel().tolist()}"
    yield ContractResult(name=name, held=held, detail=detail)
    yield ContractResult(
        name=f"operands are not changed in {format_name}",
        held=not answer.mutated,
        detail=f"{operator}: changed {', '.join(answer.mutated) or 'nothing'}",
    )


def _wrong_cotangent(worker: Worker, operator: str) -> ContractResult:
    answer = worker.ask(_keeping(operator, "float32").job("float32", output=np.ones((7, 5))), ANSWER_SECONDS)
    arrays: list[str] = []
    if isinstance(answer, Outputs):
        arrays = [name for name, value in answer.gradients.items() if isinstance(value, Tensor)]
    return ContractResult(
        name="where the output has not its cotangent's shape, outputs come without gradients",
        held=isinstance(answer, Outputs) and not arrays,
        detail=f"{operator}: {_told(answer)}" + (f" with gradients for {', '.join(arrays)}" if arrays else ""),
    )
