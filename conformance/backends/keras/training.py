"""Keras's networks in training, as its users write them: a subclassed `keras.Model`, its optimizers, and their step.

The step is that of Keras's guides on each of its backends: a gradient tape, autograd, or a jitted function of state.
"""

import math
import time
from abc import abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import keras

from conformance.backends import mixing
from conformance.backends.base import Native, Natives, Trainer, blank_step
from conformance.backends.keras.idiom import unless
from conformance.case.families.convolution import Convolution
from conformance.case.families.losses import CrossEntropy
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.steps import Adam, Dropout
from conformance.case.job import BuildNetwork, Stepped, Tensor, TrainingState, TrainStep
from conformance.case.operators import Chain, Layer, inference_chain
from conformance.errors import NotTranslatable

if TYPE_CHECKING:
    from conformance.backends.keras.backend import KerasBackend

# Operands of the chain, as Keras calls its layers' variables.
_VARIABLES = {"w": "kernel", "b": "bias"}
# Slots of Adam, as Keras calls its lists of them.
_SLOTS = {"m": "_momentums", "v": "_velocities"}


class GivenDropout(keras.layers.Layer):  # type: ignore[misc]
    """Dropout whose mask is given."""

    def __init__(self, keep: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.keep = keep

    def call(self, x: Native, mask: Native) -> Native:
        return x * keras.ops.cast(mask, x.dtype) / self.keep


class LossOfLabels(keras.layers.Layer):  # type: ignore[misc]
    """The loss at the end of the network, so that it is seen like any other layer."""

    def __init__(self, reduction: str, **settings: Any) -> None:
        super().__init__(**settings)
        kind = "sum_over_batch_size" if reduction == "mean" else reduction
        self.loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction=kind)

    def call(self, logits: Native, labels: Native) -> Native:
        return self.loss(labels, logits)


class Network(keras.Model):  # type: ignore[misc]
    """The layers in sequence."""

    def __init__(self, chain: Chain, layers: Mapping[str, Any]) -> None:
        super().__init__(name="network")
        self.steps = list(layers.values())
        self.training_order = [layer.name for layer in chain.layers]
        self.inference_order = [layer.name for layer in inference_chain(chain).layers]

    def call(self, x: Native, given: Any = None, probes: Any = None) -> Natives:
        """What every layer gives, the loss last; without masks and labels by layer the logits are.

        Args:
            x: images.
            given: masks and labels by layer.
            probes: by layer, what is added to its output on the way.
        """
        by_name = {step.name: step for step in self.steps}
        outputs: Natives = {}
        for name in self.inference_order if given is None else self.training_order:
            x = by_name[name](x, *([given[name]] if given and name in given else []))
            if probes and name in probes:
                x = x + probes[name]
            outputs[name] = x
        return outputs


