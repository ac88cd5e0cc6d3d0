"""JAX's activations: one line an operator, called by its name."""

from conformance.backends.base import Idiom, Native, Recorded, translated
from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax
from conformance.case.job import is_native


class JaxActivations(Idiom):
    """A part of the adapter, which brings the framework's modules."""

    jnp: Recorded
    nn: Recorded

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.relu(x)

    def relu6(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.relu6(x)

    def leaky_relu(self, attributes: LeakyRelu, x: Native) -> Native:
        return self.nn.leaky_relu(x, negative_slope=attributes.slope)

    def prelu(self, attributes: NoAttributes, x: Native, a: Native) -> Native:
        self.compose("jax.nn has no PReLU")
        # Flax's recipe.
        return self.jnp.where(self.jnp.greater_equal(x, 0), x, self.jnp.multiply(a, x))

    def elu(self, attributes: Elu, x: Native) -> Native:
        return self.nn.elu(x, alpha=attributes.alpha)

    def selu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.selu(x)

    def gelu(self, attributes: Gelu, x: Native) -> Native:
        return self.nn.gelu(x, approximate=translated(attributes.approximate, lambda kind: kind == "tanh"))

    def silu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.silu(x)

    def mish(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.mish(x)

    def softplus(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.softplus(x)

    def softsign(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.soft_sign(x)

    def sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.sigmoid(x)

    def log_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.log_sigmoid(x)

    def hard_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.hard_sigmoid(x)

    def hard_swish(self, attributes: NoAttributes, x: Native) -> Native:
        return self.nn.hard_swish(x)

    def tanh(self, attributes: NoAttributes, x: Native) -> Native:
        return self.jnp.tanh(x)

    def hard_tanh(self, attributes: HardTanh, x: Native) -> Native:
        if is_native(attributes.low) or (attributes.low, attributes.high) == (-1, 1):
            return self.nn.hard_tanh(x)
        return self.jnp.clip(x, attributes.low, attributes.high)

    def softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.nn.softmax(x, axis=attributes.axis)

    def log_softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.nn.log_softmax(x, axis=attributes.axis)
