"""Gates, on sentences: a word-level LSTM learns who eats what where, and one sentence is read gate by gate.

What the network has to keep is known, since a grammar makes the sentences (`sentences.py`): the country, the last
person, whether it is what comes after a but, and how many people there were. So its units can be asked for it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from model_export.lab import pictures
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim, Verdict
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.observing import observe
from model_export.lab.sentences import (
    FOODS,
    after_but,
    countries_of,
    country_known,
    draw_text,
    everywhere,
    in_france,
    joined,
    kinds,
    of_a_woman,
    people_so_far,
    pronoun_due,
    vocabulary,
)
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.symbols import END
from model_export.lab.training import Recipe, fit, new_network
from model_export.lab.units import Observed, Ranked, beyond, rank_units
from model_export.lab.words import Words
from service.model.checked import Between, Checked

SENTENCE = "In France, Mary ate her croissant but Frank did not like the wine."
_TESTS = 300
_RATE = 0.03  # of 0.01 and 0.03 that of the less training loss
_MOVES, _HALF, _LITTLE = 0.2, 0.5, 0.1  # of the largest |c|; an open gate; what is hardly added


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """embedding: numbers per word."""

    units: Annotated[int, Between(2, 256)] = 32
    embedding: Annotated[int, Between(2, 128)] = 12
    steps: Annotated[int, Between(1, 50_000)] = 3_000


FRANCE = Claim(
    "france_food",
    "In France, what is eaten is French.",
    "probability of the French foods after 'In France, Mary ate her'",
    0.95,
    digits=3,
    percent=True,
)
ITALY = Claim(
    "italy_food",
    "In Italy, it is Italian.",
    "probability of the Italian foods after 'In Italy, Mary ate her'",
    0.95,
    digits=3,
    percent=True,
)
HER = Claim(
    "her_follows_mary",
    "After 'ate', 'her' follows Mary and 'his' follows Frank.",
    "the lesser of both probabilities, after 'In France, Mary ate' and '... Frank ate'",
    0.9,
    percent=True,
)
BUT = Claim(
    "but_lowers_eating",
    "'but' lowers eating: who comes after it did not.",
    "probability of 'ate' or 'drank' after '... and Frank', less that after '... but Frank'",
    0.5,
)
PEOPLE_UNIT = Claim(
    "people_unit",
    "One unit counts people, and not words.",
    "R^2 of a straight line from its c to the people so far, both less what the number of words so far tells, on "
    "sentences that it was not fitted to",
    0.6,
)
CHANCE = Claim(
    "chance",
    "That is no accident: rotated labels give no unit such a score.",
    "best R^2 of any unit and signal on rotated labels",
    0.3,
    sense="at most",
)
SAID = Claim(
    "number_said",
    "At the end it says how many there were.",
    "share of 300 unseen sentences whose number is the likeliest word",
    0.95,
    percent=True,
)
LARGE = Claim(
    "memory_beyond_one",
    "What is remembered is not held between -1 and 1, as what is shown is.",
    "largest |c| in that sentence",
    1.0,
)
NEIGHBOURS = Claim(
    "neighbours",
    "In the embedding, words that can stand for each other lie together.",
    "share of names, foods and drinks whose nearest neighbour is of the same kind: woman, man, food of any country, "
    "drink of any country",
    0.7,
    percent=True,
)


def train(words: Words, settings: Settings, bench: Bench, config: NetworkConfig) -> Network:
    """Predict every word of generated sentences."""
    network = new_network(config, bench.seed)
    generator = np.random.default_rng(bench.seed)

    def draw(step: int) -> Batch:
        return batch_of([words.encode(draw_text(generator)) for _ in range(48)])

    fit(network, draw, Recipe(settings.steps, rate=_RATE), bench, "gates")
    return network


def probabilities(network: Network, words: Words, text: str) -> dict[str, float]:
    """The next word's distribution after a beginning."""
    batch = batch_of([words.encode(text)])
    shares = network.watch(batch.inputs).scores[-1, 0].softmax(dim=0)
    return {word: float(shares[number]) for number, word in enumerate(words.symbols.entries, start=1)}


@dataclass(frozen=True, slots=True)
class Kept:
    """Something that the network has to keep: what is so at each word, and the words at which it has to know it."""

    label: Callable[[Sequence[str]], NDArray[Any]]
    where: Callable[[Sequence[str]], NDArray[np.bool_]]


