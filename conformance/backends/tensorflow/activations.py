"""TensorFlow's activations, and what Keras makes of them where TensorFlow has none."""

from conformance.backends.base import Idiom, Native, Recorded, translated
from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax
from conformance.case.job import is_native


class TensorFlowActivations(Idiom):
    """A part of the adapter, which brings the framework's modules."""

    tf: Recorded
    nn: Recorded
    math: Recorded

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.relu(x)

    def relu6(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.relu6(x)

    def leaky_relu(self, attributes: LeakyRelu, x: Native) -> Native:
        return self.nn.leaky_relu(x, alpha=attributes.slope)

    def prelu(self, attributes: NoAttributes, x: Native, a: Native) -> Native:
        self.compose("tf.nn has no PReLU")
        # Keras's recipe.
        return self.tf.subtract(self.nn.relu(x), self.tf.multiply(a, self.nn.relu(self.tf.negative(x))))

    def elu(self, attributes: Elu, x: Native) -> Native:
        y = self.nn.elu(x)
        if is_native(attributes.alpha) or attributes.alpha == 1:
            return y
        self.compose("tf.nn.elu has no alpha")
        # Keras's recipe: TensorFlow's own has no alpha.
        return self.tf.where(self.tf.greater(x, 0), y, self.tf.multiply(y, attributes.alpha))

    def selu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.selu(x)

    def gelu(self, attributes: Gelu, x: Native) -> Native:
        return self.nn.gelu(x, approximate=translated(attributes.approximate, lambda kind: kind == "tanh"))

    def silu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.silu(x)

    def mish(self, attributes: NoAttributes, x: Native) -> Native:
        self.compose("tf.nn has no mish")
        # Keras's recipe.
        return self.tf.multiply(x, self.tf.tanh(self.nn.softplus(x)))

    def softplus(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.softplus(x)

    def softsign(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.softsign(x)

    def sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.tf.sigmoid(x)

    def log_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.math.log_sigmoid(x)

    def hard_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        self.compose("tf.nn has no hard sigmoid")
        # Keras's recipe.
        return self.tf.divide(self.nn.relu6(self.tf.add(x, 3.0)), 6.0)

    def hard_swish(self, attributes: NoAttributes, x: Native) -> Native:
        self.compose("tf.nn has no hard swish")
        # Keras's recipe.
        return self.tf.multiply(x, self.hard_sigmoid(attributes, x))

    def tanh(self, attributes: NoAttributes, x: Native) -> Native:
        return self.tf.tanh(x)

    def hard_tanh(self, attributes: HardTanh, x: Native) -> Native:
        return self.tf.clip_by_value(x, clip_value_min=attributes.low, clip_value_max=attributes.high)

    def softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.nn.softmax(x, axis=attributes.axis)

    def log_softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.nn.log_softmax(x, axis=attributes.axis)
