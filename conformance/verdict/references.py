"""The reference of every operator: the project's own, and those of operators that installed packages offer.

A package adds its own by an entry point of the group `conformance.references`, whose value maps names to `Reference`.
Workers never read them.
"""

from collections.abc import Mapping
from importlib import metadata
from types import MappingProxyType
from typing import Final

from conformance.errors import InvalidOperator
from conformance.reference.operators import OPERATORS, Reference


def joined(*tables: Mapping[str, Reference]) -> Mapping[str, Reference]:
    """Several tables as one.

    Raises:
        InvalidOperator: if two have one name.
    """
    whole: dict[str, Reference] = {}
    for table in tables:
        for name in whole.keys() & table.keys():
            raise InvalidOperator("references", name)
        whole |= table
    return MappingProxyType(whole)


REFERENCE: Final = joined(
    OPERATORS, *(entry.load() for entry in metadata.entry_points(group="conformance.references"))
)
