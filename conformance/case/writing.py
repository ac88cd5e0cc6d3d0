"""A case as YAML: one file of its own, to read and to paste."""

import math
import os
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from conformance.case.grammar import NATIVE_WORD
from conformance.case.model import Case, Claim, Convention, Expect, File, Shape, TensorSpec, Values
from conformance.case.operators import Chain, Layer, own_of
from conformance.case.yaml12 import Plain, dump


def as_yaml(*cases: Case) -> str:
    """Cases of one operator as a file of their own, to read and to paste: nothing inherited, nothing to expand.

    A chain's layers are the file's, so that it stands alone.
    """
    shared, written = {"operator": cases[0].operator}, []
    for case in cases:
        data, one = _case_keys(case)
        shared |= data
        written.append(one)
    return "# yaml-language-server: $schema=../schema.json\n" + dump({**shared, "cases": written})


def _case_keys(case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """What a case says in its file's head, and in its own entry."""
    data: dict[str, Any] = {}
    one: dict[str, Any] = {"name": case.id.rpartition("/")[2]}
    one |= {name: value for name in ("about", "source") if (value := getattr(case, name))}
    folder = case.where.path.resolve().parent
    one |= _given(was=list(case.was))
    own = {name: _tensor_keys(spec, folder) for name, spec in case.inputs.items() if "/" not in name}
    if isinstance(case.attributes, Chain):
        one["inputs"] = own
        one |= _given(network=case.attributes.network)
        one["layers"] = [_layer_keys(layer, case, folder) for layer in case.attributes.layers]
    else:
        attributes = _attribute_values(case.attributes) | dict.fromkeys(case.native, NATIVE_WORD)
        one |= _given(attributes=attributes, inputs=own)
        one |= _given(readings={reading.name: _reading_keys(reading, case) for reading in case.readings})
    one |= _given(cotangents={name: _tensor_keys(spec, folder) for name, spec in case.cotangents.items()})
    one["data"] = list(case.data)
    usual = {field.name: field.default for field in fields(Case)}
    for name in ("formats", "layouts", "checks"):
        if getattr(case, name) != usual[name]:
            one[name] = list(getattr(case, name))
    if case.tier != usual["tier"]:
        one["tier"] = case.tier
    expect = _statement_keys(case.expect, folder)
    if case.expect.error != "no":
        expect["error"] = True if case.expect.error == "required" else "allowed"
    one |= _given(expect=expect)
    one |= _given(
        claims=[{"says": claim.says, "holds": claim.holds, **_statement_keys(claim, folder)} for claim in case.claims]
    )
    return data, one


def _given(**parts: Any) -> dict[str, Any]:
    return {name: value for name, value in parts.items() if value}


def _reading_keys(reading: Convention, case: Case) -> dict[str, Any]:
    """What a reading adds to the case's attributes."""
    usual = _attribute_values(case.attributes)
    own = {
        name: value
        for name, value in _attribute_values(reading.attributes).items()
        if name in case.native or value != usual[name]
    }
    return own | _given(variant=reading.variant)


def _lists(value: Plain) -> Plain:
    return [_lists(part) for part in value] if isinstance(value, tuple) else value


def _attribute_values(attributes: Any) -> dict[str, Any]:
    return {field.name: _lists(getattr(attributes, field.name)) for field in fields(attributes)}


def _layer_keys(layer: Layer, case: Case, folder: Path) -> dict[str, Any]:
    own = {name: _tensor_keys(spec, folder) for name, spec in own_of(layer, case.inputs).items()}
    named = {"name": layer.name, "operator": layer.operator} | _given(takes=list(layer.takes))
    return named | _given(attributes=_attribute_values(layer.attributes), inputs=own)


def _tensor_keys(spec: TensorSpec, folder: Path) -> Any:
    source = spec.source
    shape = list(spec.shape)
    match source:
        case None:
            return shape
        case Values():
            return {"shape": shape, "values": _nested(source.values, spec.shape)}
        case File():
            path = Path(os.path.relpath(source.path, folder)).as_posix()
            return {"shape": shape, "file": path} | _given(key=source.key)
    options = {
        field.name: getattr(source, field.name)
        for field in fields(source)
        if field.name != "kind" and getattr(source, field.name) != field.default
    }
    return {"shape": shape, "fill": {source.kind: options} if options else source.kind}


def _nested(numbers: Sequence[float], shape: Shape) -> Any:
    if not shape:
        number = numbers[0]
        # Integers read better, and integer operands take nothing else; -0.0 is none.
        whole = number.is_integer() and abs(number) < 2**53 and math.copysign(1, number) == (-1 if number < 0 else 1)
        return int(number) if whole else number
    step = math.prod(shape[1:])
    return [_nested(numbers[n * step : (n + 1) * step], shape[1:]) for n in range(shape[0])]


def _statement_keys(said: Expect | Claim, folder: Path) -> dict[str, Any]:
    made: dict[str, Any] = {} if said.shape is None else {"shape": list(said.shape)}
    for part in ("outputs", "gradients"):
        made |= _given(
            **{part: {name: _tensor_keys(stated.tensor, folder) for name, stated in getattr(said, part).items()}}
        )
    for stated in (*said.outputs.values(), *said.gradients.values()):
        made["digits"] = "exact" if stated.decimals is None else stated.decimals
        made |= _given(computed=stated.computed)
    return made
