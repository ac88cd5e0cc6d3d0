"""PyTorch, eager, as its users write it: `torch.nn.functional` on channels-first tensors."""

import contextlib
import math
import platform
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

import numpy as np

from conformance.backends import mixing
from conformance.backends.base import (
    STOCK,
    Backend,
    Gradients,
    Mode,
    Names,
    Native,
    Natives,
    Program,
    Recorded,
    Trainer,
    cpu_flags,
    kind_of,
    one_at_a_time,
    onednn_features,
    without_native,
)
from conformance.backends.torch.accumulators import accumulators
from conformance.backends.torch.activations import TorchActivations
from conformance.backends.torch.backward import TorchBackward
from conformance.backends.torch.indexed_pooling import TorchIndexedPooling
from conformance.backends.torch.losses import TorchLosses
from conformance.backends.torch.networks import TorchNetworks
from conformance.backends.torch.normalization import TorchNormalization
from conformance.backends.torch.resizing import TorchResizing
from conformance.backends.torch.sampling import TorchSampling
from conformance.backends.torch.steps import TorchSteps
from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Blocks, Concat, Mean, Pad
from conformance.case.families.convolution import Convolution, TransposedConvolution, settled
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.signals import Polynomial, Signal
from conformance.case.geometry import Pads, covering_pads, extent, resolve_pads, transposed_crop
from conformance.case.job import BuildNetwork, Description, Tensor, is_native
from conformance.case.model import Layout, Shape
from conformance.case.operators import Chain
from conformance.errors import NotTranslatable
from conformance.formats import INTEGERS

# What reads or makes images, which may be in memory as channels-last. Pads and means take axes as they are.
IMAGES: Final = (
    "conv?d*",
    "*_pool?d",
    "max_pool?d_with_indices",
    "max_unpool2d",
    "batch_norm*",
    "group_norm",
    "instance_norm",
    "local_response_norm",
    "prelu",
    "resize?d",
    "extract_patches",
    "fold",
    "depth_to_space",
    "space_to_depth",
)


class Direct:
    """A module of torch's as it is called within a compiled function, where nothing can be written down."""

    def __init__(self, module: Any) -> None:
        self._module = module

    def __getattr__(self, attribute: str) -> Callable[..., Native]:
        function = getattr(self._module, attribute)

        def call(*args: Any, **kwargs: Any) -> Native:
            return function(*args, **without_native(kwargs))

        return call


