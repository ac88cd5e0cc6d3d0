"""ONNX's activations: one node an operator, where ONNX has it."""

from abc import abstractmethod

from conformance.backends.base import Idiom, Native
from conformance.backends.onnxruntime.graph import Graph
from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Elu, Gelu, HardTanh, LeakyRelu, Softmax
from conformance.case.job import is_native


class OnnxActivations(Idiom):
    """A part of the adapter, which brings new models and the layout."""

    @abstractmethod
    def _graph(self, name: str) -> Graph:
        """An empty model."""

    @abstractmethod
    def _first(self, x: Native) -> Native:
        """With the channels behind the batch."""

    @abstractmethod
    def _last(self, y: Native) -> Native:
        """With the channels at the end."""

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("relu")
        return g.last(g.node("Relu", g.input("x", x)))

    def relu6(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("relu6")
        return g.last(g.node("Clip", g.input("x", x), g.scalar("min", 0.0, x), g.scalar("max", 6.0, x)))

    def leaky_relu(self, attributes: LeakyRelu, x: Native) -> Native:
        g = self._graph("leaky_relu")
        return g.last(g.node("LeakyRelu", g.input("x", x), alpha=attributes.slope))

    def prelu(self, attributes: NoAttributes, x: Native, a: Native) -> Native:
        g = self._graph("prelu")
        x = self._first(x)
        slope = a.reshape(-1, *(1,) * (x.ndim - 2))  # ONNX broadcasts it from the last axis
        return self._last(g.last(g.node("PRelu", g.input("x", x), g.parameter("slope", slope))))

    def elu(self, attributes: Elu, x: Native) -> Native:
        g = self._graph("elu")
        return g.last(g.node("Elu", g.input("x", x), alpha=attributes.alpha))

    def selu(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("selu")
        return g.last(g.node("Selu", g.input("x", x)))

    def gelu(self, attributes: Gelu, x: Native) -> Native:
        g = self._graph("gelu")
        return g.last(g.node("Gelu", g.input("x", x), approximate=attributes.approximate))

    def silu(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("silu")
        return g.last(g.node("Swish", g.input("x", x)))

    def mish(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("mish")
        return g.last(g.node("Mish", g.input("x", x)))

    def softplus(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("softplus")
        return g.last(g.node("Softplus", g.input("x", x)))

    def softsign(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("softsign")
        return g.last(g.node("Softsign", g.input("x", x)))

    def sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("sigmoid")
        return g.last(g.node("Sigmoid", g.input("x", x)))

    def log_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        self.compose("ONNX has no logarithm of a sigmoid")
        g = self._graph("log_sigmoid")
        return g.last(g.node("Neg", g.node("Softplus", g.node("Neg", g.input("x", x)))))

    def hard_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("hard_sigmoid")
        if self.own:  # ONNX's own slope is one fifth
            return g.last(g.node("HardSigmoid", g.input("x", x)))
        return g.last(g.node("HardSigmoid", g.input("x", x), alpha=1 / 6, beta=0.5))

    def hard_swish(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("hard_swish")
        return g.last(g.node("HardSwish", g.input("x", x)))

    def tanh(self, attributes: NoAttributes, x: Native) -> Native:
        g = self._graph("tanh")
        return g.last(g.node("Tanh", g.input("x", x)))

    def hard_tanh(self, attributes: HardTanh, x: Native) -> Native:
        g = self._graph("hard_tanh")
        ends = [
            "" if is_native(end) else g.scalar(name, end, x)
            for name, end in (("min", attributes.low), ("max", attributes.high))
        ]
        return g.last(g.node("Clip", g.input("x", x), *ends))

    def softmax(self, attributes: Softmax, x: Native) -> Native:
        g = self._graph("softmax")
        return g.last(g.node("Softmax", g.input("x", x), axis=attributes.axis))

    def log_softmax(self, attributes: Softmax, x: Native) -> Native:
        g = self._graph("log_softmax")
        return g.last(g.node("LogSoftmax", g.input("x", x), axis=attributes.axis))
