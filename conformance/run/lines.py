"""The line to write in a framework for what a layer of another one does, as its dialect says it.

What is no layer there, but a call that users write between layers, is said here. Empty where no short line is sure to
do it.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, Final

from conformance.case.families.activations import Gelu
from conformance.case.families.convolution import TransposedConvolution
from conformance.case.families.normalization import BatchNormTraining, LayerNorm
from conformance.case.families.pooling import MaxPool
from conformance.case.geometry import resolve_pads
from conformance.case.traces import TracedLayer
from conformance.dialects.model import Question, Unwritten, Written
from conformance.dialects.source import called, each
from conformance.dialects.table import DIALECTS, Dialect

# How a flattening reads channels first, which the dialects know as a layer of its own.
_CHANNELS_FIRST: Final = "flattened channels first"


def written(framework: str, layer: TracedLayer) -> str:
    """A layer in a framework's words."""
    dialect, question = DIALECTS.get(framework), _question(layer)
    if dialect is None or question is None:
        return ""
    found = dialect.write(question)
    if isinstance(found, Unwritten):
        call = _CALLS.get(framework, {}).get(layer.operator)
        return call(layer) if call is not None else ""
    return _joined(dialect, layer, found)


def _question(layer: TracedLayer) -> Question | None:
    """What a layer asks; none where its operator is read in another way."""
    operator, attributes = layer.operator, layer.attributes
    if operator == "flatten" and layer.reading == _CHANNELS_FIRST:
        operator = "flatten_channels_first"
    elif layer.reading:
        return None
    if isinstance(attributes, LayerNorm):
        rank = len(layer.output.shape)
        attributes = replace(attributes, axes=tuple(axis % rank - rank for axis in attributes.axes))
    shapes = {name: tensor.shape for name, tensor in layer.operands.items()}
    return Question(operator=operator, attributes=attributes, shapes=shapes)


def _joined(dialect: Dialect, layer: TracedLayer, said: Written) -> str:
    if not dialect.layered or said.statements:
        return "; ".join(said.lines)
    plain = [line.removeprefix("layers.") for line in said.lines]
    if dialect.name == "keras" and isinstance(layer.attributes, TransposedConvolution) and "padding=" not in plain[0]:
        # It is the default, but the line that this one replaces most likely says something else.
        plain[0] = f'{plain[0].removesuffix(")")}, padding="valid")'
    return " + ".join(plain)


# Calls that are no layers -------------------------------------------------------------------------------------------


def _keras_gelu(layer: TracedLayer) -> str:
    a: Gelu = layer.attributes
    return f"keras.activations.gelu(x, approximate={a.approximate == 'tanh'})"


def _keras_max_pool(layer: TracedLayer) -> str:
    """No layer pads with what never wins, but a call does."""
    a: MaxPool = layer.attributes
    if a.ceil_mode or max(a.dilation) > 1:
        return ""
    rank = len(a.window)
    pads = resolve_pads(a.padding, layer.operands["x"].shape[1:-1], a.window, a.stride, a.dilation)
    pool = called(f"MaxPooling{rank}D", each(a.window), strides=(each(a.stride), None))
    return f"ops.pad(x, {((0, 0), *pads, (0, 0))!r}, constant_values=-inf) + {pool}"


def _keras_batch_norm(layer: TracedLayer) -> str:
    a: BatchNormTraining = layer.attributes
    return called("BatchNormalization", momentum=(a.momentum, 0.99), epsilon=(a.epsilon, 1e-3))


def _torch_batch_norm(layer: TracedLayer) -> str:
    a: BatchNormTraining = layer.attributes
    rank, channels = max(len(layer.output.shape) - 2, 1), layer.output.shape[-1]
    # The share that comes, where the house's is the one that stays; 1 - 0.9 is not 0.1 in binary.
    share = round(1 - a.momentum, 12)
    return called(f"nn.BatchNorm{rank}d", channels, eps=(a.epsilon, 1e-5), momentum=(share, 0.1))


def _torch_flatten(layer: TracedLayer) -> str:
    axes = len(layer.operands["x"].shape)
    return f"x.permute{(0, *range(2, axes), 1)!r}.flatten(1)"


_CALLS: Final[Mapping[str, Mapping[str, Callable[[TracedLayer], Any]]]] = {
    "keras": {
        "gelu": _keras_gelu,
        **{f"max_pool{rank}d": _keras_max_pool for rank in (1, 2, 3)},
        "batch_norm_training": _keras_batch_norm,
    },
    "torch": {
        "flatten": _torch_flatten,
        "batch_norm_training": _torch_batch_norm,
    },
}
