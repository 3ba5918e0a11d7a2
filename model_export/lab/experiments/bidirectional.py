"""Filling a blank: a byte is missing, what follows it is known (Schuster & Paliwal 1997; Graves & Schmidhuber 2005).

In a text from the standard library of Python some bytes are blanks. One LSTM has read what stands left of them; a
bidirectional one of as many parameters has read the right side, too. Whoever types has nothing on the right.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray

from model_export.folder import GRAPH_FILES
from model_export.graph_session import open_session
from model_export.graphs import contract
from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Picture
from model_export.lab.experiments import variants
from model_export.lab.network import Network, NetworkConfig, learned_parameters, widest
from model_export.lab.rates import Training, at_the_better_rate
from model_export.lab.sequences import IGNORED, Batch
from model_export.lab.symbols import Symbols
from model_export.lab.texts import ASCII, Texts, read
from model_export.lab.training import fit, new_network
from service.model.checked import Between, Checked

BLANK = "\x1a"  # ASCII's SUBSTITUTE: stands for a character that is not known
LETTERS = Symbols((*ASCII.entries, BLANK))
_BLANK = LETTERS.number(BLANK)
CELLS = {"left side": "lstm", "both sides": "bidirectional-lstm"}
ROWS, WINDOW = 32, 64
_BLANKS = 0.15  # of the bytes of a window in training
_LEFT = 32  # bytes left of the one blank in a test
RIGHT = (0, 1, 2, 4, 8, 16, 31)  # bytes known on its right
_TESTS = 2_000
EMBEDDING = 24
HELD_OUT_EACH = 8192
EXAMPLES = (
    "    for index in ran\x1ae(10):\n",
    "    for index in \x1aange(10):\n",
    "import os\nimport \x1ays\n",
    "def read(self, siz\x1a=-1):\n",
    "        return self.__clas\x1a__.__name__\n",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """parameters: of each network, at most.

    seeds: networks of each kind.  steps: of training, 2,048 bytes each.
    """

    parameters: Annotated[int, Between(5_000, 2_000_000)] = 50_000
    seeds: Annotated[int, Between(1, 20)] = 3
    steps: Annotated[int, Between(10, 100_000)] = 5_000


SIDE = Claim(
    "right_side_helps",
    "Who knows what follows fills more blanks right.",
    "share of blanks filled right with both sides less that with the left side alone, as many parameters",
    0.15,
    digits=3,
    percent=True,
)
BITS = Claim(
    "bits_of_a_blank",
    "It is far less surprised.",
    "bits per blank with both sides, over those with the left side",
    0.6,
    sense="at most",
)
ONE_BYTE = Claim(
    "one_byte_is_half",
    "The very next byte brings half of that.",
    "share of the gain that is there when one byte on the right is known",
    0.5,
    percent=True,
)
FIRST = Claim(
    "first_letters_gain",
    "First letters of words gain more than those within: the left side says little of them.",
    "gain at first letters less gain within words",
    0.0,
    digits=3,
    percent=True,
)
NOTHING = Claim(
    "nothing_right_nothing_gained",
    "Where nothing follows, as where someone types, it is no better.",
    "share filled right with both sides less that with the left side, nothing standing on the right",
    0.02,
    sense="at most",
    digits=3,
    percent=True,
)
EXPORTED = Claim(
    "exported",
    "It runs outside of torch just so.",
    "largest difference of a log-probability between torch and onnxruntime",
    1e-4,
    sense="at most",
    digits=7,
)


def configs(settings: Settings) -> dict[str, NetworkConfig]:
    """Both networks, as wide as the parameters allow."""
    return {
        name: widest(NetworkConfig(LETTERS, cell=cell, embedding=EMBEDDING), settings.parameters)
        for name, cell in CELLS.items()
    }


def windows(documents: Sequence[NDArray[np.int64]], count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Pieces of documents, int64 [count, WINDOW], every place being as likely."""
    long = [one for one in documents if len(one) >= WINDOW]
    places = np.array([len(one) - WINDOW + 1 for one in long])
    chosen = generator.choice(len(long), count, p=places / places.sum())
    starts = [int(generator.integers(places[number])) for number in chosen]
    return np.stack([long[n][start : start + WINDOW] for n, start in zip(chosen, starts, strict=True)])


def blanked(rows: NDArray[np.int64], blanks: NDArray[np.bool_]) -> Batch:
    """Rows [rows, time] with blanks; what is to be said at a blank is the byte that stood there."""
    inputs, targets = np.where(blanks, _BLANK, rows), np.where(blanks, rows, IGNORED)
    return Batch(torch.from_numpy(inputs.T.copy()), torch.from_numpy(targets.T.copy()))


