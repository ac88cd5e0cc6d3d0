"""Random polynomials, element by element."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from conformance.case.families.signals import Polynomial
from conformance.run.sampling.dice import Dice, Sampler, spread_of


def _polynomial(dice: Dice) -> Polynomial:
    return Polynomial(coefficients=tuple(dice.integer(-16, 16) / 8 for _ in range(dice.integer(2, 5))))


SAMPLERS: Final[Mapping[str, Sampler]] = MappingProxyType({"polynomial": spread_of(_polynomial)})
