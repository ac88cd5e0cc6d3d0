"""What a verdict costs is measured over the questions that it is drawn from."""

import pytest

from conformance.run import cost as module
from conformance.run.cost import Cost, cost
from conformance.tests.shipped import shipped


def test_the_verdict_is_measured_beside_the_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """With a clock that a comparison moves by 3 seconds and the reference alone by 2."""
    now = [0.0]

    def moved(by: float, work: object) -> object:
        def moving(*args: object, **kwargs: object) -> object:
            now[0] += by
            return work(*args, **kwargs)  # type: ignore[operator]

        return moving

    monkeypatch.setattr(module.time, "thread_time", lambda: now[0])
    monkeypatch.setattr(module.oracle, "values", moved(2, module.oracle.values))
    monkeypatch.setattr(module.oracle, "expect", moved(4, module.oracle.expect))
    monkeypatch.setattr(module, "compare", moved(0.5, module.compare))
    few = [case for case in shipped("operators") if case.operator == "relu" and not case.readings][:2]
    assert cost("two", few) == Cost(name="two", questions=2, reference=4.0, verdict=10.0)


def test_a_verdict_over_layers_of_real_size_costs_a_few_times_the_reference_alone() -> None:
    layers = [case for case in shipped("published") if case.id == "published/resnet-50/conv2-1-3x3"]
    measured = cost("a layer of ResNet-50", layers)
    assert (measured.questions, measured.times > 1) == (1, True)


def test_chains_and_draws_are_left_out() -> None:
    drawn = [case for case in shipped("operators") if case.operator in ("chain", "random_dropout")]
    assert drawn
    assert cost("none", drawn) == Cost(name="none", questions=0, reference=0, verdict=0)