def measure(bench: Bench, settings: Settings) -> dict[str, Any]:
    """By kind of network: units, parameters, and a list over the seeds of what `examine` gives."""
    texts = read(variants.corpus_of(bench), least_bytes=ROWS * WINDOW * settings.steps, held_out_each=HELD_OUT_EACH)
    found: dict[str, dict[str, Any]] = {}
    for name, config in configs(settings).items():
        train = partial(_trained, config, texts, bench)
        rate, trained = at_the_better_rate(
            bench, variants.of_one(bench, settings), name, train, steps=settings.steps, seeds=settings.seeds
        )
        found[name] = {
            "units": config.units,
            "parameters": learned_parameters(config),
            "rate": rate,
            "examined": [one["examined"] for one in trained],
            **{what: trained[0][what] for what in ("fills", "parity") if what in trained[0]},
        }
    return {"networks": found, "corpus_sha256": texts.sha256, "train_bytes": texts.train_bytes}


def _trained(config: NetworkConfig, texts: Texts, bench: Bench, training: Training) -> dict[str, Any]:
    """One training, and what its network fills in; if its loss is worth it, examples, and it is exported."""
    network, generator = new_network(config, training.seed), np.random.default_rng(training.seed)

    def draw(step: int) -> Batch:
        rows = windows(texts.train, ROWS, generator)
        return blanked(rows, generator.random(rows.shape) < _BLANKS)

    loss = fit(network, draw, training.recipe, bench, training.what)
    found: dict[str, Any] = {"loss": loss, "examined": examine(network, texts.held_out)}
    if loss < training.beat:
        found["fills"] = [fillings(network, text) for text in EXAMPLES]
        if not network.stack.causal:
            found["parity"] = parity(network, bench.keep("bidirectional", network))
    return found


@torch.no_grad()
def examine(network: Network, documents: Sequence[NDArray[np.int64]]) -> dict[str, Any]:
    """One blank in each of 2,000 pieces of text: the share filled right and the bits, a list over RIGHT, the bytes
    known on its right; first and within, the shares at the first letters of words and at their others, all known.
    """
    rows = windows(documents, _TESTS, np.random.default_rng(7))
    wanted = torch.from_numpy(rows[:, _LEFT].copy())
    right, bits = [], []
    for known in RIGHT:
        piece = rows[:, : _LEFT + 1 + known].copy()
        piece[:, _LEFT] = _BLANK
        scores = network.scores(torch.from_numpy(piece.T.copy()))[_LEFT]
        hits = (scores.argmax(dim=1) == wanted).numpy()
        right.append(float(hits.mean()))
        bits.append(float(torch.nn.functional.cross_entropy(scores, wanted)) / math.log(2))
    of_words = [[_in_word(number) for number in row] for row in rows[:, _LEFT - 1 : _LEFT + 1]]
    first = np.array([not before and here for before, here in of_words])
    within = np.array([before and here for before, here in of_words])
    return {"right": right, "bits": bits, "first": float(hits[first].mean()), "within": float(hits[within].mean())}


def _in_word(number: int) -> bool:
    entry = LETTERS.entries[int(number) - 1]
    return entry.isalnum() or entry == "_"


@torch.no_grad()
def fillings(network: Network, text: str, count: int = 3) -> list[tuple[str, float]]:
    """The likeliest bytes for the blank of a text, with their probabilities."""
    numbers = torch.from_numpy(LETTERS.encode(text))[:, None]
    likeliest = network.scores(numbers)[text.index(BLANK), 0].softmax(dim=0).topk(count)
    return [(LETTERS.decode([int(n)])[0], float(p)) for p, n in zip(likeliest.values, likeliest.indices, strict=True)]


