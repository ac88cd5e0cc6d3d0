"""Cases for tests, made without files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.job import Target
from conformance.case.model import Case, FormatName, Stated, TensorSpec, Values, Where
from conformance.case.operators import OPERATORS, Chain, Layer
from conformance.run.plan import Item

HERE = Where(path=Path("questions.yaml"), line=3, column=5)


def numbers(values: Any) -> TensorSpec:
    """A tensor that is written down."""
    array = np.asarray(values, np.float64)
    return TensorSpec(shape=array.shape, source=Values(values=tuple(array.ravel().tolist())))


def stated(values: Any, decimals: int | None = None, computed: FormatName | None = None) -> Stated:
    """Numbers that a case states."""
    return Stated(tensor=numbers(values), decimals=decimals, computed=computed)


def case(operator: str, attributes: Any, name: str = "", *, inputs: Mapping[str, Any], **fields: Any) -> Case:
    """A case: a shape among the inputs stands for generated numbers."""
    tensors = {
        key: value if isinstance(value, TensorSpec) else TensorSpec(shape=tuple(value))
        for key, value in inputs.items()
    }
    contract = OPERATORS[operator]
    fields = {"data": contract.data, "formats": ("float32",), "where": HERE, **fields}
    return Case(
        id=f"{operator}/{name or 'case'}",
        operator=operator,
        attributes=contract.resolve(attributes),
        inputs=tensors,
        **fields,
    )


def item(case: Case, format_: FormatName | None = None, backend: str = "fake") -> Item:
    """A result to be had."""
    return Item(case=case, target=Target(backend=backend), format=format_ or case.formats[0], layout="native")


def chain(*layers: tuple[str, str, Any], name: str = "case", **fields: Any) -> Case:
    """A chain of layers: name, operator, attributes."""
    made = tuple(
        Layer(name=layer, operator=operator, attributes=OPERATORS[operator].resolve(attributes))
        for layer, operator, attributes in layers
    )
    return case("chain", Chain(layers=made), name, **fields)


# Asymmetric in everything: odd pads differ from even ones, rows from columns, channels in from channels out.
CONV = case(
    "conv2d", Convolution(padding="same", stride=(2, 1)), inputs={"x": (2, 6, 7, 3), "w": (3, 2, 3, 4), "b": (4,)}
)
SQUARE = case("conv2d", Convolution(stride=(1, 1)), "square", inputs={"x": (2, 5, 6, 2), "w": (3, 3, 2, 4)})
TRANSPOSED = case(
    "conv2d_transpose",
    TransposedConvolution(padding="same", stride=(2, 3)),
    inputs={"x": (2, 3, 4, 2), "w": (3, 4, 5, 2), "b": (5,)},
)
MAX_POOL = case("max_pool2d", MaxPool(window=(3, 2), stride=(2, 1), padding="same"), inputs={"x": (2, 6, 5, 3)})
AVERAGE_POOL = case("average_pool2d", AveragePool(window=(2, 3), stride=(1, 2)), inputs={"x": (2, 5, 7, 3)})
DENSE = case("dense", NoAttributes(), inputs={"x": (3, 5), "w": (5, 4), "b": (4,)})
FLATTEN = case("flatten", NoAttributes(), inputs={"x": (2, 3, 4, 2)})
RELU = case("relu", NoAttributes(), inputs={"x": (3, 5)})
EVERY = (CONV, SQUARE, TRANSPOSED, MAX_POOL, AVERAGE_POOL, DENSE, RELU, FLATTEN)
CHAIN = chain(
    ("first", "conv2d", Convolution(padding="same")),
    ("active", "relu", NoAttributes()),
    ("pooled", "max_pool2d", MaxPool(window=(2, 2))),
    ("flat", "flatten", NoAttributes()),
    ("last", "dense", NoAttributes()),
    inputs={
        "x": (2, 5, 6, 2),
        "first/w": (3, 2, 2, 3),
        "first/b": (3,),
        "last/w": (18, 4),
        "last/b": (4,),
    },
)
