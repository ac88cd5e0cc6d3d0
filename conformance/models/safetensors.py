"""Weights as safetensors: a JSON header of names, formats, shapes and places, then little-endian numbers.

The format is https://huggingface.co/docs/safetensors; NumPy reads and writes it bit by bit, and nothing in it runs.
"""

import json
import math
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import numpy as np

from conformance.case.job import Tensor
from conformance.errors import InvalidData

_NAMES: Final = {
    "float64": "F64",
    "float32": "F32",
    "float16": "F16",
    "bfloat16": "BF16",
    "int64": "I64",
    "int32": "I32",
    "bool": "BOOL",
}
_FORMATS: Final = {name: format_ for format_, name in _NAMES.items()}
# No header of a model's is larger; a larger number is a file of something else.
_LONGEST_HEADER: Final = 100_000_000


def write_safetensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes tensors in the order given, and texts about them.

    Raises:
        InvalidData: if a tensor's format has no name there.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    end = 0
    for name, tensor in tensors.items():
        if tensor.format not in _NAMES:
            raise InvalidData(f"{name}: safetensors has no name for {tensor.format}; it has {', '.join(_NAMES)}")
        start, end = end, end + tensor.data.nbytes
        header[name] = {"dtype": _NAMES[tensor.format], "shape": list(tensor.shape), "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for tensor in tensors.values():
            file.write(np.ascontiguousarray(tensor.data).astype(tensor.data.dtype.newbyteorder("<")).tobytes())


def read_safetensors(path: Path) -> dict[str, Tensor]:
    """Reads all tensors of a file.

    Raises:
        InvalidData: if it is cut off, or something else.
    """
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    try:
        if not 0 < size <= min(_LONGEST_HEADER, len(data) - 8):
            raise ValueError(f"its first 8 bytes tell of a header of {size} bytes, the file has {len(data)}")
        header = json.loads(data[8 : 8 + size])
        header.pop("__metadata__", None)
        body = memoryview(data)[8 + size :]
        _require_whole([tuple(entry["data_offsets"]) for entry in header.values()], len(body))
        return {name: _read_one(entry, body) for name, entry in header.items()}
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InvalidData(f"{path} is not a whole safetensors file: {error}") from error


def read_metadata(path: Path) -> dict[str, str]:
    """The texts that a file has about its tensors; empty if it has none.

    Raises:
        InvalidData: if they are something else than texts, or the file is.
    """
    data = path.read_bytes()
    size = int.from_bytes(data[:8], "little")
    try:
        found = json.loads(data[8 : 8 + size])["__metadata__"] if size else {}
        return {str(name): str(text) for name, text in found.items()}
    except KeyError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise InvalidData(f"{path} is not a whole safetensors file: {error}") from error


def _require_whole(places: list[tuple[int, int]], size: int) -> None:
    """Tensors lie one behind the other, and fill the file."""
    ordered = sorted(places)
    ends = [0, *(end for _, end in ordered)]
    if any(start != end for (start, _), end in zip(ordered, ends, strict=False)) or ends[-1] != size:
        raise ValueError(f"its tensors take {ends[-1]} bytes, {size} follow the header")
    if any(one[1] > two[0] for one, two in pairwise(ordered)):
        raise ValueError("its tensors overlap")


def _read_one(entry: Mapping[str, Any], body: memoryview) -> Tensor:
    format_ = _FORMATS.get(entry["dtype"])
    if format_ is None:
        raise ValueError(f"format {entry['dtype']!r} is not one of {', '.join(_FORMATS)}")
    start, end = entry["data_offsets"]
    dtype = np.dtype("uint16" if format_ == "bfloat16" else format_)
    shape = tuple(entry["shape"])
    if end - start != math.prod(shape) * dtype.itemsize:
        raise ValueError(f"{end - start} bytes are not {entry['dtype']} of shape {shape}")
    stored = np.frombuffer(body[start:end], dtype=dtype.newbyteorder("<"))
    return Tensor(format_, stored.astype(dtype).reshape(shape))
