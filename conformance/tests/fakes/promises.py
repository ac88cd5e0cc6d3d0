"""Broken promises of the contract."""

import os
from dataclasses import replace
from typing import ClassVar

import numpy as np

from conformance.backends.base import Gradients, Natives, Program
from conformance.case.job import Description, Job, Outputs
from conformance.tests.fakes.arithmetic import Array, from_bfloat16, to_bfloat16
from conformance.tests.fakes.honest import ChangesOutput, Honest


class TakesAnyDevice(Honest):
    """Runs on the processor whatever it was asked for, and says so."""

    def __init__(self, device: str, modes: tuple[str, ...]) -> None:
        super().__init__("cpu", modes)


class LiesAboutItsDevice(Honest):
    """Says that it is on a device that nobody asked for."""

    def describe(self) -> Description:
        return replace(super().describe(), device="cuda (fake)")


class RoundsTwice(ChangesOutput):
    """Stores float64 results by way of float32."""

    def changed(self, output: Array) -> Array:
        with np.errstate(over="ignore"):
            return Array(output.format, output.numbers.astype(np.float32).astype(output.numbers.dtype))


class CutsBfloat16(ChangesOutput):
    """Stores bfloat16 results with their last bit cut off."""

    def changed(self, output: Array) -> Array:
        if output.format != "bfloat16":
            return output
        return Array("bfloat16", from_bfloat16(to_bfloat16(output.numbers) & np.uint16(0xFFFE)))


class AnswersUnknownOperators(Honest):
    """Takes an operator that it has never heard of for an identity."""

    def answer(self, job: Job) -> Outputs:
        if job.operator == "no_such_operator":
            return Outputs(outputs={})
        return super().answer(job)


class PullsBackAnyShape(Honest):
    """Gives gradients for a cotangent that does not fit."""

    def evaluate(
        self, program: Program, operands: Natives, sources: tuple[str, ...], cotangents: Natives
    ) -> tuple[Natives, Gradients]:
        outputs, _ = super().evaluate(program, operands, (), {})
        return outputs, {name: operands[name] for name in sources}


class HidesWhatItHas(Honest):
    """Calls an operator absent and names it all the same."""

    absent: ClassVar[tuple[str, ...]] = ("conv2d",)

    def describe(self) -> Description:
        return replace(super().describe(), operators=(*self.operators(), "conv2d"))


class NamesUnknownOperators(Honest):
    """Names an operator that nobody knows."""

    @classmethod
    def operators(cls) -> tuple[str, ...]:
        return (*super().operators(), "conv5d")


class FlushesSmallNumbers(ChangesOutput):
    """Takes the smallest normal numbers of float16 for zero."""

    def changed(self, output: Array) -> Array:
        if output.format != "float16":
            return output
        return Array("float16", np.where(np.abs(output.numbers) <= 2.0**-14, 0, output.numbers))


class DiesOfRefusals(Honest):
    """Takes its process with it where it should refuse."""

    def answer(self, job: Job) -> Outputs:
        try:
            return super().answer(job)
        except ValueError:
            os.abort()
