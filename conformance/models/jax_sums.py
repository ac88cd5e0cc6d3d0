"""What equations of sums and products compute, expanded: the same expression however it was written.

A normalisation is (x - m) r s + o, or x (r s) + (o - m r s), by a square root or by its reciprocal, with a variance
by two passes or by one. Multiplied out, all of them are x r s - m r s + o. A tensor is a sum of products with
coefficients; a product's factors are tensors, means of products, and powers of sums, each with the axes of the tensor
along which it varies.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from conformance.models.jax_graph import Constant, Equation, Graph, Operand, Value

# Where an axis has one element, nothing varies along it.
NOWHERE: Final = -1
# Literals are float32: a count and its reciprocal, or a sum and what cancels it, agree to a few of its units.
_CLOSE: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Factor:
    """A tensor, a mean or a sum, and for each of its axes the one of the whole along which it varies."""

    base: "Value | Constant | Mean | Sum"
    places: tuple[int, ...]


# Factors and their powers.
Product = frozenset[tuple[Factor, float]]
ONE: Final[Product] = frozenset()


@dataclass(frozen=True, slots=True)
class Mean:
    """The mean of a product over some of its axes."""

    axes: tuple[int, ...]
    of: Product


@dataclass(frozen=True, slots=True)
class Sum:
    """Products and their coefficients."""

    terms: frozenset[tuple[Product, float]]

    @classmethod
    def of(cls, terms: Iterable[tuple[Product, float]]) -> "Sum":
        """A sum, of which what cancels is gone."""
        found: dict[Product, float] = {}
        for product, coefficient in terms:
            before = found.pop(product, 0.0)
            if abs(before + coefficient) > _CLOSE * max(abs(before), abs(coefficient)):
                found[product] = before + coefficient
        return cls(frozenset(found.items()))

    def __add__(self, other: "Sum") -> "Sum":
        return Sum.of((*self.terms, *other.terms))

    def __mul__(self, other: "Sum") -> "Sum":
        return Sum.of((_times(a, b), x * y) for a, x in self.terms for b, y in other.terms)

    def power(self, exponent: float, shape: tuple[int, ...]) -> "Sum":
        """The sum, of which there is a tensor of this shape, to a power."""
        if exponent == 2:
            return self * self
        if len(self.terms) == 1:
            ((product, coefficient),) = self.terms
            if coefficient == 1 or exponent == -1:
                powers = frozenset((factor, power * exponent) for factor, power in product)
                return Sum.of([(powers, coefficient**exponent)])
        return Sum.of([(frozenset({(Factor(self, own_places(shape)), exponent)}), 1.0)])

    def placed(self, places: Mapping[int, int]) -> "Sum":
        """The sum in a tensor whose axes are others."""
        return Sum.of((_placed(product, places), coefficient) for product, coefficient in self.terms)

    def mean(self, axes: tuple[int, ...]) -> "Sum":
        """The mean over axes, which stay, with one element each."""
        return Sum.of((_mean(product, axes), coefficient) for product, coefficient in self.terms)


def close(a: float, b: float) -> bool:
    """Whether two coefficients are the same, but for the rounding of literals."""
    return math.isclose(a, b, rel_tol=_CLOSE)


def own_places(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Where a tensor's axes are in itself."""
    return tuple(axis if size > 1 else NOWHERE for axis, size in enumerate(shape))


def through(inner: tuple[int, ...], outer: tuple[int, ...]) -> tuple[int, ...]:
    """Places in a base that has places itself."""
    return tuple(outer[place] if place != NOWHERE else NOWHERE for place in inner)


def _times(a: Product, b: Product) -> Product:
    powers = dict(a)
    for factor, power in b:
        powers[factor] = powers.get(factor, 0.0) + power
    return frozenset((factor, power) for factor, power in powers.items() if power)


def _placed(product: Product, places: Mapping[int, int]) -> Product:
    return frozenset(
        (Factor(factor.base, tuple(places.get(place, NOWHERE) for place in factor.places)), power)
        for factor, power in product
    )


