"""What every framework's side of a user's model shares: messages, the user's file, arrays as the house has them."""

import importlib.util
import math
import re
import sys
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from conformance.backends.base import refused
from conformance.case.job import Description, Refused, Tensor
from conformance.case.traces import (
    ExportedParameters,
    ExportParameters,
    LoadedModel,
    LoadModel,
    ModelAnswer,
    ModelMessage,
    ParametersSet,
    RunModel,
    SetParameters,
    Trace,
    TracedLayer,
)
from conformance.errors import InvalidModel
from conformance.models.recording import CROP, Call, Native, Record, folded

Array = NDArray[Any]


class Models(ABC):
    """Hosts one model of a user's.

    Attributes:
        module, install: as an adapter's.
        training: whether the pass that is being made is one of training.
    """

    module: ClassVar[str]
    install: ClassVar[str]

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        """Imports the framework and sets its strict switches."""
        self._file = ""
        # What the layers of a trace say of a parameter: how the house has it, and how the framework does.
        self._native_of: dict[str, Callable[[Array], Array]] = {}
        self.training = False

    @abstractmethod
    def describe(self) -> Description:
        """What the framework tells of itself."""

    def reply(self, message: ModelMessage) -> ModelAnswer:
        """One answer to one message; what the user's code raises is an answer, too."""
        try:
            match message:
                case LoadModel():
                    self._file = message.file
                    return LoadedModel(parameters=self.load(_function(message), message.weights))
                case SetParameters():
                    self.put(
                        {
                            name: self._native_of[name](tensor.data) if name in self._native_of else tensor.data
                            for name, tensor in message.parameters.items()
                        }
                    )
                    return ParametersSet()
                case ExportParameters():
                    return ExportedParameters(parameters={n: _tensor(a) for n, a in self.parameters().items()})
                case RunModel():
                    return self._run(message)
        except InvalidModel as error:
            return Refused(error="InvalidModel", message=str(error))
        except (Exception, SystemExit) as error:
            told = refused(error)
            return Refused(error=told.error, message=f"{self._place(error)}{_uncoloured(told.message)}")

    def _run(self, message: RunModel) -> Trace:
        noise = {name: tensor.data for name, tensor in message.noise.items()}
        inputs = [self.to_native(tensor.data) for tensor in message.inputs]
        cotangents = [self.to_native(tensor.data) for tensor in message.cotangents]
        self.training = message.training
        before = self.parameters() if self.training else {}
        run = self.run(inputs, cotangents, noise)
        if self.training:
            self.put(before)
        if message.noise:
            return Trace(layers=(), unrecognised=(), outputs=tuple(_tensor(self.from_native(o)) for o in run.outputs))
        left = [record for record in run.records if record.call.operator != CROP]
        cropped = [f"{record.name}: {record.native}" for record in run.records if record.call.operator == CROP]
        return Trace(
            layers=tuple(self._traced(record, run) for record in left),
            unrecognised=(*run.unrecognised, *cropped),
            outputs=tuple(_tensor(self.from_native(output)) for output in run.outputs),
            failure=self._told(run.error) if run.error else "",
        )

    def _traced(self, record: Record, run: "Run") -> TracedLayer:
        call = record.call
        operands = {}
        for name, native in call.operands.items():
            if name in record.parameters:
                self._native_of[record.parameters[name]] = self.native_parameter(call, name, tuple(native.shape))
            operands[name] = _tensor(self._operand(record, name, native))
        gradients = {}
        for name, native in call.operands.items():
            found = run.gradients.get(id(native))
            if found is None or record.parameters.get(name) in run.shared:
                continue
            gradients[name] = _tensor(self._operand(record, name, found))
        cotangent = run.gradients.get(id(record.output))
        return TracedLayer(
            name=record.name,
            native=record.native,
            operator=call.operator,
            attributes=call.attributes,
            operands=operands,
            output=self._output(record.output, record),
            parameters=dict(record.parameters),
            reading=call.reading,
            last=record.last,
            sources=tuple(run.giver(tensor) for tensor in record.read),
            cotangent=None if cotangent is None else self._output(cotangent, record),
            gradients=gradients,
            statistics={name: _tensor(self._operand(record, name, kept)) for name, kept in record.statistics.items()},
        )

    def _operand(self, record: Record, name: str, native: Native) -> Array:
        """An operand of a layer, or its gradient, as the house has it."""
        if name in record.parameters:
            return self.house_parameter(record.call, name, self.numbers(native))
        return self.house_activation(self.numbers(native), images=record.call.images)

    def _output(self, native: Native, record: Record) -> Tensor:
        # What is flattened has no channels to be moved.
        images = record.call.images and len(native.shape) > 2
        array = self.house_activation(self.numbers(native), images=images)
        return _tensor(array.reshape(array.shape[0], array.shape[-1]) if record.call.squeezed else array)

    def _told(self, error: BaseException) -> str:
        return f"{self._place(error)}{type(error).__name__}: {_uncoloured(str(error))}"

    def _place(self, error: BaseException) -> str:
        """Where the user's own file raised; empty if it did not."""
        frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == self._file]
        return f"{frames[-1].filename}:{frames[-1].lineno}: in {frames[-1].name}: " if frames else ""

    def to_native(self, array: Array) -> Array:
        """An input or cotangent as the model has it."""
        return array

    def from_native(self, native: Native) -> Array:
        """An output of the model as the house has it."""
        return self.numbers(native)

    def house_activation(self, array: Array, *, images: bool) -> Array:
        """An activation as the house has it."""
        return array

    @abstractmethod
    def house_parameter(self, call: Call, operand: str, array: Array) -> Array:
        """A parameter as the house has it."""

    @abstractmethod
    def native_parameter(self, call: Call, operand: str, shape: tuple[int, ...]) -> Callable[[Array], Array]:
        """What turns the house's array into the parameter of that native shape."""

    @abstractmethod
    def load(self, build: Callable[[], Any], weights: str) -> int:
        """Builds the model in inference mode, reads its weights, and counts its parameters' numbers.

        Raises:
            InvalidModel: if it is no model of the framework, or the weights are another one's.
        """

    @abstractmethod
    def parameters(self) -> dict[str, Array]:
        """All parameters and statistics, by native name."""

    @abstractmethod
    def put(self, parameters: Mapping[str, Array]) -> None:
        """Puts numbers, in native order of axes, into parameters."""

    @abstractmethod
    def run(self, inputs: Sequence[Array], cotangents: Sequence[Array], noise: Mapping[str, Array]) -> "Run":
        """One pass; noise is added to the outputs of layers by name."""

    @abstractmethod
    def numbers(self, native: Native) -> Array:
        """A tensor's numbers, copied."""


