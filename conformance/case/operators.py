"""The contract of every operator: attributes, operands, outputs, shapes.

Data is channels-last; kernels are `(*spatial, in / groups, out)`, transposed kernels `(*spatial, out / groups, in)`.
To add an operator, add its attributes (if no dataclass in `attributes` has them), its shape function in `shapes` and
one entry of `OPERATORS`; `reference/operators.py` names the same operators.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final, Literal

from conformance.case.attributes import (
    Adam,
    AveragePool,
    Blocks,
    Chain,
    Concat,
    Convolution,
    CrossEntropy,
    Dropout,
    Elu,
    Gelu,
    HardTanh,
    LeakyRelu,
    MaxPool,
    Mean,
    NoAttributes,
    Pad,
    Polynomial,
    Sgd,
    Signal,
    Softmax,
    TransposedConvolution,
    per_axis_names,
)
from conformance.case.model import DataSet, Shape
from conformance.case.shapes import (
    Shapes,
    bias_shapes,
    broadcast_shapes,
    concat_shapes,
    convolution_shapes,
    cross_entropy_shapes,
    dense_shapes,
    depth_to_space_shapes,
    dropout_shapes,
    flatten_shapes,
    global_pool_shapes,
    glorot_shapes,
    hard_tanh_shapes,
    matmul_shapes,
    mean_shapes,
    pad_shapes,
    pool_shapes,
    prelu_shapes,
    same_shape,
    signal_shapes,
    softmax_shapes,
    space_to_depth_shapes,
    transposed_shapes,
    update_shapes,
)
from conformance.errors import ImpossibleShape


@dataclass(frozen=True, slots=True, kw_only=True)
class Operand:
    """An input of an operator."""

    name: str
    kind: Literal["float", "integer", "mask"] = "float"
    differentiable: bool = True
    optional: bool = False
    domain: Literal["real", "non_negative", "unit"] = "real"


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """What an operator is.

    Attributes:
        name: the field's name for it.
        attributes: its frozen dataclass.
        operands: in the order of a call.
        outputs: names; "output" where there is one.
        shapes: (attributes, operand shapes) -> output shapes; raises ImpossibleShape.
        rank: spatial axes (0: not a sliding operator).
        linear: in each float operand when the others are held; its results on wide integers are exact.
        data: the data sets that a case asks when it gives no numbers.
        special: the values that the data set `special` draws from: ties, kinks, tails.
    """

    name: str
    attributes: type[Any]
    operands: tuple[Operand, ...]
    shapes: Callable[[Any, Shapes], dict[str, Shape]]
    outputs: tuple[str, ...] = ("output",)
    rank: int = 0
    linear: bool = False
    data: tuple[DataSet, ...] = ("normal", "special")
    special: tuple[float, ...] = ()

    def operand(self, name: str) -> Operand:
        """The operand of that name.

        Raises:
            KeyError: if there is none.
        """
        return {operand.name: operand for operand in self.operands}[name]

    def resolve(self, attributes: Any) -> Any:
        """The attributes with every default that depends on the rank filled in."""
        given: dict[str, Any] = {}
        for name in per_axis_names(self.attributes):
            if getattr(attributes, name) == ():
                if name == "stride" and hasattr(attributes, "window"):
                    given[name] = attributes.window
                else:
                    given[name] = (0 if name == "output_padding" else 1,) * self.rank
        return replace(attributes, **given) if given else attributes


def chain_shapes(attributes: Chain, shapes: Shapes) -> dict[str, Shape]:
    """The output of every layer, by the layer's name, in order."""
    outputs: dict[str, Shape] = {}
    x = shapes["x"]
    for layer in attributes.layers:
        operator = OPERATORS[layer.operator]
        own = {name.partition("/")[2]: s for name, s in shapes.items() if name.startswith(f"{layer.name}/")}
        try:
            x = operator.shapes(layer.attributes, {operator.operands[0].name: x, **own})["output"]
        except ImpossibleShape as error:
            raise ImpossibleShape(f"layer {layer.name!r} ({layer.operator}) given {x}: {error}") from error
        outputs[layer.name] = x
    return outputs


_X, _Y, _W, _B = Operand(name="x"), Operand(name="y"), Operand(name="w"), Operand(name="b", optional=True)
_LINEAR: Final[tuple[DataSet, ...]] = ("wide", "normal")
# All negative or zero: a maximum that pads with 0 shows, and ties are everywhere.
_TIES: Final = (-3.0, -2.0, -1.0, -0.5)
_KINKS_AND_TAILS: Final = (0.0, -0.0, 0.5, -0.5, 3.0, -3.0, 9.0, -9.0, 30.0, -30.0, math.inf, -math.inf)
_LARGE_LOGITS: Final = (-120.0, -60.0, -1.0, 0.0, 0.0, 1.0, 60.0, 120.0)