def _mean(product: Product, axes: tuple[int, ...]) -> Product:
    inside = frozenset((factor, power) for factor, power in product if set(factor.places) & set(axes))
    if not inside:
        return product
    rank = max(max(factor.places, default=NOWHERE) for factor, _ in inside) + 1
    kept = {place for factor, _ in inside for place in factor.places} - set(axes)
    places = tuple(place if place in kept else NOWHERE for place in range(rank))
    return _times(product - inside, frozenset({(Factor(Mean(tuple(sorted(axes)), inside), places), 1.0)}))


def divided(graph: Graph, value: Value) -> Value | None:
    """The tensor that a value is, its last axis apart in two: groups, and what is in each."""
    equation = graph.giver.get(value)
    if equation is None or equation.name != "reshape":
        return None
    whole, parts = equation.inputs[0], equation.output.shape
    fits = parts[:-2] == whole.shape[:-1] and len(parts) == len(whole.shape) + 1
    return whole if isinstance(whole, Value) and fits else None


class Sums:
    """What the values of a graph are as sums of what is settled: inputs, parameters, and what layers give."""

    def __init__(self, graph: Graph) -> None:
        self._graph = graph
        self._known: dict[Value, Sum] = {}
        self._settled: set[Value] = set()

    def settle(self, value: Value) -> None:
        """From now on a value is nothing but itself."""
        self._settled.add(value)
        self._known.clear()

    def is_settled(self, operand: Operand) -> bool:
        """Whether a value is nothing but itself."""
        return not isinstance(operand, Value) or operand in self._settled or self._equation(operand) is None

    def of(self, operand: Operand) -> Sum:
        """An operand, expanded."""
        if isinstance(operand, Constant):
            number = operand.number
            return Sum.of([(ONE, number)]) if number is not None else _itself(operand)
        if operand not in self._known:
            equation = self._equation(operand)
            found = _READERS[equation.name](self, equation) if equation is not None else None
            self._known[operand] = found if found is not None else _itself(operand)
        return self._known[operand]

    def undivided(self, value: Value) -> Value | None:
        """The tensor that a value is with its channels in groups, an axis more; none of anything else."""
        return divided(self._graph, value)

    def _equation(self, value: Value) -> Equation | None:
        """What computes a value, where that is a sum or a product."""
        equation = self._graph.giver.get(value)
        return equation if equation is not None and value not in self._settled and equation.name in _READERS else None

    def values(self, found: Sum) -> frozenset[Value]:
        """The tensors that a sum is made of."""
        return frozenset(value for product, _ in found.terms for factor, _ in product for value in _values(factor))


def _values(factor: Factor) -> Iterable[Value]:
    match factor.base:
        case Value():
            yield factor.base
        case Mean(of=product):
            yield from (value for inner, _ in product for value in _values(inner))
        case Sum(terms=terms):
            yield from (value for product, _ in terms for inner, _ in product for value in _values(inner))


def _itself(operand: Operand) -> Sum:
    return Sum.of([(frozenset({(Factor(operand, own_places(operand.shape)), 1.0)}), 1.0)])


Reader = Callable[[Sums, Equation], Sum | None]


def _add(sums: Sums, equation: Equation) -> Sum:
    a, b = map(sums.of, equation.inputs)
    return a + b


def _sub(sums: Sums, equation: Equation) -> Sum:
    a, b = map(sums.of, equation.inputs)
    return a + b * Sum.of([(ONE, -1.0)])


def _neg(sums: Sums, equation: Equation) -> Sum:
    return sums.of(equation.inputs[0]) * Sum.of([(ONE, -1.0)])


def _mul(sums: Sums, equation: Equation) -> Sum:
    a, b = map(sums.of, equation.inputs)
    return a * b


def _div(sums: Sums, equation: Equation) -> Sum:
    a, b = map(sums.of, equation.inputs)
    return a * b.power(-1.0, equation.inputs[1].shape)


def _to_the(exponent: float) -> Reader:
    return lambda sums, equation: sums.of(equation.inputs[0]).power(exponent, equation.inputs[0].shape)


def _integer_pow(sums: Sums, equation: Equation) -> Sum:
    return sums.of(equation.inputs[0]).power(float(equation.params["y"]), equation.inputs[0].shape)


def _broadcast(sums: Sums, equation: Equation) -> Sum:
    return sums.of(equation.inputs[0]).placed(dict(enumerate(equation.params["broadcast_dimensions"])))


