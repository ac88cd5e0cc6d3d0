"""JAX's own functions known again in a traced model: the equations are those that the function itself gives.

A function is traced on tensors of the same shape and compared equation by equation, backwards from its last one, so
what is called `gelu` and does something else is nobody's, and what does the same under another name is known.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final

import numpy as np

from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax
from conformance.models.jax_graph import Constant, Equation, Graph, Operand, Value, traced
from conformance.models.jax_sums import close

# Stand for any number where a function is traced: exact in every format, and nobody's literals.
_ANY: Final = (0.37109375, 0.62890625)
_COMMUTE: Final = ("add", "mul", "max", "min")


@dataclass(frozen=True, slots=True)
class Template:
    """A function of x, its equations, and what the house calls it, given the numbers that it was called with."""

    operator: str
    attributes: Callable[[Sequence[float]], Any]
    graph: Graph

    @property
    def last(self) -> Equation:
        """The equation that gives what the function gives."""
        return self.graph.equations[-1]


@dataclass(slots=True)
class Match:
    """A function that was found: what it is given, and the equations that it is."""

    operator: str
    attributes: Any
    x: Value
    equations: tuple[Equation, ...]


class Templates:
    """The functions that are known, traced once for every shape."""

    def __init__(self, jax: Any) -> None:
        self._jax = jax
        self._known: dict[tuple[tuple[int, ...], str], tuple[Template, ...]] = {}
        # Tracing takes longer than anything else here, and few equations are the last one of a function.
        self._last = {template.last.name for template in self._of((2, 3), "float32")}

    def match(self, graph: Graph, equation: Equation) -> Match | None:
        """The largest function whose last equation this is."""
        if equation.name not in self._last:
            return None
        templates = self._of(equation.output.shape, equation.output.dtype)
        found = (self._matched(graph, equation, template) for template in templates)
        return max((match for match in found if match), key=lambda match: len(match.equations), default=None)

    def _of(self, shape: tuple[int, ...], dtype: str) -> tuple[Template, ...]:
        if (shape, dtype) not in self._known:
            self._known[shape, dtype] = tuple(self._traced(shape, dtype))
        return self._known[shape, dtype]

    def _traced(self, shape: tuple[int, ...], dtype: str) -> Iterator[Template]:
        x = self._jax.ShapeDtypeStruct(shape, dtype)
        if not np.issubdtype(dtype, np.floating):
            return
        for operator, attributes, function in _functions(self._jax, len(shape)):
            yield Template(operator=operator, attributes=attributes, graph=traced(self._jax, function, x))

    def _matched(self, graph: Graph, equation: Equation, template: Template) -> Match | None:
        (x,) = template.graph.inputs
        comparison = _Comparison(graph, template.graph)
        found = comparison.of(equation.output, template.last.output, _Bound())
        if found is None or x not in found.values:
            return None
        given = found.values[x]
        equations = tuple(one for one in graph.equations if one in found.equations)
        if not isinstance(given, Value) or given.shape != equation.output.shape:
            return None
        numbers = [found.numbers[any_] for any_ in _ANY if any_ in found.numbers]
        return Match(template.operator, template.attributes(numbers), given, equations)


@dataclass(frozen=True, slots=True)
class _Bound:
    """What stands for what, so far."""

    values: Mapping[Value, Operand] = field(default_factory=dict)
    numbers: Mapping[float, float] = field(default_factory=dict)
    equations: frozenset[Equation] = frozenset()


class _Comparison:
    """Compares a value of a graph with one of a template."""

    def __init__(self, graph: Graph, template: Graph) -> None:
        self._graph = graph
        self._template = template

    def of(self, operand: Operand, model: Operand, bound: _Bound) -> _Bound | None:
        """What stands for what if they are the same, else none."""
        if isinstance(model, Constant):
            return _number(operand, model, bound)
        if model in bound.values:
            return bound if bound.values[model] is operand else None
        values = {**bound.values, model: operand}
        if model in self._template.inputs:
            return _Bound(values, bound.numbers, bound.equations)
        mine, theirs = (
            self._graph.giver.get(operand) if isinstance(operand, Value) else None,
            self._template.giver[model],
        )
        if mine is None or mine.name != theirs.name or not _alike(mine.params, theirs.params):
            return None
        for inputs in (mine.inputs, mine.inputs[::-1])[: 2 if mine.name in _COMMUTE else 1]:
            found: _Bound | None = _Bound(values, bound.numbers, bound.equations | {mine})
            for one, other in zip(inputs, theirs.inputs, strict=True):
                found = self.of(one, other, found) if found is not None else None
            if found is not None:
                return found
        return None


def _number(operand: Operand, model: Constant, bound: _Bound) -> _Bound | None:
    if not isinstance(operand, Constant):
        return None
    given, wanted = operand.number, model.number
    if given is None or wanted is None:
        return bound if np.array_equal(operand.value, model.value) else None
    if wanted in _ANY:
        return _Bound(bound.values, {**bound.numbers, wanted: float(str(np.float32(given)))}, bound.equations)
    same = given == wanted or close(given, wanted) or (np.isnan(given) and np.isnan(wanted))
    return bound if same else None


def _alike(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Whether two equations have the same parameters; functions that say how to differentiate have no equality."""
    return mine.keys() == theirs.keys() and all(
        callable(value) or (str(value) == str(theirs[name]) if "jaxpr" in name else value == theirs[name])
        for name, value in mine.items()
    )


