"""Weights as safetensors: bytes as the format's own page has them, and files that are something else."""

import json
from pathlib import Path

import numpy as np
import pytest

from conformance.case.job import Tensor
from conformance.errors import InvalidData
from conformance.models.safetensors import read_safetensors, write_safetensors


def by_hand(header: dict[str, object], body: bytes) -> bytes:
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + body


def test_a_file_written_by_hand_is_read(tmp_path: Path) -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "w": {"dtype": "F32", "shape": [2, 1], "data_offsets": [0, 8]},
        "n": {"dtype": "I64", "shape": [], "data_offsets": [8, 16]},
    }
    body = b"\x00\x00\x80\x3f\x00\x00\x00\xc0" + (7).to_bytes(8, "little")
    (tmp_path / "a.safetensors").write_bytes(by_hand(header, body))
    found = read_safetensors(tmp_path / "a.safetensors")
    assert (found["w"].format, found["w"].data.tolist()) == ("float32", [[1.0], [-2.0]])
    assert (found["n"].format, found["n"].data.tolist()) == ("int64", 7)


@pytest.mark.parametrize("format_", ["float64", "float32", "float16", "bfloat16", "int64", "int32", "bool"])
def test_every_format_comes_back_bit_by_bit(tmp_path: Path, format_: str) -> None:
    dtype = np.dtype("uint16" if format_ == "bfloat16" else format_)
    data = np.random.default_rng(1).integers(0, 2, 24 * dtype.itemsize, np.uint8)
    data = np.frombuffer(data.tobytes(), dtype).reshape(2, 3, 4)
    given = {"a": Tensor(format_, data.transpose(2, 0, 1)), "empty": Tensor(format_, data[:0])}
    write_safetensors(tmp_path / "a.safetensors", given)
    found = read_safetensors(tmp_path / "a.safetensors")
    assert list(found) == ["a", "empty"]
    for name, tensor in given.items():
        assert (found[name].format, found[name].shape) == (format_, tensor.shape)
        assert found[name].data.tobytes() == np.ascontiguousarray(tensor.data).tobytes()


_WHOLE = {"w": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}}


@pytest.mark.parametrize(
    ("written", "told"),
    [
        (b"PK\x03\x04 a zip file, as PyTorch writes", "its first 8 bytes tell of a header of"),
        (by_hand(_WHOLE, b"1234567"), "its tensors take 8 bytes, 7 follow the header"),
        (by_hand({"w": {"dtype": "F32", "shape": [3], "data_offsets": [0, 8]}}, b"12345678"), "8 bytes are not F32"),
        (
            by_hand({"w": {"dtype": "F8", "shape": [8], "data_offsets": [0, 8]}}, b"12345678"),
            "format 'F8' is not one",
        ),
        (
            by_hand({**_WHOLE, "v": {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]}}, b"12345678"),
            "its tensors",
        ),
        (by_hand({"w": {"dtype": "F32"}}, b""), "data_offsets"),
    ],
)
def test_what_is_no_whole_file_is_refused(tmp_path: Path, written: bytes, told: str) -> None:
    (tmp_path / "a.safetensors").write_bytes(written)
    with pytest.raises(InvalidData, match="is not a whole safetensors file") as error:
        read_safetensors(tmp_path / "a.safetensors")
    assert told in str(error.value)
