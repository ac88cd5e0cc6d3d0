"""PyTorch's activations: one line an operator, called by its name."""

from conformance.backends.base import Idiom, Native, Recorded
from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax


class TorchActivations(Idiom):
    """A part of the adapter, which brings the framework's modules."""

    torch: Recorded
    F: Recorded

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.relu(x)

    def relu6(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.relu6(x)

    def leaky_relu(self, attributes: LeakyRelu, x: Native) -> Native:
        return self.F.leaky_relu(x, negative_slope=attributes.slope)

    def elu(self, attributes: Elu, x: Native) -> Native:
        return self.F.elu(x, alpha=attributes.alpha)

    def selu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.selu(x)

    def gelu(self, attributes: Gelu, x: Native) -> Native:
        return self.F.gelu(x, approximate=attributes.approximate)

    def silu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.silu(x)

    def mish(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.mish(x)

    def softplus(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.softplus(x)

    def softsign(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.softsign(x)

    def sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.torch.sigmoid(x)

    def log_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.logsigmoid(x)

    def hard_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.hardsigmoid(x)

    def hard_swish(self, attributes: NoAttributes, x: Native) -> Native:
        return self.F.hardswish(x)

    def tanh(self, attributes: NoAttributes, x: Native) -> Native:
        return self.torch.tanh(x)

    def hard_tanh(self, attributes: HardTanh, x: Native) -> Native:
        return self.F.hardtanh(x, min_val=attributes.low, max_val=attributes.high)

    def softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.F.softmax(x, dim=attributes.axis)

    def log_softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.F.log_softmax(x, dim=attributes.axis)
