"""What is installed, and what an extra would replace."""

import pytest
from packaging.requirements import Requirement

from conformance.case.job import Description
from conformance.errors import BackendMissing, WorkerFailed
from conformance.run import doctor
from conformance.run.doctor import Finding, examine, replaced_by_extras

EXTRAS = {
    "torch": [Requirement("torch>=2.6,<2.14")],
    "tf": [Requirement("tensorflow-cpu>=2.19,<2.22")],
}


@pytest.mark.parametrize(
    ("installed", "warnings"),
    [
        ({}, []),
        ({"torch": "2.13.0+cpu", "tensorflow-cpu": "2.21.0"}, []),
        ({"torch": "2.14.0"}, ["warning: the extra [torch] wants torch<2.14,>=2.6 and would replace 2.14.0"]),
        (
            {"torch": "2.5.1+cu1"},
            ["warning: the extra [torch] wants torch<2.14,>=2.6 and would replace 2.5.1+cu1"],
        ),
        ({"torch": "2.13.0.dev20260101"}, []),
        (
            {"tensorflow": "2.20.0"},
            [
                "warning: the extra [tf] would install tensorflow-cpu over tensorflow 2.20.0; "
                "leave the extra out, the backend finds what is there"
            ],
        ),
        ({"tensorflow": "2.20.0", "tensorflow-cpu": "2.20.0"}, []),
        ({"jax": "0.1"}, []),
    ],
    ids=str,
)
def test_an_extra_that_would_replace_what_is_there_is_warned_of(
    installed: dict[str, str], warnings: list[str]
) -> None:
    assert replaced_by_extras(EXTRAS, installed) == warnings


class Asked:
    """Stands for a worker: what it is asked, without a process."""

    closed = 0

    def __init__(self, target: object) -> None:
        self.name = target.backend

    def start(self) -> Description:
        if self.name == "lacks":
            raise BackendMissing("lacks", "lacks", "python", "pip install lacks")
        if self.name == "breaks":
            raise WorkerFailed("breaks", "the driver is too old", "")
        return Description(
            backend="honest",
            versions={"numpy": "2.1", "fake": "1"},
            device="cpu (fake)",
            cpu_features=(),
            switches={},
            accumulators=(),
            absent=(),
            operators=(),
        )

    def close(self) -> None:
        Asked.closed += 1


def test_every_known_backend_has_a_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "known_backends", lambda: dict.fromkeys(("lacks", "honest", "breaks"), ""))
    monkeypatch.setattr(doctor, "Worker", Asked)
    monkeypatch.setattr(doctor, "_extras", lambda: EXTRAS)
    monkeypatch.setattr(doctor, "_installed", lambda: {"torch": "3.0"})
    first, *rest = examine()
    assert first.text.startswith("python 3.")
    assert rest == [
        Finding("warning: the extra [torch] wants torch<2.14,>=2.6 and would replace 3.0"),
        Finding("breaks: breaks: the worker did not start: the driver is too old", failed=True),
        Finding("honest: numpy 2.1, fake 1 on cpu (fake); no switches"),
        Finding("lacks: not installed; pip install lacks"),
    ]
    assert Asked.closed == 3


def test_the_extras_are_those_of_the_package() -> None:
    extras = doctor._extras()
    assert set(extras) == {"torch", "tf", "jax"}
    assert [requirement.name for requirement in extras["torch"]] == ["torch"]
    assert extras["torch"][0].specifier  # never bare
    assert doctor._installed()["numpy"]
