"""Keras's networks in training, as its users write them: a subclassed `keras.Model`, its optimizers, and their step.

The step is that of Keras's guides on each of its backends: a gradient tape, autograd, or a jitted function of state.
"""

import math
import time
from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import keras

from conformance.backends import mixing
from conformance.backends.base import Native, Natives, Trainer, blank_step
from conformance.backends.jax.networks import WHOLE
from conformance.backends.keras.idiom import unless
from conformance.case.families.convolution import Convolution
from conformance.case.families.losses import CrossEntropy
from conformance.case.families.normalization import BatchNormTraining, LocalResponseNorm
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.families.steps import Adam, Dropout
from conformance.case.job import BuildNetwork, Stepped, Tensor, TrainingState, TrainStep
from conformance.case.operators import INPUT, Chain, Layer, inference_chain, own_of
from conformance.errors import NotTranslatable

if TYPE_CHECKING:
    from conformance.backends.keras.backend import KerasBackend

# Operands of the chain, as Keras calls its layers' variables.
_VARIABLES = {
    "w": "kernel",
    "b": "bias",
    "scale": "gamma",
    "offset": "beta",
    "mean": "moving_mean",
    "variance": "moving_variance",
}
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


class Sum(keras.layers.Layer):  # type: ignore[misc]
    """A residual sum, or one of losses, which have no axes and stay in float32."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(autocast=False, **settings)

    def call(self, x: Native, y: Native) -> Native:
        return keras.ops.add(x, y)


class Product(keras.layers.Layer):  # type: ignore[misc]
    """A product, with a number or element by element, in the format that it is given."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(autocast=False, **settings)

    def call(self, x: Native, y: Native) -> Native:
        return keras.ops.multiply(x, y)


class Joined(keras.layers.Layer):  # type: ignore[misc]
    """One array behind the other along an axis."""

    def __init__(self, axis: int, **settings: Any) -> None:
        super().__init__(**settings)
        self.axis = axis

    def call(self, x: Native, y: Native) -> Native:
        return keras.ops.concatenate([x, y], axis=self.axis)


class Padding(keras.layers.Layer):  # type: ignore[misc]
    """Pads with a number, where Keras's own layer has zeros alone."""

    def __init__(self, pads: tuple[tuple[int, int], ...], value: float, **settings: Any) -> None:
        super().__init__(**settings)
        self.pads, self.value = pads, value

    def call(self, x: Native) -> Native:
        return keras.ops.pad(x, self.pads, constant_values=self.value)


class UnbiasedBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc]
    """Keras's own, but that its moving variance takes the batch's with the divisor n - 1."""

    def call(self, x: Native, training: bool | None = None) -> Native:
        kept = keras.ops.multiply(self.moving_variance, self.momentum)
        y = super().call(x, training=training)
        if training:
            count = math.prod(x.shape[:-1])
            wide = keras.ops.cast(x, self.variable_dtype)
            _, batch = keras.ops.moments(wide, tuple(range(len(x.shape) - 1)))
            batch = keras.ops.multiply(batch, count / (count - 1))
            self.moving_variance.assign(kept + keras.ops.multiply(batch, 1 - self.momentum))
        return y


class ResponseNormalization(keras.layers.Layer):  # type: ignore[misc]
    """Local response normalisation, which Keras has no layer for: the mean of neighbouring channels' squares."""

    def __init__(self, attributes: LocalResponseNorm, **settings: Any) -> None:
        super().__init__(**settings)
        self.settings = attributes

    def call(self, x: Native) -> Native:
        a, ops = self.settings, keras.ops
        x = ops.cast(x, self.variable_dtype)  # wide in mixed precision, as Keras's own normalisations are
        smaller, larger = (a.size - 1) // 2, a.size // 2
        ends = (larger, smaller) if a.extra == "low" else (smaller, larger)
        squares = ops.pad(ops.reshape(ops.square(x), (-1, x.shape[-1], 1)), ((0, 0), ends, (0, 0)))
        means = ops.reshape(ops.average_pool(squares, a.size, strides=1), tuple(x.shape))
        alpha = a.alpha if a.alpha_of == "mean" else a.alpha * a.size
        return ops.cast(x / ops.power(means * alpha + a.bias, a.beta), self.compute_dtype)


