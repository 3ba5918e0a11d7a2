"""Gates, on sentences: a word-level LSTM learns who eats what where, and one sentence is read gate by gate.

The sentences are made by a small grammar: In a country some people do something, perhaps another does not, and it is
said how many there were. What the network has to keep is known, so that its units can be asked for it.
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
from model_export.lab.claims import Claim
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.network import Network, NetworkConfig
from model_export.lab.observing import observe
from model_export.lab.sequences import Batch, batch_of
from model_export.lab.symbols import END
from model_export.lab.training import Recipe, fit, new_network
from model_export.lab.units import beyond, rank_units
from model_export.lab.words import Words
from service.model.checked import Between, Checked

FOODS: Mapping[str, tuple[str, ...]] = {
    "France": ("croissant", "baguette", "quiche"),
    "Italy": ("pizza", "pasta", "risotto"),
    "Japan": ("sushi", "ramen", "tempura"),
}
DRINKS: Mapping[str, tuple[str, ...]] = {
    "France": ("wine", "cider"),
    "Italy": ("wine", "espresso"),
    "Japan": ("sake", "tea"),
}
WOMEN, MEN = ("Mary", "Anna", "Julia"), ("Frank", "John", "Peter")
PEOPLE = (*WOMEN, *MEN)
WHEN = ("", "today", "at noon", "in the evening", "on the way home with some friends")  # so that words tell few people
NUMBERS = ("one", "two", "three")
SENTENCE = "In France, Mary ate her croissant but Frank did not like the wine."
_TESTS = 300
_SAMPLE = 2_000  # sentences in which every word occurs


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
    "share of names, foods and drinks whose nearest neighbour is of the same kind",
    0.7,
    percent=True,
)


def draw_text(generator: np.random.Generator) -> str:
    """One sentence and how many people were in it."""

    def one(choices: Sequence[str]) -> str:
        return str(generator.choice(list(choices)))

    country = one(list(FOODS))
    count = int(generator.integers(1, len(NUMBERS) + 1))
    people = [str(name) for name in generator.permutation(PEOPLE)[:count]]
    parts = [f"In {country}, {_did(one, country, people[0])}"]
    for name in people[1:]:
        if generator.random() < 0.5:
            parts.append(f"and {_did(one, country, name)}")
        else:
            thing = one((*FOODS[country], *DRINKS[country]))
            parts.append(f"but {name} did not like the {thing}")
    return " ".join(parts) + f". {NUMBERS[count - 1]}"


def _did(one: Callable[[Sequence[str]], str], country: str, name: str) -> str:
    whose = "her" if name in WOMEN else "his"
    verb, things = ("ate", FOODS) if one(("eat", "drink")) == "eat" else ("drank", DRINKS)
    when = one(WHEN)
    return f"{name} {verb} {whose} {one(things[country])}" + (f" {when}" if when else "")


def vocabulary() -> Words:
    """All words of the grammar."""
    generator = np.random.default_rng(0)
    return Words.of([draw_text(generator) for _ in range(_SAMPLE)])


def train(words: Words, settings: Settings, bench: Bench, config: NetworkConfig) -> Network:
    """Predict every word of generated sentences."""
    network = new_network(config, bench.seed)
    generator = np.random.default_rng(bench.seed)

    def draw(step: int) -> Batch:
        return batch_of([words.encode(draw_text(generator)) for _ in range(48)])

    fit(network, draw, Recipe(settings.steps), bench, "gates")
    return network


def probabilities(network: Network, words: Words, text: str) -> dict[str, float]:
    """The next word's distribution after a beginning."""
    batch = batch_of([words.encode(text)])
    shares = network.watch(batch.inputs).scores[-1, 0].softmax(dim=0)
    return {word: float(shares[number]) for number, word in enumerate(words.symbols.entries, start=1)}


def people_so_far(words: Sequence[str]) -> NDArray[np.float64]:
    """At each word, how many people have been named."""
    return np.cumsum([word in PEOPLE for word in words]).astype(np.float64)


