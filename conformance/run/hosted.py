"""A user's own model in a worker of its own: started, loaded, asked; what it cannot do is an error with its place."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.case.expansion import did_you_mean
from conformance.case.inputs import draw_words, normal
from conformance.case.job import Crashed, Refused, Target, Tensor, TimedOut
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
)
from conformance.errors import InvalidModel, ModelFailed
from conformance.verdict.oracle import Accumulators
from conformance.worker.gateway import Worker

# Who hosts a model of a framework's, and what its process finds in its environment.
HOSTS: Final[dict[str, tuple[str, tuple[tuple[str, str], ...]]]] = {
    "torch": ("conformance.models.torch:TorchModels", ()),
    "keras": ("conformance.models.keras:KerasModels", (("KERAS_BACKEND", "tensorflow"),)),
    "jax": ("conformance.models.jax:JaxModels", ()),
}
# Frameworks whose images have channels first, and how many axes an image with its batch has.
CHANNELS_FIRST: Final = ("torch",)
IMAGES: Final = (4, 5)
# `inputs.normal` sums twelve words for one number.
_WORDS_FOR_NORMAL: Final = 12
# A pass of a large model, forwards and backwards, on a busy machine.
SECONDS: Final = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """Which model: `FRAMEWORK[@INTERPRETER]:FILE[:FUNCTION]`, and the file of its weights if there is one."""

    framework: str
    file: Path
    function: str = "build"
    interpreter: str = ""
    weights: Path | None = None

    @property
    def name(self) -> str:
        """The text that a user types."""
        at = f"@{self.interpreter}" if self.interpreter else ""
        return f"{self.framework}{at}:{self.file}:{self.function}"

    @classmethod
    def parse(cls, text: str, weights: Path | None = None) -> "ModelSpec":
        """Reads a model's text; the files have to be there.

        Raises:
            InvalidModel: if it cannot be read, or a file is missing.
        """
        head, _, rest = text.partition(":")
        framework, _, interpreter = head.partition("@")
        file, _, function = rest.partition(":")
        if framework not in HOSTS:
            hint = did_you_mean(framework, list(HOSTS))
            raise InvalidModel(repr(text), f"models are of {' or '.join(HOSTS)}, got {framework!r}{hint}")
        if not file:
            raise InvalidModel(repr(text), "no file is named; expected FRAMEWORK:FILE.py:FUNCTION")
        for path in (Path(file), *([weights] if weights else [])):
            if not path.is_file():
                raise InvalidModel(str(path), f"there is no such file; it is looked for in {Path.cwd()}")
        return cls(
            framework=framework,
            file=Path(file),
            function=function or "build",
            interpreter=interpreter,
            weights=weights,
        )


class HostedModel:
    """One model in its own process; in inference, or in training, without dropout.

    Raises (from everything):
        InvalidModel: if files, weights or inputs do not go together.
        ModelFailed: if the model raises, dies or is silent.
        TargetError: if the worker cannot start.
    """

    def __init__(self, spec: ModelSpec, *, training: bool = False, timeout: float = SECONDS) -> None:
        path, environment = HOSTS[spec.framework]
        target = Target(backend=spec.framework, interpreter=spec.interpreter, environment=environment)
        self.spec = spec
        self._training = training
        self._timeout = timeout
        self._worker = Worker(target, path)
        try:
            self.description = self._worker.start()
            self.accumulators = Accumulators.from_description(self.description)
            weights = str(spec.weights.resolve()) if spec.weights else ""
            self._ask(
                LoadModel(file=str(spec.file.resolve()), function=spec.function, weights=weights),
                LoadedModel,
                "loading",
            )
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Ends the process."""
        self._worker.close()

    def __enter__(self) -> "HostedModel":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def run(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor] = ()) -> Trace:
        """One traced pass; a failure of the model's is in the trace."""
        found: Trace = self._ask(
            RunModel(inputs=tuple(inputs), cotangents=tuple(cotangents), training=self._training), Trace, "running"
        )
        return replace(found, failure=self._shown(found.failure))

    def run_whole(self, inputs: Sequence[Tensor], cotangents: Sequence[Tensor] = ()) -> Trace:
        """One traced pass that has to come to its end."""
        found = self.run(inputs, cotangents)
        if found.failure:
            raise ModelFailed(self.spec.name, f"running: {found.failure}")
        return found

    def outputs_with(self, inputs: Sequence[Tensor], noise: Mapping[str, Tensor]) -> tuple[Tensor, ...]:
        """The outputs where so much is added to what its layers give."""
        found: Trace = self._ask(
            RunModel(inputs=tuple(inputs), noise=noise, training=self._training), Trace, "running"
        )
        return found.outputs

    def put(self, parameters: Mapping[str, Tensor]) -> None:
        """Puts numbers, as layers of the house have them, into parameters by native name."""
        self._ask(SetParameters(parameters=parameters), ParametersSet, "taking weights")

    def parameters(self) -> Mapping[str, Tensor]:
        """All parameters and statistics, by native name, in the framework's own order of axes."""
        found: ExportedParameters = self._ask(ExportParameters(), ExportedParameters, "giving weights")
        return found.parameters

    def _ask(self, message: ModelMessage, kind: type[Any], doing: str) -> Any:
        self._worker.send(message)
        answer: ModelAnswer = self._worker.receive(self._timeout)
        match answer:
            case Refused(error="InvalidModel", message=text):
                where, _, why = self._shown(text).partition(": ")
                raise InvalidModel(where, why)
            case Refused(error=error, message=text):
                raise ModelFailed(self.spec.name, f"{doing}: {error}: {self._shown(text)}")
            case Crashed(cause=cause, last_words=words):
                raise ModelFailed(self.spec.name, f"{doing}: its process died: {cause}\n{words}".strip())
            case TimedOut(seconds=seconds):
                raise ModelFailed(self.spec.name, f"{doing}: no answer in {seconds:g} s")
        if not isinstance(answer, kind):
            raise ModelFailed(self.spec.name, f"{doing}: an answer of the wrong kind came, {type(answer).__name__}")
        return answer

    def _shown(self, text: str) -> str:
        """A text with the files named as the user did."""
        text = text.replace(str(self.spec.file.resolve()), str(self.spec.file))
        weights = self.spec.weights
        return text.replace(str(weights.resolve()), str(weights)) if weights else text


