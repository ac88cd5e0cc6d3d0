"""What moves, joins and multiplies in Keras."""

from conformance.backends.base import Native
from conformance.backends.keras.idiom import KerasIdiom, unless
from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Concat, Mean, Pad, additions, cuts
from conformance.case.families.signals import Polynomial
from conformance.case.job import is_native


class KerasArrays(KerasIdiom):
    """A part of the adapter."""

    def pad(self, attributes: Pad, x: Native) -> Native:
        a, padding = attributes, attributes.padding
        if any(min(pair) < 0 for pair in padding):
            self.compose("Keras's pads cut nothing off")
            starts = tuple(low for low, _ in cuts(padding))
            kept = tuple(n - sum(cut) for n, cut in zip(x.shape, cuts(padding), strict=True))
            x, padding = self.ops.slice(x, starts, kept), additions(padding)
        if is_native(a.mode):
            return self.ops.pad(x, padding)
        if a.mode != "constant":
            return self.ops.pad(x, padding, mode=a.mode)
        spatial = padding[1:-1]
        if a.value == 0 and len(x.shape) in (3, 4, 5) and not any((*padding[0], *padding[-1])) and any(spatial):
            return self.zero_padded(x, spatial)
        return self.ops.pad(x, padding, constant_values=a.value)

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        if len(x.shape) == 1:
            self.compose("Keras's Dense takes batches alone")
            return self.biased(self.ops.matmul(x, w), b)
        bias = unless(True, use_bias=b is not None)
        return self.weighted("Dense", x, {"kernel": w, "bias": b}, w.shape[-1], **bias).output

    def bias_add(self, attributes: NoAttributes, x: Native, b: Native) -> Native:
        return self.ops.add(x, b)

    def matmul(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.ops.matmul(x, y)

    def add(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.plain("Add", [x, y]) if x.shape == y.shape and len(x.shape) > 1 else self.ops.add(x, y)

    def multiply(self, attributes: NoAttributes, x: Native, y: Native) -> Native:
        return self.plain("Multiply", [x, y]) if x.shape == y.shape and len(x.shape) > 1 else self.ops.multiply(x, y)

    def concat(self, attributes: Concat, x: Native, y: Native) -> Native:
        axis = attributes.axis
        if not is_native(axis) and axis % len(x.shape) == 0:
            return self.ops.concatenate([x, y], axis=axis)  # the layer never joins batches
        return self.plain("Concatenate", [x, y], axis=axis)

    def mean(self, attributes: Mean, x: Native) -> Native:
        return self.ops.mean(x, axis=attributes.axes, keepdims=attributes.keepdims)

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        return self.plain("Flatten", x)

    def polynomial(self, attributes: Polynomial, x: Native) -> Native:
        y = self.ops.zeros_like(x)  # NumPy's recipe
        for coefficient in attributes.coefficients:
            y = self.ops.add(self.ops.multiply(y, x), coefficient)
        return y
