"""A network's weights as it starts, in a framework's own layout and names; no framework is asked."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.families.normalization import BatchNorm, BatchNormTraining
from conformance.case.inputs import Question as Drawn
from conformance.case.job import Tensor
from conformance.case.loading import load
from conformance.case.model import Case
from conformance.case.operators import INPUT, Chain, Layer, chain_shapes, own_of
from conformance.dialects.model import Question, Unwritten, Weight
from conformance.dialects.moves import Moves, Transpose
from conformance.dialects.table import DIALECTS
from conformance.errors import InvalidModel
from conformance.models.safetensors import write_safetensors

# What a layer keeps from call to call; masks, labels and factors are given with the data.
_KEPT: Final = frozenset({"w", "b", "scale", "offset", "mean", "variance", "a"})
# How a framework joins the name of a layer and that of its parameter.
_JOINS: Final[Mapping[str, str]] = {"torch": ".", "jax": ".", "keras": "/", "tf": "/"}


def network_form(path: Path, form: str = "") -> Case:
    """A form of a network's file; the first if none is named.

    Raises:
        InvalidCases: if the file is wrong.
        InvalidModel: if it is no network, or has no form of the name.
    """
    forms = {case.id.rpartition("/")[2]: case for case in load([path])}
    networks = {name: case for name, case in forms.items() if isinstance(case.attributes, Chain)}
    if not networks or not all(case.attributes.network for case in networks.values()):
        raise InvalidModel(str(path), "describes no network; those of this project are in cases/networks")
    if form and form not in networks:
        raise InvalidModel(str(path), f"has no form {form!r}; it has {', '.join(networks)}")
    return networks[form or next(iter(networks))]


def write_initial_weights(path: Path, form: str, framework: str, out: Path) -> str:
    """Writes a network's first weights as safetensors, and says so.

    Raises:
        InvalidCases, InvalidModel: see `network_form` and `initial_weights`.
    """
    case = network_form(path, form)
    made = initial_weights(case, framework)
    write_safetensors(out, made)
    return f"{len(made)} parameters of {case.id} as {framework} has them: {out}"


def initial_weights(case: Case, framework: str) -> dict[str, Tensor]:
    """The float32 weights of a network, by layer and the framework's name for the parameter.

    Args:
        case: a network's form.
        framework: torch, keras, tf or jax.

    Raises:
        InvalidModel: if the framework's layers do not have what one of the network's has.
    """
    if framework not in DIALECTS:
        raise InvalidModel(f"--to {framework}", f"a network's weights are written for {', '.join(DIALECTS)}")
    drawn = Drawn(case, "normal", "float32").operands()
    return {
        f"{layer.name}{_JOINS[framework]}{weight.name}": Tensor(tensor.format, _laid(tensor.data, weight.moves))
        for layer, own, x in _weighted(case, drawn)
        for weight in _weights(case, framework, layer, {"x": x, **{name: t.shape for name, t in own.items()}})
        for tensor in (own[weight.operand],)
    }


def _weighted(case: Case, drawn: Mapping[str, Tensor]) -> Iterator[tuple[Layer, dict[str, Tensor], tuple[int, ...]]]:
    """The layers that have weights, those, and the shape of what they are given."""
    chain: Chain = case.attributes
    shapes = {name: tensor.shape for name, tensor in drawn.items()}
    outputs = {INPUT: shapes[INPUT], **chain_shapes(chain, shapes)}
    for layer, takes in chain.wired():
        own = {name: tensor for name, tensor in own_of(layer, drawn).items() if name in _KEPT}
        if own:
            yield layer, own, outputs[next(iter(takes.values()))]


def _weights(case: Case, framework: str, layer: Layer, shapes: Mapping[str, tuple[int, ...]]) -> tuple[Weight, ...]:
    operator, attributes = layer.operator, layer.attributes
    if isinstance(attributes, BatchNormTraining):  # the same parameters, whatever it is doing
        operator, attributes = "batch_norm", BatchNorm(epsilon=attributes.epsilon)
    written = DIALECTS[framework].write(Question(operator=operator, attributes=attributes, shapes=shapes))
    if isinstance(written, Unwritten):
        raise InvalidModel(f"{case.id}, layer {layer.name!r}", f"{DIALECTS[framework].title}: {written.why}")
    return written.weights


def _laid(array: NDArray[Any], moves: Moves) -> NDArray[Any]:
    for move in moves:
        array = array.transpose(move.axes) if isinstance(move, Transpose) else array.reshape(move.after)
    return np.ascontiguousarray(array)
