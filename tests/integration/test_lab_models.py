"""The lab's networks in a real server, asked over REST as any model is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import torch

from model_export.lab import model_folder
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.symbols import Symbols
from tests.integration.test_process import FREE_PORTS, started

_SHIPPED = Path(__file__).resolve().parents[2] / "models" / "lab"
# What is typed, and what is likeliest to follow; as the pages in docs/learn say.
_TYPED = {
    "counting": ("aaaX", "bbb"),
    "turnstile": ("cc", "w"),
    "turnstile-stated": ("cc", "w"),
    "selective": ("aXaXXaY", "bbb"),
    "remember": ("AxxxxxxY", "a"),
    "copy": ("bacX", "bac"),
    "copy-quiet": ("ccbX", "ccb"),
    "forget-bias-0": ("AxxxxxxY", "a"),
    "forget-bias-1": ("BxxxxxxY", "b"),
    "long-gap-gru": (f"A{'x' * 60}Y", "a"),
    "long-gap-lstm": (f"B{'x' * 60}Y", "b"),
    "peepholes-timer": ("T....T", "....T"),
    "peepholes-counter": ("aaaX", "bbb"),
    "scenes": ("B.w", "s"),
    "code": ("/*\n * Licensed to the Apa", "che Software Fou"),
    "code-python": ("import netw", "orkx"),
    "posts": ("Maybe Ada Holm was late. ht", "tps://"),
}


# What comes first is the answer; then the network goes on, into the next round or into what it never was asked for.
_GOES_ON = {
    *("remember", "forget-bias-0", "forget-bias-1", "long-gap-gru", "long-gap-lstm", "peepholes-timer"),
    *("scenes", "code-python", "posts"),
}


@contextmanager
def _serving(*folders: Path) -> Iterator[str]:
    flags = ("--model", ",".join(map(str, folders)), "--log-format", "json", *FREE_PORTS)
    with started("-m", "service.cli", "serve", *flags) as server:
        yield f"http://127.0.0.1:{json.loads(server.lines[-1])['http_port']}/v1/sessions"
        assert server.end() == 0


def _first_suggestion(url: str, model: str, text: str) -> str:
    suggest = {"count": 1, "max_bytes": 16}
    answer = httpx.post(url, json={"text": text, "model": model, "suggest": suggest})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["suggestions"][0]["text"])


def test_typing_at_the_lab_s_networks_shows_what_they_learned() -> None:
    with _serving(*(_SHIPPED / name for name in _TYPED)) as url:
        found = {name: _first_suggestion(url, name, text) for name, (text, _) in _TYPED.items()}
    for name in _GOES_ON:
        found[name] = found[name][: len(_TYPED[name][1])]
    assert found == {name: expected for name, (_, expected) in _TYPED.items()}


@pytest.mark.parametrize("cell", ["feed-forward", "gru", "layer-norm-lstm"])
def test_networks_with_no_state_with_one_and_with_two_are_served(cell: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Network(NetworkConfig(Symbols.letters("ab"), cell=cell, units=4))
    with torch.no_grad():  # an a is likeliest, whatever the states are
        network.head.weight.zero_()
        network.head.bias.copy_(torch.tensor([0.0, 2.0, 1.0]))
    model_folder.save(network, tmp_path, name=cell)
    with _serving(tmp_path) as url:
        assert _first_suggestion(url, cell, "ab" * 300).startswith("aaa")


@pytest.mark.parametrize("name", ["season", "gates"])
def test_models_of_numbers_and_of_words_answer_the_line_that_is_printed(
    name: str,
) -> None:
    with started("-m", "service.cli", "serve", "--model", f"lab/{name}", *FREE_PORTS) as server:
        (line,) = [line.strip() for line in server.lines if line.strip().startswith("curl ")]
        curl = shlex.split(line.partition(" | ")[0])
        answer = httpx.post(curl[2], content=curl[-1], headers={"content-type": "application/json"})
        assert answer.status_code == 200, answer.text
        assert answer.json()["model_name"] == name
        assert server.end() == 0
