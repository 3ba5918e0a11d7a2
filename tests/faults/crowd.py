"""Several who type into each of several sessions while something goes wrong, and what is asked of them afterwards."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from tests.faults.history import History
from tests.faults.replicas import Replica, create, look_at_all, suggests_as_a_fresh_one
from tests.faults.typist import Manner, Progress, Typist


class Crowd:
    """They who type. progress: what becomes of it."""

    def __init__(self, replicas: Sequence[Replica], sessions: int, each: int, manner: Manner) -> None:
        self.histories = [History(f"s{index}") for index in range(sessions)]
        self.progress = Progress()
        self.typists = [
            Typist(history, replicas, self.progress, seed=seed, manner=manner)
            for history in self.histories
            for seed in range(each)
        ]

    async def type_some(self, times: int = 1) -> None:
        """Wait until each of them could have typed so many edits more."""
        await self.progress.more(times * len(self.typists))


@asynccontextmanager
async def crowd(
    replicas: Sequence[Replica], sessions: int, *, each: int = 2, manner: Manner | None = None
) -> AsyncIterator[Crowd]:
    """They begin when this is entered. When it is left they finish, and then every replica has every session, whose
    suggestions have the bits of a fresh one. What is in the histories is still to be checked.
    """
    over: list[bool] = []
    people = Crowd(replicas, sessions, each, manner or Manner(gives_up=0.2))
    await asyncio.gather(*(create(replicas[0], history) for history in people.histories))
    async with asyncio.TaskGroup() as typing:
        for typist in people.typists:
            typing.create_task(typist.type_until(lambda: bool(over)))
        yield people
        over.append(True)
    await asyncio.gather(*(typist.finish() for typist in people.typists))
    await look_at_all(replicas, people.histories)
    for number, history in enumerate(people.histories):
        await suggests_as_a_fresh_one(replicas[number % len(replicas)], history)
