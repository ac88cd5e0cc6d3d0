"""What travels between processes arrives as it was sent; nothing else travels."""

import math
from dataclasses import fields, is_dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from conformance.case import job, traces
from conformance.case.contract import NoAttributes
from conformance.case.families.arrays import Blocks, Pad
from conformance.case.families.convolution import Convolution
from conformance.case.families.losses import CrossEntropy
from conformance.case.families.pooling import MaxPool
from conformance.case.families.sampling import RandomDropout
from conformance.case.families.signals import Polynomial
from conformance.case.families.steps import Adam
from conformance.case.job import Tensor
from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.operators import Chain, Layer
from conformance.worker import wire
from conformance.worker.wire import decode, encode

F32 = Tensor("float32", np.arange(6, dtype=np.float32).reshape(2, 3))
CHAIN = Chain(
    layers=(
        Layer(name="a", operator="conv2d", attributes=Convolution(stride=(2, 1), padding=((0, 1), (2, 3)))),
        Layer(name="b", operator="relu", attributes=NoAttributes()),
    )
)
DESCRIPTION = job.Description(
    backend="torch",
    versions={"torch": "2.13.0+cpu"},
    device="cpu (x86_64)",
    cpu_features=("avx2", "avx512f"),
    switches={"tf32": "off"},
    accumulators=(("*", "bfloat16", "outputs", "float32"),),
    absent=("glorot_uniform", "*:gradients"),
    operators=("conv2d",),
    stored_sums=(("conv*", "bfloat16"),),
)
LAYER = traces.TracedLayer(
    name="pool",
    native="MaxPool2d(2)",
    operator="conv2d",
    attributes=CHAIN.layers[0].attributes,
    operands={"x": F32, "w": F32},
    output=F32,
    parameters={"w": "pool.weight"},
    reading="maximum padded with 0",
    last="crop",
    sources=("enc1", ""),
    cotangent=F32,
    gradients={"w": F32},
)
MESSAGES = [
    job.Job(
        case_id="conv2d/ü",
        operator="chain",
        attributes=CHAIN,
        format="float32",
        layout="native",
        data="wide",
        operands={"x": F32, "a/w": Tensor("bool", np.array([True, False]))},
        cotangents={"b": F32},
    ),
    job.Outputs(
        outputs={"output": F32},
        gradients={
            "x": F32,
            "w": job.Unsupported(reason="none"),
            "b": job.Refused(error="ValueError", message="no\n"),
            "c": job.Crashed(cause="SIGSEGV", last_words="..."),
            "d": job.TimedOut(seconds=1.5),
        },
        calls=("F.conv2d(x, w)",),
        mutated=("x",),
        seconds=0.25,
    ),
    job.Outputs(outputs={}),
    job.Unsupported(reason="no relu"),
    job.Refused(error="E", message='"quoted" \\ \x00'),
    job.Crashed(cause="exit code 3", last_words=""),
    job.TimedOut(seconds=120.0),
    DESCRIPTION,
    job.BuildNetwork(
        network=CHAIN,
        shapes={"x": (8, 28, 28, 1), "loss/labels": (8,)},
        parameters={"a/w": F32},
        optimizer="adam",
        optimizer_attributes=Adam(learning_rate=0.01, step=3),
    ),
    job.TrainStep(operands={"x": F32}, capture=True),
    job.Predict(x=F32),
    job.Built(text="net"),
    job.Stepped(loss=math.inf, outputs={"a": F32}, gradients={}, before={"a/w": F32}, after={}, seconds=0.1),
    job.Predicted(logits=F32),
    job.TellState(),
    job.TrainingState(step=3, tensors={"a/w": F32, "a/w/m": F32}),
    traces.LoadModel(file="/models/unet.py", function="build", weights="/models/unet.pt"),
    traces.LoadedModel(parameters=17_698),
    traces.SetParameters(parameters={"enc1/kernel": F32}),
    traces.ParametersSet(),
    traces.RunModel(inputs=(F32,), cotangents=(F32, F32), noise={"enc1": F32}),
    LAYER,
    traces.Trace(layers=(LAYER, LAYER), unrecognised=("fft of (2, 3)",), outputs=(F32,), failure="unet.py:3: no"),
    traces.ExportParameters(),
    traces.ExportedParameters(parameters={"n": Tensor("int64", np.array(3))}),
    CHAIN.layers[0],
    CHAIN,
    # Of every operator, what a shipped case gives it.
    *{case.operator: case.attributes for case in load([default_root() / "operators"])}.values(),
    Pad(padding=((0, 1), (2, 3)), value=-math.inf),
    CrossEntropy(smoothing=0.1, ignored=-1),
    RandomDropout(rate=0.25, seed=7),
    Blocks(block=2, order="crd"),
    Polynomial(coefficients=(1.0, -2.5)),
]


