"""ONNX's normalisations, on channels-first tensors; a scale or offset that ONNX must have is 1 or 0."""

from abc import abstractmethod
from typing import Any

import numpy as np

from conformance.backends.base import Idiom, Native, Natives, translated
from conformance.backends.onnxruntime.graph import Graph, Onnx
from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
    LocalResponseNorm,
)
from conformance.errors import NotTranslatable


class OnnxNormalization(Idiom):
    """A part of the adapter, which brings new models and the layout."""

    onnx: Onnx

    @abstractmethod
    def _graph(self, name: str) -> Graph:
        """An empty model."""

    @abstractmethod
    def _first(self, x: Native) -> Native:
        """With the channels behind the batch."""

    @abstractmethod
    def _last(self, y: Native) -> Native:
        """With the channels at the end."""

    def _affine(self, g: Graph, like: Native, scale: Native | None, offset: Native | None) -> tuple[str, str]:
        """Scale and offset, as many as a tensor beside them has channels."""
        count = like.shape[-1]
        return (
            g.parameter("scale", np.ones(count, like.dtype) if scale is None else scale),
            g.parameter("offset", np.zeros(count, like.dtype) if offset is None else offset),
        )

    def batch_norm(
        self,
        attributes: BatchNorm,
        x: Native,
        mean: Native,
        variance: Native,
        scale: Native | None = None,
        offset: Native | None = None,
    ) -> Native:
        g = self._graph("batch_norm")
        affine = self._affine(g, x, scale, offset)
        statistics = g.parameter("mean", mean), g.parameter("variance", variance)
        return self._last(
            g.last(
                g.node(
                    "BatchNormalization",
                    g.input("x", self._first(x)),
                    *affine,
                    *statistics,
                    epsilon=attributes.epsilon,
                )
            )
        )

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
        g = self._graph("batch_norm_training")
        affine = self._affine(g, x, scale, offset)
        statistics = g.parameter("mean", mean), g.parameter("variance", variance)
        image = g.input("x", self._first(x))
        settings = {"epsilon": a.epsilon, "training_mode": 1}
        if not a.bessel:
            outputs = g.nodes("BatchNormalization", 3, image, *affine, *statistics, momentum=a.momentum, **settings)
        else:
            self.compose("ONNX's running variance divides by n")
            # With momentum 0 the new statistics are the batch's.
            y, batch_mean, batch_variance = g.nodes(
                "BatchNormalization", 3, image, *affine, *statistics, momentum=0.0, **settings
            )
            count = x.size // x.shape[-1]
            kept = g.scalar("momentum", a.momentum, x)
            outputs = [y]
            for name, old, new, share in (
                ("mean_share", statistics[0], batch_mean, 1 - a.momentum),
                ("variance_share", statistics[1], batch_variance, (1 - a.momentum) * count / (count - 1)),
            ):
                moved = g.node("Mul", new, g.scalar(name, share, x))
                outputs.append(g.node("Add", g.node("Mul", old, kept), moved))
        normalised, new_mean, new_variance = g.run(*outputs)
        return {"output": self._last(normalised), "mean": new_mean, "variance": new_variance}

    def layer_norm(
        self, attributes: LayerNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        a = attributes
        g = self._graph("layer_norm")
        axes = tuple(axis + x.ndim if axis < 0 else axis for axis in a.axes)
        order = (*(axis for axis in range(x.ndim) if axis not in axes), *axes)
        ordered = order == tuple(range(x.ndim))
        image = g.input("x", x)
        if not ordered:  # ONNX takes the last axes alone
            image = g.node("Transpose", image, perm=order)
        sizes = tuple(n for axis, n in enumerate(x.shape) if axis in axes)
        inputs = [image, g.parameter("scale", np.ones(sizes, x.dtype) if scale is None else scale)]
        if offset is not None:
            inputs.append(g.parameter("offset", offset))
        y = g.node("LayerNormalization", *inputs, axis=-len(axes), epsilon=a.epsilon)
        if not ordered:
            y = g.node("Transpose", y, perm=tuple(order.index(axis) for axis in range(x.ndim)))
        return g.last(y)

    def group_norm(
        self, attributes: GroupNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        a = attributes
        g = self._graph("group_norm")
        affine = self._affine(g, x, scale, offset)
        image = g.input("x", self._first(x))
        settings: dict[str, Any] = {"num_groups": a.groups, "epsilon": a.epsilon}
        if x.dtype == np.float64:  # left out, the statistics are float32
            settings["stash_type"] = self.onnx.element_type(x.dtype)
        return self._last(g.last(g.node("GroupNormalization", image, *affine, **settings)))

    def instance_norm(
        self, attributes: InstanceNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        g = self._graph("instance_norm")
        affine = self._affine(g, x, scale, offset)
        image = g.input("x", self._first(x))
        return self._last(g.last(g.node("InstanceNormalization", image, *affine, epsilon=attributes.epsilon)))

    def local_response_norm(self, attributes: LocalResponseNorm, x: Native) -> Native:
        a = attributes
        if a.extra == "low" and a.size % 2 == 0:
            raise NotTranslatable("ONNX's even windows have one channel more behind")
        g = self._graph("local_response_norm")
        alpha = translated(a.alpha, lambda alpha: alpha * a.size if a.alpha_of == "sum" else alpha)
        image = g.input("x", self._first(x))
        return self._last(g.last(g.node("LRN", image, size=a.size, alpha=alpha, beta=a.beta, bias=a.bias)))