@torch.no_grad()
def parity(network: Network, folder: Path) -> float:
    """The largest difference of a log-probability at any place of 16 random texts, torch against onnxruntime."""
    generator = np.random.default_rng(0)
    numbers = generator.integers(0, LETTERS.size, (WINDOW, 16))
    session = open_session((folder / GRAPH_FILES["fp32"]).read_bytes())
    feeds = {contract.TOKENS: LETTERS.tokens()[numbers], contract.POSITIONS: np.arange(WINDOW)}
    (found,) = session.run([contract.LOG_PROBABILITIES], feeds)
    wanted = network.scores(torch.from_numpy(numbers)).log_softmax(dim=-1).numpy()
    return float(np.abs(found[..., LETTERS.tokens()] - wanted).max())


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims from trainings that were kept, or new ones."""
    measured = bench.measured(variants.asked_of(bench, settings), lambda: measure(bench, settings))
    left, both = (measured["networks"][name] for name in CELLS)
    right_left, right_both = _mean(left, "right"), _mean(both, "right")
    bits_left, bits_both = _mean(left, "bits"), _mean(both, "bits")
    gain = right_both - right_left
    at_first, within = (_mean(both, what) - _mean(left, what) for what in ("first", "within"))
    verdicts = (
        SIDE.verdict(float(gain[-1]), f"{right_both[-1]:.1%} against {right_left[-1]:.1%}"),
        BITS.verdict(bits_both[-1] / bits_left[-1], f"{bits_both[-1]:.2f} against {bits_left[-1]:.2f}"),
        ONE_BYTE.verdict(
            gain[RIGHT.index(1)] / gain[-1] if gain[-1] > 0 else float("nan"),
            f"{gain[RIGHT.index(1)]:.1%} of {gain[-1]:.1%}",
        ),
        FIRST.verdict(float(at_first - within), f"{at_first:.1%} against {within:.1%}"),
        NOTHING.verdict(float(gain[0]), f"{right_both[0]:.1%} against {right_left[0]:.1%}"),
        EXPORTED.verdict(both["parity"]),
    )
    made = (
        Picture("right-side", _draw_right(left, both), _RIGHT_CAPTION),
        Picture("blanks", _draw_blanks(left, both), _BLANKS_CAPTION),
    )
    return Finding(verdicts, made, _STORY, measured)


def _mean(network: Mapping[str, Any], what: str) -> NDArray[np.float64]:
    return np.asarray(np.mean([one[what] for one in network["examined"]], axis=0))


_STORY = (
    "What stands at a place often depends on what comes after it. Two LSTMs, one reading from the left and one from "
    "the right, meet at the blank; together they have as many numbers to learn as the one that reads from the left "
    "alone.",
    "This is for texts that are there already: to mend, to check, to fill in. Where somebody types, there is no right "
    "side yet; and if there were, all that was computed would change with every keystroke. So it is exported, and not "
    "served.",
)
_RIGHT_CAPTION = "The share of blanks filled right, by how many bytes on the right are known; dots are seeds."
_BLANKS_CAPTION = "What each network would fill in, and how sure it is."


def _draw_right(left: Mapping[str, Any], both: Mapping[str, Any]) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=4)
    places = range(len(RIGHT))
    for name, one, colour in (("both sides", both, pictures.BLUE), ("left side", left, pictures.GREY)):
        axes[0].plot(places, _mean(one, "right"), color=colour, label=name)
        for examined in one["examined"]:
            axes[0].plot(places, examined["right"], ".", color=colour)
    axes[0].set_xticks(places, [str(known) for known in RIGHT])
    axes[0].set(xlabel="bytes known on the right", ylabel="share filled right", ylim=(0, 1), title="filling a blank")
    axes[0].legend()
    return figure


def _draw_blanks(left: Mapping[str, Any], both: Mapping[str, Any]) -> Figure:
    figure, (axes,) = pictures.new_figure(width=9, height=3.2)
    axes.axis("off")
    cells = [
        [text.strip("\n").replace("\n", "\u21b5").replace(BLANK, "\u25a1"), _listed(of_left), _listed(of_both)]
        for text, of_left, of_both in zip(EXAMPLES, left["fills"], both["fills"], strict=True)
    ]
    header = ["text", *CELLS]
    table = axes.table(
        cells, colLabels=header, cellLoc="left", colLoc="left", loc="center", colWidths=[0.44, 0.28, 0.28]
    )
    table.auto_set_font_size(False)
    table.set_fontsize(9)
    table.scale(1, 1.7)
    for (row, column), cell in table.get_celld().items():
        cell.set_edgecolor("#dddddd")
        cell.set_text_props(
            family="DejaVu Sans Mono" if row and not column else None, weight="normal" if row else "bold"
        )
    return figure


def _listed(fills: Sequence[tuple[str, float]]) -> str:
    return ", ".join(f"{letter!r} {probability:.0%}" for letter, probability in fills)


EXPERIMENT = Experiment(
    name="bidirectional",
    title="Both sides of a blank",
    question="What does a network gain that has read what follows, too?",
    source="Schuster & Paliwal (1997); Graves & Schmidhuber (2005).",
    settings=Settings(),
    claims=(SIDE, BITS, ONE_BYTE, FIRST, NOTHING, EXPORTED),
    run=run,
    corpus="may",
)
