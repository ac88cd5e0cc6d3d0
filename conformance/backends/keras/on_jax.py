"""Keras on JAX, jitted: `stateless_call`, which takes weights as arguments, and `jax.vjp` for gradients."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from conformance.backends.base import Backend, Gradients, Names, Native, Natives, Program, Trainer
from conformance.backends.jax.backend import JaxBackend
from conformance.backends.keras.backend import KerasBackend
from conformance.backends.keras.idiom import Called
from conformance.case.job import BuildNetwork


class Traced(JaxBackend):
    """JAX's jitted functions and their gradients, of programs in Keras's words."""

    def __init__(self, speaker: "KerasOnJax", device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self._speaker = speaker

    def method(self, operator: str) -> Callable[..., Native]:
        self._speaker.own = self.own
        return self._speaker.method(operator)

    def record(self, values: Mapping[str, Native]) -> None:
        super().record(values)
        self._speaker.listen(self.log)


class KerasOnJax(KerasBackend):
    """The layers in JAX's hands."""

    name: ClassVar[str] = "keras-jax"
    engine: ClassVar[str] = "jax"
    below: ClassVar[type[JaxBackend]] = JaxBackend
    beside: ClassVar[tuple[str, ...]] = (JaxBackend.module,)
    install: ClassVar[str] = 'pip install "keras>=3.15,<3.16" "jax>=0.5,<0.11"'
    prelude: ClassVar[tuple[str, ...]] = (
        "import os",
        'os.environ["KERAS_BACKEND"] = "jax"',
        "import keras",
        *JaxBackend.prelude,
    )
    native: ClassVar[str] = JaxBackend.native

    def holder(self, device: str, modes: tuple[str, ...]) -> Backend:
        return Traced(self, device, modes)

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        return self._below.evaluate(program, operands, sources, cotangents)

    def calls(self, outputs: Natives) -> tuple[str, ...]:
        return self._below.calls(outputs)

    def call(self, layer: Native, x: Native, weights: Mapping[str, Native], settings: Mapping[str, Any]) -> Called:
        trained = [weights[variable.name] for variable in layer.trainable_variables]
        kept = [weights[variable.name] for variable in layer.non_trainable_variables]
        result = layer.stateless_call(trained, kept, x, **settings)
        self.log.record(f"{self.log.called(layer)}.stateless_call", (trained, kept, x), settings, result)
        place = self.log.called(result[0]).removesuffix("[0]")
        state = {}
        for number, (variable, value) in enumerate(zip(layer.non_trainable_variables, result[1], strict=True)):
            self.log.name(value, f"{place}[1][{number}]")
            state[variable.name] = value
        return Called(result[0], state)

    def update(
        self, optimizer: Any, parameter: Native, gradient: Native, step: int, slots: Mapping[str, Native | None]
    ) -> Natives:
        dtype, name = self.dtype_of(parameter), self.log.called(optimizer)
        variable = self.keras.Variable(self.keras.ops.zeros(parameter.shape, dtype), dtype=dtype)
        self.log.write(f'variable = keras.Variable(keras.ops.zeros({parameter.shape}, "{dtype}"), dtype="{dtype}")')
        optimizer.build([variable])
        self.log.write(f"{name}.build([variable])")
        state = [kept.value for kept in optimizer.variables]
        self.log.write(f"state = [kept.value for kept in {name}.variables]")
        kinds = [id(kept) for kept in optimizer.variables]
        places = {place: kinds.index(id(getattr(optimizer, place)[0])) for place in slots}
        state[0] = self.keras.ops.cast(step - 1, self.dtype_of(state[0]))
        self.log.write(f"state[0] = keras.ops.cast({step - 1}, state[0].dtype)")
        for place, value in slots.items():
            if value is not None:
                state[places[place]] = value
                self.log.write(f"state[{places[place]}] = {{}}", value)
        parameters, state = optimizer.stateless_apply(state, [gradient], [parameter])
        self.log.write(f"parameters, state = {name}.stateless_apply(state, [{{}}], [{{}}])", gradient, parameter)
        self.log.name(parameters[0], "parameters[0]")
        updated = {"parameter": parameters[0]}
        for place, number in places.items():
            updated[place] = state[number]
            self.log.name(state[number], f"state[{number}]")
        return updated

    def trainer(self, build: BuildNetwork) -> Trainer:
        from conformance.backends.keras.training import TrainerOnJax

        return TrainerOnJax(self, build)

    @classmethod
    def script(cls, calls: Sequence[str], names: Names) -> tuple[str, ...]:
        return JaxBackend.script(calls, names)
