"""Convolution and means of integers: what takes them, and what goes wrong with them."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from conformance.backends.base import Native
from conformance.case.families.convolution import Convolution
from conformance.case.job import Description, Tensor
from conformance.tests.fakes.arithmetic import Array
from conformance.tests.fakes.honest import Honest, PullBack

INTEGERS = ("int8", "int32", "int64")


class TakesIntegers(Honest):
    """Convolves integers and takes their means, in int64 whatever they are stored in."""

    def describe(self) -> Description:
        taken = tuple((operator, name) for operator in ("conv2d", "average_pool2d") for name in INTEGERS)
        return replace(super().describe(), integers=taken)

    def put(self, tensor: Tensor) -> Native:
        return Array(tensor.format, tensor.data.astype(np.int64))

    def given(self, inputs: dict[str, Array | None], forward: Callable[..., tuple[np.ndarray, PullBack]]) -> Array:
        computed, _ = forward(**{name: value.numbers for name, value in inputs.items() if value is not None})
        result = Array(inputs["x"].format, self.whole(computed))
        self.log.record(f"fake.{forward.__name__}", (), {}, result)
        return result

    def whole(self, computed: np.ndarray) -> np.ndarray:
        """Quotients without their fractions; sums as they are."""
        return np.trunc(computed).astype(np.int64)


class FloorsQuotients(TakesIntegers):
    """Its quotients of integers are the next smaller integers."""

    def whole(self, computed: np.ndarray) -> np.ndarray:
        return np.floor(computed).astype(np.int64)


class RoundsQuotients(TakesIntegers):
    """Its quotients of integers are the nearest integers."""

    def whole(self, computed: np.ndarray) -> np.ndarray:
        return np.rint(computed).astype(np.int64)


class WrapsEarly(TakesIntegers):
    """Its sums of integers keep six bits and a sign."""

    def whole(self, computed: np.ndarray) -> np.ndarray:
        return (super().whole(computed) + 64) % 128 - 64


class SumsIntegersInFloat32(TakesIntegers):
    """Its sums of integers pass through float32."""

    def whole(self, computed: np.ndarray) -> np.ndarray:
        return super().whole(computed.astype(np.float32))


class WidensIntegers(TakesIntegers):
    """Whatever integers it is given, it answers with int64."""

    def get(self, native: Native) -> Tensor:
        return Tensor("int64", np.array(native.numbers, np.int64))


class LacksAKernel(TakesIntegers):
    """Says that it convolves integers, and has no kernel for them."""

    def conv2d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        raise RuntimeError(f"conv2d is not implemented for {x.format}")
