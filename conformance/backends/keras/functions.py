"""The mode `ops`: what layers compute, asked of the functions of `keras.ops` that are named after it."""

import re
from collections.abc import Mapping
from math import prod
from typing import Any, Final

from conformance.backends.base import Mode, Native
from conformance.backends.keras.idiom import KerasIdiom
from conformance.errors import NotTranslatable

OPS: Final = "ops"

# Losses, optimisers and initialisers are objects; and these have layers, or other modules' functions, alone.
WITHOUT_FUNCTIONS: Final = (
    *("mish", "prelu", "batch_norm_training", "group_norm", "instance_norm"),
    *("initialize", "random_dropout", "mean_squared_error", "*cross_entropy*"),
    *("sgd*", "adam*", "adagrad", "rmsprop"),
)
MODE: Final = Mode(about="functions of keras.ops instead of layers", trains=False, lacks=WITHOUT_FUNCTIONS)


class Functions:
    """A layer's function, by the layer's name, with the settings that the layer would have been made with."""

    def __init__(self, speaker: KerasIdiom) -> None:
        self._speaker = speaker

    def plain(self, kind: str, x: Any, args: tuple[Any, ...], settings: Mapping[str, Any]) -> Native:
        """Calls the function of a layer without weights.

        Raises:
            NotTranslatable: if there is none.
        """
        ops = self._speaker.ops
        match _family(kind):
            # Told strides in any case: what comes of those that are left out is asked by a probe.
            case "MaxPooling":
                return ops.max_pool(x, *args, **{"strides": args[0], **settings})
            case "AveragePooling":
                return ops.average_pool(x, *args, **{"strides": args[0], **settings})
            case "AdaptiveMaxPooling":
                return ops.adaptive_max_pool(x, *args)
            case "AdaptiveAveragePooling":
                return ops.adaptive_average_pool(x, *args)
            case "GlobalMaxPooling":
                return ops.max(x, axis=_spatial(x))
            case "GlobalAveragePooling":
                return ops.mean(x, axis=_spatial(x))
            case "ZeroPadding":
                return ops.pad(x, ((0, 0), *_pairs(args[0], x), (0, 0)))
            case "Cropping":
                cuts = ((0, 0), *_pairs(args[0], x), (0, 0))
                starts = tuple(low for low, _ in cuts)
                return ops.slice(x, starts, tuple(n - sum(cut) for n, cut in zip(x.shape, cuts, strict=True)))
            case "UpSampling":
                sizes = tuple(n * factor for n, factor in zip(x.shape[1:-1], args[0], strict=True))
                return self._speaker.image.resize(x, sizes, **{"interpolation": "nearest", **settings})
            case "Softmax":
                return ops.softmax(x, **settings)
            case "Add":
                return ops.add(*x)
            case "Multiply":
                return ops.multiply(*x)
            case "Concatenate":
                return ops.concatenate(x, **settings)
            case "Flatten":
                return ops.reshape(x, (x.shape[0], prod(x.shape[1:])))
        raise NotTranslatable(f"keras.ops has no function of the layer {kind}")

    def weighted(self, kind: str, x: Native, weights: Mapping[str, Native], settings: Mapping[str, Any]) -> Native:
        """Calls the function of a layer with weights, which go by their names in the layer.

        Raises:
            NotTranslatable: if there is none.
        """
        ops, bias = self._speaker.ops, weights.get("bias")
        given = {
            name: settings[name]
            for name in ("strides", "padding", "output_padding", "dilation_rate", "axis", "epsilon")
            if name in settings
        }
        match _family(kind):
            case "Conv":
                return self._speaker.biased(self._conv(x, weights["kernel"], given), bias)
            case "ConvTranspose":
                return self._speaker.biased(ops.conv_transpose(x, weights["kernel"], **given), bias)
            case "Dense":
                return self._speaker.biased(ops.matmul(x, weights["kernel"]), bias)
            case "BatchNormalization":
                moments = weights["moving_mean"], weights["moving_variance"]
                affine = _named(weights, offset="beta", scale="gamma")
                return ops.batch_normalization(x, *moments, **{"axis": -1, **given}, **affine)
            case "LayerNormalization":
                return ops.layer_normalization(x, **_named(weights, gamma="gamma", beta="beta"), **given)
        raise NotTranslatable(f"keras.ops has no function of the layer {kind}")

    def _conv(self, x: Native, kernel: Native, given: dict[str, Any]) -> Native:
        """Groups are read off the shapes; one of every channel has a function of its own, up to two axes."""
        ops, (*sizes, inside, outside), channels = self._speaker.ops, kernel.shape, x.shape[-1]
        if given.get("padding") == "causal":
            self._speaker.compose("keras.ops has no causal padding")
            (gap,) = given.get("dilation_rate", (1,))
            x, given = self._speaker.zero_padded(x, (((sizes[0] - 1) * gap, 0),)), {**given, "padding": "valid"}
        if inside > 1 or channels == 1 or len(sizes) > 2 or outside % channels:
            return ops.conv(x, kernel, **given)
        return ops.depthwise_conv(x, ops.reshape(kernel, (*sizes, channels, outside // channels)), **given)


def _family(kind: str) -> str:
    """A layer's name without its rank."""
    return re.sub(r"\dD", "", kind)


def _spatial(x: Native) -> tuple[int, ...]:
    return tuple(range(1, len(x.shape) - 1))


def _pairs(amounts: Any, x: Native) -> tuple[tuple[int, int], ...]:
    """What a layer takes off or adds at both ends, of which that of one axis says no more than one pair."""
    return (amounts,) if len(x.shape) == 3 else amounts


def _named(weights: Mapping[str, Native], **names: str) -> dict[str, Native]:
    """Those of the weights that there are, by a function's names for them."""
    return {name: weights[layer] for name, layer in names.items() if layer in weights}
