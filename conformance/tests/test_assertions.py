"""One operator judged in a call: every operator of the table, formats, layouts, and what a wrong call is told."""

import re
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import pytest

import conformance
from conformance.case.job import Job, Outputs
from conformance.case.operators import OPERATORS
from conformance.formats import FORMATS, round_to
from conformance.run.plan import question_of
from conformance.tests.questions import item
from conformance.tests.shipped import shipped
from conformance.verdict import oracle
from conformance.verdict.model import Outcome, Reason

ROOT = Path(__file__).parents[2]
# One element of a sample is as good as another.
OPERATED = [name for name in OPERATORS if name not in ("chain", "initialize")]


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def loops(x: np.ndarray, w: np.ndarray, stride: int) -> np.ndarray:
    """SAME by the definition, window by window, summed in float32."""
    _, height, width, _ = x.shape
    kh, kw, _, out = w.shape
    counts = -(-height // stride), -(-width // stride)
    totals = [
        max((n - 1) * stride + k - size, 0) for n, k, size in zip(counts, (kh, kw), (height, width), strict=True)
    ]
    padded = np.pad(x, ((0, 0), *((t // 2, t - t // 2) for t in totals), (0, 0)))
    y = np.empty((len(x), *counts, out), np.float32)
    for i, j in np.ndindex(*counts):
        window = padded[:, i * stride : i * stride + kh, j * stride : j * stride + kw]
        y[:, i, j] = np.einsum("nhwc,hwco->no", window, w)
    return y


X, W = normal(2, 6, 7, 3), normal(3, 2, 3, 4, seed=1)
Y = loops(X, W, 2)
ASKED: dict[str, Any] = {"x": X, "w": W, "stride": 2, "padding": "same", "got": Y}


def question(operator: str) -> Job:
    """The operator's first case that has an answer, in float32."""
    case = next(case for case in shipped("operators") if case.operator == operator and case.expect.error == "no")
    return question_of(item(case, "float32"), case.data[-1]).job


def call(job: Job) -> dict[str, Any]:
    """What a person would write for it."""
    attributes = {field.name: getattr(job.attributes, field.name) for field in fields(job.attributes)}
    return {**{name: tensor.data for name, tensor in job.operands.items()}, **attributes}


# What agrees, and what does not -------------------------------------------------------------------------------------


@pytest.mark.parametrize("operator", OPERATED)
def test_every_operator_can_be_judged_and_a_wrong_element_is_noticed(operator: str) -> None:
    job = question(operator)
    answer = oracle.answer(job)
    assert isinstance(answer, Outputs)
    got = {name: tensor.data.copy() for name, tensor in answer.outputs.items()}
    wanted = {operand.name for operand in OPERATORS[operator].operands if operand.differentiable}
    gradients = {name: tensor.data.copy() for name, tensor in answer.gradients.items() if name in wanted}
    cotangent = {name: tensor.data for name, tensor in job.cotangents.items()} or None
    asked: dict[str, Any] = {**call(job), "got": got, "gradients": gradients, "cotangent": cotangent}
    conformance.judge(operator, **asked).assert_within()
    for part in (got, *([gradients] if gradients else [])):
        array = next(iter(part.values()))
        right = array.copy()
        place = np.unravel_index(np.argmax(np.where(np.isfinite(array), np.abs(array), -1)), array.shape)
        array[place] += 0.01 * abs(array[place]) + 0.01
        judged = conformance.judge(operator, **asked)
        assert judged.outcome is Outcome.DIFFERS
        assert OPERATORS[operator].random or sum(comparison.outside for comparison in judged.comparisons) == 1
        array[...] = right


def test_the_readme_s_example_runs() -> None:
    text = (ROOT / "README.md").read_text()
    found = re.search(r"anybody's test suite\n.*?```python\n(.*?)```", text, re.DOTALL)
    assert found
    names: dict[str, Any] = {"my_conv2d": loops}
    exec(compile(found[1], "README.md", "exec"), names)
    names["test_my_convolution"]()
    names["my_conv2d"] = lambda x, w, stride: loops(x, w[::-1, ::-1], stride)
    with pytest.raises(AssertionError, match="agrees with: kernel flipped"):
        names["test_my_convolution"]()


def test_a_difference_is_told_with_its_place_and_its_numbers() -> None:
    got = Y.copy()
    got[1, 2, 3, 1] += 0.5
    judged = conformance.judge("conv2d", **{**ASKED, "got": got})
    assert (judged.within, bool(judged)) == (False, False)
    (comparison,) = judged.comparisons
    assert comparison.worst_index == (1, 2, 3, 1)
    with pytest.raises(AssertionError) as told:
        judged.assert_within()
    text = str(told.value)
    for part in (
        "conv2d in float32, sums in float32: DIFFERS",
        f"output: value, 1 of {Y.size} elements outside their bounds",
        f"worst at [1, 2, 3, 1]: got {float(got[1, 2, 3, 1])!r}, expected ",
        "error 0.5, bound ",
        "effective bits",
        "where: output on given data: 1 of",
    ):
        assert part in text


def test_agreement_is_told_too() -> None:
    judged = conformance.judge("conv2d", **ASKED)
    assert judged
    judged.assert_within()
    assert repr(judged) == str(judged)
    assert str(judged).startswith(
        "conv2d in float32, sums in float32: AGREES\n  output: within bound, error / room 0."
    )


def test_a_notebook_shows_a_table() -> None:
    text = conformance.judge("conv2d", **{**ASKED, "got": loops(X, W[::-1, ::-1], 2)})._repr_html_()
    assert text.count("<tr>") == 2
    assert "agrees with: kernel flipped" in text
    assert "outside (value)" in text


def test_shape_and_format_are_told() -> None:
    assert "shape [2, 3, 4, 3], expected [2, 3, 4, 4]" in str(
        conformance.judge("conv2d", **{**ASKED, "got": Y[..., :3]})
    )
    judged = conformance.judge("dense", x=X[0, 0], w=W[0, 0], got=X[0, 0] @ W[0, 0], cotangent=np.ones((7, 4)),
                               gradients={"x": np.ones((7, 3))})  # fmt: skip
    assert [comparison.reason for comparison in judged.comparisons] == [Reason.WITHIN_BOUND, Reason.FORMAT]
    assert "gradient of x: float64, expected float32" in str(judged)


def test_a_bound_as_large_as_the_values_is_no_agreement() -> None:
    x, w = (np.ones(shape, np.float16) / 3 for shape in ((1, 2000), (2000, 1)))
    got = (x.astype(np.float64) @ w.astype(np.float64)).astype(np.float16)
    judged = conformance.judge("dense", x=x, w=w, got=got)
    assert (judged.outcome, judged.within) == (Outcome.INCONCLUSIVE, False)
    with pytest.raises(AssertionError, match="accumulate="):
        judged.assert_within()
    conformance.judge("dense", x=x, w=w, got=got, accumulate="float32").assert_within()


@pytest.mark.parametrize("format_", ["float64", "float32", "float16"])
def test_the_format_is_that_of_what_was_got(format_: str) -> None:
    x, w = (array.astype(np.float16).astype(format_) for array in (X[0, 0], W[0, 0]))
    got = (x.astype(np.float64) @ w.astype(np.float64)).astype(format_)
    judged = conformance.judge("dense", x=x.astype(np.float64), w=w, got=got)
    assert (judged.format, judged.within) == (format_, True)


def test_bfloat16_is_named_where_its_type_does_not_tell() -> None:
    bfloat16 = FORMATS["bfloat16"]
    x, w = (round_to(array.astype(np.float64), bfloat16) for array in (X[0, 0], W[0, 0]))
    got = round_to(x @ w, bfloat16)
    judged = conformance.judge("dense", x=x, w=w, got=got.astype(np.float32), format="bfloat16", accumulate="float32")
    assert (judged.format, judged.accumulator, judged.within) == ("bfloat16", "float32", True)
    got[0, 0] *= 2
    assert not conformance.judge("dense", x=x, w=w, got=got, format="bfloat16", accumulate="float32")


def test_ml_dtypes_bfloat16_is_known_by_its_name() -> None:
    x, w = (array.astype(ml_dtypes.bfloat16) for array in (X[0, 0], W[0, 0]))
    got = (x.astype(np.float64) @ w.astype(np.float64)).astype(np.float32).astype(ml_dtypes.bfloat16)
    judged = conformance.judge("dense", x=x, w=w, got=got, accumulate="float32")
    assert (judged.format, judged.within) == ("bfloat16", True)


# Layouts and gradients ----------------------------------------------------------------------------------------------


def first(array: np.ndarray) -> np.ndarray:
    return np.moveaxis(array, -1, 1)


@pytest.mark.parametrize("operator", ["conv2d", "conv2d_transpose"])
def test_channels_first_is_the_same_question(operator: str) -> None:
    job = question(operator)
    answer = oracle.answer(job)
    assert isinstance(answer, Outputs)

    def turned(arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        return {
            name: array.transpose(3, 2, 0, 1) if name == "w" else first(array) if array.ndim == 4 else array
            for name, array in arrays.items()
        }

    asked = {**call(job), **turned({name: tensor.data for name, tensor in job.operands.items()})}
    gradients = turned({name: tensor.data for name, tensor in answer.gradients.items()})
    got = first(answer.outputs["output"].data).copy()
    asked |= {"cotangent": first(job.cotangents["output"].data), "layout": "channels_first"}
    conformance.judge(operator, **asked, got=got, gradients=gradients).assert_within()
    wrong = {**gradients, "w": gradients["w"].copy()}
    wrong["w"][1, 0, 0, 1] += 1
    got[1, 0, 1, 0] += 1
    judged = conformance.judge(operator, **asked, got=got, gradients=wrong)
    places = {c.name: c.worst_index for c in judged.comparisons if not c.within}
    assert places == {"output": (1, 0, 1, 0), "w": (1, 0, 0, 1)}
    assert judged.location.endswith("(places with channels last)")


def test_channels_first_is_for_operators_with_spatial_axes() -> None:
    with pytest.raises(ValueError, match="relu has no spatial axes"):
        conformance.judge("relu", x=X, got=X, layout="channels_first")


def test_gradients_are_judged_alone_or_together() -> None:
    x, w, g = X[0, 0], W[0, 0], normal(7, 4, seed=3)
    asked: dict[str, Any] = {"x": x, "w": w, "got": x @ w, "cotangent": g}
    conformance.judge("dense", **asked, gradients={"w": x.T @ g}).assert_within()
    judged = conformance.judge("dense", **asked, gradients={"x": g @ w.T, "w": x.T @ g / 7})
    assert [(c.name, c.within) for c in judged.comparisons] == [("output", True), ("x", True), ("w", False)]
    assert judged.agrees_with == ("weight gradient averaged over the batch",)
    assert "gradient of w: value" in str(judged)


def test_a_scalar_needs_no_cotangent() -> None:
    logits, labels = normal(3, 5), np.array([1, 4, 0])
    job_like = {"logits": logits, "labels": labels}
    exact = logits.astype(np.float64)
    shares = np.exp(exact) / np.exp(exact).sum(1, keepdims=True)
    loss = np.float32(-np.log(shares[np.arange(3), labels]).mean())
    gradient = ((shares - np.eye(5)[labels]) / 3).astype(np.float32)
    conformance.judge("softmax_cross_entropy", **job_like, got=loss, gradients={"logits": gradient}).assert_within()


# What is no NumPy array ---------------------------------------------------------------------------------------------


class Exports:
    """An array of a framework that hands it out by DLPack alone."""

    def __init__(self, array: np.ndarray) -> None:
        self._array = array

    def __dlpack__(self, **options: Any) -> Any:
        return self._array.__dlpack__(**options)

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._array.__dlpack_device__()


class Attached:
    """A tensor that is part of a graph."""

    requires_grad = True

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise RuntimeError("Can't call numpy() on Tensor that requires grad.")


class Narrow:
    """A tensor of a type that NumPy does not have."""

    dtype = "torch.bfloat16"

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise TypeError("Got unsupported ScalarType BFloat16")


class Elsewhere:
    """A tensor on another device."""

    def __array__(self, *_: object, **__: object) -> np.ndarray:
        raise TypeError("can't convert cuda:0 device type tensor to numpy")


def test_dlpack_is_read() -> None:
    conformance.judge("conv2d", **{**ASKED, "got": Exports(Y)}).assert_within()


@pytest.mark.parametrize(
    ("got", "remedy"),
    [(Attached(), ".detach()"), (Narrow(), ".float(), format='bfloat16'"), (Elsewhere(), ".cpu()")],
    ids=["attached", "bfloat16", "device"],
)
def test_what_cannot_be_read_is_told_with_the_remedy(got: object, remedy: str) -> None:
    with pytest.raises(TypeError, match=re.escape(remedy)):
        conformance.judge("conv2d", **{**ASKED, "got": got})


# What a wrong call is told ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "error", "told"),
    [
        ({"strid": 2}, TypeError, "takes no 'strid'; operands are x, w, b, attributes stride, dilation, .*'stride'?"),
        ({"stride": "two"}, ValueError, "stride must be an integer or a list of integers, got 'two'"),
        ({"stride": (1, 2, 3)}, ValueError, r"stride takes one integer, or 2 integers .* got \[1, 2, 3\]"),
        ({"padding": "smae"}, ValueError, "got 'smae'. Did you mean 'same'?"),
        ({"w": None}, TypeError, "conv2d needs the operand 'w'; given are x, "),
        ({"w": W[:, :, :2]}, ValueError, "x has 3 channels, w of shape"),
        ({"x": X.astype(np.float64) / 3}, ValueError, "x holds numbers that float32 does not, .* rounded to float32"),
        ({"x": "text"}, TypeError, "x must be an array of numbers"),
        ({"got": {"outptu": Y}}, TypeError, "no output 'outptu'; it has output. Did you mean 'output'?"),
        ({"got": Y.astype(np.int32)}, TypeError, "int32, and must be float64, float32, bfloat16, float16"),
        ({"got": np.float64(Y) / 3, "format": "float32"}, ValueError, "output holds numbers that float32 does not"),
        ({"accumulate": "fp32"}, ValueError, "accumulate must be float64, .* got 'fp32'"),
        ({"layout": "channels"}, ValueError, "layout must be channels_last, channels_first, got 'channels'"),
        ({"gradients": {"x": X}}, TypeError, "need the cotangent .* y.backward"),
        ({"gradients": {"x": X}, "cotangent": Y[0]}, ValueError, r"shape \[2, 3, 4, 4\], got \[3, 4, 4\]"),
        ({"gradients": {"k": X}, "cotangent": Y}, TypeError, "no gradient with respect to 'k'; .* are x, w"),
    ],
)
def test_a_wrong_call_is_told(changed: dict[str, Any], error: type[Exception], told: str) -> None:
    with pytest.raises(error, match=told):
        conformance.judge("conv2d", **{**ASKED, **changed})


def test_operators_that_cannot_be_asked_are_told() -> None:
    with pytest.raises(ValueError, match=r"there is no operator 'conv2'; .* Did you mean 'conv2d'\?"):
        conformance.judge("conv2", got=Y)
    with pytest.raises(ValueError, match="layer by layer, in case files"):
        conformance.judge("chain", got=Y)
    with pytest.raises(TypeError, match="leaky_relu needs the attribute 'slope'"):
        conformance.judge("leaky_relu", x=X, got=X)
    with pytest.raises(TypeError, match="adam has several outputs; give got="):
        conformance.judge("adam", parameter=X, gradient=X, m=X, v=X, got=X)
    with pytest.raises(TypeError, match="got lacks m, v"):
        conformance.judge("adam", parameter=X, gradient=X, m=X, v=X, got={"parameter": X})
    with pytest.raises(TypeError, match="labels holds integers, got float32"):
        conformance.judge("softmax_cross_entropy", logits=X[0, 0], labels=X[0, 0, :, 0], got=np.float32(0))
    with pytest.raises(ValueError, match="mask is a mask"):
        conformance.judge("dropout", x=X, mask=X, keep=0.5, got=X)


def test_no_operator_has_a_name_that_the_call_takes_for_itself() -> None:
    own = {"got", "gradients", "cotangent", "format", "accumulate", "layout"}
    for operator in OPERATORS.values():
        names = {operand.name for operand in operator.operands} | {
            field.name for field in fields(operator.attributes)
        }
        assert not own & names, operator.name


# What it loads ------------------------------------------------------------------------------------------------------


def test_importing_loads_nothing_and_judging_no_framework() -> None:
    code = (
        "import sys, conformance\n"
        "assert not {'numpy', 'pydantic', 'yaml'} & set(sys.modules)\n"
        "conformance.judge('relu', x=__import__('numpy').ones(2), got=__import__('numpy').ones(2)).assert_within()\n"
        "print(*sorted({name.partition('.')[0] for name in sys.modules}))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {"numpy", "conformance"} <= loaded
    assert not loaded & {"torch", "tensorflow", "jax", "keras", "pandas", "typer", "execnet", "jinja2"}


def test_what_was_given_stays_as_it_was() -> None:
    kept = [array.copy() for array in (X, W, Y)]
    conformance.judge("conv2d", **ASKED)
    for array, before in zip((X, W, Y), kept, strict=True):
        np.testing.assert_array_equal(array, before)