def kinds() -> dict[str, str]:
    """The kind of each word whose kind is plain."""
    groups: dict[str, tuple[str, ...]] = {"woman": WOMEN, "man": MEN}
    groups |= {f"food of {country}": foods for country, foods in FOODS.items()}
    return {word: kind for kind, members in groups.items() for word in members}


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
    sequences = [words.encode(text) for text in texts]
    seen = observe(network, sequences)
    label = np.concatenate([people_so_far(words.cut(text)) for text in texts])
    place = np.concatenate([np.arange(len(sequence)) for sequence in sequences])
    ranked = rank_units(*beyond(seen, label, place), seed=bench.seed)
    counter = next(one for one in ranked if one.place.letter == "c")
    near = nearest(network, words)
    kind_of = kinds()
    alike = [kind_of.get(near[word][0], "").split()[:1] == kind.split()[:1] for word, kind in kind_of.items()]
    cut = words.cut(SENTENCE)
    watched = {letter: _signal(network, words, letter) for letter in "ifogch"}

    def after(text: str, wanted: Sequence[str]) -> float:
        shares = probabilities(network, words, text)
        return sum(shares[word] for word in wanted)

    did = ("ate", "drank")
    eats = {word: after(f"In France, Mary ate her croissant {word} Frank", did) for word in ("and", "but")}
    verdicts = (
        FRANCE.verdict(after("In France, Mary ate her", FOODS["France"])),
        ITALY.verdict(after("In Italy, Mary ate her", FOODS["Italy"])),
        HER.verdict(min(after("In France, Mary ate", ["her"]), after("In France, Frank ate", ["his"]))),
        BUT.verdict(eats["and"] - eats["but"], f"{eats['and']:.2f} and {eats['but']:.2f}"),
        PEOPLE_UNIT.verdict(counter.score, str(counter.place)),
        CHANCE.verdict(counter.control),
        SAID.verdict(_number_said(network, sequences)),
        LARGE.verdict(float(np.abs(watched["c"]).max()), f"largest |h| {np.abs(watched['h']).max():.2f}"),
        NEIGHBOURS.verdict(
            float(np.mean(alike)), f"Mary: {', '.join(near['Mary'])}; pizza: {', '.join(near['pizza'])}"
        ),
    )
    unit = counter.place.unit
    drawn = (
        Picture("sentence", _draw_sentence(watched, cut, unit), _SENTENCE_CAPTION.format(unit=unit)),
        Picture("gates", _draw_gates(watched, cut), _GATES_CAPTION),
        Picture("words", _draw_words(network, words), _WORDS_CAPTION),
    )
    return Finding(verdicts, drawn, _STORY, {"nearest": near, "reading": _told(network, words, watched, cut, unit)})


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


def _told(
    network: Network, words: Words, watched: Mapping[str, NDArray[Any]], cut: Sequence[str], unit: int
) -> list[dict[str, Any]]:
    """The sentence word by word: the unit's gates, and what is expected next."""
    scores = network.watch(batch_of([words.encode(SENTENCE)]).inputs).scores[1:, 0]
    steps = []
    for place, word in enumerate(cut):
        gates = {letter: round(float(values[place, unit]), 3) for letter, values in watched.items()}
        steps.append({"word": word, **gates, "expects": _expected(scores[place], words)})
    return steps


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
    "Unit {unit}, the one that goes with the number of people, through the sentence: memory, then gates."
)
_GATES_CAPTION = (
    "The same sentence in all units: how far the input gate (save), forget gate (remember) and output gate "
    "(focus) are open, "
    "and what is then remembered."
)
_WORDS_CAPTION = "The learned vectors of the words, in the two directions in which they vary most."


def _draw_sentence(watched: Mapping[str, NDArray[Any]], cut: Sequence[str], unit: int) -> Figure:
    figure, axes = pictures.new_figure(2, 1, width=10, height=6.5)
    pictures.draw_signals(axes[0], {k: watched[k][:, unit] for k in "ch"}, cut, f"unit {unit}")
    pictures.draw_signals(axes[1], {k: watched[k][:, unit] for k in "ifog"}, cut, "its gates and its candidate")
    return figure


def _draw_gates(watched: Mapping[str, NDArray[Any]], cut: Sequence[str]) -> Figure:
    figure, axes = pictures.new_figure(2, 2, width=12, height=8)
    order = np.argsort(-np.abs(watched["c"]).max(axis=0))[:16]
    rows = [str(unit) for unit in order]
    for place, letter in zip(axes, "ifoc", strict=True):
        values = watched[letter][:, order].T
        limit = None if letter == "c" else 1.0
        pictures.draw_map(place, values, columns=cut, rows=rows, title=pictures.SIGNAL_NAMES[letter], limit=limit)
    return figure


def _draw_words(network: Network, words: Words) -> Figure:
    figure, axes = pictures.new_figure(width=9, height=6)
    vectors = network.embedding.weight.detach().numpy()[1:]
    centred = vectors - vectors.mean(axis=0)
    _, _, directions = np.linalg.svd(centred, full_matrices=False)
    points = centred @ directions[:2].T
    kind_of = kinds()
    colours = {"woman": pictures.RED, "man": pictures.BLUE, "food": pictures.GREEN}
    for word, (x, y) in zip(words.symbols.entries, points, strict=True):
        colour = colours.get(kind_of.get(word, "").split(" ")[0], pictures.GREY)
        axes[0].scatter(x, y, color=colour, s=14)
        axes[0].annotate(word, (x, y), xytext=(4, 2), textcoords="offset points", fontsize=8, color=colour)
    axes[0].set_title("words: women red, men blue, foods green")
    return figure


EXPERIMENT = Experiment(
    name="gates",
    title="Gates: a sentence, word by word",
    question="What do the gates of an LSTM do while it reads a sentence?",
    source="After Christopher Olah, Understanding LSTM Networks (2015), and Shi Yan's valves (2016).",
    settings=Settings(),
    claims=(FRANCE, ITALY, HER, BUT, PEOPLE_UNIT, CHANCE, SAID, LARGE, NEIGHBOURS),
    run=run,
    serves=(Served("gates", "In France, Mary ate her", "the three likeliest words are what one eats there"),),
    looked=Looked("gates", SENTENCE, lambda settings: (settings.units,)),
)
