"""The shipped probes: a backend with another default flips its row, and their readings are told apart."""

from dataclasses import replace

import pytest

from conformance.case.listing import default_root
from conformance.case.loading import load
from conformance.case.model import Case
from conformance.run.probes import lint_probes
from conformance.tests import defaults, drawing, fakes
from conformance.tests.conftest import Ask
from conformance.verdict.model import Outcome, Reason

FOLDER = default_root() / "conventions"
PROBES = {case.id.removeprefix("conventions/"): case for case in load([FOLDER])}


def outputs_of(name: str) -> Case:
    """A shipped probe, without its gradients, which these backends do not have."""
    return replace(PROBES[name], checks=("outputs",))


@pytest.mark.parametrize(
    ("name", "readings"),
    [
        (
            "normalization/momentum-of-batch-norm",
            {defaults.HasDefaults: "0.9 stays", defaults.MomentumOfKeras: "0.99 stays"},
        ),
        (
            "normalization/meaning-of-momentum-in-batch-norm",
            {defaults.HasDefaults: "what comes", defaults.MomentumOfKeras: "what stays"},
        ),
        (
            "normalization/running-variance-of-batch-norm",
            {defaults.HasDefaults: "n - 1", defaults.WithoutBessel: "n"},
        ),
        ("normalization/epsilon-of-batch-norm", {defaults.HasDefaults: "1e-5", defaults.EpsilonOfKeras: "1e-3"}),
        (
            "normalization/place-of-epsilon-in-batch-norm",
            {defaults.HasDefaults: "inside the root", defaults.EpsilonOutside: "outside the root"},
        ),
        ("normalization/alpha-of-local-response-norm", {defaults.HasDefaults: "1e-4", defaults.AlphaOfSum: "1"}),
        (
            "normalization/what-alpha-multiplies-in-local-response-norm",
            {defaults.HasDefaults: "the mean", defaults.AlphaOfSum: "the sum"},
        ),
        (
            "normalization/even-window-of-local-response-norm",
            {defaults.HasDefaults: "before", defaults.MoreBehind: "behind"},
        ),
        (
            "resizing/coordinates-of-nearest",
            {defaults.HasDefaults: "floor of o n / m", defaults.HalfPixels: "half pixels, ties up"},
        ),
        (
            "optimizers/velocity-of-momentum",
            {defaults.HasDefaults: "of gradients", defaults.VelocityOfSteps: "of steps"},
        ),
        (
            "optimizers/place-of-epsilon-in-rmsprop",
            {defaults.HasDefaults: "to the root", defaults.EpsilonUnderRoot: "under the root"},
        ),
        (
            "optimizers/first-sum-of-adagrad",
            {defaults.HasDefaults: "0", defaults.SumOfKeras: "0.1"},
        ),
        (
            "losses/ignored-label",
            {defaults.HasDefaults: "-100 does not count", defaults.IgnoresNoLabel: "-100 is no label"},
        ),
        ("draws/he-normal", {drawing.DrawsHonestly: "normal", defaults.DrawsWithinTwoDeviations: "cut off"}),
    ],
)
def test_another_default_flips_its_row(ask: Ask, name: str, readings: dict[type[fakes.Honest], str]) -> None:
    for fake, reading in readings.items():
        result = ask(fake, outputs_of(name))
        assert (result.reading, result.outcome, result.unexpected) == (reading, Outcome.AGREES, False), result.detail


def test_who_answers_is_nearest_to_a_reading_with_an_answer(ask: Ask) -> None:
    result = ask(defaults.CountsIgnored, outputs_of("losses/ignored-label"))
    assert (result.outcome, result.reason, result.reading) == (Outcome.DIFFERS, Reason.NO_READING, "")
    assert "nearest: output on normal data: 1 of 1 elements outside the bound" in result.detail


def test_readings_of_the_shipped_probes_are_told_apart() -> None:
    assert lint_probes(list(PROBES.values())) == ()


def test_laws_that_one_sample_may_follow_are_not_told_apart() -> None:
    normal = PROBES["draws/he-normal"]
    small = replace(normal, inputs={"w": replace(normal.inputs["w"], shape=(3, 3, 4, 6))})
    (problem,) = lint_probes([small])
    assert "readings 'normal' and 'cut off' cannot be told apart by this case in float32" in problem.message
