"""What the Keras adapters say of themselves and write down, without Keras."""

import importlib.util
from types import SimpleNamespace

import pytest

from conformance.backends.base import Names
from conformance.backends.keras.idiom import unless
from conformance.backends.keras.on_tensorflow import KerasOnTensorFlow
from conformance.backends.keras.on_torch import KerasOnTorch
from conformance.run.script import _needed
from conformance.worker import gateway

CALLS = ("t1 = keras.layers.Dense(3)", "t1.build((2, 4))", "t1.kernel.assign(w)", "output = t1(x)")
NAMES = Names(
    operands=("x", "w"),
    outputs=("output",),
    heads=("output",),
    cotangents=("cotangent_output",),
    sources=("x", "w"),
    gradients=("gradient_x", "gradient_w"),
)


def test_what_is_usual_is_left_out() -> None:
    assert unless(1, strides=(1, 1), groups=2, dilation_rate=(1, 2)) == {"groups": 2, "dilation_rate": (1, 2)}


@pytest.mark.parametrize("adapter", [KerasOnTensorFlow, KerasOnTorch])
def test_a_script_asks_a_gradient_of_the_variable_that_holds_the_operand(adapter: type[KerasOnTorch]) -> None:
    last = adapter.script(CALLS, NAMES)[-1]
    assert "[x, t1.kernel.value]" in last


def test_the_backend_of_keras_is_chosen_before_it_is_imported() -> None:
    for adapter, name in ((KerasOnTensorFlow, "tensorflow"), (KerasOnTorch, "torch")):
        lines = adapter.prelude
        assert lines.index(f'os.environ["KERAS_BACKEND"] = "{name}"') < lines.index("import keras")


def test_an_import_that_a_switch_needs_is_kept() -> None:
    assert _needed("import os", 'os.environ["KERAS_BACKEND"] = "torch"')
    assert not _needed("import os", "output = t1(x)")


@pytest.mark.parametrize(("lacking", "offered"), [("", True), ("keras", False), ("torch", False)])
def test_keras_is_installed_where_the_framework_below_is_too(
    monkeypatch: pytest.MonkeyPatch, lacking: str, offered: bool
) -> None:
    monkeypatch.setattr(
        gateway, "known_backends", lambda: {"mine": "conformance.backends.keras.on_torch:KerasOnTorch"}
    )
    monkeypatch.setattr(gateway, "find_adapter", lambda name: KerasOnTorch)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == lacking else SimpleNamespace())
    assert ("mine" in gateway.installed_backends()) is offered
