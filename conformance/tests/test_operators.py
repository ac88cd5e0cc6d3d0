"""Contract, reference and adapters speak of the same operators."""

import inspect
from dataclasses import fields

import pytest

from conformance.backends.base import Backend
from conformance.backends.jax.backend import JaxBackend
from conformance.backends.keras.on_jax import KerasOnJax
from conformance.backends.keras.on_tensorflow import KerasOnTensorFlow
from conformance.backends.keras.on_torch import KerasOnTorch
from conformance.backends.onnxruntime.backend import OnnxRuntimeBackend
from conformance.backends.tensorflow.backend import TensorFlowBackend
from conformance.backends.torch.backend import TorchBackend
from conformance.case.contract import Grown
from conformance.case.operators import OPERATORS
from conformance.reference.operators import LAWS
from conformance.reference.operators import OPERATORS as REFERENCE

ADAPTERS = [JaxBackend, TensorFlowBackend, TorchBackend, KerasOnJax, KerasOnTensorFlow, KerasOnTorch]
OPERATED = [name for name in OPERATORS if name != "chain"]


def test_contract_and_reference_name_the_same_operators() -> None:
    assert set(REFERENCE) | set(LAWS) == set(OPERATED)
    assert not set(REFERENCE) & set(LAWS)


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_every_operator_has_a_method_or_is_said_to_be_absent(adapter: type[Backend]) -> None:
    lacking = [name for name in OPERATED if not hasattr(adapter, name) and name not in adapter.absent]
    assert lacking == []


@pytest.mark.parametrize("adapter", ADAPTERS)
@pytest.mark.parametrize("name", OPERATED)
def test_a_method_takes_attributes_and_operands_by_name(adapter: type[Backend], name: str) -> None:
    if not hasattr(adapter, name):
        assert name in adapter.absent
        return
    parameters = list(inspect.signature(getattr(adapter, name)).parameters)
    assert parameters == ["self", "attributes", *(operand.name for operand in OPERATORS[name].operands)]


def test_a_partial_adapter_takes_attributes_and_operands_by_name_too() -> None:
    names = [name for name in OnnxRuntimeBackend.operators() if name != "chain"]
    assert len(names) >= 50
    for name in names:
        parameters = list(inspect.signature(getattr(OnnxRuntimeBackend, name)).parameters)
        assert parameters == ["self", "attributes", *(operand.name for operand in OPERATORS[name].operands)]


@pytest.mark.parametrize("name", OPERATED)
def test_what_came_later_is_left_out_of_the_text_that_seeds_numbers(name: str) -> None:
    kind = OPERATORS[name].attributes
    later = [field.name for field in fields(kind) if "later" in field.metadata]
    assert not later or (issubclass(kind, Grown) and kind.__repr__ is Grown.__repr__)


@pytest.mark.parametrize("name", OPERATED)
def test_the_reference_takes_operands_and_attributes_by_name(name: str) -> None:
    contract = OPERATORS[name]
    asked = LAWS[name] if contract.random else REFERENCE[name].forward
    parameters = inspect.signature(asked).parameters.values()
    if any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
        return  # what takes everything is asked by the cases
    given = [*(operand.name for operand in contract.operands), *(f.name for f in fields(contract.attributes))]
    assert [parameter.name for parameter in parameters] == given
