"""Training descriptions: a network, its initial parameters, its optimizer, its data."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

from conformance.case.model import Shape, Where
from conformance.case.operators import OPERATORS, Chain
from conformance.errors import ImpossibleShape

Initializer = Literal["glorot_uniform", "normal", "zeros"]

# A digit as the network sees it: rows, columns, one channel of grey.
IMAGE: Final = (28, 28, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """A parameter before the first step."""

    shape: Shape
    initializer: Initializer


@dataclass(frozen=True, slots=True, kw_only=True)
class Training:
    """A network in training, in one of its forms.

    Attributes:
        id: `training/mnist/<form>`.
        network: ends in a loss; `x` is a batch of digits, masks and labels come with each step.
        parameters: by `layer/operand`.
        optimizer, optimizer_attributes: an operator that updates.
        batch: images a step; a rest that fills no batch is left out, each epoch another one.
        epochs: how often every image is seen.
        judged_steps: so many steps are captured and judged, the others run free.
        data: the folder of the digits.
        accuracy: the floor of the test accuracy, if there is one.
        predict_relu: predictions are taken from the logits after a ReLU, where all negative ones tie.
        seed: what parameters, batches and masks are drawn from.
        text: the YAML, as written.
    """

    id: str
    about: str
    source: str
    network: Chain
    parameters: Mapping[str, Parameter]
    optimizer: str
    optimizer_attributes: Any
    batch: int
    epochs: int = 1
    judged_steps: int = 20
    data: Path
    accuracy: float | None = None
    predict_relu: bool = False
    seed: str
    where: Where
    text: str


def given_shapes(training: Training) -> dict[str, Shape]:
    """The shapes of what every step brings: `x`, masks and labels.

    Raises:
        ImpossibleShape: if the layers do not fit each other.
    """
    x: Shape = (training.batch, *IMAGE)
    shapes = {"x": x}
    for layer in training.network.layers:
        operator = OPERATORS[layer.operator]
        own = {operator.operands[0].name: x}
        for operand in operator.operands[1:]:
            name = f"{layer.name}/{operand.name}"
            if operand.kind != "float":
                own[operand.name] = shapes[name] = x if operand.kind == "mask" else x[:1]
            elif name in training.parameters:
                own[operand.name] = training.parameters[name].shape
        try:
            x = operator.shapes(layer.attributes, own)["output"]
        except ImpossibleShape as error:
            raise ImpossibleShape(f"layer {layer.name!r} ({layer.operator}) given {x}: {error}") from error
    return shapes
