"""Formats of numbers: floating-point ones with correct rounding to them, and integers.

A value in any format here is also a float64, so the harness holds every number as float64 and rounds with this
module alone. Rounding is to nearest, ties to even, with gradual underflow and overflow to infinity, from float64 in
one step: going through float32 first would round twice (a known fault of several frameworks' bfloat16 conversion).

Formats are named as NumPy and the frameworks name them. `bfloat16` has no NumPy type of its own: it is stored as the
upper 16 bits of a float32, in a `uint16` array.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Float64 = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Format:
    """A binary floating-point format, or integers as far as float64 has them all.

    Attributes:
        name: the name that NumPy and the frameworks use.
        precision: bits in the significand, the hidden one included.
        exponent_min: the exponent of the smallest normal number, 2^exponent_min.
        exponent_max: the exponent of the largest numbers.
        storage: the NumPy type that holds it (`uint16` words for bfloat16).
    """

    name: str
    precision: int
    exponent_min: int
    exponent_max: int
    storage: type[np.generic]

    @property
    def unit(self) -> float:
        """The unit roundoff u: the largest relative error of one rounding to nearest."""
        return 2.0**-self.precision

    @property
    def eta(self) -> float:
        """The smallest normal number: what a flushed intermediate result may cost.

        Frameworks may flush subnormal results to zero, so this and not half the smallest subnormal is what one
        underflow may lose.
        """
        return 2.0**self.exponent_min

    @property
    def largest(self) -> float:
        """The largest finite number."""
        return (2.0 - 2.0 ** (1 - self.precision)) * 2.0**self.exponent_max


FORMATS: Final = {
    format_.name: format_
    for format_ in (
        Format(name="float64", precision=53, exponent_min=-1022, exponent_max=1023, storage=np.float64),
        Format(name="float32", precision=24, exponent_min=-126, exponent_max=127, storage=np.float32),
        Format(name="bfloat16", precision=8, exponent_min=-126, exponent_max=127, storage=np.uint16),
        Format(name="float16", precision=11, exponent_min=-14, exponent_max=15, storage=np.float16),
        # Never stored: the format that tensor cores round float32 operands to.
        Format(name="tfloat32", precision=11, exponent_min=-126, exponent_max=127, storage=np.float32),
    )
}

# Places, labels, and numbers of questions on integers: of at most 53 bits, which are float64 numbers as they are. No
# array has more places.
INTEGERS: Final = {
    name: Format(name=name, precision=53, exponent_min=-1022, exponent_max=1023, storage=storage)
    for name, storage in (("int8", np.int8), ("int32", np.int32), ("int64", np.int64))
}
# What an array may be stored in.
STORED: Final = {**FORMATS, **INTEGERS}


def largest_integer(name: str) -> int:
    """The largest number of a format of integers that is asked: half of what float64 has with all those below it.

    Whether sums stay below it is then found in float64 itself, whose rounding is less than the other half.
    """
    return min(int(np.iinfo(INTEGERS[name].storage).max), 2**52)  # type: ignore[type-var]


def round_to(values: Float64, format_: Format) -> Float64:
    """Rounds float64 values to the nearest number of a format, ties to even.

    Args:
        values: any shape, NaN and infinities included (they stay).
        format_: the target format.

    Returns:
        A float64 array of the same shape, every element a number of the format.
    """
    if format_.name == "float64":
        return values
    if format_.name == "float32":
        with np.errstate(over="ignore"):
            return np.asarray(values, np.float64).astype(np.float32).astype(np.float64)
    values = np.asarray(values, np.float64)
    exponent = np.frexp(values)[1] - 1  # values = m 2^exponent, 1 <= |m| < 2
    quantum = np.maximum(exponent, format_.exponent_min) - (format_.precision - 1)
    # Scaling by powers of two is exact here: every format's quantum is far above float64's subnormals.
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = np.ldexp(np.rint(np.ldexp(values, -quantum)), quantum)
    rounded = np.where(np.isfinite(values), rounded, values)
    return np.where(np.abs(rounded) > format_.largest, np.copysign(np.inf, values), rounded)


def truncate_to(values: Float64, format_: Format) -> Float64:
    """Cuts finite float64 values off towards zero, to a number of a format; NaN and infinities stay."""
    values = np.asarray(values, np.float64)
    quantum = np.maximum(np.frexp(values)[1] - 1, format_.exponent_min) - (format_.precision - 1)
    with np.errstate(invalid="ignore", over="ignore"):
        cut = np.ldexp(np.trunc(np.ldexp(values, -quantum)), quantum)
    cut = np.clip(cut, -format_.largest, format_.largest)
    return np.where(np.isfinite(values), cut, values)


def to_storage(values: Float64, format_: Format) -> NDArray[np.generic]:
    """Stores values in a format's own type, rounding them first; always a fresh, contiguous array."""
    rounded = round_to(values, format_)
    if format_.name == "bfloat16":
        return np.array(rounded.astype(np.float32, order="C").view(np.uint32) >> 16, dtype=np.uint16)
    return np.array(rounded, dtype=format_.storage, order="C")


def from_storage(stored: NDArray[np.generic], format_: Format) -> Float64:
    """The stored numbers as float64, exactly.

    Raises:
        TypeError: if the array does not have the format's storage type.
    """
    if stored.dtype != format_.storage:
        raise TypeError(f"{format_.name} is stored as {np.dtype(format_.storage)}, got {stored.dtype}")
    if format_.name == "bfloat16":
        with np.errstate(invalid="ignore"):  # signalling NaN become quiet
            return (stored.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return stored.astype(np.float64)
