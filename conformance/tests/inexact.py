"""Fakes that compute the right thing with less than was asked, and one that only looks so."""

from dataclasses import replace
from typing import Any

import numpy as np

from conformance.backends.base import Native
from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution
from conformance.case.job import Description
from conformance.tests.fakes import (
    Array,
    ChangesOutput,
    Honest,
    PullBack,
    RoundsOperands,
    check,
    from_bfloat16,
    to_bfloat16,
)


class TruncatesOperandsToTf32(RoundsOperands):
    """Hands float32 words to a unit that reads 10 of their 23 fraction bits."""

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        return (numbers.view(np.uint32) & np.uint32(0xFFFFE000)).view(np.float32)


class RoundsProductsToTf32(RoundsOperands):
    """Rounds what it multiplies to 11 significant bits, forward alone: neither bias nor cotangent."""

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        mantissa, exponent = np.frexp(numbers)
        return np.ldexp(np.rint(mantissa * 2048) / 2048, exponent).astype(numbers.dtype)

    def given(self, inputs: dict[str, Array | None], forward: Any) -> Array:
        def on_rounded(**operands: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return forward(**{name: x if name == "b" else self.rounded(x) for name, x in operands.items()})

        return Honest.given(self, inputs, on_rounded)

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        return pull(cotangent.numbers)


class SumsInBfloat16(Honest):
    """Rounds every partial sum of a dense layer to bfloat16, whatever it stores."""

    def rounded(self, numbers: np.ndarray) -> np.ndarray:
        return from_bfloat16(to_bfloat16(numbers))

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        def dense(x: np.ndarray, w: np.ndarray, b: np.ndarray | None = None) -> tuple[np.ndarray, PullBack]:
            def summed(left: np.ndarray, right: np.ndarray) -> np.ndarray:
                total = np.zeros((left.shape[0], right.shape[1]), np.float32)
                for column, row in zip(left.T, right, strict=True):
                    total = self.rounded(total + np.outer(column, row).astype(np.float32))
                return total

            def pull(cotangent: np.ndarray) -> dict[str, np.ndarray]:
                return {"x": summed(cotangent, w.T), "w": summed(x.T, cotangent), "b": cotangent.sum(axis=0)}

            return self.biased(summed(x, w), b), pull

        return self.given({"x": x, "w": w, "b": b}, dense)


class StoresBeforeBias(Honest):
    """Stores a convolution's sum in the format of its operands before it adds the bias, without saying so."""

    def biased(self, y: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        return super().biased(from_bfloat16(to_bfloat16(y)), b)


class DeclaresStoredSums(StoresBeforeBias):
    """Says that it stores twice."""

    def describe(self) -> Description:
        return replace(super().describe(), stored_sums=(("conv*", "bfloat16"),))


class SumsBiasGradientInBfloat16(Honest):
    """Rounds every partial sum of a bias's gradient to bfloat16, and declares float32 for all."""

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        gradients = super().pulled(pull, cotangent)
        if "b" in gradients:
            total = np.zeros(cotangent.numbers.shape[-1], np.float32)
            for row in cotangent.numbers.reshape(-1, len(total)):
                total = from_bfloat16(to_bfloat16(total + row))
            gradients["b"] = total
        return gradients


class DeclaresBiasGradient(SumsBiasGradientInBfloat16):
    """Says which one of its gradients it sums where it is stored."""

    accumulators = (("conv*", "bfloat16", "gradients/b", "bfloat16"), *Honest.accumulators)


class OneElementInBfloat16(ChangesOutput):
    """Rounds its largest element, and no other, to 6 bits: no accumulator does that."""

    def changed(self, output: Array) -> Array:
        numbers = output.numbers.copy()
        place = np.unravel_index(np.argmax(np.abs(numbers)), numbers.shape)
        numbers[place] *= 1 + 2.0**-6
        return Array(output.format, from_bfloat16(to_bfloat16(numbers)))


class ComputesInFloat32(RoundsOperands):
    """Answers float64 questions in float32, from the operands to the sums."""

    def given(self, inputs: dict[str, Array | None], forward: Any) -> Array:
        def in_single(**operands: np.ndarray) -> tuple[np.ndarray, PullBack]:
            return forward(**{name: x.astype(np.float32) for name, x in operands.items()})

        return Honest.given(self, inputs, in_single)

    def pulled(self, pull: PullBack, cotangent: Array) -> dict[str, np.ndarray]:
        return pull(cotangent.numbers.astype(np.float32))


class ConvolvesByFourier(Honest):
    """Convolves in the frequency domain, in float32, without saying so."""

    def conv2d(self, attributes: Convolution, x: Native, w: Native, b: Native | None = None) -> Native:
        check(attributes.stride == (1, 1) == attributes.dilation, "strides are for others")
        honest = super().conv2d(attributes, x, w, b)
        grid, pads = self.grid(attributes, x.shape, w.shape[:2], attributes.dilation)
        canvas = np.pad(x.numbers, ((0, 0), *pads, (0, 0)))
        size = canvas.shape[1:3]
        flipped = w.numbers[::-1, ::-1]
        spectrum = np.einsum(
            "nhwc,hwco->nhwo",
            np.fft.rfft2(canvas, axes=(1, 2)),
            np.fft.rfft2(flipped, size, axes=(0, 1)),
            dtype=np.complex64,
        )
        full = np.fft.irfft2(spectrum, size, axes=(1, 2)).astype(np.float32)
        rows, columns = (k - 1 for k in w.shape[:2])
        y = full[:, rows : rows + grid.counts[0], columns : columns + grid.counts[1]]
        honest.numbers = self.biased(y, None if b is None else b.numbers)
        return honest


class DeclaresTransforms(ConvolvesByFourier):
    """Says that it may convolve so."""

    def describe(self) -> Description:
        return replace(super().describe(), transforms=("conv*",))


class GivesNegativeZeros(ChangesOutput):
    """Multiplies by a mask where it should choose: what is dropped keeps its sign."""

    def changed(self, output: Array) -> Array:
        return Array(output.format, np.where(output.numbers == 0, -0.0, output.numbers).astype(output.numbers.dtype))