def same(one: Any, other: Any) -> None:
    """Asserts equality, type by type, arrays bit by bit."""
    assert type(one) is type(other)
    if isinstance(one, Tensor):
        assert (one.format, one.shape, one.data.dtype) == (other.format, other.shape, other.data.dtype)
        assert one.data.tobytes() == other.data.tobytes()
    elif is_dataclass(one):
        for field in fields(one):
            same(getattr(one, field.name), getattr(other, field.name))
    elif isinstance(one, dict):
        assert list(one) == list(other)
        for key in one:
            same(one[key], other[key])
    elif isinstance(one, tuple):
        assert len(one) == len(other)
        for mine, theirs in zip(one, other, strict=True):
            same(mine, theirs)
    else:
        assert one == other


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: type(message).__name__)
def test_a_message_arrives_as_it_was_sent(message: Any) -> None:
    same(decode(encode(message)), message)


def test_every_kind_of_message_is_tried_here() -> None:
    assert {type(message).__name__ for message in MESSAGES} == set(wire._MESSAGES)


@pytest.mark.parametrize(
    "tensor",
    [
        Tensor("float32", np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)),
        Tensor("float32", np.arange(10, dtype=np.float32)[::-2]),
        Tensor("float64", np.broadcast_to(np.float64(3.5), (2, 2))),
        Tensor("float64", np.array(2.5)),
        Tensor("float16", np.zeros((0, 3), np.float16)),
        Tensor("bfloat16", np.array([[0x3F80, 0xFFC1]], np.uint16)),
        Tensor("bool", np.array([[True], [False]])),
        Tensor("int64", np.array([-(2**63), 2**63 - 1])),
        Tensor("float32", np.array([np.nan, -np.inf, -0.0, 1e-45], np.float32)),
    ],
    ids=["transposed", "strided", "broadcast", "no axes", "empty", "bfloat16", "bool", "int64", "specials"],
)
def test_every_array_arrives_fresh_writable_and_bit_by_bit(tensor: Tensor) -> None:
    before = tensor.data.tobytes()
    arrived = decode(encode(job.Predict(x=tensor))).x
    same(arrived, Tensor(tensor.format, np.ascontiguousarray(tensor.data).reshape(tensor.shape)))
    assert arrived.data.flags.writeable
    assert arrived.data.flags.c_contiguous
    arrived.data[...] = 1
    assert tensor.data.tobytes() == before


@given(npst.arrays(np.float32, npst.array_shapes(min_dims=0, max_dims=5, min_side=0, max_side=4)))
def test_any_float32_array_arrives(array: np.ndarray) -> None:
    same(decode(encode(job.Predict(x=Tensor("float32", array)))).x, Tensor("float32", array))


@given(st.floats(), st.text(), st.integers())
def test_plain_values_arrive(number: float, text: str, integer: int) -> None:
    arrived = decode(encode(job.TimedOut(seconds=number))).seconds
    assert math.isnan(arrived) if math.isnan(number) else arrived == number
    assert decode(encode(job.Built(text=text))).text == text
    assert decode(encode(Adam(step=integer))).step == integer


def test_arrays_follow_one_another_in_their_order() -> None:
    tensors = {name: Tensor("float64", np.full(size, float(size))) for size, name in enumerate("abcd")}
    arrived = decode(encode(job.TrainStep(operands=tensors, capture=False))).operands
    assert {name: tensor.data.tolist() for name, tensor in arrived.items()} == {
        "a": [],
        "b": [1.0],
        "c": [2.0, 2.0],
        "d": [3.0, 3.0, 3.0],
    }


def test_subclasses_of_plain_types_arrive_as_the_plain_type() -> None:
    class Version(str):
        __slots__ = ()

    built = decode(encode(job.Built(text=Version("2.13"))))
    assert type(built.text) is str
    assert type(decode(encode(job.TimedOut(seconds=np.float64(1.5)))).seconds) is float


class NotOurs:
    pass


@pytest.mark.parametrize(
    "value", [NotOurs(), {1, 2}, b"bytes", np.zeros(2), np.float32(1), 1j, Convolution, MaxPool, len]
)
def test_nothing_else_travels(value: Any) -> None:
    with pytest.raises(TypeError, match="has no place on the wire"):
        encode(job.Outputs(outputs={}, calls=(value,)))


@pytest.mark.parametrize(
    ("tensor", "told"),
    [
        (Tensor("float32", np.zeros(2)), "float32 is stored as float32, got float64"),
        (Tensor("bfloat16", np.zeros(2, np.float32)), "bfloat16 is stored as uint16, got float32"),
        (Tensor("float31", np.zeros(2)), "float31"),
        (Tensor("float64", np.zeros(2, ">f8")), "float64 is stored as float64, got >f8"),
    ],
)
def test_an_array_that_is_not_of_its_format_does_not_travel(tensor: Tensor, told: str) -> None:
    with pytest.raises(TypeError, match=told):
        encode(job.Predict(x=tensor))


def test_a_message_of_an_unknown_type_is_not_made() -> None:
    text = encode(job.Built(text="x")).replace(b"Built", b"Popen")
    with pytest.raises(KeyError, match="Popen"):
        decode(text)
