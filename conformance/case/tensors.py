"""What the keys of one tensor say: its shape, and where its numbers come from.

Numbers in the file are flattened and checked here; of numbers in an array's file only the header is read.
"""

import math
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final, cast

from conformance.case.expansion import did_you_mean, show
from conformance.case.grammar import TensorKeys
from conformance.case.model import File, Fill, FillName, Shape, Source, Values
from conformance.case.yaml12 import Plain, Steps

# All operands and outputs of a case together, in float64: a worker holds them, its gradients and the reference's.
MOST_BYTES: Final = 2 * 2**30
FILLS_FOR: Final[Mapping[str, tuple[str, ...]]] = {
    "integer": ("integers", "arange", "ones", "zeros", "one_hot"),
    "mask": ("mask", "ones", "zeros"),
}

_SOURCES: Final = ("fill", "values", "file")


class WrongPart(Exception):
    """A part of a case that cannot be read; the reader notes it and goes on with the next part."""

    def __init__(self, steps: Steps, message: str, *, key: bool = False) -> None:
        self.steps = steps
        self.message = message
        self.key = key
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class TensorRead:
    """A tensor whose shape may follow from elsewhere."""

    shape: Shape | None
    source: Source | None


def read_tensor(given: TensorKeys, folder: Path, steps: Steps, kind: str = "float") -> TensorRead:
    """A tensor of a case: its shape where it is told, and its source where it has one."""
    sources = [name for name in _SOURCES if name in given]
    if len(sources) > 1:
        raise WrongPart(steps, f"numbers come from one source, got {' and '.join(sources)}; keep one of them")
    if "key" in given and "file" not in given:
        raise WrongPart((*steps, "key"), "key names a member of a .npz file, and no file is given", key=True)
    shape = given.get("shape")
    if shape is not None and 8 * math.prod(shape) > MOST_BYTES:
        raise WrongPart((*steps, "shape"), too_large(f"a tensor of shape {show(shape)}", math.prod(shape)))
    if "fill" in given:
        if given["fill"] == "glorot_uniform" and (shape is None or len(shape) < 2):
            raise WrongPart((*steps, "fill"), "glorot_uniform fills a kernel, of a shape of at least 2 axes")
        return TensorRead(shape, _fill(given["fill"], (*steps, "fill"), kind))
    if "values" in given:
        own, numbers = _numbers(given["values"], (*steps, "values"), kind)
        source: Source = Values(values=numbers)
    elif "file" in given:
        source = File(path=(folder / given["file"]).resolve(), key=given.get("key"))
        own = _shape_of_file(source, (*steps, "file"), given["file"])
    else:
        return TensorRead(shape, None)
    if shape is not None and shape != own:
        what = "the numbers have" if "values" in given else f"{given['file']} has"
        raise WrongPart((*steps, "shape"), f"shape says {show(shape)}, but {what} shape {show(own)}")
    return TensorRead(own, source)


def too_large(what: str, elements: int) -> str:
    """Why so many numbers are not asked for."""
    size, most = 8 * elements / 2**30, MOST_BYTES / 2**30
    return f"{what} would take {size:,.1f} GiB in float64; at most {most:g} GiB are allowed"


def _fill(given: Any, steps: Steps, kind: str) -> Fill:
    if isinstance(given, str):
        name, options = given, {}
    elif len(given) == 1:
        ((name, options),) = given.items()
    else:
        raise WrongPart(steps, f"fill takes one of integers, arange, mask, got {show(given)}")
    allowed = FILLS_FOR.get(kind, ())
    if allowed and name not in allowed:
        hint = did_you_mean(name, allowed)
        raise WrongPart(steps, f"fill of an operand of {kind}s must be {', '.join(allowed)}, got {name!r}{hint}")
    fill = Fill(kind=cast(FillName, name), **options)
    if fill.low > fill.high:
        raise WrongPart(steps, f"integers: low must not be above high, got {fill.low} and {fill.high}")
    return fill


