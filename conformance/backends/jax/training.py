"""JAX's networks in training: a tree of parameters, and one step for judged and free ones alike.

It is jitted as a whole, or, where a network is deep, layer by layer (see `networks`), and its update.
"""

import math
import time
from typing import TYPE_CHECKING, Any

import jax
from jax.example_libraries import optimizers

from conformance.backends.base import CallLog, Native, Natives, Program, Trainer, blank_step
from conformance.backends.jax.networks import WHOLE
from conformance.case.families.steps import Adam
from conformance.case.job import BuildNetwork, Stepped, Tensor, TrainingState, TrainStep
from conformance.case.operators import Chain, inference_chain, operand_of
from conformance.errors import NotTranslatable

if TYPE_CHECKING:
    from conformance.backends.jax.backend import JaxBackend


class JaxTrainer(Trainer):
    """The forward pass in the adapter's own words, `jax.value_and_grad`, and `jax.example_libraries.optimizers`."""

    def __init__(self, backend: "JaxBackend", build: BuildNetwork) -> None:
        if build.optimizer not in ("adam", "sgd"):
            raise NotTranslatable(f"the JAX trainer has no optimizer {build.optimizer!r}")
        self._backend = backend
        self._chain: Chain = build.network
        self._program = Program("chain", self._chain)
        self._inference = Program("chain", inference_chain(self._chain))
        self._settings = build.optimizer_attributes
        self._deep = len(self._chain.layers) > WHOLE
        self._step = self._make_step if self._deep else jax.jit(self._make_step)
        self._predict = self._logits if self._deep else jax.jit(self._logits)
        self._apply = jax.jit(self._update) if self._deep else self._update
        held = {name: backend.put(value) for name, value in build.parameters.items()}
        learned = [name for name in held if operand_of("chain", self._chain, name).differentiable]
        parameters = {name: held[name] for name in learned}
        self._statistics = {name: value for name, value in held.items() if name not in parameters}
        self._state = self._optimizer(self._epsilon(1)).init_fn(parameters)
        # Traced, not run: what does not fit shows before the first step.
        given = {name: backend.put(value) for name, value in blank_step(build).items()}
        self._lines: tuple[str, ...] = ()
        jax.eval_shape(lambda: self._forward(self._program, {**given, **held}, {}))
        self._steps = 0

    def text(self) -> str:
        step = "every layer under jax.jit" if self._deep else "step = jax.jit(step)"
        if jax.config.jax_disable_jit:
            step = f'jax.config.update("jax_disable_jit", True)\n{step}'
        return "\n".join((*self._lines, step, f"jax.example_libraries.optimizers: {self._settings}"))

    def step(self, step: TrainStep) -> Stepped:
        native = {name: self._backend.put(tensor) for name, tensor in step.operands.items()}
        before = self._told() if step.capture else {}
        epsilon = self._epsilon(self._steps + 1)
        started = time.perf_counter()
        self._state, loss, outputs, gradients = jax.block_until_ready(
            self._step(self._state, {**native, **self._statistics}, self._steps, epsilon)
        )
        self._statistics = {name: outputs[name] for name in self._statistics}
        seconds = time.perf_counter() - started
        self._steps += 1
        get = self._backend.get
        captured = step.capture
        return Stepped(
            loss=float(loss),
            outputs={name: get(output) for name, output in outputs.items()} if captured else {},
            gradients={name: get(gradient) for name, gradient in gradients.items()} if captured else {},
            before=before,
            after=self._told() if captured else {},
            seconds=seconds,
        )

    def predict(self, x: Tensor) -> Tensor:
        parameters = self._optimizer(0.0).params_fn(self._state)
        return self._backend.get(self._predict({**parameters, **self._statistics}, self._backend.put(x)))

    def state(self) -> TrainingState:
        return TrainingState(step=self._steps, tensors=self._told())

    def restore(self, state: TrainingState) -> None:
        self._steps = state.step
        held = {name: self._backend.put(tensor) for name, tensor in state.tensors.items()}
        self._statistics = {name: held[name] for name in self._statistics}
        packed = {}
        for name in optimizers.unpack_optimizer_state(self._state):
            adam = isinstance(self._settings, Adam)
            parts = (held[name], held[f"{name}/m"], held[f"{name}/v"]) if adam else held[name]
            packed[name] = optimizers.JoinPoint(parts)
        self._state = optimizers.pack_optimizer_state(packed)

    def _make_step(
        self, state: Any, given: Natives, count: Native, epsilon: Native
    ) -> tuple[Any, Native, Natives, Natives]:
        """Forward, backward, update; with every layer's output and cotangent, whether they are asked for or not."""
        parameters = self._optimizer(epsilon).params_fn(state)
        shapes = jax.eval_shape(lambda: self._forward(self._program, {**given, **parameters}, {}))
        # A layer's output is differentiated through a probe added to it: -0.0, which changes no number.
        probes = {layer.name: jax.numpy.full_like(shapes[layer.name], -0.0) for layer in self._chain.layers[:-1]}

        def loss(differentiated: Natives) -> tuple[Native, Natives]:
            own = {name: differentiated[name] for name in parameters}
            outputs = self._forward(self._program, {**given, **own}, {name: differentiated[name] for name in probes})
            return outputs[self._chain.layers[-1].name], outputs

        (value, outputs), gradients = jax.value_and_grad(loss, has_aux=True)({**parameters, **probes})
        state = self._apply(count, {name: gradients[name] for name in parameters}, state, epsilon)
        return state, value, outputs, gradients

    def _update(self, count: Native, gradients: Natives, state: Any, epsilon: Native) -> Any:
        return self._optimizer(epsilon).update_fn(count, gradients, state)

    def _logits(self, parameters: Natives, x: Native) -> Native:
        layers = self._inference.attributes.layers
        names = {layer.name for layer in layers}
        own = {name: value for name, value in parameters.items() if name.partition("/")[0] in names}
        return self._forward(self._inference, {"x": x, **own}, {})[layers[-1].name]

    def _forward(self, program: Program, values: Natives, probes: Natives) -> Natives:
        self._backend.record(values)
        with self._backend.jitting_layers(self._deep):
            outputs = program.run(self._backend, values, lambda name, y: y + probes[name] if name in probes else y)
        self._lines = self._backend.log.lines(outputs)
        self._backend.log = CallLog()  # lets the traced values go
        return outputs

    def _optimizer(self, epsilon: Native) -> Any:
        a = self._settings
        if not isinstance(a, Adam):
            return optimizers.sgd(a.learning_rate)
        return optimizers.adam(a.learning_rate, b1=a.beta1, b2=a.beta2, eps=epsilon)

    def _epsilon(self, step: int) -> float:
        """JAX adds epsilon after the bias correction; the other form is the same with epsilon corrected likewise."""
        a = self._settings
        if not isinstance(a, Adam):
            return 0.0
        return a.epsilon / (math.sqrt(1 - a.beta2**step) if a.epsilon_hat else 1.0)

    def _told(self) -> dict[str, Tensor]:
        """Parameters and slots."""
        get = self._backend.get
        told = {name: get(value) for name, value in self._statistics.items()}
        for name, packed in optimizers.unpack_optimizer_state(self._state).items():
            parts = packed.subtree
            if not isinstance(self._settings, Adam):
                told[name] = get(parts)
                continue
            for suffix, part in zip(("", "/m", "/v"), parts, strict=True):
                told[name + suffix] = get(part)
        return told