class Network(keras.Model):  # type: ignore[misc]
    """The layers, each taking what others give."""

    def __init__(self, chain: Chain, layers: Mapping[str, Any]) -> None:
        super().__init__(name="network", autocast=False)  # its layers cast; a weight of a loss is no layer's
        self.steps = list(layers.values())
        self.learning = chain
        self.predicting = inference_chain(chain)

    def by_name(self) -> dict[str, Any]:
        """The layers as the chain calls them."""
        return dict(zip((layer.name for layer in self.learning.layers), self.steps, strict=True))

    def call(self, x: Native, given: Any = None, probes: Any = None) -> Natives:
        """What every layer gives, the loss last; without masks and labels the logits are.

        Args:
            x: images.
            given: masks, labels and factors by `layer/operand`.
            probes: by layer, what is added to its output on the way.
        """
        by_name = self.by_name()
        outputs: Natives = {INPUT: x}
        for layer, takes in (self.predicting if given is None else self.learning).wired():
            values = (*(outputs[source] for source in takes.values()), *own_of(layer, given or {}).values())
            mode = {"training": given is not None} if layer.operator.startswith("batch_norm") else {}
            y = self.through(layer, by_name[layer.name], values, mode)
            outputs[layer.name] = y + probes[layer.name] if probes and layer.name in probes else y
        del outputs[INPUT]
        return outputs

    def through(self, layer: Layer, module: Any, values: tuple[Native, ...], mode: Mapping[str, bool]) -> Native:
        """What one layer makes of what it is given."""
        return module(*values, **mode)


class JittedLayers(Network):
    """A deep network on JAX: layers that are alike are one jitted function of their variables."""

    def __init__(self, chain: Chain, layers: Mapping[str, Any]) -> None:
        super().__init__(chain, layers)
        self.jitted: dict[Any, Any] = {}

    def through(self, layer: Layer, module: Any, values: tuple[Native, ...], mode: Mapping[str, bool]) -> Native:
        import jax

        if not module.built:
            return super().through(layer, module, values, mode)
        own, kept = module.trainable_variables, module.non_trainable_variables
        key = (layer.operator, layer.attributes, tuple(variable.shape for variable in (*own, *kept)), *mode.values())
        if key not in self.jitted:
            self.jitted[key] = jax.jit(_stateless(module, mode))
        y, left = self.jitted[key]([v.value for v in own], [v.value for v in kept], *values)
        for variable, value in zip(kept, left, strict=True):
            variable.assign(value)
        return y


def _stateless(module: Any, mode: Mapping[str, bool]) -> Callable[..., tuple[Native, list[Native]]]:
    """A layer as a function of its variables, called as in an eager network.

    Its own `stateless_call` leaves a policy's casts out.
    """
    own, kept = module.trainable_variables, module.non_trainable_variables

    def called(learned: list[Native], others: list[Native], *values: Native) -> tuple[Native, list[Native]]:
        held = zip((*own, *kept), (*learned, *others), strict=True)
        with keras.StatelessScope(state_mapping=held) as scope:
            made = module(*values, **mode)
        return made, [scope.get_current_value(variable) for variable in kept]

    return called


