"""The question and the answer as they travel: targets, jobs and answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

import numpy as np
from numpy.typing import NDArray

from conformance.case.model import Check, DataSet, FormatName, Layout, Shape
from conformance.errors import InvalidTarget, NotTranslatable


class Native:
    """Stands for an attribute that is left to the framework, whose own default then speaks.

    Nothing can be computed from it: an adapter that translates an attribute without expecting this says that it
    cannot leave it out, instead of passing something of its own.
    """

    __slots__ = ()

    def __repr__(self) -> str:
        return "native"

    def __hash__(self) -> int:
        return hash(Native)

    def __eq__(self, other: object) -> bool:
        return other is self or self._used(other)

    def _used(self, *_: object) -> NoReturn:
        raise NotTranslatable("no default: the adapter cannot leave this attribute out")

    __bool__ = __len__ = __iter__ = __getitem__ = __contains__ = _used
    __float__ = __int__ = __index__ = __neg__ = __abs__ = _used
    __lt__ = __le__ = __gt__ = __ge__ = _used
    __add__ = __sub__ = __mul__ = __truediv__ = __floordiv__ = __mod__ = __pow__ = _used
    __radd__ = __rsub__ = __rmul__ = __rtruediv__ = __rfloordiv__ = __rmod__ = __rpow__ = _used

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)  # what Python itself looks for: copying, NumPy's protocols
        self._used()


NATIVE: Final = Native()
# In `Description.layer_formats`: the format of what a layer is handed.
AS_GIVEN: Final = "as given"


def is_native(value: object) -> bool:
    """Whether an attribute is left to the framework."""
    return value is NATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Who is asked: a backend on a device, in a mode, in an interpreter.

    Attributes:
        backend: the entry point's name in the group `conformance.backends`.
        interpreter: the Python that has the framework; empty for this one.
        device: `cpu`, `cuda`, or any other name that the framework knows.
        modes: how the framework is driven; none is its strict, eager default (jitted for JAX).
        label: what `conformance.toml` calls it; empty for a target that was typed.
        imports: modules that the worker imports before the adapter: devices register themselves so.
        environment: variables of the worker's process, in front of the gateway's own.
        operators: globs; questions about others are not asked. All if empty.
        accumulators: what this device sums in, in front of what the adapter declares; see `Description`.
    """

    backend: str
    interpreter: str = ""
    device: str = "cpu"
    modes: tuple[str, ...] = ()
    label: str = ""
    imports: tuple[str, ...] = ()
    environment: tuple[tuple[str, str], ...] = ()
    operators: tuple[str, ...] = ()
    accumulators: tuple[tuple[str, str, str, str], ...] = ()

    @property
    def name(self) -> str:
        """The target's text, as a user types it; also the name of its folder of runs."""
        if self.label:
            return self.label
        text = self.backend
        if self.device != "cpu":
            text += f":{self.device}"
        text += "".join(f"+{mode}" for mode in self.modes)
        if self.interpreter:
            text += f"@{self.interpreter}"
        return text

    @classmethod
    def parse(cls, text: str) -> "Target":
        """Reads `BACKEND[:DEVICE][+MODE...][@INTERPRETER]`.

        Raises:
            InvalidTarget: if a part is empty.
        """
        head, at, interpreter = text.partition("@")
        head, *modes = head.split("+")
        backend, colon, device = head.partition(":")
        for part, given, what in (
            (backend, True, "the backend's name is missing"),
            (device, colon, "the device's name is missing"),
            (interpreter, at, "the interpreter's path is missing"),
        ):
            if given and not part:
                raise InvalidTarget(text, what)
        if not all(modes):
            raise InvalidTarget(text, "a mode's name is missing")
        if len(set(modes)) < len(modes):
            raise InvalidTarget(text, "a mode is named twice")
        return cls(backend=backend, interpreter=interpreter, device=device or "cpu", modes=tuple(modes))


