"""Keras' side, on TensorFlow: a `keras.Model`, every layer's `call` seen as it is made."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from conformance.backends.tensorflow.backend import TensorFlowBackend
from conformance.case.job import Description
from conformance.errors import InvalidModel, NotTranslatable
from conformance.models.base import Array, Models, Run, elements, require_shapes
from conformance.models.keras_layers import (
    FUNCTIONS,
    LAYERS,
    NODES,
    SILENT,
    Held,
    activation,
    batch_norm_training,
    held_by,
)
from conformance.models.recording import Call, Names, Native, Record
from conformance.models.safetensors import read_safetensors


class KerasModels(Models):
    """Hosts a `keras.Model`."""

    module: ClassVar[str] = "keras"
    install: ClassVar[str] = TensorFlowBackend.install

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self._backend = TensorFlowBackend(device, modes)  # sets the strict switches
        import keras
        import tensorflow as tf

        if keras.backend.backend() != "tensorflow":
            raise NotTranslatable(f"Keras runs on {keras.backend.backend()} here; set KERAS_BACKEND=tensorflow")
        self._keras = keras
        self._tf = tf
        self._model: Any = None

    def describe(self) -> Description:
        described = self._backend.describe()
        versions = {"keras": self._keras.__version__, **described.versions}
        return replace(described, backend="keras", versions=versions)

    def load(self, build: Callable[[], Any], weights: str) -> int:
        model = build()
        if not isinstance(model, self._keras.Model):
            raise InvalidModel(self._file, f"its function gave {type(model).__name__}, expected a keras.Model")
        self._model = model
        if weights:
            self._read(Path(weights))
        return elements([variable.shape for variable in model.trainable_variables])

    def _read(self, path: Path) -> None:
        if not self._model.built:
            raise InvalidModel(self._file, "the model has no weights yet; build it: model.build((None, 32, 32, 3))")
        if path.suffix == ".safetensors":
            read = {name: tensor.data for name, tensor in read_safetensors(path).items()}
            require_shapes(str(path), read, self._shapes())
            self.put(read)
            return
        if not path.name.endswith((".keras", ".weights.h5")):
            raise InvalidModel(str(path), "Keras reads .keras, .weights.h5 and .safetensors")
        try:
            self._model.load_weights(path)
        except (ValueError, OSError, KeyError) as error:
            text, _, _ = str(error).partition(" Target variable")  # whose numbers follow
            raise InvalidModel(str(path), f"other weights than the model's: {text}") from error

    def _variables(self) -> dict[str, Any]:
        return {
            variable.path: variable for variable in self._model.variables if "seed_generator" not in variable.path
        }

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(variable.shape) for name, variable in self._variables().items()}

    def parameters(self) -> dict[str, Array]:
        return {name: np.array(variable.value) for name, variable in self._variables().items()}

    def put(self, parameters: Mapping[str, Array]) -> None:
        shapes = self._shapes()
        require_shapes(self._file, parameters, shapes, tuple(shapes))
        variables = self._variables()
        for name, array in parameters.items():
            variables[name].assign(array)

    def run(self, inputs: Sequence[Array], cotangents: Sequence[Array], noise: Mapping[str, Array]) -> Run:
        tf = self._tf
        run = Run()
        given = [tf.constant(array) for array in inputs]
        with tf.GradientTape() as tape:
            tape.watch([tensor for tensor in given if tensor.dtype.is_floating])
            watch = _Watch(self._model, run, noise, tf, given)
            try:
                with watch:
                    found = self._model(given[0] if len(given) == 1 else given, training=self.training)
            except Exception as error:  # the model's own: what ran before it is told
                run.error = error
                run.fold()
                return run
            run.outputs = tuple(tf.nest.flatten(found))
        run.fold()
        if cotangents:
            wanted = [tensor for tensor in run.wanted() if tensor.dtype.is_floating]
            heads = [tf.constant(array) for array in cotangents]
            got = tape.gradient(list(run.outputs), wanted, output_gradients=heads)
            run.gradients = {
                id(t): tf.convert_to_tensor(g) for t, g in zip(wanted, got, strict=True) if g is not None
            }
        owners: dict[str, int] = {}
        for record in run.records:
            for name in record.parameters.values():
                owners[name] = owners.get(name, 0) + 1
        run.shared = frozenset(name for name, count in owners.items() if count > 1)
        return run

    def numbers(self, native: Native) -> Array:
        return np.array(native)

    def house_parameter(self, call: Call, operand: str, array: Array) -> Array:
        return array.reshape(*array.shape[:-2], 1, -1) if call.depthwise and operand == "w" else array

    def native_parameter(self, call: Call, operand: str, shape: tuple[int, ...]) -> Callable[[Array], Array]:
        return lambda array: array.reshape(shape)


class _Watch:
    """Sees the layers of one pass: records what it knows, lists what it does not."""

    def __init__(self, model: Any, run: Run, noise: Mapping[str, Array], tf: Any, given: Sequence[Native]) -> None:
        self._model = model
        self._run = run
        self._noise = noise
        self._tf = tf
        self._ops, self._nodes = _ops()
        self._names = Names()
        # Tensors whose origin was seen; kept, since an id is unique only while its object lives.
        self._known = {id(tensor): tensor for tensor in given}
        self._spied: list[tuple[Any, str, Any]] = []

    def __enter__(self) -> "_Watch":
        for layer in _leaves(self._model):
            self._spy(layer, "call", self._layer(layer, layer.call))
            own = layer.__dict__.get("activation")
            if type(layer).__name__ in LAYERS and LAYERS[type(layer).__name__][1] and own is not None:
                self._spy(layer, "activation", self._activation(layer, own))
        for name, kind in FUNCTIONS.items():
            self._spy(self._ops, name, self._function(name, kind, getattr(self._ops, name)))
        return self

    def __exit__(self, *error: object) -> None:
        for layer, name, own in self._spied:
            if own is None:
                del layer.__dict__[name]
            else:
                layer.__dict__[name] = own

    def _spy(self, layer: Any, name: str, spy: Any) -> None:
        """Stands in for an attribute of one layer, past what Keras tracks."""
        self._spied.append((layer, name, layer.__dict__.get(name)))
        layer.__dict__[name] = spy

    def _layer(self, layer: Any, call: Callable[..., Any]) -> Callable[..., Any]:
        told, (read, held) = _told(layer), _reader(layer)

        def called(*args: Any, **kwargs: Any) -> Any:
            xs = [part for part in self._tf.nest.flatten(args) if self._tf.is_tensor(part)]
            if type(layer).__name__ in SILENT and xs:
                # What draws in training gives its input on, as it does in inference.
                return self._seen(args[0])
            if not xs or not all(x.dtype.is_floating for x in xs):
                return self._seen(call(*args, **kwargs))
            taps = [self._tf.identity(x) for x in xs]
            own_statistics = type(layer).__name__ == "BatchNormalization" and kwargs.get("training")
            if own_statistics and layer.trainable:
                what = batch_norm_training(layer, taps, self._statistics(layer))
            else:
                what = read(layer, taps, **(kwargs if _is_node(layer) else {}))
            name = self._names.next(layer.name)
            if what is None:
                self._run.unrecognised.append(f"{name}: {told} of {tuple(xs[0].shape)}")
                return self._seen(call(*args, **kwargs))
            place = len(self._run.records)
            flat = iter(taps)
            tapped = self._tf.nest.map_structure(lambda part: next(flat) if self._tf.is_tensor(part) else part, args)
            output = call(*tapped, **kwargs)
            inner = self._run.records[place:]  # its activation, which takes what the layer itself gives
            own = inner[0].read[0] if inner else output
            parameters = {operand: variable.path for operand, variable in held_by(layer, held).items()}
            record, handed = self._record(name, told, what, own, xs, parameters)
            if what.operator == "batch_norm_training":
                record = replace(record, statistics=self._statistics(layer))
            if inner:  # it was handed on already
                record = replace(record, handed=inner[0].read[0])
                handed = output
            self._run.records.insert(place, record)
            return handed

        return called

    def _statistics(self, layer: Any) -> dict[str, Native]:
        """Copies of what a batch normalisation keeps."""
        kept = {"mean": layer.moving_mean, "variance": layer.moving_variance}
        return {operand: self._tf.identity(variable.value) for operand, variable in kept.items()}

    def _function(self, name: str, kind: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """A function of `keras.ops` as the node that it is in a functional model."""
        node_of: Any = getattr(self._nodes, kind)

        def called(x: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                several = name in ("add", "multiply")
                call = {key: kwargs[key] for key in ("constant_values",) if key in kwargs}
                made = {key: value for key, value in kwargs.items() if key not in call}
                node = node_of(name=name) if several else node_of(*args, **made, name=name)
            except TypeError:  # another way to call it: what it gives has no known origin
                return function(x, *args, **kwargs)
            spied = self._layer(node, node.call)
            return spied(x, *args) if several else spied(x, **call)

        return called

    def _activation(self, layer: Any, function: Callable[..., Any]) -> Callable[..., Any]:
        def called(x: Native) -> Native:
            tap = self._tf.identity(x)
            what = activation(function, [tap])
            name = getattr(function, "__name__", repr(function))
            if name == "linear":
                return function(x)
            self._known[id(x)] = x
            if what is None:
                self._run.unrecognised.append(f"{self._names.next(layer.name)}.{name}: of {tuple(x.shape)}")
                return self._seen(function(x))
            title = self._names.next(f"{layer.name}.{name}")
            record, handed = self._record(title, f"activation={name!r}", what, function(tap), [x], {})
            self._run.records.append(record)
            return handed

        return called

    def _record(
        self, name: str, native: str, what: Call, output: Native, xs: Sequence[Native], parameters: Mapping[str, str]
    ) -> tuple[Record, Native]:
        for x in xs:
            if id(x) not in self._known:
                self._run.unrecognised.append(f"before {name}: code that no layer shows gives it {tuple(x.shape)}")
        handed = self._tf.identity(output)
        if name in self._noise:
            handed = handed + self._tf.reshape(self._tf.constant(self._noise[name]), handed.shape)
        self._seen(handed)
        record = Record(
            name=name,
            native=native,
            call=what,
            output=output,
            parameters=parameters,
            read=tuple(xs),
            handed=handed,
        )
        return record, handed

    def _seen(self, found: Any) -> Any:
        for tensor in self._tf.nest.flatten(found):
            self._known[id(tensor)] = tensor
        return found


def _is_node(layer: Any) -> bool:
    """Whether it is an operation of a functional model's, and no layer."""
    return not hasattr(layer, "trainable_variables")


