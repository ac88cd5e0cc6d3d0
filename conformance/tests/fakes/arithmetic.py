"""What the fake framework computes with: its formats, its tensor, and where windows fall on images."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

# What the framework computes with, by the format that it stores.
ARITHMETIC = {"float64": np.float64, "float32": np.float32, "bfloat16": np.float32, "float16": np.float32}


@dataclass(eq=False)
class Array:
    """A framework's tensor: numbers in the type that it computes with, each one representable in the format."""

    format: str
    numbers: np.ndarray
    device: str = "cpu"

    @property
    def shape(self) -> tuple[int, ...]:
        return self.numbers.shape


def to_bfloat16(numbers: np.ndarray) -> np.ndarray:
    """The upper halves of float32 words, rounded to nearest, ties to even; NaN stays NaN."""
    words = np.asarray(numbers, np.float32).view(np.uint32)
    rounded = (words + (0x7FFF + ((words >> 16) & 1))) >> 16
    return np.where(np.isnan(numbers), 0x7FC0, rounded).astype(np.uint16)


def from_bfloat16(words: np.ndarray) -> np.ndarray:
    return (words.astype(np.uint32) << 16).view(np.float32)


def stored(numbers: np.ndarray, format_: str) -> Array:
    """A result, rounded once to the format in which it is held."""
    with np.errstate(over="ignore"):
        if format_ == "bfloat16":
            return Array(format_, from_bfloat16(to_bfloat16(numbers)))
        if format_ == "float16":
            return Array(format_, numbers.astype(np.float16).astype(np.float32))
        return Array(format_, numbers.astype(ARITHMETIC[format_]))


def same_pads(size: int, extent: int, stride: int) -> tuple[int, int]:
    """As many windows as strides fit; the odd pixel at the end."""
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


@dataclass(frozen=True)
class Grid:
    """Where the taps of a kernel fall: on the padded input at every stride."""

    counts: tuple[int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]

    def taps(self) -> Iterator[tuple[tuple[int, int], tuple[slice, ...]]]:
        """Every place of the kernel, and what it reads for all windows at once."""
        for i in range(self.kernel[0]):
            for j in range(self.kernel[1]):
                rows, columns = (
                    slice(at * d, at * d + (n - 1) * s + 1, s)
                    for at, d, n, s in zip((i, j), self.dilation, self.counts, self.stride, strict=True)
                )
                yield (i, j), (slice(None), rows, columns)

    @property
    def reach(self) -> tuple[int, ...]:
        """How much of the padded input the windows need."""
        return tuple(
            (n - 1) * s + (k - 1) * d + 1
            for n, k, s, d in zip(self.counts, self.kernel, self.stride, self.dilation, strict=True)
        )


def wrapped(canvas: np.ndarray, low: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    """The canvas added up by places that are a whole number of sizes apart."""
    for axis, (first, extent) in enumerate(zip(low, size, strict=True), start=1):
        total = np.zeros((*canvas.shape[:axis], extent, *canvas.shape[axis + 1 :]), canvas.dtype)
        np.add.at(total, (*[slice(None)] * axis, (np.arange(canvas.shape[axis]) - first) % extent), canvas)
        canvas = total
    return canvas


def unwrapped(cotangent: np.ndarray, low: tuple[int, ...], room: tuple[int, ...]) -> np.ndarray:
    """The cotangent of such a canvas."""
    for axis, (first, extent) in enumerate(zip(low, room, strict=True), start=1):
        cotangent = cotangent.take((np.arange(extent) - first) % cotangent.shape[axis], axis=axis)
    return cotangent


def embedded(x: np.ndarray, low: tuple[int, ...], size: tuple[int, ...], fill: float) -> np.ndarray:
    """Images on a larger canvas."""
    canvas = np.full((x.shape[0], *size, x.shape[3]), fill, x.dtype)
    canvas[:, low[0] : low[0] + x.shape[1], low[1] : low[1] + x.shape[2]] = x
    return canvas


def cut(canvas: np.ndarray, low: tuple[int, ...], size: tuple[int, ...]) -> np.ndarray:
    """Images out of a larger canvas."""
    return canvas[:, low[0] : low[0] + size[0], low[1] : low[1] + size[1]]


def check(fits: bool, what: str) -> None:
    if not fits:
        raise ValueError(what)
