"""TensorFlow's gradient kernels, called alone: the operations that its tapes call."""

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any

from conformance.backends.base import Native, Recorded
from conformance.case.families.backward import MaxPoolGradient, WeightGradient
from conformance.case.geometry import Pads, resolve_pads
from conformance.case.job import is_native


class TensorFlowBackward:
    """A part of the adapter, which brings the framework's modules."""

    tf: Recorded
    raw: Recorded
    compose: Callable[[str], None]
    whole: Callable[[Any, Sequence[Any]], tuple[Any, ...]]

    @abstractmethod
    def _pad(self, x: Native, pads: Pads, value: float = 0.0) -> Native:
        """With a number around the spatial axes."""

    def conv2d_weight_gradient(self, attributes: WeightGradient, x: Native, g: Native) -> Native:
        a = attributes
        settings: dict[str, Any] = {}
        if a.padding in ("same", "valid"):
            settings["padding"] = a.padding.upper()
        else:
            if a.padding == "same_lower":
                self.compose("TensorFlow has no SAME_LOWER")
            pads = resolve_pads(a.padding, tuple(x.shape[1:-1]), a.kernel, a.stride, a.dilation)
            flat = [n for pair in self.whole((0, 0), pads) for n in pair]
            settings |= {"padding": "EXPLICIT", "explicit_paddings": flat}
        return self.raw.Conv2DBackpropFilter(
            input=x,
            filter_sizes=(*a.kernel, x.shape[-1] // a.groups, g.shape[-1]),
            out_backprop=g,
            strides=self.whole(1, a.stride),
            dilations=self.whole(1, a.dilation),
            **settings,
        )

    def conv3d_weight_gradient(self, attributes: WeightGradient, x: Native, g: Native) -> Native:
        a = attributes
        padding = "VALID"
        if a.padding in ("same", "valid"):
            padding = a.padding.upper()
        else:
            self.compose("TensorFlow has explicit pads for two axes alone")
            x = self._pad(x, resolve_pads(a.padding, tuple(x.shape[1:-1]), a.kernel, a.stride, a.dilation))

        def pulled(x: Native, g: Native) -> Native:
            return self.raw.Conv3DBackpropFilterV2(
                input=x,
                filter_sizes=(*a.kernel, x.shape[-1], g.shape[-1]),
                out_backprop=g,
                strides=self.whole(1, a.stride),
                padding=padding,
                dilations=self.whole(1, a.dilation),
            )

        if a.groups == 1:
            return pulled(x, g)
        self.compose("TensorFlow has groups for two axes alone")
        pairs = zip(self.tf.split(x, a.groups, axis=-1), self.tf.split(g, a.groups, axis=-1), strict=True)
        return self.tf.concat([pulled(*pair) for pair in pairs], axis=-1)

    def max_pool2d_gradient(self, attributes: MaxPoolGradient, x: Native, indices: Native) -> Native:
        a, (batch, *_, channels) = attributes, x.shape
        if not is_native(a.indexed) and a.indexed == "plane":
            self.compose("TensorFlow's indices count images with their channels")
            indices = self.tf.add(self.tf.multiply(indices, channels), self.tf.range(channels, dtype=indices.dtype))
        return self.raw.MaxPoolGradWithArgmax(
            input=self.tf.zeros((batch, *a.size, channels), x.dtype),
            grad=x,
            argmax=indices,
            ksize=(1, *a.window, 1),
            strides=(1, *a.stride, 1),
            padding=a.padding.upper(),
        )
