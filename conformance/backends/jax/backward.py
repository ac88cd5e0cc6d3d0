"""Gradient kernels in JAX, which has none of its own: a convolution transposed by its kernel, sums of segments."""

from abc import abstractmethod
from collections.abc import Callable
from typing import Any

from conformance.backends.base import CallLog, Native, Recorded
from conformance.case.families.backward import MaxPoolGradient, WeightGradient


class JaxBackward:
    """A part of the adapter, which brings the framework's modules."""

    _jax: Any
    log: CallLog
    jnp: Recorded
    ops: Recorded
    compose: Callable[[str], None]

    @abstractmethod
    def _padding(self, padding: Any) -> Any:
        """SAME and its kin are JAX's own, by the same names."""

    @abstractmethod
    def _dimensions(self, rank: int) -> tuple[str, str, str]:
        """What JAX's convolutions call the axes of data, kernel and output."""

    def conv2d_weight_gradient(self, attributes: WeightGradient, x: Native, g: Native) -> Native:
        self.compose("JAX has no gradient kernels of its own")
        a, jax = attributes, self._jax
        settings = {
            "window_strides": a.stride,
            "padding": self._padding(a.padding),
            "rhs_dilation": a.dilation,
            "dimension_numbers": self._dimensions(len(a.kernel)),
            "feature_group_count": a.groups,
            "precision": "highest",
        }
        shape, kind = (*a.kernel, x.shape[-1] // a.groups, g.shape[-1]), x.dtype.name

        def conv(w: Native) -> Native:
            return jax.lax.conv_general_dilated(x, w, **settings)

        pulled = jax.linear_transpose(conv, jax.ShapeDtypeStruct(shape, x.dtype))(g)
        said = ", ".join(f"{name}={value!r}" for name, value in settings.items())
        function = f"lambda w: lax.conv_general_dilated({self.log.called(x)}, w, {said})"
        self.log.record(
            f"jax.linear_transpose({function}, jax.ShapeDtypeStruct({shape}, {kind!r}))", (g,), {}, pulled
        )
        return pulled[0]

    conv3d_weight_gradient = conv2d_weight_gradient

    def max_pool2d_gradient(self, attributes: MaxPoolGradient, x: Native, indices: Native) -> Native:
        self.compose("JAX has no gradient kernels of its own")
        (batch, *_, channels), (height, width) = x.shape, attributes.size
        if attributes.indexed == "plane":
            indices = self.jnp.add(self.jnp.multiply(indices, channels), self.jnp.arange(channels))
        image = height * width * channels
        first = self.jnp.multiply(self.jnp.reshape(self.jnp.arange(batch), (batch, 1, 1, 1)), image)
        places = self.jnp.reshape(self.jnp.add(indices, first), (-1,))
        flat = self.ops.segment_sum(self.jnp.reshape(x, (-1,)), places, num_segments=batch * image)
        return self.jnp.reshape(flat, (batch, height, width, channels))
