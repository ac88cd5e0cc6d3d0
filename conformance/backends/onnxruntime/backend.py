"""ONNX Runtime: every question is a model of one node, or of the few that an exporter writes. It has no gradients."""

import platform
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import ClassVar

import numpy as np

from conformance.backends.base import Backend, Gradients, Mode, Native, Natives, Program, cpu_flags
from conformance.backends.onnxruntime.activations import OnnxActivations
from conformance.backends.onnxruntime.graph import ELEVEN, PRESENT, Graph, Onnx
from conformance.backends.onnxruntime.normalization import OnnxNormalization
from conformance.backends.onnxruntime.windows import OnnxWindows
from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Blocks, Concat, Mean, Pad
from conformance.case.families.losses import CrossEntropy
from conformance.case.families.steps import Dropout
from conformance.case.job import Description, Tensor, Unsupported, is_native
from conformance.errors import NotTranslatable

_UNOPTIMISED = "unoptimised"
_ELEVEN = "opset11"
# What opset 11 has no node for, has with other inputs or attributes, or (Clip) has in ONNX Runtime for float32 alone.
_AFTER_ELEVEN = (
    *("gelu", "silu", "mish", "hard_swish", "relu6", "hard_tanh"),
    *("average_pool?d", "lp_pool2d", "fold", "resize?d", "mean"),
    *("batch_norm_training", "layer_norm", "group_norm", "softmax_cross_entropy"),
)


