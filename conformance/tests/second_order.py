"""Fake backends that differentiate twice: an honest one, and its faults."""

import os
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conformance.backends.base import Gradients, Natives, Program
from conformance.case.job import Description, Refused
from conformance.case.operators import OPERATORS
from conformance.tests.forward_mode import Pushes, with_numbers


class PullsTwice(Pushes):
    """By a product's operands its pull-back at the directions, by the cotangent what is pushed along them."""

    def describe(self) -> Description:
        return replace(super().describe(), second_order=True)

    def pull_twice(
        self, program: Program, operands: Natives, cotangents: Natives, directions: Natives, names: Sequence[str]
    ) -> Natives:
        found = {**self.push(program, operands, directions)}
        given = {name: directions[name] for name in names if name in directions}
        if OPERATORS[program.operator].forward_mode == "product":
            self.tape = []
            program.run(self, given, lambda _, value: value)
            ((_, _, pull),) = self.tape
            gradients = pull(cotangents["output"].numbers)
            found |= {name: with_numbers(value, gradients[name]) for name, value in given.items()}
        else:  # of lines
            found |= {name: with_numbers(value, np.zeros_like(value.numbers)) for name, value in given.items()}
        return found


class Changes(PullsTwice):
    """Changes one of the arrays."""

    name = ""

    def changed(self, numbers: np.ndarray) -> np.ndarray:
        raise NotImplementedError

    def pull_twice(
        self, program: Program, operands: Natives, cotangents: Natives, directions: Natives, names: Sequence[str]
    ) -> Natives:
        found = super().pull_twice(program, operands, cotangents, directions, names)
        return {**found, self.name: with_numbers(found[self.name], self.changed(found[self.name].numbers))}


class GradientIsConstant(Changes):
    """A backward kernel that is differentiated as if it did not depend on the image."""

    name = "x"

    def changed(self, numbers: np.ndarray) -> np.ndarray:
        return np.zeros_like(numbers)


class GivesTwice(Changes):
    """Counts both orders of the mixed derivative."""

    name = "w"

    def changed(self, numbers: np.ndarray) -> np.ndarray:
        return 2 * numbers


class CotangentShort(Changes):
    """The derivative by the cotangent is short by a millionth."""

    name = "output"

    def changed(self, numbers: np.ndarray) -> np.ndarray:
        return numbers * (1 - 1e-6)


class CurvesALine(Changes):
    """A second derivative of what has none."""

    name = "x"

    def changed(self, numbers: np.ndarray) -> np.ndarray:
        return numbers + np.float32(1e-30)


class RaisesTwice(PullsTwice):
    """Has gradients, and none of them."""

    def pull_twice(
        self, program: Program, operands: Natives, cotangents: Natives, directions: Natives, names: Sequence[str]
    ) -> Natives:
        raise LookupError("derivative of the backward kernel is not implemented")


class RefusesOneGradient(RaisesTwice):
    """Has no kernel for the gradient of a weight, and so no derivative of that."""

    def evaluate(self, *asked: Any) -> tuple[Natives, Gradients]:
        outputs, gradients = super().evaluate(*asked)
        return outputs, {**gradients, "w": Refused(error="LookupError", message="no backward kernel")}


class PullsNothing(PullsTwice):
    """Answers without what was asked."""

    def pull_twice(
        self, program: Program, operands: Natives, cotangents: Natives, directions: Natives, names: Sequence[str]
    ) -> Natives:
        return {}


class DiesTwice(PullsTwice):
    """The process ends in the second derivative alone."""

    def pull_twice(
        self, program: Program, operands: Natives, cotangents: Natives, directions: Natives, names: Sequence[str]
    ) -> Natives:
        os.abort()


class DiesInBoth(DiesTwice):
    """The process ends in forward mode, too."""

    def push(self, program: Program, operands: Natives, tangents: Natives) -> Natives:
        os.abort()
