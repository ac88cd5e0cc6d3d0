"""A framework of models over NumPy, to be hosted as a user's: layers in sequence, computed in float64 and stored.

What a stack computes may be told wrong (`Stacked.told`), so that what its own framework says of a layer is not what
the layer does; and gradients may be spoilt.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from conformance.case.contract import NoAttributes
from conformance.case.job import Description
from conformance.errors import InvalidModel
from conformance.models.base import Array, Models, Run, require_shapes
from conformance.models.recording import Call, Native, Record
from conformance.models.safetensors import read_safetensors
from conformance.reference.operators import OPERATORS
from conformance.tests.fakes import Honest
from conformance.verdict.oracle import attribute_values


@dataclass(eq=False)
class Stacked:
    """One layer; `told` is what it says that it is, `spoils` multiplies gradients of operands, `strays` outputs.

    `trained` is what it is in training, with the same parameters; itself if nothing.
    """

    name: str
    operator: str
    attributes: Any = NoAttributes()  # noqa: RUF009  # it is frozen
    parameters: Mapping[str, Array] = field(default_factory=dict)
    told: Any = None
    spoils: Mapping[str, float] = field(default_factory=dict)
    strays: Mapping[str, float] = field(default_factory=dict)
    does: Callable[[Array], Array] | None = None
    trained: "Stacked | None" = None


@dataclass(eq=False)
class Stack:
    """Layers, the output of each the x of the next; parameters are kept with their axes reversed."""

    layers: Sequence[Stacked]


def numbers(seed: int, *shape: int) -> Array:
    """Numbers that nobody chose."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class StackModels(Models):
    """Hosts a stack."""

    module: ClassVar[str] = "numpy"
    install: ClassVar[str] = Honest.install

    def describe(self) -> Description:
        return Honest("cpu", ()).describe()

    def load(self, build: Callable[[], Any], weights: str) -> int:
        model = build()
        if not isinstance(model, Stack):
            raise InvalidModel(self._file, f"its function gave {type(model).__name__}, expected a Stack")
        self._held = {
            f"{layer.name}.{operand}": array.T.copy()
            for layer in model.layers
            for operand, array in layer.parameters.items()
        }
        self._model = model
        if weights:
            read = {name: tensor.data for name, tensor in read_safetensors(Path(weights)).items()}
            require_shapes(weights, read, {name: array.shape for name, array in self._held.items()})
            self.put(read)
        return sum(array.size for array in self._held.values())

    def parameters(self) -> dict[str, Array]:
        return dict(self._held)

    def put(self, parameters: Mapping[str, Array]) -> None:
        self._held |= {name: np.array(array) for name, array in parameters.items()}

    def house_parameter(self, call: Call, operand: str, array: Array) -> Array:
        return array.T

    def native_parameter(self, call: Call, operand: str, shape: tuple[int, ...]) -> Callable[[Array], Array]:
        return lambda array: array.T

    def numbers(self, native: Native) -> Array:
        return np.array(native)

    def run(self, inputs: Sequence[Array], cotangents: Sequence[Array], noise: Mapping[str, Array]) -> Run:
        run = Run()
        (x,) = inputs
        for layer in self._model.layers:
            if self.training and layer.trained is not None:
                layer = layer.trained
            if layer.does is not None:
                try:
                    x = layer.does(x)
                except RuntimeError as error:
                    run.error = error
                    return run
                run.unrecognised.append(layer.name)
                continue
            held = {operand: self._held[f"{layer.name}.{operand}"] for operand in layer.parameters}
            given = {"x": x, **{operand: array.T for operand, array in held.items()}}
            found = OPERATORS[layer.operator].forward(**_wide(given), **attribute_values(layer.attributes))
            made = {name: (array * layer.strays.get(name, 1.0)).astype(x.dtype) for name, array in found.items()}
            output = made.pop("output")
            handed = output + noise[layer.name] if layer.name in noise else output.copy()
            run.records.append(
                Record(
                    name=layer.name,
                    native=f"{layer.operator} called {layer.name}",
                    call=Call(
                        operator=layer.operator,
                        operands={"x": x, **held},
                        attributes=layer.told or layer.attributes,
                    ),
                    output=output,
                    parameters={operand: f"{layer.name}.{operand}" for operand in held},
                    read=(x,),
                    handed=handed,
                    statistics={name: array.T for name, array in made.items()},
                )
            )
            x = handed
        run.outputs = (x,)
        if cotangents:
            self._pull(run, cotangents[0])
        return run

    def _pull(self, run: Run, cotangent: Array) -> None:
        layers = {layer.name: layer for layer in self._model.layers}
        for record in reversed(run.records):
            layer = layers[record.name]
            run.gradients[id(record.output)] = cotangent
            given = {
                name: array.T if name in record.parameters else array for name, array in record.call.operands.items()
            }
            pulled = OPERATORS[layer.operator].vjp(
                {"output": cotangent.astype(np.float64)}, **_wide(given), **attribute_values(layer.attributes)
            )
            for name, native in record.call.operands.items():
                if name in pulled:
                    found = (pulled[name] * layer.spoils.get(name, 1.0)).astype(np.float32)
                    run.gradients[id(native)] = found.T if name in record.parameters else found
            cotangent = pulled["x"].astype(np.float32)


def _wide(arrays: Mapping[str, Array]) -> dict[str, Array]:
    return {name: array.astype(np.float64) for name, array in arrays.items()}
