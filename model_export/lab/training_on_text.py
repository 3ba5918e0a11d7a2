"""Training a network of characters on somebody's text: `carousel train`'s own loop, then a network of the lab.

The loop's checkpoints make a training that was stopped go on where it was. What comes out has a symbol for each
printable character and for each other byte of the text, and weights rounded to 8 bits (`compact.py`).
"""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath

import torch

from model_export import corpora
from model_export.corpora import Corpus, Document
from model_export.errors import CorpusError, TrainingError
from model_export.lab.bench import Bench
from model_export.lab.compact import rounded
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.symbols import END, END_BYTE, Symbols
from model_export.language_model import LanguageModel, LanguageModelConfig
from model_export.training.loop import Report, Trainer, TrainingConfig
from model_export.training.run import StopRequest
from model_export.training.schedule import Schedule

LEAST_BYTES = 50_000
"""A smaller corpus teaches no language: a network of this size learns it by heart within seconds."""

_ALWAYS = b"\t\n" + bytes(range(0x20, 0x7F))
_HUNDRED = 100


@dataclass(frozen=True, slots=True)
class TextRecipe:
    """The shape of a network of characters and how much of its text it reads, rows side by side, `time` at a time."""

    layers: int
    units: int
    embedding: int
    megabytes: float
    rows: int = 32
    time: int = 128
    rate: float = 3e-3


def read_corpus(argument: str, include: Sequence[str] = (), *, by_line: bool = False) -> Corpus:
    """What `carousel train --corpus` would read. by_line: each line is a document of its own.

    Raises CorpusError if there is no such place, no text in it, or too little.
    """
    corpus = corpora.load([corpora.resolve(argument, include=include)])
    if by_line:
        corpus = _lines_of(corpus)
    size = sum(len(document.text) for document in corpus.train)
    if size < LEAST_BYTES or not corpus.held_out:
        raise CorpusError(
            f"corpus {argument!r} is too small: {size:,} bytes to train on, at least {LEAST_BYTES:,} are needed"
        )
    return corpus


def _lines_of(corpus: Corpus) -> Corpus:
    """Every line a document; of each line, its text decides whether it is held out, so that no copy is trained on."""
    lines = [line for one in (*corpus.train, *corpus.held_out) for line in one.text.splitlines() if line.strip()]
    name = corpus.statistics[0].name
    documents = [Document(name, hashlib.sha256(line).hexdigest(), line) for line in lines]
    held_out = tuple(one for one in documents if corpora.is_held_out(one.path))
    return replace(
        corpus, train=tuple(one for one in documents if not corpora.is_held_out(one.path)), held_out=held_out
    )


def main_ending(corpus: Corpus) -> str:
    """The ending of most of the bytes' files, such as `.java`."""
    sizes: Counter[str] = Counter()
    for document in corpus.train:
        sizes[PurePosixPath(document.path).suffix] += len(document.text)
    return sizes.most_common(1)[0][0]


def config_for(corpus: Corpus, recipe: TextRecipe) -> NetworkConfig:
    """The network's shape: a symbol for every printable ASCII character, and every other byte that is trained on."""
    present = set(_ALWAYS).union(*(document.text for document in corpus.train))
    return NetworkConfig(Symbols.of_bytes(present), "lstm", recipe.units, recipe.layers, recipe.embedding)


def train_on(corpus: Corpus, recipe: TextRecipe, bench: Bench, what: str) -> Network:
    """Train, or go on with a training that was stopped, and round the weights.

    The checkpoint lies in the bench's folder until the training is over. Main thread only: Ctrl-C ends it early, with a
    checkpoint. Raises TrainingError, then too.
    """
    shape = LanguageModelConfig(layers=recipe.layers, units=recipe.units, embedding=recipe.embedding)
    schedule = Schedule(peak=recipe.rate, total_bytes=max(1, int(recipe.megabytes * 1e6)))
    # What is held out is asked when the training is over, not during it.
    config = TrainingConfig(
        shape, schedule, rows=recipe.rows, time=recipe.time, seed=bench.seed, evaluate_every=math.inf
    )
    asked = hashlib.sha256(f"{json.dumps(config.fingerprint())} {corpus.digest()}".encode()).hexdigest()
    folder = bench.out / f"training-{what}-{asked[:8]}"
    trainer = Trainer(config, corpus, folder)
    trainer.resume()
    shown = int(_HUNDRED * trainer.progress)
    stop = StopRequest()
    with stop.listening(), bench.bar(f"{what}, {recipe.megabytes:g} MB", _HUNDRED - shown) as bar:

        def listen(report: Report) -> None:
            nonlocal shown
            while shown < int(_HUNDRED * report.progress):
                shown += 1
                bar.advance(f"{report.smoothed:.3f} bits a character")

        finished = trainer.run(listen, stop)
    if not finished:
        read = trainer.bytes_seen / 1e6
        raise TrainingError(f"{what}: stopped after {read:.1f} MB; the same command goes on from there")
    network = rounded(network_of(trainer.model, config_for(corpus, recipe)))
    shutil.rmtree(folder)
    return network.eval()


@torch.no_grad()
def network_of(model: LanguageModel, config: NetworkConfig) -> Network:
    """A language model over all bytes as a network over those that are its symbols."""
    network = Network(config)
    tokens = torch.from_numpy(config.symbols.tokens())
    assert int(tokens[END]) == END_BYTE
    network.embedding.weight.copy_(model.embedding.weight[tokens])
    network.head.weight.copy_(model.head.weight[tokens])
    network.head.bias.copy_(model.head.bias[tokens])
    for number, layer in enumerate(network.stack.layers):
        for ours, theirs in (("W", "weight_ih"), ("R", "weight_hh"), ("b", "bias_ih")):
            getattr(layer, ours).copy_(getattr(model.lstm, f"{theirs}_l{number}"))
        layer.b += getattr(model.lstm, f"bias_hh_l{number}")
    return network
