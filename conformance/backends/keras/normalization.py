"""Keras's normalisations: its layers, and moments by hand where a convention is another one's."""

from math import prod

from conformance.backends.base import Native, Natives
from conformance.backends.keras.idiom import KerasIdiom, unless
from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
)


class KerasNormalization(KerasIdiom):
    """A part of the adapter."""

    def batch_norm(
        self,
        attributes: BatchNorm,
        x: Native,
        mean: Native,
        variance: Native,
        scale: Native | None = None,
        offset: Native | None = None,
    ) -> Native:
        return self.weighted(
            "BatchNormalization",
            x,
            {"gamma": scale, "beta": offset, "moving_mean": mean, "moving_variance": variance},
            epsilon=attributes.epsilon,
            **unless(True, scale=scale is not None, center=offset is not None),
            call={"training": False},
        ).output

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
        called = self.weighted(
            "BatchNormalization",
            x,
            {"gamma": scale, "beta": offset, "moving_mean": mean, "moving_variance": variance},
            momentum=a.momentum,
            epsilon=a.epsilon,
            **unless(True, scale=scale is not None, center=offset is not None),
            call={"training": True},
        )
        new_variance = called.state["moving_variance"]
        if a.bessel:
            self.compose("Keras's moving variance divides by n")
            axes, count = tuple(range(len(x.shape) - 1)), prod(x.shape[:-1])
            _, batch = self.ops.moments(x, axes)
            batch = self.ops.multiply(batch, count / (count - 1))
            kept = self.ops.multiply(variance, a.momentum)
            new_variance = self.ops.add(kept, self.ops.multiply(batch, 1 - a.momentum))
        return {"output": called.output, "mean": called.state["moving_mean"], "variance": new_variance}

    def layer_norm(
        self, attributes: LayerNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        # Counted from the front: Keras sorts axes as they are given, and builds scale and offset in that order.
        axes = tuple(axis + len(x.shape) if axis < 0 else axis for axis in attributes.axes)
        return self.weighted(
            "LayerNormalization",
            x,
            {"gamma": scale, "beta": offset},
            axis=axes[0] if len(axes) == 1 else axes,
            epsilon=attributes.epsilon,
            **unless(True, scale=scale is not None, center=offset is not None),
        ).output

    def group_norm(
        self, attributes: GroupNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        return self.weighted(
            "GroupNormalization",
            x,
            {"gamma": scale, "beta": offset},
            groups=attributes.groups,
            epsilon=attributes.epsilon,
            **unless(True, scale=scale is not None, center=offset is not None),
        ).output

    def instance_norm(
        self, attributes: InstanceNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        # Keras's own word for it: a group for every channel.
        return self.weighted(
            "GroupNormalization",
            x,
            {"gamma": scale, "beta": offset},
            groups=-1,
            epsilon=attributes.epsilon,
            **unless(True, scale=scale is not None, center=offset is not None),
        ).output

    def local_response_norm(self, attributes: LocalResponseNorm, x: Native) -> Native:
        a = attributes
        self.compose("Keras has no local response normalisation")
        smaller, larger = (a.size - 1) // 2, a.size // 2
        ends = (larger, smaller) if a.extra == "low" else (smaller, larger)
        squares = self.ops.reshape(self.ops.square(x), (-1, x.shape[-1], 1))
        means = self.plain("AveragePooling1D", self.zero_padded(squares, (ends,)), a.size, strides=1)
        alpha = a.alpha if a.alpha_of == "mean" else a.alpha * a.size
        means = self.ops.reshape(means, tuple(x.shape))
        return self.ops.divide(x, self.ops.power(self.ops.add(self.ops.multiply(means, alpha), a.bias), a.beta))