class TorchBackend(
    TorchActivations,
    TorchNormalization,
    TorchLosses,
    TorchSteps,
    TorchSampling,
    TorchResizing,
    TorchIndexedPooling,
    TorchBackward,
    TorchNetworks,
    Backend,
):
    """`torch.nn.functional`, with TF32 off and one thread."""

    module: ClassVar[str] = "torch"
    builds: ClassVar[bool] = True
    install: ClassVar[str] = 'pip install "torch>=2.6,<2.14"'
    # Initialisers draw their own numbers: they are compared by distribution, not on given draws.
    absent: ClassVar[tuple[str, ...]] = ("glorot_uniform",)
    prelude: ClassVar[tuple[str, ...]] = (
        "import torch",
        "import torch.nn.functional as F",
        "torch.set_num_threads(1)",
    )
    native: ClassVar[str] = "torch.tensor({values}, dtype=torch.{format})"
    strided: ClassVar[str] = "torch.stack([{tensor}, {tensor}], -1)[..., 0]"
    usual: ClassVar[Layout] = "channels_first"
    layouts: ClassVar[Mapping[Layout, tuple[str, ...]]] = {"channels_last": IMAGES, "strided": ("*",)}
    numbers: ClassVar[str] = "{tensor}.detach().double().numpy()"
    dtype: ClassVar[str] = "torch.{format}"
    # On the CPU; CUDA's convolutions and pools take none.
    integers: ClassVar[tuple[tuple[str, str], ...]] = (
        *((f"conv{rank}d", name) for rank in (1, 2, 3) for name in INTEGERS),
        *((f"max_pool{rank}d", name) for rank in (2, 3) for name in INTEGERS),
        ("average_pool*", "int64"),
    )
    offers: ClassVar[Mapping[str, Mode]] = {
        "compile": Mode(
            about="every question, and every step of a training, through torch.compile with its default compiler",
            costly=True,
        ),
        mixing.NAME: mixing.MODE,
        "tf32": Mode(
            about="matrix products and convolutions may round to TF32", devices=("cuda",), excludes=(STOCK,)
        ),
        STOCK: Mode(about="no switch is set: threads, TF32 and determinism as torch has them"),
    }

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        import torch

        self._torch = torch
        if kind_of(device) == "cuda" and not torch.cuda.is_available():
            raise NotTranslatable("this torch sees no CUDA device")
        try:
            torch.ones(1, device=device).cpu()
        except Exception as error:  # a driver's own, too
            raise NotTranslatable(f"torch has no device {device!r} here: {error}") from error
        if self.strict:
            torch.set_num_threads(1)
            torch.backends.cuda.matmul.allow_tf32 = "tf32" in modes
            torch.backends.cudnn.allow_tf32 = "tf32" in modes
            torch.use_deterministic_algorithms(True, warn_only=True)
        self._compiled: tuple[Any, Callable[..., Natives]] | None = None
        self._formats = {
            torch.float64: "float64",
            torch.float32: "float32",
            torch.bfloat16: "bfloat16",
            torch.float16: "float16",
            torch.int8: "int8",
            torch.int32: "int32",
            torch.int64: "int64",
            torch.bool: "bool",
        }

    @property
    def compiles(self) -> bool:
        """Whether the compiler answers."""
        return "compile" in self.modes

    def mixes(self) -> Any:
        """Where layers run: under autocast, in the mode of mixed precision."""
        return self._torch.autocast(
            kind_of(self.device), dtype=self._torch.bfloat16, enabled=mixing.NAME in self.modes
        )

    def describe(self) -> Description:
        torch = self._torch
        device = torch.cuda.get_device_name() if kind_of(self.device) == "cuda" else platform.machine()
        tf32 = {"matmul": torch.backends.cuda.matmul.allow_tf32, "cudnn": torch.backends.cudnn.allow_tf32}
        convolved = self._convolved()
        return Description(
            backend="torch",
            versions={"torch": torch.__version__, "numpy": np.__version__, "python": platform.python_version()},
            device=f"{self.device} ({device})",
            cpu_features=(torch.backends.cpu.get_cpu_capability(), *cpu_flags(), *onednn_features(convolved)),
            switches={
                "tf32": " and ".join(name for name, allowed in tf32.items() if allowed) or "off",
                "threads": str(torch.get_num_threads()),
                "mkldnn": ", ".join(("float32", *convolved)) if torch.backends.mkldnn.is_available() else "off",
                "deterministic": "on" if torch.are_deterministic_algorithms_enabled() else "off",
                "compile": "inductor" if self.compiles else "off",
            },
            accumulators=accumulators(convolved),
            absent=self.absent,
            operators=self.operators(),
            modes=self.modes,
            integers=self.integers if kind_of(self.device) == "cpu" else (),
            forward_mode=not self.compiles,
            second_order=not self.compiles,
            layer_formats=mixing.layer_formats(self.modes, mixing.AUTOCAST),
        )

    def _convolved(self) -> tuple[str, ...]:
        """The storage formats with a kernel for convolutions that sums in float32; CUDA's libraries have both."""
        if kind_of(self.device) != "cpu":
            return ("bfloat16", "float16")
        onednn = self._torch.ops.mkldnn
        supported = {"bfloat16": onednn._is_mkldnn_bf16_supported(), "float16": onednn._is_mkldnn_fp16_supported()}
        return tuple(name for name, has in supported.items() if has)

    def device_of(self, native: Native) -> str:
        # By kind: the device `cuda` is the current one, whose tensors say `cuda:0`.
        kind: str = native.device.type
        return self.device if kind == self._torch.device(self.device).type else kind

    def put(self, tensor: Tensor) -> Native:
        torch = self._torch
        # Copied: from_numpy would alias the job's memory. An array of no axes needs its scalar kept an array.
        data = np.array(tensor.data, order="C")
        if tensor.format == "bfloat16":
            return torch.from_numpy(data.view(np.int16)).view(torch.bfloat16).to(self.device)
        return torch.from_numpy(data).to(self.device)

    def get(self, native: Native) -> Tensor:
        torch = self._torch
        name = self._formats.get(native.dtype, str(native.dtype))
        native = native.detach().cpu().contiguous()
        if name == "bfloat16":
            return Tensor(name, native.view(torch.int16).numpy().view(np.uint16).copy())
        return Tensor(name, native.numpy().copy())

    def spread(self, native: Native) -> Native:
        return self._torch.stack([native, native], -1)[..., 0]

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        torch = self._torch
        self._record()
        for name in sources:
            if name in operands:
                operands[name].requires_grad_()
        if isinstance(program.attributes, Chain) and program.attributes.network and not self.compiles:
            outputs, pull = self._network(program, operands, cotangents)
        else:
            if self.compiles:
                outputs, layers = self._run_compiled(program, operands, sources)
            else:
                outputs = layers = program.run(self, operands, lambda _, value: value)

            def pull(*names: str) -> Sequence[Native]:
                found: Sequence[Native] = torch.autograd.grad(
                    [outputs[name] for name in cotangents],
                    [operands[name] if name in operands else layers[name] for name in names],
                    list(cotangents.values()),
                    retain_graph=True,
                )
                return found

        if not sources or any(outputs[name].shape != value.shape for name, value in cotangents.items()):
            return outputs, {}
        try:
            return outputs, dict(zip(sources, pull(*sources), strict=True))
        except Exception:
            return outputs, one_at_a_time(sources, lambda name: pull(name)[0])

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        self._record()

        def run(given: Natives) -> Natives:
            return program.run(self, {**operands, **given}, lambda _, value: value)

        primals = {name: operands[name] for name in tangents}
        pushed: Natives = self._torch.func.jvp(run, (primals,), (tangents,))[1]
        return pushed

    def pull_twice(
        self, program: Program, operands: Natives, cotangents: Natives, directions: Natives, names: Sequence[str]
    ) -> Natives:
        self._record()
        for value in (*(operands[name] for name in directions), *cotangents.values()):
            value.requires_grad_()
        outputs = program.run(self, operands, lambda _, value: value)
        pulled = self._torch.autograd.grad(
            [outputs[name] for name in cotangents],
            [operands[name] for name in directions],
            list(cotangents.values()),
            create_graph=True,
        )
        by = {**operands, **cotangents}
        # What the gradients do not depend on has zeros.
        found = self._torch.autograd.grad(
            pulled, [by[name] for name in names], list(directions.values()), materialize_grads=True
        )
        return dict(zip(names, found, strict=True))

    def _record(self) -> None:
        """Lets what is called from here on be written to the log."""
        self.torch = Recorded(self._torch, "torch", self.log)
        self.F = Recorded(self._torch.nn.functional, "F", self.log)
        self.grad = Recorded(self._torch.nn.grad, "torch.nn.grad", self.log)
        self.aten = Recorded(self._torch.ops.aten, "torch.ops.aten", self.log)

    def _run_compiled(self, program: Program, operands: Natives, sources: tuple[str, ...]) -> tuple[Natives, Natives]:
        """Runs a program through the compiler.

        Returns:
            The outputs, and what a chain's layers are differentiated through: compiled code is one node, so that
            -0.0, which changes no number, is added to their outputs.
        """
        torch = self._torch
        eager: Natives = {}
        # Native calls are written down in an eager run, which shows what is compiled; the compiler alone answers.
        with contextlib.suppress(Exception), torch.no_grad():
            eager = program.run(self, operands, lambda _, value: value)
        probes = {
            name: torch.full_like(eager[name], -0.0, requires_grad=True)
            for name in sources
            if name not in operands and name in eager
        }
        self.torch = Direct(torch)  # type: ignore[assignment]
        self.F = Direct(torch.nn.functional)  # type: ignore[assignment]
        self.grad = Direct(torch.nn.grad)  # type: ignore[assignment]
        self.aten = Direct(torch.ops.aten)  # type: ignore[assignment]

        def run(values: Natives, probes: Natives) -> Natives:
            return program.run(self, values, lambda name, y: y + probes[name] if name in probes else y)

        key = (program, tuple((name, value.shape, value.dtype) for name, value in operands.items()), tuple(probes))
        if self._compiled is None or self._compiled[0] != key:
            torch.compiler.reset()  # it keeps few programs of one function, and then runs eagerly without a word
            self._compiled = key, torch.compile(run, dynamic=False)
        outputs = self._compiled[1](operands, probes)
        for name in eager.keys() & outputs.keys():
            self.log.alias(outputs[name], eager[name])
        return outputs, probes

    @classmethod
    def script(cls, calls: Sequence[str], names: Names) -> tuple[str, ...]:
        if not names.sources:
            return tuple(calls)
        sources = ", ".join(names.sources)
        given = f"[{', '.join(names.heads)}], [{sources}], [{', '.join(names.cotangents)}]"
        return (
            f"[tensor.requires_grad_() for tensor in [{sources}]]",
            *calls,
            f"[{', '.join(names.gradients)}] = torch.autograd.grad({given})",
        )

    def trainer(self, build: BuildNetwork) -> Trainer:
        from conformance.backends.torch.training import TorchTrainer

        return TorchTrainer(self, build)

    # Layout: channels-last in, channels-first for the framework, and back. Copied, because torch's users hold tensors
    # that are contiguous in torch's layout, and some of its gradients refuse views; unless another layout is asked: a
    # view of images that lie channels-last is what `torch.channels_last` means.

    def _first(self, x: Native) -> Native:
        order = (0, x.ndim - 1, *range(1, x.ndim - 1))
        return self.torch.permute_copy(x, order) if self.layout == "native" else self.torch.permute(x, order)

    def _last(self, y: Native) -> Native:
        return self.torch.permute(y, (0, *range(2, y.ndim), 1))

    def _kernel(self, w: Native) -> Native:
        """(*spatial, a, b) as (b, a, *spatial), in memory as the images are."""
        order = (w.ndim - 1, w.ndim - 2, *range(w.ndim - 2))
        if self.layout != "channels_last":
            return self.torch.permute_copy(w, order) if self.layout == "native" else self.torch.permute(w, order)
        torch = self._torch
        # As Module.to leaves parameters: torch names no such memory for one axis.
        memory = {4: torch.channels_last, 5: torch.channels_last_3d}.get(w.ndim, torch.contiguous_format)
        return self.torch.clone(self.torch.permute(w, order), memory_format=memory)

    def _pad(self, x: Native, pads: tuple[tuple[int, int], ...], value: float = 0.0) -> Native:
        flat = tuple(n for pair in reversed(pads) for n in pair)
        return self.F.pad(x, flat, value=value) if any(flat) else x

    # Convolution

    def _conv(self, a: Convolution, x: Native, w: Native, b: Native | None) -> Native:
        rank = len(a.stride)
        x = self._first(x)
        w = self._kernel(w)
        padding: Any = 0
        if a.padding == "same" and set(a.stride) == {1}:
            padding = "same"  # torch has it for stride 1 alone
        else:
            if isinstance(a.padding, str) and a.padding != "valid":
                self.compose(f"torch's convolutions have no {a.padding.upper()} for strides other than 1")
            pads = resolve_pads(a.padding, tuple(x.shape[2:]), tuple(w.shape[2:]), a.stride, a.dilation)
            if all(low == high for low, high in pads):
                padding = tuple(low for low, _ in pads)
            else:
                self.compose("torch's convolutions pad both ends alike")
                x = self._pad(x, pads)
        function = getattr(self.F, f"conv{rank}d")
        return self._last(function(x, w, b, stride=a.stride, padding=padding, dilation=a.dilation, groups=a.groups))

    def conv1d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        return self._conv(attributes, x, w, b)

    conv2d = conv3d = conv1d

    def _conv_transpose(self, a: TransposedConvolution, x: Native, w: Native, b: Native | None) -> Native:
        if a.pad_mode != "zeros":
            raise NotTranslatable("torch's transposed convolutions have no circular pads")
        rank = len(a.stride)
        sizes, kernel = tuple(x.shape[1:-1]), tuple(w.shape[:rank])
        x = self._first(x)
        # Both lay groups along the input channels: (in, out / groups, *spatial) in torch.
        w = self._kernel(w)

        def conv(padding: tuple[int, ...], output_padding: tuple[int, ...]) -> Native:
            function = getattr(self.F, f"conv_transpose{rank}d")
            return function(
                x,
                w,
                b,
                stride=a.stride,
                padding=padding,
                output_padding=output_padding,
                groups=a.groups,
                dilation=a.dilation,
            )

        if a.output_size and (is_native(a.padding) or a.padding == "valid"):
            a = replace(a, padding=((0, 0),) * rank)
        if isinstance(a.padding, tuple) and all(low == high for low, high in a.padding):
            more = a.output_padding
            if a.output_size:  # as `output_size` of torch's layers becomes output padding
                more = tuple(
                    m - (n - 1) * s - extent(k, d) + low + high
                    for m, n, s, k, d, (low, high) in zip(
                        a.output_size, sizes, a.stride, kernel, a.dilation, a.padding, strict=True
                    )
                )
            return self._last(conv(tuple(low for low, _ in a.padding), more))
        if self.own and a.padding == "valid":
            return self._last(conv((0,) * rank, a.output_padding))  # torch's own size without padding
        self.compose("torch's transposed convolutions have no SAME, and crop both ends alike")
        a = settled(a, sizes, kernel)
        # What torch crops from both ends alike, then a slice of it.
        starts, outputs = transposed_crop(a.padding, sizes, kernel, a.stride, a.dilation, a.output_padding)
        canvas = tuple(
            (n - 1) * s + extent(k, d) for n, s, k, d in zip(sizes, a.stride, kernel, a.dilation, strict=True)
        )
        after = tuple(c - start - size for c, start, size in zip(canvas, starts, outputs, strict=True))
        crops = tuple(min(start, max(end, 0)) for start, end in zip(starts, after, strict=True))
        y = conv(crops, tuple(max(-end, 0) for end in after))
        for axis, (start, crop, size) in enumerate(zip(starts, crops, outputs, strict=True)):
            if y.shape[axis + 2] != size:
                y = self.torch.narrow(y, axis + 2, start - crop, size)
        return self._last(y)

    def conv1d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        return self._conv_transpose(attributes, x, w, b)

    conv2d_transpose = conv3d_transpose = conv1d_transpose

    # Pooling

    def _pool_pads(self, a: MaxPool | AveragePool, sizes: Shape, dilation: Shape) -> Pads:
        pads = resolve_pads(a.padding, sizes, a.window, a.stride, dilation)
        if a.padding in ("same", "same_lower") or any(low != high for low, high in pads):
            self.compose("torch's pools have no SAME, and pad both ends alike")
        return pads

    def _max_pool(self, a: MaxPool, x: Native) -> Native:
        rank = len(a.window)
        pads = self._pool_pads(a, tuple(x.shape[1:-1]), a.dilation)
        x = self._first(x)
        ceil_mode, padding = a.ceil_mode, tuple(low for low, _ in pads)
        if any(low != high for low, high in pads):
            # Padded by hand with what never wins, up to the end of the last window.
            sizes = tuple(x.shape[2:])
            covered = covering_pads(sizes, pads, a.window, a.stride, a.dilation, ceil_mode=a.ceil_mode)
            x = self._pad(x, covered, -math.inf)
            ceil_mode, padding = False, (0,) * rank
        function = getattr(self.F, f"max_pool{rank}d")
        return self._last(
            function(x, a.window, stride=a.stride, padding=padding, dilation=a.dilation, ceil_mode=ceil_mode)
        )

    def max_pool1d(self, attributes: MaxPool, x: Native) -> Native:
        return self._max_pool(attributes, x)

    max_pool2d = max_pool3d = max_pool1d

    def _average_pool(self, a: AveragePool, x: Native) -> Native:
        rank = len(a.window)
        ones = (1,) * rank
        pads = self._pool_pads(a, tuple(x.shape[1:-1]), ones)
        x = self._first(x)
        function = getattr(self.F, f"avg_pool{rank}d")
        if all(low == high for low, high in pads):
            return self._last(
                function(
                    x,
                    a.window,
                    stride=a.stride,
                    padding=tuple(low for low, _ in pads),
                    ceil_mode=a.ceil_mode,
                    count_include_pad=a.count_padding,
                )
            )
        # Unequal pads: the mean over the padded input, divided by the share of elements that count.
        covered = covering_pads(tuple(x.shape[2:]), pads, a.window, a.stride, ones, ceil_mode=a.ceil_mode)
        counted = self.torch.ones_like(x)
        if a.count_padding:
            inside = tuple((low, min(high, end)) for (low, high), (_, end) in zip(pads, covered, strict=True))
            counted = self._pad(counted, inside, 1.0)
            counted = self._pad(
                counted, tuple((0, end - high) for (_, end), (_, high) in zip(covered, inside, strict=True))
            )
        else:
            counted = self._pad(counted, covered)
        mean = function(self._pad(x, covered), a.window, stride=a.stride)
        return self._last(self.torch.div(mean, function(counted, a.window, stride=a.stride)))

    def average_pool1d(self, attributes: AveragePool, x: Native) -> Native:
        return self._average_pool(attributes, x)

    average_pool2d = average_pool3d = average_pool1d

    # Everything else

    def pad(self, attributes: Pad, x: Native) -> Native:
        if is_native(attributes.mode):
            return self.F.pad(x, tuple(n for pair in reversed(attributes.padding) for n in pair))
        if attributes.mode == "constant":
            return self._pad(x, attributes.padding, attributes.value)
        mode = {"reflect": "reflect", "edge": "replicate", "wrap": "circular"}.get(attributes.mode)
        if mode is None:
            raise NotTranslatable(f"torch has no pads of mode {attributes.mode}")
        if x.ndim not in (3, 4, 5) or any(map(any, (attributes.padding[0], attributes.padding[-1]))):
            raise NotTranslatable(f"torch has pads of mode {mode} for one to three spatial axes alone")
        flat = tuple(n for pair in reversed(attributes.padding[1:-1]) for n in pair)
        return self._last(self.F.pad(self._first(x), flat, mode=mode))

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        return self.F.linear(x, self.torch.t(w), b)

    def bias_add(self, attributes: NoAttributes, x: Native, b: Native) -> Native:
        return self.torch.add(x, b)

    def matmul(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.torch.matmul(x, y)

    def add(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.torch.add(x, y)

    def multiply(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.torch.mul(x, y)

    def concat(self, attributes: Concat, x: Native, y: Native) -> Native:
        return self.torch.cat((x, y), dim=attributes.axis)

    def mean(self, attributes: Mean, x: Native) -> Native:
        return self.torch.mean(x, dim=attributes.axes, keepdim=attributes.keepdims)

    def global_average_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self.torch.flatten(self.F.adaptive_avg_pool2d(self._first(x), 1), 1)

    def global_max_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self.torch.flatten(self.F.adaptive_max_pool2d(self._first(x), 1), 1)

    def _reordered(self, x: Native, outer: int, inner: int) -> Native:
        """Channels that count (outer, inner) as channels that count (inner, outer)."""
        split = self.torch.reshape(x, (*x.shape[:-1], outer, inner))
        return self.torch.flatten(self.torch.transpose(split, -1, -2), -2)

    def depth_to_space(self, attributes: Blocks, x: Native) -> Native:
        if not is_native(attributes.order) and attributes.order == "dcr":  # torch has the other order alone
            self.compose("torch has the order crd alone")
            x = self._reordered(x, attributes.block**2, x.shape[-1] // attributes.block**2)
        return self._last(self.F.pixel_shuffle(self._first(x), attributes.block))

    def space_to_depth(self, attributes: Blocks, x: Native) -> Native:
        y = self._last(self.F.pixel_unshuffle(self._first(x), attributes.block))
        if is_native(attributes.order) or attributes.order == "crd":
            return y
        self.compose("torch has the order crd alone")
        return self._reordered(y, x.shape[-1], attributes.block**2)

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        return self.torch.flatten(x, 1)

    def prelu(self, attributes: NoAttributes, x: Native, a: Native) -> Native:
        return self._last(self.F.prelu(self._first(x), a))

    def _signal(self, x: Native, w: Native, mode: str, *, flip: bool) -> Native:
        self.compose("torch has no convolution of signals")
        rank = x.ndim
        axes = tuple(range(rank))
        if mode == "valid" and any(n < k for n, k in zip(x.shape, w.shape, strict=True)):
            # The larger one is slid over: convolution commutes, correlation then runs backwards.
            y = self._signal(w, x, mode, flip=flip)
            return y if flip else self.torch.flip(y, axes)
        if flip:
            w = self.torch.flip(w, axes)
        pads: tuple[tuple[int, int], ...] = ((0, 0),) * rank
        if mode == "full":
            pads = tuple((k - 1, k - 1) for k in w.shape)
        elif mode == "same":  # centred on full: starts (k - 1) // 2 elements into it
            pads = tuple((k - 1 - (k - 1) // 2, (k - 1) // 2) for k in w.shape)
        x = self._pad(x, pads)
        x, w = self.torch.reshape(x, (1, 1, *x.shape)), self.torch.reshape(w, (1, 1, *w.shape))
        y = getattr(self.F, f"conv{rank}d")(x, w)
        return self.torch.reshape(y, tuple(y.shape[2:]))

    def convolve(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self._signal(x, w, attributes.mode, flip=True)

    def correlate(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self._signal(x, w, attributes.mode, flip=False)

    def polynomial(self, attributes: Polynomial, x: Native) -> Native:
        y = self.torch.zeros_like(x)  # NumPy's recipe
        for coefficient in attributes.coefficients:
            y = self.torch.add(self.torch.mul(y, x), coefficient)
        return y
