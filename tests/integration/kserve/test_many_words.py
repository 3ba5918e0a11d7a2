"""A model of more words than there are bytes: exported, served, and asked over `/v2`."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import pytest_asyncio
import torch

from model_export.lab import model_folder
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.symbols import END
from model_export.lab.training import new_network
from model_export.lab.words import Words
from service.model.manifest import MAX_WORDS, Manifest
from service.settings import ModelConfig
from service.tensor_serving import load_tensor_model
from tests.integration.servers import Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
_WORDS = 5_000
_TEXT = "word7 word4999, word0 word256 word255."


@pytest.fixture(scope="module")
def network() -> Network:
    words = Words.of([" ".join(f"word{number}" for number in range(_WORDS)) + " , ."])
    network = new_network(NetworkConfig(words.symbols, units=8, embedding=4), 0)
    with torch.no_grad():
        network.head.weight.normal_(0, 1)  # so that the distributions are not nearly even
    return network.eval()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(network: Network, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Running]:
    folder = Path(tmp_path_factory.mktemp("models")) / "many"
    model_folder.save(network, folder, name="many")
    async with running(models=[], tensors=[load_tensor_model(ModelConfig(folder, None, 1, False))]) as server:
        yield server


def _expected(network: Network, text: str) -> tuple[list[float], list[str]]:
    """By torch: the log-probability of each word of a text, and the five likeliest to follow."""
    numbers = Words(network.symbols).encode(text)
    with torch.no_grad():
        scores = network.scores(torch.from_numpy(np.concatenate([[END], numbers])[:, None]))[:, 0]
    told = torch.log_softmax(scores.double(), dim=-1)
    likelihoods = told[:-1].gather(1, torch.from_numpy(numbers)[:, None])[:, 0].tolist()
    return likelihoods, network.symbols.decode(told[-1].topk(5).indices.numpy())


async def _infer(served: Running, *rows: str, names: tuple[str, ...] = (), **parameters: Any) -> httpx.Response:
    wanted = {"outputs": [{"name": name} for name in names]} if names else {}
    inputs = [{"name": "TEXT", "shape": [len(rows), 1], "datatype": "BYTES", "data": list(rows)}]
    async with httpx.AsyncClient() as client:
        return await client.post(
            f"{served.http}/v2/models/many/infer",
            json={"inputs": inputs, "parameters": {"top_k": 5, **parameters}, **wanted},
        )


def _outputs(answer: httpx.Response) -> dict[str, list[Any]]:
    assert answer.status_code == 200, answer.text
    return {one["name"]: one["data"] for one in answer.json()["outputs"]}


async def test_it_says_what_torch_says_however_the_words_are_cut(network: Network, served: Running) -> None:
    likelihoods, likeliest = _expected(network, _TEXT)
    whole = _outputs(await _infer(served, _TEXT))
    assert whole["LOG_LIKELIHOOD"][0] == pytest.approx(sum(likelihoods), abs=1e-4)
    assert whole["TOP_WORDS"] == likeliest
    assert len(whole["LOG_PROBABILITIES"]) == _WORDS + 3
    assert math.fsum(map(math.exp, whole["LOG_PROBABILITIES"])) == pytest.approx(1, abs=1e-5)
    found = []
    for piece in ("word7 word4999", ", word0", "word256 word255", "."):
        part = _outputs(await _infer(served, piece, sequence_id="a", sequence_start=piece.startswith("word7")))
        found += part["LOG_LIKELIHOOD"]
    assert part["LOG_PROBABILITIES"] == whole["LOG_PROBABILITIES"]
    assert sum(found) == pytest.approx(whole["LOG_LIKELIHOOD"][0], abs=1e-9)


async def test_an_answer_holds_no_more_numbers_than_its_limit(served: Running) -> None:
    refused = await _infer(served, *[_TEXT] * 64)
    assert refused.status_code == 400
    assert "outputs: LOG_PROBABILITIES of 64 rows are 320,192 numbers" in refused.json()["error"]
    others = _outputs(await _infer(served, *[_TEXT] * 64, names=("TOP_WORDS", "LOG_LIKELIHOOD")))
    alone = _outputs(await _infer(served, _TEXT))
    assert others == {name: 64 * alone[name] for name in ("TOP_WORDS", "LOG_LIKELIHOOD")}


async def test_what_is_no_word_is_named_and_the_known_ones_are_not_all_told(served: Running) -> None:
    refused = await _infer(served, "word5000")
    assert refused.status_code == 400
    assert "'word5000' is no word of this model" in refused.text
    assert "and 4962 more" in refused.text


@pytest.mark.parametrize(
    ("vocabulary", "size", "fits"),
    [("words", MAX_WORDS, True), ("words", MAX_WORDS + 1, False), ("bytes", 256, True), ("bytes", 257, False)],
)
async def test_how_many_tokens_there_may_be(
    network: Network, tmp_path: Path, vocabulary: str, size: int, fits: bool
) -> None:
    made = model_folder.save(network, tmp_path / "many", name="many").as_document()
    document = {**made, "vocabulary": vocabulary, "vocabulary_size": size}
    if fits:
        assert Manifest.model_validate(document).vocabulary_size == size
    else:
        with pytest.raises(ValueError, match=f"vocabulary_size: {size} is not from 2 to"):
            Manifest.model_validate(document)
