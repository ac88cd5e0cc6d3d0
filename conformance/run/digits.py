"""The handwritten digits of MNIST: the vendored subset, the official files, and how to fetch them.

The format is that of the official site (LeCun, Cortes, Burges): a magic number 0x0000TTDD (TT: 8 for unsigned bytes,
DD: axes), one 32-bit size an axis, both big-endian, then the bytes in row-major order; gzip around it.
"""

import contextlib
import gzip
import hashlib
import os
import struct
import tempfile
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from conformance.errors import InvalidData

# The official files, by what is in them, with the digests of their gzip'd bytes.
OFFICIAL: Final[Mapping[str, str]] = MappingProxyType(
    {
        "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
        "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
        "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
        "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
    }
)
CLASSES: Final = 10

_UNSIGNED_BYTES: Final = 8
_DOWNLOAD_SECONDS: Final = 60.0

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Digits:
    """Images (count, 28, 28) as bytes and their labels (count,), to train with and to test with.

    Attributes:
        digest: names these very images and labels.
    """

    train_images: Bytes
    train_labels: Bytes
    test_images: Bytes
    test_labels: Bytes
    digest: str


def read_digits(folder: Path, *, official: bool = False) -> Digits:
    """Reads the four files of a folder.

    Args:
        folder: where they are, under their official names.
        official: they must be the whole official files, byte for byte.

    Raises:
        InvalidData: if a file is missing, cut off, not what its name says, or not the official one.
    """
    images_name, labels_name, test_images_name, test_labels_name = OFFICIAL
    raw = {name: _read(folder / name) for name in OFFICIAL}
    if official:
        for name, content in raw.items():
            _check_digest(str(folder / name), content, OFFICIAL[name])
    arrays = {name: read_idx(content, str(folder / name)) for name, content in raw.items()}
    for images, labels in ((images_name, labels_name), (test_images_name, test_labels_name)):
        _check_pair(folder, images, arrays[images], labels, arrays[labels])
    total = hashlib.sha256()
    for name in OFFICIAL:
        total.update(f"{name} {arrays[name].shape} ".encode())
        total.update(arrays[name].tobytes())
    return Digits(
        train_images=arrays[images_name],
        train_labels=arrays[labels_name],
        test_images=arrays[test_images_name],
        test_labels=arrays[test_labels_name],
        digest=total.hexdigest()[:16],
    )


def read_idx(compressed: bytes, place: str) -> Bytes:
    """Reads one gzip'd idx file of unsigned bytes; `place` is what messages call it.

    Raises:
        InvalidData: if it is cut off, longer than it says, or of another kind.
    """
    try:
        content = gzip.decompress(compressed)
    except (OSError, EOFError, zlib.error) as error:
        raise InvalidData(f"{place}: cannot be decompressed ({error}); expected a whole gzip file") from error
    if len(content) < 4:
        raise InvalidData(f"{place}: is cut off after {len(content)} bytes; expected a magic number of 4")
    zeros, kind, axes = struct.unpack(">HBB", content[:4])
    if zeros or kind != _UNSIGNED_BYTES or axes not in (1, 3):
        raise InvalidData(
            f"{place}: starts with {content[:4].hex()}; an idx file of bytes starts with 00000801 (labels) or "
            "00000803 (images)"
        )
    start = 4 + 4 * axes
    if len(content) < start:
        raise InvalidData(f"{place}: is cut off after {len(content)} bytes, within its sizes")
    sizes: tuple[int, ...] = struct.unpack(f">{axes}I", content[4:start])
    if len(content) != start + prod(sizes):
        raise InvalidData(
            f"{place}: has {len(content) - start} bytes after its sizes; {'x'.join(map(str, sizes))} needs "
            f"{prod(sizes)}"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(sizes)


def download(folder: Path, base_url: str) -> Iterator[Path]:
    """Fetches the official files into a folder, one by one; those that are there already, and right, stay.

    A file appears under its name once it is whole and its digest is right.

    Args:
        folder: made if it is not there.
        base_url: where the four files are found under their official names.

    Yields:
        Each file, once it is there.

    Raises:
        InvalidData: if a file cannot be fetched, or is not the official one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name, digest in OFFICIAL.items():
        path = folder / name
        if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest:
            yield path
            continue
        url = f"{base_url.rstrip('/')}/{name}"
        try:
            with urllib.request.urlopen(url, timeout=_DOWNLOAD_SECONDS) as response:
                content = response.read()
        except (OSError, ValueError, urllib.error.URLError) as error:
            raise InvalidData(f"{url}: cannot be fetched ({error})") from error
        _check_digest(url, content, digest)
        _write_whole(path, content)
        yield path


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InvalidData(
            f"{path}: cannot be read ({error.strerror or error}); expected the four files {', '.join(OFFICIAL)}"
        ) from error


def _check_digest(place: str, content: bytes, expected: str) -> None:
    got = hashlib.sha256(content).hexdigest()
    if got != expected:
        raise InvalidData(f"{place}: its sha256 is {got}; the official file's is {expected}")


def _check_pair(folder: Path, images_name: str, images: Bytes, labels_name: str, labels: Bytes) -> None:
    if images.ndim != 3 or images.shape[1:] != (28, 28):
        raise InvalidData(f"{folder / images_name}: has shape {images.shape}; expected images of 28x28")
    if labels.shape != images.shape[:1]:
        raise InvalidData(
            f"{folder / labels_name}: has shape {labels.shape}; expected a label for each of {len(images)}"
        )
    if not len(labels) or int(labels.max()) >= CLASSES:
        got = f"labels up to {labels.max()}" if len(labels) else "no labels"
        raise InvalidData(f"{folder / labels_name}: has {got}; expected digits 0 to 9")


def _write_whole(path: Path, content: bytes) -> None:
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
        Path(name).replace(path)
    except BaseException:
        with contextlib.suppress(OSError):
            Path(name).unlink()
        raise
