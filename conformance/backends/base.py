"""What every backend shares: the conversation with the host, and the record of native calls.

A backend translates; it never computes, rescues or hides. For every operator that it has, it defines one method named
as the operator, `conv2d(self, attributes, x, w, b=None)`, which calls the framework in its own idiom. A missing
method is the answer `Unsupported`; a framework that raises is the answer `Refused`.
"""

import difflib
import math
import re
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, ClassVar, Final, TypeVar

import numpy as np

from conformance.case.job import (
    BuildNetwork,
    Built,
    Description,
    Failure,
    Job,
    Outputs,
    Predicted,
    Refused,
    Stepped,
    TellState,
    Tensor,
    TrainingMessage,
    TrainingState,
    TrainStep,
    Unsupported,
    is_native,
)
from conformance.case.layouts import axes_of
from conformance.case.model import Check, Layout, Shape
from conformance.case.operators import (
    INPUT,
    OPERATORS,
    Chain,
    gradient_names,
    named_outputs,
    operand_of,
    operators_of,
    own_of,
)
from conformance.case.second import second_names
from conformance.errors import NotTranslatable

# A framework's tensor: every adapter knows its own type, nothing here looks inside.
Native = Any
Natives = dict[str, Native]
Tap = Callable[[str, Native], Native]
Gradients = dict[str, Native | Failure]
Entry = TypeVar("Entry")

# Instructions that change which kernel a framework takes, and with it the roundings.
CPU_FLAGS: Final = (
    "avx2",
    "avx_ne_convert",
    "avx_vnni",
    "avx512f",
    "avx512bw",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "amx_fp16",
)

# The mode in which nothing is set, in the process's environment neither: what users run.
STOCK: Final = "stock"


@dataclass(frozen=True, slots=True, kw_only=True)
class Mode:
    """A way to drive a framework, other than strict and as the adapter does by default.

    Attributes:
        about: what it does, for lists.
        devices: where it means something; anywhere if empty.
        excludes: modes of which it says the contrary.
        environment: variables that the framework reads when it is imported.
        costly: one question takes seconds, so that only a few are asked below the tier `full`.
        trains: trainings are driven so, too; else they are not asked.
        lacks: operators (globs) that there are not in it, and about which nothing is asked.
    """

    about: str
    devices: tuple[str, ...] = ()
    excludes: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    costly: bool = False
    trains: bool = True
    lacks: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The mode in one line."""
        where = f" ({', '.join(self.devices)})" if self.devices else ""
        return self.about + where + ("; asked little below --tier full" if self.costly else "")


def variable(name: str) -> str:
    """A tensor's name as a script has it: `first/w` is `first_w`."""
    return re.sub(r"\W", "_", name)


