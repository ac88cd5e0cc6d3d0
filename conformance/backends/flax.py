"""Flax as its users write it: the layers of `flax.linen`, applied to weights that are given, on JAX's tensors.

Asked is what Flax has of its own, and what its users write around it, so that chains are answered; the losses,
optimisers and everything else is JAX, which has an adapter of its own.
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Final

from conformance.backends import mixing
from conformance.backends.base import Mode, Native, Natives, Recorded
from conformance.backends.jax.activations import JaxActivations
from conformance.backends.jax.backend import JaxBackend
from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.normalization import (
    BatchNorm,
    BatchNormTraining,
    GroupNorm,
    InstanceNorm,
    LayerNorm,
)
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.sampling import Initialize, RandomDropout
from conformance.case.geometry import extent
from conformance.case.job import Description, is_native
from conformance.case.model import Layout
from conformance.case.operators import OPERATORS
from conformance.errors import NotTranslatable

# Those of jax.nn that flax.linen hands on.
_ACTIVATIONS: Final = frozenset(vars(JaxActivations)) - {"mish", "prelu"}
_LAYERS: Final = frozenset(
    {
        *(f"{kind}{rank}d" for kind in ("conv", "max_pool", "average_pool") for rank in (1, 2, 3)),
        *(f"conv{rank}d_transpose" for rank in (1, 2, 3)),
        *("dense", "batch_norm", "batch_norm_training", "layer_norm", "group_norm", "instance_norm"),
        *("initialize", "random_dropout"),
    }
)
# What networks in Flax are put together with.
_AROUND: Final = frozenset({"chain", "flatten", "add", "concat", "global_average_pool2d"})


class FlaxBackend(JaxBackend):
    """`flax.linen`, jitted; its windows and convolutions are JAX's, its normalisations are its own."""

    module: ClassVar[str] = "flax"
    install: ClassVar[str] = 'pip install "flax>=0.12,<0.13" "jax>=0.5,<0.11"'
    partial: ClassVar[bool] = True
    prelude: ClassVar[tuple[str, ...]] = ("from flax import linen as nn", *JaxBackend.prelude)
    # Its layers take images with their channels at the end, and no others.
    layouts: ClassVar[Mapping[Layout, tuple[str, ...]]] = {}
    offers: ClassVar[Mapping[str, Mode]] = {
        name: replace(mode, trains=False) for name, mode in JaxBackend.offers.items() if name != mixing.NAME
    }

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        import flax
        import flax.linen

        self._flax = flax

    @classmethod
    def operators(cls) -> tuple[str, ...]:
        return tuple(name for name in OPERATORS if name in _ACTIVATIONS | _LAYERS | _AROUND)

    def describe(self) -> Description:
        below = super().describe()
        versions = {"flax": self._flax.__version__, **below.versions}
        return replace(below, backend="flax", versions=versions, integers=())

    def record(self, values: Mapping[str, Native]) -> None:
        super().record(values)
        self.nn = Recorded(self._flax.linen, "nn", self.log)

    def _applied(
        self, layer: Native, variables: Mapping[str, Mapping[str, Native | None]], x: Native, **settings: Any
    ) -> Any:
        """Applies a layer to its variables; those that are None it does not have."""
        given = {
            collection: {name: value for name, value in values.items() if value is not None}
            for collection, values in variables.items()
        }
        y = layer.apply(given, x, **settings)
        self.log.record(f"{self.log.called(layer)}.apply", (given, x), settings, y)
        return y

    # Convolution

    def _conv(self, a: Convolution, x: Native, w: Native, b: Native | None) -> Native:
        layer = self.nn.Conv(
            w.shape[-1],
            tuple(w.shape[:-2]),
            strides=a.stride,
            padding=self._padding(a.padding),
            kernel_dilation=a.dilation,
            feature_group_count=a.groups,
            use_bias=b is not None,
        )
        return self._applied(layer, {"params": {"kernel": w, "bias": b}}, x)

    def _conv_transpose(self, a: TransposedConvolution, x: Native, w: Native, b: Native | None) -> Native:
        """As JAX's; circular pads are a layer's own, and have the elements of the input times the stride.

        Of a kernel that it transposes the layer says that it is nn.Conv's transpose, whose pads are circular, too:
        half of the kernel at either end. Of another it says that the canvas is shared out equally, as SAME is.
        """
        if a.pad_mode == "zeros":
            return super()._conv_transpose(a, x, w, b)
        spans = tuple(extent(k, d) for k, d in zip(w.shape, a.dilation, strict=False))
        halves = tuple(((span - 1) // 2, span // 2) for span in spans)
        undone = a.padding == halves and a.output_padding == tuple(s - 1 for s in a.stride)
        if (a.padding != "same" and not undone) or a.output_size:
            raise NotTranslatable("Flax's circular transposed convolutions have the input's size times the stride")

        def conv(x: Native, w: Native) -> Native:
            if undone:
                return self._transposed(a, x, w, "CIRCULAR", flipped=True)
            w = self.jnp.swapaxes(self.jnp.flip(w, tuple(range(len(spans)))), -1, -2)
            return self._transposed(a, x, w, "CIRCULAR", flipped=False)

        return self._biased(self._grouped(a.groups, x, w, conv), b)

    def _transposed(self, a: TransposedConvolution, x: Native, w: Native, padding: Any, *, flipped: bool) -> Native:
        layer = self.nn.ConvTranspose(
            w.shape[-2] if flipped else w.shape[-1],
            tuple(w.shape[:-2]),
            strides=a.stride,
            padding=padding,
            kernel_dilation=a.dilation,
            use_bias=False,
            **({"transpose_kernel": True} if flipped else {}),
        )
        return self._applied(layer, {"params": {"kernel": w}}, x)

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        layer = self.nn.Dense(w.shape[-1], use_bias=b is not None)
        return self._applied(layer, {"params": {"kernel": w, "bias": b}}, x)

    # Pooling

    def _max_pool(self, a: MaxPool, x: Native) -> Native:
        if a.ceil_mode or set(a.dilation) != {1}:
            self.compose("Flax's pools have neither ceil mode nor dilation")
            return super()._max_pool(a, x)
        return self.nn.max_pool(x, a.window, strides=a.stride, padding=self._padding(a.padding))

    def _average_pool(self, a: AveragePool, x: Native) -> Native:
        if not is_native(a.ceil_mode) and a.ceil_mode:
            self.compose("Flax's pools have no ceil mode")
            return super()._average_pool(a, x)
        # Without pads there is nothing to count, and Flax's users leave its default.
        counting = {} if a.padding == "valid" else {"count_include_pad": a.count_padding}
        return self.nn.avg_pool(x, a.window, strides=a.stride, padding=self._padding(a.padding), **counting)

    # Normalisation

    def _normal(self, kind: str, scale: Native | None, offset: Native | None, **settings: Any) -> Native:
        """A layer with those parameters that are given."""
        return getattr(self.nn, kind)(**settings, use_scale=scale is not None, use_bias=offset is not None)

    def batch_norm(
        self,
        attributes: BatchNorm,
        x: Native,
        mean: Native,
        variance: Native,
        scale: Native | None = None,
        offset: Native | None = None,
    ) -> Native:
        layer = self._normal("BatchNorm", scale, offset, use_running_average=True, epsilon=attributes.epsilon)
        statistics = {"mean": mean, "var": variance}
        return self._applied(layer, {"params": {"scale": scale, "bias": offset}, "batch_stats": statistics}, x)

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
        layer = self._normal(
            "BatchNorm", scale, offset, use_running_average=False, momentum=a.momentum, epsilon=a.epsilon
        )
        given = {"params": {"scale": scale, "bias": offset}, "batch_stats": {"mean": mean, "var": variance}}
        y, updated = self._applied(layer, given, x, mutable=["batch_stats"])
        place = self.log.called(y).removesuffix("[0]")
        found = updated["batch_stats"]
        for name, value in found.items():
            self.log.name(value, f'{place}[1]["batch_stats"]["{name}"]')
        new_variance = found["var"]
        if not is_native(a.bessel) and a.bessel:
            self.compose("Flax's running variance divides by n")
            batch = self.jnp.var(x, axis=tuple(range(x.ndim - 1)), ddof=1)
            new_variance = self._moved(a.momentum, variance, batch)
        return {"output": y, "mean": found["mean"], "variance": new_variance}

    def layer_norm(
        self, attributes: LayerNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        axes = attributes.axes
        layer = self._normal(
            "LayerNorm", scale, offset, epsilon=attributes.epsilon, reduction_axes=axes, feature_axes=axes
        )
        return self._applied(layer, {"params": {"scale": scale, "bias": offset}}, x)

    def group_norm(
        self, attributes: GroupNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        layer = self._normal("GroupNorm", scale, offset, num_groups=attributes.groups, epsilon=attributes.epsilon)
        return self._applied(layer, {"params": {"scale": scale, "bias": offset}}, x)

    def instance_norm(
        self, attributes: InstanceNorm, x: Native, scale: Native | None = None, offset: Native | None = None
    ) -> Native:
        layer = self._normal("InstanceNorm", scale, offset, epsilon=attributes.epsilon)
        return self._applied(layer, {"params": {"scale": scale, "bias": offset}}, x)

    # Random draws

    def initialize(self, attributes: Initialize, w: Native) -> Natives:
        if not is_native(attributes.scheme):
            return super().initialize(attributes, w)
        layer = self.nn.Conv(
            w.shape[-1],
            tuple(w.shape[:-2]),
            feature_group_count=attributes.groups,
            use_bias=False,
            param_dtype=w.dtype,
        )
        x = self.jnp.zeros((1, *w.shape[:-2], w.shape[-2] * attributes.groups), w.dtype)
        made = {}
        for name, key in zip(("output", "again"), self._keys(attributes.seed), strict=True):
            made[name] = layer.init(key, x)["params"]["kernel"]
            self.log.write(f'{name} = {{}}.init({{}}, {{}})["params"]["kernel"]', layer, key, x)
            self.log.name(made[name], name)
        return made

    def random_dropout(self, attributes: RandomDropout, x: Native) -> Natives:
        layer = self.nn.Dropout(attributes.rate, deterministic=False)
        return {
            name: self._applied(layer, {}, x, rngs={"dropout": key})
            for name, key in zip(("output", "again"), self._keys(attributes.seed), strict=True)
        }
