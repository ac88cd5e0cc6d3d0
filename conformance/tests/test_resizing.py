"""Resizing and windows: two owners of the same places, cases off every tie, and readings told by their names."""

from fractions import Fraction
from math import floor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conformance.case.families.windows import Fold, as_transposed, fold_shapes
from conformance.case.geometry import adaptive_spans, nearest_places, transposed_crop
from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.model import Case
from conformance.errors import ImpossibleShape
from conformance.reference import adaptive, resizing
from conformance.run.mutate import answer_of
from conformance.run.plan import question_of
from conformance.tests.questions import item
from conformance.verdict import oracle
from conformance.verdict.diagnosis import Differing, diagnose
from conformance.verdict.oracle import Accumulators, Expectations, MustRefuse
from conformance.verdict.variants import evaluate, variants_of

PLAIN = Accumulators()
SIZES = st.integers(1, 14)


@given(SIZES, SIZES, st.sampled_from(resizing.COORDINATES), st.sampled_from(resizing.ROUNDINGS))
def test_nearest_places_are_the_reference_s(n: int, m: int, coordinates: str, rounding: str) -> None:
    x = np.arange(n, dtype=np.float64).reshape(1, n, 1)
    found = resizing.forward(
        x=x,
        size=(m,),
        method="nearest",
        coordinates=coordinates,
        rounding=rounding,
        coefficient=-0.5,
        edge="clamp",
    )["output"]
    assert found.ravel().tolist() == list(nearest_places(n, m, coordinates, rounding))


@given(SIZES, SIZES)
def test_adaptive_spans_are_the_reference_s(n: int, m: int) -> None:
    spread = adaptive.adaptive_average_pool2d_vjp(
        {"output": np.ones((1, m, 1, 1))}, x=np.zeros((1, n, 1, 1)), size=(m, 1)
    )["x"]
    expected = np.zeros(n)
    for begin, end in adaptive_spans(n, m):
        expected[begin:end] += 1 / (end - begin)
    np.testing.assert_allclose(spread.ravel(), expected, rtol=0, atol=2.0**-48)


@given(
    st.tuples(SIZES, SIZES),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.tuples(st.integers(1, 3), st.integers(1, 3)),
    st.sampled_from(["valid", "same", "same_lower", ((1, 0), (0, 2))]),
)
def test_a_fold_is_a_transposed_convolution_of_its_size(
    size: tuple[int, int],
    window: tuple[int, int],
    stride: tuple[int, int],
    dilation: tuple[int, int],
    padding: object,
) -> None:
    attributes = Fold(size=size, window=window, stride=stride, dilation=dilation, padding=padding)  # type: ignore[arg-type]
    counts = None
    for rows in range(1, size[0] + 4):
        for columns in range(1, size[1] + 4):
            try:
                fold_shapes(attributes, {"x": (1, rows, columns, window[0] * window[1])})
            except ImpossibleShape:
                continue
            assert counts is None
            counts = rows, columns
    if counts is None:
        return
    a = as_transposed(attributes, counts)
    assert transposed_crop(a.padding, counts, window, a.stride, a.dilation, a.output_padding)[1] == size


def cases_of(*operators: str) -> list[Case]:
    return [
        case
        for operator in operators
        for case in load([default_root() / "operators" / f"{operator}.yaml"])
        if case.expect.error == "no"
    ]


def single_places(n: int, m: int, coordinates: str) -> list[tuple[Fraction, float]]:
    """Coordinates that an honest framework rounds, exactly and from a ratio in single precision."""
    if coordinates == "align_corners":
        shift, above, below = Fraction(0), n - 1, max(m - 1, 1)
    else:
        shift, above, below = Fraction(1, 2) if coordinates == "half_pixel" else Fraction(0), n, m
    ratio = np.float32(above) / np.float32(below)
    return [(((o + shift) * above / below), float(np.float32(o + float(shift)) * ratio)) for o in range(m)]


@pytest.mark.parametrize("case", cases_of("resize1d", "resize2d", "resize3d"), ids=lambda case: case.id)
def test_no_case_of_nearest_hangs_on_a_rounding_of_the_ratio(case: Case) -> None:
    a = case.attributes
    native = {"half_pixel": "half_up", "align_corners": "half_up", "asymmetric": "floor"}
    if a.method != "nearest" or a.rounding != native[a.coordinates]:
        return  # what no framework computes itself is picked by exact places
    added = Fraction(1, 2) if a.coordinates == "align_corners" else Fraction(0)
    for n, m in zip(case.inputs["x"].shape[1:-1], a.size, strict=True):
        for exactly, single in single_places(n, m, a.coordinates):
            assert floor(exactly + added) == floor(single + float(added)), (case.id, n, m, exactly)


OPERATORS = (
    "resize1d",
    "resize2d",
    "resize3d",
    "extract_patches",
    "fold",
    "adaptive_average_pool2d",
    "adaptive_max_pool2d",
    "lp_pool2d",
    "max_unpool2d",
    "max_pool2d_gradient",
    "conv2d_weight_gradient",
    "conv3d_weight_gradient",
)


@pytest.mark.parametrize("operator", OPERATORS)
def test_every_variant_is_recognised_as_itself(operator: str) -> None:
    told = set()
    cases = cases_of(operator)
    for variant in variants_of(operator):
        for case in cases:
            whole, read = [], False
            for data in case.data:
                job = question_of(item(case, "float32"), data).job
                expected = oracle.expect(job, PLAIN)
                assert isinstance(expected, Expectations)
                found = evaluate((variant,), job, lambda job, exact: oracle.values(job))
                if isinstance(found, MustRefuse):
                    break
                read = read or found is not None
                answer = answer_of(job, found or expected)
                whole.append(Differing(job=job, answer=answer, expected=expected))  # type: ignore[arg-type]
            if not read or len(whole) < len(case.data):
                continue
            diagnosis = diagnose(whole, PLAIN, seconds=30)
            if diagnosis.location:  # it may lie within the bounds on this case's numbers
                # A case may tell several readings too little apart for all of their names.
                if len(diagnosis.agrees_with) < 4:
                    assert variant.name in diagnosis.agrees_with, (case.id, variant.name, diagnosis)
                if variant.name in diagnosis.agrees_with:
                    told.add(variant.name)
                    break
    refused = {"indices of the image read as of a plane"}  # its indices lie outside every plane
    assert {variant.name for variant in variants_of(operator)} - told <= refused
