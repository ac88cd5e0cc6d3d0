"""TensorFlow, eager, as its users write it: `tf.nn` on channels-last tensors, `tf.GradientTape` for gradients."""

import math
import os
import platform
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Final

import numpy as np

from conformance.backends import mixing
from conformance.backends.base import (
    STOCK,
    Backend,
    CallLog,
    Gradients,
    Mode,
    Names,
    Native,
    Natives,
    Program,
    Recorded,
    Trainer,
    cpu_flags,
    one_at_a_time,
    onednn_features,
    variable,
)
from conformance.backends.tensorflow.accumulators import STORED_SUMS, accumulators, onednn_formats
from conformance.backends.tensorflow.activations import TensorFlowActivations
from conformance.backends.tensorflow.backward import TensorFlowBackward
from conformance.backends.tensorflow.indexed_pooling import TensorFlowIndexedPooling
from conformance.backends.tensorflow.losses import TensorFlowLosses
from conformance.backends.tensorflow.normalization import TensorFlowNormalization
from conformance.backends.tensorflow.resizing import TensorFlowResizing
from conformance.backends.tensorflow.sampling import TensorFlowSampling
from conformance.backends.tensorflow.steps import TensorFlowSteps
from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Blocks, Concat, Mean, Pad, additions, cuts
from conformance.case.families.convolution import Convolution, TransposedConvolution, settled
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.signals import Polynomial, Signal
from conformance.case.geometry import Pads, covering_pads, extent, resolve_pads, transposed_crop
from conformance.case.job import BuildNetwork, Description, Tensor, is_native
from conformance.case.model import Layout, Shape
from conformance.errors import NotTranslatable

# What `data_format` says of images whose channels lie behind the batch, by their number of axes.
CHANNELS_FIRST: Final = {3: "NCW", 4: "NCHW", 5: "NCDHW"}


