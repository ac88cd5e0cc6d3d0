"""JAX, jitted, as its users write it: `jax.lax` and `jax.numpy` on channels-last arrays, `jax.vjp` for gradients."""

import math
import os
import platform
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
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
    kind_of,
    one_at_a_time,
    variable,
)
from conformance.backends.jax.accumulators import ACCUMULATORS, STORED_SUMS
from conformance.backends.jax.activations import JaxActivations
from conformance.backends.jax.backward import JaxBackward
from conformance.backends.jax.indexed_pooling import JaxIndexedPooling
from conformance.backends.jax.losses import JaxLosses
from conformance.backends.jax.networks import JaxNetworks
from conformance.backends.jax.normalization import JaxNormalization
from conformance.backends.jax.resizing import JaxResizing
from conformance.backends.jax.sampling import JaxSampling
from conformance.backends.jax.steps import JaxSteps
from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Blocks, Concat, Mean, Pad, additions, cuts
from conformance.case.families.convolution import Convolution, TransposedConvolution, settled
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.signals import Polynomial, Signal
from conformance.case.geometry import Pads, covering_pads, extent, resolve_pads, transposed_crop
from conformance.case.job import BuildNetwork, Description, Tensor, is_native
from conformance.case.model import Layout
from conformance.case.operators import Chain
from conformance.errors import NotTranslatable
from conformance.formats import INTEGERS

SPATIAL: Final = {1: "W", 2: "HW", 3: "DHW"}
# Compiled programs that stay in memory: the data sets of a case, and the layers of a training, share theirs.
KEPT_PROGRAMS: Final = 64


@dataclass(frozen=True, slots=True)
class Jitted:
    """A program as one jitted function of operands and cotangents.

    Tracing writes down its native calls, and the names of its outputs in order (jit sorts them).
    """

    function: Callable[[Natives, Natives], tuple[Natives, Natives]]
    lines: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)


