"""Layers of models without their frameworks: recipes that are one operator, calls as they are read, pairs, lines."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.activations import Gelu
from conformance.case.families.arrays import Concat, Pad
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.normalization import BatchNorm, BatchNormTraining
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.job import Tensor
from conformance.case.traces import TracedLayer
from conformance.models.recording import CROP, PADDED_WITH_ZEROS, Call, Crop, Record, folded
from conformance.models.torch_calls import read_call
from conformance.reference.operators import OPERATORS
from conformance.run.lines import written
from conformance.run.pairing import pair_layers
from conformance.verdict.oracle import attribute_values


def record(name: str, operator: str, attributes: Any, x: object, **more: Any) -> Record:
    call = Call(operator=operator, operands={"x": x}, attributes=attributes, **more)
    return Record(name=name, native=name, call=call, output=object(), parameters={}, read=(x,), handed=object())


def pads(value: float = 0.0, mode: Any = "constant") -> Pad:
    return Pad(padding=((0, 0), (1, 0), (2, 1), (0, 0)), mode=mode, value=value)


VALID = Convolution(stride=(1, 1), dilation=(1, 1))
MAXIMA = MaxPool(window=(4, 4), stride=(2, 2), dilation=(1, 1))
MEANS = AveragePool(window=(4, 4), stride=(2, 2))
INFINITE = -float("inf")


@pytest.mark.parametrize(
    ("pad", "operator", "attributes", "reading"),
    [
        (pads(), "conv2d", VALID, ""),
        (pads(), "max_pool2d", MAXIMA, PADDED_WITH_ZEROS),
        (pads(INFINITE), "max_pool2d", MAXIMA, ""),
        (pads(), "average_pool2d", MEANS, ""),
    ],
)
def test_a_pad_and_what_slides_over_it_are_one(pad: Pad, operator: str, attributes: Any, reading: str) -> None:
    x = object()
    first = record("pad", "pad", pad, x)
    (joined,) = folded([first, record("next", operator, attributes, first.handed)])
    assert joined.call.attributes.padding == ((1, 0), (2, 1))
    assert joined.call.operands["x"] is x
    assert (joined.name, joined.call.reading) == ("next", reading)
    # The numbers are those of the recipe.
    numbers = np.abs(np.random.default_rng(0).standard_normal((2, 6, 7, 3)))
    given = {"w": np.ones((3, 3, 3, 2))} if operator == "conv2d" else {}
    spread = OPERATORS["pad"].forward(x=numbers, **attribute_values(pad))["output"]
    recipe = OPERATORS[operator].forward(x=spread, **given, **attribute_values(attributes))["output"]
    own = OPERATORS[operator].forward(x=numbers, **given, **attribute_values(joined.call.attributes))["output"]
    np.testing.assert_array_equal(own, recipe)


@pytest.mark.parametrize(
    ("pad", "operator", "attributes"),
    [
        (pads(mode="reflect"), "conv2d", VALID),
        (pads(1.0), "conv2d", VALID),
        (pads(INFINITE), "average_pool2d", MEANS),
        (pads(), "conv2d", Convolution(stride=(1, 1), dilation=(1, 1), padding="same")),
        (pads(), "max_pool2d", MaxPool(window=(2, 2), stride=(2, 2), dilation=(1, 1))),  # more than half a window
        (Pad(padding=((0, 0), (0, 0), (0, 0), (0, 1))), "conv2d", VALID),
    ],
)
def test_what_is_not_the_same_stays_two(pad: Pad, operator: str, attributes: Any) -> None:
    first = record("pad", "pad", pad, object())
    assert len(folded([first, record("next", operator, attributes, first.handed)])) == 2


def test_a_pad_that_somebody_else_reads_stays() -> None:
    first = record("pad", "pad", pads(), object())
    both = [record(name, "conv2d", VALID, first.handed) for name in ("one", "two")]
    assert [found.name for found in folded([first, *both])] == ["pad", "one", "two"]


@pytest.mark.parametrize(("stride", "kernel"), [(2, 3), (3, 2), (2, 4), (1, 3)])
def test_a_crop_of_a_transposed_convolution_is_what_it_crops(stride: int, kernel: int) -> None:
    attributes = TransposedConvolution(stride=(stride,) * 2, dilation=(1, 1), output_padding=(0, 0))
    crop = ((1, 0), (0, 2))
    up = record("up", "conv2d_transpose", attributes, object(), kernel=(kernel, kernel))
    (joined,) = folded([up, record("crop", CROP, Crop(pads=crop), up.handed)])
    generator = np.random.default_rng(0)
    x, w = generator.standard_normal((2, 4, 5, 3)), generator.standard_normal((kernel, kernel, 2, 3))
    whole = OPERATORS["conv2d_transpose"].forward(x=x, w=w, **attribute_values(attributes))["output"]
    own = OPERATORS["conv2d_transpose"].forward(x=x, w=w, **attribute_values(joined.call.attributes))["output"]
    np.testing.assert_array_equal(own, whole[:, 1:, :-2])
    assert (joined.name, joined.last) == ("up", "crop")


# Calls of PyTorch's -------------------------------------------------------------------------------------------------


def tensor(*shape: int) -> Any:
    return SimpleNamespace(shape=shape, ndim=len(shape))


def test_calls_are_read_with_their_defaults() -> None:
    x, w = tensor(2, 3, 8, 9), tensor(4, 3, 3, 2)
    call = read_call("conv2d", (x, w, None, (2, 1), "valid"), {}, tensor(2, 4, 3, 8))
    assert call is not None
    assert call.attributes == Convolution(stride=(2, 1), dilation=(1, 1), padding="valid")
    assert call.kernel == (3, 2)
    same = read_call("conv2d", (x, w), {"padding": "same"}, tensor(2, 4, 8, 9))
    assert same is not None
    assert same.attributes.padding == ((1, 1), (0, 1))  # torch's odd pixel is at the high end
    cat = read_call("cat", ([x, x],), {"dim": 1}, tensor(2, 6, 8, 9))
    assert cat is not None
    assert cat.attributes == Concat(axis=3)
    norm = read_call("batch_norm", (x, tensor(3), tensor(3)), {"training": False, "eps": 1e-3}, x)
    assert norm is not None
    assert norm.attributes == BatchNorm(epsilon=1e-3)
    trained = read_call("batch_norm", (x, tensor(3), tensor(3)), {"training": True, "momentum": 0.25}, x)
    assert trained is not None
    assert trained.attributes == BatchNormTraining(epsilon=1e-5, momentum=0.75, bessel=True)
    pad = read_call("pad", (x, (1, 2, 3, 4)), {"value": None}, x)
    assert pad is not None
    assert pad.attributes.padding == ((0, 0), (3, 4), (1, 2), (0, 0))
    pool = read_call("max_pool2d", (x, 2), {"stride": None, "return_indices": False}, x)
    assert pool is not None
    assert pool.attributes == MaxPool(window=(2, 2), stride=(2, 2), dilation=(1, 1))


@pytest.mark.parametrize(
    ("name", "args", "kwargs"),
    [
        ("batch_norm", (tensor(2, 3, 4, 4), None, None), {"training": True}),
        ("mul", (tensor(2, 3), 2), {}),
        ("add", (tensor(2, 3), tensor(2, 3)), {"alpha": 2}),
        ("cat", ([tensor(2, 3)] * 3,), {}),
        ("softplus", (tensor(2, 3), 2.0), {}),
        ("avg_pool2d", (tensor(2, 3, 4, 4), 2), {"divisor_override": 3}),
        ("adaptive_avg_pool2d", (tensor(2, 3, 4, 4), (2, 2)), {}),
        ("reshape", (tensor(2, 3, 4, 4), (6, 4, 4)), {}),
        ("fft", (tensor(2, 3),), {}),
    ],
)
def test_what_is_no_operator_of_the_house_is_nobodys(name: str, args: Any, kwargs: Any) -> None:
    assert read_call(name, args, kwargs, tensor(6, 4, 4)) is None


# Pairs --------------------------------------------------------------------------------------------------------------


def layer(name: str, operator: str = "relu", attributes: Any = None, *sources: str, **shapes: Any) -> TracedLayer:
    reading = shapes.pop("reading", "")
    shapes = {"x": (2, 4, 6, 3), **shapes}
    output = shapes.pop("output", (2, 4, 6, 3))

    def zeros(shape: tuple[int, ...]) -> Tensor:
        return Tensor("float32", np.zeros(shape, np.float32))

    return TracedLayer(
        name=name,
        native=name,
        operator=operator,
        attributes=attributes or NoAttributes(),
        operands={operand: zeros(shape) for operand, shape in shapes.items()},
        parameters={operand: f"{name}.{operand}" for operand in shapes if operand not in ("x", "y")},
        output=zeros(output),
        reading=reading,
        sources=sources,
    )


def conv(name: str, side: int, *sources: str) -> TracedLayer:
    return layer(name, "conv2d", VALID, *sources, w=(side, side, 3, 3))


def norm(name: str, *sources: str) -> TracedLayer:
    return layer(name, "batch_norm", BatchNorm(epsilon=1e-3), *sources, mean=(3,), variance=(3,))


def test_normalisations_go_with_the_convolutions_before_them_whatever_the_order() -> None:
    first = [conv("long", 3), norm("n1", "long"), conv("short", 1), norm("n2", "short")]
    second = [conv("SHORT", 1), norm("N2", "SHORT"), conv("LONG", 3), norm("N1", "LONG")]
    found = {a.name: b.name for a, b in pair_layers(first, second).pairs}
    assert found == {"long": "LONG", "n1": "N1", "short": "SHORT", "n2": "N2"}


def test_kernels_of_other_shapes_are_no_pair_and_a_bias_more_is_one() -> None:
    first = [conv("a", 3), conv("b", 1)]
    second = [conv("A", 5), layer("B", "conv2d", VALID, w=(1, 1, 3, 3), b=(3,))]
    found = pair_layers(first, second)
    assert [(a.name, b.name) for a, b in found.pairs] == [("b", "B")]
    assert ([a.name for a in found.only_first], [b.name for b in found.only_second]) == (["a"], ["A"])


# Lines --------------------------------------------------------------------------------------------------------------


def up(padding: Any, more: int = 0, stride: int = 2, side: int = 3) -> TracedLayer:
    attributes = TransposedConvolution(
        stride=(stride,) * 2, dilation=(1, 1), padding=padding, output_padding=(more,) * 2
    )
    size = (
        OPERATORS["conv2d_transpose"]
        .forward(x=np.zeros((2, 4, 6, 3)), w=np.zeros((side, side, 5, 3)), **attribute_values(attributes))["output"]
        .shape
    )
    return layer("up", "conv2d_transpose", attributes, w=(side, side, 5, 3), output=size)


ONES = ((1, 1), (1, 1))
FIRST = "flattened channels first"


@pytest.mark.parametrize(
    ("framework", "asked", "line"),
    [
        (
            "keras",
            up(ONES, 1),
            'Conv2DTranspose(5, 3, strides=2, use_bias=False, padding="valid") + Cropping2D(((1, 0), (1, 0)))',
        ),
        ("keras", up("valid"), 'Conv2DTranspose(5, 3, strides=2, use_bias=False, padding="valid")'),
        (
            "keras",
            up("same"),
            'Conv2DTranspose(5, 3, strides=2, padding="same", use_bias=False)',
        ),
        (
            "keras",
            up(((0, 0), (0, 0)), stride=3, side=2),  # VALID keeps a row of zeros more
            'Conv2DTranspose(5, 2, strides=3, use_bias=False, padding="valid") + Cropping2D(((0, 1), (0, 1)))',
        ),
        ("torch", up(ONES, 1), "nn.ConvTranspose2d(3, 5, 3, stride=2, padding=1, output_padding=1, bias=False)"),
        ("torch", up("same"), "nn.ConvTranspose2d(3, 5, 3, stride=2, bias=False) + nn.ZeroPad2d((0, -1, 0, -1))"),
        (
            "keras",
            layer("c", "conv2d", Convolution(stride=(2, 2), dilation=(1, 1), padding=ONES), w=(3, 3, 3, 5), b=(5,)),
            "ZeroPadding2D(1) + Conv2D(5, 3, strides=2)",
        ),
        (
            "keras",
            layer("c", "conv2d", Convolution(stride=(1, 1), dilation=(1, 1), padding=ONES), w=(3, 3, 3, 3), b=(3,)),
            'Conv2D(3, 3, padding="same")',
        ),
        (
            "torch",
            layer("c", "conv2d", Convolution(stride=(2, 2), dilation=(1, 1), padding="same"), w=(3, 3, 3, 3), b=(3,)),
            "nn.ZeroPad2d((0, 1, 0, 1)) + nn.Conv2d(3, 3, 3, stride=2)",
        ),
        ("keras", norm("n"), "BatchNormalization(center=False, scale=False)"),
        (
            "jax",
            up(ONES, 1),
            "y = lax.conv_transpose(x, w, strides=(2, 2), padding=((1, 2), (1, 2)), "
            'dimension_numbers=("NHWC", "HWIO", "NHWC"), transpose_kernel=True)',
        ),
        ("jax", norm("n"), "y = (x - mean) * lax.rsqrt(variance + 0.001)"),
        ("jax", layer("a", "add", y=(2, 4, 6, 3)), "y = x + y"),
        (
            "keras",
            layer("p", "max_pool2d", MaxPool(window=(3, 3), stride=(2, 2), dilation=(1, 1), padding=ONES)),
            "ops.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-inf) + MaxPooling2D(3, strides=2)",
        ),
        ("keras", layer("g", "gelu", Gelu(approximate="tanh")), "keras.activations.gelu(x, approximate=True)"),
        ("keras", layer("f", "flatten", reading=FIRST), "Permute((3, 1, 2)) + Flatten()"),
        ("torch", layer("f", "flatten"), "x.permute(0, 2, 3, 1).flatten(1)"),
        ("torch", layer("f", "flatten", reading=FIRST), "nn.Flatten()"),
        # What is padded with 0 before a maximum has another reading, and no dialect a word for it.
        ("keras", layer("p", "max_pool2d", MAXIMA, reading=PADDED_WITH_ZEROS), ""),
    ],
)
def test_the_line_is_its_frameworks_own(framework: str, asked: TracedLayer, line: str) -> None:
    assert written(framework, asked) == line
