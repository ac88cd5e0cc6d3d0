"""Numbers for a question: the same on every machine, seeded by the question itself.

Words come from Philox, whose output is specified; normal numbers are sums of integers, because NumPy's `log` and
`exp` change bits with the CPU's vector unit. The seed is a digest of operator, resolved attributes, shapes and data
set, not of the case's name: renaming a case keeps its numbers.
"""

import hashlib
import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.contract import Domain, Operand
from conformance.case.job import Tensor
from conformance.case.model import Case, DataSet, File, Fill, FillName, FormatName, Shape, TensorSpec, Values
from conformance.case.operators import OPERATORS, operand_of
from conformance.errors import InvalidData
from conformance.formats import FORMATS, INTEGERS, STORED, Float64, Format, largest_integer, round_to, to_storage

Words = NDArray[np.uint64]

# Wide integers: significant bits of the one wide operand (26 in float64: half of 53), and the magnitude of the rest.
WIDE_BITS: Final = 13
NARROW_MAGNITUDE: Final = 3


def draw_words(seed: bytes, name: str, count: int) -> Words:
    """`count` random 64-bit words that depend on the seed and on the name of what they are for."""
    digest = hashlib.sha256(seed + b"/" + name.encode()).digest()
    key = np.frombuffer(digest[:16], dtype="<u8")
    words: Words = np.random.Philox(key=key).random_raw(count)
    return words


def normal(words: Words) -> Float64:
    """A normal-like number from every twelve words: mean 0, variance 1, 49 bits behind the point.

    The sum of twelve uniform numbers has variance 1 and stays within +-6 (Irwin and Hall). It is summed in integers,
    exactly.
    """
    totals: NDArray[np.int64] = (words.reshape(-1, 12) >> np.uint64(15)).sum(axis=1).astype(np.int64) - 6 * 2**49
    return np.ldexp(totals.astype(np.float64), -49)


def uniform(words: Words) -> Float64:
    """Numbers in [0, 1) with 53 bits, one a word."""
    return np.ldexp((words >> np.uint64(11)).astype(np.float64), -53)


def integers(words: Words, low: int, high: int) -> Float64:
    """Integers in low..high, both included, one a word."""
    return low + (words % np.uint64(high - low + 1)).astype(np.int64).astype(np.float64)


# Shares are so many parts of a whole: exact in every format, whatever the number of classes.
PARTS: Final = 64


def shares(words: Words, classes: int) -> Float64:
    """Rows of numbers in [0, 1] that sum to exactly 1, one word an element: what lies between sorted random cuts.

    Every number is a multiple of 1/64, and some are 0.
    """
    if not classes:
        return np.zeros(0)
    cuts = np.sort((words.reshape(-1, classes) % np.uint64(PARTS + 1)).astype(np.int64), axis=1)
    cuts[:, -1] = PARTS
    return (np.diff(cuts, axis=1, prepend=0) / PARTS).ravel()


def drawn(words: Callable[[int], Words], domain: Domain, shape: Shape) -> Float64:
    """Numbers of a domain, flat; `words` gives as many random words as are asked for."""
    size = math.prod(shape)
    if domain == "unit":
        return uniform(words(size))
    if domain == "shares":
        return shares(words(size), shape[-1] if shape else 1)
    values = normal(words(12 * size))
    return np.abs(values) if domain == "non_negative" else values


def wide_bits(format_: Format) -> int:
    """Significant bits of the wide operand: as many as the format stores, 13 at most, 26 in float64."""
    return 26 if format_.name == "float64" else min(WIDE_BITS, format_.precision)


def wide_budget(format_: Format) -> tuple[int, int]:
    """How many elements of a wide and of a narrow operand may differ from zero.

    However the elements meet, every sum then stays below 2^p of the widest accumulator that the format may have
    (float32 for the shorter ones), a bias included, so that every honest result is exact before its last rounding:
    narrow * 3 * 2^bits + 2^bits <= 2^p.
    """
    accumulator = max(FORMATS["float32"].precision, format_.precision)
    bits = wide_bits(format_)
    wide = 2 ** (accumulator - bits) - 1
    return wide, wide // NARROW_MAGNITUDE