def _reshape(sums: Sums, equation: Equation) -> Sum | None:
    before, after = (
        [(axis, n) for axis, n in enumerate(value.shape) if n != 1] for value in (equation.inputs[0], equation.output)
    )
    if [n for _, n in before] != [n for _, n in after]:
        return _merged(sums, equation)
    return sums.of(equation.inputs[0]).placed({old: new for (old, _), (new, _) in zip(before, after, strict=True)})


def _merged(sums: Sums, equation: Equation) -> Sum | None:
    """A sum whose last two axes, groups and what is in each, become the channels that they were."""
    given, output = equation.inputs[0], equation.output
    if given.shape[:-2] != output.shape[:-1]:
        return None
    groups = len(output.shape) - 1
    terms = []
    for product, coefficient in sums.of(given).terms:
        factors = []
        for factor, power in product:
            base = factor.base
            whole = sums.undivided(base) if isinstance(base, Value) else None
            if isinstance(base, Value) and whole is not None and factor.places == own_places(base.shape):
                factor = Factor(whole, own_places(whole.shape))
            elif groups + 1 in factor.places or (isinstance(base, Value) and groups in factor.places):
                return None
            factors.append((factor, power))
        terms.append((frozenset(factors), coefficient))
    return Sum.of(terms)


def _reduce_sum(sums: Sums, equation: Equation) -> Sum:
    (x,) = equation.inputs
    axes = tuple(equation.params["axes"])
    count = math.prod(x.shape[axis] for axis in axes)
    kept = [axis for axis in range(len(x.shape)) if axis not in axes]
    mean = sums.of(x).mean(tuple(axis for axis in axes if x.shape[axis] > 1))
    return mean.placed({axis: place for place, axis in enumerate(kept)}) * Sum.of([(ONE, float(count))])


def _same(sums: Sums, equation: Equation) -> Sum | None:
    alike = isinstance(equation.inputs[0], Value) and equation.inputs[0].dtype == equation.output.dtype
    return sums.of(equation.inputs[0]) if alike else None


def _chosen(sums: Sums, equation: Equation) -> Sum | None:
    which, *cases = equation.inputs
    number = which.number if isinstance(which, Constant) else None
    return sums.of(cases[int(number)]) if number is not None else None


def _at_least(sums: Sums, equation: Equation) -> Sum | None:
    """A variance by one pass, held at 0 or above."""
    for value, least in (equation.inputs, equation.inputs[::-1]):
        if isinstance(value, Value) and isinstance(least, Constant) and least.number == 0:
            found = sums.of(value)
            return found if deviating(found) is not None else None
    return None


def deviating(found: Sum) -> tuple[Factor, tuple[int, ...]] | None:
    """What a sum is the variance of, and over which axes: the mean of its square less the square of its mean."""
    squared = [
        (factor, inner)
        for product, coefficient in found.terms
        if len(product) == 1 and close(coefficient, 1)
        for factor, power in product
        if power == 1 and isinstance(factor.base, Mean) and len(factor.base.of) == 1
        for inner, degree in factor.base.of
        if degree == 2
    ]
    if len(found.terms) != 2 or len(squared) != 1:
        return None
    ((factor, inner),) = squared
    axes = factor.base.axes if isinstance(factor.base, Mean) else ()
    mean = Factor(Mean(axes, frozenset({(inner, 1.0)})), factor.places)
    taken = dict(found.terms).get(frozenset({(mean, 2.0)}))
    return (inner, axes) if taken is not None and close(taken, -1) else None


_READERS: Final[Mapping[str, Reader]] = {
    **dict.fromkeys(("add", "add_any"), _add),
    "sub": _sub,
    "neg": _neg,
    "mul": _mul,
    "div": _div,
    "sqrt": _to_the(0.5),
    "rsqrt": _to_the(-0.5),
    "square": _to_the(2.0),
    "integer_pow": _integer_pow,
    "broadcast_in_dim": _broadcast,
    **dict.fromkeys(("reshape", "squeeze", "expand_dims"), _reshape),
    "reduce_sum": _reduce_sum,
    **dict.fromkeys(("convert_element_type", "copy", "copy_p"), _same),
    "select_n": _chosen,
    "max": _at_least,
}