KEPT: Mapping[str, Kept] = {
    "France": Kept(in_france, country_known),
    "her, not his": Kept(of_a_woman, pronoun_due),
    "but, not and": Kept(after_but, joined),
    "people": Kept(people_so_far, everywhere),
}


def find_units(network: Network, words: Words, texts: Sequence[str], seed: int) -> dict[str, Ranked]:
    """For each thing that is kept the unit whose memory c tells it best, where it is needed."""
    sequences, cut = [words.encode(text) for text in texts], [words.cut(text) for text in texts]
    seen = observe(network, sequences)
    place = np.concatenate([np.arange(len(sequence)) for sequence in sequences])
    found = {}
    for name, kept in KEPT.items():
        label, where = (np.concatenate([of(one) for one in cut]) for of in (kept.label, kept.where))
        signals = {key: values[where] for key, values in seen.signals.items()}
        asked = (Observed(signals, seen.sequence[where]), label[where])
        if label.dtype != np.bool_:
            asked = beyond(*asked, place[where])
        found[name] = next(one for one in rank_units(*asked, seed=seed) if one.place.letter == "c")
    return found


def nearest(network: Network, words: Words) -> dict[str, list[str]]:
    """The three words nearest to each by the cosine of their embeddings."""
    vectors = torch.nn.functional.normalize(network.embedding.weight.detach()[1:], dim=1)
    near = (vectors @ vectors.T - 2 * torch.eye(len(vectors))).argsort(dim=1, descending=True)[:, :3]
    entries = words.symbols.entries
    return {word: [entries[int(other)] for other in near[place]] for place, word in enumerate(entries)}


def run(bench: Bench, settings: Settings) -> Finding:
    """Answer the claims, then read the sentence."""
    words = vocabulary()
    config = NetworkConfig(words.symbols, units=settings.units, embedding=settings.embedding)
    network = bench.network("gates", config, lambda: train(words, settings, bench, config))
    generator = np.random.default_rng([bench.seed, 7])
    texts = [draw_text(generator) for _ in range(_TESTS)]
    found = find_units(network, words, texts, bench.seed)
    near = nearest(network, words)
    watched = {letter: _signal(network, words, letter) for letter in "ifogch"}
    cut = words.cut(SENTENCE)
    units = {name: one.place.unit for name, one in found.items()}
    verdicts = (
        *measure_words(network, words),
        PEOPLE_UNIT.verdict(found["people"].score, str(found["people"].place)),
        CHANCE.verdict(found["people"].control),
        SAID.verdict(_number_said(network, [words.encode(text) for text in texts])),
        LARGE.verdict(float(np.abs(watched["c"]).max()), f"largest |h| {np.abs(watched['h']).max():.2f}"),
        measure_neighbours(near),
    )
    drawn = (
        Picture("sentence", _draw_sentence(watched, cut, units), _SENTENCE_CAPTION),
        Picture("gates", _draw_gates(watched, cut, units), _GATES_CAPTION),
        Picture("words", _draw_words(network, words), _WORDS_CAPTION),
    )
    details = {
        "units": {
            name: {"place": str(one.place), "score": one.score, "rotated": one.control} for name, one in found.items()
        },
        "nearest": near,
        "reading": read_aloud(network, words, watched, units),
    }
    return Finding(verdicts, drawn, _STORY, details)


def measure_words(network: Network, words: Words) -> list[Verdict]:
    """What is claimed of the words that are expected."""

    def after(text: str, wanted: Sequence[str]) -> float:
        shares = probabilities(network, words, text)
        return sum(shares[word] for word in wanted)

    did = ("ate", "drank")
    eats = {word: after(f"In France, Mary ate her croissant {word} Frank", did) for word in ("and", "but")}
    return [
        FRANCE.verdict(after("In France, Mary ate her", FOODS["France"])),
        ITALY.verdict(after("In Italy, Mary ate her", FOODS["Italy"])),
        HER.verdict(min(after("In France, Mary ate", ["her"]), after("In France, Frank ate", ["his"]))),
        BUT.verdict(eats["and"] - eats["but"], f"{eats['and']:.2f} and {eats['but']:.2f}"),
    ]


def measure_neighbours(near: Mapping[str, Sequence[str]]) -> Verdict:
    """What is claimed of the embedding. near: of each word the nearest, the nearest first."""
    kind_of = kinds()
    alike = [kind_of.get(near[word][0]) == kind for word, kind in kind_of.items()]
    things = [word for word, kind in kind_of.items() if kind in ("food", "drink")]
    at_home = [
        kind_of.get(near[word][0]) == kind_of[word] and bool(countries_of(word) & countries_of(near[word][0]))
        for word in things
    ]
    return NEIGHBOURS.verdict(
        float(np.mean(alike)),
        f"{sum(alike)} of {len(alike)}; of foods and drinks {sum(at_home)} of {len(things)} have a neighbour of the "
        "same kind and country",
    )


