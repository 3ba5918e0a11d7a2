"""The terminal's typist against real servers: refusals, and servers that go away."""

from __future__ import annotations

import queue
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from carousel_client import Client, RetryPolicy, SuggestOptions
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from service.terminal.typist import Typist
from tests.integration.cutting_proxy import CuttingProxy
from tests.integration.servers import IDENTITY

_PATIENCE_S = 20.0


class OwnerThread:
    """The loop that owns a typist, by hand: what was posted is done while a test waits for something."""

    def __init__(self) -> None:
        self._posts: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self.post = self._posts.put

    def until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            self._posts.get(timeout=_PATIENCE_S)()


def typing_on(
    server: LocalServer, text: str, resume_within_s: float = 60.0
) -> AbstractContextManager[tuple[Typist, OwnerThread]]:
    return typing_at(f"127.0.0.1:{server.addresses.grpc_port}", text, resume_within_s)


@contextmanager
def typing_at(target: str, text: str, resume_within_s: float = 60.0) -> Iterator[tuple[Typist, OwnerThread]]:
    owner = OwnerThread()
    with Client(target, retry=RetryPolicy(attempts=1), resume_within_s=resume_within_s) as client:
        suggest = SuggestOptions(3, 12)
        session = client.session(text, recreate=True)
        typist = Typist(client, session, text, suggest=suggest, post=owner.post, changed=lambda: None)
        typist.start()
        yield typist, owner
        typist.close()


def served(**flags: int) -> LocalServer:
    return LocalServer(FakeModel(), IDENTITY, load_settings(flags))


def test_keys_are_shown_at_once_and_suggestions_follow() -> None:
    with served() as server, typing_on(server, "ab") as (typist, owner):
        owner.until(lambda: bool(typist.editor.ghosts))
        for character in "cd日":
            typist.press(typist.editor.type(character), made=1)
        assert typist.editor.text == "abcd日"
        owner.until(lambda: bool(typist.editor.ghosts) and typist.editor.ghosts[0].id is not None)
        assert typist.tally.last_s is not None
        ghost = typist.editor.ghost
        assert ghost is not None
        typist.press(typist.editor.accept(), made=len(ghost.text))
        assert typist.editor.text == "abcd日" + ghost.text
        typist.press(typist.editor.undo())
        assert typist.editor.text == "abcd日"
        assert typist.notice == ""


def test_what_the_server_refuses_disappears_from_the_screen_with_the_reason() -> None:
    with served(max_session_bytes=4) as server, typing_on(server, "ab") as (typist, owner):
        for character in "cdef":
            typist.press(typist.editor.type(character), made=1)
        owner.until(lambda: "refused" in typist.notice)
        assert (typist.editor.text, typist.editor.cursor) == ("abcd", 4)
        typist.press(typist.editor.backspace())
        owner.until(lambda: bool(typist.editor.ghosts))
        assert (typist.editor.text, typist.notice) == ("abc", "")


def test_a_text_that_cannot_be_sent_is_not_shown() -> None:
    with served() as server, typing_on(server, "ab") as (typist, _):
        typist.press(typist.editor.type("\ud83d"), made=1)
        assert typist.editor.text == "ab"
        assert "surrogate" in typist.notice


def test_a_session_that_is_lost_is_made_anew_from_the_text_on_the_screen() -> None:
    with served() as server, typing_on(server, "ab") as (typist, owner):
        typist.press(typist.editor.type("c"), made=1)
        owner.until(lambda: bool(typist.editor.ghosts))
        with Client(f"127.0.0.1:{server.addresses.grpc_port}") as other:
            other.attach(typist.session_id).close()
            typist.press(typist.editor.type("d"), made=1)
            owner.until(lambda: "found" in typist.notice)
            typist.press(typist.editor.undo())
            typist.press(typist.editor.type("e"), made=1)
            owner.until(lambda: bool(typist.editor.ghosts))
            assert typist.editor.text == "abcde"
            assert other.attach(typist.session_id).text() == "abcde"


def test_what_is_typed_while_the_server_is_away_is_there_when_it_comes_back() -> None:
    with served() as server, CuttingProxy(server.addresses.grpc_port) as proxy, typing_at(proxy.address, "ab") as at:
        typist, owner = at
        owner.until(lambda: bool(typist.editor.ghosts))
        proxy.target = None
        server.stop()
        owner.until(lambda: "lost the server" in typist.notice)
        for character in "cde":
            typist.press(typist.editor.type(character), made=1)
        typist.press(typist.editor.undo())
        typist.press(typist.editor.left())
        assert (typist.editor.text, typist.editor.cursor) == ("abcd", 3)
        with served() as another:
            proxy.target = another.addresses.grpc_port
            owner.until(lambda: "found" in typist.notice)
            owner.until(lambda: bool(typist.editor.ghosts))
            with Client(f"127.0.0.1:{proxy.target}") as other:
                held = other.attach(typist.session_id)
                assert (held.text(), held.cursor) == ("abcd", 3)


def test_a_server_that_is_not_found_leaves_the_text_and_the_next_key_says_what_is_wrong() -> None:
    with served() as server, typing_on(server, "ab", resume_within_s=0.2) as (typist, owner):
        owner.until(lambda: bool(typist.editor.ghosts))
        server.stop()
        owner.until(lambda: "the next key tries again" in typist.notice)
        typist.press(typist.editor.type("c"), made=1)
        assert typist.editor.text == "ab"
        assert "no server" in typist.notice
