"""Fake backends that are given images and memory in other layouts: an honest one, and what goes wrong with them."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from conformance.backends.base import Native
from conformance.case.model import Layout
from conformance.tests.fakes import Array, Honest, PullBack


class TakesLayouts(Honest):
    """Takes images with the channels behind the batch, and numbers with gaps between them in memory."""

    layouts: ClassVar[Mapping[Layout, tuple[str, ...]]] = {
        "channels_first": ("conv2d", "max_pool2d", "average_pool2d"),
        "strided": ("*",),
    }

    def spread(self, native: Native) -> Native:
        # What a gap holds is no number of the question's.
        return replace(native, numbers=np.stack([native.numbers, np.full_like(native.numbers, 7)], -1)[..., 0])

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        def laid(**numbers: np.ndarray) -> tuple[np.ndarray, PullBack]:
            read = {name: self.read(array) for name, array in numbers.items()}
            if not self.channels_first:
                return forward(**read)
            y, pull = forward(**{**read, "x": self.last(read["x"])})

            def back(cotangent: np.ndarray) -> dict[str, np.ndarray]:
                gradients = pull(np.moveaxis(cotangent, 1, -1))
                return {**gradients, "x": self.first(gradients["x"])}

            return np.moveaxis(y, -1, 1), back

        laid.__name__ = forward.__name__
        return super().given(inputs, laid)

    def read(self, array: np.ndarray) -> np.ndarray:
        """An operand's numbers, wherever they lie."""
        return array

    def last(self, x: np.ndarray) -> np.ndarray:
        """An image with its channels at the end."""
        return np.moveaxis(x, 1, -1)

    def first(self, x: np.ndarray) -> np.ndarray:
        """The way back of a gradient."""
        return np.moveaxis(x, -1, 1)


class SkipsNoGaps(TakesLayouts):
    """Reads memory from where an array begins, without its strides."""

    def read(self, array: np.ndarray) -> np.ndarray:
        memory: Any = array if array.base is None else array.base
        return np.ravel(memory)[: array.size].reshape(array.shape)


class TakesFirstForLast(TakesLayouts):
    """Memory with the channels behind the batch is read as if they were at the end."""

    def last(self, x: np.ndarray) -> np.ndarray:
        return x.reshape((x.shape[0], *x.shape[2:], x.shape[1]))

    def first(self, x: np.ndarray) -> np.ndarray:
        return x.reshape((x.shape[0], x.shape[-1], *x.shape[1:-1]))


class KnowsNoOrder(TakesLayouts):
    """Says that it takes channels behind the batch, and goes on as ever."""

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        return Honest.given(self, inputs, forward)