def _signal(network: Network, words: Words, letter: str) -> NDArray[Any]:
    """One signal in the sentence, [words, units]."""
    inputs = batch_of([words.encode(SENTENCE)]).inputs
    return np.asarray(network.watch(inputs).signal(0, letter)[1:, 0].numpy())


def _number_said(network: Network, sequences: Sequence[NDArray[np.int64]]) -> float:
    """The share of sentences whose last word, the number, is the likeliest before it is read."""
    wanted = [np.arange(len(sequence) + 1) == len(sequence) - 1 for sequence in sequences]
    batch = batch_of(sequences, wanted)
    right = (network.watch(batch.inputs).scores.argmax(dim=-1) == batch.targets) & batch.counted
    return float(right.sum() / batch.counted.sum())


def read_aloud(
    network: Network, words: Words, watched: Mapping[str, NDArray[Any]], units: Mapping[str, int]
) -> list[dict[str, Any]]:
    """The sentence word by word: signals of the units, what they do in both vocabularies, and what is expected next.

    Of a unit is told each word at which what it keeps changes, and of those at which it has to know it, each that moves
    its c by a fifth or more of the largest |c| that it reaches. Where nothing of this is so, the unit for the country
    is told of: it has to be kept to the end.
    """
    cut = words.cut(SENTENCE)
    scores = network.watch(batch_of([words.encode(SENTENCE)]).inputs).scores[1:, 0]
    steps = []
    told = {name: _told(KEPT[name], cut, watched["c"][:, unit]) for name, unit in units.items()}
    for place, word in enumerate(cut):
        signals = {
            name: {letter: round(float(values[place, unit]), 3) for letter, values in watched.items()}
            for name, unit in units.items()
        }
        before = {name: float(watched["c"][place - 1, unit]) if place else 0.0 for name, unit in units.items()}
        now = [name for name in units if told[name][place]] or [next(iter(units))]
        standard = "<br>".join(f"{name}: {_in_standard_words(before[name], signals[name])}" for name in now)
        plain = "<br>".join(f"{name}: {_in_plain_words(before[name], signals[name])}" for name in now)
        expects = _expected(scores[place], words)
        steps.append({"word": word, "standard": standard, "plain": plain, "expects": expects, "signals": signals})
    return steps


def _told(kept: Kept, words: Sequence[str], memory: NDArray[np.floating]) -> NDArray[np.bool_]:
    """At which words something is told of a unit. memory: its c at each."""
    label = kept.label(words)
    changes = np.diff(label.astype(np.float64), prepend=0) != 0
    moves = np.abs(np.diff(memory, prepend=0)) >= _MOVES * np.abs(memory).max()
    return np.asarray(changes | (kept.where(words) & moves)) if label.dtype == np.bool_ else changes


def _in_standard_words(before: float, one: Mapping[str, float]) -> str:
    """What a unit does at one word: gates, candidate, c and h."""
    return (
        f"f {one['f']:.2f}, i {one['i']:.2f}, g {one['g']:.2f}: c from {_number(before)} to {_number(one['c'])}; "
        f"o {one['o']:.2f}: h {_number(one['h'])}"
    )


def _in_plain_words(before: float, one: Mapping[str, float]) -> str:
    """What a unit does at one word: valves, long-term and working memory."""
    kept = "keeps" if one["f"] > _HALF else "lets go of"
    parts = [f"remember valve {_percent(one['f'])} open: it {kept} what it had"]
    saved = one["i"] * one["g"]
    saves = f"adds {_number(saved)}" if abs(saved) > _LITTLE else "adds nothing"
    parts.append(f"save valve {_percent(one['i'])} open: it {saves} to the long-term memory, {_number(one['c'])} now")
    parts.append(f"focus valve {_percent(one['o'])} open: {_number(one['h'])} in the working memory")
    return "; ".join(parts)


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"  # -0.0 is 0.0


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def _expected(scores: Tensor, words: Words) -> dict[str, float]:
    shares, numbers = scores.softmax(dim=0).topk(3)
    names = ["(end)" if number == END else words.symbols.entries[int(number) - 1] for number in numbers]
    return {name: round(float(share), 3) for name, share in zip(names, shares, strict=True)}