class KerasTrainer(Trainer):
    """A model and its optimizer; differentiating is the affair of the backend below."""

    def __init__(self, backend: "KerasBackend", build: BuildNetwork) -> None:
        self.backend = backend
        self.chain: Chain = build.network
        self.last = self.chain.layers[-1].name
        self.network = Network(
            self.chain, {layer.name: _layer(layer, build.parameters) for layer in self.chain.layers}
        )
        self.optimizer = _optimizer(build)
        self._settings = build.optimizer_attributes
        self._steps = 0
        self.network(*self._brought(blank_step(build)))  # builds it: what does not fit shows before the first step
        layers = {step.name: step for step in self.network.steps}
        held = {}
        for name, tensor in build.parameters.items():
            layer, _, operand = name.partition("/")
            variable = getattr(_learned(layers[layer]), _VARIABLES[operand])
            variable.assign(backend.put(tensor))
            held[id(variable)] = name
        self.variables = self.network.trainable_variables
        self.names = [held[id(variable)] for variable in self.variables]
        self.optimizer.build(self.variables)

    @abstractmethod
    def learn(self, x: Native, given: Natives, *, capture: bool) -> tuple[Natives, Natives]:
        """One step: every layer's output, and the gradients, those of layers where they are captured."""

    def text(self) -> str:
        lines = ['keras.config.set_dtype_policy("mixed_bfloat16")'] if mixing.NAME in self.backend.modes else []
        self.network.summary(print_fn=lambda line, **_: lines.append(line))
        return "\n".join((*lines, f"keras.optimizers.{type(self.optimizer).__name__}: {self._settings}"))

    def step(self, step: TrainStep) -> Stepped:
        x, given = self._brought(step.operands)
        before = self._state() if step.capture else {}
        self._steps += 1
        started = time.perf_counter()
        self.optimizer.epsilon = self._epsilon()
        outputs, gradients = self.learn(x, given, capture=step.capture)
        loss = float(outputs[self.last])
        seconds = time.perf_counter() - started
        get = self.backend.get
        return Stepped(
            loss=loss,
            outputs={name: get(output) for name, output in outputs.items()} if step.capture else {},
            gradients={name: get(found) for name, found in gradients.items()} if step.capture else {},
            before=before,
            after=self._state() if step.capture else {},
            seconds=seconds,
        )

    def predict(self, x: Tensor) -> Tensor:
        return self.backend.get(self.network(self.backend.put(x))[self.network.inference_order[-1]])

    def state(self) -> TrainingState:
        return TrainingState(step=self._steps, tensors=self._state())

    def restore(self, state: TrainingState) -> None:
        self._steps = state.step
        self.optimizer.iterations.assign(state.step)
        for name, variable in self._held().items():
            variable.assign(self.backend.put(state.tensors[name]))

    def _brought(self, operands: Mapping[str, Tensor]) -> tuple[Native, Natives]:
        """Images, and masks and labels by layer."""
        native = {name.partition("/")[0]: self.backend.put(tensor) for name, tensor in operands.items()}
        return native.pop("x"), native

    def _epsilon(self) -> float:
        """Keras adds epsilon before the bias correction; the other form is the same with epsilon corrected too."""
        a = self._settings
        if not isinstance(a, Adam):
            return 0.0
        return a.epsilon * (1.0 if a.epsilon_hat else math.sqrt(1 - a.beta2**self._steps))

    def _state(self) -> dict[str, Tensor]:
        """Parameters and slots."""
        return {name: self.backend.get(variable.value) for name, variable in self._held().items()}

    def _held(self) -> dict[str, Any]:
        """The variables that hold parameters and slots."""
        found = dict(zip(self.names, self.variables, strict=True))
        if isinstance(self._settings, Adam):
            for slot, place in _SLOTS.items():
                kept = zip(self.names, getattr(self.optimizer, place), strict=True)
                found |= {f"{name}/{slot}": variable for name, variable in kept}
        return found


class TrainerOnTensorFlow(KerasTrainer):
    """The step under a gradient tape."""

    def learn(self, x: Native, given: Natives, *, capture: bool) -> tuple[Natives, Natives]:
        import tensorflow as tf

        with tf.GradientTape() as tape:
            outputs = self.network(x, given)
        sources = [variable.value for variable in self.variables]
        layers = [name for name in outputs if name != self.last] if capture else []
        found = tape.gradient(outputs[self.last], [*sources, *(outputs[name] for name in layers)])
        own, passed = found[: len(sources)], found[len(sources) :]
        self.optimizer.apply(own, self.variables)
        return outputs, dict(zip((*self.names, *layers), (*own, *passed), strict=True))


class TrainerOnTorch(KerasTrainer):
    """The step by autograd."""

    def learn(self, x: Native, given: Natives, *, capture: bool) -> tuple[Natives, Natives]:
        import torch

        self.network.zero_grad()
        outputs = self.network(x, given)
        layers = [name for name in outputs if name != self.last] if capture else []
        for name in layers:
            outputs[name].retain_grad()
        outputs[self.last].backward()
        own = [variable.value.grad for variable in self.variables]
        with torch.no_grad():
            self.optimizer.apply(own, self.variables)
        passed = [outputs[name].grad for name in layers]
        return outputs, dict(zip((*self.names, *layers), (*own, *passed), strict=True))


class TrainerOnJax(KerasTrainer):
    """The step as one jitted function of the variables, the same for judged and free ones."""

    def __init__(self, backend: "KerasBackend", build: BuildNetwork) -> None:
        import jax

        super().__init__(backend, build)
        self._jitted = jax.jit(self._step)

    def learn(self, x: Native, given: Natives, *, capture: bool) -> tuple[Natives, Natives]:
        own = [variable.value for variable in self.variables]
        kept = [variable.value for variable in self.optimizer.variables]
        own, kept, outputs, gradients = self._jitted(own, kept, x, given, self.optimizer.epsilon)
        for variable, value in zip((*self.variables, *self.optimizer.variables), (*own, *kept), strict=True):
            variable.assign(value)
        return outputs, gradients

    def _step(
        self, own: list[Native], kept: list[Native], x: Native, given: Natives, epsilon: Native
    ) -> tuple[list[Native], list[Native], Natives, Natives]:
        import jax

        def forward(own: list[Native], probes: Natives) -> tuple[Native, Natives]:
            outputs, _ = self.network.stateless_call(own, untrained, x, given, probes)
            return outputs[self.last], outputs

        untrained = [variable.value for variable in self.network.non_trainable_variables]
        shapes = jax.eval_shape(lambda: forward(own, {})[1])
        # A layer's output is differentiated through a probe added to it: -0.0, which changes no number.
        probes = {name: jax.numpy.full_like(shape, -0.0) for name, shape in shapes.items() if name != self.last}
        (_, outputs), (found, passed) = jax.value_and_grad(forward, argnums=(0, 1), has_aux=True)(own, probes)
        written = self.optimizer.epsilon
        self.optimizer.epsilon = epsilon
        own, kept = self.optimizer.stateless_apply(kept, found, own)
        self.optimizer.epsilon = written  # the traced number must not outlive its trace
        return own, kept, outputs, {**dict(zip(self.names, found, strict=True)), **passed}


