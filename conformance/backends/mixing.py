"""Mixed precision in training: layers compute in bfloat16, parameters, their gradients and the update are float32.

One table says which layer computes in what; every framework here comes to the same one, by its own means, but for
what PyTorch's autocast has lists of. Sums over a batch that are compared or kept, losses and normalisations, stay in
float32, as the guides of all of them have it.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable
from fnmatch import fnmatchcase
from typing import Any, Final

from conformance.backends.base import Mode, Native
from conformance.case.job import AS_GIVEN

NAME: Final = "mixed"
MODE: Final = Mode(
    about="trainings alone, in mixed precision: layers in bfloat16, parameters and updates in float32",
    # XLA leaves the rounding between two layers out where it compiles both into one loop, unless it is told.
    environment={"XLA_FLAGS": "--xla_allow_excess_precision=false"},
    lacks=("*",),
)

# (operator glob, format it computes in, format of what it gives), see `Description.layer_formats`. Keras's policy
# casts what every layer takes; its normalisations and losses cast back.
Table = tuple[tuple[str, str, str], ...]
LOSSES_AND_STATISTICS: Final[Table] = (
    ("*cross_entropy*", "float32", "float32"),
    ("batch_norm*", "float32", "bfloat16"),
)
LAYER_FORMATS: Final[Table] = (
    *LOSSES_AND_STATISTICS,
    ("local_response_norm", "float32", "bfloat16"),
    ("add", AS_GIVEN, AS_GIVEN),
    ("multiply", AS_GIVEN, AS_GIVEN),
    ("*", "bfloat16", "bfloat16"),
)
# Autocast casts what products take, and what a cross-entropy or a power takes back to float32; the others give what
# they are given: behind a local response normalisation, which divides by a power, a pool is in float32.
AUTOCAST: Final[Table] = (
    *LOSSES_AND_STATISTICS,
    *((glob, "bfloat16", "bfloat16") for glob in ("conv*", "dense", "matmul*")),
    ("local_response_norm", "bfloat16", "float32"),
    ("*", AS_GIVEN, AS_GIVEN),
)


def layer_formats(modes: tuple[str, ...], table: Table = LAYER_FORMATS) -> Table:
    """A framework's table, where the mode is asked."""
    return table if NAME in modes else ()


class MixedLayers(ABC):
    """A part of an adapter whose framework leaves the casts to its users: they stand around every layer."""

    modes: tuple[str, ...]

    @abstractmethod
    def cast(self, x: Native, format_name: str) -> Native:
        """The numbers in a format; integers and masks, and what is in it already, stay."""

    def layer(self, operator: str) -> Callable[..., Native]:
        """The adapter's method for a layer of a chain, between casts where the mode is asked."""
        method: Callable[..., Native] = super().layer(operator)  # type: ignore[misc]
        if NAME not in self.modes:
            return method
        computed, given = next(row for glob, *row in LAYER_FORMATS if fnmatchcase(operator, glob))
        if computed == AS_GIVEN:
            return method

        def between_casts(attributes: Any, **operands: Native) -> Native:
            made = method(attributes, **{name: self.cast(value, computed) for name, value in operands.items()})
            if isinstance(made, dict):  # statistics stay as they were computed
                return {**made, "output": self.cast(made["output"], given)}
            return self.cast(made, given)

        return between_casts
