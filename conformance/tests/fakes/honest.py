"""The honest backend, and the base of those that change its outputs."""

import math
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from conformance.backends.base import Backend, Gradients, Native, Natives, Program
from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.job import Description, Tensor
from conformance.errors import NotTranslatable
from conformance.tests.fakes.arithmetic import (
    ARITHMETIC,
    Array,
    Grid,
    check,
    cut,
    embedded,
    from_bfloat16,
    same_pads,
    stored,
    to_bfloat16,
    unwrapped,
    wrapped,
)

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


class ChangesOutput(Honest):
    """What its heirs do to every output of an operator or a chain, after the fact."""

    def changed(self, output: Array) -> Array:
        raise NotImplementedError

    def evaluate(self, *asked: Any) -> tuple[Natives, Gradients]:
        outputs, gradients = super().evaluate(*asked)
        return {name: self.changed(output) for name, output in outputs.items()}, gradients
