"""Detectors are what they are called, and are counted on the same arrays."""

import numpy as np
import pytest

from conformance.case.job import Tensor
from conformance.formats import FORMATS, to_storage
from conformance.run.detectors import SHUFFLES, Checked, scores, shuffled_answers
from conformance.run.mutate import mutate
from conformance.tests.questions import CONV, DENSE
from conformance.verdict.detectors import DETECTORS, RULE, tolerance
from conformance.verdict.model import Expectation

BY_NAME = {detector.name: detector for detector in DETECTORS}


def expectation(*values: float, bound: float = 0.0) -> Expectation:
    value = np.array(values)
    return Expectation(value=value, size=np.full(value.shape, bound), scale=np.abs(value))


def single(*values: float) -> Tensor:
    return Tensor("float32", to_storage(np.array(values), FORMATS["float32"]))


@pytest.mark.parametrize(
    ("name", "rtol", "atol"),
    [
        ("numpy.allclose", 1e-5, 1e-8),
        ("torch.testing.assert_close", 1.3e-6, 1e-5),
        ("rtol 1e-3, atol 1e-7", 1e-3, 1e-7),
        ("rtol 1e-6, atol 1e-6", 1e-6, 1e-6),
    ],
)
def test_a_tolerance_is_numpy_s_formula(name: str, rtol: float, atol: float) -> None:
    generator = np.random.Generator(np.random.Philox(key=7))
    value = np.concatenate([generator.normal(size=400), [0.0, 1.0, np.inf, -np.inf, np.inf, np.nan, 1.0, 2.0]])
    close = np.concatenate(
        [value[:400] * (1 + generator.normal(size=400) * rtol) + generator.normal(size=400) * atol]
    )
    got = single(*close, atol / 2, np.inf, np.inf, np.inf, 5.0, np.nan, np.nan, -np.inf)
    wrong = BY_NAME[name].outside(got, expectation(*value), "float32")
    assert wrong is not None
    assert 40 < wrong[:400].sum() < 360
    near = np.isclose(got.data.astype(np.float64), value, rtol=rtol, atol=atol, equal_nan=True)
    assert np.array_equal(wrong, ~near)


def test_another_shape_or_format_is_noticed_by_everybody() -> None:
    for detector in DETECTORS:
        assert detector.notices(single(1.0), expectation(1.0, 2.0), "float32")
        assert detector.notices(Tensor("float64", np.ones(2)), expectation(1.0, 1.0), "float32")
        assert not detector.notices(single(1.0, 2.0), expectation(1.0, 2.0), "float32")


def test_the_rule_is_the_comparator_s() -> None:
    assert RULE.notices(single(1 + 2.0**-20), expectation(1.0, bound=2.0**-21), "float32")
    assert not RULE.notices(single(1 + 2.0**-20), expectation(1.0, bound=2.0**-20), "float32")


def test_one_element_off_by_a_millionth_is_seen_by_the_rule_and_by_no_loose_tolerance() -> None:
    found = {score.name: score for score in scores((CONV, DENSE), ())}
    rule, numpy = found["this rule"], found["numpy.allclose"]
    # Output and gradients of x, w and b, twice.
    assert rule.single_faults == numpy.single_faults == 8
    assert rule.singles == 8
    assert numpy.singles == 0


def test_faults_are_those_of_the_mutation_score() -> None:
    found = {score.name: score for score in scores((CONV, DENSE), ())}
    mutants = mutate((CONV, DENSE))
    assert found["this rule"].faults == len(mutants.mutants)
    assert found["this rule"].noticed == len(mutants.mutants) - len(mutants.alive)
    loose = found["rtol 1e-3, atol 1e-7"]
    assert 0 < loose.noticed < found["this rule"].noticed


def test_honest_sums_are_never_wrong_by_the_rule_and_differ_by_order() -> None:
    honest: list[Checked] = list(shuffled_answers(1))
    assert not any(RULE.notices(*checked) for checked in honest)
    assert len(honest) % SHUFFLES == 0
    answers = [tensor.data.tobytes() for tensor, _, _ in honest]
    same = [answers[start : start + SHUFFLES] for start in range(0, len(answers), SHUFFLES)]
    # Integers add up to the same in every order, and so do single terms; other numbers do not.
    assert 0 < sum(len(set(orders)) > 1 for orders in same) < len(same)


def test_alarms_are_counted_by_array_and_by_element() -> None:
    strict = tolerance("none at all", "a person in a hurry", {"float32": (0.0, 0.0)})
    arrays: list[Checked] = [
        (single(1.0, 2.0, 3.5), expectation(1.0, 2.5, 3.0, bound=1.0), "float32"),
        (single(1.0), expectation(1.0), "float32"),
    ]
    (score,) = scores((), arrays, detectors=(strict,))
    assert (score.alarms, score.arrays, score.wrong, score.elements) == (1, 2, 2, 4)
