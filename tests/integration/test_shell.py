"""`carousel complete` and `carousel score` as a shell runs them: data on standard output, talk beside it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from carousel_client import Client, CompleteOptions
from model_export.export import export_tensors
from service.engine.fake_model import FakeModel
from service.settings import load_settings
from service.terminal.local_server import LocalServer
from tests.integration.servers import IDENTITY, free_port
from tests.pty_screen import PtyScreen
from tests.unit.model_export.tiny import SHAPES, tensors

COMMAND = [sys.executable, "-m", "service.terminal"]
_PROGRAM = """
import runpy, signal
signal.signal(signal.SIGINT, signal.default_int_handler)
runpy.run_module("service.terminal", run_name="__main__", alter_sys=True)
"""
INTERRUPTIBLE = [sys.executable, "-c", _PROGRAM]
"""As from a terminal: what a shell starts in the background inherits that interrupts are ignored, and keeps to it."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
TEXT = "for root, dirs in os."


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with LocalServer(FakeModel(), IDENTITY, load_settings({})) as server:
        yield f"127.0.0.1:{server.addresses.grpc_port}"


def run(*arguments: str, given: str | bytes = b"", **variables: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*COMMAND, *arguments],
        input=given.encode() if isinstance(given, str) else given,
        capture_output=True,
        timeout=60,
        check=False,
        env={**ENVIRONMENT, **variables},
    )
    return subprocess.CompletedProcess(arguments, done.returncode, done.stdout.decode(), done.stderr.decode())


def completed(server: str, options: CompleteOptions, text: str = TEXT) -> dict[int, str]:
    with Client(server) as client:
        completion = client.complete(text, options)
        assert completion.text()
        return completion.texts


def test_a_completion_is_the_whole_of_standard_output(server: str) -> None:
    expected = completed(server, CompleteOptions(max_bytes=40))[0]
    for done in (
        run("complete", TEXT, "--max-bytes", "40", "--server", server),
        run("complete", "-", "--max-bytes", "40", "--server", server, "--model", "fake", given=TEXT),
    ):
        assert (done.stdout, done.stderr, done.returncode) == (expected, "", 0)


def test_several_are_parted_by_a_line_and_a_seed_gives_them_again(server: str) -> None:
    flags = ("--count", "3", "--max-bytes", "20", "--temperature", "1", "--top-k", "50", "--seed", "7")
    texts = completed(server, CompleteOptions(20, 3, (), 1.0, 50, seed=7))
    done = run("complete", TEXT, *flags, "--server", server)
    assert done.stdout == "---\n".join(
        text if text.endswith("\n") or index == 2 else text + "\n" for index, text in sorted(texts.items())
    )


def test_as_json_a_completion_says_what_it_depends_on(server: str) -> None:
    done = run("complete", TEXT, "--max-bytes", "9", "--stop", "\n", "--json", "--server", server)
    told = json.loads(done.stdout)
    assert [one["finish_reason"] for one in told["completions"]] in (["length"], ["stop"], ["end"])
    assert told["model"]["name"] == "fake"
    assert isinstance(told["seed"], int)


@pytest.mark.parametrize(("interrupted", "code"), [(False, 141), (True, 130)])
def test_who_has_seen_enough_ends_it_without_a_word(server: str, interrupted: bool, code: int) -> None:
    command = [*INTERRUPTIBLE, "complete", TEXT, "--max-bytes", "4096", "--count", "16", "--server", server]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT) as popen:
        assert popen.stdout is not None
        assert popen.stdout.read(1)
        if interrupted:
            popen.send_signal(signal.SIGINT)
        else:
            popen.stdout.close()
        _, said = popen.communicate(timeout=60)  # and reads on, as a terminal does
        assert (said, popen.returncode) == (b"", code)


