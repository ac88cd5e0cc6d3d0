"""Derivatives by the complex step, and the two questions that a bound must answer, for tests of smooth operators."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from conformance.reference.magnitude import Array, Magnitude, Outputs
from conformance.reference.tests.products import UNIT_ROUNDOFF_64, radius

# Far below the roundings of any value, so that the step's own error, of second order, vanishes; no difference is
# taken, hence nothing cancels (Squire & Trapp, Using complex variables to estimate derivatives, 1998).
STEP = 1e-150

# Where a derivative almost vanishes, or terms cancel, a small change hides in roundings; elsewhere it must not.
MOST = 0.75

Formula = Callable[..., Mapping[str, Any]]


def complex_step(formula: Formula, operands: Outputs, name: str, cotangents: Outputs) -> Array:
    """Returns the gradient of the sum of cotangent * output by one operand, element by element."""
    gradient = np.zeros(operands[name].shape)
    for index in np.ndindex(gradient.shape):
        moved = operands[name].astype(np.complex128)
        moved[index] += 1j * STEP
        outputs = formula(**{**operands, name: moved})
        total = sum(np.sum(cotangents[key] * value) for key, value in outputs.items())
        gradient[index] = np.imag(total) / STEP
    return gradient


def assert_equal_in_float64(got: Array, expected: Array, magnitude: Magnitude) -> None:
    """Both were computed in float64 by formulas that the bound covers, so they differ by two radii at most."""
    margin = 2 * magnitude.radius(unit_roundoff=UNIT_ROUNDOFF_64, smallest_normal=2.0**-1022)
    assert got.shape == expected.shape
    excess = np.abs(got - expected) - margin
    assert (excess <= 0).all(), f"worst: {np.max(excess)} beyond a radius of {np.max(margin)}"


def assert_equal_to_the_step(got: Array, expected: Array, magnitude: Magnitude) -> None:
    """As `assert_equal_in_float64`, with four roundings of the complex step itself: some bounds allow one or none."""
    margin = 2 * magnitude.radius(unit_roundoff=UNIT_ROUNDOFF_64, smallest_normal=2.0**-1022)
    excess = np.abs(got - expected) - margin - 4 * UNIT_ROUNDOFF_64 * np.abs(expected)
    assert (excess <= 0).all(), f"worst: {np.max(excess)} beyond a radius of {np.max(margin)}"


def assert_within(got: Array, exact: Array, magnitude: Magnitude) -> None:
    """A float32 result lies inside the bound."""
    assert got.dtype == np.float32
    ratio = np.abs(got.astype(np.float64) - exact) / (radius(magnitude) + np.finfo(np.float64).tiny)
    assert (ratio <= 1).all(), f"worst: {np.max(ratio)} times the bound"


def share_outside(moved: Array, exact: Array, magnitude: Magnitude) -> float:
    """Returns the share of elements that lie outside the bound."""
    return float(np.mean(np.abs(moved - exact) > radius(magnitude)))


def bfloat16(values: Array) -> Array:
    """Returns the values with 8 significant bits, rounded to nearest: what a backend that rounds inputs works on."""
    fraction, exponent = np.frexp(values)
    return np.asarray(np.ldexp(np.round(fraction * 2.0**8), exponent - 8))