def _sparse(values: Float64, budget: int, words: Words) -> Float64:
    if values.size > budget:
        values[np.argsort(words, kind="stable")[budget:]] = 0.0
    return values


def wide(words: Words, format_: Format) -> Float64:
    """Odd integers with `wide_bits` significant bits and a random sign; two words an element."""
    values, places = words.reshape(2, -1)
    top = np.uint64(2 ** (wide_bits(format_) - 1))
    magnitude = (values & (top - np.uint64(1))) | top | np.uint64(1)
    signs = np.where(values >> np.uint64(63), -1.0, 1.0)
    return _sparse(magnitude.astype(np.float64) * signs, wide_budget(format_)[0], places)


def narrow(words: Words, format_: Format) -> Float64:
    """Integers of magnitude 1 to 3 with a random sign; two words an element."""
    values, places = words.reshape(2, -1)
    signs = np.where(values >> np.uint64(63), -1.0, 1.0)
    magnitude = (values % np.uint64(NARROW_MAGNITUDE)).astype(np.float64) + 1.0
    return _sparse(magnitude * signs, wide_budget(format_)[1], places)


def glorot_limit(shape: Shape) -> float:
    """The largest weight of a fresh kernel (*spatial, in, out): sqrt(6 / (fan in + fan out)).

    Glorot & Bengio, Understanding the difficulty of training deep feedforward neural networks, 2010, equation 16.
    """
    field = math.prod(shape[:-2])
    return math.sqrt(6 / (field * (shape[-2] + shape[-1])))


