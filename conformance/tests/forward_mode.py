"""Fake backends with a forward mode: an honest one over central differences that lose nothing, and its faults."""

import os
from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from conformance.backends.base import Native, Natives, Program
from conformance.case.contract import NoAttributes
from conformance.case.job import Description
from conformance.case.operators import OPERATORS
from conformance.tests.fakes import Array, Honest


def with_numbers(array: Array, numbers: np.ndarray) -> Array:
    """An array of other numbers in the same format."""
    return replace(array, numbers=numbers.astype(array.numbers.dtype))


class Pushes(Honest):
    """Adds up the program's own results on tangents: of each factor in turn, and of the bias alone.

    A function of single elements pulls the tangent back instead: its Jacobian is its own transpose.
    """

    def describe(self) -> Description:
        return replace(super().describe(), forward_mode=True)

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        if OPERATORS[program.operator].forward_mode == "elementwise":
            self.tape = []
            program.run(self, operands, lambda _, value: value)
            ((_, _, pull),) = self.tape
            return {"output": with_numbers(operands["x"], pull(tangents["x"].numbers)["x"])}
        terms = [self.term(program, operands, tangents, name) for name in self.pushed(tangents)]
        total = sum(term.numbers for term in terms)
        return {"output": with_numbers(terms[0], total)}

    def pushed(self, tangents: Natives) -> list[str]:
        """The operands whose tangents count."""
        return list(tangents)

    def term(self, program: Program, operands: Natives, tangents: Natives, name: str) -> Native:
        """What one operand's tangent gives: a bias stands alone, and joins no other term."""
        given = {key: value for key, value in operands.items() if key != "b" or name == "b"}
        if name == "b":
            given["x"] = with_numbers(given["x"], np.zeros_like(given["x"].numbers))
        self.tape = []
        return program.run(self, {**given, name: tangents[name]}, lambda _, value: value)["output"]


class ForgetsTheKernel(Pushes):
    """The tangent of the kernel is held to be zero."""

    def pushed(self, tangents: Natives) -> list[str]:
        return [name for name in tangents if name != "w"]


class PushesTooLittle(Pushes):
    """One element in a million is enough to tell: all tangents are short by that."""

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        found: Mapping[str, Array] = super().push(program, operands, tangents)
        return {name: with_numbers(array, array.numbers * (1 - 1e-6)) for name, array in found.items()}


class RaisesForward(Pushes):
    """Has a forward mode, but not of this."""

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        raise LookupError("gradient registry has no entry")


class PushesNothing(Pushes):
    """Answers without the tangent that was asked."""

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        return {}


class DiesForward(Pushes):
    """The process ends in forward mode alone."""

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        os.abort()


class RaisesAlways(Pushes):
    """Has neither outputs nor tangents of a matrix product."""

    def dense(self, attributes: NoAttributes, x: Native, w: Native, b: Native | None = None) -> Native:
        raise LookupError("no kernel")
