"""Honest sums in every order: what a format's arithmetic may make of the terms of one element.

Two ways to add: exactly emulated, every product, quotient and sum rounded by our own rounding of fractions, with and
without fused multiply-add, in orders that do the most harm; and NumPy's float32, many elements at a time, in shuffled
orders. Both are honest, so that nothing that they give may ever be called wrong.
"""

from collections.abc import Callable, Sequence
from fractions import Fraction
from itertools import chain, zip_longest
from math import prod
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from conformance.formats import Float64, Format
from conformance.verdict.rational import ONE, ZERO, Sums, Term

Order = Callable[[Sequence[Term]], Sequence[Term]]


def rounded(number: Fraction, format_: Format) -> Fraction:
    """The nearest number of a format, ties to even, subnormal numbers kept; no overflow is looked for."""
    numerator, denominator = abs(number.numerator), number.denominator
    if not numerator:
        return number
    exponent = numerator.bit_length() - denominator.bit_length()
    if numerator << max(-exponent, 0) < denominator << max(exponent, 0):
        exponent -= 1
    # The number in units of the last place that the format has there.
    up = format_.precision - 1 - max(exponent, format_.exponent_min)
    unit = denominator << max(-up, 0)
    whole, rest = divmod(numerator << max(up, 0), unit)
    whole += 2 * rest > unit or (2 * rest == unit and whole % 2 == 1)
    size = Fraction(whole << max(-up, 0), 1 << max(up, 0))
    return size if number > 0 else -size


def _ascending(terms: Sequence[Term]) -> Sequence[Term]:
    return sorted(terms, key=lambda term: abs(term.value))


def _descending(terms: Sequence[Term]) -> Sequence[Term]:
    return _ascending(terms)[::-1]


def _alternating(terms: Sequence[Term]) -> Sequence[Term]:
    """The largest positive term, the largest negative one, and so on: what cancels, cancels early."""
    ordered = _descending(terms)
    above, below = ([term for term in ordered if (term.value > 0) is sign] for sign in (True, False))
    return [term for term in chain.from_iterable(zip_longest(above, below)) if term is not None]


def _shuffled(terms: Sequence[Term]) -> Sequence[Term]:
    order = np.random.Generator(np.random.Philox(key=len(terms))).permutation(len(terms))
    return [terms[place] for place in order]


ORDERS: Final[dict[str, Order]] = {
    "as defined": list,
    "ascending": _ascending,
    "descending": _descending,
    "alternating": _alternating,
    "shuffled": _shuffled,
}
"""One after the other, in these orders; pairwise sums are a way of their own."""


def adversarial(terms: Sequence[Term], format_: Format) -> dict[str, Fraction]:
    """What the arithmetic of a format gives for one element, by order and way of adding."""
    found = {}
    for name, order in ORDERS.items():
        ordered = order(terms)
        found[name] = _in_turn(ordered, format_, fused=False)
        found[f"{name}, fused"] = _in_turn(ordered, format_, fused=True)
    found["pairwise"] = _pairwise([_multiplied(term, format_) for term in terms], format_)
    divisors = {term.divisor for term in terms}
    if len(divisors) == 1 and (divisor := divisors.pop()) != 1:
        total = _in_turn([Term(term.factors) for term in terms], format_, fused=False)
        found["divided once"] = rounded(total / rounded(divisor, format_), format_)
        reciprocal = rounded(1 / rounded(divisor, format_), format_)
        found["times the reciprocal"] = rounded(total * reciprocal, format_)
    return found


def _multiplied(term: Term, format_: Format) -> Fraction:
    """A term, rounded at every step; what is no number of the format (an attribute) is rounded before."""
    value = ONE
    for factor in term.factors:
        value = rounded(value * rounded(factor, format_), format_)
    return value if term.divisor == 1 else rounded(value / rounded(term.divisor, format_), format_)


def _in_turn(terms: Sequence[Term], format_: Format, *, fused: bool) -> Fraction:
    total = ZERO
    for term in terms:
        if fused and len(term.factors) > 1 and term.divisor == 1:
            before = _multiplied(Term(term.factors[:-1]), format_)
            total = rounded(total + before * rounded(term.factors[-1], format_), format_)
        else:
            total = rounded(total + _multiplied(term, format_), format_)
    return total


def _pairwise(values: Sequence[Fraction], format_: Format) -> Fraction:
    if len(values) <= 1:
        return values[0] if values else ZERO
    middle = len(values) // 2
    return rounded(_pairwise(values[:middle], format_) + _pairwise(values[middle:], format_), format_)


def roundings(term: Term, format_: Format) -> int:
    """How many roundings a term has behind it before it is added: of products, of a quotient, of attributes."""
    inexact = sum(rounded(number, format_) != number for number in (*term.factors, term.divisor))
    return len(term.factors) - 1 + (term.divisor != 1) + inexact


def chains(terms: Sequence[Term], format_: Format) -> tuple[Fraction, int, Fraction]:
    """The sum of |terms|, the longest chain of roundings, and the sum of every |term| times its own chain.

    Every term that is not zero may pass through all the additions; adding zero rounds nothing.
    """
    present = [term for term in terms if prod(term.factors, start=ONE)]
    additions = max(len(present) - 1, 0)
    lengths = [roundings(term, format_) + additions for term in present]
    sizes = [abs(term.value) for term in present]
    weighted = sum((n * size for n, size in zip(lengths, sizes, strict=True)), ZERO)
    return sum(sizes, ZERO), max(lengths, default=0), weighted


class Shuffled:
    """The terms of an array as NumPy arrays, to be added in float32 in one shuffled order after the other."""

    def __init__(self, sums: Sums) -> None:
        rows = list(sums.terms.values())
        width = max((len(row) for row in rows), default=0)
        depth = max((len(term.factors) for row in rows for term in row), default=1)
        self._shape = sums.shape
        factors = np.zeros((len(rows), width, depth))
        divisors = np.ones((len(rows), width))
        for place, row in enumerate(rows):
            for number, term in enumerate(row):
                factors[place, number] = [float(f) for f in term.factors] + [1.0] * (depth - len(term.factors))
                divisors[place, number] = float(term.divisor)
        small: NDArray[np.float32] = factors.astype(np.float32)
        product = np.ones((len(rows), width), np.float32)
        for step in range(depth):
            product = product * small[..., step]
        self._products = product / divisors.astype(np.float32)

    def add(self, generator: np.random.Generator) -> Float64:
        """One honest float32 answer: the products of every element, added one by one in an order of its own."""
        order = generator.random(self._products.shape).argsort(axis=1)
        ordered = np.take_along_axis(self._products, order, axis=1)
        total: Any = np.zeros(len(ordered), np.float32)
        for column in ordered.T:
            total = total + column
        return np.asarray(total, np.float64).reshape(self._shape)