class Question:
    """The numbers of one case in one data set: operands, then cotangents, in one format."""

    def __init__(self, case: Case, data: DataSet, format_name: FormatName) -> None:
        self.case = case
        self.data = data
        self.format = STORED[format_name]
        shapes = sorted((name, spec.shape) for name, spec in case.inputs.items())
        self._seed = repr((case.operator, case.attributes, shapes, data)).encode()
        floats = [name for name in case.inputs if self._operand(name).kind == "float" and not name.endswith("b")]
        choices = [*floats, "cotangent"]
        # Rotates from case to case, with the digest that seeds the numbers.
        self._wide_name = choices[int(draw_words(self._seed, "wide operand", 1)[0]) % len(choices)]
        self.exact = True

    def _operand(self, name: str) -> Operand:
        return operand_of(self.case.operator, self.case.attributes, name)

    def operands(self) -> dict[str, Tensor]:
        """Every operand that the case gives, stored."""
        made = {}
        for name, spec in self.case.inputs.items():
            kind = self._operand(name).kind
            values = self._values(name, spec)
            if kind == "integer":
                made[name] = Tensor("int64", values.astype(np.int64))
            elif kind == "mask":
                made[name] = Tensor("bool", values.astype(np.bool_))
            else:
                made[name] = self._store(values)
        return made

    def cotangents(self, shapes: Mapping[str, Shape]) -> dict[str, Tensor]:
        """A cotangent for every output; never ones unless the case says so."""
        made = {}
        for name, shape in shapes.items():
            spec = self.case.cotangents.get(name, TensorSpec(shape=shape))
            made[name] = self._store(self._values("cotangent", spec, seed_name=f"cotangent {name}"))
        return made

    def tangents(self) -> dict[str, Tensor]:
        """A tangent for every differentiable operand: normal numbers, small integers beside wide ones."""
        return self._along("tangent")

    def directions(self) -> dict[str, Tensor]:
        """A direction for every differentiable operand, along which its gradient is differentiated: as tangents."""
        return self._along("direction")

    def _along(self, what: str) -> dict[str, Tensor]:
        made = {}
        for name, spec in self.case.inputs.items():
            if self._operand(name).differentiable:
                fill = Fill(kind="integers" if self.data == "wide" else "normal")
                size = math.prod(spec.shape)
                values = self._filled(fill, what, "real", f"{what} {name}", size, spec.shape)
                made[name] = Tensor(self.format.name, to_storage(values.reshape(spec.shape), self.format))
        return made

    def _store(self, values: Float64) -> Tensor:
        """Numbers in the question's format.

        Raises:
            InvalidData: if numbers of a question on integers are none, or too large for the format or float64.
        """
        if self.format.name in INTEGERS:
            most = largest_integer(self.format.name)
            if not np.array_equal(values, np.rint(values)) or np.abs(values).max(initial=0) > most:
                raise InvalidData(f"{self.case.id}: {self.format.name} takes integers up to {most}, got others")
        stored = to_storage(values, self.format)
        if self.case.expect.outputs or self.case.expect.gradients or self.case.claims:
            self.exact &= bool(np.array_equal(round_to(values, self.format), values, equal_nan=True))
        return Tensor(self.format.name, stored)

    def _values(self, name: str, spec: TensorSpec, seed_name: str = "") -> Float64:
        source = spec.source
        if isinstance(source, (Values, File)):
            return literal_values(spec)
        drawn_from: FillName = "normal" if self.data == "given" else self.data
        fill = source or Fill(kind="integers" if self.format.name in INTEGERS else drawn_from)
        size = math.prod(spec.shape)
        domain: Domain = "real" if name == "cotangent" else self._operand(name).domain
        return self._filled(fill, name, domain, seed_name or name, size, spec.shape).reshape(spec.shape)

    def _filled(self, fill: Fill, name: str, domain: Domain, seed_name: str, size: int, shape: Shape) -> Float64:
        def words(count: int) -> Words:
            return draw_words(self._seed, seed_name, count)

        match fill.kind:
            case "arange":
                return np.arange(size, dtype=np.float64) + fill.start
            case "ones":
                return np.ones(size)
            case "zeros":
                return np.zeros(size)
            case "uniform":
                return uniform(words(size))
            case "glorot_uniform":
                return glorot_limit(shape) * (2 * uniform(words(size)) - 1)
            case "integers":
                return integers(words(size), fill.low, fill.high)
            case "mask":
                return (uniform(words(size)) < fill.keep).astype(np.float64)
            case "one_hot":
                places = words(size // max(shape[-1], 1)) % np.uint64(max(shape[-1], 1))
                return np.eye(shape[-1])[places.astype(np.int64)].ravel()
            case "wide":
                return (wide if name == self._wide_name else narrow)(words(2 * size), self.format)
            case "special" if name != "cotangent" and domain in ("real", "non_negative"):
                palette = np.array(OPERATORS[self.case.operator].special or (0.0, -1.0, 1.0))
                picked = palette[(words(size) % np.uint64(len(palette))).astype(np.int64)]
                return np.abs(picked) if domain == "non_negative" else picked
        return drawn(words, domain, shape)


def literal_values(spec: TensorSpec) -> Float64:
    """The numbers that a case states, from the file itself or from an array file beside it.

    Raises:
        TypeError: if they are generated.
        InvalidData: if an array file cannot be read.
    """
    match spec.source:
        case Values(values=values):
            return np.array(values, dtype=np.float64).reshape(spec.shape)
        case File():
            return read_array(spec.source, spec.shape)
    raise TypeError("stated numbers are written down, never generated")


def read_array(file: File, shape: Shape) -> Float64:
    """Reads numbers from a `.npy` file or a member of a `.npz` file, never a pickle.

    Raises:
        InvalidData: if the file cannot be read as such, or has another shape.
    """
    place = f"{file.path}" + (f":{file.key}" if file.key else "")
    try:
        loaded = np.load(file.path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            array = loaded
        elif file.key in loaded.files:
            array = loaded[file.key]
        else:
            raise InvalidData(f"{place}: there is no such member; the file has {', '.join(loaded.files)}")
    except (OSError, ValueError, EOFError) as error:
        raise InvalidData(f"{place}: cannot be read as an array without pickles ({error})") from error
    if array.shape != shape:
        raise InvalidData(f"{place}: has shape {array.shape}, the case says {shape}")
    return np.asarray(array, dtype=np.float64)


def digest(operands: Mapping[str, Tensor], cotangents: Mapping[str, Tensor]) -> str:
    """Sixteen hexadecimal digits that name these very numbers; runs are compared only where they agree."""
    total = hashlib.sha256()
    for name, tensor in (*operands.items(), *cotangents.items()):
        total.update(f"{name} {tensor.format} {tensor.shape} ".encode())
        total.update(tensor.data.tobytes())
    return total.hexdigest()[:16]