class KerasTrainer(Trainer):
    """A model and its optimizer; differentiating is the affair of the backend below."""

    kind: type[Network] = Network

    def __init__(self, backend: "KerasBackend", build: BuildNetwork) -> None:
        self.backend = backend
        self.chain: Chain = build.network
        self.last = self.chain.layers[-1].name
        self.network = self.kind(
            self.chain, {layer.name: _layer(layer, build.parameters) for layer in self.chain.layers}
        )
        self.optimizer = _optimizer(build)
        self._settings = build.optimizer_attributes
        self._steps = 0
        # Built by shapes alone: what does not fit shows before the first step.
        blank = {name: _symbol(tensor) for name, tensor in blank_step(build).items()}
        self.network(blank.pop(INPUT), blank)
        layers = self.network.by_name()
        held = {}
        for name, tensor in build.parameters.items():
            layer, _, operand = name.partition("/")
            held[name] = getattr(_learned(layers[layer]), _VARIABLES[operand])
            held[name].assign(backend.put(tensor))
        names = {id(variable): name for name, variable in held.items()}
        self.variables = self.network.trainable_variables
        self.names = [names[id(variable)] for variable in self.variables]
        # What a layer keeps itself.
        self.statistics = {name: variable for name, variable in held.items() if name not in self.names}
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
            outputs={name: get(output) for name, output in outputs.items()} | self._kept() if step.capture else {},
            gradients={name: get(found) for name, found in gradients.items() if found is not None}
            if step.capture
            else {},
            before=before,
            after=self._state() if step.capture else {},
            seconds=seconds,
        )

    def predict(self, x: Tensor) -> Tensor:
        return self.backend.get(self.network(self.backend.put(x))[self.network.predicting.layers[-1].name])

    def state(self) -> TrainingState:
        return TrainingState(step=self._steps, tensors=self._state())

    def restore(self, state: TrainingState) -> None:
        self._steps = state.step
        self.optimizer.iterations.assign(state.step)
        for name, variable in self._held().items():
            variable.assign(self.backend.put(state.tensors[name]))

    def _brought(self, operands: Mapping[str, Tensor]) -> tuple[Native, Natives]:
        """Images; and masks, labels and factors."""
        native = {name: self.backend.put(tensor) for name, tensor in operands.items()}
        return native.pop(INPUT), native

    def _epsilon(self) -> float:
        """Keras adds epsilon before the bias correction; the other form is the same with epsilon corrected too."""
        a = self._settings
        if not isinstance(a, Adam):
            return 0.0
        return a.epsilon * (1.0 if a.epsilon_hat else math.sqrt(1 - a.beta2**self._steps))

    def _kept(self) -> dict[str, Tensor]:
        """The statistics that layers keep for the next step."""
        return {name: self.backend.get(variable.value) for name, variable in self.statistics.items()}

    def _state(self) -> dict[str, Tensor]:
        """Parameters, statistics and slots."""
        return {name: self.backend.get(variable.value) for name, variable in self._held().items()}

    def _held(self) -> dict[str, Any]:
        """The variables that hold parameters, statistics and slots."""
        found = {**dict(zip(self.names, self.variables, strict=True)), **self.statistics}
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
        learned = [name for name, output in outputs.items() if name != self.last and output.requires_grad]
        layers = learned if capture else []
        for name in layers:
            outputs[name].retain_grad()
        outputs[self.last].backward()
        own = [variable.value.grad for variable in self.variables]
        with torch.no_grad():
            self.optimizer.apply(own, self.variables)
        passed = [outputs[name].grad for name in layers]
        return outputs, dict(zip((*self.names, *layers), (*own, *passed), strict=True))


class TrainerOnJax(KerasTrainer):
    """The step as one jitted function of the variables, the same for judged and free ones; deep networks by layer."""

    def __init__(self, backend: "KerasBackend", build: BuildNetwork) -> None:
        import jax

        deep = len(build.network.layers) > WHOLE
        self.kind = JittedLayers if deep else Network
        super().__init__(backend, build)
        self._jitted = self._step if deep else jax.jit(self._step)
        self._apply = jax.jit(self._applied) if deep else self._applied

    def learn(self, x: Native, given: Natives, *, capture: bool) -> tuple[Natives, Natives]:
        held = (self.variables, self.network.non_trainable_variables, self.optimizer.variables)
        state = tuple([variable.value for variable in variables] for variables in held)
        state, outputs, gradients = self._jitted(state, x, given, self.optimizer.epsilon)
        for variables, values in zip(held, state, strict=True):
            for variable, value in zip(variables, values, strict=True):
                variable.assign(value)
        return outputs, gradients

    def _step(
        self, state: tuple[list[Native], ...], x: Native, given: Natives, epsilon: Native
    ) -> tuple[tuple[list[Native], ...], Natives, Natives]:
        import jax

        def forward(own: list[Native], probes: Natives) -> tuple[Native, tuple[Natives, list[Native]]]:
            outputs, left = self.network.stateless_call(own, untrained, x, given, probes)
            return outputs[self.last], (outputs, left)

        own, untrained, kept = state
        shapes = jax.eval_shape(lambda: forward(own, {})[1][0])
        # A layer's output is differentiated through a probe added to it: -0.0, which changes no number.
        probes = {name: jax.numpy.full_like(shape, -0.0) for name, shape in shapes.items() if name != self.last}
        differentiated = jax.value_and_grad(forward, argnums=(0, 1), has_aux=True)
        (_, (outputs, untrained)), (found, passed) = differentiated(own, probes)
        own, kept = self._apply(own, kept, found, epsilon)
        return (own, untrained, kept), outputs, {**dict(zip(self.names, found, strict=True)), **passed}

    def _applied(
        self, own: list[Native], kept: list[Native], found: list[Native], epsilon: Native
    ) -> tuple[list[Native], list[Native]]:
        written = self.optimizer.epsilon
        self.optimizer.epsilon = epsilon
        own, kept = self.optimizer.stateless_apply(kept, found, own)
        self.optimizer.epsilon = written  # the traced number must not outlive its trace
        return own, kept