class JaxBackend(
    JaxNetworks,
    JaxActivations,
    JaxNormalization,
    JaxLosses,
    JaxSteps,
    JaxSampling,
    JaxResizing,
    JaxIndexedPooling,
    JaxBackward,
    mixing.MixedLayers,
    Backend,
):
    """`jax.lax` and `jax.numpy`, with x64 on, full precision and one thread."""

    module: ClassVar[str] = "jax"
    install: ClassVar[str] = 'pip install "jax>=0.5,<0.11"'
    # Initialisers draw their own numbers: they are compared by distribution, not on given draws.
    absent: ClassVar[tuple[str, ...]] = ("glorot_uniform", "fractional_max_pool2d")
    prelude: ClassVar[tuple[str, ...]] = (
        "import jax",
        "import jax.numpy as jnp",
        "import jax.scipy.signal",
        "from jax import lax",
        "from jax.example_libraries import optimizers",
        'jax.config.update("jax_platforms", "cpu")',
        'jax.config.update("jax_enable_x64", True)',
    )
    layouts: ClassVar[Mapping[Layout, tuple[str, ...]]] = {
        "channels_first": (
            *("conv?d", "conv?d_transpose", "max_pool?d", "average_pool?d", "resize?d"),
            *("batch_norm*", "group_norm", "instance_norm", "local_response_norm"),
        )
    }
    native: ClassVar[str] = 'jnp.asarray({values}, "{format}")'
    offers: ClassVar[Mapping[str, Mode]] = {
        "eager": Mode(about="operation by operation, with jax_disable_jit", costly=True),
        mixing.NAME: mixing.MODE,
        "tf32": Mode(
            about="matrix products and convolutions may round to TF32", devices=("cuda",), excludes=(STOCK,)
        ),
        STOCK: Mode(about="no switch is set: without x64, precision and threads as JAX has them"),
    }

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        import jax
        import jax.example_libraries.optimizers
        import jax.scipy.signal

        self._jax = jax
        if self.strict:
            jax.config.update("jax_enable_x64", True)
            jax.config.update("jax_default_matmul_precision", "tensorfloat32" if "tf32" in modes else "highest")
        if "eager" in modes:
            jax.config.update("jax_disable_jit", True)
        # Compiling costs far more than running: what was compiled once is kept on disk, for every later run.
        if not jax.config.jax_compilation_cache_dir:
            caches = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
            jax.config.update("jax_compilation_cache_dir", str(Path(caches) / "cnn-conformance" / "jax"))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
        jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
        try:
            places = jax.devices(kind_of(device))
            self.place = places[int(device.partition(":")[2] or 0)]
        except (RuntimeError, IndexError, ValueError) as error:
            raise NotTranslatable(f"this JAX sees no {device} device: {error}") from error
        self._kept: OrderedDict[Any, Jitted] = OrderedDict()
        self._pushed_last: tuple[Any, Callable[[Natives, Natives], Natives]] | None = None
        self._pulled_last: tuple[Any, Callable[[Natives, Natives, Natives], Natives]] | None = None
        self._lines: tuple[str, ...] = ()

    def describe(self) -> Description:
        jax = self._jax
        device = platform.machine() if self.device == "cpu" else self.place.device_kind
        return Description(
            backend="jax",
            versions={
                "jax": jax.__version__,
                "jaxlib": jax.lib.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            device=f"{self.device} ({device})",
            cpu_features=cpu_flags(),
            switches={
                "x64": "on" if jax.config.jax_enable_x64 else "off",
                "precision": str(jax.config.jax_default_matmul_precision or "default"),
                "jit": "off" if jax.config.jax_disable_jit else "on",
            },
            accumulators=ACCUMULATORS,
            absent=self.absent,
            operators=self.operators(),
            modes=self.modes,
            stored_sums=STORED_SUMS,
            integers=tuple((glob, name) for glob in ("conv?d", "max_pool?d") for name in INTEGERS),
            forward_mode=True,
            second_order=True,
            layer_formats=mixing.layer_formats(self.modes),
        )

    def device_of(self, native: Native) -> str:
        others = sorted({place.platform for place in native.devices()} - {self.place.platform})
        return others[0] if others else self.device

    def put(self, tensor: Tensor) -> Native:
        jax = self._jax
        # Copied: device_put would alias the job's memory.
        data = np.array(tensor.data, order="C")
        if tensor.format == "bfloat16":
            data = data.view(jax.numpy.bfloat16)
        return jax.device_put(data, self.place)

    def get(self, native: Native) -> Tensor:
        data = np.array(native, order="C")
        name = data.dtype.name
        return Tensor(name, data.view(np.uint16) if name == "bfloat16" else data)

    def cast(self, x: Native, format_name: str) -> Native:
        floats = self._jax.numpy.issubdtype(x.dtype, self._jax.numpy.floating)
        return self.lax.convert_element_type(x, format_name) if floats and x.dtype.name != format_name else x

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        if sources:
            try:
                return self._run(program, operands, sources, cotangents)
            except Exception:  # of the outputs, or of some gradients: they are asked apart
                outputs, _ = self._run(program, operands, (), {})
                return outputs, one_at_a_time(
                    sources, lambda name: self._run(program, operands, (name,), cotangents)[1][name]
                )
        return self._run(program, operands, (), {})

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        jax = self._jax

        def pushed(operands: Natives, tangents: Natives) -> Natives:
            def run(given: Natives) -> Natives:
                values = {**operands, **given}
                self.record(values)
                return program.run(self, values, lambda _, value: value)

            primals = {name: operands[name] for name in tangents}
            found: Natives = jax.jvp(run, (primals,), (tangents,))[1]
            self.log = CallLog()  # lets the traced values go
            return found

        kinds = tuple((name, value.shape, str(value.dtype)) for name, value in operands.items())
        if self._pushed_last is None or self._pushed_last[0] != (program, kinds):
            # The data sets of a case come one after the other, and share it.
            self._pushed_last = (program, kinds), jax.jit(pushed)
        found: Natives = jax.block_until_ready(self._pushed_last[1](operands, tangents))
        return found

    def pull_twice(
        self, program: Program, operands: Natives, cotangents: Natives, directions: Natives, names: Sequence[str]
    ) -> Natives:
        jax = self._jax

        def pulled_twice(operands: Natives, cotangents: Natives, directions: Natives) -> Natives:
            def pulled(given: Natives, cotangents: Natives) -> Natives:
                def run(given: Natives) -> Natives:
                    values = {**operands, **given}
                    self.record(values)
                    outputs = program.run(self, values, lambda _, value: value)
                    return {name: outputs[name] for name in cotangents}

                gradients: Natives = jax.vjp(run, given)[1](cotangents)[0]
                return gradients

            given = {name: operands[name] for name in directions}
            by_operands, by_cotangents = jax.vjp(pulled, given, cotangents)[1](directions)
            self.log = CallLog()  # lets the traced values go
            return {**by_operands, **by_cotangents}

        kinds = tuple((name, value.shape, str(value.dtype)) for name, value in operands.items())
        if self._pulled_last is None or self._pulled_last[0] != (program, kinds):
            # The data sets of a case come one after the other, and share it.
            self._pulled_last = (program, kinds), jax.jit(pulled_twice)
        found: Natives = jax.block_until_ready(self._pulled_last[1](operands, cotangents, directions))
        return found

    def _run(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Natives]:
        """Runs the jitted function, made at the first question of its kind; of a network, its jitted layers."""
        if isinstance(program.attributes, Chain) and program.attributes.network:
            return self._network(program, operands, sources, cotangents)

        def kinds(values: Natives) -> tuple[tuple[str, tuple[int, ...], str], ...]:
            return tuple((name, value.shape, str(value.dtype)) for name, value in values.items())

        key = (program, kinds(operands), sources, kinds(cotangents))
        jitted = self._kept.pop(key, None) or self._jit(program, sources)
        self._lines = tuple(jitted.lines)
        outputs, gradients = self._jax.block_until_ready(jitted.function(operands, cotangents))
        self._kept[key] = jitted
        if len(self._kept) > KEPT_PROGRAMS:
            self._kept.popitem(last=False)
        return (
            {name: outputs[name] for name in jitted.names},
            {name: gradients[name] for name in sources if name in gradients},
        )

    def _jit(self, program: Program, sources: tuple[str, ...]) -> Jitted:
        jax = self._jax

        def traced(operands: Natives, cotangents: Natives) -> tuple[Natives, Natives]:
            def run(differentiated: Natives) -> tuple[Natives, Natives]:
                def tap(name: str, y: Native) -> Native:
                    if name not in probes:
                        return y
                    probed = y + differentiated[name]
                    self.log.alias(probed, y)
                    return probed

                values = {name: differentiated.get(name, value) for name, value in operands.items()}
                self.record(values)
                outputs = program.run(self, values, tap)
                jitted.lines[:], jitted.names[:] = self.log.lines(outputs), outputs
                self._lines = tuple(jitted.lines)  # known before it is compiled, which may fail
                self.log = CallLog()  # lets the traced values go
                return {name: outputs[name] for name in cotangents}, outputs

            # A layer's output is differentiated through a probe added to it: -0.0, which changes no number.
            probes: Natives = {}
            layers = [name for name in sources if name not in operands]
            if layers:
                shapes = jax.eval_shape(lambda: run({})[1])
                probes = {name: jax.numpy.full_like(shapes[name], -0.0) for name in layers}
            if not sources:
                return run({})[1], {}
            differentiated = {name: operands[name] if name in operands else probes[name] for name in sources}
            heads, pull, outputs = jax.vjp(run, differentiated, has_aux=True)
            if any(heads[name].shape != value.shape for name, value in cotangents.items()):
                return outputs, {}
            return outputs, pull(cotangents)[0]

        jitted = Jitted(jax.jit(traced))
        return jitted

    def record(self, values: Mapping[str, Native]) -> None:
        """Starts a script in which the traced operands have their names."""
        jax, self.log = self._jax, CallLog()
        for name, value in values.items():
            self.log.name(value, variable(name))
        self.jnp = Recorded(jax.numpy, "jnp", self.log)
        self.nn = Recorded(jax.nn, "jax.nn", self.log)
        self.lax = Recorded(jax.lax, "lax", self.log)
        self.image = Recorded(jax.image, "jax.image", self.log)
        self.ops = Recorded(jax.ops, "jax.ops", self.log)
        self.random = Recorded(jax.random, "jax.random", self.log)
        self.signal = Recorded(jax.scipy.signal, "jax.scipy.signal", self.log)
        for name in ("max", "add"):
            self.log.name(getattr(jax.lax, name), f"lax.{name}")

    def calls(self, outputs: Natives) -> tuple[str, ...]:
        return self._lines

    @classmethod
    def script(cls, calls: Sequence[str], names: Names) -> tuple[str, ...]:
        outputs, heads = (f"[{', '.join(found)}]" for found in (names.outputs, names.heads))
        given = ", ".join((*names.operands, *names.cotangents))
        start = ("@jax.jit", f"def run({given}):")
        if not names.sources:
            return (*start, *(f"    {call}" for call in calls), f"    return {outputs}", f"{outputs} = run({given})")
        sources = ", ".join(names.sources)
        # What is assigned within a function is local to it: a state that goes by its operand's name is handed over.
        state = [f"{name}={name}" for name in names.outputs if name in names.operands and name not in names.sources]
        return (
            *start,
            f"    def forward({', '.join((*names.sources, *state))}):",
            *(f"        {call}" for call in calls),
            f"        return {heads}, {outputs}",
            f"    _, pull, outputs = jax.vjp(forward, {sources}, has_aux=True)",
            f"    return outputs, pull([{', '.join(names.cotangents)}])",
            f"{outputs}, [{', '.join(names.gradients)}] = run({given})",
        )

    def trainer(self, build: BuildNetwork) -> Trainer:
        from conformance.backends.jax.training import JaxTrainer

        return JaxTrainer(self, build)

    # Layout: channels-last is as good as any; kernels are (*spatial, in, out) in all.

    def _dimensions(self, rank: int) -> tuple[str, str, str]:
        """What JAX's convolutions call the axes of data, kernel and output."""
        axes = SPATIAL[rank]
        data = f"NC{axes}" if self.channels_first else f"N{axes}C"
        return data, f"{axes}IO", data

    def _padding(self, padding: Any) -> Any:
        """SAME and its kin are JAX's own, by the same names."""
        return padding.upper() if isinstance(padding, str) else padding

    def _grouped(self, groups: int, x: Native, w: Native, function: Callable[[Native, Native], Native]) -> Native:
        """Splits data and kernel along their channels where the framework's function has no groups."""
        if groups == 1:
            return function(x, w)
        axis = 1 if self.channels_first else -1
        pairs = zip(self.jnp.split(x, groups, axis=axis), self.jnp.split(w, groups, axis=-1), strict=True)
        return self.jnp.concatenate([function(*pair) for pair in pairs], axis=axis)

    def _biased(self, y: Native, b: Native | None) -> Native:
        if b is not None and self.channels_first:
            b = self.jnp.reshape(b, (-1, *(1 for _ in y.shape[2:])))
        return y if b is None else self.jnp.add(y, b)

    # Convolution

    def _conv(self, a: Convolution, x: Native, w: Native, b: Native | None) -> Native:
        y = self.lax.conv_general_dilated(
            x,
            w,
            window_strides=a.stride,
            padding=self._padding(a.padding),
            rhs_dilation=a.dilation,
            dimension_numbers=self._dimensions(len(a.stride)),
            feature_group_count=a.groups,
            precision="highest",
        )
        return self._biased(y, b)

    def conv1d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        return self._conv(attributes, x, w, b)

    conv2d = conv3d = conv1d

    def _conv_transpose(self, a: TransposedConvolution, x: Native, w: Native, b: Native | None) -> Native:
        if a.pad_mode != "zeros":
            raise NotTranslatable("JAX's transposed convolutions have no circular pads")
        rank = len(a.stride)
        if a.output_size:
            self.compose("JAX's transposed convolutions are not told a size")
            a = settled(a, self.sizes(x), tuple(w.shape[:rank]))
        padding: Any = self._padding(a.padding)
        if self.own:
            # JAX's default takes the kernel as it lies, (in, out), and does not flip it.
            if isinstance(a.padding, tuple) or a.padding == "same_lower" or a.groups != 1:
                self.compose("JAX's transposed convolutions have SAME and VALID without groups")
            y = self._transposed(a, x, self.jnp.swapaxes(w, -1, -2), padding, flipped=False)
            return self._biased(y, b)
        if a.padding not in ("same", "valid"):
            # Pads of the convolution that runs over the strided input.
            sizes, kernel = self.sizes(x), tuple(w.shape[:rank])
            starts, outputs = transposed_crop(a.padding, sizes, kernel, a.stride, a.dilation, a.output_padding)
            spans = tuple(extent(k, d) for k, d in zip(kernel, a.dilation, strict=True))
            padding = tuple(
                (span - 1 - start, start + size - 1 - (n - 1) * s)
                for span, start, size, n, s in zip(spans, starts, outputs, sizes, a.stride, strict=True)
            )

        def conv(x: Native, w: Native) -> Native:
            return self._transposed(a, x, w, padding, flipped=True)

        return self._biased(self._grouped(a.groups, x, w, conv), b)

    def _transposed(self, a: TransposedConvolution, x: Native, w: Native, padding: Any, *, flipped: bool) -> Native:
        """Without groups; a kernel that is not flipped lies as that of a convolution does, (in, out)."""
        return self.lax.conv_transpose(
            x,
            w,
            strides=a.stride,
            padding=padding,
            rhs_dilation=a.dilation,
            dimension_numbers=self._dimensions(len(a.stride)),
            **({"transpose_kernel": True} if flipped else {}),
            precision="highest",
        )

    def conv1d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        return self._conv_transpose(attributes, x, w, b)

    conv2d_transpose = conv3d_transpose = conv1d_transpose

    # Pooling

    def _windows(
        self, a: MaxPool | AveragePool, sizes: tuple[int, ...], dilation: tuple[int, ...]
    ) -> tuple[Any, Pads, Pads]:
        """JAX's padding; in ceil mode also its parts: the pads, and what the last window hangs over their end."""
        none: Pads = ((0, 0),) * len(sizes)
        if not a.ceil_mode:
            return a.padding.upper() if isinstance(a.padding, str) else self.whole((0, 0), a.padding), none, none
        self.compose("JAX's windows have no ceil mode")
        pads = resolve_pads(a.padding, sizes, a.window, a.stride, dilation)
        covered = covering_pads(sizes, pads, a.window, a.stride, dilation, ceil_mode=True)
        over = tuple((0, max(end - high, 0)) for (_, end), (_, high) in zip(covered, pads, strict=True))
        padding = tuple((low, high + more) for (low, high), (_, more) in zip(pads, over, strict=True))
        return self.whole((0, 0), padding), pads, over

    def _max_pool(self, a: MaxPool, x: Native) -> Native:
        padding, _, _ = self._windows(a, self.sizes(x), a.dilation)
        return self.lax.reduce_window(
            x,
            -math.inf,
            self._jax.lax.max,
            self.whole(1, a.window),
            self.whole(1, a.stride),
            padding,
            window_dilation=self.whole(1, a.dilation),
        )

    def max_pool1d(self, attributes: MaxPool, x: Native) -> Native:
        return self._max_pool(attributes, x)

    max_pool2d = max_pool3d = max_pool1d

    def _average_pool(self, a: AveragePool, x: Native) -> Native:
        self.compose("JAX has no average pools")
        # Flax's recipe: the sum of the window, divided by its size or by the elements that count.
        padding, pads, over = self._windows(a, self.sizes(x), (1,) * len(a.window))
        window, stride, add = self.whole(1, a.window), self.whole(1, a.stride), self._jax.lax.add
        total = self.lax.reduce_window(x, 0.0, add, window, stride, padding)
        if not any(map(any, over)) and (a.count_padding or a.padding == "valid"):
            return self.jnp.divide(total, math.prod(a.window))
        counted = self.jnp.ones(self.whole(1, self.sizes(x)), x.dtype)
        if a.count_padding:
            counted = self.jnp.pad(counted, self.whole((0, 0), pads), constant_values=1.0)
            padding = self.whole((0, 0), over)
        return self.jnp.divide(total, self.lax.reduce_window(counted, 0.0, add, window, stride, padding))

    def average_pool1d(self, attributes: AveragePool, x: Native) -> Native:
        return self._average_pool(attributes, x)

    average_pool2d = average_pool3d = average_pool1d

    # Everything else

    def pad(self, attributes: Pad, x: Native) -> Native:
        padding = attributes.padding
        if any(min(pair) < 0 for pair in padding):
            if not is_native(attributes.mode) and attributes.mode == "constant":
                value = self.jnp.array(attributes.value, x.dtype)
                return self.lax.pad(x, value, tuple((low, high, 0) for low, high in padding))
            self.compose("jnp.pad cuts nothing off, and lax.pad has constants alone")
            starts = tuple(low for low, _ in cuts(padding))
            ends = tuple(n - high for n, (_, high) in zip(x.shape, cuts(padding), strict=True))
            x, padding = self.lax.slice(x, starts, ends), additions(padding)
        if is_native(attributes.mode):
            return self.jnp.pad(x, padding)
        if attributes.mode == "constant":
            return self.jnp.pad(x, padding, constant_values=attributes.value)
        return self.jnp.pad(x, padding, mode=attributes.mode)

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        return self._biased(self.jnp.dot(x, w, precision="highest"), b)

    def bias_add(self, attributes: NoAttributes, x: Native, b: Native) -> Native:
        return self.jnp.add(x, b)

    def matmul(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.jnp.matmul(x, y, precision="highest")

    def add(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.jnp.add(x, y)

    def multiply(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.jnp.multiply(x, y)

    def concat(self, attributes: Concat, x: Native, y: Native) -> Native:
        return self.jnp.concatenate((x, y), axis=attributes.axis)

    def mean(self, attributes: Mean, x: Native) -> Native:
        return self.jnp.mean(x, axis=attributes.axes, keepdims=attributes.keepdims)

    def global_average_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self.jnp.mean(x, axis=(1, 2))

    def global_max_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self.jnp.max(x, axis=(1, 2))

    def depth_to_space(self, attributes: Blocks, x: Native) -> Native:
        self.compose("JAX has no depth_to_space")
        # Without a function of its own: axes are split, permuted and merged.
        (n, height, width, depth), side = x.shape, attributes.block
        channels = depth // side**2
        inside, axes = ((side, side, channels), (0, 1, 3, 2, 4, 5))
        if attributes.order == "crd":
            inside, axes = ((channels, side, side), (0, 1, 4, 2, 5, 3))
        split = self.jnp.transpose(self.jnp.reshape(x, (n, height, width, *inside)), axes)
        return self.jnp.reshape(split, (n, height * side, width * side, channels))

    def space_to_depth(self, attributes: Blocks, x: Native) -> Native:
        self.compose("JAX has no space_to_depth")
        (n, height, width, channels), side = x.shape, attributes.block
        height, width = height // side, width // side
        axes = (0, 1, 3, 2, 4, 5) if attributes.order == "dcr" else (0, 1, 3, 5, 2, 4)
        split = self.jnp.transpose(self.jnp.reshape(x, (n, height, side, width, side, channels)), axes)
        return self.jnp.reshape(split, (n, height, width, channels * side**2))

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        return self.jnp.reshape(x, (x.shape[0], math.prod(x.shape[1:])))

    def _signal(self, x: Native, w: Native, mode: str, name: str) -> Native:
        # jnp's "same" has the size of the longer one
        if x.ndim == 1 and (is_native(mode) or mode != "same" or w.size <= x.size):
            return getattr(self.jnp, name)(x, w, mode=mode, precision="highest")
        return getattr(self.signal, name)(x, w, mode=mode, method="direct", precision="highest")

    def convolve(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self._signal(x, w, attributes.mode, "convolve")

    def correlate(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self._signal(x, w, attributes.mode, "correlate")

    def polynomial(self, attributes: Polynomial, x: Native) -> Native:
        return self.jnp.polyval(self.jnp.array(attributes.coefficients, x.dtype), x)
