"""Keras's activations: one line an operator, called by its name."""

from conformance.backends.base import Native, translated
from conformance.backends.keras.idiom import KerasIdiom
from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax


class KerasActivations(KerasIdiom):
    """A part of the adapter."""

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.relu(x)

    def relu6(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.relu6(x)

    def leaky_relu(self, attributes: LeakyRelu, x: Native) -> Native:
        return self.activations.leaky_relu(x, negative_slope=attributes.slope)

    def prelu(self, attributes: NoAttributes, x: Native, a: Native) -> Native:
        if len(x.shape) == 2:
            return self.weighted("PReLU", x, {"alpha": a}).output
        self.compose("Keras's PReLU has a slope with the axes of an image, all of size 1 but the last")
        # What the layer computes.
        below = self.ops.multiply(a, self.activations.relu(self.ops.negative(x)))
        return self.ops.subtract(self.activations.relu(x), below)

    def elu(self, attributes: Elu, x: Native) -> Native:
        return self.activations.elu(x, alpha=attributes.alpha)

    def selu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.selu(x)

    def gelu(self, attributes: Gelu, x: Native) -> Native:
        return self.activations.gelu(x, approximate=translated(attributes.approximate, lambda kind: kind == "tanh"))

    def silu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.silu(x)

    def mish(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.mish(x)

    def softplus(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.softplus(x)

    def softsign(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.softsign(x)

    def sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.sigmoid(x)

    def log_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.log_sigmoid(x)

    def hard_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.hard_sigmoid(x)

    def hard_swish(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.hard_swish(x)

    def tanh(self, attributes: NoAttributes, x: Native) -> Native:
        return self.activations.tanh(x)

    def hard_tanh(self, attributes: HardTanh, x: Native) -> Native:
        if (attributes.low, attributes.high) == (-1.0, 1.0):
            return self.activations.hard_tanh(x)
        self.compose("Keras's hard_tanh ends at -1 and 1")
        return self.ops.clip(x, attributes.low, attributes.high)

    def softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.plain("Softmax", x, axis=attributes.axis)

    def log_softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.activations.log_softmax(x, axis=attributes.axis)
