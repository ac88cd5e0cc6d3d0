"""TensorFlow's normalisations: moments and `tf.nn.batch_normalization`, as Keras has them, and the fused kernels."""

from conformance.backends.base import Native, Natives, Recorded
from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
)
from conformance.case.model import Shape


class TensorFlowNormalization:
    """A part of the adapter, which brings the framework's modules."""

    tf: Recorded
    nn: Recorded
    compat_nn: Recorded

    def batch_norm(
        self,
        attributes: BatchNorm,
        x: Native,
        mean: Native,
        variance: Native,
        scale: Native | None = None,
        offset: Native | None = None,
    ) -> Native:
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
            )
            return {"output": y, "mean": mean, "variance": variance}
        axes = list(range(len(x.shape) - 1))
        new_mean, new_variance = self.nn.moments(x, axes)
        y = self.nn.batch_normalization(x, new_mean, new_variance, offset, scale, a.epsilon)
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
        shape = tuple(x.shape[axis] if axis in axes else 1 for axis in range(rank))
        return self._standardized(x, axes, attributes.epsilon, scale, offset, shape)

    def group_norm(
        self, attributes: GroupNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        rank, groups = len(x.shape), attributes.groups
        parted = (*x.shape[:-1], groups, x.shape[-1] // groups)
        axes = [*range(1, rank - 1), rank]
        row = (*(1 for _ in range(rank - 1)), *parted[-2:])
        y = self._standardized(self.tf.reshape(x, parted), axes, attributes.epsilon, scale, offset, row)
        return self.tf.reshape(y, tuple(x.shape))

    def instance_norm(
        self, attributes: InstanceNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        rank = len(x.shape)
        row = (*(1 for _ in range(rank - 1)), x.shape[-1])
        return self._standardized(x, list(range(1, rank - 1)), attributes.epsilon, scale, offset, row)

    def local_response_norm(self, attributes: LocalResponseNorm, x: Native) -> Native:
        a = attributes
        alpha = a.alpha / a.size if a.alpha_of == "mean" else a.alpha
        if a.size % 2 == 0:
            # The kernel has a radius: an even window is summed by hand.
            return self._over_even_window(x, a, alpha)
        image = x if len(x.shape) == 4 else self.tf.reshape(x, (x.shape[0], 1, -1, x.shape[-1]))
        y = self.nn.local_response_normalization(
            image, depth_radius=a.size // 2, bias=a.bias, alpha=alpha, beta=a.beta
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
