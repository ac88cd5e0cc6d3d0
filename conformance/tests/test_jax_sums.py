"""Sums multiplied out, without JAX: expressions of equations that are one, however they were written."""

from collections.abc import Sequence
from typing import Any

import pytest

from conformance.models.jax_graph import Constant, Equation, Graph, Operand, Value
from conformance.models.jax_sums import Factor, Sum, Sums, deviating

X = Value(shape=(2, 5, 4), dtype="float32")
G = Value(shape=(4,), dtype="float32")


class Tape:
    """Equations as somebody writes them down."""

    def __init__(self) -> None:
        self.equations: list[Equation] = []

    def do(self, name: str, *inputs: Operand | float, shape: Sequence[int] | None = None, **params: Any) -> Value:
        given = tuple(one if isinstance(one, (Value, Constant)) else Constant(one) for one in inputs)
        output = Value(shape=tuple(given[0].shape if shape is None else shape), dtype="float32")
        self.equations.append(Equation(name=name, params=params, inputs=given, outputs=(output,), eqn=None))
        return output

    def mean(self, x: Value, axis: int) -> Value:
        kept = [n for place, n in enumerate(x.shape) if place != axis]
        total = self.do("reduce_sum", x, shape=kept, axes=(axis,))
        mean = self.do("div", total, float(x.shape[axis]))
        spread = [n if place != axis else 1 for place, n in enumerate(x.shape)]
        places = tuple(place for place in range(len(x.shape)) if place != axis)
        return self.do("broadcast_in_dim", mean, shape=spread, broadcast_dimensions=places)

    def sums(self, *outputs: Value) -> tuple[Sum, ...]:
        sums = Sums(Graph(inputs=(X, G), outputs=outputs, equations=tuple(self.equations)))
        return tuple(map(sums.of, outputs))


@pytest.mark.parametrize("axis", [1, 2])
def test_a_variance_by_one_pass_is_one_by_two(axis: int) -> None:
    tape = Tape()
    mean = tape.mean(X, axis)
    two = tape.mean(tape.do("square", tape.do("sub", X, mean)), axis)
    one = tape.do("sub", tape.mean(tape.do("mul", X, X), axis), tape.do("integer_pow", mean, y=2))
    held = tape.do("max", 0.0, one, shape=one.shape)
    first, second, third = tape.sums(two, one, held)
    assert first == second == third
    found = deviating(first)
    assert found is not None
    assert (found[0].base, found[1]) == (X, (axis,))


@pytest.mark.parametrize(("axis", "stays"), [(3, True), (2, False)])
def test_groups_that_are_put_together_are_the_channels_they_were(axis: int, stays: bool) -> None:
    tape = Tape()
    apart = tape.do("reshape", X, shape=(2, 5, 2, 2))
    mean = tape.mean(apart, axis)
    centred = tape.do("sub", apart, mean)
    whole = tape.do("reshape", centred, shape=X.shape)
    found, own = tape.sums(whole, X)
    if stays:  # a mean of each group: it varies along groups alone
        assert set(own.terms) <= set(found.terms)
        assert len(found.terms) == 2
    else:  # a mean over the groups varies within them, which no place of the channels says
        assert found.terms == frozenset({(frozenset({(Factor(whole, (0, 1, 2)), 1.0)}), 1.0)})


def test_what_is_no_variance_is_none() -> None:
    tape = Tape()
    mean = tape.mean(X, 2)
    doubled = tape.do(
        "sub", tape.mean(tape.do("mul", X, X), 2), tape.do("mul", 2.0, tape.do("square", mean), shape=mean.shape)
    )
    other = tape.do("sub", tape.mean(tape.do("mul", X, X), 2), tape.do("square", tape.mean(X, 1)))
    assert [deviating(found) for found in tape.sums(doubled, other)] == [None, None]


def test_the_order_of_a_gain_does_not_matter() -> None:
    tape = Tape()
    root = tape.do("rsqrt", tape.do("add", G, 1e-3))
    spread = tape.do("broadcast_in_dim", root, shape=(1, 1, 4), broadcast_dimensions=(2,))
    mean = tape.do("broadcast_in_dim", G, shape=(1, 1, 4), broadcast_dimensions=(2,))
    before = tape.do("mul", tape.do("sub", X, mean), spread)
    after = tape.do("sub", tape.do("mul", X, spread), tape.do("mul", mean, spread))
    below = tape.do("div", tape.do("sub", X, mean), tape.do("sqrt", tape.do("add", G, 1e-3)))
    one, two, three = tape.sums(before, after, below)
    assert one == two
    assert len(one.terms) == 2
    assert one != three  # its root stands along the first axes, as nobody brought it to the last


def test_what_cancels_is_gone_and_what_does_not_stays() -> None:
    tape = Tape()
    nothing = tape.do("sub", tape.do("add", X, X), tape.do("mul", X, 2.0))
    little = tape.do("sub", X, tape.do("mul", X, 0.999))
    gone, left = tape.sums(nothing, little)
    assert gone.terms == frozenset()
    assert len(left.terms) == 1