def _numbers(given: Plain, steps: Steps, kind: str) -> tuple[Shape, tuple[float, ...]]:
    """Shape and numbers, row by row, of nested lists."""
    sizes: list[int] = []
    first = given
    while isinstance(first, tuple):
        sizes.append(len(first))
        if not first:
            break
        first = first[0]
    if 8 * math.prod(sizes) > MOST_BYTES:
        raise WrongPart(steps, too_large("these numbers", math.prod(sizes)))
    flat: list[float] = []

    def walk(value: Plain, depth: int, at: Steps) -> None:
        if depth < len(sizes):
            if not isinstance(value, tuple) or len(value) != sizes[depth]:
                got = f"{len(value)} entries" if isinstance(value, tuple) else show(value)
                raise WrongPart(
                    at, f"rows must be equally long: expected a list of {sizes[depth]} entries, got {got}"
                )
            for n, part in enumerate(value):
                walk(part, depth + 1, (*at, n))
        else:
            flat.append(_number(value, at, kind))

    walk(given, 0, steps)
    return tuple(sizes), tuple(flat)


def _number(value: Plain, at: Steps, kind: str) -> float:
    wanted = {"float": "a number", "integer": "an integer", "mask": "true, false, 0 or 1"}[kind]
    fits = isinstance(value, int) if kind == "integer" else isinstance(value, (int, float))
    if not fits or (isinstance(value, bool) and kind != "mask") or (kind == "mask" and value not in (0, 1)):
        raise WrongPart(at, f"values must be {wanted} each, got {show(value)}")
    if isinstance(value, int) and abs(value) > 2**53 and (abs(value) > 2**1023 or int(float(value)) != value):
        raise WrongPart(at, f"{show(value)} is not a number that float64 holds exactly")
    return float(value)


def _shape_of_file(file: File, steps: Steps, given: str) -> Shape:
    """The shape that the header of an array's file tells; the numbers are read when they are needed."""
    path, key = file.path, file.key
    if path.suffix not in (".npy", ".npz"):
        raise WrongPart(steps, f"file must be a .npy or .npz file, got {given!r}")
    if not path.is_file():
        near = did_you_mean(path.name, [other.name for other in path.parent.glob("*.np[yz]")])
        raise WrongPart(steps, f"there is no file {given!r} beside the case file{near}")
    if path.suffix == ".npy":
        if key is not None:
            raise WrongPart(
                (*steps[:-1], "key"), "key names a member of a .npz file, and this is a .npy file", key=True
            )
        with path.open("rb") as stream:
            return _array_header(stream, path.stat().st_size, steps, given)
    try:
        with zipfile.ZipFile(path) as archive:
            members = [name.removesuffix(".npy") for name in archive.namelist()]
            if key not in members:
                got = "none" if key is None else repr(key)
                message = (
                    f"key must be a member of {given}: {', '.join(members)}, got {got}{did_you_mean(key, members)}"
                )
                raise WrongPart((*steps[:-1], "key"), message)
            name = f"{key}.npy" if f"{key}.npy" in archive.namelist() else str(key)
            with archive.open(name) as stream:
                return _array_header(stream, archive.getinfo(name).file_size, steps, f"{given}:{key}")
    except zipfile.BadZipFile as error:
        raise WrongPart(steps, f"{given} is not a .npz file: {error}") from error


def _array_header(stream: IO[bytes], size: int, steps: Steps, what: str) -> Shape:
    # NumPy is not needed to list cases without files, and takes longer to import than they do to load.
    from numpy.lib import format as npy

    try:
        version = npy.read_magic(stream)
        read_header = {(1, 0): npy.read_array_header_1_0, (2, 0): npy.read_array_header_2_0}.get(version)
        if read_header is None:
            raise ValueError(f"version {version} of the format is not read")
        shape, _, dtype = read_header(stream)
    except (ValueError, EOFError) as error:
        raise WrongPart(steps, f"{what} is not a .npy array: {error}") from error
    if dtype.hasobject:
        raise WrongPart(steps, f"{what} holds pickled objects, which are never read; save numbers")
    if dtype.kind not in "biuf":
        raise WrongPart(steps, f"{what} must hold numbers or booleans, got {dtype}")
    if size - stream.tell() < math.prod(shape) * dtype.itemsize:
        raise WrongPart(steps, f"{what} is cut off: its header promises {math.prod(shape)} numbers")
    if 8 * math.prod(shape) > MOST_BYTES:
        raise WrongPart(steps, too_large(f"{what} of shape {show(shape)}", math.prod(shape)))
    return tuple(shape)
