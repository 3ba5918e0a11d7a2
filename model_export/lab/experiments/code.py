"""Code: three layers of characters learn to write Java, and three more Python (after Karpathy 2015 and Chen 2017).

What they write is measured: the order of a file, brackets, indentation, what methods return, names that nobody
declared. What their units stand for is measured on files that no training saw, and which of them are used by holding
them still.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Annotated

from matplotlib.figure import Figure

from model_export.errors import TrainingError
from model_export.lab import pictures, sampling
from model_export.lab.bench import Bench
from model_export.lab.character_units import CAPTION, Found, Property, Reading, draw_text
from model_export.lab.claims import Claim, Verdict
from model_export.lab.experiment import Experiment, Finding, Looked, Picture, Served
from model_export.lab.network import Network
from model_export.lab.reading import java, lexed, python
from model_export.lab.reading.held_out_files import held_out
from model_export.lab.reading.lexed import Share
from model_export.lab.training_on_text import TextRecipe, config_for, main_ending, read_corpus, train_on
from service.model.checked import Between, Checked

JAVA, PYTHON = "java", "python"
_NETWORKS = {JAVA: "code", PYTHON: "code-python"}
_ENDINGS = {".java": JAVA, ".py": PYTHON}
_WAY_OUT = (
    "code: to train again, say on what: `apt-get source libcommons-lang3-java`, then `carousel lab code "
    "--full --corpus libcommons-lang3-java-3.12.0`; or `--corpus package:networkx`, or any other folder of code"
)
_LAYERS = 3
_ROWS, _TIME = 16, 256  # fewer rows of longer chunks than posts': comments and blocks are longer than a post
_SAMPLES_SEED = 1_000
_READ = 6_000  # characters of each file that bits are measured on
_START, _LENGTH, _EVERY = 1_000, 250, 800  # characters of each file: before the units are asked, asked about, between
_SHOWN, _TOLD, _LINES = 3, slice(800, 1_800), 4
_SLACK = 1_500  # characters in which a block may still be open at the end of a sample


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(Checked):
    """megabytes: how much is read in training.  samples: texts that each network writes, each of up to `length`."""

    units: Annotated[int, Between(4, 256)] = 128
    embedding: Annotated[int, Between(1, 128)] = 32
    megabytes: Annotated[float, Between(0.001, 10_000)] = 140.0
    samples: Annotated[int, Between(2, 1_000)] = 48
    length: Annotated[int, Between(500, 20_000)] = 4_000
    temperature: Annotated[float, Between(0.1, 2.0)] = 0.6


def _share(key: str, says: str, figure: str, bar: float) -> Claim:
    return Claim(key, says, figure, bar, percent=True)


BITS = Claim("java_bits", "It has learnt Java.", "bits a character on files that it never saw", 1.2, sense="at most")
OPENS = _share(
    "opens_in_order",
    "A file opens as they all do: licence, package, imports, class.",
    "share of the samples that begin with a licence and one package, then imports if there are any, then a type",
    0.7,
)
PARAMS = _share(
    "param_before_return",
    "In Javadoc, @param stands before @return.",
    "share of the Javadoc comments with both in which it does",
    0.9,
)
RETURNS = _share(
    "returns",
    "Methods that are not void end in a return.",
    "share of such methods, neither empty nor cut short, that cannot run off their end",
    0.8,
)
TESTS = _share("tests_appear", "Test methods appear.", "share of the samples with a method marked @Test", 0.2)
BRACKETS = _share(
    "brackets",
    "Brackets balance.",
    "share of the closing brackets, outside of comments and strings, that close the one opened last",
    0.97,
)
BLOCKS = _share(
    "blocks_close",
    "Blocks that are opened are closed.",
    f"share of the blocks opened inside of another, {_SLACK:,} characters or more before the end, that are closed",
    0.9,
)
INDENTED = _share(
    "indentation",
    "The indentation is right.",
    "share of the lines that begin a statement with four spaces for each open brace",
    0.9,
)
UNDEFINED = _share(
    "undefined_names",
    "But names appear that nobody declared.",
    "share of the variables read in methods that nothing in the sample declares",
    0.1,
)
PYTHON_BITS = Claim(
    "python_bits", "The other has learnt Python.", "bits a character on files that it never saw", 1.8, sense="at most"
)
PARSES = _share("parses", "Python takes what it defines.", "share of the definitions at the margin that parse", 0.5)
PYTHON_INDENTED = _share(
    "python_indentation",
    "Its indentation is right.",
    "share of the lines that begin a statement: deeper after a colon, else as deep as an open block",
    0.95,
)
PYTHON_BRACKETS = _share("python_brackets", "Its brackets balance.", "the same share as of Java's brackets", 0.95)
SELF = _share("self_first", "Methods take self.", "share of the methods, static ones left out, that do", 0.9)
PYTHON_UNDEFINED = _share(
    "python_undefined_names",
    "Here, too, names appear that nobody bound.",
    "share of the global names in definitions that parse",
    0.1,
)
DEPTH = Claim(
    "depth_unit",
    "There is a unit for how deep the code is indented.",
    "R^2 of a straight line from a unit's h or c to the open braces, on files that it was not fitted to",
    0.5,
)
TAB_STOP = Claim(
    "tab_stop_unit",
    "There is a unit that counts the spaces to the next tab stop.",
    "R^2 of a unit's h or c within the leading spaces of a line, on files that it was not fitted to",
    0.5,
)
COMMENT = Claim(
    "comment_unit",
    "There is a unit that says: inside a comment.",
    "balanced accuracy of a unit's h or c, on files that it was not fitted to",
    0.9,
)
STRING = Claim(
    "string_unit",
    "There is a unit that says: inside a string.",
    "balanced accuracy of a unit's h or c, on files that it was not fitted to",
    0.9,
)
CHANCE = Claim(
    "beyond_chance",
    "None of the four is an accident.",
    "the least of their leads over the best of all units on rotated labels",
    0.1,
)
USED = Claim(
    "used",
    "The four are used: held still, they are missed more than others.",
    "how many of the four cost more bits where they tell something than each of five other units of their layer",
    3,
    digits=0,
)
PYTHON_UNITS = Claim(
    "python_units",
    "Python has such units, too.",
    "how many of the same four properties have a unit that reaches its bar there",
    3,
    digits=0,
)


def properties(language: str) -> tuple[Property, ...]:
    """What is looked for in the units: labels of each character, and the characters where the question makes sense."""
    read = partial(lexed.lexed, language=language)
    deep = lexed.line_depth if language == PYTHON else (lambda text: lexed.depth(read(text).code))
    return (
        Property("depth", deep, lambda text: ~lexed.leading(text) & ~read(text).comment),
        Property("tab_stop", lexed.to_tab_stop, lexed.leading),
        Property("comment", lambda text: read(text).comment),
        Property("string", lambda text: read(text).string, lambda text: ~read(text).comment),
    )


_BARS = {"depth": DEPTH, "tab_stop": TAB_STOP, "comment": COMMENT, "string": STRING}


@dataclass(frozen=True, slots=True)
class Written:
    """What a network wrote, and a measure of all of it."""

    texts: tuple[str, ...]

    def share(self, measure: Callable[[str], Share]) -> Share:
        """All texts together."""
        return sum(map(measure, self.texts), Share(0, 0))


def networks(bench: Bench, settings: Settings) -> dict[str, Network]:
    """The network of each language: trained on the corpus that was given, if it is of that language, or shipped.

    Raises TrainingError or CorpusError before any training.
    """
    if bench.full and bench.corpus is None:
        raise TrainingError(_WAY_OUT)
    shipped = replace(bench, full=False, corpus=None)
    if bench.corpus is None:
        return {language: shipped.kept(name) for language, name in _NETWORKS.items()}
    corpus = read_corpus(bench.corpus)
    language = _ENDINGS.get(ending := main_ending(corpus))
    if language is not None:  # of code its own files alone: no notes, no build files
        corpus = read_corpus(bench.corpus, (f"*{ending}",))
    trained = language or JAVA
    others = {language: shipped.kept(name) for language, name in _NETWORKS.items() if language != trained}
    shape = TextRecipe(_LAYERS, settings.units, settings.embedding, settings.megabytes, rows=_ROWS, time=_TIME)
    name = _NETWORKS[trained]
    training = partial(train_on, corpus, shape, bench, name)
    network = replace(bench, full=True).network(name, config_for(corpus, shape), training)
    return {language: others.get(language, network) for language in _NETWORKS}


def measure_java(written: Written, real: Written) -> list[Verdict]:
    """What is claimed of the Java that a network wrote; the same of files that people wrote stands beside it."""

    def brackets(text: str) -> Share:
        return lexed.brackets(lexed.lexed(text).code)

    def blocks(text: str) -> Share:
        return lexed.blocks(lexed.lexed(text).code, slack=_SLACK)

    def opens(text: str) -> Share:
        return Share(int(java.opens_in_order(text)), 1)

    def has_test(text: str) -> Share:
        return Share(int(java.test_methods(text).right > 0), 1)

    measures = (
        (OPENS, opens),
        (PARAMS, java.param_before_return),
        (RETURNS, java.returns),
        (TESTS, has_test),
        (BRACKETS, brackets),
        (BLOCKS, blocks),
        (INDENTED, java.indentation),
        (UNDEFINED, java.undefined_names),
    )
    return [_beside(claim, measure, written, real) for claim, measure in measures]


def measure_python(written: Written, real: Written) -> list[Verdict]:
    """What is claimed of the Python that a network wrote."""

    def brackets(text: str) -> Share:
        return lexed.brackets(lexed.lexed(text, PYTHON).code)

    measures = (
        (PARSES, python.parses),
        (PYTHON_INDENTED, python.indentation),
        (PYTHON_BRACKETS, brackets),
        (SELF, python.methods_with_self),
        (PYTHON_UNDEFINED, python.undefined_names),
    )
    return [_beside(claim, measure, written, real) for claim, measure in measures]


def _beside(claim: Claim, measure: Callable[[str], Share], written: Written, real: Written) -> Verdict:
    found, usual = written.share(measure), real.share(measure)
    return claim.verdict(found.value, f"{found}; in people's files {claim.show(usual.value)}")


def measure_units(found: Mapping[str, dict[str, Found]]) -> list[Verdict]:
    """What is claimed of the units. found: of each language, the unit for each property."""
    ours = found[JAVA]
    verdicts = [
        claim.verdict(ours[name].best.score, str(ours[name].best.place)) if name in ours else claim.verdict(math.nan)
        for name, claim in _BARS.items()
    ]
    leads = {name: one.lead for name, one in ours.items()}
    least = min(leads, key=lambda name: leads[name], default=None)
    used = [name for name, one in ours.items() if one.used]
    theirs = {name: one.best for name, one in found[PYTHON].items()}
    reached = [name for name, best in theirs.items() if _BARS[name].verdict(best.score).held]
    return [
        *verdicts,
        CHANCE.verdict(math.nan if least is None else leads[least], least or ""),
        USED.verdict(len(used), ", ".join(used)),
        PYTHON_UNITS.verdict(len(reached), ", ".join(f"{name} {best.score:.2f}" for name, best in theirs.items())),
    ]


def find_units(reading: Reading, language: str, seed: int) -> dict[str, Found]:
    """The unit for each property that the texts have."""
    found = {}
    for asked in properties(language):
        try:
            found[asked.name] = reading.find(asked, seed=seed)
        except TrainingError:  # the texts have no such thing
            continue
    return found


def run(bench: Bench, settings: Settings) -> Finding:
    """Let both write, measure it, and ask their units."""
    made = networks(bench, settings)
    seed = _SAMPLES_SEED + bench.seed
    real = {language: Written(tuple(held_out(language))) for language in made}
    written = {language: Written(tuple(_write(bench, network, settings, seed))) for language, network in made.items()}
    bits = {
        language: sampling.bits_per_character(network, [text[:_READ] for text in real[language].texts])
        for language, network in made.items()
    }
    readings = {
        language: Reading(
            network, [text[:_READ] for text in real[language].texts], start=_START, length=_LENGTH, every=_EVERY
        )
        for language, network in made.items()
    }
    found = {language: find_units(reading, language, bench.seed) for language, reading in readings.items()}
    verdicts = (
        BITS.verdict(bits[JAVA]),
        *measure_java(written[JAVA], real[JAVA]),
        PYTHON_BITS.verdict(bits[PYTHON]),
        *measure_python(written[PYTHON], real[PYTHON]),
        *measure_units(found),
    )
    drawn = [
        Picture(f"units-{language}", draw_units(readings[language], found[language], language), _CAPTION)
        for language in made
        if found[language]
    ]
    details = {
        "samples": {language: list(one.texts[:_SHOWN]) for language, one in written.items()},
        "units": {language: {name: one.as_document() for name, one in own.items()} for language, own in found.items()},
    }
    return Finding(verdicts, tuple(drawn), (*_STORY, *_samples_told(written)), details)


def _write(bench: Bench, network: Network, settings: Settings, seed: int) -> list[str]:
    with bench.bar("writing", 1) as bar:
        texts = sampling.write(network, settings.samples, settings.length, temperature=settings.temperature, seed=seed)
        bar.advance()
    return texts


def _samples_told(written: Mapping[str, Written]) -> list[str]:
    told = [f"A piece of what the network of {language} wrote:" for language in written]
    pieces = [one.texts[0][_TOLD] + " ..." for one in written.values()]
    return [part for both in zip(told, pieces, strict=True) for part in both]


_STORY = (
    "Two networks of three layers read one character after the other, and guess the next: one has read Apache Commons "
    "Lang, in Java, the other NetworkX, in Python. Nobody told them what a word is, or a bracket. What they write by "
    "themselves is measured as one measures code, and beside each figure stands that of files that people wrote.",
    "Then their units are asked, on files that were kept from training: which of them knows how deep the code is "
    "indented, how many spaces are left to the next tab stop, whether it is inside a comment, inside a string.",
)
_CAPTION = f"A few lines for each property. {CAPTION}"


def draw_units(reading: Reading, found: Mapping[str, Found], language: str) -> Figure:
    """A few lines of a file for each property, in the colours of its unit."""
    figure, axes = pictures.new_figure(len(found), 1, width=11, height=1.9 * len(found))
    for place, (name, one) in zip(axes, found.items(), strict=True):
        asked = next(each for each in properties(language) if each.name == name)
        draw_text(place, reading, one, *reading.telling_lines(asked, _LINES))
        place.set_title(f"{name.replace('_', ' ')}: {one.best.place}, score {one.best.score:.2f}", fontsize=9)
    return figure


EXPERIMENT = Experiment(
    name="code",
    title="Code, character by character",
    question="What does a network that reads only characters know of a language?",
    source="After Andrej Karpathy, The unreasonable effectiveness of recurrent neural networks (2015), and Edwin Chen, "
    "Exploring LSTMs (2017).",
    settings=Settings(),
    claims=(
        *(BITS, OPENS, PARAMS, RETURNS, TESTS, BRACKETS, BLOCKS, INDENTED, UNDEFINED),
        *(PYTHON_BITS, PARSES, PYTHON_INDENTED, PYTHON_BRACKETS, SELF, PYTHON_UNDEFINED),
        *(DEPTH, TAB_STOP, COMMENT, STRING, CHANCE, USED, PYTHON_UNITS),
    ),
    run=run,
    looked=Looked("code", "    private int size;  // of it\n", lambda settings: (settings.units,) * _LAYERS),
    serves=(
        Served("code", "    public static int size(final ", "it goes on in Java"),
        Served("code-python", "def is_connected(G", "it goes on in Python"),
    ),
    looks=frozenset({"samples", "length", "temperature"}),
    corpus="must",
)
