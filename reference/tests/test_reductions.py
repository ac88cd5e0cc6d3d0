"""mean and the global pools against nested loops, single precision and hand-worked numbers."""

import itertools

import numpy as np
import pytest

from conformance.reference.magnitude import Array
from conformance.reference.operators import OPERATORS
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import integers, normal32
from conformance.reference.tests.steps import MOST, assert_within, bfloat16, share_outside

AXES = [(0,), (1,), (-1,), (0, 2), (1, -1), (0, 1, 2)]


def mean_by_loops(x: Array, axes: tuple[int, ...]) -> Array:
    """With the axes kept."""
    places = {axis % x.ndim for axis in axes}
    total = np.zeros([1 if axis in places else n for axis, n in enumerate(x.shape)])
    for index in np.ndindex(x.shape):
        total[tuple(0 if axis in places else i for axis, i in enumerate(index))] += x[index]
    return total * total.size / x.size


@pytest.mark.parametrize(("axes", "keepdims"), list(itertools.product(AXES, (False, True))))
def test_mean_equals_nested_loops_and_its_gradient_is_the_adjoint(axes: tuple[int, ...], keepdims: bool) -> None:
    rng = np.random.default_rng(1)
    x = integers(rng, (4, 2, 8))  # means of powers of two are exact
    reference = OPERATORS["mean"]
    output = reference.forward(x=x, axes=axes, keepdims=keepdims)["output"]
    kept = mean_by_loops(x, axes)
    assert output.shape == (kept.shape if keepdims else np.squeeze(kept, axes).shape)
    assert np.array_equal(output.ravel(), kept.ravel())
    g = integers(rng, output.shape)
    gradient = reference.vjp({"output": g}, x=x, axes=axes, keepdims=keepdims)["x"]
    assert gradient.shape == x.shape
    other = integers(rng, x.shape)
    moved = reference.forward(x=other, axes=axes, keepdims=keepdims)["output"]
    assert (g * moved).sum() == (gradient * other).sum()


def test_single_precision_lies_inside_the_bound_and_rounded_inputs_outside() -> None:
    rng = np.random.default_rng(2)
    x, g = normal32(rng, (30, 300)), {"output": normal32(rng, (30,))}
    reference = OPERATORS["mean"]
    value = reference.forward(x=x, axes=(1,), keepdims=False)["output"]
    gradient = reference.vjp(g, x=x, axes=(1,), keepdims=False)["x"]
    bound = reference.magnitude(g, x=x, axes=(1,), keepdims=False)
    single, one = x.astype(np.float32), np.float32
    for order in (single, single[:, ::-1], single[:, rng.permutation(300)]):
        total = order.cumsum(axis=1, dtype=np.float32)[:, -1]
        for output in (total / one(300), total * (one(1) / one(300))):
            assert_within(output, value, bound.outputs["output"])
        scaled = (order / one(300)).cumsum(axis=1, dtype=np.float32)[:, -1]
        assert_within(scaled, value, bound.outputs["output"])
    share = g["output"].astype(np.float32) * (one(1) / one(300))
    assert_within(np.broadcast_to(share[:, None], x.shape), gradient, bound.gradients["x"])
    # Roundings of three hundred inputs partly cancel; of few they do not.
    few, few_g = x[:, :4], {"output": bfloat16(g["output"])}
    bound = reference.magnitude(g, x=few, axes=(1,), keepdims=False)
    value = reference.forward(x=few, axes=(1,), keepdims=False)["output"]
    moved = reference.forward(x=bfloat16(few), axes=(1,), keepdims=False)["output"]
    assert share_outside(moved, value, bound.outputs["output"]) > MOST
    gradient = reference.vjp(g, x=few, axes=(1,), keepdims=False)["x"]
    moved = reference.vjp(few_g, x=few, axes=(1,), keepdims=False)["x"]
    assert share_outside(moved, gradient, bound.gradients["x"]) > MOST


def test_global_average_pool_is_the_mean_of_the_pixels() -> None:
    rng = np.random.default_rng(3)
    x, g = integers(rng, (2, 4, 8, 3)), {"output": integers(rng, (2, 3))}
    reference = OPERATORS["global_average_pool2d"]
    assert np.array_equal(reference.forward(x=x)["output"], mean_by_loops(x, (1, 2))[:, 0, 0])
    gradient = reference.vjp(g, x=x)["x"]
    for index in np.ndindex(x.shape):
        assert gradient[index] == g["output"][index[0], index[-1]] / 32
    bound = reference.magnitude(g, x=x)
    assert bound.outputs["output"].absolute.shape == (2, 3)
    assert bound.gradients["x"].absolute.shape == x.shape


def test_global_max_pool_takes_the_first_of_the_largest() -> None:
    rng = np.random.default_rng(4)
    x, g = integers(rng, (3, 4, 5, 2)), {"output": integers(rng, (3, 2))}
    reference = OPERATORS["global_max_pool2d"]
    output, gradient = reference.forward(x=x)["output"], reference.vjp(g, x=x)["x"]
    expected = np.zeros(x.shape)
    for n, c in np.ndindex(3, 2):
        best = max(np.ndindex(4, 5), key=lambda at: (x[n, at[0], at[1], c], -(5 * at[0] + at[1])))
        assert output[n, c] == x[n, best[0], best[1], c]
        expected[n, best[0], best[1], c] = g["output"][n, c]
    assert np.array_equal(gradient, expected)
    bound = reference.magnitude(g, x=x)
    assert not bound.outputs["output"].absolute.any()
    assert not bound.gradients["x"].absolute.any()


def test_nan_is_the_largest() -> None:
    x = np.array([1.0, np.nan, 3.0, np.inf]).reshape(1, 2, 2, 1)
    reference = OPERATORS["global_max_pool2d"]
    assert np.isnan(reference.forward(x=x)["output"]).all()
    assert reference.vjp({"output": np.ones((1, 1))}, x=x)["x"].ravel().tolist() == [0, 1, 0, 0]


def test_an_empty_batch_is_legal_and_no_pixels_are_not() -> None:
    for name in ("global_average_pool2d", "global_max_pool2d"):
        reference, none = OPERATORS[name], np.zeros((0, 3, 4, 2))
        assert reference.forward(x=none)["output"].shape == (0, 2)
        assert reference.vjp({"output": np.zeros((0, 2))}, x=none)["x"].shape == none.shape
        for wrong in (np.zeros((2, 0, 4, 2)), np.zeros((2, 3, 2))):
            with pytest.raises(InvalidShape):
                reference.forward(x=wrong)
    for axes in ((), (2,), (0, -2)):
        with pytest.raises(InvalidShape, match="axes of mean"):
            OPERATORS["mean"].forward(x=np.zeros((2, 3)), axes=axes, keepdims=False)
    with pytest.raises(InvalidShape, match="at least one element"):
        OPERATORS["mean"].forward(x=np.zeros((2, 0)), axes=(1,), keepdims=False)
