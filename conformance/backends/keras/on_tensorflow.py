"""Keras on TensorFlow, eager: `tf.GradientTape` for gradients."""

from collections.abc import Callable, Sequence
from typing import ClassVar

from conformance.backends.base import CallLog, Gradients, Names, Native, Natives, Program, Trainer, one_at_a_time
from conformance.backends.keras.backend import KerasBackend
from conformance.backends.tensorflow.backend import TensorFlowBackend
from conformance.case.job import BuildNetwork


class KerasOnTensorFlow(KerasBackend):
    """The layers in TensorFlow's hands."""

    name: ClassVar[str] = "keras-tf"
    engine: ClassVar[str] = "tensorflow"
    below: ClassVar[type[TensorFlowBackend]] = TensorFlowBackend
    beside: ClassVar[tuple[str, ...]] = (TensorFlowBackend.module,)
    install: ClassVar[str] = 'pip install "keras>=3.15,<3.16" "tensorflow-cpu>=2.19,<2.22"'
    prelude: ClassVar[tuple[str, ...]] = (
        "import os",
        'os.environ["KERAS_BACKEND"] = "tensorflow"',
        "import keras",
        *TensorFlowBackend.prelude,
    )
    native: ClassVar[str] = TensorFlowBackend.native
    numbers: ClassVar[str] = TensorFlowBackend.numbers
    dtype: ClassVar[str] = TensorFlowBackend.dtype

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        outputs, pull = self._taped(program, operands, sources)
        if not sources or any(outputs[name].shape != value.shape for name, value in cotangents.items()):
            return outputs, {}
        try:
            return outputs, pull(cotangents)
        except Exception:
            log = self.log
            self.log = CallLog()
            gradients = one_at_a_time(
                sources, lambda name: self._taped(program, operands, (name,))[1](cotangents)[name]
            )
            self.log = log
            return outputs, gradients

    def _place(self) -> str:
        """The device, as Keras names it."""
        return "gpu:0" if self.device == "cuda" else "cpu:0"

    def _taped(
        self, program: Program, operands: Natives, sources: tuple[str, ...]
    ) -> tuple[Natives, Callable[[Natives], Natives]]:
        """Runs a program under a tape that watches the sources; gives the outputs and what pulls cotangents back."""
        import tensorflow as tf

        self.listen(self.log)
        tape = tf.GradientTape()
        watched: Natives = {}

        def watch(name: str, value: Native) -> Native:
            if name in sources:
                tape.watch(value)
                watched[name] = value
            return value

        with self.keras.device(self._place()), tape:
            for name, value in operands.items():
                watch(name, value)
            outputs = program.run(self, operands, watch)
        asked = {name: self.watched(value) for name, value in watched.items()}

        def pull(cotangents: Natives) -> Natives:
            heads = {name: outputs[name] for name in cotangents}
            with self.keras.device(self._place()):
                gradients: Natives = tape.gradient(
                    heads, asked, output_gradients=cotangents, unconnected_gradients="zero"
                )
            return gradients

        return outputs, pull

    def trainer(self, build: BuildNetwork) -> Trainer:
        from conformance.backends.keras.training import TrainerOnTensorFlow

        return TrainerOnTensorFlow(self, build)

    @classmethod
    def script(cls, calls: Sequence[str], names: Names) -> tuple[str, ...]:
        if not names.sources:
            return tuple(calls)
        asked = ", ".join(cls.asked_of(calls, names.sources))
        given = f"[{', '.join(names.heads)}], [{asked}], output_gradients=[{', '.join(names.cotangents)}]"
        return (
            "with tf.GradientTape() as tape:",
            f"    tape.watch([{', '.join(names.sources)}])",
            *(f"    {call}" for call in calls),
            f'[{", ".join(names.gradients)}] = tape.gradient({given}, unconnected_gradients="zero")',
        )
