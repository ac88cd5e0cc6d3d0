"""The committed counts of agreement that a run must reach, lest green come from silence."""

from collections.abc import Sequence
from dataclasses import field
from pathlib import Path
from typing import Final

from pydantic import ConfigDict, TypeAdapter, ValidationError
from pydantic.dataclasses import dataclass as validated

from conformance.case.job import Description, Target
from conformance.case.model import Check
from conformance.case.yaml12 import read
from conformance.errors import InvalidCases, Problem
from conformance.run.result import Result
from conformance.verdict.model import Outcome

Counts = dict[str, dict[Check, int]]


@validated(frozen=True, slots=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Floors:
    """The least counts of `AGREES`.

    Attributes:
        floors: by target and check.
        without: the same, on machines where a target's backend does not tell of a feature (`cpu_features`); the first
            that it lacks counts.
    """

    floors: Counts
    without: dict[str, Counts] = field(default_factory=dict)

    def of(self, target: Target, description: Description) -> dict[Check, int]:
        """A target's own, on the machine that it describes."""
        for feature, counts in self.without.items():
            if feature not in description.cpu_features and target.name in counts:
                return counts[target.name]
        return self.floors.get(target.name, {})


NO_FLOORS: Final = Floors(floors={})


def below_floor(
    target: Target, description: Description, results: Sequence[Result], floors: Floors
) -> tuple[str, ...]:
    """The checks of which fewer agree than the committed floor asks."""
    told = []
    for check, least in floors.of(target, description).items():
        count = sum(
            check in result.verdicts and result.verdicts[check].outcome is Outcome.AGREES for result in results
        )
        if count < least:
            told.append(f"{target.name}: {count} results agree in {check}, the floor is {least}")
    return tuple(told)


def load_floors(path: Path) -> Floors:
    """Reads a file of floors: `floors: {torch: {outputs: 600, gradients: 500}}`.

    Raises:
        InvalidCases: if it is anything else.
    """
    document = read(path)
    try:
        return TypeAdapter(Floors).validate_python(document.data)
    except ValidationError as error:
        faults = error.errors(include_url=False)
        problems = [
            Problem(str(document.find(fault["loc"])[1]), f"{fault['msg']}, got {fault['input']!r}")
            for fault in faults
        ]
        raise InvalidCases(problems) from error
