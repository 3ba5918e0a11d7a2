"""`carousel lab --corpus`: networks of somebody's own text, and what is refused before any training."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from model_export.commands import lab as command
from model_export.lab import model_folder
from model_export.lab.post_maker import make_posts
from model_export.lab.reading.held_out_files import held_out
from model_export.lab.symbols import END
from service.model.manifest import read_manifest
from service.runtime.onnx_model import load_model
from tests.unit.model_export.tiny import write_files

_SHIPPED = Path(__file__).resolve().parents[3] / "models" / "lab"
_APP = typer.Typer()
_APP.command()(command)
_SMALL = ("--set", "units=8", "--set", "embedding=4", "--set", "megabytes=0.01", "--set", "samples=2")


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(_APP, list(arguments))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("code", "--corpus", "missing/place"), "no such file or folder"),
        (("code", "--corpus", "{here}/small"), "too small"),
        (("posts", "--corpus", "{here}/small"), "too small"),
        (("code", "--corpus", "{here}/binary"), "no text to train on"),
        (("code", "--full"), "say on what: `apt-get source libcommons-lang3-java`"),
        (("code", "--set", "units=16"), "say on what"),
        (("code", "--set", "units=2"), "units: 2 is not from 4 to 256"),
        (("posts", "--set", "temperature=0"), "temperature: 0.0 is not from 0.1 to 2"),
        (
            ("counting", "--corpus", "{here}/small"),
            "--corpus: counting makes its own sequences",
        ),
        (("all", "--corpus", "{here}/small"), "--corpus is of one experiment"),
    ],
)
def test_what_cannot_be_trained_on_is_refused_before_any_training(
    tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    write_files(tmp_path, {"small/a.txt": "hello\n", "binary/a.bin": b"\x00" * 100_000})
    filled = [one.replace("{here}", str(tmp_path)) for one in arguments]
    result = _run(*filled, "--out", str(tmp_path / "out"))
    assert result.exit_code == 1
    assert message in " ".join(result.stderr.split()), result.stderr
    assert not (tmp_path / "out").exists()


def test_posts_of_any_text_file_make_a_network_that_can_be_served(tmp_path: Path) -> None:
    write_files(tmp_path, {"posts.txt": "\n".join(["Café #déjà " + post for post in make_posts(900, 1)])})
    result = _run("posts", "--corpus", str(tmp_path / "posts.txt"), *_SMALL, "--json", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.stderr
    assert "unseen_hashtags" in json.loads(result.stdout)
    folder = tmp_path / "out" / "models" / "posts"
    made_by = str(read_manifest(folder).architecture["made_by"])
    assert made_by == f"carousel lab posts --full --seed 0 --corpus posts.txt {shlex.join(_SMALL[:-2])}"
    assert f"serve --model {folder}" in "".join(result.stderr.split("\n")), "what was trained is what is to be served"
    assert load_model(folder).shapes[0].width == 8


@pytest.mark.parametrize(
    ("model", "typed", "goes_on"),
    [
        ("code", "/*\n * Licensed to the Apa", "che Software Foundation (ASF) under one or more\n"),
        ("code", "    /**\n     * @param array  the array\n     * @ret", "urn "),
        ("code-python", "import netw", "orkx"),
        ("posts", "Maybe Ada Holm: https:", "//"),
    ],
)
def test_a_shipped_network_goes_on_with_what_is_typed(model: str, typed: str, goes_on: str) -> None:
    network = model_folder.load(_SHIPPED / model)
    read = torch.from_numpy(np.concatenate([[END], network.symbols.encode_text(typed)]))[:, None]
    written = network.continue_greedily(read, len(goes_on))[:, 0].numpy()
    assert network.symbols.decode_text(written[written != END]) == goes_on


@pytest.mark.slow  # it asks the units of both networks
def test_code_of_a_folder_trains_the_network_of_its_language_and_takes_the_other_as_it_is(tmp_path: Path) -> None:
    write_files(tmp_path, {f"src/{number}.java": text for number, text in enumerate(held_out("java"))})
    small = (*_SMALL, "--set", "length=500")
    result = _run("code", "--corpus", str(tmp_path / "src"), *small, "--json", "--out", str(tmp_path / "out"))
    assert result.exit_code == 0, result.stderr
    assert [path.name for path in (tmp_path / "out" / "models").iterdir()] == ["code"]
    figures = json.loads(result.stdout)
    assert figures["java_bits"] > 3 > figures["python_bits"]
