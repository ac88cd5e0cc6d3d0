"""JAX's normalisations: Flax's recipes, with the variance in two passes.

Asked for its own, JAX answers with `jax.nn.standardize`, which has neither scale nor offset.
"""

from typing import Any

from conformance.backends.base import Idiom, Native, Natives, Recorded
from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
)
from conformance.case.model import Shape


class JaxNormalization(Idiom):
    """A part of the adapter, which brings the framework's modules."""

    jnp: Recorded
    nn: Recorded
    lax: Recorded
    _jax: Any

    # Where the channels lie is an axis like any other for all of these.

    def _rows(self, x: Native, *values: Native | None) -> list[Native | None]:
        """What has a number for every channel, broadcastable to images in their layout."""
        if not self.channels_first:
            return list(values)
        row = (-1, *(1 for _ in x.shape[2:]))
        return [value if value is None else self.jnp.reshape(value, row) for value in values]

    def _own(
        self, x: Native, epsilon: float, scale: Native | None, offset: Native | None, **statistics: Any
    ) -> Native:
        if scale is not None or offset is not None:
            self.compose("jax.nn.standardize has neither scale nor offset")
        return self.nn.standardize(x, epsilon=epsilon, **statistics)

    def _normalized(
        self, x: Native, mean: Native, variance: Native, epsilon: float, scale: Native | None, offset: Native | None
    ) -> Native:
        """Statistics, scale and offset are broadcastable to x."""
        factor = self.lax.rsqrt(self.jnp.add(variance, epsilon))
        if scale is not None:
            factor = self.jnp.multiply(factor, scale)
        y = self.jnp.multiply(self.jnp.subtract(x, mean), factor)
        return y if offset is None else self.jnp.add(y, offset)

    def _standardized(
        self,
        x: Native,
        axes: tuple[int, ...],
        epsilon: float,
        scale: Native | None,
        offset: Native | None,
        shape: Shape,
    ) -> Native:
        mean = self.jnp.mean(x, axis=axes, keepdims=True)
        variance = self.jnp.var(x, axis=axes, keepdims=True)
        if scale is not None:
            scale = self.jnp.reshape(scale, shape)
        if offset is not None:
            offset = self.jnp.reshape(offset, shape)
        return self._normalized(x, mean, variance, epsilon, scale, offset)

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
            return self._own(x, attributes.epsilon, scale, offset, mean=mean, variance=variance)
        mean, variance, scale, offset = self._rows(x, mean, variance, scale, offset)
        return self._normalized(x, mean, variance, attributes.epsilon, scale, offset)

    def batch_norm_training(
        self,
        attributes: BatchNormTraining,
        x: Native,
        mean: Native,
        variance: Native,
        scale: Native | None = None,
        offset: Native | None = None,
    ) -> Natives:
        self.compose("JAX has no running statistics")
        a, axes = attributes, (0, *range(2, x.ndim)) if self.channels_first else tuple(range(x.ndim - 1))
        new_mean, new_variance = self.jnp.mean(x, axis=axes), self.jnp.var(x, axis=axes)
        about, spread, scale, offset = self._rows(x, new_mean, new_variance, scale, offset)
        y = self._normalized(x, about, spread, a.epsilon, scale, offset)
        if a.bessel:
            new_variance = self.jnp.var(x, axis=axes, ddof=1)
        return {
            "output": y,
            "mean": self._moved(a.momentum, mean, new_mean),
            "variance": self._moved(a.momentum, variance, new_variance),
        }

    def _moved(self, momentum: float, old: Native, new: Native) -> Native:
        return self.jnp.add(self.jnp.multiply(momentum, old), self.jnp.multiply(1 - momentum, new))

    def layer_norm(
        self, attributes: LayerNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        axes = tuple(axis + x.ndim if axis < 0 else axis for axis in attributes.axes)
        if self.own:
            return self._own(x, attributes.epsilon, scale, offset, axis=axes)
        shape = tuple(size if axis in axes else 1 for axis, size in enumerate(x.shape))
        return self._standardized(x, axes, attributes.epsilon, scale, offset, shape)

    def group_norm(
        self, attributes: GroupNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        self.compose("JAX has no normalisation of groups")
        groups = attributes.groups
        if self.channels_first:
            split = (groups, x.shape[1] // groups)
            parted, axes = (x.shape[0], *split, *x.shape[2:]), tuple(range(2, x.ndim + 1))
            row: Shape = (1, *split, *(1 for _ in x.shape[2:]))
        else:
            parted, axes = (*x.shape[:-1], groups, x.shape[-1] // groups), (*range(1, x.ndim - 1), x.ndim)
            row = (*(1 for _ in range(x.ndim - 1)), *parted[-2:])
        y = self._standardized(self.jnp.reshape(x, parted), axes, attributes.epsilon, scale, offset, row)
        return self.jnp.reshape(y, x.shape)

    def instance_norm(
        self, attributes: InstanceNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        if self.channels_first:
            axes, row = tuple(range(2, x.ndim)), (1, x.shape[1], *(1 for _ in x.shape[2:]))
        else:
            axes, row = tuple(range(1, x.ndim - 1)), (*(1 for _ in range(x.ndim - 1)), x.shape[-1])
        if self.own:
            return self._own(x, attributes.epsilon, scale, offset, axis=axes)
        return self._standardized(x, axes, attributes.epsilon, scale, offset, row)

    def local_response_norm(self, attributes: LocalResponseNorm, x: Native) -> Native:
        self.compose("JAX has no local response normalisation")
        a = attributes
        smaller, larger = (a.size - 1) // 2, a.size // 2
        ends = (larger, smaller) if a.extra == "low" else (smaller, larger)
        axis = 1 if self.channels_first else x.ndim - 1
        window = tuple(a.size if place == axis else 1 for place in range(x.ndim))
        pads = tuple(ends if place == axis else (0, 0) for place in range(x.ndim))
        ones = (1,) * x.ndim
        total = self.lax.reduce_window(self.jnp.square(x), 0.0, self._jax.lax.add, window, ones, pads)
        alpha = a.alpha / a.size if a.alpha_of == "mean" else a.alpha
        base = self.jnp.add(a.bias, self.jnp.multiply(alpha, total))
        return self.jnp.divide(x, self.jnp.power(base, a.beta))
