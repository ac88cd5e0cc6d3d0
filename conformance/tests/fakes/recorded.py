"""NumPy itself, called through the record: what was done is a script."""

import math
from collections.abc import Sequence
from typing import ClassVar

import numpy as np

from conformance.backends.base import Backend, Gradients, Names, Native, Natives, Program, Recorded
from conformance.case.contract import NoAttributes
from conformance.case.job import Description, Tensor, Unsupported


class NumPyItself(Backend):
    """Calls NumPy through its record, so that what it did is a script."""

    module: ClassVar[str] = "numpy"
    install: ClassVar[str] = 'pip install "numpy>=1.26"'
    prelude: ClassVar[tuple[str, ...]] = ("import numpy as np", "import fractions", "np.seterr(all='raise')")

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self.numpy = Recorded(np, "np", self.log)

    def describe(self) -> Description:
        return Description(
            backend="numpy",
            versions={"numpy": np.__version__},
            device="cpu",
            cpu_features=(),
            switches={},
            accumulators=(("*", "float16", "*", "float16"),),
            absent=("*:gradients",) if type(self).script is Backend.script else (),
            operators=self.operators(),
        )

    def put(self, tensor: Tensor) -> Native:
        return tensor.data.copy()

    def get(self, native: Native) -> Tensor:
        return Tensor(native.dtype.name, np.array(native, order="C"))

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        self.numpy = Recorded(np, "np", self.log)
        outputs = program.run(self, operands, lambda _, value: value)
        return outputs, {name: self.pulled(operands[name], cotangents["output"]) for name in sources}

    def pulled(self, x: Native, cotangent: Native) -> Native:
        return Unsupported(reason="no gradients")

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.numpy.maximum(x, np.zeros((1,), x.dtype))

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        y = self.numpy.matmul(x, w)
        return y if b is None else self.numpy.add(y, b)

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        return self.numpy.reshape(x, (x.shape[0], math.prod(x.shape[1:])))


class NumPyReluLeaks(NumPyItself):
    """A little of what is negative passes."""

    def relu(self, attributes: NoAttributes, x: Native) -> Native:
        return self.numpy.maximum(x, self.numpy.multiply(x, x.dtype.type(0.125)))

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        return self.numpy.reshape(x, (x.shape[0], 5))


class NumPyPullsBack(NumPyItself):
    """Has the gradient of ReLU, and says how a script gets it."""

    def pulled(self, x: Native, cotangent: Native) -> Native:
        return np.where(x > 0, cotangent, x.dtype.type(0))

    @classmethod
    def script(cls, calls: Sequence[str], names: Names) -> tuple[str, ...]:
        pulls = (
            f"{gradient} = np.where({source} > 0, {names.cotangents[0]}, {source}.dtype.type(0))"
            for source, gradient in zip(names.sources, names.gradients, strict=True)
        )
        return (*calls, *pulls)