_STORY = (
    "A network reads short sentences, word by word, and guesses the next word each time: In France, Mary ate her "
    "croissant "
    "but Frank did not like the wine. two. To guess well it must keep the country, since it decides the food; the last "
    "person, since it decides between her and his; whether there was a 'but'; and how many people there were.",
    "The gates in plain words: the input gate says what to save, the forget gate what to remember, the output "
    "gate what to "
    "focus on. They are valves on the pipe of the long-term memory c; the working memory h is what comes out.",
)
_SENTENCE_CAPTION = (
    "The sentence in four units, found by what they tell best: that it is France, that her is to come and not his, "
    "that it was but and not and, and how many people there were. Left the gates, from 0, shut, to 1, open; right the "
    "candidate, the long-term memory and the working memory."
)
_GATES_CAPTION = (
    "The same sentence in these units and twelve others: how far the input gate (save), forget gate (remember) and "
    "output gate (focus) are open, from white, shut, to green, open; the candidate, what is remembered, and what is "
    "shown."
)
_WORDS_CAPTION = "The learned vectors of the words, in the two directions in which they vary most."


def _draw_sentence(watched: Mapping[str, NDArray[Any]], cut: Sequence[str], units: Mapping[str, int]) -> Figure:
    figure, axes = pictures.new_figure(len(units), 2, width=17, height=2.5 * len(units))
    rows = {letter: pictures.SIGNAL_NAMES[letter] for letter in "ifogch"}
    for number, (name, unit) in enumerate(units.items()):
        gates, rest = axes[2 * number : 2 * number + 2]
        for place, letters in ((gates, "ifo"), (rest, "gch")):
            values = np.stack([watched[letter][:, unit] for letter in letters])
            names, title = [rows[letter] for letter in letters], f"{name}: unit {unit}"
            # Colours of c end where those of g and h do: what is larger is in the numbers.
            pictures.draw_map(
                place, values, columns=cut, rows=names, title=title, limit=1.0, gates=place is gates, numbers=True
            )
    return figure


def _draw_gates(watched: Mapping[str, NDArray[Any]], cut: Sequence[str], units: Mapping[str, int]) -> Figure:
    figure, axes = pictures.new_figure(3, 2, width=14, height=13)
    named = {unit: f"{name} {unit}" for name, unit in units.items()}
    largest = np.argsort(-np.abs(watched["c"]).max(axis=0))
    order = [*named, *[int(unit) for unit in largest if int(unit) not in named][:_OTHERS]]
    rows = [named.get(unit, str(unit)) for unit in order]
    for place, letter in zip(axes, "igfcoh", strict=True):
        limit, title = None if letter == "c" else 1.0, pictures.SIGNAL_NAMES[letter]
        values = watched[letter][:, order].T
        pictures.draw_map(place, values, columns=cut, rows=rows, title=title, limit=limit, gates=letter in "ifo")
    return figure


_OTHERS = 12
_COLOURS = {"woman": pictures.RED, "man": pictures.BLUE, "food": pictures.GREEN, "drink": pictures.ORANGE}


def _draw_words(network: Network, words: Words) -> Figure:
    figure, axes = pictures.new_figure(width=11, height=7.5)
    vectors = network.embedding.weight.detach().numpy()[1:]
    centred = vectors - vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    kind_of, entries = kinds(), words.symbols.entries
    axes[0].set_title("words: women red, men blue, foods green, drinks orange", loc="left")
    colours = [_COLOURS.get(kind_of.get(word, ""), pictures.GREY) for word in entries]
    pictures.name_points(axes[0], centred @ directions[:2].T, entries, colours)
    return figure


def tests(settings: Settings) -> Batch:
    """What a unit is held on: texts that are drawn, and each of their words."""
    generator, words = np.random.default_rng(7), vocabulary()
    return batch_of([words.encode(draw_text(generator)) for _ in range(100)])


EXPERIMENT = Experiment(
    name="gates",
    title="Gates: a sentence, word by word",
    question="What do the gates of an LSTM do while it reads a sentence?",
    source="After Christopher Olah, Understanding LSTM Networks (2015), and Shi Yan's valves (2016).",
    settings=Settings(),
    claims=(FRANCE, ITALY, HER, BUT, PEOPLE_UNIT, CHANCE, SAID, LARGE, NEIGHBOURS),
    run=run,
    serves=(Served("gates", "In France, Mary ate her", "the three likeliest words are what one eats there"),),
    looked=Looked("gates", SENTENCE, lambda settings: (settings.units,), tests=tests),
)
