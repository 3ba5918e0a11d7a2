"""What the client can do with texts and sessions beside typing: one list of deeds, done by threads and by asyncio."""

from __future__ import annotations

import asyncio
import inspect
import math
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from carousel_client import (
    AsyncClient,
    Client,
    CompleteOptions,
    InvalidArgument,
    NotFound,
    RevisionConflict,
    Session,
    Units,
)
from carousel_client.aio import AsyncSession
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from tests.integration.servers import IDENTITY

TEXT = "for é日 in os.walk("


@pytest.fixture(scope="module")
def target() -> Iterator[str]:
    with LocalServer(FakeModel(), IDENTITY, load_settings({})) as server:
        yield f"127.0.0.1:{server.addresses.grpc_port}"


class InThreads:
    """A Client (or what it gives) whose methods are awaited: each runs in a thread."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        if not callable(found):
            return found

        async def call(*args: Any, **kwargs: Any) -> Any:
            result = await asyncio.to_thread(found, *args, **kwargs)
            return InThreads(result) if isinstance(result, Session) else result

        return call


class Asyncio:
    """An AsyncClient with the names of a Client."""

    def __init__(self, inner: AsyncClient) -> None:
        self._inner = inner
        self.session = inner.create

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def sessions(self, **kwargs: Any) -> list[Any]:
        return [one async for one in self._inner.sessions(**kwargs)]


@pytest.fixture(params=["threads", "asyncio"])
async def client(request: pytest.FixtureRequest, target: str) -> AsyncIterator[Any]:
    if request.param == "threads":
        with Client(target, timeout_s=20) as threaded:
            yield InThreads(threaded)
    else:
        async with AsyncClient(target, timeout_s=20) as awaited:
            yield Asyncio(awaited)


def public(kind: type) -> dict[str, list[str]]:
    methods = inspect.getmembers(kind, callable)
    return {name: list(inspect.signature(method).parameters) for name, method in methods if not name.startswith("_")}


def test_neither_shell_can_do_what_the_other_cannot() -> None:
    assert public(Session) == public(AsyncSession)
    asynchronous = public(AsyncClient)
    assert asynchronous.pop("create") == public(Client)["session"]
    assert asynchronous.keys() == public(Client).keys()
    for name, parameters in public(Client).items():
        if name != "start_typing":  # one of them is handed an iterator of what to send
            assert asynchronous[name] == parameters, name


async def test_a_text_is_scored_byte_by_byte(client: Any) -> None:
    score = await client.score(TEXT, top=2, surprises=3)
    size = len(TEXT.encode())
    assert len(score.log_probabilities) == len(score.surprisal_bits) == len(score.alternatives) == size
    assert score.bits_per_byte == pytest.approx(-math.fsum(score.log_probabilities) / math.log(2) / size)
    assert (score.model.name, score.revision, score.start, len(score.surprises)) == ("fake", None, 0, 3)
    for one, alternatives in zip(score.log_probabilities, score.alternatives, strict=True):
        assert len(alternatives.tokens) == 2
        assert one <= alternatives.log_probabilities[0]
    greatest = score.surprises[0]
    assert TEXT[greatest.offset : greatest.offset + greatest.length] == greatest.text


async def test_scoring_may_begin_later_in_any_unit_and_bytes_need_not_be_characters(client: Any) -> None:
    whole = await client.score(TEXT)
    for start, units in ((6, Units.CODEPOINT), (9, Units.UTF8)):
        assert (await client.score(TEXT, start=start, units=units)).log_probabilities == whole.log_probabilities[9:]
    assert (await client.score(TEXT.encode())).log_probabilities == whole.log_probabilities
    assert len((await client.score(TEXT.encode()[:5])).log_probabilities) == 5
    with pytest.raises(InvalidArgument, match="units"):
        await client.score(TEXT.encode(), units=Units.UTF16)
    with pytest.raises(InvalidArgument) as refused:
        await client.score(TEXT, top=17)
    assert refused.value.field == "top"


async def test_a_session_s_text_is_scored_as_it_is(client: Any) -> None:
    session = await client.session("for é日")
    await session.type(" in os.walk(")
    score = await session.score(surprises=0)
    assert (score.revision, score.surprises) == (2, ())
    assert score.log_probabilities == (await client.score(TEXT)).log_probabilities
    await session.close()


async def test_a_fork_has_the_text_and_the_past_and_lives_by_itself(client: Any) -> None:
    session = await client.session("a")
    await session.type("b")
    await session.type("c")
    fork, earlier = await session.fork(), await session.fork(id=f"{session.id}-then", revision=2)
    await fork.type("d")
    await fork.undo_to(2)
    assert [await one.text() for one in (session, fork, earlier)] == ["abc", "ab", "ab"]
    assert earlier.id == f"{session.id}-then"
    await session.close()
    assert await earlier.text() == "ab"
    with pytest.raises(NotFound):
        await session.fork()
    for one in (fork, earlier):
        await one.close()


async def test_a_session_is_exported_and_imported_with_its_past(client: Any) -> None:
    session = await client.session("é", units=Units.UTF16)
    await session.type("👍")
    document = await session.export()
    again = await client.import_session(document, id=f"{session.id}-again", units=Units.UTF16)
    assert (await again.text(), again.revision, again.length) == ("é👍", 2, 3)
    await again.undo_to(1)
    assert await again.text() == "é"
    with pytest.raises(InvalidArgument) as refused:
        await client.import_session(b"not a document")
    assert refused.value.field == "document"
    for one in (session, again):
        await one.close()


async def test_sessions_are_listed_in_parts(client: Any) -> None:
    made = [await client.session("text", id=f"listed-{index}") for index in range(5)]
    listed = {one.id: one for one in await client.sessions(part=2)}
    assert {session.id for session in made} <= set(listed)
    about = listed["listed-0"]
    assert (about.revision, about.model, about.text_bytes) == (1, "fake", 4)
    assert about.written_s > 1_000_000_000
    for session in made:
        await session.close()
    assert not any(one.id.startswith("listed") for one in await client.sessions())


async def test_a_session_of_which_nothing_is_to_be_written_says_so(client: Any) -> None:
    session = await client.session("secret", store_text=False)
    await session.type("!")
    assert await session.text() == "secret!"
    await session.close()


async def test_completed_bytes_come_with_their_probabilities_if_asked_for(client: Any) -> None:
    completion = client.complete(TEXT, CompleteOptions(max_bytes=12, top=1))
    completion = await completion if inspect.isawaitable(completion) else completion
    text = completion.text()
    text = await text if inspect.isawaitable(text) else await asyncio.to_thread(lambda: text)
    again = client.complete(TEXT, CompleteOptions(max_bytes=12, top=1))
    again = await again if inspect.isawaitable(again) else again
    pieces = [piece async for piece in again] if hasattr(again, "__aiter__") else await asyncio.to_thread(list, again)
    assert "".join(piece.text for piece in pieces) == text
    for piece in pieces:
        assert len(piece.log_probabilities) == len(piece.alternatives) == len(piece.text.encode())


async def test_a_forgotten_session_is_made_anew_for_every_deed_if_that_was_asked_for(client: Any) -> None:
    session = await client.session("ab", recreate=True)
    other = await client.attach(session.id)

    async def forget() -> None:
        await other.close()

    await session.move(1)
    for deed in (session.text, session.score, session.export, session.suggest):
        await forget()
        await deed()
        assert (await client.attach(session.id)).cursor == 1
    await forget()
    fork = await session.fork()
    await fork.type("x")
    assert await fork.text() == "axb"
    await forget()
    await session.type("c")
    await session.undo_to(session.revision - 1)
    assert (await session.text(), session.cursor) == ("ab", 1)
    await forget()
    anew = await client.session("ab", id=session.id)
    await anew.type("!")
    with pytest.raises(RevisionConflict):
        await session.type("c")
    for one in (session, fork):
        await one.close()