def read_inputs(path: Path, framework: str) -> tuple[Tensor, ...]:
    """A model's inputs from `.npy`, or from `.npz` in the order of its members, as a framework's models take them.

    Images of 4 and 5 axes get their channels last. Float64 is rounded to float32, in which models keep their weights.

    Raises:
        InvalidModel: for what is no array of finite numbers.
    """
    if not path.is_file():
        raise InvalidModel(str(path), "there is no such file; give the model's input as .npz or .npy")
    try:
        read = np.load(path, allow_pickle=False)
        arrays = {name: read[name] for name in read.files} if isinstance(read, np.lib.npyio.NpzFile) else {"": read}
    except (ValueError, OSError, EOFError) as error:
        raise InvalidModel(str(path), f"is no .npz or .npy of numbers: {error}") from error
    if not arrays:
        raise InvalidModel(str(path), "holds no array; np.savez(path, x=x) writes one")
    tensors = []
    for name, array in arrays.items():
        where = f"{path}[{name!r}]" if name else str(path)
        if array.dtype.kind not in "fi" or array.dtype.itemsize < 4:
            remedy = "convert it as the model expects it: x.astype('float32') / 255"
            raise InvalidModel(where, f"is {array.dtype} of shape {array.shape}, expected float32; {remedy}")
        if array.dtype.kind == "f" and not np.isfinite(array).all():
            place = np.argwhere(~np.isfinite(array))[0].tolist()
            raise InvalidModel(where, f"is {array[tuple(place)]} at {place}; every number has to be finite")
        tensors.append(_as_given(array.astype("float32" if array.dtype.kind == "f" else "int64"), framework))
    return tuple(tensors)


def draw_inputs(shapes: str, framework: str) -> tuple[Tensor, ...]:
    """Random inputs of shapes that a user types, `1x3x32x32`, of several inputs with commas between.

    The shapes are those that a framework's models take. The numbers are normal, and the same every time.

    Raises:
        InvalidModel: for what is no shape.
    """
    tensors = []
    for place, text in enumerate(shapes.split(",")):
        sizes = text.strip().split("x")
        if not all(size.isdecimal() and int(size) for size in sizes):
            raise InvalidModel(f"--shape {shapes}", "expected sizes with x between, batch first: 1x3x32x32")
        shape = tuple(map(int, sizes))
        words = draw_words(b"shape", f"input {place}", _WORDS_FOR_NORMAL * math.prod(shape))
        tensors.append(_as_given(normal(words).reshape(shape).astype("float32"), framework))
    return tuple(tensors)


def _as_given(array: NDArray[Any], framework: str) -> Tensor:
    """An input as the house has it: images have their channels last."""
    if framework in CHANNELS_FIRST and array.ndim in IMAGES:
        array = np.moveaxis(array, 1, -1)
    array = np.ascontiguousarray(array)
    return Tensor(array.dtype.name, array)
