"""What the Flax adapter says of itself, without Flax."""

import pytest

from conformance.backends.flax import FlaxBackend
from conformance.case.job import Target
from conformance.tests.shipped import core
from conformance.worker import gateway


def test_it_has_a_method_for_everything_that_it_covers() -> None:
    assert all(callable(getattr(FlaxBackend, name)) for name in FlaxBackend.operators() if name != "chain")


def test_losses_and_optimisers_are_left_to_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "find_adapter", lambda name: FlaxBackend)
    asked = {case.operator for case in core() if gateway.covers(Target(backend="flax"), case)}
    assert asked.isdisjoint({"mean_squared_error", "adam", "resize2d", "mish"})
    assert {"conv2d", "conv3d_transpose", "group_norm", "chain"} <= asked
    assert not gateway.trains(Target(backend="flax"))
