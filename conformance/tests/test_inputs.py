"""Numbers for questions: the same on every machine, and wide ones that every honest accumulator holds exactly."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.case.contract import NoAttributes
from conformance.case.families.convolution import Convolution, TransposedConvolution
from conformance.case.families.losses import CrossEntropy, DenseCrossEntropy
from conformance.case.families.normalization import BatchNorm
from conformance.case.families.pooling import MaxPool
from conformance.case.families.signals import Signal
from conformance.case.families.steps import Dropout
from conformance.case.inputs import (
    Question,
    digest,
    draw_words,
    integers,
    literal_values,
    narrow,
    normal,
    read_array,
    uniform,
    wide,
    wide_bits,
    wide_budget,
)
from conformance.case.model import Case, Expect, File, Fill, FormatName, TensorSpec
from conformance.errors import InvalidData
from conformance.formats import FORMATS
from conformance.tests.questions import CONV, DENSE, TRANSPOSED, case, numbers, stated
from conformance.verdict.oracle import Accumulators, expect_operator, to_float64

FLOATS: tuple[FormatName, ...] = ("float64", "float32", "bfloat16", "float16")
WORDS = draw_words(b"seed", "x", 24)
SMALL = case("conv2d", Convolution(padding="same"), "small", inputs={"x": (1, 2, 2, 1), "w": (2, 1, 1, 2), "b": (2,)})


def drawn(case: Case, data: Any, format_: FormatName = "float32", **shapes: Any) -> dict[str, list[float]]:
    question = Question(case, data, format_)
    made = question.operands() | question.cotangents(shapes)
    return {name: tensor.data.ravel().tolist() for name, tensor in made.items()}


# Golden: whoever changes one of these changes every recorded run --------------------------------------------------


def test_words_are_philox_keyed_by_a_digest() -> None:
    assert [hex(int(word)) for word in WORDS[:4]] == [
        "0x83da69a47a75fbfb",
        "0x4534edb3d7da0f6a",
        "0x8271eed5a4a9a8fe",
        "0x42b155eeb25d1fa5",
    ]
    np.testing.assert_array_equal(draw_words(b"seed", "x", 3), WORDS[:3])
    assert not np.array_equal(draw_words(b"seed", "w", 3), WORDS[:3])
    assert not np.array_equal(draw_words(b"seeds", "x", 3), WORDS[:3])


def test_the_first_numbers_of_every_kind() -> None:
    assert normal(WORDS).tolist() == [-1.273420330590925, -1.0619570643590777]
    assert uniform(WORDS)[:3].tolist() == [0.5150514627989294, 0.27033887520506295, 0.509550978812206]
    assert integers(WORDS, -3, 3)[:6].tolist() == [3, 1, -2, 1, -1, -2]
    assert wide(WORDS, FORMATS["float64"])[:3].tolist() == [-41286651, 64622443, -44673279]
    assert wide(WORDS, FORMATS["float32"])[:3].tolist() == [-7163, 8043, -6399]
    assert wide(WORDS, FORMATS["bfloat16"])[:3].tolist() == [-251, 235, -255]
    assert wide(WORDS, FORMATS["float16"])[:3].tolist() == [-2043, 1899, -1279]
    assert narrow(WORDS, FORMATS["float32"])[:6].tolist() == [-1, 3, -1, 2, 1, -2]


def test_the_numbers_of_a_question_on_wide_data() -> None:
    assert drawn(SMALL, "wide", output=(1, 2, 2, 2)) == {
        "x": [-1, -2, 3, -1],
        "w": [-4239, -5199, 6217, -4529],
        "b": [3, -3],
        "output": [1, -3, -1, -1, -2, 2, -1, -1],
    }


def test_the_numbers_of_a_question_on_normal_data() -> None:
    made = drawn(SMALL, "normal", output=(1, 2, 2, 2))
    assert made["x"] == [-0.8380838632583618, 0.8448539972305298, -1.1122201681137085, -0.18942753970623016]
    assert made["b"] == [-1.59562087059021, -0.31269803643226624]
    assert made["output"][:2] == [1.4081529378890991, 1.7296406030654907]


def test_the_numbers_of_a_question_on_special_data() -> None:
    pool = case("max_pool2d", MaxPool(window=(2, 2)), inputs={"x": (1, 2, 3, 1)})
    made = drawn(pool, "special", output=(2,))
    assert made["x"] == [-3, -0.5, -3, -0.5, -1, -0.5]
    assert made["output"] == [0.13885647058486938, -0.22144605219364166]  # cotangents stay normal


def test_special_data_keep_to_the_domain() -> None:
    norm = case("batch_norm", BatchNorm(epsilon=0.1), inputs={"x": (1, 40), "mean": (40,), "variance": (40,)})
    made = drawn(norm, "special", output=(1, 40))
    assert min(made["mean"]) < 0
    assert min(made["variance"]) == 0
    assert max(made["variance"]) == 100


@pytest.mark.parametrize(
    ("fill", "expected"),
    [
        (Fill(kind="normal"), [1.6081487542707684, -0.40039090408645883, 0.8217458282037349, -1.6033308333096095]),
        (Fill(kind="uniform"), [0.8496127739564555, 0.5016481864055292, 0.5082689643566114, 0.7788898661499607]),
        (Fill(kind="integers"), [-3, -3, 1, 1]),
        (Fill(kind="arange", start=5), [5, 6, 7, 8]),
        (Fill(kind="ones"), [1, 1, 1, 1]),
        (Fill(kind="zeros"), [0, 0, 0, 0]),
    ],
    ids=lambda value: value.kind if isinstance(value, Fill) else "",
)
def test_the_numbers_of_a_fill(fill: Fill, expected: list[float]) -> None:
    asked = case("relu", NoAttributes(), inputs={"x": TensorSpec(shape=(4,), source=fill)})
    assert drawn(asked, "normal", "float64")["x"] == expected
    # A fill that is named is the same on every data set's seed but not the same numbers.
    again = drawn(asked, "given", "float64")["x"]
    assert (again == expected) == (fill.kind in ("arange", "ones", "zeros"))


def test_integers_masks_and_rows_of_one_hot_keep_their_kind() -> None:
    dropout = case(
        "dropout",
        Dropout(keep=0.5),
        inputs={"x": (8,), "mask": TensorSpec(shape=(8,), source=Fill(kind="mask", keep=0.5))},
    )
    mask = Question(dropout, "normal", "bfloat16").operands()["mask"]
    assert (mask.format, mask.data.tolist()) == ("bool", [True, True, True, False, True, True, True, False])
    labels = TensorSpec(shape=(4,), source=Fill(kind="integers", low=0, high=2))
    loss = case("softmax_cross_entropy", CrossEntropy(), inputs={"logits": (4, 3), "labels": labels})
    drawn_labels = Question(loss, "normal", "float16").operands()["labels"]
    assert (drawn_labels.format, drawn_labels.data.tolist()) == ("int64", [2, 0, 1, 2])
    rows = case("relu", NoAttributes(), inputs={"x": TensorSpec(shape=(50, 4), source=Fill(kind="one_hot"))})
    x = np.reshape(drawn(rows, "normal")["x"], (50, 4))
    assert (np.sort(x, axis=1) == [0, 0, 0, 1]).all()
    assert set(x.argmax(axis=1)) == {0, 1, 2, 3}


# What the numbers are ----------------------------------------------------------------------------------------------


def test_normal_numbers_have_mean_0_and_variance_1() -> None:
    values = normal(draw_words(b"many", "x", 12 * 40_000))
    assert abs(values.mean()) < 5 / math.sqrt(40_000)
    assert abs(values.var() - 1) < 5 * math.sqrt(2 / 40_000)
    assert np.abs(values).max() < 6
    assert (np.ldexp(values, 49) == np.rint(np.ldexp(values, 49))).all()


def test_uniform_numbers_and_integers_cover_their_range() -> None:
    words = draw_words(b"many", "x", 20_000)
    assert 0 <= uniform(words).min() < 0.001
    assert 0.999 < uniform(words).max() < 1
    found, counts = np.unique(integers(words, -2, 2), return_counts=True)
    assert found.tolist() == [-2, -1, 0, 1, 2]
    assert counts.min() > 3_700


@pytest.mark.parametrize(("name", "bits"), [("float64", 26), ("float32", 13), ("bfloat16", 8), ("float16", 11)])
def test_wide_integers_are_odd_with_all_their_bits(name: str, bits: int) -> None:
    format_ = FORMATS[name]
    assert wide_bits(format_) == bits
    values = wide(draw_words(b"many", "x", 2 * 500), format_)
    assert (np.abs(values) % 2 == 1).all()
    assert (np.abs(values) >= 2.0 ** (bits - 1)).all()
    assert (np.abs(values) < 2.0**bits).all()
    assert {-1.0, 1.0} == set(np.sign(values))
    assert set(np.abs(narrow(draw_words(b"many", "x", 1000), format_))) == {1, 2, 3}


@pytest.mark.parametrize("name", FLOATS)
def test_wide_data_stay_within_the_budget(name: str) -> None:
    format_ = FORMATS[name]
    precision = max(24, format_.precision)
    some, few = wide_budget(format_)
    # However they meet: all the wide ones with the largest narrow one, or all the narrow ones with the largest wide.
    assert min(some, 3 * few) * 2 ** wide_bits(format_) + 2 ** wide_bits(format_) <= 2**precision
    if some < 10_000:
        for values, most in (
            (wide(draw_words(b"s", "x", 2 * 9_000), format_), some),
            (narrow(draw_words(b"s", "x", 2 * 9_000), format_), few),
        ):
            assert np.count_nonzero(values) == most
            places = np.flatnonzero(values)
            assert places[0] < 100  # spread over the array
            assert places[-1] > 8_900


LARGE = case(
    "conv2d", Convolution(padding="same"), "large", inputs={"x": (2, 12, 13, 24), "w": (5, 5, 24, 16), "b": (16,)}
)
LONG = case("dense", NoAttributes(), "long", inputs={"x": (40, 1500), "w": (1500, 40), "b": (40,)})


@pytest.mark.parametrize("case", [CONV, TRANSPOSED, DENSE, LARGE, LONG], ids=lambda case: case.id)
@pytest.mark.parametrize("name", FLOATS)
def test_sums_of_wide_data_are_exact_in_outputs_and_gradients(case: Case, name: FormatName) -> None:
    accumulators = Accumulators((("*", "bfloat16", "*", "float32"), ("*", "float16", "*", "float32")))
    question = Question(case, "wide", name)
    operands = {key: to_float64(tensor) for key, tensor in question.operands().items()}
    shapes = {"output": expect_operator(case.operator, case.attributes, operands, {}, name, accumulators)}
    shapes = {"output": shapes["output"].outputs["output"].value.shape}
    cotangents = {key: to_float64(tensor) for key, tensor in question.cotangents(shapes).items()}
    found = expect_operator(case.operator, case.attributes, operands, cotangents, name, accumulators)
    for expectation in (*found.outputs.values(), *found.gradients.values()):
        assert not expectation.bound.any()
        assert np.abs(expectation.value).max() <= 2.0 ** max(24, FORMATS[name].precision)
    assert found.outputs["output"].value.any()


def test_the_wide_operand_rotates_from_question_to_question() -> None:
    wide_ones = set()
    for size in range(4, 16):
        asked = case("conv2d", Convolution(), inputs={"x": (1, size, size, 1), "w": (3, 3, 1, 1), "b": (1,)})
        made = drawn(asked, "wide", output=(1, size - 2, size - 2, 1))
        large = [name for name, values in made.items() if max(map(abs, values)) > 3]
        assert len(large) == 1
        wide_ones.update(large)
    assert wide_ones == {"x", "w", "output"}


# What the numbers depend on ----------------------------------------------------------------------------------------


def test_the_name_of_a_case_does_not_count_and_everything_else_does() -> None:
    numbers_ = drawn(SMALL, "normal")
    assert drawn(replace(SMALL, id="conv2d/renamed", about="x", tier="full"), "normal") == numbers_
    other = replace(SMALL, attributes=replace(SMALL.attributes, stride=(2, 1)))
    assert drawn(other, "normal")["x"] != numbers_["x"]
    larger = replace(SMALL, inputs={**SMALL.inputs, "w": TensorSpec(shape=(1, 1, 1, 2))})
    assert drawn(larger, "normal")["x"] != numbers_["x"]
    assert drawn(SMALL, "wide")["x"] != numbers_["x"]


def test_formats_share_their_numbers_up_to_rounding() -> None:
    exact = np.array(drawn(SMALL, "normal", "float64")["x"])
    np.testing.assert_array_equal(np.array(drawn(SMALL, "normal", "float32")["x"]), exact.astype(np.float32))
    np.testing.assert_array_equal(np.array(drawn(SMALL, "normal", "float16")["x"]), exact.astype(np.float16))


def test_a_digest_names_numbers_shapes_and_names() -> None:
    question = Question(SMALL, "normal", "float32")
    operands, cotangents = question.operands(), question.cotangents({"output": (1, 2, 2, 2)})
    assert digest(operands, cotangents) == "32cf83965d9c77d6"
    assert digest(operands, {}) != digest(operands, cotangents)
    assert digest({**operands, "x": cotangents["output"]}, cotangents) != digest(operands, cotangents)
    renamed = {("y" if name == "x" else name): tensor for name, tensor in operands.items()}
    assert digest(renamed, cotangents) != digest(operands, cotangents)


def test_cotangents_are_the_case_s_own_where_it_gives_them() -> None:
    own = replace(SMALL, cotangents={"output": numbers(np.arange(8.0).reshape(1, 2, 2, 2))})
    assert drawn(own, "normal", output=(1, 2, 2, 2))["output"] == list(range(8))


@pytest.mark.parametrize(
    ("value", "format_", "exact"), [(0.5, "bfloat16", True), (0.1, "float64", True), (0.1, "float32", False)]
)
def test_stated_values_apply_where_the_numbers_were_not_rounded(value: float, format_: Any, exact: bool) -> None:
    asked = case(
        "relu",
        NoAttributes(),
        inputs={"x": numbers([value])},
        expect=Expect(outputs={"output": stated([value])}),
    )
    question = Question(asked, "given", format_)
    question.operands()
    assert question.exact == exact


# Arrays in files ---------------------------------------------------------------------------------------------------


def test_arrays_are_read_from_files(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.arange(3, dtype=np.int8))
    np.savez(tmp_path / "a.npz", one=np.ones(2), two=np.zeros((2, 2)))
    assert read_array(File(path=tmp_path / "a.npy"), (3,)).tolist() == [0, 1, 2]
    assert read_array(File(path=tmp_path / "a.npz", key="two"), (2, 2)).dtype == np.float64
    spec = TensorSpec(shape=(2,), source=File(path=tmp_path / "a.npz", key="one"))
    assert literal_values(spec).tolist() == [1, 1]
    asked = case("convolve", Signal(), inputs={"x": spec, "w": numbers([1.0])})
    assert drawn(asked, "given")["x"] == [1, 1]


def test_arrays_that_are_not_what_they_should_be_are_told(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.ones(3))
    np.save(tmp_path / "pickled.npy", np.array([{}]), allow_pickle=True)
    np.savez(tmp_path / "a.npz", one=np.ones(2))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-4])
    for file, told in (
        (File(path=tmp_path / "a.npy"), r"a\.npy: has shape \(3,\), the case says \(2,\)"),
        (File(path=tmp_path / "pickled.npy"), r"pickled\.npy: cannot be read as an array without pickles"),
        (File(path=tmp_path / "cut.npy"), r"cut\.npy: cannot be read as an array"),
        (File(path=tmp_path / "none.npy"), r"none\.npy: cannot be read as an array"),
        (File(path=tmp_path / "a.npz", key="two"), r"a\.npz:two: there is no such member; the file has one"),
    ):
        with pytest.raises(InvalidData, match=told):
            read_array(file, (2,))


def test_stated_numbers_are_never_generated() -> None:
    with pytest.raises(TypeError, match="never generated"):
        literal_values(TensorSpec(shape=(2,), source=Fill(kind="ones")))


@pytest.mark.parametrize("format_name", ["float64", "float32", "bfloat16", "float16"])
@pytest.mark.parametrize("classes", [1, 2, 7, 100])
def test_shares_sum_to_exactly_1_in_every_format(format_name: FormatName, classes: int) -> None:
    question = case(
        "softmax_cross_entropy_dense", DenseCrossEntropy(), inputs={"logits": (9, classes), "labels": (9, classes)}
    )
    labels = Question(question, "normal", format_name).operands()["labels"]
    rows = to_float64(labels)
    assert (rows.sum(axis=1) == 1).all()
    assert rows.min() >= 0
    assert classes == 1 or len(np.unique(rows, axis=0)) > 1


def test_attributes_that_grew_keep_the_text_that_seeds_numbers() -> None:
    assert repr(CrossEntropy()) == "CrossEntropy(reduction='mean')"
    assert repr(CrossEntropy(reduction="sum", smoothing=0.1)) == "CrossEntropy(reduction='sum', smoothing=0.1)"
    transposed = "TransposedConvolution(stride=(), dilation=(), groups=1, padding='valid', output_padding=()"
    assert repr(TransposedConvolution()) == f"{transposed})"
    assert repr(TransposedConvolution(output_size=(5,))) == f"{transposed}, output_size=(5,))"