class TensorFlowBackend(
    TensorFlowActivations,
    TensorFlowNormalization,
    TensorFlowLosses,
    TensorFlowSteps,
    TensorFlowSampling,
    TensorFlowResizing,
    TensorFlowIndexedPooling,
    TensorFlowBackward,
    mixing.MixedLayers,
    Backend,
):
    """`tf.nn`, with TF32 off, one thread and no soft placement."""

    module: ClassVar[str] = "tensorflow"
    install: ClassVar[str] = 'pip install "tensorflow-cpu>=2.19,<2.22"'
    # Initialisers draw their own numbers: they are compared by distribution, not on given draws.
    # Its fractional pools draw their own steps.
    absent: ClassVar[tuple[str, ...]] = ("glorot_uniform", "max_pool3d_with_indices", "fractional_max_pool2d")
    prelude: ClassVar[tuple[str, ...]] = (
        "import tensorflow as tf",
        'tf.config.set_visible_devices([], "GPU")',
        "tf.config.threading.set_intra_op_parallelism_threads(1)",
    )
    native: ClassVar[str] = "tf.constant({values}, tf.{format})"
    numbers: ClassVar[str] = "tf.cast({tensor}, tf.float64).numpy()"
    dtype: ClassVar[str] = "<dtype: '{format}'>"
    layouts: ClassVar[Mapping[Layout, tuple[str, ...]]] = {
        # Neither tf.image nor local response normalisation has a word for it.
        "channels_first": (
            *("conv?d", "conv?d_transpose", "max_pool?d", "average_pool?d"),
            *("batch_norm*", "group_norm", "instance_norm"),
        )
    }
    offers: ClassVar[Mapping[str, Mode]] = {
        "function": Mode(about="every question, and every step of a training, through tf.function"),
        "xla": Mode(
            about="every question, and every step of a training, through tf.function(jit_compile=True)",
            excludes=("function",),
            costly=True,
        ),
        mixing.NAME: mixing.MODE,
        "noonednn": Mode(about="the kernels are Eigen's, without oneDNN", environment={"TF_ENABLE_ONEDNN_OPTS": "0"}),
        "tf32": Mode(
            about="matrix products and convolutions may round to TF32", devices=("cuda",), excludes=(STOCK,)
        ),
        STOCK: Mode(about="no switch is set: threads, TF32, placement and determinism as TensorFlow has them"),
    }

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        import tensorflow as tf

        self._tf = tf
        if device == "cuda" and not tf.config.list_physical_devices("GPU"):
            raise NotTranslatable("this TensorFlow sees no CUDA device")
        if device not in ("cpu", "cuda"):
            raise NotTranslatable(f"TensorFlow has no device {device!r} here")
        if self.strict:
            tf.config.threading.set_intra_op_parallelism_threads(1)
            tf.config.threading.set_inter_op_parallelism_threads(1)
            tf.config.set_soft_device_placement(False)
            tf.config.experimental.enable_tensor_float_32_execution("tf32" in modes)
        self.place = "/GPU:0" if device == "cuda" else "/CPU:0"
        self._lines: tuple[str, ...] = ()
        self._formats = {
            tf.float64: "float64",
            tf.float32: "float32",
            tf.bfloat16: "bfloat16",
            tf.float16: "float16",
            tf.int32: "int32",
            tf.int64: "int64",
            tf.bool: "bool",
        }

    def describe(self) -> Description:
        tf = self._tf
        device = platform.machine()
        if self.device == "cuda":
            device = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])[
                "device_name"
            ]
        features = cpu_flags()
        # TensorFlow is built with it on x86, and not on macOS.
        x86 = platform.machine() in ("x86_64", "AMD64")
        onednn = onednn_formats(features, os.environ.get("TF_ENABLE_ONEDNN_OPTS")) if x86 else ()
        return Description(
            backend="tf",
            versions={"tensorflow": tf.__version__, "numpy": np.__version__, "python": platform.python_version()},
            device=f"{self.device} ({device})",
            cpu_features=(*features, *onednn_features(onednn)),
            switches={
                "tf32": "on" if tf.config.experimental.tensor_float_32_execution_enabled() else "off",
                "threads": str(tf.config.threading.get_intra_op_parallelism_threads() or "all"),
                "onednn": ", ".join(onednn) or "off",
                "soft placement": "on" if tf.config.get_soft_device_placement() else "off",
                "function": {"function": "on", "xla": "jit_compile"}.get(self.function, "off"),
            },
            accumulators=accumulators(onednn=onednn, traced=bool(self.function)),
            absent=self.absent,
            operators=self.operators(),
            modes=self.modes,
            stored_sums=STORED_SUMS,
            integers=(("conv1d", "int32"), ("conv2d", "int32")) if self.device == "cpu" else (),
            forward_mode=not self.function,
            second_order=not self.function,
            layer_formats=mixing.layer_formats(self.modes),
        )

    @property
    def function(self) -> str:
        """Which of the modes of tf.function is asked; empty for neither."""
        return next((mode for mode in ("function", "xla") if mode in self.modes), "")

    def device_of(self, native: Native) -> str:
        kind = native.device.rpartition("device:")[2].partition(":")[0]  # of /job:localhost/.../device:CPU:0
        return self.device if kind in self.place else kind.lower()

    def put(self, tensor: Tensor) -> Native:
        tf = self._tf
        # Copied: small arrays are copied by TensorFlow, large ones may be aliased.
        data = np.array(tensor.data, order="C")
        if tensor.format == "bfloat16":
            data = data.view(tf.bfloat16.as_numpy_dtype)
        with tf.device(self.place):
            return tf.constant(data)

    def get(self, native: Native) -> Tensor:
        name = self._formats.get(native.dtype, native.dtype.name)
        data = np.array(native.numpy(), order="C")
        return Tensor(name, data.view(np.uint16) if name == "bfloat16" else data)

    def cast(self, x: Native, format_name: str) -> Native:
        return self.tf.cast(x, format_name) if x.dtype.is_floating and x.dtype.name != format_name else x

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        if self.function:
            return self._traced(program, operands, sources, cotangents)
        outputs, pull = self._taped(program, operands, sources)
        if not sources or any(outputs[name].shape != value.shape for name, value in cotangents.items()):
            return outputs, {}
        try:
            return outputs, pull(cotangents)
        except Exception:
            log, self.log = self.log, CallLog()
            gradients = one_at_a_time(
                sources, lambda name: self._taped(program, operands, (name,))[1](cotangents)[name]
            )
            self.log = log
            return outputs, gradients

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        tf = self._tf
        self.record()
        primals = [operands[name] for name in tangents]
        with tf.device(self.place), tf.autodiff.ForwardAccumulator(primals, list(tangents.values())) as accumulator:
            outputs = program.run(self, operands, lambda _, value: value)
            return {name: accumulator.jvp(value, unconnected_gradients="zero") for name, value in outputs.items()}

    def pull_twice(
        self, program: Program, operands: Natives, cotangents: Natives, directions: Natives, names: Sequence[str]
    ) -> Natives:
        tf = self._tf
        self.record()
        given, by = {name: operands[name] for name in directions}, {**operands, **cotangents}
        with tf.device(self.place), tf.GradientTape() as outer:
            outer.watch([by[name] for name in names])
            with tf.GradientTape() as inner:
                inner.watch(given)
                outputs = program.run(self, operands, lambda _, value: value)
            heads = {name: outputs[name] for name in cotangents}
            pulled = inner.gradient(heads, given, output_gradients=cotangents, unconnected_gradients="zero")
        with tf.device(self.place):
            found: Natives = outer.gradient(
                pulled, {name: by[name] for name in names}, output_gradients=directions, unconnected_gradients="zero"
            )
        return found

    def _traced(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        """Evaluates within tf.function, tape included; what is refused as a whole is asked in parts."""
        if not sources:
            return self._run_function(program, operands, (), {})
        try:
            return self._run_function(program, operands, sources, cotangents)
        except Exception:  # of the outputs, or of some gradients
            outputs, _ = self._run_function(program, operands, (), {})
            return outputs, one_at_a_time(
                sources, lambda name: self._run_function(program, operands, (name,), cotangents)[1][name]
            )

    def _run_function(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Natives]:
        """Traces a program, which writes down its native calls and the order of its outputs, and runs the graph."""
        order: list[str] = []

        # No branch or loop of the adapter's is the framework's to rewrite: without AutoGraph.
        @self._tf.function(jit_compile=self.function == "xla" or None, autograph=False)  # type: ignore[untyped-decorator]
        def run(operands: Natives, cotangents: Natives) -> tuple[Natives, Natives]:
            self.log = CallLog()
            for name, value in operands.items():
                self.log.name(value, variable(name))
            outputs, pull = self._taped(program, operands, sources)
            order[:] = outputs
            self._lines = self.log.lines(outputs)  # known before the graph runs, which may fail
            self.log = CallLog()  # lets the traced values go
            if any(not outputs[name].shape.is_compatible_with(value.shape) for name, value in cotangents.items()):
                return outputs, {}
            return outputs, pull(cotangents) if sources else {}

        self._lines = ()
        outputs, gradients = run(operands, cotangents)
        return {name: outputs[name] for name in order}, {
            name: gradients[name] for name in sources if name in gradients
        }

    def calls(self, outputs: Natives) -> tuple[str, ...]:
        return self._lines if self.function else super().calls(outputs)

    def record(self) -> None:
        """Lets what is called from here on be written to the log."""
        tf = self._tf
        self.tf = Recorded(tf, "tf", self.log)
        self.nn = Recorded(tf.nn, "tf.nn", self.log)
        self.compat_nn = Recorded(tf.compat.v1.nn, "tf.compat.v1.nn", self.log)
        self.math = Recorded(tf.math, "tf.math", self.log)
        self.raw = Recorded(tf.raw_ops, "tf.raw_ops", self.log)
        self.image = Recorded(tf.image, "tf.image", self.log)
        self.image_v1 = Recorded(tf.compat.v1.image, "tf.compat.v1.image", self.log)

    def _taped(
        self, program: Program, operands: Natives, sources: tuple[str, ...]
    ) -> tuple[Natives, Callable[[Natives], Natives]]:
        """Runs a program under a tape that watches the sources; gives the outputs and what pulls cotangents back."""
        tf = self._tf
        self.record()
        tape = tf.GradientTape()
        watched: Natives = {}

        def watch(name: str, value: Native) -> Native:
            if name in sources:
                tape.watch(value)
                watched[name] = value
            return value

        with tf.device(self.place), tape:
            for name, value in operands.items():
                watch(name, value)
            outputs = program.run(self, operands, watch)

        def pull(cotangents: Natives) -> Natives:
            heads = {name: outputs[name] for name in cotangents}
            with tf.device(self.place):
                gradients: Natives = tape.gradient(
                    heads, watched, output_gradients=cotangents, unconnected_gradients="zero"
                )
            return gradients

        return outputs, pull

    @classmethod
    def script(cls, calls: Sequence[str], names: Names) -> tuple[str, ...]:
        if not names.sources:
            return tuple(calls)
        sources = ", ".join(names.sources)
        given = f"[{', '.join(names.heads)}], [{sources}], output_gradients=[{', '.join(names.cotangents)}]"
        return (
            "with tf.GradientTape() as tape:",
            f"    tape.watch([{sources}])",
            *(f"    {call}" for call in calls),
            f'[{", ".join(names.gradients)}] = tape.gradient({given}, unconnected_gradients="zero")',
        )

    def trainer(self, build: BuildNetwork) -> Trainer:
        from conformance.backends.tensorflow.training import TensorFlowTrainer

        return TensorFlowTrainer(self, build)

    # Layout: channels-last is the framework's own; channels-first goes by the name that its functions have for it.

    def _format(self, rank: int) -> dict[str, str]:
        """What its functions are told of the layout: nothing of their own."""
        return {"data_format": CHANNELS_FIRST[rank + 2]} if self.channels_first else {}

    def _shape(self, batch: int, spatial: Shape, channels: int) -> Shape:
        """The shape of images."""
        return (batch, channels, *spatial) if self.channels_first else (batch, *spatial, channels)

    def _pad(self, x: Native, pads: Pads, value: float = 0.0) -> Native:
        pads = self.whole((0, 0), pads)
        return self.tf.pad(x, pads, constant_values=value) if any(map(any, pads)) else x

    def _grouped(self, groups: int, x: Native, w: Native, function: Callable[[Native, Native], Native]) -> Native:
        """Splits data and kernel along their channels where the framework's function has no groups."""
        if groups == 1:
            return function(x, w)
        axis = 1 if self.channels_first else -1
        pairs = zip(self.tf.split(x, groups, axis=axis), self.tf.split(w, groups, axis=-1), strict=True)
        return self.tf.concat([function(*pair) for pair in pairs], axis=axis)

    def _biased(self, y: Native, b: Native | None) -> Native:
        return y if b is None else self.nn.bias_add(y, b, **self._format(len(y.shape) - 2))

    # Convolution

    def _conv(self, a: Convolution, x: Native, w: Native, b: Native | None) -> Native:
        rank = len(a.stride)
        padding: Any = "VALID"
        if a.padding in ("same", "valid"):
            padding = a.padding.upper()
        else:
            pads = resolve_pads(a.padding, self.sizes(x), tuple(w.shape[:rank]), a.stride, a.dilation)
            if a.padding == "same_lower":
                self.compose("TensorFlow has no SAME_LOWER")
            if rank == 2:  # TensorFlow has explicit pads for two axes alone
                padding = self.whole((0, 0), pads)
            else:
                self.compose("TensorFlow has explicit pads for two axes alone")
                x = self._pad(x, pads)
        layout = self._format(rank)
        if rank == 1:
            y = self.nn.conv1d(x, w, stride=a.stride, padding=padding, dilations=a.dilation, **layout)
        elif rank == 2 and a.groups == x.shape[-1] > 1 and w.shape[-2] == 1 and not self.channels_first:
            # What conv2d has in w's last axis, channel by channel, the depthwise function has in two axes.
            filters = self.tf.reshape(w, (*w.shape[:2], a.groups, -1))
            y = self.nn.depthwise_conv2d(x, filters, (1, *a.stride, 1), padding, dilations=a.dilation)
        elif rank == 2:
            y = self.nn.conv2d(x, w, strides=a.stride, padding=padding, dilations=a.dilation, **layout)
        else:
            strides, dilations = self.whole(1, a.stride), self.whole(1, a.dilation)

            def conv(x: Native, w: Native) -> Native:
                return self.nn.conv3d(x, w, strides=strides, padding=padding, dilations=dilations, **layout)

            y = self._grouped(a.groups, x, w, conv)
        return self._biased(y, b)

    def conv1d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        return self._conv(attributes, x, w, b)

    conv2d = conv3d = conv1d

    def _of_size(self, a: TransposedConvolution, x: Native, w: Native, b: Native | None) -> Native:
        """A transposed convolution of the size that was asked for, which TensorFlow is told in any case."""
        rank = len(a.stride)
        padding: Any = a.padding
        if isinstance(padding, str):
            padding = padding.upper()
        elif not is_native(padding):
            padding = self.whole((0, 0), padding)
        function = getattr(self.nn, f"conv{rank}d_transpose")

        def conv(x: Native, w: Native) -> Native:
            whole = self._shape(x.shape[0], a.output_size, w.shape[-2])
            settings = {"padding": padding, "dilations": a.dilation, **self._format(rank)}
            return function(x, w, whole, a.stride, **settings)

        return self._biased(self._grouped(a.groups, x, w, conv), b)

    def _conv_transpose(self, a: TransposedConvolution, x: Native, w: Native, b: Native | None) -> Native:
        if a.pad_mode != "zeros":
            raise NotTranslatable("TensorFlow's transposed convolutions have no circular pads")
        rank = len(a.stride)
        if a.output_size and (
            is_native(a.padding) or a.padding in ("same", "valid") or (rank == 2 and isinstance(a.padding, tuple))
        ):
            return self._of_size(a, x, w, b)
        if a.padding != "same" and (a.padding != "valid" or set(a.stride) != {1}):
            self.compose("TensorFlow is told the size of the output")
        sizes, kernel = self.sizes(x), tuple(w.shape[:rank])
        a = settled(a, sizes, kernel)
        starts, outputs = transposed_crop(a.padding, sizes, kernel, a.stride, a.dilation, a.output_padding)
        canvas = tuple(
            (n - 1) * s + extent(k, d) for n, s, k, d in zip(sizes, a.stride, kernel, a.dilation, strict=True)
        )
        after = tuple(c - start - size for c, start, size in zip(canvas, starts, outputs, strict=True))
        padding: Any = "VALID"
        shape = outputs
        if a.padding in ("same", "valid"):
            padding = a.padding.upper()
        elif rank == 2 and all(-end < s for end, s in zip(after, a.stride, strict=True)):
            crop = tuple((start, max(end, 0)) for start, end in zip(starts, after, strict=True))
            padding = self.whole((0, 0), crop)
        else:
            # Everything that VALID can give, then a slice of it.
            shape = tuple(
                min(max(c, start + size), c + s - 1)
                for c, start, size, s in zip(canvas, starts, outputs, a.stride, strict=True)
            )
        function = getattr(self.nn, f"conv{rank}d_transpose")

        def conv(x: Native, w: Native) -> Native:
            whole = self._shape(x.shape[0], shape, w.shape[-2])
            settings = {"padding": padding, "dilations": a.dilation, **self._format(rank)}
            return function(x, w, whole, a.stride, **settings)

        y = self._grouped(a.groups, x, w, conv)
        if shape != outputs:
            missing = tuple(
                max(start + size - whole, 0) for start, size, whole in zip(starts, outputs, shape, strict=True)
            )
            y = self._pad(y, tuple((0, more) for more in missing))
            y = self.tf.slice(y, self.whole(0, starts), self.whole(-1, outputs))
        return self._biased(y, b)

    def conv1d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        return self._conv_transpose(attributes, x, w, b)

    conv2d_transpose = conv3d_transpose = conv1d_transpose

    # Pooling

    def _max_pool(self, a: MaxPool, x: Native) -> Native:
        rank = len(a.window)
        dilated = set(a.dilation) != {1}
        padding: Any = "VALID"
        if a.padding == "same" and not dilated:
            padding = "SAME"
        elif a.padding != "valid" or a.ceil_mode:
            if a.ceil_mode or not isinstance(a.padding, tuple):
                self.compose("TensorFlow's pools have no ceil mode, no SAME_LOWER and no dilated SAME")
            sizes = self.sizes(x)
            pads = resolve_pads(a.padding, sizes, a.window, a.stride, a.dilation)
            covered = covering_pads(sizes, pads, a.window, a.stride, a.dilation, ceil_mode=a.ceil_mode)
            if rank == 2 and not dilated:  # TensorFlow has explicit pads for two axes alone
                padding = self.whole((0, 0), covered)
            else:
                x = self._pad(x, covered, -math.inf)
        if not dilated:
            return getattr(self.nn, f"max_pool{rank}d")(x, a.window, a.stride, padding, **self._format(rank))
        # tf.nn.pool takes dilations without strides, and pads only what is not dilated.
        y = self.nn.pool(x, a.window, "MAX", padding=padding, dilations=a.dilation, **self._format(rank))
        if set(a.stride) == {1}:
            return y
        return self.tf.strided_slice(y, (0,) * (rank + 2), tuple(y.shape), self.whole(1, a.stride))

    def max_pool1d(self, attributes: MaxPool, x: Native) -> Native:
        return self._max_pool(attributes, x)

    max_pool2d = max_pool3d = max_pool1d

    def _average_pool(self, a: AveragePool, x: Native) -> Native:
        rank = len(a.window)
        function = partial(getattr(self.nn, f"avg_pool{rank}d"), **self._format(rank))
        if a.padding == "same" and (is_native(a.count_padding) or not a.count_padding):
            return function(x, a.window, a.stride, "SAME")
        if a.padding == "valid" and not a.ceil_mode:
            return function(x, a.window, a.stride, "VALID")
        self.compose("TensorFlow's average pools have neither explicit pads, ceil mode nor a choice of what counts")
        # The mean over the padded input, divided by the share of elements that count where some do not.
        sizes, ones = self.sizes(x), (1,) * rank
        pads = resolve_pads(a.padding, sizes, a.window, a.stride, ones)
        covered = covering_pads(sizes, pads, a.window, a.stride, ones, ceil_mode=a.ceil_mode)
        mean = function(self._pad(x, covered), a.window, a.stride, "VALID")
        counted = self.tf.ones_like(x)
        if a.count_padding:
            inside = tuple((low, min(high, end)) for (low, high), (_, end) in zip(pads, covered, strict=True))
            if inside == covered:
                return mean
            counted = self._pad(counted, inside, 1.0)
            counted = self._pad(
                counted, tuple((0, end - high) for (_, end), (_, high) in zip(covered, inside, strict=True))
            )
        else:
            counted = self._pad(counted, covered)
        return self.tf.divide(mean, function(counted, a.window, a.stride, "VALID"))

    def average_pool1d(self, attributes: AveragePool, x: Native) -> Native:
        return self._average_pool(attributes, x)

    average_pool2d = average_pool3d = average_pool1d

    # Everything else

    def pad(self, attributes: Pad, x: Native) -> Native:
        padding = attributes.padding
        if any(min(pair) < 0 for pair in padding):
            self.compose("TensorFlow's pads cut nothing off")
            starts = tuple(low for low, _ in cuts(padding))
            kept = tuple(n - sum(cut) for n, cut in zip(x.shape, cuts(padding), strict=True))
            x, padding = self.tf.slice(x, starts, kept), additions(padding)
        if is_native(attributes.mode):
            return self.tf.pad(x, padding)
        if attributes.mode == "constant":
            return self.tf.pad(x, padding, constant_values=attributes.value)
        if attributes.mode not in ("reflect", "symmetric"):
            raise NotTranslatable(f"TensorFlow has no pads of mode {attributes.mode}")
        return self.tf.pad(x, padding, mode=attributes.mode.upper())

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        y = self.tf.matmul(x, w) if len(x.shape) == 2 else self.tf.tensordot(x, w, axes=1)
        return self._biased(y, b) if len(x.shape) > 1 or b is None else self.tf.add(y, b)

    def bias_add(self, attributes: NoAttributes, x: Native, b: Native) -> Native:
        return self.nn.bias_add(x, b)

    def matmul(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.tf.matmul(x, y)

    def add(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.tf.add(x, y)

    def multiply(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.tf.multiply(x, y)

    def concat(self, attributes: Concat, x: Native, y: Native) -> Native:
        return self.tf.concat((x, y), axis=attributes.axis)

    def mean(self, attributes: Mean, x: Native) -> Native:
        return self.tf.reduce_mean(x, axis=attributes.axes, keepdims=attributes.keepdims)

    def global_average_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self.tf.reduce_mean(x, axis=(1, 2))  # Keras's recipe

    def global_max_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self.tf.reduce_max(x, axis=(1, 2))  # Keras's recipe

    def _reordered(self, x: Native, outer: int, inner: int) -> Native:
        """Channels that count (outer, inner) as channels that count (inner, outer)."""
        split = self.tf.reshape(x, (*x.shape[:-1], outer, inner))
        return self.tf.reshape(self.tf.transpose(split, (0, 1, 2, 4, 3)), x.shape)

    def depth_to_space(self, attributes: Blocks, x: Native) -> Native:
        if not is_native(attributes.order) and attributes.order == "crd":  # TensorFlow has the other order alone
            self.compose("TensorFlow has the order dcr alone")
            x = self._reordered(x, x.shape[-1] // attributes.block**2, attributes.block**2)
        return self.nn.depth_to_space(x, attributes.block)

    def space_to_depth(self, attributes: Blocks, x: Native) -> Native:
        y = self.nn.space_to_depth(x, attributes.block)
        if is_native(attributes.order) or attributes.order == "dcr":
            return y
        self.compose("TensorFlow has the order dcr alone")
        return self._reordered(y, attributes.block**2, x.shape[-1])

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        return self.tf.reshape(x, (x.shape[0], math.prod(x.shape[1:])))

    def _signal(self, x: Native, w: Native, mode: str, *, flip: bool) -> Native:
        self.compose("TensorFlow has no convolution of signals")
        rank = len(x.shape)
        axes = tuple(range(rank))
        if mode == "valid" and any(n < k for n, k in zip(x.shape, w.shape, strict=True)):
            # The larger one is slid over: convolution commutes, correlation then runs backwards.
            y = self._signal(w, x, mode, flip=flip)
            return y if flip else self.tf.reverse(y, axes)
        if flip:
            w = self.tf.reverse(w, axes)
        pads: Pads = ((0, 0),) * rank
        if mode == "full":
            pads = tuple((k - 1, k - 1) for k in w.shape)
        elif mode == "same":  # centred on full: starts (k - 1) // 2 elements into it
            pads = tuple((k - 1 - (k - 1) // 2, (k - 1) // 2) for k in w.shape)
        x, w = self.tf.reshape(x, (1, *x.shape, 1)), self.tf.reshape(w, (*w.shape, 1, 1))
        y = getattr(self.nn, f"conv{rank}d")(self._pad(x, pads), w, 1, "VALID")
        return self.tf.reshape(y, tuple(y.shape[1:-1]))

    def convolve(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self._signal(x, w, attributes.mode, flip=True)

    def correlate(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self._signal(x, w, attributes.mode, flip=False)

    def polynomial(self, attributes: Polynomial, x: Native) -> Native:
        tf = self._tf
        coefficients = [tf.constant(coefficient, x.dtype) for coefficient in attributes.coefficients]
        for value, coefficient in zip(coefficients, attributes.coefficients, strict=True):
            self.log.name(value, f"tf.constant({coefficient!r}, {x.dtype!r})")
        result = tf.math.polyval(coefficients, x)
        self.log.record("tf.math.polyval", (coefficients, x), {}, result)
        return result
