"""The shipped cases, loaded once a process."""

from functools import cache

from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.model import Case


@cache
def shipped(folder: str = "") -> tuple[Case, ...]:
    """All cases, or those of a folder."""
    return load([default_root() / folder])


@cache
def core() -> tuple[Case, ...]:
    """What everybody is asked: sweeps and full sizes are left to the tier `full`."""
    return tuple(case for case in shipped() if case.tier != "full")
