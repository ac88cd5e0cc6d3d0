"""A model of ONNX, written node by node with `onnx.helper`, and run with ONNX Runtime."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.backends.base import CallLog, Native, Recorded
from conformance.errors import NotTranslatable


@dataclass(frozen=True, slots=True, kw_only=True)
class Opset:
    """A version of ONNX's operators, and of the file format that came with it."""

    number: int
    ir_version: int


# The first one with Swish.
PRESENT: Final = Opset(number=24, ir_version=11)
# Its softmax makes one row of an axis and all that follow it, as up to 12; many published models are written in it.
ELEVEN: Final = Opset(number=11, ir_version=6)


class Onnx:
    """The modules that models are written and run with, recorded in one log."""

    def __init__(self, onnx: Any, runtime: Any, options: Any, log: CallLog, opset: Opset) -> None:
        """Speaks to the modules `onnx` and `onnxruntime`; the sessions get these options, the models this opset."""
        self.helper = Recorded(onnx.helper, "helper", log)
        self.numpy_helper = Recorded(onnx.numpy_helper, "numpy_helper", log)
        self.runtime = Recorded(runtime, "ort", log)
        self.np = Recorded(np, "np", log)
        self.options = options
        self.log = log
        self.opset = opset
        self._schemas = onnx.defs
        log.name(options, "options")

    def element_type(self, dtype: np.dtype[Any]) -> int:
        """The number that ONNX has for a type of NumPy."""
        return int(self.helper.unrecorded.np_dtype_to_tensor_dtype(dtype))

    def require(self, kind: str, inputs: int, attributes: Sequence[str]) -> None:
        """Refuses a node that the opset has not, with so many inputs and these attributes.

        Raises:
            NotTranslatable: with what it lacks.
        """
        opset = self.opset.number
        if not self._schemas.has(kind, opset):
            raise NotTranslatable(f"ONNX's opset {opset} has no {kind}")
        schema = self._schemas.get_schema(kind, opset)
        if inputs > schema.max_input:
            raise NotTranslatable(f"{kind} takes {schema.max_input} inputs in ONNX's opset {opset}, not {inputs}")
        lacking = sorted(set(attributes) - set(schema.attributes))
        if lacking:
            raise NotTranslatable(f"{kind} has no {', '.join(lacking)} in ONNX's opset {opset}")


class Graph:
    """One model: tensors are names in it, until it runs.

    What a network is given is an input, its parameters are initialisers, as in an exported model.
    """

    def __init__(self, onnx: Onnx, name: str) -> None:
        self._onnx = onnx
        self._name = name
        self._fed: dict[str, Native] = {}
        self._inputs: list[Any] = []
        self._initializers: list[Any] = []
        self._nodes: list[Any] = []

    def input(self, name: str, value: Native) -> str:
        """What is fed when the model runs."""
        self._fed[name] = value
        self._inputs.append(
            self._onnx.helper.make_tensor_value_info(name, self._onnx.element_type(value.dtype), list(value.shape))
        )
        return name

    def parameter(self, name: str, value: Native) -> str:
        """An initialiser: part of the model."""
        self._initializers.append(self._onnx.numpy_helper.from_array(value, name))
        return name

    def integers(self, name: str, values: Sequence[int]) -> str:
        """Axes, sizes or pads, which ONNX takes as a tensor."""
        return self.parameter(name, np.array(values, np.int64))

    def scalar(self, name: str, value: float, like: Native) -> str:
        """One number, in the type of a tensor."""
        return self.parameter(name, np.array(value, like.dtype))

    def node(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """One operator of ONNX with one output; attributes that are left to ONNX are left out."""
        return self.nodes(kind, 1, *inputs, **attributes)[0]

    def nodes(self, kind: str, outputs: int, *inputs: str, **attributes: Any) -> list[str]:
        """One operator of ONNX with so many outputs."""
        self._onnx.require(kind, len(inputs), list(attributes))
        names = [f"{kind}_{len(self._nodes)}" + (f"_{place}" if place else "") for place in range(outputs)]
        self._nodes.append(self._onnx.helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def run(self, *outputs: str) -> list[NDArray[np.generic]]:
        """Writes the model, loads it and runs it once; gives the outputs in order."""
        helper, log = self._onnx.helper, self._onnx.log
        told = [helper.make_empty_tensor_value_info(name) for name in outputs]
        graph = helper.make_graph(self._nodes, self._name, self._inputs, told, self._initializers)
        opset = self._onnx.opset
        opsets = [helper.make_opsetid("", opset.number)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=opset.ir_version)
        written = Recorded(model, log.called(model), log).SerializeToString()
        session = self._onnx.runtime.InferenceSession(written, self._onnx.options, providers=["CPUExecutionProvider"])
        results: list[NDArray[np.generic]] = Recorded(session, log.called(session), log).run(None, self._fed)
        return results

    def last(self, output: str) -> Native:
        """Runs the model for one output alone."""
        return self.run(output)[0]