@pytest.mark.parametrize(
    ("arguments", "given", "said"),
    [
        (["complete", "x", "--top-p", "2"], b"", "top_p"),
        (["complete"], b"\xff", "is not UTF-8 (byte 0, in line 1)"),
        (["complete"], b"x" * 2**21, "are taken"),
        (["score", "no-such-file"], b"", "No such file"),
        (["score", "-"], b"", "nothing to score"),
        (["score", "-", "--model", "other"], b"x", "no model 'other'; there are: fake"),
        (["score", "-"], b"a\nb\xe9", "is not UTF-8 (byte 3, in line 2)"),
    ],
)
def test_what_cannot_be_done_is_one_sentence_with_the_cause(
    server: str, arguments: list[str], given: bytes, said: str
) -> None:
    done = run(*arguments, "--server", server, given=given)
    assert (done.stdout, done.returncode) == ("", 2)
    assert said in done.stderr
    assert done.stderr.startswith("carousel: ")
    assert done.stderr.count("\n") == 1


def test_where_no_server_answers_at_the_address_it_says_how_to_start_one() -> None:
    nobody = f"127.0.0.1:{free_port()}"
    done = run("complete", "x", "--server", nobody)
    assert done.stderr == f"carousel: no server answers at {nobody}; start one with: carousel serve\n"


def test_without_a_server_the_model_runs_in_the_process(tmp_path: Path) -> None:
    folder = tmp_path / "tiny"
    export_tensors(tensors(SHAPES[1]), folder, name="tiny")
    alone = {"CAROUSEL_GRPC_PORT": str(free_port()), "CAROUSEL_MODEL": str(folder)}
    done = run("complete", "x", "--json", **alone)
    assert "loading the model into this process" in done.stderr
    assert json.loads(done.stdout)["model"]["name"] == "tiny"
    scored = run("score", "-", "--json", "--model", str(folder), given="some text")
    assert (scored.stderr, json.loads(scored.stdout)["model"]["name"]) == ("", "tiny")


def test_a_score_tells_the_places_and_the_whole_as_lines_that_editors_understand(server: str, tmp_path: Path) -> None:
    path = tmp_path / "a.py"
    path.write_text("import os\nfor é日 in x\n" * 3, encoding="utf-8")
    with Client(server) as client:
        expected = client.score(path.read_text(encoding="utf-8"), surprises=4)
    done = run("score", str(path), "--places", "4", "--server", server)
    *places, summary = done.stdout.splitlines()
    assert len(places) == len(expected.surprises) == 4
    text = path.read_text(encoding="utf-8")
    for place, surprise in zip(places, expected.surprises, strict=True):
        line, column = place.removeprefix(f"{path}:").split(":")[:2]
        before = text[: surprise.offset]
        assert (int(line), int(column)) == (before.count("\n") + 1, len(before) - before.rfind("\n"))
        assert f"{surprise.surprisal_bits:.1f} bits: {surprise.text!r}" in place
    assert summary == f"{path}: {expected.bits_per_byte:.3f} bits per byte, {len(text.encode())} bytes, model fake"
    assert (done.stderr, done.returncode) == ("", 0)


def test_above_a_bound_the_exit_code_says_so(server: str) -> None:
    assert run("score", "-", "--fail-above", "0.01", "--server", server, given=TEXT).returncode == 1


@pytest.mark.slow
def test_a_file_of_more_than_one_part_is_one_score(server: str, tmp_path: Path) -> None:
    path = tmp_path / "long.txt"
    path.write_text("same é\n" * 9_000, encoding="utf-8")
    done = run("score", str(path), "--json", "--places", "2", "--server", server)
    told = json.loads(done.stdout)
    assert told["bytes"] == 72_000
    assert len(told["places"]) == 2
    assert "longer than a server reads" not in done.stderr


def test_on_a_terminal_the_text_is_shown_with_its_surprises_in_colours(server: str, tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    path.write_text("shown text\n", encoding="utf-8")
    command = [*COMMAND, "score", str(path), "--server", server]
    with PtyScreen(command, columns=200, environment=ENVIRONMENT) as terminal:
        terminal.wait_for("bits per byte")
        assert terminal.wait_for_end() == 0
        assert "shown text" in terminal.shown
        colours = {terminal.screen.buffer[0][column].bg for column in range(10)}
        colours |= {terminal.screen.buffer[0][column].fg for column in range(10)}
        assert colours - {"default"}
