"""The Glorot uniform initialiser against hand-worked numbers and single-precision formulas."""

from math import sqrt

import numpy as np
import pytest

from conformance.reference import initializers
from conformance.reference.padding import InvalidShape
from conformance.reference.tests.products import normal32
from conformance.reference.tests.steps import MOST, assert_within, share_outside


@pytest.mark.parametrize(
    ("shape", "total"), [((2, 4), 6), ((3, 3, 2, 4), 54), ((5, 1, 6), 35), ((1, 2, 3, 1, 5), 36), ((4, 2), 6)]
)
def test_the_limit_counts_both_fans(shape: tuple[int, ...], total: int) -> None:
    assert initializers.glorot_limit(shape) == sqrt(6 / total)


def test_by_hand() -> None:
    # 3 * (5 + 3) = 24 makes the limit 1/2.
    u = np.zeros((3, 5, 3))
    u[0, 0] = 0.0, 0.5, 0.75
    output = initializers.forward(u=u)["output"]
    assert output[0, 0].tolist() == [-0.5, 0.0, 0.25]
    assert initializers.vjp({"output": np.full(u.shape, 3.0)}, u=u)["u"].tolist() == np.full(u.shape, 3.0).tolist()


@pytest.mark.parametrize("shape", [(7, 9), (3, 2, 5, 4), (3, 300)])
def test_single_precision_lies_inside_the_bound(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(11)
    u, g = rng.random(shape, dtype=np.float32).astype(np.float64), normal32(rng, shape)
    value, gradient = initializers.forward(u=u)["output"], initializers.vjp({"output": g}, u=u)["u"]
    bound = initializers.magnitude({"output": g}, u=u)
    one, two, u32, g32 = np.float32(1), np.float32(2), u.astype(np.float32), g.astype(np.float32)
    fans = np.float32(6 / initializers.glorot_limit(shape) ** 2)
    limits = [np.float32(initializers.glorot_limit(shape)), np.sqrt(np.float32(6) / fans)]
    limits.append(np.sqrt(np.float32(3) * (one / (fans / two))))
    for limit in limits:
        for got in ((two * u32 - one) * limit, u32 * (limit - -limit) - limit, u32 * (two * limit) + -limit):
            assert_within(got, value, bound.outputs["output"])
        assert_within(g32 * limit * two, gradient, bound.gradients["u"])
    assert share_outside(value * (1 + 1e-3), value, bound.outputs["output"]) > MOST
    assert share_outside(gradient * (1 + 1e-3), gradient, bound.gradients["u"]) == 1


@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (2, 3, 0)])
def test_no_kernel_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidShape, match="kernel"):
        initializers.forward(u=np.zeros(shape))