class CallLog:
    """Native calls as they are made, written as the lines of a script."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._names: dict[int, str] = {}
        self._kept: list[Native] = []  # an id stays unique only while its object lives

    def name(self, value: Native, name: str) -> None:
        """Says how a value is called in the lines."""
        self._names[id(value)] = name
        self._kept.append(value)

    def alias(self, value: Native, other: Native) -> None:
        """Says that a value is called as another one that is in the lines already."""
        self.name(value, self._text(other))

    def called(self, value: Native) -> str:
        """How a value is called in the lines."""
        return self._text(value)

    def record(self, callee: str, args: Sequence[Any], kwargs: Mapping[str, Any], result: Native) -> None:
        """Writes down one call and names its result."""
        name = f"t{len(self._lines) + 1}"
        call = self._call(callee, args, kwargs)
        if isinstance(result, (tuple, list)):
            for place, item in enumerate(result):
                self.name(item, f"{name}[{place}]")
        else:
            self.name(result, name)
        self._lines.append(f"{name} = {call}")

    def attempt(self, callee: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> None:
        """Writes down a call that raised."""
        self._lines.append(self._call(callee, args, kwargs))

    def write(self, line: str, *values: Native) -> None:
        """Writes down what is no call of one function; every `{}` in it stands for a value."""
        self._lines.append(line.format(*map(self._text, values)))

    def lines(self, outputs: Natives) -> tuple[str, ...]:
        """The script, with the outputs under their own names."""
        text = "\n".join(self._lines)
        renamed: dict[str, str] = {}
        for name, value in outputs.items():
            own = self._names.get(id(value), "")
            name = variable(name)
            if re.fullmatch(r"t\d+", own) and own not in renamed:
                renamed[own] = name
                text = re.sub(rf"\b{own}\b", name, text)
            elif own and own != name:
                text += f"\n{name} = {renamed.get(own, own)}"
        return tuple(text.splitlines())

    def _call(self, callee: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
        given = [self._text(arg) for arg in args] + [f"{key}={self._text(arg)}" for key, arg in kwargs.items()]
        return f"{callee}({', '.join(given)})"

    def _text(self, value: Any) -> str:
        if id(value) in self._names:
            return self._names[id(value)]
        if isinstance(value, (tuple, list)):
            inside = ", ".join(self._text(item) for item in value)
            return f"({inside}{',' if len(value) == 1 else ''})" if isinstance(value, tuple) else f"[{inside}]"
        if isinstance(value, dict):
            return f"{{{', '.join(f'{key!r}: {self._text(item)}' for key, item in value.items())}}}"
        if isinstance(value, np.dtype):
            return repr(value.name)
        if callable(value):
            module = getattr(value, "__module__", "").split(".")[0]
            return f"{module}.{getattr(value, '__name__', value)}".removeprefix("builtins.")
        if isinstance(value, float) and not math.isfinite(value):
            return f"float('{value}')"
        if isinstance(value, np.generic):
            return f"np.{value.dtype.name}({self._text(value.item())})"
        if isinstance(value, np.ndarray):
            return f"np.array({value.tolist()}, {value.dtype.name!r})"
        if hasattr(value, "__array__"):
            return f"<array of shape {tuple(np.shape(value))}>"
        return repr(value)


def translated(value: Any, translate: Callable[[Any], Any]) -> Any:
    """An attribute in the framework's own words; what is left to the framework stays so."""
    return value if is_native(value) else translate(value)