def _reader(layer: Any) -> tuple[Callable[..., Call | None], Held]:
    """What reads a layer, and what it keeps parameters in; of a layer that nobody knows, nothing."""
    kind = type(layer).__name__
    if _is_node(layer):
        return NODES.get(kind, _unknown), ()
    return LAYERS.get(kind, (_unknown, ()))


def _unknown(layer: Any, xs: Sequence[Native], **kwargs: Any) -> None:
    """A layer of the user's own."""


def _ops() -> tuple[Any, Any]:
    """Keras' functions as users call them, and where the nodes of functional models are defined."""
    from types import SimpleNamespace

    import keras
    from keras.src.ops import nn, numpy

    nodes = {kind: getattr(numpy, kind, None) or getattr(nn, kind, None) for kind in FUNCTIONS.values()}
    return keras.ops, SimpleNamespace(**nodes)


def _leaves(model: Any) -> list[Any]:
    """The layers without layers in them, and the nodes of functional models that are no layers."""
    layers = [model, *model._flatten_layers(include_self=False, recursive=True)]
    leaves = [layer for layer in layers if not list(layer._flatten_layers(include_self=False, recursive=False))]
    leaves += [node for layer in layers for node in getattr(layer, "operations", ()) if node not in layers]
    return list({id(leaf): leaf for leaf in leaves if leaf is not model}.values())