# Without 0, where derivatives are conventions that differ, and without what is infinite times 0: both have cases of
# their own.
_AWAY_FROM_KINKS: Final = (0.25, -0.25, 2.5, -2.5, 9.0, -9.0, 30.0, -30.0)
_TAILS: Final = (0.0, -0.0, 0.5, -0.5, 3.0, -3.0, 9.0, -9.0, 30.0, -30.0)
_ACTIVATIONS: Final[
    tuple[tuple[str, type[Any], Callable[[Any, Shapes], dict[str, Shape]], tuple[float, ...]], ...]
] = (
    ("relu6", NoAttributes, same_shape, (*_KINKS_AND_TAILS, 6.0)),
    ("leaky_relu", LeakyRelu, same_shape, (*_AWAY_FROM_KINKS, math.inf, -math.inf)),
    ("elu", Elu, same_shape, _KINKS_AND_TAILS),
    ("selu", NoAttributes, same_shape, (*_AWAY_FROM_KINKS, math.inf, -math.inf)),
    ("gelu", Gelu, same_shape, _TAILS),
    ("silu", NoAttributes, same_shape, _TAILS),
    ("mish", NoAttributes, same_shape, _TAILS),
    ("softplus", NoAttributes, same_shape, (0.0, 0.5, -0.5, 9.0, -9.0, -30.0, 60.0, math.inf, -math.inf)),
    ("softsign", NoAttributes, same_shape, _TAILS),
    ("log_sigmoid", NoAttributes, same_shape, _KINKS_AND_TAILS),
    ("hard_sigmoid", NoAttributes, same_shape, (*_AWAY_FROM_KINKS, 0.0, 2.75, -2.75, math.inf, -math.inf)),
    ("hard_swish", NoAttributes, same_shape, (*_AWAY_FROM_KINKS, 0.0, 2.75, -2.75)),
    ("hard_tanh", HardTanh, hard_tanh_shapes, (*_AWAY_FROM_KINKS, 0.0, math.inf, -math.inf)),
)


