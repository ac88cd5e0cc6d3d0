"""JAX's side: a pure function over a tree of parameters, traced, read as layers, evaluated by equations.

A user's file gives `(apply, params)`: `apply(params, *inputs)` is the model, as `module.apply` and its variables are
in Flax, or `lambda model, x: model(x)` and the model itself where a model is a tree. Arrays in the tree are its
parameters, and are called by their path in it; whatever else it holds stays as it is. Images have channels last.
In training it is `apply(params, *inputs, training=True)`, which gives the outputs and a tree of what becomes of the
statistics, with the paths that these have among the parameters.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar, Final

import numpy as np

from conformance.backends.jax.backend import JaxBackend
from conformance.case.job import Description
from conformance.errors import InvalidModel
from conformance.models.base import Array, Models, Run, elements, require_shapes
from conformance.models.jax_graph import Constant, Equation, Graph, Operand, Value, traced
from conformance.models.jax_layers import Layer, Layers, read_layers
from conformance.models.jax_templates import Templates
from conformance.models.moving import back, moved
from conformance.models.recording import Call, Native, Record
from conformance.models.safetensors import read_safetensors

_CONVENTION: Final = "expected (apply, params): a function of the parameters and the inputs, and a tree of arrays"


class JaxModels(Models):
    """Hosts a function and its parameters."""

    module: ClassVar[str] = JaxBackend.module
    install: ClassVar[str] = JaxBackend.install

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self._backend = JaxBackend(device, modes)  # sets the strict switches
        import jax

        self._jax = jax
        # A model's float32 is what JAX makes of it without being told otherwise; its file may tell otherwise.
        jax.config.update("jax_enable_x64", False)
        self._apply: Any = None
        self._leaves: list[Any] = []
        self._tree: Any = None
        self._names: dict[str, int] = {}
        self._templates = Templates(jax)
        self._read_before: tuple[Any, Graph, Layers, Mapping[str, Operand]] | None = None

    def describe(self) -> Description:
        return self._backend.describe()

    def load(self, build: Callable[[], Any], weights: str) -> int:
        made = build()
        if not isinstance(made, (tuple, list)) or len(made) != 2 or not callable(made[0]):
            raise InvalidModel(self._file, f"its function gave {type(made).__name__}, {_CONVENTION}")
        jax = self._jax
        self._apply = made[0]
        paths, self._tree = jax.tree_util.tree_flatten_with_path(made[1])
        self._leaves = [jax.numpy.array(leaf) if _is_array(leaf) else leaf for _, leaf in paths]
        self._names = {_named(path): place for place, (path, leaf) in enumerate(paths) if _is_array(leaf)}
        if not self._names:
            raise InvalidModel(self._file, f"its parameters hold no array, {_CONVENTION}")
        if weights:
            read = _read(Path(weights))
            require_shapes(weights, read, self._shapes())
            self.put(read)
        return elements(list(self._shapes().values()))

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        return {name: tuple(self._leaves[place].shape) for name, place in self._names.items()}

    def parameters(self) -> dict[str, Array]:
        return {name: self.numbers(self._leaves[place]) for name, place in self._names.items()}

    def put(self, parameters: Mapping[str, Array]) -> None:
        shapes = self._shapes()
        require_shapes(self._file, parameters, shapes, tuple(shapes))
        for name, array in parameters.items():
            place = self._names[name]
            self._leaves[place] = self._jax.numpy.array(array, self._leaves[place].dtype)

    def run(self, inputs: Sequence[Array], cotangents: Sequence[Array], noise: Mapping[str, Array]) -> Run:
        jnp, run = self._jax.numpy, Run()
        given = [jnp.array(array) for array in inputs]
        held = {name: self._leaves[place] for name, place in self._names.items()}

        try:
            graph, layers, statistics = self._read(held, given)
        except Exception as error:  # the model's own, which is traced before anything runs
            run.error = error
            return run
        # A mapping's leaves are in the order of its keys.
        values = dict(zip(graph.inputs, (*(held[name] for name in sorted(held)), *given), strict=True))
        run.unrecognised = list(layers.unrecognised)
        outputs = graph.outputs[: len(graph.outputs) - len(statistics)]
        _Pass(self._jax, graph, outputs, layers, values, noise).make(run, [jnp.array(array) for array in cotangents])
        run.fold()
        return run

    def _read(
        self, held: Mapping[str, Native], given: Sequence[Native]
    ) -> tuple[Graph, Layers, Mapping[str, Operand]]:
        """The model as layers; of inputs like those before it is traced once, for it is a pure function."""
        kind = (self.training, *((tuple(native.shape), str(native.dtype)) for native in given))
        if self._read_before is None or self._read_before[0] != kind:
            kept: list[str] = []

            def model(held: Mapping[str, Native], *given: Native) -> Any:
                found, statistics = self._called(held, given)
                kept[:] = sorted(statistics)  # a mapping's leaves are in the order of its keys
                return found, statistics

            graph = traced(self._jax, model, held, *given)
            names = dict(zip(graph.inputs, sorted(held), strict=False))
            statistics = dict(zip(kept, graph.outputs[len(graph.outputs) - len(kept) :], strict=True))
            inputs, folder = graph.inputs[len(held) :], Path(self._file).parent
            layers = read_layers(self._templates, graph, names, inputs, statistics, folder)
            self._read_before = kind, graph, layers, statistics
        return self._read_before[1:]

    def _called(self, held: Mapping[str, Native], given: Sequence[Native]) -> tuple[Any, dict[str, Native]]:
        """The model's outputs, and in training what becomes of its statistics, by name."""
        leaves = list(self._leaves)
        for name, leaf in held.items():
            leaves[self._names[name]] = leaf
        params = self._jax.tree_util.tree_unflatten(self._tree, leaves)
        if not self.training:
            return self._apply(params, *given), {}
        found = self._apply(params, *given, training=True)
        if not isinstance(found, tuple) or len(found) != 2:
            raise InvalidModel(self._file, f"gave {type(found).__name__} in training, expected (outputs, statistics)")
        paths, _ = self._jax.tree_util.tree_flatten_with_path(found[1])
        named = {_named(path): leaf for path, leaf in paths}
        unknown = [name for name in named if name not in self._names]
        if unknown:
            raise InvalidModel(self._file, f"its statistics hold {', '.join(unknown)}, which no parameter is called")
        return found[0], named

    def numbers(self, native: Native) -> Array:
        return np.array(native)

    def house_parameter(self, call: Call, operand: str, array: Array) -> Array:
        return moved(array, call.moves.get(operand, ()))

    def native_parameter(self, call: Call, operand: str, shape: tuple[int, ...]) -> Callable[[Array], Array]:
        return lambda array: moved(array, back(call.moves.get(operand, ())))


