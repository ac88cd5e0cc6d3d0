"""Questions on integers: exact or refused, of outputs alone, and apart from all other numbers."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conformance.arguments import formats_of
from conformance.case.families.convolution import Convolution
from conformance.case.families.pooling import AveragePool, MaxPool
from conformance.case.inputs import Question
from conformance.case.job import Outputs
from conformance.case.linting import lint
from conformance.case.loading import as_yaml, load
from conformance.case.model import INTEGER_NAMES, Case, File, FormatName, TensorSpec
from conformance.errors import InvalidCases, InvalidData
from conformance.formats import INTEGERS, largest_integer
from conformance.run.plan import question_of
from conformance.tests import fakes
from conformance.tests.conftest import Ask
from conformance.tests.questions import case, item, numbers
from conformance.tests.shipped import shipped
from conformance.verdict import oracle
from conformance.verdict.model import Outcome, Reason
from conformance.verdict.oracle import Accumulators, Expectations

ON_INTEGERS = tuple(case for case in shipped() if not INTEGER_NAMES.isdisjoint(case.formats))
GIVEN: dict[str, Any] = {"data": ("given",), "checks": ("outputs",)}


def conv(x: list[int], w: list[int], format_: FormatName = "int8") -> Case:
    """A sum of products."""
    inputs = {"x": numbers([[[x]]]), "w": numbers([[[[each] for each in w]]])}
    return case("conv2d", Convolution(), inputs=inputs, formats=(format_,), **GIVEN)


def mean(x: list[int], format_: FormatName = "int64") -> Case:
    """A quotient."""
    inputs = {"x": numbers([[[[each] for each in x]]])}
    return case("average_pool2d", AveragePool(window=(1, len(x))), inputs=inputs, formats=(format_,), **GIVEN)


def output(asked: Case) -> np.ndarray:
    """What the reference answers, as it is stored."""
    answer = oracle.answer(question_of(item(asked), "given").job)
    assert isinstance(answer, Outputs)
    assert answer.outputs["output"].format == asked.formats[0]
    return answer.outputs["output"].data


def expected(asked: Case) -> list[float]:
    found = oracle.expect(question_of(item(asked), "given").job, Accumulators())
    assert isinstance(found, Expectations)
    assert not found.outputs["output"].bound.any()
    values: list[float] = found.outputs["output"].value.ravel().tolist()
    return values


def test_formats_of_integers_have_one_list() -> None:
    assert INTEGERS.keys() == INTEGER_NAMES
    assert [largest_integer(name) for name in ("int8", "int32", "int64")] == [127, 2**31 - 1, 2**52]


# What is right


def test_a_convolution_is_pythons_own_sums() -> None:
    attributes = Convolution(groups=2, stride=(2, 1), padding=((1, 0), (1, 1)))
    inputs = {"x": (2, 5, 4, 4), "w": (3, 2, 2, 6), "b": (6,)}
    asked = case("conv2d", attributes, inputs=inputs, formats=("int8",), **GIVEN)
    job = question_of(item(asked), "given").job
    x, w, b = (job.operands[name].data.astype(int).tolist() for name in "xwb")
    got = output(asked)
    assert got.dtype == np.int8
    for n, i, j, o in np.ndindex(got.shape):
        total = b[o]
        for ki, kj, c in itertools.product(range(3), range(2), range(2)):
            row, column = 2 * i + ki - 1, j + kj - 1
            if 0 <= row < 5 and 0 <= column < 4:
                total += x[n][row][column][o // 3 * 2 + c] * w[ki][kj][c][o]
        assert got[n, i, j, o] == total


def test_means_lose_their_fraction_towards_zero() -> None:
    for total, count in itertools.product(range(-7, 8), range(1, 6)):
        x = [total, *(0 for _ in range(count - 1))]
        assert expected(mean(x)) == [math.trunc(total / count)] == output(mean(x)).ravel().tolist()


@pytest.mark.parametrize("count", [2, 3, 5, 7])
def test_the_largest_means_lose_their_fraction_alone(count: int) -> None:
    for below in range(2 * count):
        total = 2**52 - below
        x = [total - (count - 1), *(1 for _ in range(count - 1))]
        assert output(mean(x)).ravel().tolist() == [total // count]
        assert output(mean([-each for each in x])).ravel().tolist() == [-(total // count)]


def test_what_is_beyond_float32_is_exact() -> None:
    assert output(conv([2**25 + 1, 2], [2**25 + 1, 1], "int64")).tolist() == [[[[(2**25 + 1) ** 2 + 2]]]]


def test_zero_has_no_sign() -> None:
    assert not np.signbit(expected(mean([-1, 0]))).any()
    assert not np.signbit(expected(conv([0], [-1]))).any()


# What has no answer that everybody gives


@pytest.mark.parametrize(
    ("fits", "beyond"),
    [
        (conv([127], [1]), conv([64, 64], [1, 1])),
        (conv([63, -64], [1, 1]), conv([64, -64], [1, 1])),
        (conv([46340], [46340], "int32"), conv([46341], [46341], "int32")),
        (conv([2**26], [2**26], "int64"), conv([2**27], [2**27], "int64")),
        (mean([2**51, 2**51]), mean([2**52, 2**52])),
        (mean([100, -27], "int8"), mean([100, -28], "int8")),
    ],
)
def test_sums_that_may_not_fit_are_refused(fits: Case, beyond: Case) -> None:
    assert expected(fits)
    with pytest.raises(InvalidData, match="sums may exceed"):
        expected(beyond)


def test_numbers_that_are_no_integers_of_the_format_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.full((1, 1, 1, 1), 0.5))
    file = TensorSpec(shape=(1, 1, 1, 1), source=File(path=tmp_path / "x.npy"))
    halves = case("conv2d", Convolution(), inputs={"x": file, "w": numbers([[[[1]]]])}, **GIVEN)
    for asked, name in ((halves, "int64"), (conv([128], [1]), "int8"), (conv([2**52 + 1], [0]), "int64")):
        with pytest.raises(InvalidData, match=f"{name} takes integers up to"):
            Question(asked, "given", name).operands()


# How a case says so

HEAD = "operator: conv2d\ncases:\n  - name: a\n    inputs: {x: [1, 2, 3, 2], w: [1, 2, 2, 3]}\n    "


def loaded(folder: Path, text: str) -> tuple[Case, ...]:
    (folder / "a.yaml").write_text(text)
    return load([folder / "a.yaml"])


def test_a_case_on_integers_asks_outputs_of_one_set_of_numbers(tmp_path: Path) -> None:
    (found,) = loaded(tmp_path, f"{HEAD}formats: [int8, int64]")
    assert (found.formats, found.data, found.checks) == (("int8", "int64"), ("given",), ("outputs",))
    x = Question(found, "given", "int8").operands()["x"]
    assert (x.format, x.data.dtype, x.data.min(), x.data.max()) == ("int8", np.int8, -3, 3)
    (again,) = loaded(tmp_path, as_yaml(found))
    assert (again.formats, again.data, again.checks) == (found.formats, found.data, found.checks)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"{HEAD}formats: [int8, float32]", "integers and other formats are two questions"),
        (f"{HEAD}formats: [int8]\n    checks: [outputs, gradients]", "leave checks out"),
        (f"{HEAD}formats: [int8]\n    data: [normal]", "leave data out"),
        (f"{HEAD}formats: [int8]\n    cotangents: {{output: {{fill: ones}}}}", "leave cotangents out"),
        (f"{HEAD}formats: [int16]", "int16"),
        (
            "operator: relu\ncases:\n  - {name: a, inputs: {x: [2]}, formats: [int8]}",
            "relu is not asked on integers; conv1d, conv2d, conv3d, max_pool1d, average_pool1d",
        ),
        (
            "operator: max_pool1d\ncases:\n  - {name: a, inputs: {x: {values: [[[0.5]]]}}, attributes: {window: 1}, "
            "formats: [int8]}",
            "x must hold integers, got other numbers",
        ),
        (
            "operator: max_pool1d\ncases:\n  - {name: a, inputs: {x: {shape: [1, 2, 3], fill: uniform}}, "
            "attributes: {window: 1}, formats: [int8]}",
            "x must hold integers: values:, file:, or fill: integers, arange",
        ),
    ],
)
def test_what_integers_cannot_be_asked_is_told(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InvalidCases, match=message):
        loaded(tmp_path, text)


def test_random_questions_are_of_floating_point_numbers() -> None:
    assert formats_of("int8,float32") == ("int8", "float32")
    with pytest.raises(ValueError, match="int8"):
        formats_of("int8", integers=False)


def test_cases_on_integers_stand_for_no_others() -> None:
    pools = [each for each in shipped() if each.operator == "max_pool2d" and not each.readings]
    integral = [each for each in pools if each in ON_INTEGERS]
    alone = [
        each for each in pools if each not in ON_INTEGERS and each.attributes.stride[0] == each.attributes.stride[1]
    ]
    assert any(each.attributes.stride == (2, 1) for each in integral)
    assert "max_pool2d has no case with unequal strides" in " ".join(map(str, lint([*alone, *integral])))


# Who is asked


@pytest.mark.parametrize(
    ("fake", "asked", "outcome", "reason"),
    [
        (fakes.TakesIntegers, conv([7, -8], [5, 11]), Outcome.AGREES, Reason.EXACT),
        (fakes.TakesIntegers, mean([-3, 0]), Outcome.AGREES, Reason.EXACT),
        (fakes.FloorsQuotients, mean([-3, 0]), Outcome.DIFFERS, Reason.VALUE),
        (fakes.RoundsQuotients, mean([3, 0]), Outcome.DIFFERS, Reason.VALUE),
        (fakes.WrapsEarly, conv([7, -8], [5, 11]), Outcome.AGREES, Reason.EXACT),
        (fakes.WrapsEarly, conv([7, 8], [5, 11]), Outcome.DIFFERS, Reason.VALUE),
        (fakes.SumsIntegersInFloat32, conv([4097], [4097], "int32"), Outcome.DIFFERS, Reason.VALUE),
        (fakes.WidensIntegers, conv([7], [5]), Outcome.DIFFERS, Reason.FORMAT),
        (fakes.LacksAKernel, conv([7], [5]), Outcome.REFUSED, Reason.ERROR),
        (fakes.Honest, conv([7], [5]), Outcome.UNSUPPORTED, Reason.NO_COUNTERPART),
    ],
)
def test_integers_are_judged_exactly(
    ask: Ask, fake: type[fakes.Honest], asked: Case, outcome: Outcome, reason: Reason
) -> None:
    result = ask(fake, asked)
    assert result.verdicts.keys() == {"outputs"}
    assert (result.verdicts["outputs"].outcome, result.verdicts["outputs"].reason) == (outcome, reason)
    standing = "expected" if outcome in (Outcome.AGREES, Outcome.UNSUPPORTED) else "unexpected"
    assert result.assessments["outputs"].standing == standing


def test_an_honest_backend_agrees_with_the_shipped_cases(ask: Ask) -> None:
    known = [each for each in ON_INTEGERS if each.operator in ("conv2d", "average_pool2d")]
    assert {each.id for each in known} >= {"conv2d/integers-1x1-groups2", "average_pool2d/integers-of-places"}
    for each in known:
        for format_ in each.formats:
            result = ask(fakes.TakesIntegers, each, format_)
            assert result.verdicts["outputs"].outcome is Outcome.AGREES, (each.id, format_)


def test_the_maximum_of_bytes_is_one_of_them() -> None:
    inputs = {"x": numbers([[[[-128 + 1], [-5]], [[-7], [-100]]]])}
    asked = case("max_pool2d", MaxPool(window=(2, 2)), inputs=inputs, formats=("int8",), **GIVEN)
    assert output(asked).tolist() == [[[[-5]]]]
