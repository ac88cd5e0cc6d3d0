"""Sums of products spelled out term by term: a bilinear operator as a list of (result, left, right) indices."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from conformance.reference.magnitude import Array, Magnitude

UNIT_ROUNDOFF_32 = 2.0**-24
UNIT_ROUNDOFF_64 = 2.0**-53
SMALLEST_NORMAL_32 = 2.0**-126


@dataclass(frozen=True, kw_only=True)
class Products:
    """result[i] is the sum of left[j] * right[k] over all triples (i, j, k); indices are flat, row-major."""

    result: Array
    left: Array
    right: Array
    result_shape: tuple[int, ...]
    left_shape: tuple[int, ...]
    right_shape: tuple[int, ...]

    def total(self, left: Array, right: Array) -> Array:
        """Returns the sum for each result in the order of the triples."""
        with np.errstate(all="ignore"):
            return added(self.result, left.ravel()[self.left] * right.ravel()[self.right], self.result_shape)

    def count(self) -> Array:
        """Returns the number of terms of each result."""
        return added(self.result, np.ones(self.result.size), self.result_shape)

    def for_left(self) -> "Products":
        """Returns the triples of the gradient with respect to left: sums of result * right."""
        return Products(
            result=self.left,
            left=self.result,
            right=self.right,
            result_shape=self.left_shape,
            left_shape=self.result_shape,
            right_shape=self.right_shape,
        )

    def for_right(self) -> "Products":
        """Returns the triples of the gradient with respect to right: sums of left * result."""
        return Products(
            result=self.right,
            left=self.left,
            right=self.result,
            result_shape=self.right_shape,
            left_shape=self.left_shape,
            right_shape=self.result_shape,
        )

    def in_float32(
        self, left: Array, right: Array, rng: np.random.Generator, bias: Array | None = None
    ) -> Iterator[Array]:
        """Yields the results computed in float32, products rounded or fused, in several orders of summation.

        A bias, one number for each index of the last axis, is one more term, wherever the order puts it.
        """
        exact_products = left.ravel()[self.left] * right.ravel()[self.right]
        index = self.result
        if bias is not None:
            everywhere = np.broadcast_to(bias, self.result_shape).ravel()
            exact_products = np.concatenate([exact_products, everywhere])
            index = np.concatenate([index, np.arange(everywhere.size)])
        terms = exact_products.astype(np.float32)
        forward = np.arange(terms.size)
        orders = [forward, forward[::-1], rng.permutation(forward), np.argsort(np.abs(terms)), np.argsort(-terms)]
        for order in orders:
            yield added(index[order], terms[order], self.result_shape)
        # Eight running sums a result, as a vector unit has them, then added up.
        lanes = rng.integers(8, size=terms.size)
        partial = added(index * 8 + lanes, terms, (*self.result_shape, 8))
        yield np.add.reduce(partial, axis=-1, dtype=np.float32)
        # Fused multiply-add: the float64 product of two float32 numbers is exact, only the sum is rounded.
        fused = np.zeros(int(np.prod(self.result_shape)), dtype=np.float32)
        for i, product in zip(index.tolist(), exact_products.tolist(), strict=True):
            fused[i] = np.float32(float(fused[i]) + product)
        yield fused.reshape(self.result_shape)


def added(index: Array, terms: Array, shape: tuple[int, ...]) -> Array:
    """Returns the terms added one after another, each to the result that its index names, in the terms' precision."""
    result = np.zeros(int(np.prod(shape)), dtype=terms.dtype)
    with np.errstate(all="ignore"):
        np.add.at(result, index, terms)
    return result.reshape(shape)


def radius(magnitude: Magnitude) -> Array:
    """Returns the bound for a float32 result against the float64 reference, which has roundings of its own."""
    return magnitude.radius(unit_roundoff=UNIT_ROUNDOFF_32 + UNIT_ROUNDOFF_64, smallest_normal=SMALLEST_NORMAL_32)


def normal32(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Returns normal data that float32 holds exactly, as float64."""
    return rng.standard_normal(shape, dtype=np.float32).astype(np.float64)


def integers(rng: np.random.Generator, shape: tuple[int, ...]) -> Array:
    """Returns whole numbers from -9 to 9 as float64: all sums of their products are exact."""
    return rng.integers(-9, 10, size=shape).astype(np.float64)
