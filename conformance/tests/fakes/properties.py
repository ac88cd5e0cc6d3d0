"""Broken between answers: each breaks one property, and nothing that another one looks at."""

import numpy as np

from conformance.backends.base import Native
from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.pooling import AveragePool
from conformance.tests.fakes.arithmetic import Array
from conformance.tests.fakes.honest import ChangesOutput, Honest, PullBack


class TransposedKernelFlipped(Honest):
    """Its transposed convolution turns the kernel around, forwards and backwards."""

    def conv2d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        def turned(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return x[::-1, ::-1], lambda cotangent: {"x": cotangent[::-1, ::-1]}

        return super().conv2d_transpose(attributes, x, self.given({"x": w}, turned), b)


class DenseOfSizes(Honest):
    """Its dense layer sees how large a number is, and not its sign; its gradient is right for that."""

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        def size(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return np.abs(x), lambda cotangent: {"x": np.sign(x) * cotangent}

        return super().dense(attributes, self.given({"x": x}, size), w, b)


class MeansByPlace(Honest):
    """Its means count twice in the first row."""

    def average_pool2d(self, attributes: AveragePool, x: Native) -> Native:
        def weighted(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            weights = np.ones(x.shape, x.dtype)
            weights[:, 0] = 2
            return weights * x, lambda cotangent: {"x": weights * cotangent}

        return self.given({"x": super().average_pool2d(attributes, x)}, weighted)


class ImagesChangePlaces(Honest):
    """Its flattened images come in reverse order."""

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        def reversed_(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return x[::-1], lambda cotangent: {"x": cotangent[::-1]}

        return self.given({"x": super().flatten(attributes, x)}, reversed_)


class LastGroupNegated(Honest):
    """Where there are groups, its convolutions change the sign of the last one, plain and transposed alike."""

    def negated(self, y: Native, groups: int) -> Native:
        def negated(x: np.ndarray) -> tuple[np.ndarray, PullBack]:
            signs = np.ones(x.shape[-1], x.dtype)
            if groups > 1:
                signs[-(x.shape[-1] // groups) :] = -1
            return signs * x, lambda cotangent: {"x": signs * cotangent}

        return self.given({"x": y}, negated)

    def conv2d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        return self.negated(super().conv2d(attributes, x, w, b), attributes.groups)

    def conv2d_transpose(
        self, attributes: TransposedConvolution, x: Native, w: Native, b: Native | None = None
    ) -> Native:
        return self.negated(super().conv2d_transpose(attributes, x, w, b), attributes.groups)


class TooFewBits(ChangesOutput):
    """Stores its results with five bits fewer than the format has."""

    def changed(self, output: Array) -> Array:
        mantissa, exponent = np.frexp(output.numbers)
        kept = 2.0 ** (24 - 5 if output.format == "float32" else 53 - 5)
        return Array(output.format, np.ldexp(np.rint(mantissa * kept) / kept, exponent).astype(output.numbers.dtype))
