"""What tests share: sessions with fake backends, one process a fake and module."""

from collections.abc import Callable, Iterator

import pytest
from hypothesis import settings

from conformance.case.job import Target
from conformance.case.model import Case, FormatName
from conformance.run.engine import Session
from conformance.run.result import Result
from conformance.tests import fakes, questions

Ask = Callable[..., Result]
# The first comparison of a type compiles.
settings.register_profile("conformance", deadline=None)
settings.load_profile("conformance")

# Long enough for an honest answer on a busy machine, short enough to wait for a silent one.
SECONDS = 60.0


@pytest.fixture(scope="module")
def sessions() -> Iterator[Callable[..., Session]]:
    """Sessions with fakes, by class; a test that kills or stops one leaves it able to go on."""
    started: dict[tuple[type[fakes.Honest], float], Session] = {}

    def session(fake: type[fakes.Honest], *, timeout: float = SECONDS) -> Session:
        if (fake, timeout) not in started:
            path = f"{fake.__module__}:{fake.__name__}"
            started[fake, timeout] = Session(Target(backend="fake"), timeout=timeout, path=path)
        return started[fake, timeout]

    yield session
    for session_ in started.values():
        session_.close()


@pytest.fixture(scope="module")
def ask(sessions: Callable[..., Session]) -> Ask:
    """Asks a fake one item, through a process of its own."""

    def ask(
        fake: type[fakes.Honest], case: Case, format_: FormatName | None = None, *, timeout: float = SECONDS
    ) -> Result:
        return sessions(fake, timeout=timeout).run(questions.item(case, format_))

    return ask