# What of a layer's configuration tells what it computes, in the order of a call.
_SAID = (
    *("filters", "units", "kernel_size", "pool_size", "size", "strides", "padding", "cropping", "output_padding"),
    *("dilation_rate", "groups", "axis", "epsilon", "data_format", "negative_slope", "interpolation", "activation"),
)


def _told(layer: Any) -> str:
    """A layer as its framework writes it: what is not the default of its constructor."""
    config = layer.get_config() if hasattr(layer, "get_config") else {}
    try:
        usual = {n: p.default for n, p in inspect.signature(type(layer)).parameters.items()}
    except (TypeError, ValueError):
        usual = {}
    parts = []
    for name in _SAID:
        value = _alike(config.get(name))
        positional = name in ("filters", "units", "kernel_size", "pool_size")
        if value in (None, "linear", "channels_last", "valid") or (
            not positional and value == _alike(usual.get(name))
        ):
            continue
        parts.append(f"{value!r}" if positional else f"{name}={value!r}")
    return f"{type(layer).__name__}({', '.join(parts)})"


def _alike(value: Any) -> Any:
    """One number for several that are the same, as one writes it."""
    several = isinstance(value, (list, tuple)) and value and not isinstance(value[0], (list, tuple))
    return value[0] if several and all(each == value[0] for each in value) else value
