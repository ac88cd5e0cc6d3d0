"""Conformance tests for the operators of convolutional networks, across frameworks.

`judge`, `explain` and `load_runs` are the Python face; everything else is reached from the command line or pytest.
Nothing is imported until it is asked for: a worker process that needs one adapter must not pay for, or depend on, the
rest.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from conformance.assertions import Judged, judge
    from conformance.report.answers import explain
    from conformance.run.store import load_runs

__all__ = ["Judged", "explain", "judge", "load_runs"]


def __getattr__(name: str) -> Any:
    if name in ("Judged", "judge"):
        from conformance import assertions

        return getattr(assertions, name)
    if name == "explain":
        from conformance.report.answers import explain

        return explain
    if name == "load_runs":
        from conformance.run.store import load_runs

        return load_runs
    raise AttributeError(f"module 'conformance' has no attribute {name!r}")
