"""What honest trainings drift apart, and what drifts farther."""

import math
from dataclasses import replace

import numpy as np
import pytest

from conformance.case.families.steps import Adam, Sgd
from conformance.report import training as page
from conformance.report.templating import environment
from conformance.run.course import Course, reference_course
from conformance.run.training import train_learner
from conformance.run.yardstick import FACTOR, LEAD, STEPS, farthest, measure, stray_losses
from conformance.tests import learners
from conformance.tests.test_training import SMALL, TARGET, InProcess, few_digits

# Nothing of it is judged: what is wrong shows in the losses, or nowhere. The epsilon is Keras' own.
FREE = replace(SMALL, judged_steps=0, epochs=10, optimizer_attributes=Adam(learning_rate=0.01, epsilon=1e-7))


@pytest.fixture(scope="module")
def course():
    return Course(FREE, few_digits())


@pytest.fixture(scope="module")
def reference(course):
    return reference_course(course)


class DecaysItsWeights(learners.HonestTrainer):
    def afterwards(self):
        self.held["dense/w"] = learners.scaled(self.held["dense/w"], 1 - 1e-4)


class SumsBackwards(learners.HonestTrainer):
    """Every gradient is off by what a sum in another order may be."""

    def gradient(self, name, gradient):
        noise = np.random.default_rng(self.count).uniform(-1, 1, gradient.shape)
        return learners.Tensor("float32", (gradient.data * (1 + 4 * 2.0**-24 * noise)).astype(np.float32))


def drift(course, reference, kind):
    description = learners.FakeBackend("cpu", ()).describe()
    _, record = train_learner(course, TARGET, description, InProcess(kind), lambda: reference)
    return record["drift"]


@pytest.mark.parametrize("kind", [learners.HonestTrainer, learners.GraphTrainer, SumsBackwards])
def test_an_honest_learner_is_inside(course, reference, kind):
    found = drift(course, reference, kind)
    assert found.outside is None
    assert 0 < found.ratio < FACTOR
    assert found.steps == len(reference.losses) == 30


@pytest.mark.parametrize("kind", [learners.EpsilonInsideRoot, learners.ForgetsBiasCorrection, DecaysItsWeights])
def test_a_learner_that_drifts_is_outside(course, reference, kind):
    found = drift(course, reference, kind)
    assert found.outside is not None
    assert 2 <= found.outside <= 6
    assert found.ratio > FACTOR


def test_a_stray_is_honest_and_no_copy(course, reference):
    strays = stray_losses(FREE, course.parameters, course.operands, course.steps)
    assert strays == reference.stray_losses
    assert len(strays) == min(course.steps, STEPS)
    distance = np.abs(np.subtract(strays, reference.losses[: len(strays)]))
    assert 0 < distance[0] <= reference.loss_bounds[0]
    assert np.all(np.isfinite(distance))


def test_a_stray_follows_plain_descent_and_keeps_no_slots():
    course = Course(replace(FREE, optimizer="sgd", optimizer_attributes=Sgd(learning_rate=0.01)), few_digits())
    strays = stray_losses(course.training, course.parameters, course.operands, 4)
    assert strays == pytest.approx(reference_course(course).losses[:4], rel=1e-4)


def test_a_curve_is_outside_from_the_step_at_which_it_leaves():
    steps = 3 * LEAD
    reference, bounds = [1.0] * steps, [0.001] * steps
    # The stray goes 0.01 far and comes back, which says nothing; at the end of the second third it goes 0.1 far.
    strays = [1.0, 1.01] + [1.0] * (2 * LEAD - 3) + [1.1] + [1.0] * LEAD

    def leaves_at(step, distance):
        return measure([1.0] * (step - 1) + [1 + distance] * (steps - step + 1), reference, strays, bounds)

    assert leaves_at(2, FACTOR * 0.0099).outside is None
    found = leaves_at(2, FACTOR * 0.0101)
    assert found.outside == 2
    assert found.ratio == pytest.approx(FACTOR * 1.01)
    assert found.steps == steps
    # What the stray does some steps later, others may do before it.
    assert leaves_at(LEAD, FACTOR * 0.099).outside is None
    assert leaves_at(LEAD - 1, FACTOR * 0.099).outside == LEAD - 1
    assert leaves_at(2 * LEAD, FACTOR * 0.101).outside == 2 * LEAD


def test_what_one_loss_may_be_off_is_no_drift():
    assert measure([1.03], [1.0], [1.0], [0.001]).outside is None
    assert measure([1.03], [1.0], [1.0], [0.0005]).outside == 1


def test_a_loss_that_is_no_number_is_outside():
    found = measure([1.0, math.nan, 1.0], [1.0] * 3, [1.0] * 3, [0.1] * 3)
    assert found.outside == 2
    assert found.ratio == math.inf


def test_where_nothing_was_measured_nothing_is_said():
    assert measure([1.0], [1.0], [], [0.1]).steps == 0
    assert measure([], [], [], []).outside is None


def test_farthest_is_the_largest_so_far():
    assert farthest([1.0, 3.0, 2.0], [1.0, 1.0, 1.0]).tolist() == [0.0, 2.0, 2.0]


def record(losses, **fields):
    return {
        "losses": losses,
        "reference_losses": [2.0, 1.0],
        "stray_losses": [2.0, 1.25],
        "reference_accuracy": 0.5,
        "first_judged_difference": None,
        **fields,
    }


def test_the_page_shows_the_yardstick_beside_the_curves():
    records = {
        "jax": record([2.0, 1.5], drift={"outside": None, "ratio": 2.0, "steps": 2}),
        "tf": record([2.0, 9.0], drift={"outside": 2, "ratio": 32.0, "steps": 2}, first_judged_difference=1),
        "torch": record([2.0, 1.125], drift={"outside": None, "ratio": 0.5, "steps": 2}),
        "old": {"losses": [2.0, 1.0], "first_judged_difference": 3},
    }
    form = page.shown("training/one", records)
    assert form.stray == 0.25
    assert [(pair.names, pair.distance) for pair in form.pairs] == [(("jax", "torch"), 0.375)]
    assert page.HONEST in form.distances
    made = environment()
    made.filters |= {"seconds": str}
    made.globals |= {"legend": lambda place: "", "query": lambda **values: "", "float": float}
    text = made.get_template("training.html.j2").render(forms=[form], seeded=())
    assert "inside, 2 times it" in text
    assert "outside from step 2, 32 times it" in text
    assert "jax and torch 0.38." in text
    assert "in 2 steps it went 0.25 from the reference" in text


def test_the_page_does_without_a_yardstick():
    form = page.shown("training/one", {"torch": {"losses": [1.0], "reference_losses": [1.0]}})
    assert form.stray is None
    assert page.HONEST not in form.distances
