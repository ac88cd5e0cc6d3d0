"""A traced model as layers: which equations are one operator of the house's, what they read, and their names.

Equations are gone through as they run. Functions that are known as a whole come first, then primitives; sums and
products wait until somebody reads them, so that a normalisation is one layer however it was written. What nobody
knows is listed, evaluated as it is, and the layers after it are judged on what it gave.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from conformance.models.jax_calls import (
    PRIMITIVES,
    Parameters,
    Running,
    average_pool,
    averaged,
    flattened,
    normalized,
)
from conformance.models.jax_graph import Constant, Equation, Graph, Operand, Value
from conformance.models.jax_sums import Sum, Sums, divided
from conformance.models.jax_templates import Match, Templates
from conformance.models.recording import Call, Names

# What may have a bias added behind it.
_BIASED: Final = ("dense", *(f"conv{rank}d{kind}" for rank in (1, 2, 3) for kind in ("", "_transpose")))
# They change no number, or only say where it stands.
_SILENT: Final = ("stop_gradient", "copy", "copy_p", "optimization_barrier")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Layer:
    """Equations that are one operator.

    Attributes:
        call: with values of the graph for operands.
        parameters: their names, by operand.
        equations: what leads from the operands to the output, in the order in which it runs.
        statistics: what becomes of running ones, by operand.
    """

    name: str
    native: str
    call: Call
    parameters: Mapping[str, str]
    equations: tuple[Equation, ...]
    output: Value
    statistics: Mapping[str, Operand] = field(default_factory=dict)


@dataclass(slots=True)
class Layers:
    """The layers of a graph, in the order in which they run, and what else there is, in words."""

    found: list[Layer] = field(default_factory=list)
    unrecognised: list[str] = field(default_factory=list)


def read_layers(
    templates: Templates,
    graph: Graph,
    names: Mapping[Value, str],
    inputs: Iterable[Value],
    statistics: Mapping[str, Operand],
    folder: Path,
) -> Layers:
    """The layers of a traced model.

    Args:
        templates: the functions that are known.
        graph: the model's.
        names: those of its parameters.
        inputs: what it is given beside them.
        statistics: what becomes of parameters in training, by name, among the graph's outputs.
        folder: whose files are the user's own.
    """
    return _Reading(templates, graph, names, inputs, statistics, folder).read()


class _Reading:
    def __init__(
        self,
        templates: Templates,
        graph: Graph,
        names: Mapping[Value, str],
        inputs: Iterable[Value],
        statistics: Mapping[str, Operand],
        folder: Path,
    ) -> None:
        self._graph = graph
        self._folder = folder
        self._statistics = {leaf: statistics[name] for leaf, name in names.items() if name in statistics}
        self._parameters = Parameters(graph, names)
        self._sums = Sums(graph)
        self._layers = Layers()
        self._names = Names()
        self._active = _depending(graph, inputs)
        self._places = {equation: place for place, equation in enumerate(graph.equations)}
        self._functions: dict[Equation, Match] = {}
        self._within: set[Equation] = set()
        self._told: set[Equation] = set()
        self._divided: list[Equation] = []
        for equation in reversed(graph.equations):
            if equation in self._within or not self._is_active(equation.output):
                continue
            if equation.name == "max" and not self._is_itself(equation.output):
                continue  # a variance that is held at 0 or above, and no ReLU
            match = templates.match(graph, equation)
            if match is not None:
                self._functions[equation] = match
                self._within |= set(match.equations) - {equation}

    def read(self) -> Layers:
        for equation in self._graph.equations:
            if equation in self._within or not any(map(self._is_active, equation.inputs)):
                continue
            if equation in self._functions:
                self._function(equation, self._functions[equation])
            elif self._sums.is_settled(equation.output) or self._is_itself(equation.output):
                self._primitive(equation)
            else:
                self._algebra(equation)
        for output in self._graph.outputs:
            if output not in self._statistics.values():
                self._settle(output)
        for equation in self._divided:
            if not any(equation in layer.equations for layer in self._layers.found):
                self._tell(equation)
        ordered = sorted(self._layers.found, key=lambda layer: self._places[layer.equations[-1]])
        self._layers.found = [replace(layer, name=self._named(layer)) for layer in ordered]
        return self._layers

    # Kinds of equations ---------------------------------------------------------------------------------------------

    def _function(self, equation: Equation, match: Match) -> None:
        self._settle(match.x)
        call = Call(operator=match.operator, operands={"x": match.x}, attributes=match.attributes)
        self._add(call, equation.output)

    def _primitive(self, equation: Equation) -> None:
        if self._is_sum_of_windows(equation):
            self._settle(equation.inputs[0])
            return
        reader = PRIMITIVES.get(equation.name)
        call = reader(self._parameters, equation) if reader is not None else None
        if call is None and equation.name == "reshape":
            call = flattened(self._graph, equation)
        for operand in call.operands.values() if call is not None else equation.inputs:
            self._settle(operand)
        if call is not None:
            self._add(call, equation.output)
        elif divided(self._graph, equation.output) is not None:
            self._divided.append(equation)  # into groups, perhaps of a norm
        elif not self._is_transposed_to_flatten(equation):
            self._tell(equation)

    def _algebra(self, equation: Equation) -> None:
        if len(equation.inputs) != 2:
            return
        a, b = equation.inputs
        pool = self._average(equation)
        if pool is not None:
            self._add(pool, equation.output)
        elif self._is_active(a) and self._is_active(b):
            if not self._sources(a) & self._sources(b):
                self._two(equation, a, b)
        elif equation.name == "add":
            self._bias(equation)

    def _two(self, equation: Equation, a: Operand, b: Operand) -> None:
        """What joins two tensors that have nothing in common."""
        self._settle(a)
        self._settle(b)
        operators = {"add": "add", "add_any": "add", "mul": "multiply"}
        operator = operators.get(equation.name)
        if operator is None or a.shape != b.shape or not isinstance(a, Value) or not isinstance(b, Value):
            self._tell(equation)
            self._sums.settle(equation.output)
            return
        self._add(Call(operator=operator, operands={"x": a, "y": b}), equation.output)

    def _bias(self, equation: Equation) -> None:
        """A vector added to what a convolution or a matrix gave, and nobody else reads, is its bias."""
        for given, added in (equation.inputs, equation.inputs[::-1]):
            layer = next((one for one in self._layers.found if one.output is given), None)
            if layer is None or layer.call.operator not in _BIASED or "b" in layer.call.operands:
                continue
            vector = self._parameters.vector(added, equation.output.shape[-1])
            if vector is None or not self._graph.read_once(layer.output) or given.shape != equation.output.shape:
                continue
            b, moves = vector
            call = replace(
                layer.call, operands={**layer.call.operands, "b": b}, moves={**layer.call.moves, "b": moves}
            )
            self._layers.found.remove(layer)
            self._add(call, equation.output)
            return

    def _average(self, equation: Equation) -> Call | None:
        """Sums of windows by how many there are."""
        for given, divisor in (equation.inputs, equation.inputs[::-1]):
            sums = self._graph.giver.get(given) if isinstance(given, Value) else None
            if sums is None or sums.name != "reduce_window_sum" or not isinstance(divisor, Constant):
                continue
            if equation.name == "mul" or (equation.name == "div" and given is equation.inputs[0]):
                return average_pool(sums, divisor, inverse=equation.name == "mul")
        return None

    # What waits -----------------------------------------------------------------------------------------------------

    def _settle(self, operand: Operand) -> None:
        """Makes of a sum that somebody reads the layers that it is."""
        if not isinstance(operand, Value) or not self._is_active(operand) or self._sums.is_settled(operand):
            return
        while not self._sums.is_settled(operand):
            call = self._form(operand)
            if call is not None:
                self._add(call, operand)
                return
            if self._is_itself(operand) or self._is_renamed(operand):
                self._sums.settle(operand)
                return
            within = self._last_form(operand)
            if within is None:
                self._tell(self._graph.giver[operand])
                self._sums.settle(operand)
                return
            self._add(*within)

    def _form(self, value: Value) -> Call | None:
        found = self._sums.of(value)
        return self._normalized(found, value) or averaged(found, value)

    def _normalized(self, found: Sum, value: Value) -> Call | None:
        running = [Running(leaf, self._sums.of(after)) for leaf, after in self._statistics.items()]
        return normalized(self._parameters, found, value, running)

    def _last_form(self, value: Value) -> tuple[Call, Value] | None:
        """The last normalisation on the way to a value that is none as a whole."""
        for equation in reversed(self._cone(value, self._sums.is_settled)[:-1]):
            call = self._normalized(self._sums.of(equation.output), equation.output)
            if call is not None:
                return call, equation.output
        return None

    def _is_itself(self, value: Value) -> bool:
        """Whether an equation is no sum of others."""
        return self._sums.values(self._sums.of(value)) == {value}

    def _is_renamed(self, value: Value) -> bool:
        """Whether a value has another's numbers, where they stand elsewhere."""
        found = self._sums.of(value)
        return len(found.terms) == 1 and all(
            coefficient == 1 and len(product) == 1 and all(isinstance(f.base, Value) and p == 1 for f, p in product)
            for product, coefficient in found.terms
        )

    # Bookkeeping ----------------------------------------------------------------------------------------------------

    def _is_active(self, operand: Operand) -> bool:
        return isinstance(operand, Value) and operand in self._active

    def _sources(self, operand: Operand) -> frozenset[Value]:
        return frozenset(value for value in self._sums.values(self._sums.of(operand)) if value in self._active)

    def _is_sum_of_windows(self, equation: Equation) -> bool:
        readers = self._graph.readers.get(equation.output, ())
        return equation.name == "reduce_window_sum" and len(readers) == 1 and self._average(readers[0]) is not None

    def _is_transposed_to_flatten(self, equation: Equation) -> bool:
        readers = self._graph.readers.get(equation.output, ())
        alone = len(readers) == 1 and readers[0].name == "reshape"
        return equation.name == "transpose" and alone and flattened(self._graph, readers[0]) is not None

    def _cone(self, value: Value, stops: Any) -> list[Equation]:
        """The equations that lead to a value, those behind what stops left out; as they run."""
        found: set[Equation] = set()
        left: list[Operand] = [value]
        while left:
            at = left.pop()
            equation = self._graph.giver.get(at) if isinstance(at, Value) else None
            if equation is None or equation in found or (at is not value and stops(at)):
                continue
            found.add(equation)
            left += equation.inputs
        return sorted(found, key=self._places.__getitem__)

    def _add(self, call: Call, output: Value) -> None:
        parameters = {
            operand: self._parameters.names[value]
            for operand, value in call.operands.items()
            if value in self._parameters.names
        }
        stops = set(call.operands.values())
        equations = tuple(self._cone(output, stops.__contains__))
        first = next((one for one in equations if one.name in PRIMITIVES), equations[-1])
        where, line = first.line(self._folder)
        self._layers.found.append(
            Layer(
                name="",
                native=f"{line} ({where})" if line else first.name,
                call=call,
                parameters=parameters,
                equations=equations,
                output=output,
                statistics={
                    operand: self._statistics[value]
                    for operand, value in call.operands.items()
                    if call.operator == "batch_norm_training" and value in self._statistics
                },
            )
        )
        self._sums.settle(output)

    def _named(self, layer: Layer) -> str:
        """The branch that keeps a layer's parameters, or the leaf if it keeps others; else where it stands."""
        if layer.parameters:
            leaf = next(iter(layer.parameters.values()))
            branch = leaf.rpartition(".")[0]
            kept = {name for name in self._parameters.names.values() if name.rpartition(".")[0] == branch}
            return self._names.next(branch if branch and kept <= set(layer.parameters.values()) else leaf)
        scope = ".".join(part for part in layer.equations[-1].scope.split("/") if part.isidentifier())
        return self._names.next(f"{scope}.{layer.call.operator}".lstrip("."))

    def _tell(self, equation: Equation) -> None:
        if equation in self._told or equation.name in _SILENT:
            return
        self._told.add(equation)
        where, line = equation.line(self._folder)
        shape = equation.inputs[0].shape if equation.inputs else ()
        self._layers.unrecognised.append(f"{equation.name} of {shape}" + (f": {line} ({where})" if line else ""))


def _depending(graph: Graph, inputs: Iterable[Value]) -> frozenset[Value]:
    """The values that depend on a model's inputs, and not on its parameters alone."""
    found: set[Operand] = set(inputs)
    for equation in graph.equations:
        if any(operand in found for operand in equation.inputs):
            found |= set(equation.outputs)
    return frozenset(value for value in found if isinstance(value, Value))