def _table() -> dict[str, Operator]:
    operators = []
    for rank in (1, 2, 3):
        operators += [
            Operator(
                name=f"conv{rank}d",
                attributes=Convolution,
                operands=(_X, _W, _B),
                shapes=convolution_shapes,
                rank=rank,
                linear=True,
                data=_LINEAR,
            ),
            Operator(
                name=f"conv{rank}d_transpose",
                attributes=TransposedConvolution,
                operands=(_X, _W, _B),
                shapes=transposed_shapes,
                rank=rank,
                linear=True,
                data=_LINEAR,
            ),
            Operator(
                name=f"max_pool{rank}d",
                attributes=MaxPool,
                operands=(_X,),
                shapes=pool_shapes,
                rank=rank,
                special=_TIES,
            ),
            Operator(
                # The division makes a mean of integers inexact, so wide integers are no exact gate here.
                name=f"average_pool{rank}d",
                attributes=AveragePool,
                operands=(_X,),
                shapes=pool_shapes,
                rank=rank,
                data=("normal",),
            ),
        ]
    operators += [
        Operator(name="pad", attributes=Pad, operands=(_X,), shapes=pad_shapes, linear=True, data=_LINEAR),
        Operator(
            name="dense",
            attributes=NoAttributes,
            operands=(_X, _W, _B),
            shapes=dense_shapes,
            linear=True,
            data=_LINEAR,
        ),
        Operator(
            name="bias_add",
            attributes=NoAttributes,
            operands=(_X, Operand(name="b")),
            shapes=bias_shapes,
            linear=True,
            data=_LINEAR,
        ),
        *(
            Operator(name=name, attributes=attributes, operands=operands, shapes=shapes, linear=True, data=_LINEAR)
            for name, attributes, operands, shapes in (
                ("matmul", NoAttributes, (_X, _Y), matmul_shapes),
                ("add", NoAttributes, (_X, _Y), broadcast_shapes),
                ("multiply", NoAttributes, (_X, _Y), broadcast_shapes),
                ("concat", Concat, (_X, _Y), concat_shapes),
                ("depth_to_space", Blocks, (_X,), depth_to_space_shapes),
                ("space_to_depth", Blocks, (_X,), space_to_depth_shapes),
            )
        ),
        *(
            Operator(name=name, attributes=attributes, operands=(_X,), shapes=shapes, data=("normal",))
            for name, attributes, shapes in (
                ("mean", Mean, mean_shapes),
                ("global_average_pool2d", NoAttributes, global_pool_shapes),
                # Where several are largest, gradients differ: ties have a case of their own.
                ("global_max_pool2d", NoAttributes, global_pool_shapes),
            )
        ),
        Operator(
            name="flatten",
            attributes=NoAttributes,
            operands=(_X,),
            shapes=flatten_shapes,
            linear=True,
            data=_LINEAR,
        ),
        *(
            Operator(name=name, attributes=NoAttributes, operands=(_X,), shapes=same_shape, special=_KINKS_AND_TAILS)
            for name in ("relu", "sigmoid", "tanh")
        ),
        Operator(
            name="softmax",
            attributes=Softmax,
            operands=(_X,),
            shapes=softmax_shapes,
            special=_LARGE_LOGITS,
        ),
        Operator(
            name="log_softmax",
            attributes=Softmax,
            operands=(_X,),
            shapes=softmax_shapes,
            special=_LARGE_LOGITS,
        ),
        *(
            Operator(name=name, attributes=attributes, operands=(_X,), shapes=shapes, special=special)
            for name, attributes, shapes, special in _ACTIVATIONS
        ),
        Operator(
            name="prelu",
            attributes=NoAttributes,
            operands=(_X, Operand(name="a")),
            shapes=prelu_shapes,
            special=_AWAY_FROM_KINKS,
        ),
        Operator(
            name="softmax_cross_entropy",
            attributes=CrossEntropy,
            operands=(
                Operand(name="logits"),
                Operand(name="labels", kind="integer", differentiable=False),
            ),
            shapes=cross_entropy_shapes,
            special=_LARGE_LOGITS,
        ),
        Operator(
            name="dropout",
            attributes=Dropout,
            operands=(_X, Operand(name="mask", kind="mask", differentiable=False)),
            shapes=dropout_shapes,
            data=("normal",),
        ),
        Operator(
            name="sgd",
            attributes=Sgd,
            operands=(
                Operand(name="parameter", differentiable=False),
                Operand(name="gradient", differentiable=False),
            ),
            outputs=("parameter",),
            shapes=update_shapes,
            data=("normal",),
        ),
        Operator(
            name="adam",
            attributes=Adam,
            operands=(
                Operand(name="parameter", differentiable=False),
                Operand(name="gradient", differentiable=False),
                Operand(name="m", differentiable=False),
                Operand(name="v", differentiable=False, domain="non_negative"),
            ),
            outputs=("parameter", "m", "v"),
            shapes=update_shapes,
            data=("normal",),
        ),
        Operator(
            name="glorot_uniform",
            attributes=NoAttributes,
            operands=(Operand(name="u", differentiable=False, domain="unit"),),
            shapes=glorot_shapes,
            data=("normal",),
        ),
        *(
            Operator(
                name=name,
                attributes=Signal,
                operands=(_X, _W),
                shapes=signal_shapes,
                linear=True,
                data=_LINEAR,
            )
            for name in ("convolve", "correlate")
        ),
        Operator(name="polynomial", attributes=Polynomial, operands=(_X,), shapes=same_shape, data=("normal",)),
        Operator(name="chain", attributes=Chain, operands=(_X,), shapes=chain_shapes, data=("normal",)),
    ]
    return {operator.name: operator for operator in operators}


OPERATORS: Final[Mapping[str, Operator]] = MappingProxyType(_table())


def operand_of(operator: str, attributes: Any, name: str) -> Operand:
    """The operand that a job's tensor stands for; in a chain `layer/operand` is looked up in its layer.

    Raises:
        KeyError: if there is none.
    """
    if operator == "chain" and "/" in name:
        layer_name, _, own = name.partition("/")
        layer = {layer.name: layer for layer in attributes.layers}[layer_name]
        return OPERATORS[layer.operator].operand(own)
    return OPERATORS[operator].operand(name)


def inference_chain(network: Chain) -> Chain:
    """The chain that predicts: without the layers that take masks or labels."""
    return Chain(
        layers=tuple(
            layer
            for layer in network.layers
            if all(operand.kind == "float" for operand in OPERATORS[layer.operator].operands)
        )
    )


def operators_of(operator: str, attributes: Any) -> tuple[str, ...]:
    """The operators that a question asks: itself and, of a chain, every layer's."""
    layers = attributes.layers if isinstance(attributes, Chain) else ()
    return (operator, *(layer.operator for layer in layers))


def gradient_names(operator: str, attributes: Any, operands: Iterable[str]) -> tuple[str, ...]:
    """What gradients are with respect to.

    The differentiable operands and, of a chain, the outputs of all its layers but the last.
    """
    names = tuple(name for name in operands if operand_of(operator, attributes, name).differentiable)
    layers = attributes.layers[:-1] if isinstance(attributes, Chain) else ()
    return (*names, *(layer.name for layer in layers))