class _Pass:
    """One pass: every layer evaluated on taps of its own, and everything pulled back through them."""

    def __init__(
        self,
        jax: Any,
        graph: Graph,
        outputs: Sequence[Operand],
        layers: Layers,
        values: Mapping[Value, Native],
        noise: Mapping[str, Array],
    ) -> None:
        self._jax = jax
        self._graph = graph
        self._outputs = outputs
        self._layers = layers.found
        self._values = values
        self._noise = noise

    def make(self, run: Run, cotangents: Sequence[Native]) -> None:
        """Fills in a pass: outputs, records and, where there are cotangents, gradients."""
        if not cotangents:
            outputs, taps = self._forward({})
            pulled: Mapping[tuple[int, str], Native] = {}
        else:
            # A tensor is differentiated through a probe added to it: -0.0, which changes no number.
            shapes = self._jax.eval_shape(lambda: self._forward({})[1])
            probes = {
                key: self._jax.numpy.full(shape.shape, -0.0, shape.dtype)
                for key, shape in shapes.items()
                if (key[1] in self._layers[key[0]].call.operands or not key[1])
                and np.issubdtype(shape.dtype, np.floating)
            }
            outputs, pull, taps = self._jax.vjp(self._forward, probes, has_aux=True)
            (pulled,) = pull(list(cotangents))
        run.outputs = tuple(outputs)
        handed = {value: np.asarray(native) for value, native in self._values.items()}
        for place, layer in enumerate(self._layers):
            operands = {name: np.array(taps[place, name]) for name in layer.call.operands}
            output = np.array(taps[place, ""])
            for name, native in (*operands.items(), ("", output)):
                if (place, name) in pulled:
                    run.gradients[id(native)] = pulled[place, name]
            handed[layer.output] = output.view()
            run.records.append(
                Record(
                    name=layer.name,
                    native=layer.native,
                    call=replace(layer.call, operands=operands),
                    output=output,
                    parameters=layer.parameters,
                    read=tuple(
                        handed.get(value, taps[place, name])
                        for name, value in layer.call.operands.items()
                        if name not in layer.parameters
                    ),
                    handed=handed[layer.output],
                    statistics={name: np.array(taps[place, _after(name)]) for name in layer.statistics},
                )
            )

    def _forward(
        self, probes: Mapping[tuple[int, str], Native]
    ) -> tuple[list[Native], dict[tuple[int, str], Native]]:
        """The outputs, and what every layer read and gave: its output has no name."""
        known: dict[Value, Native] = dict(self._values)
        taps: dict[tuple[int, str], Native] = {}

        def tapped(place: int, name: str, native: Native) -> Native:
            taps[place, name] = native
            return native + probes[place, name] if (place, name) in probes else native

        for place, layer in enumerate(self._layers):
            own = {
                value: tapped(place, name, self._value(value, known)) for name, value in layer.call.operands.items()
            }
            found = tapped(place, "", self._evaluated(layer, own))
            if layer.name in self._noise:
                found = found + self._jax.numpy.array(self._noise[layer.name]).reshape(found.shape)
            known[layer.output] = found
        for place, layer in enumerate(self._layers):
            for name, after in layer.statistics.items():
                taps[place, _after(name)] = self._value(after, known)
        return [self._value(output, known) for output in self._outputs], taps

    def _evaluated(self, layer: Layer, own: dict[Value, Native]) -> Native:
        for equation in layer.equations:
            _apply(equation, own)
        return own[layer.output]

    def _value(self, operand: Operand, known: dict[Value, Native]) -> Native:
        """An operand, with what leads to it and is no layer."""
        if isinstance(operand, Constant):
            return self._jax.numpy.asarray(operand.value)
        left = [operand]
        while left:
            at = left[-1]
            lacking = [
                value
                for value in (self._graph.giver[at].inputs if at not in known else ())
                if isinstance(value, Value) and value not in known
            ]
            if lacking:
                left += lacking
                continue
            if at not in known:
                _apply(self._graph.giver[at], known)
            left.pop()
        return known[operand]


