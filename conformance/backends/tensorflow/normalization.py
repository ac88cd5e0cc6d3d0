"""TensorFlow's normalisations: moments and `tf.nn.batch_normalization`, as Keras has them, and the fused kernels.

Asked for its own, TensorFlow answers with a layer of Keras: functions of `tf.nn` have neither defaults nor state.
They take the channels behind the batch as Keras's layers with axis 1 do: statistics, scale and offset as rows.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from conformance.backends.base import Idiom, Native, Natives, Recorded, translated
from conformance.backends.tensorflow.layers import TensorFlowLayers
from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
)
from conformance.case.job import is_native
from conformance.case.model import Shape


class TensorFlowNormalization(TensorFlowLayers, Idiom):
    """A part of the adapter, which brings the framework's modules."""

    tf: Recorded
    nn: Recorded
    compat_nn: Recorded

    def _rows(self, x: Native, *values: Native | None) -> list[Native | None]:
        """What has a number for every channel, broadcastable to images in their layout."""
        if not self.channels_first:
            return list(values)
        row = (-1, *(1 for _ in x.shape[2:]))
        return [value if value is None else self.tf.reshape(value, row) for value in values]

    def _affine_layer(
        self,
        name: str,
        settings: Mapping[str, Any],
        x: Native,
        scale: Native | None,
        offset: Native | None,
        kept: Sequence[Native] = (),
        *,
        training: bool | None = None,
    ) -> tuple[Native, list[Native]]:
        """A layer that has a scale and an offset where they are given."""
        given = {"scale": scale is not None, "center": offset is not None, **settings}
        trained = [value for value in (scale, offset) if value is not None]
        return self._by_layer(name, given, x, trained, kept, training=training)

    def batch_norm(
        self,
        attributes: BatchNorm,
        x: Native,
        mean: Native,
        variance: Native,
        scale: Native | None = None,
        offset: Native | None = None,
    ) -> Native:
        if self.own:
            settings = {"epsilon": attributes.epsilon}
            y, _ = self._affine_layer(
                "BatchNormalization", settings, x, scale, offset, (mean, variance), training=False
            )
            return y
        mean, variance, offset, scale = self._rows(x, mean, variance, offset, scale)
        return self.nn.batch_normalization(x, mean, variance, offset, scale, attributes.epsilon)

    def batch_norm_training(
        self,
        attributes: BatchNormTraining,
        x: Native,
        mean: Native,
        variance: Native,
        scale: Native | None = None,
        offset: Native | None = None,
    ) -> Natives:
        a = attributes
        if self.own:
            if not is_native(a.bessel) and a.bessel:
                self.compose("Keras divides the running variance by n")
            settings = {"momentum": a.momentum, "epsilon": a.epsilon}
            y, (mean, variance) = self._affine_layer(
                "BatchNormalization", settings, x, scale, offset, (mean, variance), training=True
            )
            return {"output": y, "mean": mean, "variance": variance}
        if a.bessel and len(x.shape) == 4 and x.dtype.name == "float32":
            # Keras 2's way for images; the kernel takes no other rank, and always divides by n - 1.
            y, mean, variance = self.compat_nn.fused_batch_norm(
                x,
                self.tf.ones_like(mean) if scale is None else scale,
                self.tf.zeros_like(mean) if offset is None else offset,
                mean=mean,
                variance=variance,
                epsilon=a.epsilon,
                is_training=True,
                exponential_avg_factor=1 - a.momentum,
                **({"data_format": "NCHW"} if self.channels_first else {}),
            )
            return {"output": y, "mean": mean, "variance": variance}
        axes = [0, *range(2, len(x.shape))] if self.channels_first else list(range(len(x.shape) - 1))
        new_mean, new_variance = self.nn.moments(x, axes)
        about, spread, offset, scale = self._rows(x, new_mean, new_variance, offset, scale)
        y = self.nn.batch_normalization(x, about, spread, offset, scale, a.epsilon)
        if a.bessel:
            count = 1
            for axis in axes:
                count *= x.shape[axis]
            new_variance = self.tf.multiply(new_variance, count / (count - 1))
        return {
            "output": y,
            "mean": self._moved(a.momentum, mean, new_mean),
            "variance": self._moved(a.momentum, variance, new_variance),
        }

    def _moved(self, momentum: float, old: Native, new: Native) -> Native:
        """Keras's recipe."""
        return self.tf.add(self.tf.multiply(old, momentum), self.tf.multiply(new, 1 - momentum))

    def _standardized(
        self, x: Native, axes: list[int], epsilon: float, scale: Native | None, offset: Native | None, shape: Shape
    ) -> Native:
        """Keras's recipe for layers and groups: moments that keep their axes, then as for a batch."""
        mean, variance = self.nn.moments(x, axes, keepdims=True)
        if scale is not None:
            scale = self.tf.reshape(scale, shape)
        if offset is not None:
            offset = self.tf.reshape(offset, shape)
        return self.nn.batch_normalization(x, mean, variance, offset, scale, epsilon)

    def layer_norm(
        self, attributes: LayerNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        rank = len(x.shape)
        axes = [axis + rank if axis < 0 else axis for axis in attributes.axes]
        if self.own:
            settings = {"axis": axes, "epsilon": attributes.epsilon}
            return self._affine_layer("LayerNormalization", settings, x, scale, offset)[0]
        shape = tuple(x.shape[axis] if axis in axes else 1 for axis in range(rank))
        return self._standardized(x, axes, attributes.epsilon, scale, offset, shape)

    def group_norm(
        self, attributes: GroupNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        rank, groups = len(x.shape), attributes.groups
        if self.own:
            settings = {"groups": groups, "epsilon": attributes.epsilon}
            return self._affine_layer("GroupNormalization", settings, x, scale, offset)[0]
        if self.channels_first:
            split = (groups, x.shape[1] // groups)
            parted, axes = (x.shape[0], *split, *x.shape[2:]), list(range(2, rank + 1))
            row: Shape = (1, *split, *(1 for _ in x.shape[2:]))
        else:
            parted, axes = (*x.shape[:-1], groups, x.shape[-1] // groups), [*range(1, rank - 1), rank]
            row = (*(1 for _ in range(rank - 1)), *parted[-2:])
        y = self._standardized(self.tf.reshape(x, parted), axes, attributes.epsilon, scale, offset, row)
        return self.tf.reshape(y, tuple(x.shape))

    def instance_norm(
        self, attributes: InstanceNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        rank = len(x.shape)
        if self.own:  # Keras calls a group for every channel -1
            settings = {"groups": -1, "epsilon": attributes.epsilon}
            return self._affine_layer("GroupNormalization", settings, x, scale, offset)[0]
        if self.channels_first:
            axes, row = list(range(2, rank)), (1, x.shape[1], *(1 for _ in x.shape[2:]))
        else:
            axes, row = list(range(1, rank - 1)), (*(1 for _ in range(rank - 1)), x.shape[-1])
        return self._standardized(x, axes, attributes.epsilon, scale, offset, row)

    def local_response_norm(self, attributes: LocalResponseNorm, x: Native) -> Native:
        a = attributes
        alpha = a.alpha
        if not is_native(a.alpha_of) and a.alpha_of == "mean":
            self.compose("TensorFlow multiplies the sum by alpha")
            alpha = a.alpha / a.size
        if not is_native(a.size) and a.size % 2 == 0:
            # An even window is summed by hand.
            self.compose("TensorFlow's window has a radius, and so an odd size")
            return self._over_even_window(x, a, alpha)
        image = x if len(x.shape) == 4 else self.tf.reshape(x, (x.shape[0], 1, -1, x.shape[-1]))
        y = self.nn.local_response_normalization(
            image, depth_radius=translated(a.size, lambda size: size // 2), bias=a.bias, alpha=alpha, beta=a.beta
        )
        return y if len(x.shape) == 4 else self.tf.reshape(y, tuple(x.shape))

    def _over_even_window(self, x: Native, a: LocalResponseNorm, alpha: float) -> Native:
        half, channels = a.size // 2, x.shape[-1]
        ends = (half, half - 1) if a.extra == "low" else (half - 1, half)
        squares = self.tf.pad(self.tf.square(x), [*([0, 0] for _ in x.shape[:-1]), list(ends)])
        begin, size = [0] * (len(x.shape) - 1), [*x.shape[:-1], channels]
        total = self.tf.add_n([self.tf.slice(squares, [*begin, start], size) for start in range(a.size)])
        base = self.tf.add(self.tf.multiply(total, alpha), a.bias)
        return self.tf.divide(x, self.tf.pow(base, a.beta))
