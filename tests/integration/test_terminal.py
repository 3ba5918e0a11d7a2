"""`carousel type` in a pseudo-terminal, seen as a person sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from carousel_client import Client
from model_export.export import export_tensors
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from tests.integration.servers import IDENTITY, free_port
from tests.pty_screen import PtyScreen
from tests.unit.model_export.tiny import SHAPES, tensors

GREY = "808080"
TAB, RIGHT, DOWN, CTRL_Z, CTRL_Q, CTRL_C = "\t", "\x1b[C", "\x1b[B", "\x1a", "\x11", "\x03"
COMMAND = [sys.executable, "-m", "service.terminal", "type"]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with LocalServer(FakeModel(), IDENTITY, load_settings({})) as server:
        yield f"127.0.0.1:{server.addresses.grpc_port}"


@pytest.fixture
def terminal(server: str) -> Iterator[PtyScreen]:
    with PtyScreen([*COMMAND, "--server", server], environment=ENVIRONMENT) as terminal:
        terminal.wait_for("Ctrl-Q quit")
        yield terminal


def suggestions_for(server: str, text: str) -> list[str]:
    with Client(server) as client, client.session(text) as session:
        return [one.text for one in session.suggest().suggestions]


def on_one_line(server: str, beginning: str) -> str:
    """`beginning`, or what comes after it, such that the first two suggestions fit on a line with it."""
    texts = (beginning + "x" * more for more in range(60))
    return next(text for text in texts if "\n" not in "".join(suggestions_for(server, text)))


def test_a_grey_suggestion_is_shown_and_tab_accepts_it(terminal: PtyScreen, server: str) -> None:
    text = on_one_line(server, "import o")
    first = suggestions_for(server, text)[0]
    terminal.press(text)
    terminal.wait_for(text + first)
    assert terminal.style_of(text).fg == "default"
    row = next(row for row, line in enumerate(terminal.screen.display) if line.startswith(text + first))
    assert terminal.screen.buffer[row][len(text)].fg == GREY
    terminal.press(TAB)
    terminal.wait_for(lambda _: terminal.screen.buffer[row][len(text)].fg == "default")
    assert terminal.screen.display[row].startswith(text + first)
    terminal.wait_for("saved ")
    terminal.press(CTRL_Q)
    assert terminal.wait_for_end() == 0


def test_the_panel_lists_alternatives_and_down_chooses_the_next(terminal: PtyScreen, server: str) -> None:
    text = on_one_line(server, "def f")
    first, second, *_ = suggestions_for(server, text)
    terminal.press(text)
    terminal.wait_for(lambda shown: text + first in shown and "> " in shown)
    terminal.press(DOWN)
    terminal.wait_for(text + second)
    terminal.press(CTRL_C)
    assert terminal.wait_for_end() == 0


def test_wide_characters_emoji_and_undo_are_right(terminal: PtyScreen) -> None:
    terminal.press("日本👍x")
    # pyte keeps an empty cell beside a wide character.
    terminal.wait_for("日本👍x")
    terminal.press("\x1b[D\x7f")  # over the x, then the emoji away
    terminal.wait_for("日本")
    terminal.wait_for(lambda shown: "👍" not in shown)
    terminal.press(CTRL_Z)
    terminal.wait_for("日本👍")


def test_the_latency_of_keystrokes_is_in_the_corner(terminal: PtyScreen) -> None:
    terminal.press("a")
    terminal.wait_for(lambda shown: " ms  p50 " in shown.splitlines()[0])


def test_a_file_is_what_is_typed_on_and_it_is_not_written_to(server: str, tmp_path: Path) -> None:
    path = tmp_path / "text.py"
    path.write_text("# héllo\n", encoding="utf-8")
    with PtyScreen([*COMMAND, str(path), "--server", server], environment=ENVIRONMENT) as terminal:
        terminal.wait_for("# héllo")
        terminal.press("zz")
        terminal.wait_for("zz")
        terminal.press(CTRL_Q)
        assert terminal.wait_for_end() == 0
    assert path.read_text(encoding="utf-8") == "# héllo\n"


def refused(*arguments: str, **variables: str) -> str:
    """What the command says when it cannot begin; in a terminal, as it asks for that first."""
    environment = {**ENVIRONMENT, **variables}
    with PtyScreen([*COMMAND, *arguments], columns=300, environment=environment) as terminal:
        assert terminal.wait_for_end() == 2
        return terminal.shown


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "tiny"
    export_tensors(tensors(SHAPES[1]), folder, name="tiny")
    return folder


def test_where_no_server_answers_the_model_runs_in_this_process_and_it_says_so(model: Path) -> None:
    environment = {**ENVIRONMENT, "CAROUSEL_GRPC_PORT": str(free_port()), "CAROUSEL_MODEL": str(model)}
    with PtyScreen(COMMAND, environment=environment) as terminal:
        terminal.wait_for("loading the model into this process", timeout_s=60)
        terminal.wait_for(lambda shown: "tiny" in shown and "in this process" in shown, timeout_s=60)
        terminal.press("a")
        terminal.wait_for(lambda shown: " ms  p50 " in shown)
        terminal.press(CTRL_Q)
        assert terminal.wait_for_end() == 0


def test_without_a_server_and_without_a_model_it_says_what_is_missing() -> None:
    nothing = {"CAROUSEL_GRPC_PORT": str(free_port())}
    assert "manifest.json" in refused("--model", "no-such-folder", **nothing)


def test_without_a_terminal_it_says_so_in_one_line() -> None:
    done = subprocess.run(
        COMMAND, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=50, check=False, env=ENVIRONMENT
    )
    assert done.returncode == 2
    assert done.stderr.startswith("carousel: type needs a terminal")
    assert done.stderr.count("\n") == 1


def test_a_server_that_was_named_and_does_not_answer_is_an_error() -> None:
    assert "no server answers at 127.0.0.1:" in refused("--server", f"127.0.0.1:{free_port()}")


def test_a_file_that_is_not_text_is_refused(server: str, tmp_path: Path) -> None:
    path = tmp_path / "picture"
    path.write_bytes(b"\x89PNG")
    assert "is not UTF-8" in refused(str(path), "--server", server)