class OnnxRuntimeBackend(OnnxActivations, OnnxNormalization, OnnxWindows, Backend):
    """Sessions on the CPU, with one thread and all graph optimisations, or none in the mode `unoptimised`.

    The mode `opset11` writes the same models in ONNX's opset 11, as far as it has their nodes: what an older exporter
    wrote with the same words.
    """

    module: ClassVar[str] = "onnxruntime"
    install: ClassVar[str] = 'pip install "onnxruntime>=1.32,<1.33" "onnx>=1.20"'
    absent: ClassVar[tuple[str, ...]] = ("*:gradients",)
    partial: ClassVar[bool] = True
    offers: ClassVar[Mapping[str, Mode]] = {
        _UNOPTIMISED: Mode(about="no graph optimisations", trains=False),
        _ELEVEN: Mode(about="models in opset 11, as far as it has their nodes", trains=False, lacks=_AFTER_ELEVEN),
    }
    prelude: ClassVar[tuple[str, ...]] = (
        "from onnx import helper",
        "from onnx import numpy_helper",
        "import onnxruntime as ort",
        "options = ort.SessionOptions()",
        "options.intra_op_num_threads = 1",
    )

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        import onnx
        import onnxruntime

        self._onnx, self._runtime = onnx, onnxruntime
        if device != "cpu":
            raise NotTranslatable(f"ONNX Runtime has no device {device!r} here")
        self._options = onnxruntime.SessionOptions()
        self._options.intra_op_num_threads = 1
        self._opset = ELEVEN if _ELEVEN in modes else PRESENT
        if _UNOPTIMISED in modes:
            self._options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL

    def describe(self) -> Description:
        lacking = [glob for mode in self.modes for glob in self.offers[mode].lacks]
        return Description(
            backend="onnxruntime",
            versions={
                "onnxruntime": self._runtime.__version__,
                "onnx": self._onnx.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            device=f"{self.device} ({platform.machine()}, CPUExecutionProvider)",
            cpu_features=cpu_flags(),
            switches={
                "opset": str(self._opset.number),
                "threads": "1",
                "graph optimisations": "none" if _UNOPTIMISED in self.modes else "all",
            },
            accumulators=(("*", "float16", "outputs", "float32"),),
            absent=(*self.absent, *lacking),
            operators=tuple(
                name for name in self.operators() if not any(fnmatchcase(name, glob) for glob in lacking)
            ),
        )

    def put(self, tensor: Tensor) -> Native:
        if tensor.format == "bfloat16":
            raise NotTranslatable("ONNX Runtime exchanges no bfloat16 with NumPy")
        return np.array(tensor.data, order="C")

    def get(self, native: Native) -> Tensor:
        data = np.array(native, order="C")
        return Tensor(data.dtype.name, data)

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        self.onnx = Onnx(self._onnx, self._runtime, self._options, self.log, self._opset)
        self.np = self.onnx.np
        if _UNOPTIMISED in self.modes:
            self.log.write("options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL")
        outputs = program.run(self, operands, lambda _, value: value)
        return outputs, {name: Unsupported(reason="ONNX Runtime's inference has no gradients") for name in sources}

    def _graph(self, name: str) -> Graph:
        return Graph(self.onnx, name)

    def _first(self, x: Native) -> Native:
        return self.np.moveaxis(x, -1, 1)

    def _last(self, y: Native) -> Native:
        return self.np.moveaxis(y, 1, -1)

    def pad(self, attributes: Pad, x: Native) -> Native:
        a = attributes
        if not is_native(a.mode) and a.mode == "symmetric":
            raise NotTranslatable("ONNX has no pads of mode symmetric")
        g = self._graph("pad")
        pads = g.integers("pads", (*(low for low, _ in a.padding), *(high for _, high in a.padding)))
        inputs = [g.input("x", x), pads]
        if not is_native(a.mode) and a.mode == "constant":
            inputs.append(g.scalar("value", a.value, x))
        return g.last(g.node("Pad", *inputs, mode=a.mode))

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        g = self._graph("dense")
        inputs = [g.input("x", x), g.parameter("w", w)]
        if b is None:
            return g.last(g.node("MatMul", *inputs))
        bias = g.parameter("b", b)
        if x.ndim == 2:
            return g.last(g.node("Gemm", *inputs, bias))
        return g.last(g.node("Add", g.node("MatMul", *inputs), bias))

    def bias_add(self, attributes: NoAttributes, x: Native, b: Native) -> Native:
        g = self._graph("bias_add")
        return g.last(g.node("Add", g.input("x", x), g.parameter("b", b)))

    def _paired(self, kind: str, x: Native, y: Native) -> Native:
        g = self._graph(kind)
        return g.last(g.node(kind, g.input("x", x), g.input("y", y)))

    def matmul(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self._paired("MatMul", x, y)

    def add(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self._paired("Add", x, y)

    def multiply(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self._paired("Mul", x, y)

    def concat(self, attributes: Concat, x: Native, y: Native) -> Native:
        if is_native(attributes.axis):
            raise NotTranslatable("no default: ONNX's Concat must have its axis")
        g = self._graph("concat")
        return g.last(g.node("Concat", g.input("x", x), g.input("y", y), axis=attributes.axis))

    def mean(self, attributes: Mean, x: Native) -> Native:
        g = self._graph("mean")
        axes = g.integers("axes", attributes.axes)
        return g.last(g.node("ReduceMean", g.input("x", x), axes, keepdims=attributes.keepdims))

    def depth_to_space(self, attributes: Blocks, x: Native) -> Native:
        a = attributes
        g = self._graph("depth_to_space")
        mode = a.order if is_native(a.order) else a.order.upper()
        image = g.input("x", self._first(x))
        return self._last(g.last(g.node("DepthToSpace", image, blocksize=a.block, mode=mode)))

    def space_to_depth(self, attributes: Blocks, x: Native) -> Native:
        a = attributes
        g = self._graph("space_to_depth")
        image = g.input("x", self._first(x))
        if is_native(a.order) or a.order == "dcr":
            return self._last(g.last(g.node("SpaceToDepth", image, blocksize=a.block)))
        self.compose("ONNX's SpaceToDepth has the order dcr alone")
        batch, height, width, channels = x.shape
        rows, columns = height // a.block, width // a.block
        split = g.integers("split", (batch, channels, rows, a.block, columns, a.block))
        parts = g.node("Transpose", g.node("Reshape", image, split), perm=(0, 1, 3, 5, 2, 4))
        return self._last(
            g.last(g.node("Reshape", parts, g.integers("merged", (batch, channels * a.block**2, rows, columns))))
        )

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("flatten")
        return g.last(g.node("Flatten", g.input("x", x), axis=1))

    def softmax_cross_entropy(
        self, attributes: CrossEntropy, logits: Native, labels: Native, weights: Native | None = None
    ) -> Native:
        a = attributes
        if a.smoothing:
            raise NotTranslatable("SoftmaxCrossEntropyLoss smooths no labels")
        g = self._graph("softmax_cross_entropy")
        inputs = [g.input("logits", logits), g.input("labels", labels)]
        if weights is not None:
            inputs.append(g.input("weights", weights))
        ignored = {} if a.ignored is None else {"ignore_index": a.ignored}
        return g.last(g.node("SoftmaxCrossEntropyLoss", *inputs, reduction=a.reduction, **ignored))

    def dropout(self, attributes: Dropout, x: Native, mask: Native) -> Native:
        g = self._graph("dropout")
        kept = g.node("Cast", g.input("mask", mask), to=self.onnx.element_type(x.dtype))
        scaled = g.node("Mul", g.input("x", x), kept)
        return g.last(g.node("Div", scaled, g.scalar("keep", attributes.keep, x)))
