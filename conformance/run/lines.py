"""The line to write in a framework for what a layer of another one does, in its users' own words.

Empty where no short line is sure to do it.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from conformance.case.families.activations import Gelu, LeakyRelu
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.normalization import BatchNorm, GroupNorm, LayerNorm
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.geometry import Pads, extent, resolve_pads, transposed_crop
from conformance.case.model import Shape
from conformance.case.traces import TracedLayer

Crops = tuple[tuple[int, int], ...]


def written(framework: str, layer: TracedLayer) -> str:
    """A layer in a framework's words."""
    writer = _WRITERS.get(framework, {}).get(type(layer.attributes).__name__) or _WRITERS.get(framework, {}).get(
        layer.operator
    )
    return writer(layer) if writer is not None else ""


def _one(values: Shape) -> str:
    """One number where all axes have the same."""
    return repr(values[0] if len(set(values)) == 1 else values)


def _sizes(layer: TracedLayer) -> Shape:
    return layer.operands["x"].shape[1:-1]


def _kernel(layer: TracedLayer) -> Shape:
    return layer.operands["w"].shape[: len(_sizes(layer))]


def _crops(layer: TracedLayer) -> Crops:
    """How much of the canvas of VALID a transposed convolution leaves out at either end; negative: it has more."""
    a: TransposedConvolution = layer.attributes
    sizes, kernel = _sizes(layer), _kernel(layer)
    starts, outputs = transposed_crop(a.padding, sizes, kernel, a.stride, a.dilation, a.output_padding)
    spans = map(extent, kernel, a.dilation)
    canvases = [n * s + max(span - s, 0) for n, s, span in zip(sizes, a.stride, spans, strict=True)]
    return tuple((low, whole - low - size) for low, whole, size in zip(starts, canvases, outputs, strict=True))


def _options(**options: tuple[str, str]) -> str:
    """Keyword arguments that are not what they are by default: name=(value, usual)."""
    return "".join(f", {name}={value}" for name, (value, usual) in options.items() if value != usual)


# Keras --------------------------------------------------------------------------------------------------------------


def _keras_convolution(layer: TracedLayer) -> str:
    a: Convolution = layer.attributes
    kernel, sizes = _kernel(layer), _sizes(layer)
    pads = resolve_pads(a.padding, sizes, kernel, a.stride, a.dilation)
    # SAME of a stride of 1 has these pads whatever the size is.
    same = max(a.stride) == 1 and pads == resolve_pads("same", sizes, kernel, a.stride, a.dilation)
    options = _options(
        strides=(_one(a.stride), "1"),
        dilation_rate=(_one(a.dilation), "1"),
        groups=(repr(a.groups), "1"),
        padding=('"same"' if same and any(map(any, pads)) else '"valid"', '"valid"'),
        use_bias=(repr("b" in layer.operands), "True"),
    )
    call = f"Conv{len(sizes)}D({layer.output.shape[-1]}, {_one(kernel)}{options})"
    return call if same or not any(map(any, pads)) else f"ZeroPadding{len(sizes)}D({_keras_pads(pads)}) + {call}"


def _keras_pads(pads: Pads) -> str:
    return repr(pads[0] if len(pads) == 1 else pads)


def _keras_transposed(layer: TracedLayer) -> str:
    a: TransposedConvolution = layer.attributes
    kernel, crops = _kernel(layer), _crops(layer)
    if min(map(min, crops)) < 0 or a.groups > 1:
        return ""
    options = _options(
        strides=(_one(a.stride), "1"),
        dilation_rate=(_one(a.dilation), "1"),
        use_bias=(repr("b" in layer.operands), "True"),
    )
    rank = len(kernel)
    call = f'Conv{rank}DTranspose({layer.output.shape[-1]}, {_one(kernel)}{options}, padding="valid")'
    return f"{call} + Cropping{rank}D({_keras_pads(crops)})" if any(map(any, crops)) else call


def _keras_pool(layer: TracedLayer) -> str:
    a: MaxPool | AveragePool = layer.attributes
    if a.ceil_mode:
        return ""
    sizes, dilation = _sizes(layer), getattr(a, "dilation", (1,) * len(a.window))
    if max(dilation) > 1:
        return ""
    pads = resolve_pads(a.padding, sizes, a.window, a.stride, dilation)
    rank = len(a.window)
    kind = "Max" if isinstance(a, MaxPool) else "Average"
    call = f"{kind}Pooling{rank}D({_one(a.window)}, strides={_one(a.stride)})"
    if not any(map(any, pads)):
        return call
    if isinstance(a, AveragePool):
        return f"ZeroPadding{rank}D({_keras_pads(pads)}) + {call}" if a.count_padding else ""
    return f"ops.pad(x, {((0, 0), *pads, (0, 0))!r}, constant_values=-inf) + {call}"


def _keras_batch_norm(layer: TracedLayer) -> str:
    a: BatchNorm = layer.attributes
    return f"BatchNormalization(epsilon={a.epsilon:g}{_affine(layer)})"


def _affine(layer: TracedLayer) -> str:
    return _options(
        scale=(repr("scale" in layer.operands), "True"), center=(repr("offset" in layer.operands), "True")
    )


def _keras_layer_norm(layer: TracedLayer) -> str:
    a: LayerNorm = layer.attributes
    axes = [axis - len(layer.output.shape) if axis >= 0 else axis for axis in a.axes]
    named = "" if axes == [-1] else f"axis={axes!r}, "
    return f"LayerNormalization({named}epsilon={a.epsilon:g}{_affine(layer)})"


def _keras_group_norm(layer: TracedLayer) -> str:
    a: GroupNorm = layer.attributes
    return f"GroupNormalization({a.groups}, epsilon={a.epsilon:g}{_affine(layer)})"