def without_native(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Keyword arguments without those that are left to the framework."""
    return {name: value for name, value in settings.items() if not is_native(value)}


class Idiom:
    """How a framework is spoken to: with its own options, or by recipes where it has none; in which layout.

    Attributes:
        own: only the framework's own options may answer.
        composed: what it was found to lack since this was last emptied.
        layout: how the data of the question being answered lie.
    """

    own: bool = False
    composed: tuple[str, ...] = ()
    layout: Layout = "native"

    @property
    def channels_first(self) -> bool:
        """The channels of images lie behind the batch, in a framework whose users have them at the end."""
        return self.layout == "channels_first"

    def sizes(self, x: Native) -> Shape:
        """The spatial sizes of images."""
        return tuple(x.shape[2:] if self.channels_first else x.shape[1:-1])

    def whole(self, other: Entry, spatial: Sequence[Entry]) -> tuple[Entry, ...]:
        """Entries of the spatial axes as those of all axes."""
        return (other, other, *spatial) if self.channels_first else (other, *spatial, other)

    def compose(self, lacking: str) -> None:
        """Says, before a recipe is composed, what the framework itself lacks.

        Raises:
            NotTranslatable: if the framework's own option is asked, so that no recipe answers for it.
        """
        if self.own:
            raise NotTranslatable(f"no option: {lacking}")
        if lacking not in self.composed:
            self.composed = (*self.composed, lacking)


class Recorded:
    """A framework's module under a short name: whatever is called through it is written to a log.

    A keyword argument that is `NATIVE` is left out of the call.
    """

    def __init__(self, module: Any, name: str, log: CallLog) -> None:
        self._module = module
        self._name = name
        self._log = log

    @property
    def unrecorded(self) -> Any:
        """The module itself, for what a script need not show."""
        return self._module

    def __getattr__(self, attribute: str) -> Callable[..., Native]:
        function = getattr(self._module, attribute)

        def call(*args: Any, **kwargs: Any) -> Native:
            callee = f"{self._name}.{attribute}"
            given = without_native(kwargs)
            if any(map(is_native, args)):
                raise NotTranslatable(f"no default: the adapter gives {callee} every argument")
            try:
                result = function(*args, **given)
            except Exception as error:
                left = [name for name in kwargs if name not in given]
                if left and isinstance(error, TypeError) and "missing" in str(error).lower():
                    raise NotTranslatable(f"no default: {callee} needs {', '.join(left)}") from error
                self._log.attempt(callee, args, given)
                raise
            self._log.record(callee, args, given, result)
            return result

        return call


@dataclass(frozen=True, slots=True, kw_only=True)
class Names:
    """What the tensors of a script are called.

    Attributes:
        operands: every one.
        outputs: every one.
        heads: the outputs that have a cotangent; empty if no gradient is asked.
        cotangents: theirs.
        sources: the operands with respect to which gradients are asked.
        gradients: theirs.
    """

    operands: tuple[str, ...]
    outputs: tuple[str, ...]
    heads: tuple[str, ...] = ()
    cotangents: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    gradients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Program:
    """What a job asks, without its numbers: an operator or a chain. Hashable, so that compiled code can be kept."""

    operator: str
    attributes: Any
    own: bool = False
    layout: Layout = "native"

    def run(self, backend: "Backend", values: Mapping[str, Native], tap: Tap) -> Natives:
        """Says it in the backend's idiom; the outputs of a chain are those of all its layers.

        Raises:
            NotTranslatable: if the backend lacks a method.
        """
        backend.own, backend.layout = self.own, self.layout
        if self.operator != "chain":
            result = backend.method(self.operator)(self.attributes, **values)
            return dict(result) if isinstance(result, dict) else {OPERATORS[self.operator].outputs[0]: result}
        chain: Chain = self.attributes
        outputs: Natives = {}
        for layer, takes in chain.wired():
            given = {name: values[INPUT] if source == INPUT else outputs[source] for name, source in takes.items()}
            made = backend.layer(layer.operator)(layer.attributes, **given, **own_of(layer, values))
            state = dict(made) if isinstance(made, dict) else {"output": made}
            output = tap(layer.name, state.pop("output"))
            outputs |= named_outputs(layer, {"output": output, **state})
        return outputs


class Trainer(ABC):
    """A network in training, built as the framework's users write it; it keeps its parameters between steps."""

    @abstractmethod
    def text(self) -> str:
        """The network as the framework prints it."""

    @abstractmethod
    def step(self, step: TrainStep) -> Stepped:
        """One step: forward, backward, update; captured from the very pass if asked."""

    @abstractmethod
    def predict(self, x: Tensor) -> Tensor:
        """The logits, without the layers that take masks or labels."""

    @abstractmethod
    def state(self) -> TrainingState:
        """How many steps were made, and all that the next one starts from."""

    @abstractmethod
    def restore(self, state: TrainingState) -> None:
        """Goes on as if it had made those steps itself."""


def blank_step(build: BuildNetwork) -> dict[str, Tensor]:
    """What a step brings, all zeros: for a first look at a network."""
    float_format = next((tensor.format for tensor in build.parameters.values()), "float32")
    storage = "uint16" if float_format == "bfloat16" else float_format
    made = {}
    for name, shape in build.shapes.items():
        match operand_of("chain", build.network, name).kind:
            case "integer":
                made[name] = Tensor("int64", np.zeros(shape, np.int64))
            case "mask":
                made[name] = Tensor("bool", np.zeros(shape, np.bool_))
            case _:
                made[name] = Tensor(float_format, np.zeros(shape, storage))
    return made


class Backend(Idiom, ABC):
    """One framework in one process.

    Attributes:
        module: what must be importable, for the message when it is not.
        beside: what else must be importable.
        install: the line that installs it.
        absent: operators (globs), or `operator:gradients`, that the framework is known not to have.
        partial: covers chosen operators only; questions about others are not asked at all.
        builds: networks are built from the framework's own modules, which hold their weights; no calls say that.
        offers: the modes that it can be driven in, by name.
        usual: the layout of its own users' images, which `native` is.
        layouts: the others that it can be given data in, each with the operators (globs) that take it. Under
            `channels_first` the images among a method's operands have their channels behind the batch, and so must
            those that it returns; under `strided` operands are what `spread` makes of them.
        prelude: what a script of recorded calls starts with: imports under the names that the calls use, switches.
            No script can be written where it is empty.
        native: a script's tensor out of `{values}`, nested lists or a NumPy array, in `{format}`.
        numbers: a script's tensor `{tensor}` as a NumPy array of float64.
        dtype: what `str(tensor.dtype)` says of `{format}`.
        strided: a script's `{tensor}` as `spread` lays it.
    """

    module: ClassVar[str]
    beside: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str]
    absent: ClassVar[tuple[str, ...]] = ()
    partial: ClassVar[bool] = False
    builds: ClassVar[bool] = False
    offers: ClassVar[Mapping[str, Mode]] = {}
    usual: ClassVar[Layout] = "channels_last"
    layouts: ClassVar[Mapping[Layout, tuple[str, ...]]] = {}
    prelude: ClassVar[tuple[str, ...]] = ()
    native: ClassVar[str] = 'np.array({values}, "{format}")'
    numbers: ClassVar[str] = "np.asarray({tensor}, np.float64)"
    dtype: ClassVar[str] = "{format}"
    strided: ClassVar[str] = ""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        """Imports the framework and sets its precision switches.

        Raises:
            NotTranslatable: if there is no such device or mode here.
        """
        self.require_modes(device, modes)
        self.device = device
        self.modes = modes
        self.log = CallLog()
        self._trainer: Trainer | None = None

    @classmethod
    def require_modes(cls, device: str, modes: tuple[str, ...]) -> None:
        """Refuses modes that the backend has not, has not on this device, or not together.

        Raises:
            NotTranslatable: with the nearest mode and all that there are.
        """
        for mode in modes:
            if mode not in cls.offers:
                close = difflib.get_close_matches(mode, cls.offers, 1)
                hint = f" Did you mean {close[0]!r}?" if close else ""
                raise NotTranslatable(
                    f"{cls.module} has no mode {mode!r}; it has {', '.join(sorted(cls.offers)) or 'none'}.{hint}"
                )
            devices = cls.offers[mode].devices
            if devices and kind_of(device) not in devices:
                raise NotTranslatable(f"the mode {mode!r} is for {', '.join(devices)}, got the device {device!r}")
            for other in cls.offers[mode].excludes:
                if other in modes:
                    raise NotTranslatable(f"the modes {mode!r} and {other!r} exclude each other: name one of them")

    @classmethod
    def layout_of(cls, layout: Layout, operators: Sequence[str]) -> Layout | None:
        """As what it knows a layout: `native` where that is it; None where not all operators are given data so."""
        if layout in ("native", cls.usual):
            return "native"
        globs = cls.layouts.get(layout, ())
        return layout if all(any(fnmatchcase(name, glob) for glob in globs) for name in operators) else None

    @property
    def strict(self) -> bool:
        """Whether switches are set to what is exact and can be repeated."""
        return STOCK not in self.modes

    def device_of(self, native: Native) -> str:
        """The device that a native tensor is on, called as it was asked for where it is that one.

        An adapter that does not say so leaves it open: a framework that computes elsewhere is then not noticed.
        """
        return self.device

    @abstractmethod
    def describe(self) -> Description:
        """Versions, device, switches and accumulators, as the framework tells them."""

    @abstractmethod
    def put(self, tensor: Tensor) -> Native:
        """A native tensor with a copy of the numbers, on the device."""

    @abstractmethod
    def get(self, native: Native) -> Tensor:
        """The numbers of a native tensor, in the format in which the framework holds them."""

    def spread(self, native: Native) -> Native:
        """The same numbers in memory that has gaps between them, for the layout `strided`.

        Raises:
            NotTranslatable: if the framework has no such tensors.
        """
        raise NotTranslatable(f"{type(self).__name__} has no tensors with gaps in memory")

    @abstractmethod
    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        """Runs a program and, given cotangents, its vector-Jacobian product.

        Args:
            program: what to run, with `program.run(self, operands, tap)`.
            operands: by name.
            sources: what gradients are asked for: names of operands, and of a chain's layers but the last.
            cotangents: by output name; empty if only outputs are asked.

        Returns:
            Outputs and gradients by name, each gradient an array or the reason why there is none; no gradients
            where an output has not its cotangent's shape.
        """

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        """Runs a program in forward mode: the tangents of its outputs, by name.

        An adapter that has it says so in its description.

        Raises:
            NotTranslatable: if the adapter has no forward mode.
        """
        raise NotTranslatable(f"{type(self).__name__} has no forward mode")

    def pull_twice(
        self, program: Program, operands: Natives, cotangents: Natives, directions: Natives, names: Sequence[str]
    ) -> Natives:
        """Differentiates a program's gradients along directions once more, in reverse over reverse.

        An adapter that has it says so in its description.

        Args:
            program: what to run.
            operands: by name.
            cotangents: by output name.
            directions: by operand; the gradients' inner products with them are added up, and that is differentiated.
            names: by what: operands, and outputs for their cotangents.

        Raises:
            NotTranslatable: if the adapter does not differentiate twice.
        """
        raise NotTranslatable(f"{type(self).__name__} does not differentiate twice")

    @classmethod
    def script(cls, calls: Sequence[str], names: Names) -> tuple[str, ...]:
        """Lines that make the outputs and, where `names.sources` asks for them, the gradients."""
        return tuple(calls)

    def method(self, operator: str) -> Callable[..., Native]:
        """The adapter's method for an operator.

        Raises:
            NotTranslatable: if there is none.
        """
        found = getattr(self, operator, None) if operator in OPERATORS and operator != "chain" else None
        if found is None:
            raise NotTranslatable(f"{type(self).__name__} has no {operator}")
        return found  # type: ignore[no-any-return]

    def layer(self, operator: str) -> Callable[..., Native]:
        """The adapter's method for a layer of a chain.

        Raises:
            NotTranslatable: if there is none.
        """
        return self.method(operator)

    @classmethod
    def operators(cls) -> tuple[str, ...]:
        """The operators that this adapter has."""
        return tuple(
            name
            for name in OPERATORS
            if (name == "chain" or hasattr(cls, name)) and not any(fnmatchcase(name, glob) for glob in cls.absent)
        )

    def answer(self, job: Job) -> Outputs:
        """Answers one job; whatever the framework raises passes through.

        Raises:
            NotTranslatable: if the adapter has no counterpart for it.
        """
        layout = self.layout_of(job.layout, operators_of(job.operator, job.attributes))
        if layout is None:
            raise NotTranslatable(f"{type(self).__name__} gives {job.operator} no data in the layout {job.layout}")
        program = Program(job.operator, job.attributes, job.own, layout)
        axes = axes_of(job.operator, layout)
        self.log = CallLog()
        self.composed = ()
        given = {name: axes.given(name, tensor) for name, tensor in job.operands.items()}
        operands = {name: self.put(tensor) for name, tensor in given.items()}
        if layout == "strided":
            operands = {name: self.spread(value) for name, value in operands.items()}
        cotangents = {name: self.put(axes.given(name, tensor)) for name, tensor in job.cotangents.items()}
        for name, value in operands.items():
            self.log.name(value, variable(name))
        sources: tuple[str, ...] = ()
        if cotangents:
            sources = gradient_names(job.operator, job.attributes, operands)
        started = time.perf_counter()
        outputs, gradients = self.evaluate(program, operands, sources, cotangents)
        got = {name: axes.taken(name, self.get(value)) for name, value in outputs.items()}
        got_gradients: dict[str, Tensor | Failure] = {
            name: value if isinstance(value, (Unsupported, Refused)) else axes.taken(name, self.get(value))
            for name, value in gradients.items()
        }
        seconds = time.perf_counter() - started
        calls = self.calls(outputs)
        return Outputs(
            outputs=got,
            gradients=got_gradients,
            tangents=self._pushed(program, job) if job.tangents else {},
            second=self._pulled_twice(program, job) if job.directions else {},
            calls=calls,
            composed=self.composed,
            mutated=tuple(
                name
                for name, value in operands.items()
                if self.get(value).data.tobytes() != given[name].data.tobytes()
            ),
            elsewhere=(*self._elsewhere("outputs", outputs), *self._elsewhere("gradients", gradients)),
            seconds=seconds,
        )

    def _pushed(self, program: Program, job: Job) -> dict[str, Tensor | Failure]:
        """The tangents of a job's outputs, or for each one why there is none."""
        operands, tangents = self._all(job.operands), self._all(job.tangents)
        return self._each(OPERATORS[job.operator].outputs, "tangent", lambda: self.push(program, operands, tangents))

    def _pulled_twice(self, program: Program, job: Job) -> dict[str, Tensor | Failure]:
        """The derivatives of a job's gradients along its directions, or for each one why there is none."""
        names = second_names(job.operator)
        given = self._all(job.operands), self._all(job.cotangents), self._all(job.directions)
        return self._each(names, "second derivative", lambda: self.pull_twice(program, *given, names))

    def _all(self, tensors: Mapping[str, Tensor]) -> Natives:
        return {name: self.put(tensor) for name, tensor in tensors.items()}

    def _each(self, names: Sequence[str], what: str, compute: Callable[[], Natives]) -> dict[str, Tensor | Failure]:
        """Further arrays of a job whose calls are written down already, or for each one why there is none."""
        self.log = CallLog()
        try:
            found = compute()
        except NotTranslatable as error:
            return dict.fromkeys(names, Unsupported(reason=str(error)))
        except Exception as error:
            return dict.fromkeys(names, refused(error))
        missing = Refused(error="Missing", message=f"no {what} came back")
        return {name: self.get(found[name]) if name in found else missing for name in names}

    def _elsewhere(self, check: Check, arrays: Mapping[str, Native | Failure]) -> list[tuple[Check, str, str]]:
        """The arrays that are not on the device asked, and where they are."""
        return [
            (check, name, device)
            for name, value in arrays.items()
            if not isinstance(value, (Unsupported, Refused)) and (device := self.device_of(value)) != self.device
        ]

    def trainer(self, build: BuildNetwork) -> Trainer:
        """A network of this framework, ready to be trained.

        Raises:
            NotTranslatable: if the adapter trains no networks.
        """
        raise NotTranslatable(f"{type(self).__name__} trains no networks")

    def train(self, message: TrainingMessage) -> Built | Stepped | Predicted | TrainingState:
        """Answers one message of a training; the network lives from one to the next.

        Raises:
            NotTranslatable: if no network was built, or none can be.
        """
        if isinstance(message, BuildNetwork):
            self._trainer = self.trainer(message)
            return Built(text=self._trainer.text())
        if self._trainer is None:
            raise NotTranslatable("no network was built")
        if isinstance(message, TrainStep):
            return self._trainer.step(message)
        if isinstance(message, TrainingState):
            self._trainer.restore(message)
        if isinstance(message, (TellState, TrainingState)):
            return self._trainer.state()
        return Predicted(logits=self._trainer.predict(message.x))

    def calls(self, outputs: Natives) -> tuple[str, ...]:
        """The native calls of the last evaluation, as lines of a script."""
        return self.log.lines(outputs)


def kind_of(device: str) -> str:
    """A device's kind, without its number: `cuda` of `cuda:1`."""
    return device.partition(":")[0]


def one_at_a_time(sources: Sequence[str], pull: Callable[[str], Native]) -> Gradients:
    """Gradients asked one by one, each an array or a refusal: for when all of them at once were refused."""
    gradients: Gradients = {}
    for name in sources:
        try:
            gradients[name] = pull(name)
        except Exception as error:
            gradients[name] = refused(error)
    return gradients


def cpu_flags() -> tuple[str, ...]:
    """Those of `CPU_FLAGS` that this processor has; empty where the system does not tell."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        return ()
    found = re.search(r"^(?:flags|Features)\s*:(.*)$", text, re.MULTILINE)
    flags = found[1].split() if found else []
    return tuple(flag for flag in CPU_FLAGS if flag in flags)


def onednn_features(formats: Iterable[str]) -> tuple[str, ...]:
    """How `Description.cpu_features` says that oneDNN's kernels answer in these formats."""
    return tuple(f"onednn-{name}" for name in formats)


def refused(error: BaseException) -> Refused:
    """A framework's exception as an answer; long texts are cut."""
    return Refused(error=type(error).__name__, message=str(error).strip()[:2000])
