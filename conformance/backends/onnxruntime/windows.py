"""ONNX's convolutions and pools, and what lies beside them, on channels-first tensors."""

from abc import abstractmethod
from math import prod
from typing import Any

import numpy as np

from conformance.backends.base import Idiom, Native, Natives, Recorded
from conformance.backends.onnxruntime.graph import Graph
from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution, TransposedConvolution, settled
from conformance.case.families.pooling import AveragePool, IndexedMaxPool, MaxPool, index_weights
from conformance.case.families.resizing import Resize
from conformance.case.families.windows import Fold, LpPool, Unpool
from conformance.case.geometry import Padding, extent, resolve_pads
from conformance.case.job import is_native
from conformance.errors import NotTranslatable


def padding_attributes(padding: Padding) -> dict[str, Any]:
    """Pads as ONNX's sliding operators take them; without any there are none."""
    if is_native(padding) or padding == "valid":
        return {}
    if padding == "same":
        return {"auto_pad": "SAME_UPPER"}
    if padding == "same_lower":
        return {"auto_pad": "SAME_LOWER"}
    return {"pads": [*(low for low, _ in padding), *(high for _, high in padding)]}


class OnnxWindows(Idiom):
    """A part of the adapter, which brings new models and the layout."""

    np: Recorded

    @abstractmethod
    def _graph(self, name: str) -> Graph:
        """An empty model."""

    @abstractmethod
    def _first(self, x: Native) -> Native:
        """With the channels behind the batch."""

    @abstractmethod
    def _last(self, y: Native) -> Native:
        """With the channels at the end."""

    def _kernel(self, w: Native) -> Native:
        """(*spatial, a, b) as (b, a, *spatial): ONNX's order, of plain and of transposed convolutions."""
        rank = w.ndim - 2
        return self.np.transpose(w, (rank + 1, rank, *range(rank)))

    def _slid(self, kind: str, x: Native, w: Native, b: Native | None, **attributes: Any) -> Native:
        g = self._graph(kind)
        inputs = [g.input("x", self._first(x)), g.parameter("w", self._kernel(w))]
        if b is not None:
            inputs.append(g.parameter("b", b))
        return self._last(g.last(g.node(kind, *inputs, **attributes)))

    def conv1d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        a = attributes
        return self._slid(
            "Conv", x, w, b, strides=a.stride, dilations=a.dilation, group=a.groups, **padding_attributes(a.padding)
        )

    conv2d = conv3d = conv1d

    def conv1d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        a = attributes
        if a.pad_mode != "zeros":
            raise NotTranslatable("ONNX's transposed convolutions have no circular pads")
        if a.output_size and isinstance(a.padding, tuple):
            self.compose("ONNX takes pads or an output shape")
            a = settled(a, tuple(x.shape[1:-1]), tuple(w.shape[: len(a.stride)]))
        output_padding = a.output_padding
        size = {"output_shape": a.output_size} if a.output_size else {}
        if not size and not is_native(a.padding) and a.padding == "valid" and not self.own:
            # The output has a stride's length for every input, even where the kernel is shorter.
            output_padding = tuple(
                max(s - extent(k, d), 0) for s, k, d in zip(a.stride, w.shape, a.dilation, strict=False)
            )
        return self._slid(
            "ConvTranspose",
            x,
            w,
            b,
            strides=a.stride,
            dilations=a.dilation,
            group=a.groups,
            output_padding=output_padding,
            **size,
            **padding_attributes(a.padding),
        )

    conv2d_transpose = conv3d_transpose = conv1d_transpose

    def _pooled(self, kind: str, x: Native, **attributes: Any) -> Native:
        g = self._graph(kind)
        return self._last(g.last(g.node(kind, g.input("x", self._first(x)), **attributes)))

    def max_pool1d(self, attributes: MaxPool, x: Native) -> Native:
        a = attributes
        return self._pooled(
            "MaxPool",
            x,
            kernel_shape=a.window,
            strides=a.stride,
            dilations=a.dilation,
            ceil_mode=a.ceil_mode,
            **padding_attributes(a.padding),
        )

    max_pool2d = max_pool3d = max_pool1d

    def max_pool1d_with_indices(self, attributes: IndexedMaxPool, x: Native) -> Natives:
        a = attributes
        order = a.indexed if is_native(a.indexed) else int(a.indexed == "columns")
        g = self._graph("max_pool_with_indices")
        maxima, indices = g.nodes(
            "MaxPool",
            2,
            g.input("x", self._first(x)),
            kernel_shape=a.window,
            strides=a.stride,
            dilations=a.dilation,
            ceil_mode=a.ceil_mode,
            storage_order=order,
            **padding_attributes(a.padding),
        )
        if not is_native(a.indexed) and a.indexed not in ("planes", "columns"):
            self.compose("ONNX's indices count the planes of all images")
            counts = (x.shape[0], x.shape[-1], *(1 for _ in a.window))
            numbers = np.indices(counts, np.int64)
            starts = numbers[0] * counts[1] + numbers[1]
            image, place, channel = index_weights(a.indexed, x.shape)
            places = g.node("Sub", indices, g.parameter("starts", starts * prod(x.shape[1:-1])))
            scaled = g.node("Mul", places, g.parameter("place", np.array(place, np.int64)))
            indices = g.node("Add", scaled, g.parameter("own", numbers[0] * image + numbers[1] * channel))
        found = g.run(maxima, indices)
        return {"output": self._last(found[0]), "indices": self._last(found[1])}

    max_pool2d_with_indices = max_pool3d_with_indices = max_pool1d_with_indices

    def average_pool1d(self, attributes: AveragePool, x: Native) -> Native:
        a = attributes
        return self._pooled(
            "AveragePool",
            x,
            kernel_shape=a.window,
            strides=a.stride,
            ceil_mode=a.ceil_mode,
            count_include_pad=a.count_padding,
            **padding_attributes(a.padding),
        )

    average_pool2d = average_pool3d = average_pool1d

    def _global_pool(self, kind: str, x: Native) -> Native:
        g = self._graph(kind)
        return g.last(g.node("Flatten", g.node(kind, g.input("x", self._first(x))), axis=1))

    def global_average_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self._global_pool("GlobalAveragePool", x)

    def global_max_pool2d(self, attributes: NoAttributes, x: Native) -> Native:
        return self._global_pool("GlobalMaxPool", x)

    def lp_pool2d(self, attributes: LpPool, x: Native) -> Native:
        a = attributes
        pads = padding_attributes(a.padding)
        if not is_native(a.signed) and a.signed and a.p % 2:
            self.compose("ONNX's norms take absolute values")
            g = self._graph("sum_pool")
            image = g.input("x", self._first(x))
            if a.p == 3:
                image = g.node("Pow", image, g.scalar("p", 3, x))
            mean = g.node("AveragePool", image, kernel_shape=a.window, strides=a.stride, count_include_pad=1, **pads)
            sums = g.node("Mul", mean, g.scalar("elements", prod(a.window), x))
            return self._last(g.last(sums if a.p == 1 else g.node("Pow", sums, g.scalar("root", 1 / 3, x))))
        return self._pooled("LpPool", x, kernel_shape=a.window, strides=a.stride, p=a.p, **pads)

    def max_unpool2d(self, attributes: Unpool, x: Native, indices: Native) -> Native:
        a = attributes
        if a.indexed != "plane":
            raise NotTranslatable("ONNX's indices count planes in the order of channels-first images")
        batch, channels = x.shape[0], x.shape[-1]
        g = self._graph("max_unpool2d")
        # ONNX's indices count the whole tensor: every plane begins where the one before it ends.
        starts = np.arange(batch * channels, dtype=np.int64).reshape(batch, channels, 1, 1) * prod(a.size)
        places = g.node("Add", g.input("indices", self._first(indices)), g.parameter("starts", starts))
        # A window that ends where the output does: sizes are checked against the pool's, and indices decide.
        window = tuple(n - count + 1 for n, count in zip(a.size, x.shape[1:-1], strict=True))
        return self._last(
            g.last(g.node("MaxUnpool", g.input("x", self._first(x)), places, kernel_shape=window, strides=(1, 1)))
        )

    def fold(self, attributes: Fold, x: Native) -> Native:
        a = attributes
        elements = prod(a.window)
        channels, count = x.shape[-1] // elements, prod(x.shape[1:-1])
        pads = resolve_pads(a.padding, a.size, a.window, a.stride, a.dilation)
        g = self._graph("fold")
        columns = g.input("x", self._first(x))
        if a.order == "channels_last":  # Col2Im has the elements of one channel together
            split = g.node("Reshape", columns, g.integers("split", (x.shape[0], elements, channels, count)))
            columns = g.node("Transpose", split, perm=(0, 2, 1, 3))
        columns = g.node("Reshape", columns, g.integers("columns", (x.shape[0], elements * channels, count)))
        return self._last(
            g.last(
                g.node(
                    "Col2Im",
                    columns,
                    g.integers("image", a.size),
                    g.integers("block", a.window),
                    strides=a.stride,
                    dilations=a.dilation,
                    **padding_attributes(pads),
                )
            )
        )

    def resize1d(self, attributes: Resize, x: Native) -> Native:
        a = attributes
        if not is_native(a.method) and a.method == "area":
            raise NotTranslatable("ONNX's Resize has no areas")
        settings: dict[str, Any] = {"mode": a.method, "coordinate_transformation_mode": a.coordinates}
        if is_native(a.method):
            pass
        elif a.method == "nearest":
            roundings = {"half_up": "round_prefer_ceil", "half_down": "round_prefer_floor"}
            rounding = a.rounding
            settings["nearest_mode"] = rounding if is_native(rounding) else roundings.get(rounding, rounding)
        elif a.method == "cubic":
            settings["cubic_coeff_a"] = a.coefficient
            settings["exclude_outside"] = a.edge if is_native(a.edge) else a.edge == "renormalize"
        if a.antialias:
            settings |= {"antialias": 1, "exclude_outside": a.edge == "renormalize"}
        g = self._graph("resize")
        sizes = g.integers("sizes", (x.shape[0], x.shape[-1], *a.size))
        return self._last(g.last(g.node("Resize", g.input("x", self._first(x)), "", "", sizes, **settings)))

    resize2d = resize3d = resize1d
