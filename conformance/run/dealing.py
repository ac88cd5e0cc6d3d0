"""Deals a target's questions over several sessions, each with a worker of its own.

Most of a question's time is its worker's (JAX compiles every one), so the sessions live in threads of this process:
while one waits, others judge. What becomes of a question does not depend on who else is asked, and results come in
the order of the questions: a run is the same with one worker and with several.
"""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import Final

from conformance.case.job import Target
from conformance.run.engine import Session
from conformance.run.plan import REFERENCE, Item
from conformance.run.result import Result
from conformance.worker.gateway import alone, costly

# A framework takes 1 to 4 s to start, and 10 to 200 ms for a question: for fewer, nobody waits for one more worker.
QUESTIONS_A_WORKER: Final = 128


def workers_for(target: Target, questions: int, most: int) -> int:
    """Over how many workers a target's questions are dealt, `most` at most; the reference has none to wait for."""
    if target == REFERENCE or alone(target):
        return 1
    return max(1, min(most, questions // (1 if costly(target) else QUESTIONS_A_WORKER)))


@contextmanager
def dealt(items: Sequence[Item], session: Session, workers: int) -> Iterator[Iterator[Result]]:
    """What becomes of every item, in their order; who is next free is asked.

    Args:
        items: what is asked.
        session: the one that answers, and describes the target; it stays open, unless the context ends in an error.
        workers: how many answer; all but the first are started when they are first asked, and ended with the context.

    Raises:
        TargetError: from the iterator, at an item for which no worker could be started.
    """
    twins = [session.twin() for _ in range(workers - 1)]
    free: SimpleQueue[Session] = SimpleQueue()
    for one in (session, *twins):
        free.put(one)

    def ask(item: Item) -> Result:
        one = free.get()
        try:
            return one.run(item)
        finally:
            free.put(one)

    with ThreadPoolExecutor(workers) as pool:
        try:
            yield pool.map(ask, items)
        except BaseException:  # an interrupt, too: what is in flight is given up
            pool.shutdown(wait=False, cancel_futures=True)
            session.close()
            raise
        finally:
            for twin in twins:
                twin.close()
