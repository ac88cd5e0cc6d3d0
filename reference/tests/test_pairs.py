"""matmul, add, multiply and concat against nested loops, and their gradients as adjoints."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.reference.magnitude import Array
from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import integers, normal32
from conformance.reference.tests.steps import MOST, assert_within, bfloat16, share_outside

SHAPES: dict[str, list[tuple[tuple[int, ...], tuple[int, ...]]]] = {
    "matmul": [
        ((3, 5), (5, 4)),
        ((2, 3, 4), (2, 4, 5)),
        ((3, 2, 4), (4, 5)),
        ((2, 4), (3, 4, 5)),
        ((2, 1, 3, 4), (1, 3, 4, 2)),
    ],
    "add": [((2, 3), (2, 3)), ((2, 3, 4), (4,)), ((4, 1), (1, 5)), ((3,), (2, 4, 3)), ((2, 1, 3), (1, 4, 3))],
    "multiply": [((2, 3), (2, 3)), ((2, 3, 4), (4,)), ((4, 1), (1, 5)), ((3,), (2, 4, 3)), ((2, 1, 3), (1, 4, 3))],
}
QUESTIONS = [(name, *pair) for name, pairs in SHAPES.items() for pair in pairs]


def by_loops(name: str, x: Array, y: Array) -> Array:
    """Element by element; operands are repeated with `np.broadcast_to` alone."""
    if name == "matmul":
        batch = np.broadcast_shapes(x.shape[:-2], y.shape[:-2])
        x = np.broadcast_to(x, (*batch, *x.shape[-2:]))
        y = np.broadcast_to(y, (*batch, *y.shape[-2:]))
        output = np.zeros((*batch, x.shape[-2], y.shape[-1]))
        for *outer, i, j in np.ndindex(output.shape):
            for k in range(x.shape[-1]):
                output[(*outer, i, j)] += x[(*outer, i, k)] * y[(*outer, k, j)]
        return output
    shape = np.broadcast_shapes(x.shape, y.shape)
    x, y = np.broadcast_to(x, shape), np.broadcast_to(y, shape)
    output = np.zeros(shape)
    for place in np.ndindex(shape):
        output[place] = x[place] + y[place] if name == "add" else x[place] * y[place]
    return output


@pytest.mark.parametrize(("name", "left", "right"), QUESTIONS)
def test_values_equal_nested_loops_and_gradients_are_exact_differences(
    name: str, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(1)
    operands = {"x": integers(rng, left), "y": integers(rng, right)}
    reference = OPERATORS[name]
    output = reference.forward(**operands)["output"]
    assert np.array_equal(output, by_loops(name, **operands))
    g = integers(rng, output.shape)
    gradients = reference.vjp({"output": g}, **operands)
    for key, operand in operands.items():
        assert gradients[key].shape == operand.shape
        for place in np.ndindex(operand.shape):
            # Linear in each operand: the difference of a whole step is the derivative, and integers are exact.
            moved = operand.copy()
            moved[place] += 1
            difference = by_loops(name, **{**operands, key: moved}) - output
            assert gradients[key][place] == (g * difference).sum()


@pytest.mark.parametrize(("name", "left", "right"), QUESTIONS)
def test_single_precision_lies_inside_the_bound_and_rounded_inputs_outside(
    name: str, left: tuple[int, ...], right: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(2)
    operands = {"x": normal32(rng, left), "y": normal32(rng, right)}
    reference = OPERATORS[name]
    exact = reference.forward(**operands)["output"]
    g = {"output": normal32(rng, exact.shape)}
    bound = reference.magnitude(g, **operands)
    singles: dict[str, Any] = {key: value.astype(np.float32) for key, value in operands.items()}
    function = {"matmul": np.matmul, "add": np.add, "multiply": np.multiply}[name]
    assert_within(function(singles["x"], singles["y"]), exact, bound.outputs["output"])
    moved = reference.forward(x=bfloat16(operands["x"]), y=operands["y"])["output"]
    assert share_outside(moved, exact, bound.outputs["output"]) > MOST
    gradients = reference.vjp(g, **operands)
    rounded = reference.vjp({"output": bfloat16(g["output"])}, **operands)
    for key, gradient in gradients.items():
        nearest = gradient.astype(np.float32)
        if bound.gradients[key].absolute.any():
            assert_within(nearest, gradient, bound.gradients[key])
        assert share_outside(rounded[key], gradient, bound.gradients[key]) > MOST


def test_a_long_sum_in_any_order_lies_inside_the_bound() -> None:
    rng = np.random.default_rng(3)
    x, y = normal32(rng, (3, 400)), normal32(rng, (400, 2))
    terms = (x[:, :, None] * y[None]).astype(np.float32)
    bound = OPERATORS["matmul"].magnitude(None, x=x, y=y).outputs["output"]
    for order in (slice(None), slice(None, None, -1), rng.permutation(400)):
        assert_within(terms[:, order].cumsum(axis=1, dtype=np.float32)[:, -1], x @ y, bound)


@settings(deadline=None, max_examples=30)
@given(shape=st.lists(st.integers(0, 3), min_size=1, max_size=4), data=st.data())
def test_concat_cuts_where_it_joined(shape: list[int], data: st.DataObject) -> None:
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    other = list(shape)
    other[axis] = data.draw(st.integers(0, 3))
    rng = np.random.default_rng(4)
    x, y = rng.standard_normal(shape), rng.standard_normal(other)
    reference = OPERATORS["concat"]
    output = reference.forward(x=x, y=y, axis=axis)["output"]
    for place in np.ndindex(output.shape):
        index = list(place)
        source = x
        if index[axis] >= shape[axis]:
            index[axis] -= shape[axis]
            source = y
        assert output[place] == source[tuple(index)]
    gradients = reference.vjp({"output": output}, x=x, y=y, axis=axis)
    assert np.array_equal(gradients["x"], x)
    assert np.array_equal(gradients["y"], y)
    bound = reference.magnitude({"output": output}, x=x, y=y, axis=axis)
    assert not any(part.absolute.any() for part in (*bound.outputs.values(), *bound.gradients.values()))


def test_impossible_questions_are_refused() -> None:
    one = np.zeros((2, 3))
    for name, y, attributes in (
        ("matmul", np.zeros((2, 3)), {}),
        ("matmul", np.zeros(3), {}),
        ("add", np.zeros(2), {}),
        ("multiply", np.zeros((3, 2)), {}),
        ("concat", np.zeros((3, 3)), {"axis": 1}),
        ("concat", np.zeros((2, 3)), {"axis": 2}),
        ("concat", np.zeros(3), {"axis": 0}),
    ):
        with pytest.raises(InvalidShape):
            OPERATORS[name].forward(x=one, y=y, **attributes)
    with pytest.raises(InvalidShape, match="batch"):
        OPERATORS["matmul"].forward(x=np.zeros((2, 3, 4)), y=np.zeros((3, 4, 5)))
    with pytest.raises(InvalidShape, match="cotangent"):
        OPERATORS["add"].vjp({"output": np.zeros(3)}, x=one, y=one)


def test_a_gradient_that_is_handed_on_keeps_the_sign_of_its_zeros() -> None:
    x = np.ones((2, 3))
    gradients = OPERATORS["add"].vjp({"output": np.full((2, 3), -0.0)}, x=x, y=x)
    assert np.signbit(gradients["x"]).all()
    assert np.signbit(gradients["y"]).all()
