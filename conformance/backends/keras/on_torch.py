"""Keras on PyTorch: autograd for gradients."""

from collections.abc import Sequence
from typing import ClassVar

from conformance.backends.base import Gradients, Names, Native, Natives, Program, Trainer, one_at_a_time
from conformance.backends.keras.backend import KerasBackend
from conformance.backends.torch.backend import TorchBackend
from conformance.case.job import BuildNetwork


class KerasOnTorch(KerasBackend):
    """The layers in PyTorch's hands."""

    name: ClassVar[str] = "keras-torch"
    engine: ClassVar[str] = "torch"
    below: ClassVar[type[TorchBackend]] = TorchBackend
    # Keras's mish is x times a tanh.
    assembled: ClassVar[tuple[str, ...]] = ("mish",)
    # keras.ops subtracts, multiplies and adds.
    stepwise: ClassVar[tuple[str, ...]] = ("batch_norm",)
    beside: ClassVar[tuple[str, ...]] = (TorchBackend.module,)
    install: ClassVar[str] = 'pip install "keras>=3.15,<3.16" "torch>=2.6,<2.14"'
    prelude: ClassVar[tuple[str, ...]] = (
        "import os",
        'os.environ["KERAS_BACKEND"] = "torch"',
        "import keras",
        *TorchBackend.prelude,
    )
    native: ClassVar[str] = TorchBackend.native
    numbers: ClassVar[str] = TorchBackend.numbers
    dtype: ClassVar[str] = TorchBackend.dtype

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        import torch

        self.listen(self.log)
        for name in sources:
            if name in operands:
                operands[name].requires_grad_()
        with self.keras.device(self.device):
            outputs = program.run(self, operands, lambda _, value: value)
        if not sources or any(outputs[name].shape != value.shape for name, value in cotangents.items()):
            return outputs, {}
        wanted = {name: self.watched(operands[name]) if name in operands else outputs[name] for name in sources}
        heads = [outputs[name] for name in cotangents]

        def pull(*names: str) -> Native:
            return torch.autograd.grad(
                heads, [wanted[name] for name in names], list(cotangents.values()), retain_graph=True
            )

        try:
            return outputs, dict(zip(sources, pull(*sources), strict=True))
        except Exception:
            return outputs, one_at_a_time(sources, lambda name: pull(name)[0])

    def trainer(self, build: BuildNetwork) -> Trainer:
        from conformance.backends.keras.training import TrainerOnTorch

        return TrainerOnTorch(self, build)

    @classmethod
    def script(cls, calls: Sequence[str], names: Names) -> tuple[str, ...]:
        if not names.sources:
            return tuple(calls)
        asked = ", ".join(cls.asked_of(calls, names.sources))
        given = f"[{', '.join(names.heads)}], [{asked}], [{', '.join(names.cotangents)}]"
        return (
            f"[tensor.requires_grad_() for tensor in [{', '.join(names.sources)}]]",
            *calls,
            f"[{', '.join(names.gradients)}] = torch.autograd.grad({given})",
        )