def _apply(equation: Equation, known: dict[Value, Native]) -> None:
    given = [known[operand] if isinstance(operand, Value) else operand.value for operand in equation.inputs]
    known |= dict(zip(equation.outputs, equation.evaluate(given), strict=True))


def _after(name: str) -> str:
    """What a tap of a statistic after the pass is called."""
    return f"{name} after"


def _is_array(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and hasattr(leaf, "dtype")


def _named(path: Sequence[Any]) -> str:
    """A leaf's path in its tree: keys, places and attributes with dots between."""
    parts = (next(getattr(key, kind) for kind in ("key", "idx", "name") if hasattr(key, kind)) for key in path)
    return ".".join(map(str, parts)) or "params"


def _read(path: Path) -> dict[str, Array]:
    """Weights by the paths of the tree.

    Raises:
        InvalidModel: if the file is none that NumPy or safetensors reads.
    """
    if path.suffix == ".safetensors":
        return {name: tensor.data for name, tensor in read_safetensors(path).items()}
    if path.suffix != ".npz":
        raise InvalidModel(str(path), "JAX's trees are read from .npz and .safetensors, by their paths: enc1.conv.w")
    try:
        with np.load(path, allow_pickle=False) as read:
            return {name: read[name] for name in read.files}
    except (ValueError, OSError, EOFError) as error:
        raise InvalidModel(str(path), f"is no .npz of numbers: {error}") from error
