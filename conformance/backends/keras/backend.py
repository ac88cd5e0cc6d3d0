"""Keras as its users write it: layers on channels-last tensors, and gradients by the tool of the backend below."""

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar, Final

from conformance.backends import mixing
from conformance.backends.base import Backend, CallLog, Mode, Native, Natives, Recorded
from conformance.backends.keras.accumulators import STORED_SUMS, inherited
from conformance.backends.keras.activations import KerasActivations
from conformance.backends.keras.arrays import KerasArrays
from conformance.backends.keras.convolution import KerasConvolution
from conformance.backends.keras.functions import MODE, OPS, Functions
from conformance.backends.keras.idiom import Called
from conformance.backends.keras.losses import KerasLosses
from conformance.backends.keras.normalization import KerasNormalization
from conformance.backends.keras.pooling import KerasPooling
from conformance.backends.keras.resizing import KerasResizing
from conformance.backends.keras.sampling import KerasSampling
from conformance.backends.keras.signals import KerasSignals
from conformance.backends.keras.steps import KerasSteps
from conformance.case.job import Description, Tensor
from conformance.errors import NotTranslatable

_ASSIGNED: Final = re.compile(r"(t\d+\.\w+)\.assign\((\w+)\)")


class KerasBackend(
    KerasActivations,
    KerasArrays,
    KerasConvolution,
    KerasLosses,
    KerasNormalization,
    KerasPooling,
    KerasResizing,
    KerasSampling,
    KerasSignals,
    KerasSteps,
    Backend,
):
    """Keras on one of its backends, whose own adapter holds the tensors and sets the switches.

    Attributes:
        name: the entry point's.
        engine: Keras's name of its backend.
        below: the adapter of that framework.
        assembled: operators (as rows of accumulators name them) that are several operations of it, each stored.
        stepwise: those that are so where a function is asked, whose layer computes in float32.
    """

    name: ClassVar[str]
    engine: ClassVar[str]
    below: ClassVar[type[Backend]]
    assembled: ClassVar[tuple[str, ...]] = ()
    stepwise: ClassVar[tuple[str, ...]] = ()
    module: ClassVar[str] = "keras"
    # Initialisers draw their own numbers: they are compared by distribution, not on given draws. Its divergence takes
    # probabilities, and clips them.
    absent: ClassVar[tuple[str, ...]] = (
        *("glorot_uniform", "fractional_max_pool2d"),
        *(f"max_pool{rank}d_with_indices" for rank in (1, 2, 3)),
        "resize1d",
        "resize3d",
        "kl_divergence",
        *(f"conv{rank}d_weight_gradient" for rank in (2, 3)),
        "max_pool2d_gradient",
    )
    offers: ClassVar[Mapping[str, Mode]] = {OPS: MODE, mixing.NAME: mixing.MODE}

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self._functions = Functions(self) if OPS in modes else None
        self._below = self.holder(device, tuple(mode for mode in modes if mode != OPS))
        os.environ["KERAS_BACKEND"] = self.engine  # read when Keras is imported, and never again
        import keras

        if keras.backend.backend() != self.engine:
            raise NotTranslatable(f"Keras was imported on {keras.backend.backend()} here, not on {self.engine}")
        # What a user's own ~/.keras/keras.json may say otherwise.
        keras.config.set_image_data_format("channels_last")
        keras.config.set_floatx("float32")
        if mixing.NAME in modes:
            keras.config.set_dtype_policy("mixed_bfloat16")
        self.keras = keras
        self.listen(CallLog())

    def holder(self, device: str, modes: tuple[str, ...]) -> Backend:
        """The adapter of the framework below, for its tensors and switches."""
        return self.below(device, modes)

    def listen(self, log: CallLog) -> None:
        """Writes what is called from now on to a log."""
        keras, self.log = self.keras, log
        self.layers = Recorded(keras.layers, "keras.layers", log)
        self.losses = Recorded(keras.losses, "keras.losses", log)
        self.optimizers = Recorded(keras.optimizers, "keras.optimizers", log)
        self.initializers = Recorded(keras.initializers, "keras.initializers", log)
        self.random = Recorded(keras.random, "keras.random", log)
        self.ops = Recorded(keras.ops, "keras.ops", log)
        self.activations = self.ops if self._functions else Recorded(keras.activations, "keras.activations", log)
        self.image = Recorded(keras.ops.image, "keras.ops.image", log)
        self._held: dict[int, Any] = {}

    def describe(self) -> Description:
        below = self._below.describe()
        assembled = (*self.assembled, *self.stepwise) if self._functions else self.assembled
        return replace(
            below,
            backend=self.name,
            versions={"keras": self.keras.__version__, **below.versions},
            accumulators=inherited(below.accumulators, assembled),
            absent=self.absent,
            operators=self.operators(),
            modes=self.modes,
            stored_sums=STORED_SUMS,
            integers=(),
            forward_mode=False,
            second_order=False,
            layer_formats=mixing.layer_formats(self.modes),
        )

    def device_of(self, native: Native) -> str:
        return self._below.device_of(native)

    def put(self, tensor: Tensor) -> Native:
        return self._below.put(tensor)

    def get(self, native: Native) -> Tensor:
        return self._below.get(native)

    def plain(self, kind: str, x: Native, *args: Any, **settings: Any) -> Native:
        if self._functions:
            return self._functions.plain(kind, x, args, settings)
        return super().plain(kind, x, *args, **settings)

    def weighted(
        self,
        kind: str,
        x: Native,
        weights: Mapping[str, Native | None],
        *args: Any,
        call: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> Called:
        if self._functions:
            given = {name: value for name, value in weights.items() if value is not None}
            return Called(self._functions.weighted(kind, x, given, settings))
        return super().weighted(kind, x, weights, *args, call=call, **settings)

    def call(self, layer: Native, x: Native, weights: Mapping[str, Native], settings: Mapping[str, Any]) -> Called:
        name = self.log.called(layer)
        for key, value in weights.items():
            self.assign(getattr(layer, key), f"{name}.{key}", value)
        y = self.called(layer, x, **settings)
        state = {}
        for variable in layer.non_trainable_variables:
            state[variable.name] = variable.value
            self.log.name(variable.value, f"{name}.{variable.name}.value")
        return Called(y, state)

    def assign(self, variable: Any, name: str, value: Native) -> None:
        """Gives a variable its numbers; gradients for what it was given are asked of the variable."""
        variable.assign(value)
        self.log.write(f"{name}.assign({{}})", value)
        self._held[id(value)] = variable.value

    def watched(self, value: Native) -> Native:
        """What gradients for an operand are asked of: the variable that holds it, or itself."""
        return self._held.get(id(value), value)

    def update(
        self, optimizer: Any, parameter: Native, gradient: Native, step: int, slots: Mapping[str, Native | None]
    ) -> Natives:
        # Copied: on PyTorch a variable would be the very tensor that it is made of, and change it.
        variable = self.keras.Variable(self.keras.ops.copy(parameter), dtype=self.dtype_of(parameter))
        self.log.write(
            f'variable = keras.Variable(keras.ops.copy({{}}), dtype="{self.dtype_of(parameter)}")', parameter
        )
        name = self.log.called(optimizer)
        optimizer.build([variable])
        self.log.write(f"{name}.build([variable])")
        optimizer.iterations.assign(step - 1)
        self.log.write(f"{name}.iterations.assign({step - 1})")
        found = {place: getattr(optimizer, place)[0] for place in slots}
        for place, value in slots.items():
            if value is not None:
                found[place].assign(value)
                self.log.write(f"{name}.{place}[0].assign({{}})", value)
        optimizer.apply([gradient], [variable])
        self.log.write(f"{name}.apply([{{}}], [variable])", gradient)
        updated = {"parameter": variable.value}
        self.log.name(variable.value, "variable.value")
        for place, slot in found.items():
            updated[place] = slot.value
            self.log.name(slot.value, f"{name}.{place}[0].value")
        return updated

    @staticmethod
    def asked_of(calls: Sequence[str], sources: Sequence[str]) -> list[str]:
        """Of whom a script asks the gradients for its sources: the variables that they were assigned to."""
        held = {name: variable for variable, name in _ASSIGNED.findall("\n".join(calls))}
        return [f"{held[name]}.value" if name in held else name for name in sources]
