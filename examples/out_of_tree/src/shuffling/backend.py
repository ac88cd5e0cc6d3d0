"""NumPy as a backend: two operators, without gradients."""

import platform
from typing import ClassVar

import numpy as np

from conformance.backends.base import Backend, Gradients, Native, Natives, Program, Recorded
from conformance.case.contract import NoAttributes
from conformance.case.job import Description, Tensor, Unsupported
from conformance.errors import NotTranslatable
from shuffling.contract import ChannelShuffle


class NumPyBackend(Backend):
    """NumPy's functions, recorded."""

    module: ClassVar[str] = "numpy"
    install: ClassVar[str] = 'pip install "numpy>=1.26"'
    absent: ClassVar[tuple[str, ...]] = ("*:gradients",)
    partial: ClassVar[bool] = True
    prelude: ClassVar[tuple[str, ...]] = ("import numpy as np",)

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        if modes or device != "cpu":
            raise NotTranslatable(f"NumPy has no device {device!r} or mode {modes} here")

    def describe(self) -> Description:
        """Says which NumPy it is."""
        return Description(
            backend="numpy",
            versions={"numpy": np.__version__, "python": platform.python_version()},
            device=f"{self.device} ({platform.machine()})",
            cpu_features=(),
            switches={},
            accumulators=(),
            absent=self.absent,
            operators=self.operators(),
        )

    def put(self, tensor: Tensor) -> Native:
        """Copies the numbers."""
        if tensor.format == "bfloat16":
            raise NotTranslatable("NumPy has no bfloat16 of its own")
        return np.array(tensor.data, order="C")

    def get(self, native: Native) -> Tensor:
        """Copies the numbers back."""
        data = np.array(native, order="C")
        return Tensor(data.dtype.name, data)

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        """Runs a program under a record of its calls."""
        self.np = Recorded(np, "np", self.log)
        outputs = program.run(self, operands, lambda _, value: value)
        return outputs, {name: Unsupported(reason="NumPy has no gradients") for name in sources}

    def flatten(self, attributes: NoAttributes, x: Native) -> Native:
        """An operator of the harness."""
        return self.np.reshape(x, (x.shape[0], int(np.prod(x.shape[1:]))))

    def channel_shuffle(self, attributes: ChannelShuffle, x: Native) -> Native:
        """Our own operator."""
        split = self.np.reshape(x, (*x.shape[:-1], attributes.groups, x.shape[-1] // attributes.groups))
        return self.np.reshape(self.np.swapaxes(split, -1, -2), x.shape)
