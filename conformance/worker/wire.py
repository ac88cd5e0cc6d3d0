"""Messages to bytes and back.

Only the message types listed here travel. Arrays are a format's name, a shape and little-endian bytes, never pickles.
"""

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

import numpy as np

from conformance.case import job, operators, traces
from conformance.case.job import NATIVE, Native, Tensor
from conformance.errors import InvalidOperator

_TAG: Final = "type"


def by_name(kinds: Iterable[type[Any]]) -> dict[str, type[Any]]:
    """What travels, by the name under which it does.

    Raises:
        InvalidOperator: if two classes have one name.
    """
    table: dict[str, type[Any]] = {}
    for kind in kinds:
        if table.setdefault(kind.__name__, kind) is not kind:
            raise InvalidOperator("classes of attributes, or of messages,", kind.__name__)
    return table


_MESSAGES: Final = by_name(
    (
        job.Job,
        job.Outputs,
        job.Unsupported,
        job.Refused,
        job.Crashed,
        job.TimedOut,
        job.Description,
        job.BuildNetwork,
        job.TrainStep,
        job.Predict,
        job.TellState,
        job.TrainingState,
        job.Built,
        job.Stepped,
        job.Predicted,
        traces.LoadModel,
        traces.LoadedModel,
        traces.SetParameters,
        traces.ParametersSet,
        traces.RunModel,
        traces.TracedLayer,
        traces.Trace,
        traces.ExportParameters,
        traces.ExportedParameters,
        operators.Layer,
        operators.Chain,
        *(operator.attributes for operator in operators.OPERATORS.values()),
    )
)
_FIELDS: Final = {name: tuple(field.name for field in fields(kind)) for name, kind in _MESSAGES.items()}


def encode(message: Any) -> bytes:
    """A message as bytes: the length of a JSON header, the header, then the arrays one after the other.

    Raises:
        TypeError: if a value has no place on the wire.
    """
    arrays: list[bytes] = []
    header = json.dumps(_plain(message, arrays)).encode()
    return b"".join((len(header).to_bytes(8, "little"), header, *arrays))


def decode(text: bytes) -> Any:
    """The message that `encode` wrote; its arrays are fresh and writable, its sequences are tuples.

    Raises:
        KeyError: if the message names a type that does not travel.
    """
    start = 8 + int.from_bytes(text[:8], "little")
    return _whole(json.loads(text[8:start]), _Reader(memoryview(text)[start:]))


class _Reader:
    """Hands out bytes from the front."""

    def __init__(self, rest: memoryview) -> None:
        self._rest = rest

    def take(self, size: int) -> memoryview:
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken


def _storage(format_name: str) -> np.dtype[Any]:
    """The NumPy type that a format's numbers are stored in.

    Raises:
        TypeError: if NumPy knows no such format.
    """
    return np.dtype("uint16" if format_name == "bfloat16" else format_name)


def _plain(value: Any, arrays: list[bytes]) -> Any:
    if value is None or isinstance(value, bool):
        return value
    for plain in (str, int, float):  # a subclass (a framework's version text, a NumPy scalar) does not travel
        if isinstance(value, plain):
            return plain(value)
    if isinstance(value, Tensor):
        if value.data.dtype != _storage(value.format):
            raise TypeError(f"{value.format} is stored as {_storage(value.format)}, got {value.data.dtype}")
        data = value.data if sys.byteorder == "little" else value.data.byteswap()
        arrays.append(data.tobytes())
        return {_TAG: "Tensor", "format": value.format, "shape": value.shape, "bytes": len(arrays[-1])}
    if isinstance(value, (tuple, list)):
        return [_plain(item, arrays) for item in value]
    if isinstance(value, Mapping):
        return {key: _plain(item, arrays) for key, item in value.items()}
    if isinstance(value, Native):
        return {_TAG: "Native"}
    kind = type(value).__name__
    if kind in _MESSAGES:
        return {_TAG: kind, **{name: _plain(getattr(value, name), arrays) for name in _FIELDS[kind]}}
    raise TypeError(f"{kind} has no place on the wire")


def _whole(value: Any, arrays: _Reader) -> Any:
    if isinstance(value, list):
        return tuple([_whole(item, arrays) for item in value])
    if not isinstance(value, dict):
        return value
    kind = value.pop(_TAG, None)
    if kind == "Native":
        return NATIVE
    if kind == "Tensor":
        storage = _storage(value["format"])
        stored = np.frombuffer(arrays.take(value["bytes"]), dtype=storage.newbyteorder("<"))
        return Tensor(value["format"], stored.astype(storage).reshape(value["shape"]))
    whole = {key: _whole(item, arrays) for key, item in value.items()}
    return whole if kind is None else _MESSAGES[kind](**whole)
