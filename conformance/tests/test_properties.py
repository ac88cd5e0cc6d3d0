"""Every property is broken by a fake that breaks nothing else, and kept by an honest one."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from conformance.case.families.convolution import Convolution
from conformance.case.job import Job, Outputs, Tensor
from conformance.case.operators import OPERATORS
from conformance.run.engine import Session
from conformance.run.plan import REFERENCE, question_of
from conformance.run.properties import check_properties, try_property
from conformance.run.sampling import SMALL
from conformance.tests import fakes
from conformance.tests.forward_mode import ForgetsTheKernel, Pushes, PushesTooLittle
from conformance.tests.questions import CONV, DENSE, RELU, case, item
from conformance.verdict import oracle
from conformance.verdict.model import Expectation
from conformance.verdict.oracle import Accumulators, Expectations
from conformance.verdict.properties import PROPERTIES, Measured, Property
from conformance.verdict.tangents import expect_tangents, pushed

BREAKERS: dict[str, type[fakes.Honest]] = {
    "adjoint": fakes.TransposedKernelFlipped,
    "pull-back": fakes.WeightGradientTransposed,
    "forward": ForgetsTheKernel,
    "linearity": fakes.DenseOfSizes,
    "shift": fakes.MeansByPlace,
    "batch": fakes.ImagesChangePlaces,
    "groups": fakes.LastGroupNegated,
}
BY_NAME: dict[str, Property] = {each.name: each for each in PROPERTIES}
Sessions = Callable[..., Session]


def job_of(asked: object, data: str = "normal", *, tangents: bool = False) -> Job:
    return question_of(item(asked), data, tangents=tangents).job  # type: ignore[arg-type]


def answered(job: Job, *, values: bool = True) -> Measured:
    """The reference's own answer, its bounds with or without the values."""
    answer, expected = oracle.answer(job), oracle.expect(job, Accumulators())
    assert isinstance(answer, Outputs)
    assert isinstance(expected, Expectations)
    answer = replace(answer, tangents=pushed(job))
    expected = replace(expected, tangents=expect_tangents(job, Accumulators()))

    def blind(expectation: Expectation) -> Expectation:
        return replace(expectation, value=np.full(expectation.value.shape, np.nan))

    if not values:
        expected = Expectations(
            outputs={name: blind(e) for name, e in expected.outputs.items()},
            gradients={name: blind(e) for name, e in expected.gradients.items()},
            tangents={name: blind(e) for name, e in expected.tangents.items()},
        )
    return Measured(job=job, answer=answer, bounds=expected)


def test_every_property_has_its_breaker() -> None:
    assert set(BREAKERS) == set(BY_NAME)


@pytest.mark.parametrize("name", BREAKERS)
def test_a_fake_that_breaks_a_property_breaks_that_one_alone(sessions: Sessions, name: str) -> None:
    found = check_properties(sessions(BREAKERS[name]), extent=SMALL, questions=4)
    assert {held.name for held in found if held.broken} == {name}


def test_an_honest_backend_keeps_them_all(sessions: Sessions) -> None:
    found = check_properties(sessions(Pushes), extent=SMALL, questions=4, formats=("float32", "float64"))
    assert [held.broken for held in found] == [()] * len(PROPERTIES)
    assert all(held.questions and held.operators and held.exact for held in found)
    covered = {operator for held in found for operator in held.operators}
    assert covered == set(fakes.Honest.operators()) - {"chain"}


def test_the_reference_keeps_them_on_every_operator_that_they_cover() -> None:
    found = check_properties(Session(REFERENCE), extent=SMALL, questions=2)
    for held in found:
        assert held.broken == ()
        assert set(held.operators) == {name for name in OPERATORS if BY_NAME[held.name].covers(name)}


@pytest.mark.parametrize("name", BY_NAME)
def test_expected_values_are_not_looked_at(name: str) -> None:
    asked = case("conv2d", Convolution(groups=2), inputs={"x": (2, 5, 6, 4), "w": (3, 2, 2, 4), "b": (4,)})
    tried = BY_NAME[name]
    job = job_of(asked, tangents=tried.forward)
    jobs = tried.jobs(job)
    assert jobs is not None
    compared = tried.compares(job, [answered(each) for each in jobs])
    assert compared
    assert all(comparison.within for comparison in compared)
    assert tried.compares(job, [answered(each, values=False) for each in jobs]) == compared


