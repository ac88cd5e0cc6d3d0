"""An operator's attributes as people write them become its dataclass: one reading for files and for calls."""

from dataclasses import MISSING, fields, replace
from functools import cache
from typing import Any

from conformance.case.contract import Operator, per_axis_names
from conformance.case.expansion import show
from conformance.case.grammar import Fault, check_attributes
from conformance.case.operators import OPERATORS
from conformance.case.yaml12 import Plain


def read_attributes(operator: Operator, given: Plain, *, lenient: bool = False) -> tuple[Any, list[Fault]]:
    """The operator's dataclass, one number for all axes written out; or None and what is wrong.

    Args:
        operator: whose attributes they are.
        given: by name, lists as tuples.
        lenient: entries are not counted against the axes, for a question that must be refused.
    """
    values, faults = check_attributes(operator.name, given)
    faults = [replace(fault, message=f"{operator.name}: {fault.message}") for fault in faults]
    missing = [name for name in _required(operator.name) if name not in given]
    faults += [Fault((), f"{operator.name} needs the attribute {name!r}") for name in missing]
    if values is None or missing:
        return None, faults
    for name in per_axis_names(operator.attributes):
        value = values.get(name)
        if isinstance(value, int):
            values[name] = ((value, value) if name == "padding" else value,) * operator.rank
        elif isinstance(value, tuple) and len(value) != operator.rank and not lenient:
            what = "pairs" if name == "padding" else "integers"
            message = (
                f"{operator.name}: {name} takes one integer, or {operator.rank} {what} (one a spatial axis), "
                f"got {show(value)}"
            )
            return None, [*faults, Fault((name,), message, typed=True)]
    return operator.resolve(operator.attributes(**values)), faults


@cache
def _required(operator: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(OPERATORS[operator].attributes) if field.default is MISSING)
