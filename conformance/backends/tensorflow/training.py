"""TensorFlow's networks in training: variables, `tf.nn`, `tf.GradientTape`, its optimizers' kernels.

Eager, or the whole step, update included, as one graph of `tf.function`: the same for judged and free ones.
"""

import math
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import tensorflow as tf

from conformance.backends.base import CallLog, Native, Natives, Program, Trainer, blank_step
from conformance.case.families.steps import Adam
from conformance.case.job import BuildNetwork, Stepped, Tensor, TrainingState, TrainStep
from conformance.case.operators import Chain, inference_chain, operand_of
from conformance.errors import NotTranslatable

if TYPE_CHECKING:
    from conformance.backends.tensorflow.backend import TensorFlowBackend


class TensorFlowTrainer(Trainer):
    """Variables, the forward pass in the adapter's own words, and an update that is one kernel a variable."""

    def __init__(self, backend: "TensorFlowBackend", build: BuildNetwork) -> None:
        if build.optimizer not in ("adam", "sgd"):
            raise NotTranslatable(f"the TensorFlow trainer has no optimizer {build.optimizer!r}")
        self._backend = backend
        self._chain: Chain = build.network
        self._program = Program("chain", self._chain)
        self._inference = Program("chain", inference_chain(self._chain))
        self._settings = build.optimizer_attributes
        with tf.device(backend.place):
            self._variables = {name: tf.Variable(backend.put(value)) for name, value in build.parameters.items()}
            self._learned = {
                name: variable
                for name, variable in self._variables.items()
                if operand_of("chain", self._chain, name).differentiable
            }
            self._slots: Natives = {}
            if isinstance(self._settings, Adam):
                for name, variable in self._learned.items():
                    for slot in ("m", "v"):
                        self._slots[f"{name}/{slot}"] = tf.Variable(tf.zeros_like(variable))
        self._steps = 0
        self._lines = self._written(build)
        self._learn: Any = self._eager
        if backend.function:
            # No branch or loop of the adapter's is the framework's to rewrite: without AutoGraph.
            self._learn = tf.function(self._eager, jit_compile=backend.function == "xla" or None, autograph=False)
            self._lines += self._traced(build)

    def text(self) -> str:
        kernel = "ResourceApplyAdam" if self._slots else "ResourceApplyGradientDescent"
        return "\n".join((*self._lines, f"tf.raw_ops.{kernel}: {self._settings}"))

    def step(self, step: TrainStep) -> Stepped:
        native = {name: self._backend.put(tensor) for name, tensor in step.operands.items()}
        before = self._state() if step.capture else {}
        self._steps += 1
        started = time.perf_counter()
        outputs, gradients = self._learn(native, self._numbers())
        value = float(outputs[self._chain.layers[-1].name])
        seconds = time.perf_counter() - started
        get = self._backend.get
        captured = step.capture
        return Stepped(
            loss=value,
            outputs={name: get(output) for name, output in outputs.items()} if captured else {},
            gradients={name: get(g) for name, g in gradients.items() if g is not None} if captured else {},
            before=before,
            after=self._state() if captured else {},
            seconds=seconds,
        )

    def predict(self, x: Tensor) -> Tensor:
        with tf.device(self._backend.place):
            outputs = self._forward(self._inference, {"x": self._backend.put(x)})
        return self._backend.get(outputs[self._inference.attributes.layers[-1].name])

    def state(self) -> TrainingState:
        return TrainingState(step=self._steps, tensors=self._state())

    def restore(self, state: TrainingState) -> None:
        self._steps = state.step
        for name, variable in {**self._variables, **self._slots}.items():
            variable.assign(self._backend.put(state.tensors[name]))

    def _forward(self, program: Program, given: Natives) -> Natives:
        names = {layer.name for layer in program.attributes.layers}
        own = {name: value for name, value in self._variables.items() if name.partition("/")[0] in names}
        values = {**given, **own}
        log = CallLog()
        for name, value in values.items():
            log.name(value, name.replace("/", "_"))
        self._backend.log = log
        self._backend.record()
        return program.run(self._backend, values, lambda _, value: value)

    def _eager(self, given: Natives, numbers: Natives) -> tuple[Natives, Natives]:
        """Forward, backward, update; gives what the layers gave, and the gradients.

        Args:
            given: what comes with the step.
            numbers: what the optimizer's kernel takes beside its tensors.
        """
        with tf.device(self._backend.place):
            with tf.GradientTape() as tape:
                outputs = self._forward(self._program, given)
            loss = outputs[self._chain.layers[-1].name]
            sources: Natives = dict(self._learned)
            sources |= {layer.name: outputs[layer.name] for layer in self._chain.layers[:-1]}
            found = dict(zip(sources, tape.gradient(loss, list(sources.values())), strict=True))
            for name, variable in self._learned.items():
                self._update(name, variable, found[name], numbers)
            for name in self._variables.keys() - self._learned.keys():
                self._variables[name].assign(outputs[name])  # the statistics that a layer keeps
        return outputs, {name: gradient for name, gradient in found.items() if gradient is not None}

    def _numbers(self) -> Natives:
        """What the optimizer's kernel takes at this step: tensors, so that a graph need not be traced again."""
        a, dtype = self._settings, next(iter(self._learned.values())).dtype
        if not isinstance(a, Adam):
            return {"alpha": tf.constant(a.learning_rate, dtype)}
        beta1_power, beta2_power = a.beta1**self._steps, a.beta2**self._steps
        # TensorFlow adds epsilon before the bias correction; the other form is the same with epsilon corrected too.
        correction = 1.0 if a.epsilon_hat else math.sqrt(1 - beta2_power)
        settings = {
            "beta1_power": beta1_power,
            "beta2_power": beta2_power,
            "lr": a.learning_rate,
            "beta1": a.beta1,
            "beta2": a.beta2,
            "epsilon": a.epsilon * correction,
        }
        return {name: tf.constant(value, dtype) for name, value in settings.items()}

    def _update(self, name: str, variable: Any, gradient: Native, numbers: Natives) -> None:
        """One step of the optimizer's kernel on one variable, in place."""
        if not self._slots:
            tf.raw_ops.ResourceApplyGradientDescent(var=variable.handle, delta=gradient, **numbers)
            return
        m, v = (self._slots[f"{name}/{slot}"].handle for slot in ("m", "v"))
        tf.raw_ops.ResourceApplyAdam(var=variable.handle, m=m, v=v, grad=gradient, **numbers)

    def _state(self) -> dict[str, Tensor]:
        return {name: self._backend.get(value) for name, value in {**self._variables, **self._slots}.items()}

    def _written(self, build: BuildNetwork) -> tuple[str, ...]:
        """The forward pass on zeros, as lines of a script: what does not fit shows before the first step."""
        with tf.device(self._backend.place):
            given = {name: self._backend.put(tensor) for name, tensor in blank_step(build).items()}
            outputs = self._forward(self._program, given)
        return self._backend.log.lines(outputs)

    def _traced(self, build: BuildNetwork) -> tuple[str, ...]:
        """The graph that a step is: how often each operation stands in it, which shows what is compiled."""
        given = {name: self._backend.put(tensor) for name, tensor in blank_step(build).items()}
        graph = self._learn.get_concrete_function(given, self._numbers()).graph
        found = Counter(operation.type for operation in graph.get_operations())
        operations = ", ".join(f"{count} {name}" for name, count in sorted(found.items()))
        jit = ", jit_compile=True" if self._backend.function == "xla" else ""
        return (f"step = tf.function(step{jit})", f"# one graph: {operations}")
