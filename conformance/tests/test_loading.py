import dataclasses
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Softmax
from conformance.case.families.convolution import Convolution
from conformance.case.families.pooling import MaxPool
from conformance.case.listing import default_root
from conformance.case.loading import as_yaml, is_case_file, load, schema
from conformance.case.model import Case, Claim, Expect, File, Fill, Stated, TensorSpec, Values, Where
from conformance.case.operators import OPERATORS, Chain, Layer
from conformance.errors import InvalidCases
from conformance.tests.shipped import shipped

HEAD = """operator: conv2d
defaults:
  inputs: {x: [1, 5, 6, 2], w: [3, 2, 2, 3]}
cases:
"""
KNOWN = ", ".join(sorted(OPERATORS))
KEYS = (
    "operator, about, source, attributes, inputs, cotangents, layers, network, data, formats, layouts, checks, tier, "
    "reduced, expect, claims, readings"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with arrays, good and bad."""
    np.save(tmp_path / "b.npy", np.ones(3))
    np.save(tmp_path / "w.npy", np.ones((3, 2, 2, 3)))
    np.save(tmp_path / "one.npy", np.ones(1))
    np.save(tmp_path / "out.npy", np.ones((1, 3, 3, 1)))
    np.savez(tmp_path / "b.npz", b=np.ones(3), bias=np.ones(3))
    np.save(tmp_path / "complex.npy", np.ones(3) * 1j)
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    (tmp_path / "text.npy").write_text("x")
    (tmp_path / "text.npz").write_text("x")
    (tmp_path / "short.npy").write_bytes((tmp_path / "b.npy").read_bytes()[:-4])
    return tmp_path


def loaded(folder: Path, text: str, name: str = "a.yaml") -> tuple[Case, ...]:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return load([path])


def told(folder: Path, text: str) -> list[str]:
    with pytest.raises(InvalidCases) as caught:
        loaded(folder, text)
    return [str(problem).replace(f"{folder}/", "") for problem in caught.value.problems]


BAD = [
    pytest.param(
        HEAD + "- {name: a, atributes: {stride: 2}}\n",
        (
            f"a.yaml:5:13: unknown key 'atributes'; allowed are {KEYS}, name, was, matrix, sweep."
            " Did you mean 'attributes'?"
        ),
        id="unknown key",
    ),
    pytest.param(
        "operater: conv2d\n" + HEAD + "- {name: a}\n",
        (
            "a.yaml:1:1: unknown key 'operater'; allowed are operator, about, source, layers, defaults, case"
            "s. Did you mean 'operator'?"
        ),
        id="unknown key at the top",
    ),
    pytest.param(
        HEAD.replace("inputs:", "input:") + "- {name: a, inputs: {x: [1, 5, 6, 2], w: [3, 2, 2, 3]}}\n",
        f"a.yaml:3:3: unknown key 'input'; allowed are {KEYS}. Did you mean 'inputs'?",
        id="unknown key in the defaults",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {x: {shap: [1]}}}\n",
        ("a.yaml:5:26: unknown key 'shap'; allowed are shape, fill, values, file, key. Did you mean 'shape'?"),
        id="unknown key of a tensor",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {x: {fill: {integers: {lo: 1}}}}}\n",
        "a.yaml:5:44: unknown key 'lo'; allowed are low, high. Did you mean 'low'?",
        id="unknown key of a fill",
    ),
    pytest.param(
        HEAD + "- {name: a, expect: {shapes: [1]}}\n",
        (
            "a.yaml:5:22: unknown key 'shapes'; allowed are shape, output, outputs, gradients, digits, compu"
            "ted, error. Did you mean 'shape'?"
        ),
        id="unknown key of an expectation",
    ),
    pytest.param(
        HEAD + "- {name: a, <<: {tier: core}}\n",
        f"a.yaml:5:13: unknown key '<<'; allowed are {KEYS}, name, was, matrix, sweep",
        id="merge key",
    ),
    pytest.param(
        HEAD + "- {name: a, attributes: {strid: 2}}\n",
        (
            "a.yaml:5:26: conv2d: unknown key 'strid'; allowed are stride, dilation, groups, padding. Did yo"
            "u mean 'stride'?"
        ),
        id="unknown attribute",
    ),
    pytest.param(
        HEAD + "- {name: a, attributes: {stride: [1, two]}}\n",
        "a.yaml:5:38: conv2d: stride must be an integer or a list of integers, got [1, 'two']",
        id="wrong type of an attribute",
    ),
    pytest.param(
        HEAD + "- {name: a, attributes: {groups: true}}\n",
        "a.yaml:5:34: conv2d: groups must be an integer, got true",
        id="truth for an integer",
    ),
    pytest.param(
        HEAD + "- {name: a, attributes: {padding: smae}}\n",
        (
            "a.yaml:5:35: conv2d: padding must be 'same', 'same_lower', 'valid', an integer or a list of pai"
            "rs of integers, got 'smae'. Did you mean 'same'?"
        ),
        id="unknown padding",
    ),
    pytest.param(
        HEAD + "- {name: a, attributes: {stride: [1, 2, 3]}}\n",
        ("a.yaml:5:34: conv2d: stride takes one integer, or 2 integers (one a spatial axis), got [1, 2, 3]"),
        id="entries for another rank",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {x: [1, -5, 6, 2]}}\n",
        "a.yaml:5:29: shape must be a list of integers of at least 0, got [1, -5, 6, 2]",
        id="wrong type of a shape",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {x: 5}}\n",
        ("a.yaml:5:25: x must be a shape, or a mapping of shape and one of fill, values, file (with key), got 5"),
        id="wrong type of an operand",
    ),
    pytest.param(
        HEAD + "- {name: a, about: 5}\n",
        "a.yaml:5:20: about must be text, got 5",
        id="wrong type of text",
    ),
    pytest.param(
        HEAD + "- name: a\n  tier:\n",
        "a.yaml:6:8: tier must be 'smoke', 'core' or 'full', got null",
        id="nothing where a value belongs",
    ),
    pytest.param(
        HEAD + "- {name: a, tier: smok}\n",
        "a.yaml:5:19: tier must be 'smoke', 'core' or 'full', got 'smok'. Did you mean 'smoke'?",
        id="unknown tier",
    ),
    pytest.param(
        HEAD + "- {name: a, formats: [float32, flot64]}\n",
        (
            "a.yaml:5:32: formats must be 'float64', 'float32', 'bfloat16', 'float16', 'int8', 'int32' or 'int64', "
            "got 'flot64'. Did you mean 'float64'?"
        ),
        id="unknown format",
    ),
    pytest.param(
        HEAD + "- {name: a, formats: []}\n",
        "a.yaml:5:22: formats must be a list of at least one format, got []",
        id="no format",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {x: {fill: onse}}}\n",
        (
            "a.yaml:5:32: fill must be 'normal', 'wide', 'special', 'uniform', 'integers', 'arange', 'ones',"
            " 'zeros', 'mask', 'one_hot', 'glorot_uniform' or a mapping of integers, arange, mask, got 'onse'."
            " Did you mean 'ones'?"
        ),
        id="unknown fill",
    ),
    pytest.param(
        HEAD.replace("conv2d", "conv2") + "- {name: a}\n",
        f"a.yaml:1:11: unknown operator 'conv2'; known are {KNOWN}. Did you mean 'conv2d'?",
        id="unknown operator",
    ),
    pytest.param(
        "cases:\n- {name: a}\n",
        f"a.yaml:2:3: the key 'operator' is missing: one of {KNOWN}",
        id="no operator",
    ),
    pytest.param(
        HEAD + "- {tier: core}\n",
        "a.yaml:5:3: the key 'name' is missing: text",
        id="no name",
    ),
    pytest.param(
        HEAD + "- {name: A b}\n",
        "a.yaml:5:10: a name is made of a-z, 0-9, '.', '_' and '-', got 'A b'",
        id="name",
    ),
    pytest.param(
        HEAD + '- {name: "p/{padding}", matrix: {padding: [same]}}\n',
        "a.yaml:5:10: a name is made of a-z, 0-9, '.', '_' and '-', got 'p/same'",
        id="name after slugging",
    ),
    pytest.param(
        "operator: conv2d\ncases:\n- {name: a, inputs: {x: [1, 5, 6, 2]}}\n",
        "a.yaml:3:21: conv2d needs the operand 'w'; given are x",
        id="missing operand",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {bias: [3]}}\n",
        "a.yaml:5:22: conv2d has no operand 'bias'; it has x, w, b",
        id="unknown operand",
    ),
    pytest.param(
        "operator: max_pool2d\ncases:\n- {name: a, inputs: {x: [1, 5, 6, 2]}, attributes: {stride: 1}}\n",
        "a.yaml:3:52: max_pool2d needs the attribute 'window'",
        id="missing attribute",
    ),
    pytest.param(
        "operator: softmax_cross_entropy\ncases:\n- {name: a, inputs: {logits: [2, 3], labels: [2]}}\n",
        (
            "a.yaml:3:46: labels holds integers and needs a source: values:, file:, or fill: integers, arang"
            "e, ones, zeros, one_hot"
        ),
        id="integer operand without a source",
    ),
    pytest.param(
        (
            "operator: softmax_cross_entropy\ncases:\n- {name: a, inputs: {logits: [2, 3], labels: {shape: [2]"
            ", fill: normal}}}\n"
        ),
        ("a.yaml:3:65: fill of an operand of integers must be integers, arange, ones, zeros, one_hot, got 'normal'"),
        id="fill of an integer operand",
    ),
    pytest.param(
        (
            "operator: softmax_cross_entropy\ncases:\n- {name: a, inputs: {logits: [2, 3], labels: {values: [1"
            ", 1.5]}}}\n"
        ),
        "a.yaml:3:59: values must be an integer each, got 1.5",
        id="fraction for an integer operand",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {w: [3, 2, 3, 3]}}\n",
        "a.yaml:5:3: conv2d a: x has 2 channels, w of shape (3, 2, 3, 3) with 1 group(s) reads 3",
        id="impossible shape",
    ),
    pytest.param(
        HEAD + "- {name: a, attributes: {stride: 0}}\n",
        "a.yaml:5:3: conv2d a: stride must be at least 1, got (0, 0)",
        id="impossible stride",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {fill: ones}}}\n",
        "a.yaml:5:25: b needs a shape, or numbers that have one (values: or file:)",
        id="no shape",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {values: [1, 2, 3], fill: ones}}}\n",
        "a.yaml:5:25: numbers come from one source, got fill and values; keep one of them",
        id="two sources",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {shape: [3], values: [1, 2]}}}\n",
        "a.yaml:5:33: shape says [3], but the numbers have shape [2]",
        id="values of another shape",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {shape: [3], values: 3}}}\n",
        "a.yaml:5:33: shape says [3], but the numbers have shape []",
        id="one value for a shape",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {values: [[1, 2], [3]]}}}\n",
        "a.yaml:5:43: rows must be equally long: expected a list of 2 entries, got 1 entries",
        id="uneven rows",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {values: [1, x, 3]}}}\n",
        "a.yaml:5:38: values must be a number each, got 'x'",
        id="text among numbers",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {values: [1, 9007199254740993, 3]}}}\n",
        "a.yaml:5:38: 9007199254740993 is not a number that float64 holds exactly",
        id="number beyond float64",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {shape: [3], fill: {integers: {low: 3, high: 1}}}}}\n",
        "a.yaml:5:44: integers: low must not be above high, got 3 and 1",
        id="fill from high to low",
    ),
    pytest.param(
        HEAD + "- {name: a, expect: {shape: [1, 2], output: [[1, 2, 3]]}}\n",
        "a.yaml:5:29: shape says [1, 2], but the numbers of output have shape [1, 3]",
        id="expected shape against numbers",
    ),
    pytest.param(
        HEAD + "- {name: a, claims: [{says: s, holds: true, shape: [2], output: [1]}]}\n",
        "a.yaml:5:52: shape says [2], but the numbers of output have shape [1]",
        id="claimed shape against numbers",
    ),
    pytest.param(
        HEAD + "- {name: a, expect: {output: {values: [1, 2], shape: [3]}}}\n",
        "a.yaml:5:54: shape says [3], but the numbers have shape [2]",
        id="expected numbers against their shape",
    ),
    pytest.param(
        HEAD + "- {name: a, claims: [{says: s, holds: true}]}\n",
        "a.yaml:5:22: a claim says something: shape, output, outputs or gradients",
        id="claim that says nothing",
    ),
    pytest.param(
        HEAD + "- {name: a, claims: [{says: s, shape: [1]}]}\n",
        "a.yaml:5:22: the key 'holds' is missing: true or false",
        id="claim without a truth",
    ),
    pytest.param(
        HEAD + "- {name: a, expect: {gradients: {w: {file: w.npy}}}}\n",
        (
            "a.yaml:5:22: gradients of an output of shape [1, 3, 5, 3] need its cotangent; write cotangents:"
            " {output: ...}"
        ),
        id="gradients without cotangents",
    ),
    pytest.param(
        HEAD + "- {name: a, expect: {gradients: {b: [1]}}, cotangents: {output: {fill: ones}}}\n",
        "a.yaml:5:34: there is no differentiable operand 'b'; there are x, w",
        id="gradient of what is not there",
    ),
    pytest.param(
        HEAD + "- {name: a, expect: {outputs: {outptu: 1}}}\n",
        "a.yaml:5:32: there is no output 'outptu'; there are output. Did you mean 'output'?",
        id="output that is not there",
    ),
    pytest.param(
        HEAD + "- {name: a, cotangents: {outptu: {fill: ones}}}\n",
        "a.yaml:5:26: there is no output 'outptu'; there are output. Did you mean 'output'?",
        id="cotangent of another output",
    ),
    pytest.param(
        "operator: batch_norm_training\ncases:\n"
        "- {name: a, inputs: {x: [2, 3], mean: [3], variance: [3]},\n"
        "   attributes: {epsilon: 0.1, momentum: 0.9, bessel: true}, cotangents: {mean: {fill: ones}}}\n",
        "a.yaml:4:74: mean is never differentiated; only output has a cotangent",
        id="cotangent of state",
    ),
    pytest.param(
        HEAD + "- {name: a, cotangents: {output: [1, 2]}}\n",
        "a.yaml:5:34: the cotangent has the output's shape [1, 3, 5, 3], got [1, 2]",
        id="cotangent of another shape",
    ),
    pytest.param(
        HEAD + "- {name: a, expect: {error: true, shape: [1]}}\n",
        "a.yaml:5:29: a question that must be refused has no shape, outputs or gradients",
        id="refusal with an answer",
    ),
    pytest.param(
        HEAD + "- {name: a, expect: {error: alowed}}\n",
        "a.yaml:5:29: error must be true or 'allowed', got 'alowed'. Did you mean 'allowed'?",
        id="refusal that is none",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: bb.npy}}}\n",
        "a.yaml:5:32: there is no file 'bb.npy' beside the case file. Did you mean 'b.npy'?",
        id="missing array file",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: pickled.npy}}}\n",
        "a.yaml:5:32: pickled.npy holds pickled objects, which are never read; save numbers",
        id="pickled array",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: text.npy}}}\n",
        "a.yaml:5:32: text.npy is not a .npy array: EOF: reading magic string, expected 8 bytes got 1",
        id="no array",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: short.npy}}}\n",
        "a.yaml:5:32: short.npy is cut off: its header promises 3 numbers",
        id="array cut off",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: text.npz, key: b}}}\n",
        "a.yaml:5:32: text.npz is not a .npz file: File is not a zip file",
        id="no archive",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: complex.npy}}}\n",
        "a.yaml:5:32: complex.npy must hold numbers or booleans, got complex128",
        id="complex array",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {shape: [4], file: b.npy}}}\n",
        "a.yaml:5:33: shape says [4], but b.npy has shape [3]",
        id="array of another shape",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: b.npz, key: bis}}}\n",
        "a.yaml:5:44: key must be a member of b.npz: b, bias, got 'bis'. Did you mean 'bias'?",
        id="unknown member",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: b.npz}}}\n",
        "a.yaml:5:25: key must be a member of b.npz: b, bias, got none",
        id="no member",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: b.npy, key: b}}}\n",
        "a.yaml:5:39: key names a member of a .npz file, and this is a .npy file",
        id="member of a single array",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {b: {file: b.csv}}}\n",
        "a.yaml:5:32: file must be a .npy or .npz file, got 'b.csv'",
        id="another kind of file",
    ),
    pytest.param(
        HEAD + "- name: a\n  matrix: {stride: &n [" + ", ".join("1" * 22) + "], dilation: *n, groups: *n}\n",
        "a.yaml:6:11: this matrix makes 10,648 cases; at most 10,000 are allowed in one case",
        id="matrix that explodes",
    ),
    pytest.param(
        HEAD + "- {name: a, matrix: [1, 2]}\n",
        "a.yaml:5:21: matrix must be a mapping, or a list of mappings, got [1, 2]",
        id="matrix that is a list of values",
    ),
    pytest.param(
        HEAD + "- {name: a, matrix: {stride: 2}}\n",
        "a.yaml:5:30: matrix key 'stride' needs a list of at least one value, got 2",
        id="matrix value that is no list",
    ),
    pytest.param(
        HEAD + '- {name: a, matrix: {"groups, stride": [[1, 2, 3]]}}\n',
        "a.yaml:5:41: matrix key 'groups, stride' takes lists of 2 values, got [1, 2, 3]",
        id="matrix row of another length",
    ),
    pytest.param(
        HEAD + "- {name: a, matrix: {input.x: [[1]]}}\n",
        (
            "a.yaml:5:31: matrix key 'input.x': a path starts with attributes, inputs, cotangents, expect, l"
            "ayers, claims, got 'input'. Did you mean 'inputs'?"
        ),
        id="matrix path from nowhere",
    ),
    pytest.param(
        HEAD + "- {name: a, matrix: {layers.7.attributes.stride: [1]}, layers: [{operator: relu}]}\n",
        (
            "a.yaml:5:51: matrix key 'layers.7.attributes.stride' leads nowhere: '7' is no part of a list of"
            " 1, counted from 0"
        ),
        id="matrix path to nowhere",
    ),
    pytest.param(
        HEAD + '- {name: "{padding}", matrix: {padding: [same, vald]}}\n',
        (
            "a.yaml:5:48: conv2d: padding must be 'same', 'same_lower', 'valid', an integer or a list of pai"
            "rs of integers, got 'vald'. Did you mean 'valid'?"
        ),
        id="matrix value of another type",
    ),
    pytest.param(
        HEAD + '- {name: "{pading}", matrix: {padding: [same]}}\n',
        ("a.yaml:5:10: name '{pading}': {pading} is no matrix key; there are padding. Did you mean 'padding'?"),
        id="placeholder without a key",
    ),
    pytest.param(
        HEAD + "- {name: a, inputs: {x: [1, 20000, 20000, 2]}}\n",
        (
            "a.yaml:5:25: a tensor of shape [1, 20000, 20000, 2] would take 6.0 GiB in float64; at most 2 Gi"
            "B are allowed"
        ),
        id="too large",
    ),
    pytest.param(
        HEAD + "- {name: a, attributes: {padding: 2}, inputs: {x: [1, 10000, 10000, 2]}}\n",
        (
            "a.yaml:5:47: all operands and outputs of this case would take 3.7 GiB in float64; at most 2 GiB"
            " are allowed"
        ),
        id="too large together",
    ),
    pytest.param(
        HEAD + "- {name: a, checks: []}\n",
        "a.yaml:5:21: nothing is asked: there are no checks, expected values or claims; add one of them",
        id="nothing asked",
    ),
    pytest.param(
        HEAD + ("- {name: a, checks: [outputs], expect: {gradients: {w: 1}}, cotangents: {output: {fill: ones}}}\n"),
        "a.yaml:5:21: gradients are expected, and checks are ['outputs']; add gradients",
        id="gradients expected but not checked",
    ),
    pytest.param(
        "operator: conv2d\ncases: []\n",
        "a.yaml:2:8: the file has no cases; write cases: as a list of at least one",
        id="no cases",
    ),
    pytest.param(
        "operator: conv2d\n",
        "a.yaml:1:1: the file has no cases; write cases: as a list of at least one",
        id="cases left out",
    ),
    pytest.param(
        "",
        "a.yaml:1:1: the file has no cases; write operator: and cases:",
        id="empty file",
    ),
    pytest.param(
        "operator: conv2d\ncases: {name: a}\n",
        "a.yaml:2:8: cases must be a list of mappings, got {name: 'a'}",
        id="cases that are no list",
    ),
    pytest.param(
        HEAD + "- a\n",
        "a.yaml:5:3: a case must be a mapping, got 'a'",
        id="case that is no mapping",
    ),
    pytest.param(
        HEAD + "- {name: a}\n- {name: a, tier: full}\n",
        "a.yaml:6:10: the id 'a/a' is taken by a.yaml:5:10; ids are unique",
        id="name used twice",
    ),
    pytest.param(
        HEAD + "- {name: a, layers: [{operator: relu}]}\n",
        "a.yaml:5:13: layers go with operator: chain, got operator: conv2d",
        id="layers of one operator",
    ),
    pytest.param(
        "operator: chain\ncases:\n- {name: a, inputs: {x: [1]}}\n",
        "a.yaml:3:3: a chain needs layers: a list of {operator: ..., attributes: ..., inputs: ...}",
        id="chain without layers",
    ),
    pytest.param(
        (
            "operator: chain\nlayers: [{operator: relu}]\ncases:\n- {name: a, inputs: {x: [1]}, matrix: {stride"
            ": [1]}}\n"
        ),
        ("a.yaml:4:48: matrix key 'stride' is bare, and a chain has no attributes; write layers.0.attributes.stride"),
        id="bare matrix key of a chain",
    ),
    pytest.param(
        (
            "operator: chain\nlayers: [{operator: relu}]\ncases:\n- {name: a, inputs: {x: [1]}, attributes: {st"
            "ride: 1}}\n"
        ),
        "a.yaml:4:31: a chain has no attributes of its own; its layers have",
        id="attributes of a chain",
    ),
    pytest.param(
        ("operator: chain\nlayers: [{operator: relu, inputs: {x: [1]}}]\ncases:\n- {name: a, inputs: {x: [1]}}\n"),
        "a.yaml:2:36: 'x' of layer 'relu' is what another layer gives; leave it out",
        id="operand that the layer before gives",
    ),
    pytest.param(
        "operator: chain\nlayers: [{operator: rleu}]\ncases:\n- {name: a, inputs: {x: [1]}}\n",
        f"a.yaml:2:21: unknown operator 'rleu'; known are {KNOWN}. Did you mean 'relu'?",
        id="unknown operator of a layer",
    ),
    pytest.param(
        "operator: chain\nlayers: [{operator: adam}]\ncases:\n- {name: a, inputs: {x: [1]}}\n",
        "a.yaml:2:21: a layer has one output beside its state, and is no chain; got 'adam'",
        id="layer with several outputs",
    ),
    pytest.param(
        (
            "operator: chain\nlayers: [{operator: relu}, {name: relu, operator: tanh}]\ncases:\n- {name: a, inp"
            "uts: {x: [1]}}\n"
        ),
        "a.yaml:2:35: the layer name 'relu' is taken; names of layers are unique in a chain",
        id="layer name used twice",
    ),
    pytest.param(
        (
            "operator: chain\nlayers: [{operator: softmax, attributes: {axes: 1}}]\ncases:\n- {name: a, inputs:"
            " {x: [1]}}\n"
        ),
        "a.yaml:2:43: softmax: unknown key 'axes'; allowed are axis. Did you mean 'axis'?",
        id="attribute of a layer",
    ),
    pytest.param(
        "operator: chain\nlayers: [{operator: dense}]\ncases:\n- {name: a, inputs: {x: [1, 2]}}\n",
        "a.yaml:4:21: chain needs the operand 'dense/w'; given are x",
        id="operand of a layer",
    ),
    pytest.param(
        (
            "operator: chain\nlayers: [{operator: dense, inputs: {w: [3, 2]}}]\ncases:\n- {name: a, inputs: {x:"
            " [1, 2]}}\n"
        ),
        ("a.yaml:4:3: chain a: layer 'dense' (dense) given (1, 2): x of shape (1, 2) does not end in w's 3 inputs"),
        id="impossible layer",
    ),
    pytest.param(
        (
            "operator: sgd\ncases:\n- {name: a, attributes: {learning_rate: 1}, inputs: {parameter: [1], gradi"
            "ent: [1]}, expect: {outputs: {parameter: [1]}, output: [1]}}\n"
        ),
        "a.yaml:3:122: output is short for outputs; give one of them",
        id="output of an operator with several",
    ),
    pytest.param(
        HEAD + "- {name: a, expect: {shape: [1], digits: 3}}\n",
        "a.yaml:5:34: digits goes with output, outputs or gradients",
        id="digits of nothing",
    ),
]


@pytest.mark.parametrize(("text", "message"), BAD)
def test_bad_input_is_told_with_its_place_and_what_is_allowed(folder: Path, text: str, message: str) -> None:
    assert told(folder, text) == [message]


def test_every_problem_of_every_file_is_told_at_once(folder: Path) -> None:
    (folder / "b.yaml").write_text(
        HEAD + "- {name: a, tier: smok}\n- {name: b, attributes: {strid: 1}, formts: []}\n"
    )
    (folder / "c.yaml").write_text("cases: [")
    with pytest.raises(InvalidCases) as caught:
        load([folder])
    places = [problem.where.replace(f"{folder}/", "") for problem in caught.value.problems]
    assert places == ["b.yaml:5:19", "b.yaml:6:37", "b.yaml:6:26", "c.yaml:2:1"]


def test_a_problem_in_the_defaults_is_told_once_and_there(folder: Path) -> None:
    text = HEAD.replace("x: [1,", "x: [-1,") + "- {name: a}\n- {name: b}\n"
    assert told(folder, text) == ["a.yaml:3:16: shape must be a list of integers of at least 0, got [-1, 5, 6, 2]"]


def test_an_id_is_unique_over_all_files(folder: Path) -> None:
    for name in ("one", "two"):
        (folder / name / "cases").mkdir(parents=True)
        (folder / name / "cases" / "c.yaml").write_text(HEAD + "- {name: a}\n")
    with pytest.raises(InvalidCases) as caught:
        load([folder])
    assert str(caught.value).replace(f"{folder}/", "") == (
        "two/cases/c.yaml:5:10: the id 'c/a' is taken by one/cases/c.yaml:5:10; ids are unique"
    )


def test_a_path_that_is_not_there_is_told(folder: Path) -> None:
    with pytest.raises(InvalidCases, match=r"bb\.npy: there is no such file or folder\. Did you mean 'b\.npy'\?"):
        load([folder / "bb.npy"])


def test_a_file_without_cases_is_told_when_it_is_named(folder: Path) -> None:
    assert told(folder, "trainings: {}\nforms: []\n") == [
        "a.yaml:1:1: not a file of cases: its top level takes operator, about, source, layers, defaults, cases, "
        "got the keys trainings, forms; a network's names its network, a training's its training"
    ]


def test_a_training_that_is_named_has_no_cases(folder: Path) -> None:
    assert loaded(folder, "training: {}\nlayers: []\n") == ()


def test_files_without_cases_are_passed_over_in_folders(folder: Path) -> None:
    (folder / "t.yaml").write_text("training: {}\nlayers: []\n")
    (folder / "d.yaml").write_text("- {case: a, outcome: b}\n")
    (folder / "c.yaml").write_text(HEAD + "- {name: a}\n")
    assert [case.id for case in load([folder, folder / "c.yaml"])] == ["c/a"]


def test_a_case_is_what_its_file_says(folder: Path) -> None:
    (case,) = loaded(
        folder,
        """
operator: conv2d
about: The file's fact.
source: seeds 000 (5)
defaults:
  inputs: {x: [9, 9], w: {shape: [2, 2, 1, 1], fill: ones}}
  attributes: {padding: same, groups: 1}
cases:
  - name: x
    about: Its own.
    attributes: {padding: 1, stride: [2, 1]}
    inputs:
      x: {values: [[[[1], [2]], [[3], [4.5]]]]}
      w: {fill: {integers: {low: 0, high: 9}}}
      b: {file: one.npy}
    cotangents: {output: {fill: ones}}
    formats: [float64]
    layouts: [channels_first]
    tier: smoke
    expect: {shape: [1, 2, 3, 1], gradients: {b: [6]}, digits: 2, computed: float32}
    claims: [{says: it refuses, output: 3, holds: false}]
""",
    )
    assert case == Case(
        id="a/x",
        operator="conv2d",
        attributes=Convolution(stride=(2, 1), dilation=(1, 1), padding=((1, 1), (1, 1))),
        inputs={
            "x": TensorSpec(shape=(1, 2, 2, 1), source=Values(values=(1.0, 2.0, 3.0, 4.5))),
            "w": TensorSpec(shape=(2, 2, 1, 1), source=Fill(kind="integers", low=0, high=9)),
            "b": TensorSpec(shape=(1,), source=File(path=(folder / "one.npy").resolve())),
        },
        cotangents={"output": TensorSpec(shape=(1, 2, 3, 1), source=Fill(kind="ones"))},
        data=("given",),
        formats=("float64",),
        layouts=("channels_first",),
        tier="smoke",
        expect=Expect(
            shape=(1, 2, 3, 1),
            gradients={
                "b": Stated(
                    tensor=TensorSpec(shape=(1,), source=Values(values=(6.0,))), decimals=2, computed="float32"
                )
            },
        ),
        claims=(
            Claim(
                says="it refuses",
                holds=False,
                outputs={"output": Stated(tensor=TensorSpec(shape=(), source=Values(values=(3.0,))))},
            ),
        ),
        about="Its own.",
        source="seeds 000 (5)",
        where=case.where,
    )
    assert str(case.where) == f"{folder}/a.yaml:9:5"


def test_what_is_left_out_has_the_operators_defaults(folder: Path) -> None:
    (case,) = loaded(
        folder, "operator: max_pool2d\ncases: [{name: a, inputs: {x: [1, 4, 4, 1]}, attributes: {window: 2}}]"
    )
    assert case.attributes == MaxPool(window=(2, 2), stride=(2, 2), dilation=(1, 1))
    assert (case.data, case.checks, case.tier) == (("normal", "special"), ("outputs", "gradients"), "core")


def test_gradients_drop_out_where_nothing_is_differentiable(folder: Path) -> None:
    (case,) = loaded(folder, "operator: glorot_uniform\ncases: [{name: a, inputs: {u: [2, 3]}}]")
    assert case.checks == ("outputs",)


@pytest.mark.parametrize(
    "attributes", ["stride: 0", "padding: -1", "padding: [[0, 0]]", "stride: [1, 2, 3]", "groups: 7", "dilation: 99"]
)
def test_a_refusal_may_ask_the_impossible(folder: Path, attributes: str) -> None:
    for error, kept in (("true", "required"), ("allowed", "allowed")):
        (case,) = loaded(folder, f"{HEAD}- {{name: a, attributes: {{{attributes}}}, expect: {{error: {error}}}}}\n")
        assert case.expect.error == kept


def test_a_refusal_still_has_types(folder: Path) -> None:
    assert told(folder, HEAD + "- {name: a, attributes: {stride: none}, expect: {error: true}}\n") == [
        "a.yaml:5:34: conv2d: stride must be an integer or a list of integers, got 'none'"
    ]


def test_a_source_replaces_the_source_below_it(folder: Path) -> None:
    (case,) = loaded(
        folder,
        "operator: relu\ndefaults: {inputs: {x: {shape: [2], values: [1, 2]}}}\n"
        "cases: [{name: a, inputs: {x: {values: [3]}}}]",
    )
    assert case.inputs["x"] == TensorSpec(shape=(1,), source=Values(values=(3.0,)))


def test_a_chain_names_its_layers_and_their_operands(folder: Path) -> None:
    (case,) = loaded(
        folder,
        """
operator: chain
layers:
  - {name: conv, operator: conv2d, attributes: {stride: 2}, inputs: {w: [4, 4, 1, 1]}}
  - {operator: relu}
  - {operator: relu}
cases:
  - {name: a, inputs: {x: [1, 8, 8, 1]}, expect: {output: {file: out.npy}}, cotangents: {relu_2: {fill: ones}}}
""",
    )
    assert case.attributes == Chain(
        layers=(
            Layer(name="conv", operator="conv2d", attributes=Convolution(stride=(2, 2), dilation=(1, 1))),
            Layer(name="relu", operator="relu", attributes=NoAttributes()),
            Layer(name="relu_2", operator="relu", attributes=NoAttributes()),
        )
    )
    assert {name: spec.shape for name, spec in case.inputs.items()} == {"x": (1, 8, 8, 1), "conv/w": (4, 4, 1, 1)}
    assert case.cotangents["relu_2"].shape == (1, 3, 3, 1)
    assert list(case.expect.outputs) == ["relu_2"]


@pytest.mark.parametrize(
    ("case", "names"),
    [
        ('name: "{padding}-s{stride}", matrix: {padding: [same, valid], stride: [1, [2, 3]]}',
         ["same-s1", "same-s2x3", "valid-s1", "valid-s2x3"]),
        ('name: "{padding}", matrix: {padding: [[[1, 0], [2, 1]]]}', ["1-0x2-1"]),
        ('name: n, matrix: {stride: [1, 2], inputs.x.shape: [[1, 9, 9, 2]]}',
         ["n-stride1-shape1x9x9x2", "n-stride2-shape1x9x9x2"]),
        ('name: n, matrix: {padding: [{tight: valid}, {loose: same}]}', ["n-paddingtight", "n-paddingloose"]),
        ('name: "{dilation}-{w}", matrix: {"dilation, inputs.w": [[1, [3, 2, 2, 3]], [2, [2, 2, 2, 3]]]}',
         ["1-3x2x2x3", "2-2x2x2x3"]),
        ('name: n, matrix: {"dilation, stride": [{one: [1, 1]}, {two: [2, 2]}]}', ["n-one", "n-two"]),
        ('name: "{groups}", matrix: {"groups, inputs.w": [{all: [2, [3, 2, 1, 4]]}]}', ["all"]),
        ('name: n, matrix: [{stride: [1]}, {padding: [same, valid]}]',
         ["n-stride1", "n-paddingsame", "n-paddingvalid"]),
    ],
)  # fmt: skip
def test_a_matrix_makes_cases_and_names(folder: Path, case: str, names: list[str]) -> None:
    assert [one.id for one in loaded(folder, HEAD + f"- {{{case}}}\n")] == [f"a/{name}" for name in names]


def test_a_matrix_sets_what_its_keys_say(folder: Path) -> None:
    text = HEAD + '- {name: n, matrix: {"groups, inputs.w": [[2, [3, 2, 1, 4]]], expect.shape: [[1, 3, 5, 4]]}}\n'
    (case,) = loaded(folder, text)
    assert (case.attributes.groups, case.inputs["w"].shape, case.expect.shape) == (2, (3, 2, 1, 4), (1, 3, 5, 4))


def test_a_matrix_reaches_into_layers_and_chooses_operators(folder: Path) -> None:
    text = "operator: chain\nlayers: [{operator: softmax}]\ncases:\n"
    text += "- {name: n, inputs: {x: [2, 3]}, matrix: {layers.0.attributes.axis: [0, -1]}}\n"
    cases = loaded(folder, text)
    assert [case.attributes.layers[0].attributes for case in cases] == [Softmax(axis=0), Softmax(axis=-1)]
    assert [case.id for case in cases] == ["a/n-axis0", "a/n-axis-1"]
    text = 'cases: [{name: "{operator}", inputs: {x: [2]}, matrix: {operator: [relu, tanh]}}]'
    assert [case.operator for case in loaded(folder, text)] == ["relu", "tanh"]


@pytest.mark.parametrize(
    ("file", "prefix"),
    [
        ("cases/operators/conv2d.yaml", "conv2d"),
        ("cases/seeds/000-shapes.yaml", "seeds/000-shapes"),
        ("cases/operators/cases/x.yaml", "x"),
        ("elsewhere/mine.yaml", "mine"),
    ],
)
def test_an_id_starts_with_the_files_place_below_the_cases(folder: Path, file: str, prefix: str) -> None:
    assert [case.id for case in loaded(folder, HEAD + "- {name: a}\n", file)] == [f"{prefix}/a"]


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("# yaml-language-server: $schema=../schema.json\noperator: relu\ncases: [", True),
        ("# yaml-language-server: $schema=https://x.org/schema.json\nlayers: []\n", True),
        ("# yaml-language-server: $schema=../schema.json\ntraining: {}\nlayers: []\n", False),
        ("# yaml-language-server: $schema=../schema.json\nother: {}\n", False),
        ("operator: relu\ncases: []\n", False),
        ("", False),
    ],
)
def test_a_case_file_says_so_in_its_first_line(folder: Path, text: str, holds: bool) -> None:
    (folder / "a.yaml").write_text(text)
    assert is_case_file(folder / "a.yaml") is holds


def test_the_shipped_cases_load_and_survive_being_written(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    swept = [case for case in shipped() if case.tier == "full" and case.id.startswith("sweeps/")]
    left_out = {case.id for case in swept} - {case.id for case in swept[::20]}
    for case in (case for case in shipped() if case.id not in left_out):
        path.write_text(as_yaml(dataclasses.replace(case, where=Where(path, 1, 1))))
        (again,) = load([path])
        assert dataclasses.replace(again, id=case.id, where=case.where) == case


def test_the_published_schema_is_this_one() -> None:
    published = default_root() / "schema.json"
    assert json.loads(published.read_text()) == schema(), "write it anew: conformance schema > cases/schema.json"


def test_the_schema_completes_attributes_by_operator() -> None:
    made = schema()
    assert made["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert made["$defs"]["Operator"]["enum"] == sorted(OPERATORS)
    assert set(made["$defs"]["Convolution"]["properties"]) == {"stride", "dilation", "groups", "padding"}


def test_loading_needs_no_numpy_and_300_cases_little_time(folder: Path) -> None:
    for n in range(30):
        (folder / f"f{n}.yaml").write_text(
            HEAD + '- {name: "{padding}-{stride}", matrix: {padding: [same, valid], stride: [1, 2, 3, 4, 5]}}\n'
        )
    program = (
        "import sys, time, pathlib; from conformance.case.loading import load; start = time.process_time(); "
        f"assert len(load([pathlib.Path({str(folder)!r})])) == 300; "
        "print(time.process_time() - start, 'numpy' in sys.modules)"
    )
    seconds, numpy = subprocess.run(
        [sys.executable, "-c", program], check=True, capture_output=True, text=True
    ).stdout.split()
    assert numpy == "False"
    assert float(seconds) < 0.5  # 0.15 measured; a shared machine may take longer


def test_a_matrix_that_explodes_is_refused_before_it_does(folder: Path) -> None:
    keys = ", ".join(f"k{n}: [{', '.join('1' * 40)}]" for n in range(40))
    start = time.process_time()
    assert "at most 10,000 are allowed" in told(folder, HEAD + f"- {{name: a, matrix: {{{keys}}}}}\n")[0]
    assert time.process_time() - start < 1


def test_a_check_that_an_operator_does_not_state_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text(
        "operator: max_pool2d\ncases: [{name: x, checks: [jvp], attributes: {window: 2}, inputs: {x: [1, 4, 5, 2]}}]"
    )
    with pytest.raises(InvalidCases, match="jvp is asked, and max_pool2d has no forward mode stated; leave it out"):
        load([path])
    path.write_text("operator: mish\ncases: [{name: x, checks: [gradients, second], inputs: {x: [1, 4]}}]")
    with pytest.raises(InvalidCases, match="second is asked, and mish has no second derivative stated; leave it out"):
        load([path])
    path.write_text("operator: tanh\ncases: [{name: x, checks: [outputs, second], inputs: {x: [1, 4]}}]")
    with pytest.raises(InvalidCases, match="second is asked, which differentiates the gradients; add gradients"):
        load([path])
