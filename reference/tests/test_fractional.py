"""Fractional max pooling against its definition in fractions, hand-worked steps, and differences."""

from fractions import Fraction
from math import floor
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.reference import fractional
from conformance.reference.padding import InvalidShape


def begun(n: int, m: int, k: int, u: float) -> list[int]:
    """Where windows begin, in fractions."""
    if m == 1:
        return [n - k]
    alpha, sample = Fraction(n - k, m - 1), Fraction(u)
    return [*(floor((o + sample) * alpha) - floor(sample * alpha) for o in range(m - 1)), n - k]


@pytest.mark.parametrize(
    ("n", "m", "k", "u", "expected"),
    [
        # alpha = 7/4 = 1.75
        (9, 5, 2, 0.0, [0, 1, 3, 5, 7]),
        (9, 5, 2, 0.5, [0, 2, 4, 6, 7]),
        (9, 5, 2, 0.75, [0, 2, 3, 5, 7]),
        (5, 1, 2, 0.25, [3]),
        (4, 3, 2, 0.875, [0, 1, 2]),
    ],
)
def test_hand_worked_steps(n: int, m: int, k: int, u: float, expected: list[int]) -> None:
    assert fractional.starts(n, m, k, u) == expected


@settings(max_examples=80, deadline=None)
@given(data=st.data())
def test_value_gradient_and_magnitude_are_those_of_the_definition(data: st.DataObject) -> None:
    """Samples are eighths and steps have small denominators, so that float64 has every floor right."""
    images, channels = data.draw(st.integers(0, 2)), data.draw(st.integers(1, 3))
    size = tuple(data.draw(st.sampled_from([1, 2, 3, 5])) for _ in range(2))
    window = tuple(data.draw(st.integers(1, 3)) for _ in range(2))
    sides = tuple(m + k - 1 + data.draw(st.integers(0, 6)) for m, k in zip(size, window, strict=True))
    rng = np.random.default_rng(data.draw(st.integers(0, 2**32 - 1)))
    x = rng.integers(-3, 4, (images, *sides, channels)).astype(np.float64)
    samples = rng.integers(0, 8, (images, channels, 2)) / 8
    cotangent = rng.integers(-5, 6, (images, *size, channels)).astype(np.float64)
    value, gradient, absolute, taken = (np.zeros(shape) for shape in (cotangent.shape, *(x.shape,) * 3))
    for n, i, j, c in np.ndindex(*cotangent.shape):
        top = begun(sides[0], size[0], window[0], samples[n, c, 0])[i]
        left = begun(sides[1], size[1], window[1], samples[n, c, 1])[j]
        best = None
        for row in range(top, top + window[0]):
            for column in range(left, left + window[1]):
                if best is None or x[n, row, column, c] > x[n, *best, c]:
                    best = row, column
        assert best is not None
        value[n, i, j, c] = x[n, *best, c]
        gradient[n, *best, c] += cotangent[n, i, j, c]
        absolute[n, *best, c] += abs(cotangent[n, i, j, c])
        taken[n, *best, c] += 1
    given_: dict[str, Any] = {"x": x, "samples": samples, "size": size, "window": window}
    np.testing.assert_array_equal(fractional.forward(**given_)["output"], value, strict=True)
    got = fractional.vjp({"output": cotangent}, **given_)
    assert got.keys() == {"x"}
    np.testing.assert_array_equal(got["x"], gradient, strict=True)
    magnitudes = fractional.magnitude({"output": cotangent}, **given_)
    assert not magnitudes.outputs["output"].absolute.any()
    np.testing.assert_array_equal(magnitudes.gradients["x"].absolute, absolute)
    np.testing.assert_array_equal(magnitudes.gradients["x"].terms, np.maximum(taken - 1, 0))


def test_nan_is_the_largest() -> None:
    x = np.array([1.0, np.nan, 5, 2]).reshape(1, 1, 4, 1)
    given_: dict[str, Any] = {"x": x, "samples": np.zeros((1, 1, 2)), "size": (1, 2), "window": (1, 2)}
    np.testing.assert_array_equal(fractional.forward(**given_)["output"].ravel(), [np.nan, 5])
    gradient = fractional.vjp({"output": np.array([3.0, 7]).reshape(1, 1, 2, 1)}, **given_)["x"]
    assert gradient.ravel().tolist() == [0, 3, 7, 0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x": np.zeros((5, 5, 2))}, "axes of x"),
        ({"samples": np.zeros((1, 2))}, "samples"),
        ({"samples": np.full((1, 2, 2), 1.0)}, "samples"),
        ({"samples": np.full((1, 2, 2), np.nan)}, "samples"),
        ({"size": (0, 2)}, "size"),
        ({"window": (2,)}, "window"),
        ({"size": (5, 2)}, "elements on spatial axis 0: got 5, required at least 6"),
    ],
)
def test_impossible_questions_are_refused(change: dict[str, Any], message: str) -> None:
    question: dict[str, Any] = {
        "x": np.zeros((1, 5, 5, 2)),
        "samples": np.zeros((1, 2, 2)),
        "size": (2, 2),
        "window": (2, 2),
    }
    with pytest.raises(InvalidShape, match=message):
        fractional.forward(**(question | change))
    with pytest.raises(InvalidShape, match=message):
        fractional.vjp({"output": np.zeros((1, 2, 2, 2))}, **(question | change))