def test_on_integers_both_sides_are_equal_to_the_last_bit() -> None:
    """One unit in one element of one answer is seen."""
    tried = BY_NAME["adjoint"]
    job = job_of(CONV, "wide")
    jobs = tried.jobs(job)
    assert jobs is not None
    found = [answered(each) for each in jobs]
    (comparison,) = tried.compares(job, found)
    assert comparison.within
    assert comparison.bound == 0
    # Anywhere the cotangent is not zero: what is multiplied by zero does not count.
    output = found[0].answer.outputs["output"].data.copy()
    place = np.unravel_index(int(np.argmax(np.abs(job.cotangents["output"].data))), output.shape)
    output[place] += 1
    spoiled = replace(found[0].answer, outputs={"output": Tensor("float32", output)})
    (comparison,) = tried.compares(job, [replace(found[0], answer=spoiled), found[1]])
    assert not comparison.within


def test_a_millionth_that_is_missing_in_forward_mode_is_seen_on_integers(sessions: Sessions) -> None:
    compared = try_property(sessions(PushesTooLittle), BY_NAME["forward"], DENSE, ("float32",))
    assert compared is not None
    assert {comparison.data: comparison.within for comparison in compared}["wide"] is False


def test_tangents_and_gradients_of_a_shape_that_cannot_be_break_the_property() -> None:
    tried, job = BY_NAME["forward"], job_of(DENSE, tangents=True)
    honest = answered(job)

    def spoiled(tensor: object) -> Tensor:
        assert isinstance(tensor, Tensor)
        return Tensor(tensor.format, np.ascontiguousarray(tensor.data[..., :-1]))

    cut = (
        replace(honest.answer, tangents={"output": spoiled(honest.answer.tangents["output"])}),
        replace(honest.answer, gradients={**honest.answer.gradients, "w": spoiled(honest.answer.gradients["w"])}),
    )
    for answer in cut:
        compared = tried.compares(job, [replace(honest, answer=answer)])
        assert [comparison.within for comparison in compared] == [False]


def test_who_has_no_forward_mode_is_not_asked_for_one(sessions: Sessions) -> None:
    assert try_property(sessions(fakes.Honest), BY_NAME["forward"], DENSE, ("float32",)) is None
    (held,) = check_properties(sessions(fakes.Honest), extent=SMALL, properties=(BY_NAME["forward"],))
    assert (held.questions, held.operators, held.broken) == (0, (), ())


def test_a_shape_that_cannot_be_is_a_broken_property() -> None:
    tried = BY_NAME["shift"]
    job = job_of(CONV)
    jobs = tried.jobs(job)
    assert jobs is not None
    first, second = (answered(each) for each in jobs)
    cut = {"output": Tensor("float32", np.ascontiguousarray(second.answer.outputs["output"].data[:, :-1]))}
    compared = tried.compares(job, [first, replace(second, answer=replace(second.answer, outputs=cut))])
    assert [comparison.within for comparison in compared] == [False]


def test_a_backend_of_wrong_shapes_alone_breaks_a_property_too(sessions: Sessions) -> None:
    compared = try_property(sessions(fakes.WrongShape), BY_NAME["shift"], CONV, ("float32",))
    assert compared
    assert not any(comparison.within for comparison in compared)


def test_what_a_property_says_nothing_about_is_passed_over() -> None:
    assert BY_NAME["groups"].jobs(job_of(CONV)) is None
    assert not BY_NAME["linearity"].covers(RELU.operator)
    assert BY_NAME["pull-back"].jobs(replace(job_of(DENSE), cotangents={})) is None


def test_a_backend_that_is_known_to_have_no_gradients_is_not_asked_for_any(sessions: Sessions) -> None:
    assert try_property(sessions(fakes.HasNoGradients), BY_NAME["pull-back"], DENSE, ("float32",)) is None
    assert try_property(sessions(fakes.HasNoGradients), BY_NAME["batch"], DENSE, ("float32",))


def test_a_backend_that_refuses_is_told_of_and_not_accused(sessions: Sessions) -> None:
    assert try_property(sessions(fakes.Raises), BY_NAME["pull-back"], DENSE, ("float32",)) == []
