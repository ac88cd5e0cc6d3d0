"""Mixed precision: what layers see, what is judged in which format, and who is caught."""

from dataclasses import replace

import numpy as np
import pytest

from conformance.backends.mixing import AUTOCAST, LAYER_FORMATS
from conformance.case.operators import Chain, Layer
from conformance.formats import FORMATS, round_to
from conformance.run.course import Course, reference_course
from conformance.run.training import train_learner
from conformance.run.yardstick import FACTOR, measure
from conformance.tests import learners
from conformance.tests.test_training import SMALL, TARGET, InProcess, few_digits
from conformance.verdict.model import Expectation, Outcome, Reason
from conformance.verdict.oracle import Accumulators, cast

# The fakes compute in float64 and round once: sums are float32's at least.
DESCRIPTION = replace(
    learners.FakeBackend("cpu", ()).describe(),
    layer_formats=LAYER_FORMATS,
    accumulators=(("*", "bfloat16", "*", "float32"),),
)


TWO_LOSSES = Chain(
    layers=tuple(
        Layer(name=name, operator=operator, attributes=None, takes=takes)
        for name, operator, takes in (
            ("conv", "conv2d", ()),
            ("norm", "batch_norm_training", ()),
            ("response", "local_response_norm", ()),
            ("pool", "max_pool2d", ()),
            ("sum", "add", ("pool", "norm")),
            ("one", "softmax_cross_entropy", ()),
            ("other", "softmax_cross_entropy", ("norm",)),
            ("total", "add", ("one", "other")),
        )
    )
)


@pytest.fixture(scope="module")
def course():
    return Course(SMALL, few_digits())


@pytest.fixture(scope="module")
def reference(course):
    made = reference_course(course)
    return replace(made, stray_losses=course.stray_losses(LAYER_FORMATS))


def train(course, reference, kind):
    return train_learner(course, TARGET, DESCRIPTION, InProcess(kind), lambda: reference)


def wrong(result):
    return [(c.check, c.name, c.reason) for c in result.comparisons if not c.within]


def test_an_honest_learner_agrees_in_every_tensor(course, reference):
    result, record = train(course, reference, learners.MixedTrainer)
    assert {check: v.outcome for check, v in result.verdicts.items()} == {
        "outputs": Outcome.AGREES,
        "gradients": Outcome.AGREES,
    }
    assert len(result.comparisons) == 4 * 25
    formats = {c.name: c.got_format for c in result.comparisons}
    assert formats["step1/conv/output"] == formats["step1/dense/output"] == "bfloat16"
    assert {formats[f"step1/{name}"] for name in ("loss/output", "conv/w", "update conv/w", "update conv/w/v")} == {
        "float32"
    }
    assert record["layer_formats"] == LAYER_FORMATS


@pytest.mark.parametrize(
    ("kind", "check", "first", "reason"),
    [
        (learners.KeepsWeightsInBfloat16, "outputs", "step1/start conv/w", Reason.VALUE),
        (learners.RoundsItsUpdates, "outputs", "step2/update dense/w", Reason.VALUE),
        (learners.LeavesGradientsInBfloat16, "gradients", "step1/conv/w", Reason.FORMAT),
        (learners.CutsGradients, "gradients", "step1/conv/w", Reason.VALUE),
        (learners.LossInBfloat16, "outputs", "step1/loss/output", Reason.VALUE),
        (learners.SeesWholeWeights, "outputs", "step1/conv/output", Reason.VALUE),
        # The mode is asked, and nothing is mixed.
        (learners.HonestTrainer, "outputs", "step1/conv/output", Reason.FORMAT),
    ],
)
def test_a_faulty_learner_is_caught_with_layer_and_step(course, reference, kind, check, first, reason):
    result, record = train(course, reference, kind)
    assert result.unexpected
    assert result.verdicts[check].outcome is Outcome.DIFFERS
    assert wrong(result)[0] == (check, first, reason)
    assert record["first_judged_difference"] == int(first[4])


def test_a_mixed_learner_is_caught_where_nothing_is_declared(course, reference):
    plain = replace(DESCRIPTION, layer_formats=())
    result, _ = train_learner(course, TARGET, plain, InProcess(learners.MixedTrainer), lambda: reference)
    assert wrong(result)[0] == ("outputs", "step1/conv/output", Reason.FORMAT)


def test_losses_are_measured_by_what_honest_bfloat16_leaves(course, reference):
    _, record = train(course, reference, learners.MixedTrainer)
    assert record["drift"].outside is None
    assert 0 < record["drift"].ratio < FACTOR
    in_float32 = replace(reference, stray_losses=course.stray_losses())
    _, record = train(course, in_float32, learners.MixedTrainer)
    assert record["drift"].outside == 1
    thrice = [3 * loss for loss in record["losses"]]
    assert measure(thrice, reference.losses, reference.stray_losses, reference.loss_bounds).outside == 1


def test_the_first_glob_that_matches_says_a_layer_s_formats():
    half, whole = ("bfloat16", "bfloat16"), ("float32", "float32")
    mixed = Accumulators(layer_formats=LAYER_FORMATS)
    assert mixed.of_layers(TWO_LOSSES, "float32") == {
        "conv": half,
        "norm": ("float32", "bfloat16"),
        "response": ("float32", "bfloat16"),
        "pool": half,
        "sum": half,
        "one": whole,
        "other": whole,
        "total": whole,
    }
    # What autocast gives as float32 stays so until a product takes it.
    listed = Accumulators(layer_formats=AUTOCAST).of_layers(TWO_LOSSES, "float32")
    assert listed["response"] == ("bfloat16", "float32")
    assert listed["pool"] == listed["sum"] == listed["total"] == whole
    assert set(Accumulators().of_layers(TWO_LOSSES, "float16").values()) == {("float16", "float16")}


@pytest.mark.parametrize(("computed", "given"), [("bfloat16", "float32"), ("float32", "bfloat16")])
def test_a_cast_widens_a_bound_to_the_stored_ends_and_no_farther(computed, given):
    random = np.random.default_rng(3)
    value = random.normal(size=1000) * 2.0 ** random.integers(-20, 20, 1000)
    bound = np.abs(value) * 2.0 ** random.uniform(-30, -4, 1000)
    found = cast(Expectation(value=value, size=bound, scale=np.abs(value)), computed, given)
    assert found.format == given
    for share in (-1.0, -0.3, 0.0, 0.7, 1.0):
        stored = round_to(value + share * bound, FORMATS[computed])
        assert (np.abs(stored - value) <= found.bound).all()
    assert (found.bound >= bound).all()
    assert (found.bound <= bound + FORMATS[computed].unit * (np.abs(value) + bound)).all()


def test_without_a_cast_a_bound_stays():
    expectation = Expectation(value=np.ones(3), size=np.full(3, 0.1), scale=np.ones(3))
    found = cast(expectation, "bfloat16", "bfloat16")
    assert found.bound is expectation.bound
    assert found.format == "bfloat16"