def _none(_: Sequence[float]) -> NoAttributes:
    return NoAttributes()


Known = tuple[str, Callable[[Sequence[float]], Any], Callable[[Any], Any]]


def _functions(jax: Any, rank: int) -> Iterator[Known]:
    """The house's operator, what its attributes are, and the function; a function may be written in several ways."""
    nn, jnp = jax.nn, jax.numpy
    for name in ("relu", "relu6", "sigmoid", "silu", "selu", "mish", "softplus", "log_sigmoid", "hard_sigmoid"):
        yield name, _none, getattr(nn, name)
    yield "relu", _none, lambda x: jnp.maximum(x, 0)
    yield "relu", _none, lambda x: jnp.where(x > 0, x, 0)
    yield "tanh", _none, jnp.tanh
    yield "sigmoid", _none, lambda x: 1 / (1 + jnp.exp(-x))
    yield "softsign", _none, nn.soft_sign
    yield "hard_swish", _none, nn.hard_swish
    yield "softplus", _none, lambda x: jnp.log1p(jnp.exp(x))
    for approximate in (True, False):
        attributes = Gelu(approximate="tanh" if approximate else "none")
        yield "gelu", _always(attributes), partial(nn.gelu, approximate=approximate)
    yield "leaky_relu", lambda numbers: LeakyRelu(slope=numbers[0]), lambda x: nn.leaky_relu(x, _ANY[0])
    yield (
        "leaky_relu",
        lambda numbers: LeakyRelu(slope=numbers[0]),
        lambda x: jnp.where(x > 0, x, _ANY[0] * x),
    )
    yield "elu", lambda numbers: Elu(alpha=numbers[0]), lambda x: nn.elu(x, _ANY[0])
    yield "elu", _always(Elu()), nn.elu
    yield "hard_tanh", _always(HardTanh()), nn.hard_tanh
    yield "hard_tanh", lambda numbers: HardTanh(low=numbers[0], high=numbers[1]), lambda x: jnp.clip(x, *_ANY)
    for axis in range(rank):
        attributes_of = _always(Softmax(axis=axis))
        yield "softmax", attributes_of, partial(nn.softmax, axis=axis)
        yield "log_softmax", attributes_of, partial(nn.log_softmax, axis=axis)
        yield "softmax", attributes_of, partial(_softmax, jnp, axis)


def _always(attributes: Any) -> Callable[[Sequence[float]], Any]:
    return lambda _: attributes


def _softmax(jnp: Any, axis: int, x: Any) -> Any:
    """As one writes it by hand."""
    powers = jnp.exp(x - jnp.max(x, axis=axis, keepdims=True))
    return powers / jnp.sum(powers, axis=axis, keepdims=True)