def _optimizer(build: BuildNetwork) -> Any:
    a = build.optimizer_attributes
    if build.optimizer == "sgd":
        return keras.optimizers.SGD(a.learning_rate)
    if build.optimizer != "adam":
        raise NotTranslatable(f"the Keras trainer has no optimizer {build.optimizer!r}")
    return keras.optimizers.Adam(a.learning_rate, beta_1=a.beta1, beta_2=a.beta2, epsilon=a.epsilon)


def _learned(layer: Any) -> Any:
    """The layer that holds the weights: the last one where padding comes first."""
    return layer.layers[-1] if isinstance(layer, keras.Sequential) else layer


def _layer(layer: Layer, parameters: Mapping[str, Tensor]) -> Any:
    """A layer of Keras, by the chain's name.

    Raises:
        NotTranslatable: if none says it.
    """
    own = {name.partition("/")[2]: t.shape for name, t in parameters.items() if name.startswith(f"{layer.name}/")}
    a, operator, layers = layer.attributes, layer.operator, keras.layers
    match operator:
        case "conv1d" | "conv2d" | "conv3d":
            return _conv(layer.name, a, own)
        case "max_pool1d" | "max_pool2d" | "max_pool3d":
            return _pool(f"MaxPooling{operator[-2]}D", layer.name, a)
        case "average_pool1d" | "average_pool2d" | "average_pool3d":
            return _pool(f"AveragePooling{operator[-2]}D", layer.name, a)
        case "flatten":
            return layers.Flatten(name=layer.name)
        case "dense":
            return layers.Dense(own["w"][1], use_bias="b" in own, name=layer.name)
        case "relu" | "sigmoid" | "tanh":
            return layers.Activation(operator, name=layer.name)
        case "dropout":
            dropout: Dropout = a
            return GivenDropout(dropout.keep, name=layer.name)
        case "softmax_cross_entropy":
            loss: CrossEntropy = a
            if loss.smoothing or loss.ignored is not None:
                raise NotTranslatable("the Keras trainer's loss neither smooths nor ignores")
            return LossOfLabels(loss.reduction, name=layer.name)
        case "batch_norm_training" if a.bessel:
            raise NotTranslatable("Keras's moving variance divides by n, not by n - 1")
    raise NotTranslatable(f"the Keras trainer has no layer for {operator}")


def _conv(name: str, a: Convolution, own: Mapping[str, tuple[int, ...]]) -> Any:
    w = own["w"]
    rank = len(w) - 2
    explicit = isinstance(a.padding, tuple)
    if a.padding == "same_lower" or (max(a.stride) > 1 and max(a.dilation) > 1):
        raise NotTranslatable("the Keras trainer has neither SAME_LOWER nor convolutions both strided and dilated")
    settings = {
        **unless(1, strides=a.stride, dilation_rate=a.dilation, groups=a.groups),
        **unless("valid", padding="valid" if explicit else a.padding),
        **unless(True, use_bias="b" in own),
    }
    kind = getattr(keras.layers, f"Conv{rank}D")
    if not explicit:
        return kind(w[-1], w[:rank], name=name, **settings)
    padded = getattr(keras.layers, f"ZeroPadding{rank}D")(a.padding if rank > 1 else a.padding[0])
    return keras.Sequential([padded, kind(w[-1], w[:rank], **settings)], name=name)


def _pool(kind: str, name: str, a: MaxPool | AveragePool) -> Any:
    plain = a.padding == "valid" or (a.padding == "same" and not (isinstance(a, AveragePool) and a.count_padding))
    if not plain or a.ceil_mode or (isinstance(a, MaxPool) and set(a.dilation) != {1}):
        raise NotTranslatable("the Keras trainer's pools have SAME and VALID alone")
    return getattr(keras.layers, kind)(a.window, a.stride, **unless("valid", padding=a.padding), name=name)