def _symbol(tensor: Tensor) -> Any:
    return keras.KerasTensor(tensor.shape, tensor.format)


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
    """A layer of Keras.

    Raises:
        NotTranslatable: if none says it.
    """
    own = {title.partition("/")[2]: t.shape for title, t in parameters.items() if title.startswith(f"{layer.name}/")}
    a, operator, layers = layer.attributes, layer.operator, keras.layers
    name = layer.name.replace(".", "_")  # PyTorch's parameters, which are called by it, have no dots
    match operator:
        case "conv1d" | "conv2d" | "conv3d":
            return _conv(name, a, own)
        case "max_pool1d" | "max_pool2d" | "max_pool3d":
            return _pool(f"MaxPooling{operator[-2]}D", name, a)
        case "average_pool1d" | "average_pool2d" | "average_pool3d":
            return _pool(f"AveragePooling{operator[-2]}D", name, a)
        case "flatten":
            return layers.Flatten(name=name)
        case "dense":
            return layers.Dense(own["w"][1], use_bias="b" in own, name=name)
        case "relu" | "sigmoid" | "tanh":
            return layers.Activation(operator, name=name)
        case "dropout":
            dropout: Dropout = a
            return GivenDropout(dropout.keep, name=name)
        case "softmax_cross_entropy":
            loss: CrossEntropy = a
            if loss.smoothing or loss.ignored is not None:
                raise NotTranslatable("the Keras trainer's loss neither smooths nor ignores")
            return LossOfLabels(loss.reduction, name=name)
        case "leaky_relu":
            return layers.LeakyReLU(a.slope, name=name)
        case "global_average_pool2d":
            return layers.GlobalAveragePooling2D(name=name)
        case "add":
            return Sum(name=name)
        case "multiply":
            return Product(name=name)
        case "concat":
            return Joined(a.axis, name=name)
        case "pad" if a.mode == "constant":
            return Padding(a.padding, a.value, name=name)
        case "local_response_norm":
            return ResponseNormalization(a, name=name)
        case "batch_norm_training":
            return _batch_norm(name, a, own)
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


def _batch_norm(name: str, a: BatchNormTraining, own: Mapping[str, tuple[int, ...]]) -> Any:
    kind = UnbiasedBatchNormalization if a.bessel else keras.layers.BatchNormalization
    affine = unless(True, scale="scale" in own, center="offset" in own)
    return kind(momentum=a.momentum, epsilon=a.epsilon, **affine, name=name)


def _pool(kind: str, name: str, a: MaxPool | AveragePool) -> Any:
    if isinstance(a, MaxPool) and isinstance(a.padding, tuple):
        pads = ((0, 0), *a.padding, (0, 0))
        inner = _pool(kind, f"{name}_valid", replace(a, padding="valid"))
        return keras.Sequential([Padding(pads, -math.inf), inner], name=name)
    plain = a.padding == "valid" or (a.padding == "same" and not (isinstance(a, AveragePool) and a.count_padding))
    if not plain or a.ceil_mode or (isinstance(a, MaxPool) and set(a.dilation) != {1}):
        raise NotTranslatable("the Keras trainer's pools have SAME and VALID alone")
    return getattr(keras.layers, kind)(a.window, a.stride, **unless("valid", padding=a.padding), name=name)
