"""Backends over plain NumPy: an honest one, and one for every fault that the harness must notice.

`Honest` is a small framework of its own: arrays know their format, operators put a pull-back on a tape. It shares no
line with the reference. Every other backend here is it with one fault, named and described; `TROUBLED` ones have it
only where the case's id ends with "trouble", so that the question after it shows whether the harness goes on.
"""

import ctypes
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from conformance.backends.base import Backend, Gradients, Mode, Names, Native, Natives, Program, Recorded
from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.job import Description, Job, Outputs, Tensor, Unsupported, is_native
from conformance.errors import NotTranslatable

# What the framework computes with, by the format that it stores.
ARITHMETIC = {"float64": np.float64, "float32": np.float32, "bfloat16": np.float32, "float16": np.float32}
INTEGERS = ("int8", "int32", "int64")
TROUBLE = "trouble"
# Variables that decide how many threads a process takes.
ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",
    "XLA_FLAGS",
)


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


PullBack = Callable[[np.ndarray], dict[str, np.ndarray]]


class Honest(Backend):
    """Convolution and pooling of images, dense layers, ReLU: forward, and the pull-back beside it."""

    module: ClassVar[str] = "numpy"
    install: ClassVar[str] = 'pip install "numpy>=1.26"'
    accumulators: ClassVar[tuple[tuple[str, str, str, str], ...]] = (
        ("*", "bfloat16", "*", "float32"),
        ("*", "float16", "*", "float32"),
    )

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        if device != "cpu":
            raise NotTranslatable(f"this fake has no device {device!r}")
        self.tape: list[tuple[Array, dict[str, Array], PullBack]] = []

    def describe(self) -> Description:
        return Description(
            backend=type(self).__name__,
            versions={"numpy": np.__version__, "fake": "1.2.3"},
            device=f"{self.device} (fake)",
            cpu_features=("fake_unit",),
            switches={"threads": "1"},
            accumulators=self.accumulators,
            absent=self.absent,
            operators=self.operators(),
            modes=self.modes,
        )

    def device_of(self, native: Native) -> str:
        return native.device

    def put(self, tensor: Tensor) -> Native:
        if tensor.format not in ARITHMETIC:
            return Array(tensor.format, tensor.data.copy())
        data = from_bfloat16(tensor.data) if tensor.format == "bfloat16" else tensor.data
        return Array(tensor.format, data.astype(ARITHMETIC[tensor.format]))

    def get(self, native: Native) -> Tensor:
        if native.format == "bfloat16":
            return Tensor("bfloat16", to_bfloat16(native.numbers))
        return Tensor(native.format, np.array(native.numbers, dtype=native.format, order="C"))

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        self.tape = []
        outputs = program.run(self, operands, lambda _, value: value)
        if not sources or any(outputs[name].shape != value.shape for name, value in cotangents.items()):
            return outputs, {}
        pulled = {id(outputs[name]): value for name, value in cotangents.items()}
        for result, inputs, pull in reversed(self.tape):
            gradients = self.pulled(pull, pulled[id(result)])
            pulled |= {id(value): stored(gradients[name], result.format) for name, value in inputs.items()}
        wanted = {**outputs, **operands}
        return outputs, {name: pulled[id(wanted[name])] for name in sources}

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        return pull(cotangent.numbers)

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        """Calls an operator on the numbers of its operands, stores the result, puts the pull-back on the tape."""
        present = {name: value for name, value in inputs.items() if value is not None}
        computed, pull = forward(**{name: value.numbers for name, value in present.items()})
        result = stored(computed, present["x"].format)
        self.tape.append((result, present, pull))
        self.log.record(f"fake.{forward.__name__}", (), present, result)
        return result

    # What the faults change

    def pads(self, padding: Any, sizes: Any, extents: Any, stride: Any) -> tuple[tuple[int, int], ...]:
        if padding == "valid":
            return ((0, 0), (0, 0))
        if padding in ("same", "same_lower"):
            found = tuple(same_pads(n, e, s) for n, e, s in zip(sizes, extents, stride, strict=True))
            return found if padding == "same" else tuple((high, low) for low, high in found)
        check(min(min(pair) for pair in padding) >= 0, f"negative pads {padding}")
        return tuple(padding)

    def kernel(self, w: np.ndarray) -> np.ndarray:
        """The kernel as it is used."""
        return w

    def biased(self, y: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        if b is None:
            return y
        check(b.shape == y.shape[-1:], f"a bias of shape {b.shape} for {y.shape[-1]} channels")
        return y + b

    def weight_gradient(self, gradient: np.ndarray) -> np.ndarray:
        return gradient

    def largest(self, stack: np.ndarray) -> np.ndarray:
        """The place of the first largest tap; NaN is larger than any number."""
        return np.argmax(stack, axis=0)

    # Operators

    def grid(
        self, a: Any, shape: tuple[int, ...], kernel: Any, dilation: Any, *, ceil: bool = False
    ) -> tuple[Grid, tuple[tuple[int, int], ...]]:
        """Where windows start, and the pads around the images."""
        check(len(shape) == 4, f"images have 4 axes, got {shape}")
        check(min((*kernel, *a.stride, *dilation)) >= 1, f"kernel {kernel}, stride {a.stride}, dilation {dilation}")
        extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
        pads = self.pads(a.padding, shape[1:3], extents, a.stride)
        counts = []
        for n, (low, high), e, s in zip(shape[1:3], pads, extents, a.stride, strict=True):
            free = n + low + high - e
            check(free >= 0, f"a kernel that spans {e} in {n + low + high}")
            more = ceil and free % s > 0 and (free // s + 1) * s < n + low
            counts.append(free // s + 1 + more)
        return Grid(tuple(counts), tuple(kernel), tuple(a.stride), tuple(dilation)), pads

    def conv2d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        a = attributes

        def conv2d(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, PullBack]:
            check(a.groups >= 1 and w.shape[3] % a.groups == 0, f"{a.groups} groups of {w.shape[3]} channels")
            grid, pads = self.grid(a, x.shape, w.shape[:2], a.dilation)
            low = tuple(pair[0] for pair in pads)
            size = tuple(n + sum(pair) for n, pair in zip(x.shape[1:3], pads, strict=True))
            images = embedded(x, low, size, 0.0).reshape(x.shape[0], *size, a.groups, x.shape[3] // a.groups)
            taps = self.kernel(w).reshape(*w.shape[:3], a.groups, w.shape[3] // a.groups)
            y = sum(np.einsum("nhwgc,cgo->nhwgo", images[at], taps[ij]) for ij, at in grid.taps())

            def pull(cotangent: np.ndarray) -> dict[str, np.ndarray]:
                g = cotangent.reshape(y.shape)
                dx, dw = np.zeros_like(images), np.zeros_like(taps)
                for ij, at in grid.taps():
                    dx[at] += np.einsum("nhwgo,cgo->nhwgc", g, taps[ij])
                    dw[ij] = np.einsum("nhwgc,nhwgo->cgo", images[at], g)
                inside = cut(dx.reshape(x.shape[0], *size, x.shape[3]), low, x.shape[1:3])
                return {
                    "x": inside,
                    "w": self.weight_gradient(self.kernel(dw.reshape(w.shape))),
                    "b": cotangent.sum(axis=(0, 1, 2)),
                }

            return self.biased(y.reshape(*y.shape[:3], w.shape[3]), b), pull

        return self.given({"x": x, "w": w, "b": b}, conv2d)

    def conv2d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        a = attributes

        def conv2d_transpose(
            x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None
        ) -> tuple[np.ndarray, PullBack]:
            check(len(x.shape) == 4, f"images have 4 axes, got {x.shape}")
            check(min((*a.stride, *a.dilation, a.groups)) >= 1, f"stride {a.stride}, dilation {a.dilation}")
            check(w.shape[3] == x.shape[3], f"a kernel of {w.shape[3]} channels for {x.shape[3]}")
            grid = Grid(x.shape[1:3], w.shape[:2], a.stride, a.dilation)
            low, size = self.crop(a, grid)
            check(min(size) >= 1, f"pads {a.padding} crop everything")
            images = x.reshape(*x.shape[:3], a.groups, x.shape[3] // a.groups)
            taps = self.kernel(w).reshape(*w.shape[:3], a.groups, w.shape[3] // a.groups)
            room = tuple(max(r, start + n) for r, start, n in zip(grid.reach, low, size, strict=True))
            canvas = np.zeros((x.shape[0], *room, a.groups, w.shape[2]), x.dtype)
            for ij, at in grid.taps():
                canvas[at] += np.einsum("nhwgc,ogc->nhwgo", images, taps[ij])
            whole = canvas.reshape(x.shape[0], *room, a.groups * w.shape[2])
            circular = a.pad_mode == "circular"
            y = wrapped(whole, low, size) if circular else cut(whole, low, size)

            def pull(cotangent: np.ndarray) -> dict[str, np.ndarray]:
                spread = unwrapped(cotangent, low, room) if circular else embedded(cotangent, low, room, 0.0)
                g = spread.reshape(canvas.shape)
                dx, dw = np.zeros_like(images), np.zeros_like(taps)
                for ij, at in grid.taps():
                    dx += np.einsum("nhwgo,ogc->nhwgc", g[at], taps[ij])
                    dw[ij] = np.einsum("nhwgc,nhwgo->ogc", images, g[at])
                return {
                    "x": dx.reshape(x.shape),
                    "w": self.weight_gradient(self.kernel(dw.reshape(w.shape))),
                    "b": cotangent.sum(axis=(0, 1, 2)),
                }

            return self.biased(y, b), pull

        return self.given({"x": x, "w": w, "b": b}, conv2d_transpose)

    def crop(self, a: TransposedConvolution, grid: Grid) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Which part of the canvas a transposed convolution keeps: first elements, and sizes."""
        low, sizes = [], []
        for axis, (n, reach, s) in enumerate(zip(grid.counts, grid.reach, a.stride, strict=True)):
            over = max(reach - n * s, 0)
            if a.output_size:
                check(not any(a.output_padding), f"output padding {a.output_padding} beside a size")
                size = a.output_size[axis]
                start, end = a.padding[axis] if isinstance(a.padding, tuple) else (0, 0)
                if a.padding in ("same", "same_lower"):
                    check(-(-size // s) == n, f"SAME of {size}")
                    beyond = max(reach - size, 0)
                    start = (beyond + (a.padding == "same_lower")) // 2
                else:
                    check(0 <= size - (reach - start - end) < s, f"{n} windows in {size}")
                low.append(start)
                sizes.append(size)
            elif isinstance(a.padding, tuple):
                (start, end), more = a.padding[axis], a.output_padding[axis]
                check(0 <= more < max(s, a.dilation[axis]), f"output padding {more}")
                check(min(start, end) >= 0, f"negative pads {a.padding}")
                low.append(start)
                sizes.append(reach - start - end + more)
            else:
                check(not any(a.output_padding), f"output padding with {a.padding}")
                low.append({"valid": 0, "same": over // 2, "same_lower": over - over // 2}[a.padding])
                sizes.append(n * s + (over if a.padding == "valid" else 0))
        return tuple(low), tuple(sizes)

    def pooled(self, a: Any, x: np.ndarray, dilation: Any, fill: float) -> tuple[Grid, Any, np.ndarray, np.ndarray]:
        """The grid, the first pads, every tap's images stacked, and an empty canvas to pull back to."""
        grid, pads = self.grid(a, x.shape, a.window, dilation, ceil=a.ceil_mode)
        if isinstance(a.padding, tuple):
            half = [((k - 1) * d + 1) // 2 for k, d in zip(a.window, dilation, strict=True)]
            check(all(max(p) <= h for p, h in zip(pads, half, strict=True)), f"windows of padding alone: {pads}")
        low = tuple(pair[0] for pair in pads)
        size = tuple(max(n + sum(p), r) for n, p, r in zip(x.shape[1:3], pads, grid.reach, strict=True))
        images = embedded(x, low, size, fill)
        return grid, pads, np.stack([images[at] for _, at in grid.taps()]), np.zeros_like(images)

    def max_pool2d(self, attributes: MaxPool, x: Native) -> Native:
        a = attributes

        def max_pool2d(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            grid, pads, stack, dx = self.pooled(a, x, a.dilation, -np.inf)
            chosen = self.largest(stack)
            y = np.take_along_axis(stack, chosen[None], axis=0)[0]

            def pull(cotangent: np.ndarray) -> dict[str, np.ndarray]:
                for place, (_, at) in enumerate(grid.taps()):
                    dx[at] += np.where(chosen == place, cotangent, 0)
                return {"x": cut(dx, tuple(pair[0] for pair in pads), x.shape[1:3])}

            return y, pull

        return self.given({"x": x}, max_pool2d)

    def average_pool2d(self, attributes: AveragePool, x: Native) -> Native:
        a = attributes

        def average_pool2d(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            grid, pads, stack, dx = self.pooled(a, x, (1, 1), 0.0)
            ones = np.ones((1, *x.shape[1:3], 1), x.dtype)
            low = tuple(pair[0] for pair in pads)
            if a.count_padding:
                ones = np.ones((1, *(n + sum(p) for n, p in zip(x.shape[1:3], pads, strict=True)), 1), x.dtype)
            counted = embedded(ones, (0, 0) if a.count_padding else low, dx.shape[1:3], 0.0)
            counts = sum(counted[at] for _, at in grid.taps())

            def pull(cotangent: np.ndarray) -> dict[str, np.ndarray]:
                for _, at in grid.taps():
                    dx[at] += cotangent / counts
                return {"x": cut(dx, low, x.shape[1:3])}

            return stack.sum(axis=0) / counts, pull

        return self.given({"x": x}, average_pool2d)

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        def relu(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return np.maximum(x, 0), lambda cotangent: {"x": np.where(x > 0, cotangent, 0)}

        return self.given({"x": x}, relu)

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        def dense(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, PullBack]:
            def pull(cotangent: np.ndarray) -> dict[str, np.ndarray]:
                rows, columns = x.reshape(-1, x.shape[-1]), cotangent.reshape(-1, w.shape[1])
                return {
                    "x": np.einsum("...o,io->...i", cotangent, w),
                    "w": self.weight_gradient(np.einsum("ni,no->io", rows, columns)),
                    "b": columns.sum(axis=0),
                }

            return self.biased(np.einsum("...i,io->...o", x, w), b), pull

        return self.given({"x": x, "w": w, "b": b}, dense)

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        def flatten(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return x.reshape(x.shape[0], math.prod(x.shape[1:])), lambda cotangent: {"x": cotangent.reshape(x.shape)}

        return self.given({"x": x}, flatten)


# Wrong numbers ------------------------------------------------------------------------------------------------------


class FlipsKernel(Honest):
    """Convolves where the field correlates."""

    def kernel(self, w: np.ndarray) -> np.ndarray:
        return w[::-1, ::-1]


class WeighsTooMuch(Honest):
    """Its kernels are larger than they were given, by a thousandth, forwards and backwards."""

    def kernel(self, w: np.ndarray) -> np.ndarray:
        return w * w.dtype.type(1.001)


class PadsLeftFirst(Honest):
    """Puts SAME's odd pixel at the start."""

    def pads(self, padding: Any, sizes: Any, extents: Any, stride: Any) -> tuple[tuple[int, int], ...]:
        return super().pads("same_lower" if padding == "same" else padding, sizes, extents, stride)


class PadsAsIfUnstrided(Honest):
    """Pads SAME by what stride 1 would need."""

    def pads(self, padding: Any, sizes: Any, extents: Any, stride: Any) -> tuple[tuple[int, int], ...]:
        return super().pads(padding, sizes, extents, (1, 1))


class CountsPadding(Honest):
    """Counts padding in its means where nobody says, and has no SAME for them."""

    by_default: ClassVar[bool] = True

    def average_pool2d(self, attributes: AveragePool, x: Native) -> Native:
        if attributes.padding == "same":
            self.compose("this fake's means have no SAME")
        counted = self.by_default if is_native(attributes.count_padding) else attributes.count_padding
        return super().average_pool2d(replace(attributes, count_padding=counted), x)


class CountsNoPadding(CountsPadding):
    """The same with another default."""

    by_default: ClassVar[bool] = False


class DropsBias(Honest):
    """Forgets the bias."""

    def biased(self, y: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        return y


class SwallowsNan(Honest):
    """Its maximum passes over NaN."""

    def largest(self, stack: np.ndarray) -> np.ndarray:
        return np.argmax(np.where(np.isnan(stack), -np.inf, stack), axis=0)


class LastTieWins(Honest):
    """Gives the gradient of a maximum to the last of equals."""

    def largest(self, stack: np.ndarray) -> np.ndarray:
        return len(stack) - 1 - np.argmax(stack[::-1], axis=0)


class ChangesOutput(Honest):
    """What its heirs do to every output of an operator or a chain, after the fact."""

    def changed(self, output: Array) -> Array:
        raise NotImplementedError

    def evaluate(self, *asked: Any) -> tuple[Natives, Gradients]:
        outputs, gradients = super().evaluate(*asked)
        return {name: self.changed(output) for name, output in outputs.items()}, gradients


class OneElementOff(ChangesOutput):
    """Its largest element is off by one part in a million."""

    def changed(self, output: Array) -> Array:
        numbers = output.numbers.copy()
        place = np.unravel_index(np.argmax(np.abs(numbers)), numbers.shape)
        numbers[place] *= 1 + 1e-6
        return Array(output.format, numbers)


class MissesOneProduct(Honest):
    """Leaves one tap of the first channel out, in one window of the last image."""

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        def conv2d(x: np.ndarray, w: np.ndarray) -> tuple[np.ndarray, PullBack]:
            y, pull = forward(x=x, w=w)
            y[-1, 2, 3, 1] -= x[-1, 3, 5, 0] * w[1, 2, 0, 1]
            return y, pull

        return super().given(inputs, conv2d)


class NanForNumber(ChangesOutput):
    """One element is not a number."""

    def changed(self, output: Array) -> Array:
        numbers = output.numbers.copy()
        numbers[(0,) * numbers.ndim] = np.nan
        return Array(output.format, numbers)


class InfinityForNumber(ChangesOutput):
    """One element is infinite."""

    def changed(self, output: Array) -> Array:
        numbers = output.numbers.copy()
        numbers[(0,) * numbers.ndim] = np.inf
        return Array(output.format, numbers)


class AnswersFromElsewhere(ChangesOutput):
    """Computes what it should, on another device."""

    def changed(self, output: Array) -> Array:
        return replace(output, device="abacus")


class PullsBackElsewhere(Honest):
    """Its outputs are where they should be, its gradients on another device; those of w are right, the others not."""

    def evaluate(self, *asked: Any) -> tuple[Natives, Gradients]:
        outputs, gradients = super().evaluate(*asked)
        wrong = {name: replace(value, numbers=value.numbers + 1) for name, value in gradients.items() if name != "w"}
        return outputs, {name: replace(value, device="abacus") for name, value in {**gradients, **wrong}.items()}


class DrawsLowBits(ChangesOutput):
    """Every element's last bit is drawn anew."""

    def changed(self, output: Array) -> Array:
        up = np.random.default_rng().random(output.shape) < 0.5
        return Array(
            output.format,
            np.where(up, np.nextafter(output.numbers, np.inf, dtype=output.numbers.dtype), output.numbers),
        )


class DrawsGradientBits(Honest):
    """The last bits of the weights' gradients are drawn anew."""

    def weight_gradient(self, gradient: np.ndarray) -> np.ndarray:
        up = np.random.default_rng().random(gradient.shape) < 0.5
        return np.where(up, np.nextafter(gradient, np.inf, dtype=gradient.dtype), gradient)


class AnswersEverySecondTime(Honest):
    """Refuses a question that it has just answered."""

    answered = False

    def answer(self, job: Job) -> Outputs:
        self.answered = not self.answered
        check(self.answered, "not twice")
        return super().answer(job)


class ZeroOfEitherSign(Honest):
    """The sign of its zeros alternates."""

    turn: ClassVar[float] = 1.0

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        type(self).turn *= -1
        y = super().relu(attributes, x)
        y.numbers[y.numbers == 0] = np.copysign(0.0, self.turn)
        return y


class Driven(Honest):
    """Can be driven in several modes, and tells its environment."""

    offers: ClassVar[Mapping[str, Mode]] = {
        "quick": Mode(about="quicker", environment={"NPROC": "7"}, excludes=("slow",)),
        "slow": Mode(about="slower", costly=True, trains=False),
        "far": Mode(about="on the abacus alone", devices=("abacus",)),
        "stock": Mode(about="as it is"),
    }

    def describe(self) -> Description:
        return replace(super().describe(), switches={name: os.environ.get(name, "") for name in ENVIRONMENT})


class Registered(Honest):
    """Is there only where a module that registers it was imported first."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        if os.environ.get("REGISTERED") != "yes":
            raise NotTranslatable("no device has registered")
        super().__init__(device, modes)


class WrongShape(ChangesOutput):
    """Keeps its last column for itself."""

    def changed(self, output: Array) -> Array:
        return Array(output.format, output.numbers[:, :, :-1])


class ReturnsFloat64(ChangesOutput):
    """Always answers in double precision."""

    def changed(self, output: Array) -> Array:
        return Array("float64", output.numbers)


class Truncates(Honest):
    """Cuts its float32 sums off where it should round them to bfloat16."""

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        result = super().given(inputs, forward)
        if result.format == "bfloat16":
            summed, _ = forward(**{name: value.numbers for name, value in inputs.items() if value is not None})
            result.numbers = (summed.view(np.uint32) & np.uint32(0xFFFF0000)).view(np.float32)
        return result


class RoundsOperands(Honest):
    """Rounds what it is given to bfloat16 before it computes, as a fast matrix unit would."""

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        return from_bfloat16(to_bfloat16(numbers)).astype(numbers.dtype)

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        def on_rounded(**operands: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return forward(**{name: self.rounded(numbers) for name, numbers in operands.items()})

        return super().given(inputs, on_rounded)

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        return pull(self.rounded(cotangent.numbers))


class RoundsOperandsToTf32(RoundsOperands):
    """Rounds what it is given to 11 significant bits, as tensor cores do."""

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        mantissa, exponent = np.frexp(numbers)
        return np.ldexp(np.rint(mantissa * 2048) / 2048, exponent).astype(numbers.dtype)


# Wrong gradients ----------------------------------------------------------------------------------------------------


class WeightGradientTransposed(Honest):
    """Gives the gradient of a kernel with rows and columns exchanged."""

    def weight_gradient(self, gradient: np.ndarray) -> np.ndarray:
        return np.swapaxes(gradient, 0, 1)


class GradientOfOnes(Honest):
    """Pulls back ones, whatever the cotangent."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        return pull(np.ones_like(cotangent.numbers))


class ZeroGradient(Honest):
    """Its gradients are zero."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        return {name: 0 * gradient for name, gradient in pull(cotangent.numbers).items()}


class MissingGradient(Honest):
    """Gives no gradient of the kernel, and no reason."""

    def evaluate(self, *asked: Any) -> tuple[Natives, Gradients]:
        outputs, gradients = super().evaluate(*asked)
        return outputs, {name: gradient for name, gradient in gradients.items() if name.rpartition("/")[2] != "w"}


class RaisesInGradient(Honest):
    """Its backward pass raises."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        raise RuntimeError("no backward kernel")


# Broken between answers: each breaks one property, and nothing that another one looks at ---------------------------


class TransposedKernelFlipped(Honest):
    """Its transposed convolution turns the kernel around, forwards and backwards."""

    def conv2d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        def turned(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return x[::-1, ::-1], lambda cotangent: {"x": cotangent[::-1, ::-1]}

        return super().conv2d_transpose(attributes, x, self.given({"x": w}, turned), b)


class DenseOfSizes(Honest):
    """Its dense layer sees how large a number is, and not its sign; its gradient is right for that."""

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        def size(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return np.abs(x), lambda cotangent: {"x": np.sign(x) * cotangent}

        return super().dense(attributes, self.given({"x": x}, size), w, b)


class MeansByPlace(Honest):
    """Its means count twice in the first row."""

    def average_pool2d(self, attributes: AveragePool, x: Native) -> Native:
        def weighted(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            weights = np.ones(x.shape, x.dtype)
            weights[:, 0] = 2
            return weights * x, lambda cotangent: {"x": weights * cotangent}

        return self.given({"x": super().average_pool2d(attributes, x)}, weighted)


class ImagesChangePlaces(Honest):
    """Its flattened images come in reverse order."""

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        def reversed_(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return x[::-1], lambda cotangent: {"x": cotangent[::-1]}

        return self.given({"x": super().flatten(attributes, x)}, reversed_)


class LastGroupNegated(Honest):
    """Where there are groups, its convolutions change the sign of the last one, plain and transposed alike."""

    def negated(self, y: Native, groups: int) -> Native:
        def negated(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            signs = np.ones(x.shape[-1], x.dtype)
            if groups > 1:
                signs[-(x.shape[-1] // groups) :] = -1
            return signs * x, lambda cotangent: {"x": signs * cotangent}

        return self.given({"x": y}, negated)

    def conv2d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        return self.negated(super().conv2d(attributes, x, w, b), attributes.groups)

    def conv2d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        return self.negated(super().conv2d_transpose(attributes, x, w, b), attributes.groups)


class TooFewBits(ChangesOutput):
    """Stores its results with five bits fewer than the format has."""

    def changed(self, output: Array) -> Array:
        mantissa, exponent = np.frexp(output.numbers)
        kept = 2.0 ** (24 - 5 if output.format == "float32" else 53 - 5)
        return Array(output.format, np.ldexp(np.rint(mantissa * kept) / kept, exponent).astype(output.numbers.dtype))


# Wrong manners ------------------------------------------------------------------------------------------------------


class MutatesInput(Honest):
    """Uses its operand's memory for something else."""

    def evaluate(self, program: Program, operands: Natives, *asked: Any) -> tuple[Natives, Gradients]:
        answered = super().evaluate(program, operands, *asked)
        operands["x"].numbers[...] = 0
        return answered


class Raises(Honest):
    """Every operator raises."""

    def method(self, operator: str) -> Callable[..., Native]:
        def method(attributes: Any, **operands: Native) -> Native:
            raise RuntimeError(f"no kernel for {operator}")

        return method


class AcceptsAnything(Honest):
    """Answers zeros where it should refuse."""

    def answer(self, job: Job) -> Outputs:
        try:
            return super().answer(job)
        except (ValueError, IndexError):
            zero = self.get(stored(np.zeros((1, 1, 1, 1)), job.format))
            return Outputs(outputs={"output": zero})


class FollowsIndices(AcceptsAnything):
    """Goes where an index says, and nobody knows what is there."""

    def max_unpool2d(self, attributes: Any, x: Native, indices: Native) -> Native:
        raise IndexError(f"{indices} is not looked at")


class PrintsToStdout(Honest):
    """Prints wherever it can, through Python and past it."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self.say()

    def say(self) -> None:
        sys.stdout.write("through Python\n")
        sys.stderr.write("through Python's stderr\n")
        for descriptor in (1, 2):
            os.write(descriptor, b"past Python\n")
        sys.stdout.flush()

    def answer(self, job: Job) -> Outputs:
        self.say()
        return super().answer(job)


class TakesIntegers(Honest):
    """Convolves integers and takes their means, in int64 whatever they are stored in."""

    def describe(self) -> Description:
        taken = tuple((operator, name) for operator in ("conv2d", "average_pool2d") for name in INTEGERS)
        return replace(super().describe(), integers=taken)

    def put(self, tensor: Tensor) -> Native:
        return Array(tensor.format, tensor.data.astype(np.int64))

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        computed, _ = forward(**{name: value.numbers for name, value in inputs.items() if value is not None})
        result = Array(inputs["x"].format, self.whole(computed))
        self.log.record(f"fake.{forward.__name__}", (), {}, result)
        return result

    def whole(self, computed: np.ndarray) -> np.ndarray:
        """Quotients without their fractions; sums as they are."""
        return np.trunc(computed).astype(np.int64)


class FloorsQuotients(TakesIntegers):
    """Its quotients of integers are the next smaller integers."""

    def whole(self, computed: np.ndarray) -> np.ndarray:
        return np.floor(computed).astype(np.int64)


class RoundsQuotients(TakesIntegers):
    """Its quotients of integers are the nearest integers."""

    def whole(self, computed: np.ndarray) -> np.ndarray:
        return np.rint(computed).astype(np.int64)


class WrapsEarly(TakesIntegers):
    """Its sums of integers keep six bits and a sign."""

    def whole(self, computed: np.ndarray) -> np.ndarray:
        return (super().whole(computed) + 64) % 128 - 64


class SumsIntegersInFloat32(TakesIntegers):
    """Its sums of integers pass through float32."""

    def whole(self, computed: np.ndarray) -> np.ndarray:
        return super().whole(computed.astype(np.float32))


class WidensIntegers(TakesIntegers):
    """Whatever integers it is given, it answers with int64."""

    def get(self, native: Native) -> Tensor:
        return Tensor("int64", np.array(native.numbers, np.int64))


class LacksAKernel(TakesIntegers):
    """Says that it convolves integers, and has no kernel for them."""

    def conv2d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        raise RuntimeError(f"conv2d is not implemented for {x.format}")


class NumPyItself(Backend):
    """Calls NumPy through its record, so that what it did is a script."""

    module: ClassVar[str] = "numpy"
    install: ClassVar[str] = 'pip install "numpy>=1.26"'
    prelude: ClassVar[tuple[str, ...]] = ("import numpy as np", "import fractions", "np.seterr(all='raise')")

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self.numpy = Recorded(np, "np", self.log)

    def describe(self) -> Description:
        return Description(
            backend="numpy",
            versions={"numpy": np.__version__},
            device="cpu",
            cpu_features=(),
            switches={},
            accumulators=(("*", "float16", "*", "float16"),),
            absent=("*:gradients",) if type(self).script is Backend.script else (),
            operators=self.operators(),
        )

    def put(self, tensor: Tensor) -> Native:
        return tensor.data.copy()

    def get(self, native: Native) -> Tensor:
        return Tensor(native.dtype.name, np.array(native, order="C"))

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        self.numpy = Recorded(np, "np", self.log)
        outputs = program.run(self, operands, lambda _, value: value)
        return outputs, {name: self.pulled(operands[name], cotangents["output"]) for name in sources}

    def pulled(self, x: Native, cotangent: Native) -> Native:
        return Unsupported(reason="no gradients")

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.numpy.maximum(x, np.zeros((1,), x.dtype))

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        y = self.numpy.matmul(x, w)
        return y if b is None else self.numpy.add(y, b)

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        return self.numpy.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class NumPyReluLeaks(NumPyItself):
    """A little of what is negative passes."""

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.numpy.maximum(x, self.numpy.multiply(x, x.dtype.type(0.125)))

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        return self.numpy.reshape(x, (x.shape[0], 5))


class NumPyPullsBack(NumPyItself):
    """Has the gradient of ReLU, and says how a script gets it."""

    def pulled(self, x: Native, cotangent: Native) -> Native:
        return np.where(x > 0, cotangent, x.dtype.type(0))

    @classmethod
    def script(cls, calls: Sequence[str], names: Names) -> tuple[str, ...]:
        pulls = (
            f"{gradient} = np.where({source} > 0, {names.cotangents[0]}, {source}.dtype.type(0))"
            for source, gradient in zip(names.sources, names.gradients, strict=True)
        )
        return (*calls, *pulls)


class TellsItsEnvironment(Honest):
    """Describes the variables that it was started with."""

    def describe(self) -> Description:
        return replace(super().describe(), switches={name: os.environ.get(name, "") for name in ENVIRONMENT})


class WhereAmI(Honest):
    """Describes the process that it lives in."""

    def describe(self) -> Description:
        packages = {name.split(".")[1] for name in sys.modules if name.startswith("conformance.")}
        file = getattr(sys.modules["conformance.backends.base"], "__file__", None) or "none"
        switches = {"executable": sys.executable, "file": file, "modules": ", ".join(sorted(packages))}
        return replace(super().describe(), switches=switches)


class LiesAboutOperators(Honest):
    """Names operators that it does not have."""

    @classmethod
    def operators(cls) -> tuple[str, ...]:
        return (*super().operators(), "softmax")


class HidesOperators(Honest):
    """Has convolution, and calls it absent."""

    absent: ClassVar[tuple[str, ...]] = ("conv2d",)


class HasNoGradients(Honest):
    """Is known to have no gradients at all."""

    absent: ClassVar[tuple[str, ...]] = ("*:gradients",)


class InventsFormats(ChangesOutput):
    """Answers in a format that nobody has heard of."""

    def get(self, native: Native) -> Tensor:
        tensor = super().get(native)
        return Tensor("float31", tensor.data) if native.format == "float31" else tensor

    def changed(self, output: Array) -> Array:
        return Array("float31", output.numbers)


class MislabelsFormats(ChangesOutput):
    """Calls double precision single."""

    def get(self, native: Native) -> Tensor:
        return Tensor(native.format, native.numbers)

    def changed(self, output: Array) -> Array:
        return Array(output.format, output.numbers.astype(np.float64))


class AnswersWithLists(Honest):
    """Answers something that has no place on the wire."""

    def answer(self, job: Job) -> Outputs:
        return replace(super().answer(job), calls=({1, 2},))


# Deaths and silences, where the case's id ends with "trouble" -------------------------------------------------------


class Troubled(Honest):
    """What its heirs do in trouble."""

    def trouble(self) -> None:
        raise NotImplementedError

    def answer(self, job: Job) -> Outputs:
        if job.case_id.endswith(TROUBLE):
            self.trouble()
        return super().answer(job)


class Hangs(Troubled):
    """Never answers."""

    def trouble(self) -> None:
        time.sleep(3600)


class HangsAndTells(Hangs):
    """Leaves its process's number before it falls silent."""

    def trouble(self) -> None:
        with open(os.path.join(os.environ["FAKE_MARK"], str(os.getpid())), "w"):  # noqa: PTH118, PTH123
            super().trouble()


class WaitsForAnother(Troubled):
    """Answers only once another process has."""

    def trouble(self) -> None:
        while not os.path.exists(os.environ["FAKE_MARK"]):  # noqa: PTH110
            time.sleep(0.01)

    def answer(self, job: Job) -> Outputs:
        answer = super().answer(job)
        with open(os.environ["FAKE_MARK"], "w"):  # noqa: PTH123
            return answer


class HangsInGradient(Honest):
    """Never comes back from its backward pass."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        time.sleep(3600)
        raise AssertionError


class Aborts(Troubled):
    """Calls abort(), as a failed assertion of native code does."""

    def trouble(self) -> None:
        os.write(2, b"native assertion failed: stride > 0\n")
        os.abort()


class Segfaults(Troubled):
    """Reads from address 0."""

    def trouble(self) -> None:
        ctypes.string_at(0)


class Exits(Troubled):
    """Leaves the process without a word."""

    def trouble(self) -> None:
        os._exit(3)


class SystemExits(Troubled):
    """Leaves by sys.exit, which is no Exception."""

    def trouble(self) -> None:
        sys.exit(4)


class Interrupts(Troubled):
    """Raises what Ctrl-C raises."""

    def trouble(self) -> None:
        raise KeyboardInterrupt


class Killed(Troubled):
    """Is killed, as the system kills who takes too much memory."""

    def trouble(self) -> None:
        os.kill(os.getpid(), signal.SIGKILL)


class AbortsInGradient(Honest):
    """Its backward pass takes the process with it."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        os.abort()


# Broken before anything is asked ------------------------------------------------------------------------------------


class LacksItsFramework(Honest):
    """Wants a framework that is not there."""

    module: ClassVar[str] = "no_such_framework"
    install: ClassVar[str] = "pip install no-such-framework"

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        import no_such_framework  # noqa: F401


class BreaksAtTheStart(Honest):
    """Its constructor raises."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        raise RuntimeError("the driver is too old")


class DiesAtTheStart(Honest):
    """Its constructor takes the process with it."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        os.write(2, b"no such instruction: vfmadd\n")
        os.abort()


class DiesAtTheSecondStart(Honest):
    """Answers one process long: troubled, it dies, and cannot be started again."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self._mark = os.environ["FAKE_MARK"]
        if os.path.exists(self._mark):  # noqa: PTH110
            raise NotTranslatable("the device is gone")

    def answer(self, job: Job) -> Outputs:
        if job.case_id.endswith(TROUBLE):
            with open(self._mark, "w"):  # noqa: PTH123
                os.abort()
        return super().answer(job)


# Broken promises of the contract ------------------------------------------------------------------------------------


class TakesAnyDevice(Honest):
    """Runs on the processor whatever it was asked for, and says so."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__("cpu", modes)


class LiesAboutItsDevice(Honest):
    """Says that it is on a device that nobody asked for."""

    def describe(self) -> Description:
        return replace(super().describe(), device="cuda (fake)")


class RoundsTwice(ChangesOutput):
    """Stores float64 results by way of float32."""

    def changed(self, output: Array) -> Array:
        with np.errstate(over="ignore"):
            return Array(output.format, output.numbers.astype(np.float32).astype(output.numbers.dtype))


class CutsBfloat16(ChangesOutput):
    """Stores bfloat16 results with their last bit cut off."""

    def changed(self, output: Array) -> Array:
        if output.format != "bfloat16":
            return output
        return Array("bfloat16", from_bfloat16(to_bfloat16(output.numbers) & np.uint16(0xFFFE)))


class AnswersUnknownOperators(Honest):
    """Takes an operator that it has never heard of for an identity."""

    def answer(self, job: Job) -> Outputs:
        if job.operator == "no_such_operator":
            return Outputs(outputs={})
        return super().answer(job)


class PullsBackAnyShape(Honest):
    """Gives gradients for a cotangent that does not fit."""

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        outputs, _ = super().evaluate(program, operands, (), {})
        return outputs, {name: operands[name] for name in sources}


class HidesWhatItHas(Honest):
    """Calls an operator absent and names it all the same."""

    absent: ClassVar[tuple[str, ...]] = ("conv2d",)

    def describe(self) -> Description:
        return replace(super().describe(), operators=(*self.operators(), "conv2d"))


class NamesUnknownOperators(Honest):
    """Names an operator that nobody knows."""

    @classmethod
    def operators(cls) -> tuple[str, ...]:
        return (*super().operators(), "conv5d")


class FlushesSmallNumbers(ChangesOutput):
    """Takes the smallest normal numbers of float16 for zero."""

    def changed(self, output: Array) -> Array:
        if output.format != "float16":
            return output
        return Array("float16", np.where(np.abs(output.numbers) <= 2.0**-14, 0, output.numbers))


class DiesOfRefusals(Honest):
    """Takes its process with it where it should refuse."""

    def answer(self, job: Job) -> Outputs:
        try:
            return super().answer(job)
        except ValueError:
            os.abort()