class Run:
    """A pass that was made: records, gradients by the identity of the tensor, outputs."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.unrecognised: list[str] = []
        self.outputs: tuple[Native, ...] = ()
        self.gradients: dict[int, Native] = {}
        self.shared: frozenset[str] = frozenset()
        self.error: BaseException | None = None

    def fold(self) -> None:
        """Recipes of two layers become the operator that they are."""
        self.records = folded(self.records)

    def giver(self, tensor: Native) -> str:
        """The name of the layer that gave a tensor; empty if none did."""
        return next((record.name for record in self.records if record.handed is tensor), "")

    def wanted(self) -> list[Native]:
        """The tensors whose gradients layers are judged by, once each."""
        every = [tensor for record in self.records for tensor in (*record.call.operands.values(), record.output)]
        return list({id(tensor): tensor for tensor in every}.values())


def _uncoloured(text: str) -> str:
    """A text without a terminal's colours."""
    return re.sub(r"\x1b\[[0-9;]*m", "", text)


def _tensor(array: Array) -> Tensor:
    array = np.ascontiguousarray(array).reshape(array.shape)
    return Tensor(array.dtype.name, array)


def _function(message: LoadModel) -> Callable[[], Any]:
    """The function of a user's file, which runs here.

    Raises:
        InvalidModel: if the file has none of the name.
    """
    path = Path(message.file)
    sys.path.insert(0, str(path.parent))
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise InvalidModel(str(path), "is not a Python file; give FRAMEWORK:FILE.py:FUNCTION")
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    found = getattr(module, message.function, None)
    if not callable(found):
        own = sorted(
            name
            for name, value in vars(module).items()
            if callable(value) and getattr(value, "__module__", "") == path.stem and not name.startswith("_")
        )
        what = "is no function" if hasattr(module, message.function) else "is not there"
        raise InvalidModel(str(path), f"{message.function!r} {what}; the file defines {', '.join(own) or 'none'}")
    build: Callable[[], Any] = found
    return build


def require_shapes(
    where: str, given: Mapping[str, Array], expected: Mapping[str, tuple[int, ...]], optional: Sequence[str] = ()
) -> None:
    """Refuses weights of other names or shapes than the model's.

    Raises:
        InvalidModel: naming the first few of each kind, with both shapes.
    """
    problems = [
        f"{name} has shape {tuple(given[name].shape)}, the model's has {shape}"
        for name, shape in expected.items()
        if name in given and tuple(given[name].shape) != shape
    ]
    lacking = [name for name in expected if name not in given and name not in optional]
    unknown = [name for name in given if name not in expected]
    problems += [f"it has no {', '.join(_few(lacking))}"] if lacking else []
    problems += [f"the model has no {', '.join(_few(unknown))}"] if unknown else []
    if problems:
        raise InvalidModel(where, f"other weights than the model's: {'; '.join(_few(problems))}")


def _few(names: Sequence[str], most: int = 4) -> list[str]:
    rest = len(names) - most
    return [*names[:most], f"{rest} more"] if rest > 0 else list(names)


def per_axis(value: Any, rank: int) -> tuple[int, ...]:
    """One number for every axis, from one for all or one each."""
    return (int(value),) * rank if isinstance(value, int) else tuple(map(int, value))


def elements(shapes: Sequence[Sequence[int]]) -> int:
    """How many numbers arrays of these shapes have."""
    return sum(math.prod(shape) for shape in shapes)