@dataclass(frozen=True, slots=True, eq=False)
class Tensor:
    """An array as it travels: a format's name (`float32`, `bfloat16`, `int64`, `bool`) and the stored numbers."""

    format: str
    data: NDArray[np.generic]

    @property
    def shape(self) -> tuple[int, ...]:
        """The array's shape."""
        return self.data.shape


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Job:
    """One question with its numbers; it never carries an expected value.

    Attributes:
        case_id: where it comes from, for messages.
        operator: a name of the operators' table, or `chain`.
        attributes: the operator's dataclass; `NATIVE` stands where the framework's default is asked.
        operands: by name, stored in the job's format (integers and masks in their own).
        cotangents: by output name; empty when no gradient is asked.
        tangents: by differentiable operand; empty when the outputs' tangents are not asked.
        directions: by differentiable operand; empty when second derivatives are not asked.
        own: only the framework's own function and options answer it; a recipe that an adapter composes does not.
    """

    case_id: str
    operator: str
    attributes: Any
    format: FormatName
    layout: Layout
    data: DataSet
    operands: Mapping[str, Tensor]
    cotangents: Mapping[str, Tensor] = field(default_factory=dict)
    tangents: Mapping[str, Tensor] = field(default_factory=dict)
    directions: Mapping[str, Tensor] = field(default_factory=dict)
    own: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Unsupported:
    """The adapter has no counterpart for this."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """The framework raised; `calls` are the native calls up to the one that did, where they are known."""

    error: str
    message: str
    calls: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Crashed:
    """The worker process died: by which signal or exit code, and the end of its standard error."""

    cause: str
    last_words: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TimedOut:
    """No answer came in time; the worker was killed."""

    seconds: float


Failure = Unsupported | Refused | Crashed | TimedOut


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Outputs:
    """What a backend gave.

    Attributes:
        outputs: by name, as the framework stored them.
        gradients: with respect to each differentiable operand, or why there is none.
        tangents: of the outputs, in forward mode, or why there is none.
        second: derivatives of the gradients along directions, by operands and by outputs' cotangents, or why there is
            none.
        calls: the native calls as they were really made, in order.
        composed: what the framework lacks, where the adapter composed a recipe instead.
        mutated: operands that changed while the framework had them.
        elsewhere: arrays that were not on the device asked: (check, name, the device they were on).
        seconds: the framework's own time, for the harness's overhead.
    """

    outputs: Mapping[str, Tensor]
    gradients: Mapping[str, Tensor | Failure] = field(default_factory=dict)
    tangents: Mapping[str, Tensor | Failure] = field(default_factory=dict)
    second: Mapping[str, Tensor | Failure] = field(default_factory=dict)
    calls: tuple[str, ...] = ()
    composed: tuple[str, ...] = ()
    mutated: tuple[str, ...] = ()
    elsewhere: tuple[tuple[Check, str, str], ...] = ()
    seconds: float = 0.0


Answer = Outputs | Failure


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class BuildNetwork:
    """Asks a backend to build a network for training, from given parameters.

    Attributes:
        network: a chain that ends in a loss; its parameters are the operands named in `parameters`, every other
            operand beside `x` (masks, labels) comes with each step.
        shapes: of what every step brings: `x` with the batch, masks, labels.
        parameters: initial values, `layer/operand`.
        optimizer: an operator that updates (`sgd`, `adam`), with its attributes (an `Adam.step` is ignored).
    """

    network: Any
    shapes: Mapping[str, Shape]
    parameters: Mapping[str, Tensor]
    optimizer: str
    optimizer_attributes: Any


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainStep:
    """One training step of the network that was built: `x`, masks and labels; `capture` asks for everything in it."""

    operands: Mapping[str, Tensor]
    capture: bool


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predict:
    """Asks for the logits of the network that was built: layers that take masks or labels are left out."""

    x: Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Built:
    """The network stands; `text` shows how the framework prints it."""

    text: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Stepped:
    """A training step as it really went: nothing was fed to it.

    Attributes:
        loss: as the framework computed it.
        outputs: of every layer (captured steps only).
        gradients: with respect to the output of every layer but the last, and to every parameter.
        before, after: parameters `layer/operand` and slots `layer/operand/m`, around the update.
        seconds: the framework's own time.
    """

    loss: float
    outputs: Mapping[str, Tensor] = field(default_factory=dict)
    gradients: Mapping[str, Tensor] = field(default_factory=dict)
    before: Mapping[str, Tensor] = field(default_factory=dict)
    after: Mapping[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predicted:
    """The logits."""

    logits: Tensor


@dataclass(frozen=True, slots=True, kw_only=True)
class TellState:
    """Asks for the state of the network that was built, between two steps."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingState:
    """A training between two steps. Sent, it is taken up by the network that was built, and told as it then lies.

    Attributes:
        step: so many steps were made.
        tensors: parameters and statistics `layer/operand`, slots `layer/operand/m`.
    """

    step: int
    tensors: Mapping[str, Tensor]


TrainingMessage = BuildNetwork | TrainStep | Predict | TellState | TrainingState
TrainingAnswer = Built | Stepped | Predicted | TrainingState | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """What a backend tells of itself; the parent never imports an adapter.

    Attributes:
        versions: of the framework and what it stands on.
        device: the device as the framework names it.
        cpu_features: what the framework may use, for deviations that depend on it: the processor's instructions, and
            `onednn-FORMAT` where oneDNN's kernels answer.
        switches: precision and determinism settings, as text.
        accumulators: (operator glob, storage format, check) -> accumulator's format, where it is not the storage
            format itself; the first match counts. A check is `outputs`, `gradients`, one array of them
            (`gradients/b`), or `*`.
        absent: `operator` or `operator:gradients`, what this backend is known not to have.
        operators: every operator that the adapter has.
        transforms: operators (globs) that may be computed by Winograd's algorithms or FFT in float32, whose errors
            follow norms.
        modes: how it is driven.
        forward_mode: it is asked for tangents of outputs.
        second_order: it is asked for derivatives of gradients.
        integers: (operator glob, format) of the integers that it takes.
        stored_sums: (operator glob, storage format) where a sum of products is stored before the bias is added to
            it: two roundings instead of one.
        layer_formats: (operator glob, format it computes in, format of what it gives) of layers in training, where
            those are not the format of the parameters; the first match counts. `AS_GIVEN` is the widest format of
            what other layers hand it.
    """

    backend: str
    versions: Mapping[str, str]
    device: str
    cpu_features: tuple[str, ...]
    switches: Mapping[str, str]
    accumulators: tuple[tuple[str, str, str, str], ...]
    absent: tuple[str, ...]
    operators: tuple[str, ...]
    transforms: tuple[str, ...] = ()
    modes: tuple[str, ...] = ()
    stored_sums: tuple[tuple[str, str], ...] = ()
    integers: tuple[tuple[str, str], ...] = ()
    forward_mode: bool = False
    second_order: bool = False
    layer_formats: tuple[tuple[str, str, str], ...] = ()