def _keras_leaky(layer: TracedLayer) -> str:
    a: LeakyRelu = layer.attributes
    return f"LeakyReLU(negative_slope={a.slope:g})"


def _keras_gelu(layer: TracedLayer) -> str:
    a: Gelu = layer.attributes
    return f"keras.activations.gelu(x, approximate={a.approximate == 'tanh'})"


def _keras_flatten(layer: TracedLayer) -> str:
    rank = len(layer.operands["x"].shape) - 2
    if not layer.reading:
        return "Flatten()"
    return f"Permute({(rank + 1, *range(1, rank + 1))!r}) + Flatten()"


def _plain(text: str) -> Callable[[TracedLayer], str]:
    return lambda layer: text


# PyTorch ------------------------------------------------------------------------------------------------------------


def _torch_convolution(layer: TracedLayer) -> str:
    a: Convolution = layer.attributes
    kernel, sizes = _kernel(layer), _sizes(layer)
    pads = resolve_pads(a.padding, sizes, kernel, a.stride, a.dilation)
    even = all(low == high for low, high in pads)
    options = _options(
        stride=(_one(a.stride), "1"),
        padding=(_one(tuple(low for low, _ in pads)) if even else "0", "0"),
        dilation=(_one(a.dilation), "1"),
        groups=(repr(a.groups), "1"),
        bias=(repr("b" in layer.operands), "True"),
    )
    channels = layer.operands["x"].shape[-1]
    call = f"nn.Conv{len(sizes)}d({channels}, {layer.output.shape[-1]}, {_one(kernel)}{options})"
    flat = tuple(amount for pair in reversed(pads) for amount in pair)
    return call if even else f"nn.ZeroPad{len(sizes)}d({flat!r}) + {call}"


def _torch_transposed(layer: TracedLayer) -> str:
    a: TransposedConvolution = layer.attributes
    kernel, crops = _kernel(layer), _crops(layer)
    spans = map(extent, kernel, a.dilation)
    # torch has no zeros behind the canvas, where the stride is above the kernel's span.
    crops = tuple((low, high - max(s - span, 0)) for (low, high), s, span in zip(crops, a.stride, spans, strict=True))
    more = tuple(low - high for low, high in crops)
    within = all(0 <= extra < max(s, d) for extra, s, d in zip(more, a.stride, a.dilation, strict=True))
    within &= all(low >= 0 for low, _ in crops)
    options = _options(
        stride=(_one(a.stride), "1"),
        padding=(_one(tuple(low for low, _ in crops)) if within else "0", "0"),
        output_padding=(_one(more) if within else "0", "0"),
        dilation=(_one(a.dilation), "1"),
        groups=(repr(a.groups), "1"),
        bias=(repr("b" in layer.operands), "True"),
    )
    channels = layer.operands["x"].shape[-1]
    call = f"nn.ConvTranspose{len(kernel)}d({channels}, {layer.output.shape[-1]}, {_one(kernel)}{options})"
    if within:
        return call
    if min(map(min, crops)) < 0:
        return ""
    places = zip(crops, layer.output.shape[1:-1], strict=True)
    return f"{call}, then x[:, :, {', '.join(f'{low}:{low + size}' for (low, _), size in places)}]"


def _torch_batch_norm(layer: TracedLayer) -> str:
    a: BatchNorm = layer.attributes
    rank = max(len(layer.operands["x"].shape) - 2, 1)
    return f"nn.BatchNorm{rank}d({layer.output.shape[-1]}, eps={a.epsilon:g})"


def _torch_leaky(layer: TracedLayer) -> str:
    a: LeakyRelu = layer.attributes
    return f"nn.LeakyReLU({a.slope:g})"


def _torch_gelu(layer: TracedLayer) -> str:
    a: Gelu = layer.attributes
    return f'nn.GELU(approximate="{a.approximate}")'


def _torch_flatten(layer: TracedLayer) -> str:
    rank = len(layer.operands["x"].shape) - 2
    last = (0, *range(2, rank + 2), 1)
    return "nn.Flatten()" if layer.reading or rank < 1 else f"x.permute{last!r}.flatten(1)"


# By the class of the attributes, or by the operator where it has none.
_WRITERS: Final[Mapping[str, Mapping[str, Callable[[TracedLayer], Any]]]] = {
    "keras": {
        "Convolution": _keras_convolution,
        "TransposedConvolution": _keras_transposed,
        "MaxPool": _keras_pool,
        "AveragePool": _keras_pool,
        "BatchNorm": _keras_batch_norm,
        "LayerNorm": _keras_layer_norm,
        "GroupNorm": _keras_group_norm,
        "LeakyRelu": _keras_leaky,
        "Gelu": _keras_gelu,
        "flatten": _keras_flatten,
        "relu": _plain("ReLU()"),
        **{name: _plain(f'Activation("{name}")') for name in ("sigmoid", "tanh", "silu", "relu6", "selu", "mish")},
        "dense": lambda layer: (
            f"Dense({layer.output.shape[-1]}{_options(use_bias=(repr('b' in layer.operands), 'True'))})"
        ),
        "add": _plain("Add()"),
    },
    "torch": {
        "Convolution": _torch_convolution,
        "TransposedConvolution": _torch_transposed,
        "BatchNorm": _torch_batch_norm,
        "LeakyRelu": _torch_leaky,
        "Gelu": _torch_gelu,
        "flatten": _torch_flatten,
        "relu": _plain("nn.ReLU()"),
        **{
            name: _plain(f"nn.{kind}()")
            for name, kind in (
                *(("sigmoid", "Sigmoid"), ("tanh", "Tanh"), ("silu", "SiLU")),
                *(("relu6", "ReLU6"), ("selu", "SELU"), ("mish", "Mish")),
            )
        },
    },
}
