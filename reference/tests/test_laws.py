"""Laws against SciPy's distributions, numbers worked out by hand, and their own samples."""

import math
from typing import Any

import numpy as np
import pytest
from scipy import integrate, stats

from conformance.reference import laws
from conformance.reference.operators import LAWS
from conformance.reference.padding import InvalidShape

SCIPY: dict[str, Any] = {
    "uniform": lambda scale: stats.uniform(-scale, 2 * scale),
    "normal": lambda scale: stats.norm(0, scale),
    "truncated_normal": lambda scale: stats.truncnorm(-2, 2, 0, scale),
}
# Elementary functions of SciPy and of the C library, a few roundings each.
NEAR: dict[str, Any] = {"rtol": 2.0**-42, "atol": 2.0**-50}


def law(shape: tuple[int, ...], **attributes: Any) -> laws.Law:
    plain = {"scheme": "glorot", "distribution": "uniform", "scale": 0.05, "groups": 1, "seed": 0}
    return laws.initialize(w=np.zeros(shape), **{**plain, **attributes})


@pytest.mark.parametrize("name", SCIPY)
@pytest.mark.parametrize("scale", [0.02, 3.0])
def test_laws_are_scipy_s(name: str, scale: float) -> None:
    own, other = laws.Law(distribution=name, scale=scale), SCIPY[name](scale)
    x = np.linspace(-3 * scale, 3 * scale, 61)
    np.testing.assert_allclose(own.below(x), other.cdf(x), **NEAR)
    np.testing.assert_allclose(own.variance, other.var(), **NEAR)
    ends = (-own.end, own.end)
    fourth = integrate.quad(lambda z: z**4 * other.pdf(z), *(np.clip(end, -20 * scale, 20 * scale) for end in ends))
    # What the quadrature says of its own error.
    assert abs(own.fourth - fourth[0]) <= 10 * fourth[1] + 2.0**-40 * own.fourth
    assert other.support() == pytest.approx(ends, rel=2.0**-50)


def test_scales_by_hand() -> None:
    """A 3x2 kernel of 4 in and 8 out has fans of 24 and 48."""
    shape = (3, 2, 4, 8)
    assert laws.fans(shape) == (24, 48)
    assert law(shape).end == pytest.approx(math.sqrt(6 / 72), rel=2.0**-50)
    assert law(shape, distribution="normal").scale == pytest.approx(math.sqrt(2 / 72), rel=2.0**-50)
    assert law(shape, scheme="he").end == pytest.approx(0.5, rel=2.0**-50)
    assert law(shape, scheme="lecun", distribution="normal").variance == pytest.approx(1 / 24, rel=2.0**-50)
    assert law(shape, scheme="constant", scale=0.25).end == 0.25
    # Grouped and depthwise kernels are counted as they lie.
    assert laws.fans((3, 3, 1, 8)) == (9, 72)
    assert law((3, 3, 1, 8), groups=4) == law((3, 3, 1, 8))


def test_a_truncated_normal_of_a_scheme_has_the_scheme_s_variance() -> None:
    """0.87962566 is the deviation of what lies within two of them."""
    assert math.sqrt(laws.CUT_VARIANCE) == pytest.approx(0.87962566103423978, rel=2.0**-50)
    for scheme, variance in (("glorot", 2 / 72), ("he", 2 / 24), ("lecun", 1 / 24)):
        made = law((3, 2, 4, 8), scheme=scheme, distribution="truncated_normal")
        assert made.variance == pytest.approx(variance, rel=2.0**-50)
    assert law((2, 3), scheme="constant", distribution="truncated_normal", scale=0.1).end == 0.2


@pytest.mark.parametrize("name", SCIPY)
def test_samples_follow_their_law(name: str) -> None:
    own = laws.Law(distribution=name, scale=0.3)
    sample = own.draw(np.random.default_rng(5), (40, 500))
    # One in a million is the rate at which this test would fail without a fault.
    assert stats.kstest(sample.ravel(), SCIPY[name](0.3).cdf).pvalue > 1e-6
    assert np.abs(sample).max() <= own.end


def test_dropout_keeps_or_drops() -> None:
    x = np.arange(1.0, 2001).reshape(40, 50)
    thinning = laws.random_dropout(x=x, rate=0.2, seed=0)
    np.testing.assert_array_equal(thinning.kept, x / (1 - 0.2))
    sample = thinning.draw(np.random.default_rng(6))
    assert set(np.unique(sample / thinning.kept)) == {0.0, 1.0}
    assert stats.binomtest(int((sample != 0).sum()), x.size, 0.8).pvalue > 1e-6
    single = x.astype(np.float32) * (np.float32(1) / (np.float32(1) - np.float32(0.2)))
    radius = thinning.magnitude.radius(unit_roundoff=2.0**-24, smallest_normal=2.0**-126)
    assert (np.abs(single - thinning.kept) <= radius).all()
    assert (np.abs(x / 0.8001 - thinning.kept) > radius).all()


@pytest.mark.parametrize(
    ("name", "change", "what"),
    [
        ("initialize", {"w": np.ones(3)}, "kernel"),
        ("initialize", {"w": np.ones((0, 3))}, "kernel"),
        ("initialize", {"scheme": "xavier"}, "scheme"),
        ("initialize", {"distribution": "cauchy"}, "distribution"),
        ("initialize", {"scale": 0.0}, "scale"),
        ("random_dropout", {"rate": 1.0}, "rate"),
        ("random_dropout", {"rate": -0.1}, "rate"),
    ],
)
def test_impossible_questions_are_refused(name: str, change: dict[str, Any], what: str) -> None:
    given: dict[str, dict[str, Any]] = {
        "initialize": {
            "w": np.ones((2, 3)),
            "scheme": "glorot",
            "distribution": "uniform",
            "scale": 1.0,
            "groups": 1,
            "seed": 0,
        },
        "random_dropout": {"x": np.ones(3), "rate": 0.5, "seed": 0},
    }
    with pytest.raises(InvalidShape, match=what):
        LAWS[name](**{**given[name], **change})
