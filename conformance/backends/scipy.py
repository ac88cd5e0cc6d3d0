"""SciPy, as its users write it: `scipy.signal` and `scipy.special` on NumPy arrays. It has no gradients."""

import platform
from typing import ClassVar

import numpy as np

from conformance.backends.base import Backend, Gradients, Native, Natives, Program, Recorded
from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Softmax
from conformance.case.families.signals import Signal
from conformance.case.job import Description, Tensor, Unsupported
from conformance.errors import NotTranslatable


class ScipyBackend(Backend):
    """`scipy.signal` by the direct method, `scipy.special`."""

    module: ClassVar[str] = "scipy"
    install: ClassVar[str] = 'pip install "scipy>=1.12"'
    absent: ClassVar[tuple[str, ...]] = ("*:gradients", "chain")
    partial: ClassVar[bool] = True
    prelude: ClassVar[tuple[str, ...]] = ("import scipy.signal", "import scipy.special")

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        import scipy
        import scipy.signal
        import scipy.special

        self._scipy = scipy
        if device != "cpu":
            raise NotTranslatable(f"SciPy has no device {device!r} here")

    def describe(self) -> Description:
        return Description(
            backend="scipy",
            versions={
                "scipy": self._scipy.__version__,
                "numpy": np.__version__,
                "python": platform.python_version(),
            },
            device=f"{self.device} ({platform.machine()})",
            cpu_features=(),
            switches={"method": "direct"},
            accumulators=(),
            absent=self.absent,
            operators=self.operators(),
        )

    def put(self, tensor: Tensor) -> Native:
        if tensor.format == "bfloat16":
            raise NotTranslatable("NumPy has no bfloat16 of its own")
        return np.array(tensor.data, order="C")

    def get(self, native: Native) -> Tensor:
        data = np.array(native, order="C")
        return Tensor(data.dtype.name, data)

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        self.signal = Recorded(self._scipy.signal, "scipy.signal", self.log)
        self.special = Recorded(self._scipy.special, "scipy.special", self.log)
        outputs = program.run(self, operands, lambda _, value: value)
        return outputs, {name: Unsupported(reason="SciPy has no gradients") for name in sources}

    def sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.special.expit(x)

    def softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.special.softmax(x, axis=attributes.axis)

    def log_softmax(self, attributes: Softmax, x: Native) -> Native:
        return self.special.log_softmax(x, axis=attributes.axis)

    def log_sigmoid(self, attributes: NoAttributes, x: Native) -> Native:
        return self.special.log_expit(x)

    def convolve(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self.signal.convolve(x, w, mode=attributes.mode, method="direct")

    def correlate(self, attributes: Signal, x: Native, w: Native) -> Native:
        return self.signal.correlate(x, w, mode=attributes.mode, method="direct")
