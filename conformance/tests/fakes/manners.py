"""Wrong manners, and habits of other frameworks: what surrounds the numbers."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, ClassVar

import numpy as np

from conformance.backends.base import Gradients, Mode, Native, Natives, Program
from conformance.case.job import Description, Job, Outputs, Tensor
from conformance.errors import NotTranslatable
from conformance.tests.fakes.arithmetic import Array, check, stored
from conformance.tests.fakes.honest import ChangesOutput, Honest

# Variables that decide how many threads a process takes.
ENVIRONMENT = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "TF_NUM_INTRAOP_THREADS",
    "TF_NUM_INTEROP_THREADS",
    "NPROC",
    "XLA_FLAGS",
)


class AnswersFromElsewhere(ChangesOutput):
    """Computes what it should, on another device."""

    def changed(self, output: Array) -> Array:
        return replace(output, device="abacus")


class PullsBackElsewhere(Honest):
    """Its outputs are where they should be, its gradients on another device; those of w are right, the others not."""

    def evaluate(self, *asked: Any) -> tuple[Natives, Gradients]:
        outputs, gradients = super().evaluate(*asked)
        wrong = {name: replace(value, numbers=value.numbers + 1) for name, value in gradients.items() if name != "w"}
        return outputs, {name: replace(value, device="abacus") for name, value in {**gradients, **wrong}.items()}


class AnswersEverySecondTime(Honest):
    """Refuses a question that it has just answered."""

    answered = False

    def answer(self, job: Job) -> Outputs:
        self.answered = not self.answered
        check(self.answered, "not twice")
        return super().answer(job)


class Driven(Honest):
    """Can be driven in several modes, and tells its environment."""

    offers: ClassVar[Mapping[str, Mode]] = {
        "quick": Mode(about="quicker", environment={"NPROC": "7"}, excludes=("slow",)),
        "slow": Mode(about="slower", costly=True, trains=False),
        "far": Mode(about="on the abacus alone", devices=("abacus",)),
        "stock": Mode(about="as it is"),
    }

    def describe(self) -> Description:
        return replace(super().describe(), switches={name: os.environ.get(name, "") for name in ENVIRONMENT})


class Registered(Honest):
    """Is there only where a module that registers it was imported first."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        if os.environ.get("REGISTERED") != "yes":
            raise NotTranslatable("no device has registered")
        super().__init__(device, modes)


class MutatesInput(Honest):
    """Uses its operand's memory for something else."""

    def evaluate(self, program: Program, operands: Natives, *asked: Any) -> tuple[Natives, Gradients]:
        answered = super().evaluate(program, operands, *asked)
        operands["x"].numbers[...] = 0
        return answered


class Raises(Honest):
    """Every operator raises."""

    def method(self, operator: str) -> Callable[..., Native]:
        def method(attributes: Any, **operands: Native) -> Native:
            raise RuntimeError(f"no kernel for {operator}")

        return method


class AcceptsAnything(Honest):
    """Answers zeros where it should refuse."""

    def answer(self, job: Job) -> Outputs:
        try:
            return super().answer(job)
        except (ValueError, IndexError):
            zero = self.get(stored(np.zeros((1, 1, 1, 1)), job.format))
            return Outputs(outputs={"output": zero})


class FollowsIndices(AcceptsAnything):
    """Goes where an index says, and nobody knows what is there."""

    def max_unpool2d(self, attributes: Any, x: Native, indices: Native) -> Native:
        raise IndexError(f"{indices} is not looked at")


class PrintsToStdout(Honest):
    """Prints wherever it can, through Python and past it."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__(device, modes)
        self.say()

    def say(self) -> None:
        sys.stdout.write("through Python\n")
        sys.stderr.write("through Python's stderr\n")
        for descriptor in (1, 2):
            os.write(descriptor, b"past Python\n")
        sys.stdout.flush()

    def answer(self, job: Job) -> Outputs:
        self.say()
        return super().answer(job)


class TellsItsEnvironment(Honest):
    """Describes the variables that it was started with."""

    def describe(self) -> Description:
        return replace(super().describe(), switches={name: os.environ.get(name, "") for name in ENVIRONMENT})


class WhereAmI(Honest):
    """Describes the process that it lives in."""

    def describe(self) -> Description:
        packages = {name.split(".")[1] for name in sys.modules if name.startswith("conformance.")}
        file = getattr(sys.modules["conformance.backends.base"], "__file__", None) or "none"
        switches = {"executable": sys.executable, "file": file, "modules": ", ".join(sorted(packages))}
        return replace(super().describe(), switches=switches)


class LiesAboutOperators(Honest):
    """Names operators that it does not have."""

    @classmethod
    def operators(cls) -> tuple[str, ...]:
        return (*super().operators(), "softmax")


class HidesOperators(Honest):
    """Has convolution, and calls it absent."""

    absent: ClassVar[tuple[str, ...]] = ("conv2d",)


class HasNoGradients(Honest):
    """Is known to have no gradients at all."""

    absent: ClassVar[tuple[str, ...]] = ("*:gradients",)


class InventsFormats(ChangesOutput):
    """Answers in a format that nobody has heard of."""

    def get(self, native: Native) -> Tensor:
        tensor = super().get(native)
        return Tensor("float31", tensor.data) if native.format == "float31" else tensor

    def changed(self, output: Array) -> Array:
        return Array("float31", output.numbers)


class MislabelsFormats(ChangesOutput):
    """Calls double precision single."""

    def get(self, native: Native) -> Tensor:
        return Tensor(native.format, native.numbers)

    def changed(self, output: Array) -> Array:
        return Array(output.format, output.numbers.astype(np.float64))


class AnswersWithLists(Honest):
    """Answers something that has no place on the wire."""

    def answer(self, job: Job) -> Outputs:
        return replace(super().answer(job), calls=({1, 2},))
