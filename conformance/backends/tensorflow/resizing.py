"""TensorFlow's resizing, patches and the pools beside the ordinary ones."""

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import Any, Final

from conformance.backends.base import Native, Recorded, translated
from conformance.backends.tensorflow.layers import TensorFlowLayers
from conformance.case.families.convolution import TransposedConvolution
from conformance.case.families.resizing import Resize
from conformance.case.families.windows import AdaptivePool, Fold, LpPool, Patches, Unpool, as_transposed
from conformance.case.geometry import Pads, adaptive_spans, nearest_places, resolve_pads
from conformance.case.job import is_native
from conformance.errors import NotTranslatable

METHODS: Final = {"nearest": "nearest", "linear": "bilinear", "cubic": "bicubic"}


class TensorFlowResizing(TensorFlowLayers):
    """A part of the adapter, which brings the framework's modules."""

    tf: Recorded
    nn: Recorded
    image: Recorded
    image_v1: Recorded
    own: bool
    compose: Callable[[str], None]

    @abstractmethod
    def _pad(self, x: Native, pads: Pads, value: float = 0.0) -> Native:
        """With a number around the spatial axes."""

    @abstractmethod
    def _reordered(self, x: Native, outer: int, inner: int) -> Native:
        """Channels that count (outer, inner) as channels that count (inner, outer)."""

    @abstractmethod
    def conv2d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        """The operator of that name."""

    def resize1d(self, attributes: Resize, x: Native) -> Native:
        self.compose("tf.image.resize takes images of two axes")
        (size,) = attributes.size
        columns = self.tf.expand_dims(x, 2)
        return self.tf.squeeze(self.resize2d(replace(attributes, size=(size, 1)), columns), 2)

    def resize3d(self, attributes: Resize, x: Native) -> Native:
        self.compose("tf.image.resize takes images of two axes")
        # Slices first, with the pixels of each as a row that keeps its length; then rows and columns, slice by slice.
        batch, slices, *sides, channels = x.shape
        y = self.tf.reshape(x, (batch, slices, prod(sides), channels))
        y = self.resize2d(replace(attributes, size=(attributes.size[0], prod(sides))), y)
        y = self.tf.reshape(y, (batch * attributes.size[0], *sides, channels))
        y = self.resize2d(replace(attributes, size=attributes.size[1:]), y)
        return self.tf.reshape(y, (batch, *attributes.size, channels))

    def resize2d(self, attributes: Resize, x: Native) -> Native:
        if attributes.antialias or (not is_native(attributes.method) and attributes.method == "area"):
            return self._spread_over(attributes, x)
        if any(map(is_native, (attributes.method, attributes.coordinates, attributes.coefficient))):
            method = translated(attributes.method, METHODS.__getitem__)
            if not is_native(attributes.coordinates) and attributes.coordinates != "half_pixel":
                self.compose("tf.image.resize looks at half pixels alone")
            return self.image.resize(x, attributes.size, method=method)
        aligned = attributes.coordinates == "align_corners"
        match attributes:
            case Resize(method="nearest", coordinates="half_pixel", rounding="half_up"):
                return self.image.resize(x, attributes.size, method="nearest")
            case (
                Resize(method="nearest", coordinates="align_corners", rounding="half_up")
                | Resize(method="nearest", coordinates="asymmetric", rounding="floor")
            ):
                return self.image_v1.resize_nearest_neighbor(x, attributes.size, align_corners=aligned)
            case Resize(method="nearest"):
                return self._gathered(attributes, x)
            case Resize(method="linear", coordinates="half_pixel"):
                y = self.image.resize(x, attributes.size, method="bilinear")
            case Resize(method="linear"):
                y = self.image_v1.resize_bilinear(x, attributes.size, align_corners=aligned)
            case Resize(method="cubic", coordinates="half_pixel", coefficient=-0.5, edge="renormalize"):
                y = self.image.resize(x, attributes.size, method="bicubic")
            case Resize(method="cubic", coordinates="align_corners" | "asymmetric", coefficient=-0.75, edge="clamp"):
                y = self.image_v1.resize_bicubic(x, attributes.size, align_corners=aligned)
            case _:
                raise NotTranslatable(
                    "TensorFlow's cubic weights are -0.5 and renormalized at half pixels, -0.75 and clamped "
                    f"elsewhere; asked is {attributes}"
                )
        return self.tf.cast(y, x.dtype)  # Keras's recipe: what interpolates is float32

    def _spread_over(self, a: Resize, x: Native) -> Native:
        """Of all that an output covers."""
        match a:
            case Resize(method="area") if is_native(a.cover) or a.cover == "share":
                y = self.image.resize(x, a.size, method="area")
            case Resize(method="linear", edge="renormalize"):
                y = self.image.resize(x, a.size, method="bilinear", antialias=True)
            case Resize(method="cubic", edge="renormalize", coefficient=-0.5):
                y = self.image.resize(x, a.size, method="bicubic", antialias=True)
            case _:
                raise NotTranslatable(
                    "TensorFlow's areas go by shares, its widened kernels leave out what is beyond the edge and have "
                    f"a coefficient of -0.5; asked is {a}"
                )
        return self.tf.cast(y, x.dtype)

    def _gathered(self, a: Resize, x: Native) -> Native:
        """Rows and columns picked by index."""
        self.compose("no option of TensorFlow picks these elements")
        for axis, size in enumerate(a.size, start=1):
            x = self.tf.gather(x, nearest_places(x.shape[axis], size, a.coordinates, a.rounding), axis=axis)
        return x

    def extract_patches(self, attributes: Patches, x: Native) -> Native:
        a = attributes
        padding = "VALID"
        if a.padding == "same":
            padding = "SAME"
        else:
            if a.padding != "valid":
                self.compose("TensorFlow's patches have no explicit pads")
            x = self._pad(x, resolve_pads(a.padding, tuple(x.shape[1:-1]), a.window, a.stride, a.dilation))
        window, stride, dilation = ((1, *sides, 1) for sides in (a.window, a.stride, a.dilation))
        patches = self.image.extract_patches(x, window, stride, dilation, padding)
        if is_native(a.order) or a.order == "channels_last":
            return patches
        self.compose("TensorFlow has the order channels_last alone")
        return self._reordered(patches, prod(a.window), x.shape[-1])

    def fold(self, attributes: Fold, x: Native) -> Native:
        self.compose("TensorFlow has no fold")
        # A transposed convolution whose kernel sets every number of a patch in its place.
        a = attributes
        elements, depth = prod(a.window), x.shape[-1]
        if a.order == "channels_first":
            x = self._reordered(x, depth // elements, elements)
        places = self.tf.reshape(self.tf.eye(depth, dtype=x.dtype), (*a.window, depth // elements, depth))
        return self.conv2d_transpose(as_transposed(a, tuple(x.shape[1:-1])), x, places)

    def _window_reduced(self, x: Native, size: tuple[int, int], reduce: str) -> Native:
        for axis, count in enumerate(size, start=1):
            lines = []
            for begin, end in adaptive_spans(x.shape[axis], count):
                starts, sizes = [0, 0, 0, 0], [-1, -1, -1, -1]
                starts[axis], sizes[axis] = begin, end - begin
                lines.append(getattr(self.tf, reduce)(self.tf.slice(x, starts, sizes), axis=axis))
            x = self.tf.stack(lines, axis=axis)
        return x

    def adaptive_average_pool2d(self, attributes: AdaptivePool, x: Native) -> Native:
        if self.own:
            return self._by_layer("AdaptiveAveragePooling2D", {"output_size": attributes.size}, x)[0]
        return self._window_reduced(x, attributes.size, "reduce_mean")

    def adaptive_max_pool2d(self, attributes: AdaptivePool, x: Native) -> Native:
        if self.own:
            return self._by_layer("AdaptiveMaxPooling2D", {"output_size": attributes.size}, x)[0]
        return self._window_reduced(x, attributes.size, "reduce_max")

    def lp_pool2d(self, attributes: LpPool, x: Native) -> Native:
        self.compose("TensorFlow has no power pools")
        a = attributes
        x = self._pad(x, resolve_pads(a.padding, tuple(x.shape[1:-1]), a.window, a.stride, (1, 1)))
        if a.p == 2:
            x = self.tf.square(x)
        elif not a.signed:
            x = self.tf.abs(x)
        if a.p == 3:
            x = self.tf.pow(x, 3.0)
        sums = self.tf.multiply(self.nn.avg_pool2d(x, a.window, a.stride, "VALID"), float(prod(a.window)))
        if a.p == 3:
            return self.tf.pow(sums, 1 / 3)
        return self.tf.sqrt(sums) if a.p == 2 else sums

    def max_unpool2d(self, attributes: Unpool, x: Native, indices: Native) -> Native:
        self.compose("TensorFlow has no unpooling")
        (batch, *_, channels), (height, width) = x.shape, attributes.size
        if attributes.indexed == "plane":
            indices = self.tf.add(self.tf.multiply(indices, channels), self.tf.range(channels, dtype=indices.dtype))
        image: Any = self.tf.reshape(self.tf.range(batch, dtype=indices.dtype), (batch, 1, 1, 1))
        places = self.tf.stack((self.tf.broadcast_to(image, x.shape), indices), axis=-1)
        flat = self.tf.scatter_nd(places, x, (batch, height * width * channels))
        return self.tf.reshape(flat, (batch, height, width, channels))
