"""The lab's commands: every claim answered, by the shipped networks as their pages say, and bad settings refused."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any, get_type_hints

import pytest
import torch
import typer
from typer.testing import CliRunner, Result

from model_export.cells.lstm import Lstm
from model_export.commands import lab as command
from model_export.errors import TrainingError
from model_export.lab import catalogue
from model_export.lab.bench import Bench
from model_export.lab.claims import Claim, VerdictError
from model_export.lab.clamping import Clamp
from model_export.lab.experiment import Experiment, Finding
from model_export.lab.looking import bits, moved_with
from model_export.lab.model_folder import WEIGHTS_FILE
from model_export.lab.network import NetworkConfig
from model_export.lab.outcome import servings
from model_export.lab.sequences import batch_of
from model_export.lab.symbols import Symbols
from model_export.lab.training import new_network
from model_export.lab.units import Place
from service.model.checked import Between
from service.model.manifest import MANIFEST_FILE, ModelFolderError
from service.model.series_manifest import read_any_manifest
from service.runtime.onnx_model import load_model
from service.runtime.promise import check_promise
from service.settings import ModelConfig
from service.tensor_serving import load_tensor_model

_ROOT = Path(__file__).resolve().parents[3]
_SHIPPED = _ROOT / "models" / "lab"
_LEARN = _ROOT / "docs" / "learn"
_FOLDERS = sorted(path.parent for path in _SHIPPED.glob(f"*/{MANIFEST_FILE}"))
_WITHOUT_A_CORPUS = [name for name in catalogue.NAMES if catalogue.load(name).corpus == "none"]
_MEBIBYTE = 1 << 20
_APP = typer.Typer()
_APP.command()(command)

# What the shipped networks do not show, each told on its page; everything else that is claimed holds.
_NOT_HELD: dict[str, set[str]] = {
    "counting": {"h_sparser_than_c"},
    "forget-bias": {"remember_sooner", "counting_sooner", "selective_sooner", "copy_sooner"},
    "gates": {"people_unit"},
    "scenes": {"lstm_over_rnn_far"},
    "long-gap": {"lstm_1997_far"},
    "question": {"rnn_forgets_in_range"},
    "bidirectional": {"one_byte_is_half"},
    "depth": {"two_better_than_one", "beyond_seeds"},
    "vanishing": {"carousel_keeps"},
    "variants": {"no_winner", "best_within_seeds", "simple_worse", "scans_slower"},
    "season": {"calendar"},
    "attention": {"lstm_guesses_far", "looks_at_the_letter", "looks_for_one_of_them", "letter_is_needed"},
    "code": {"indentation", "blocks_close", "parses", "python_indentation"},
    "posts": {"auxiliary_be"},
    "copy": {"h_off_while_reading", "c_at_x_tells_every_place"},
}
# What lies near its bar and rests on texts that a network writes by chance, or on a few costs: another machine's last
# bits may decide it otherwise.
_EITHER_WAY: dict[str, set[str]] = {
    "code": {"opens_in_order", "returns", "tests_appear", "brackets", "python_brackets", "self_first", "used"},
    "posts": {"hashtags_of_new_words", "quotes", "used"},
}
# Of the networks that write, what is measured on texts that they did not write: it is the same on every machine.
_READ: dict[str, set[str]] = {
    "code": {
        *("java_bits", "python_bits", "depth_unit", "tab_stop_unit", "comment_unit", "string_unit"),
        *("beyond_chance", "python_units"),
    },
    "posts": {
        *("hashtag_position", "link_position", "mention_position", "proper_nouns", "auxiliary_be", "attribution"),
        *("capitals", "beyond_chance"),
    },
}


def _run(arguments: list[str]) -> Result:
    return CliRunner().invoke(_APP, arguments)


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_an_experiment_answers_its_claims_and_leaves_pictures_and_figures(name: str, tmp_path: Path) -> None:
    result = _run([name, "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    document = json.loads(result.stdout)
    experiment = catalogue.load(name)
    assert list(document["held"]) == [claim.key for claim in experiment.claims]
    not_held = {key for key, held in document["held"].items() if not held}
    assert not_held - _EITHER_WAY.get(name, set()) == _NOT_HELD.get(name, set())
    assert json.loads((tmp_path / f"{name}.json").read_text()) == document
    pictures = list(tmp_path.glob(f"{name}-*.png"))
    assert pictures and all(picture.stat().st_size > 5_000 for picture in pictures)
    assert not (tmp_path / "models").exists(), "it trained although its network is shipped"
    assert _rows_on_page(name) == _rows_measured(experiment, document), "its page has other figures"


def _rows_on_page(name: str) -> list[list[str]]:
    """The rows of the table of claims; of figures that are chance's, none."""
    page = (_LEARN / f"{name}.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split(" | ")] for line in page.splitlines() if line[:2] == "| "]
    claims = {claim.says: claim.key for claim in catalogue.load(name).told(catalogue.load(name).settings)}
    return [_without_chance(name, claims.get(row[0], ""), row) for row in rows if row[-1] in ("held", "**not held**")]


def _rows_measured(experiment: Experiment[Any], document: dict[str, Any]) -> list[list[str]]:
    """What the table has to say."""
    rows = []
    for claim in experiment.told(experiment.settings):
        verdict = claim.verdict(document[claim.key])
        row = [claim.says, verdict.shown, claim.wanted, "held" if verdict.held else "**not held**"]
        rows.append(_without_chance(experiment.name, claim.key, row))
    return rows


def _without_chance(name: str, key: str, row: list[str]) -> list[str]:
    says, shown, wanted, held = row
    if name in _READ and key not in _READ[name]:
        shown = "what its texts gave"
    return [says, shown, wanted, "either" if key in _EITHER_WAY.get(name, set()) else held]


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_an_experiment_has_its_page(name: str) -> None:
    page = (_LEARN / f"{name}.md").read_text(encoding="utf-8")
    assert f"carousel lab {name}" in page
    experiment = catalogue.load(name)
    for claim in experiment.told(experiment.settings):
        assert claim.says in page, f"{name}.md does not tell of {claim.key}"
    for served in experiment.serves:
        assert f"carousel serve --model lab/{served.model}" in page
        manifest = read_any_manifest(_SHIPPED / served.model)
        if manifest.vocabulary != "bytes":
            assert manifest.example == served.type_this, "what `carousel serve` prints is not what the page asks"
    for line in page.splitlines():
        if line.startswith("!["):
            assert (_LEARN / line.rpartition("(")[2].rstrip(")")).exists(), line


@pytest.mark.parametrize("folder", _FOLDERS, ids=lambda folder: folder.name)
def test_a_shipped_network_is_small_and_keeps_the_promise(folder: Path) -> None:
    assert sum(path.stat().st_size for path in folder.iterdir()) <= _MEBIBYTE
    assert (folder / WEIGHTS_FILE).exists()
    if read_any_manifest(folder).vocabulary != "bytes":
        with pytest.raises(ModelFolderError, match="over /v2"):
            load_model(folder)
        assert load_tensor_model(ModelConfig(folder, None, 1, False)).identity.name == folder.name
        return
    model = load_model(folder)
    assert model.identity.name == folder.name
    assert check_promise(model, rounds=1).difference is None


def test_every_setting_that_cannot_be_is_refused_before_any_training(tmp_path: Path) -> None:
    for arguments, message in (
        (["counting", "--set", "units=0"], "units: 0 is not from 1 to 256"),
        (["counting", "--set", "units=ten"], "units is a whole number, not 'ten'"),
        (["counting", "--unit", "10"], "layer 0 of counting has no unit 10; it has units 0 to 9"),
        (["gates", "--unit", "32"], "layer 0 of gates has no unit 32; it has units 0 to 31"),
        (["counting", "--unit", "-1"], "has no unit -1"),
        (["counting", "--layer", "1"], "counting has no layer 1; it has layer 0 alone"),
        (
            ["copy", "--set", "units=4", "--layer", "1", "--unit", "4"],
            "layer 1 of copy has no unit 4; it has units 0 to 3",
        ),
        (["vanishing", "--unit", "0"], "--layer and --unit: vanishing has no one network"),
        (["all", "--unit", "0"], "--unit is of one experiment"),
        (["all", "--hold", "0"], "--hold is of one experiment"),
        (["counting", "--hold", "mean"], "--hold is of one unit: say which with --unit"),
        (["counting", "--layer", "0", "--signal", "f"], "--signal is of one unit: say which with --unit"),
        (["counting", "--unit", "0", "--signal", "z"], "a unit of counting has no 'z'; it has i, f, o, g, c, h"),
        (["turnstile", "--unit", "0", "--signal", "c"], "a unit of turnstile has no 'c'; it has h"),
        (["turnstile", "--unit", "0", "--hold=-1"], "--hold: -1 is nothing that h can be, which is at least 0"),
        (["counting", "--unit", "0", "--signal", "f", "--hold", "2"], "is nothing that f can be, which is from 0 to 1"),
        (["counting", "--unit", "0", "--hold", "nan"], "--hold is a number or `mean`, not 'nan'"),
        (["counting", "--unit", "0", "--hold", "little"], "--hold is a number or `mean`, not 'little'"),
        (["counting", "--models", "/nowhere"], "--models: /nowhere is no folder"),
        (["counting", "--models", __file__], "is no folder, so there are no trained networks to start from"),
        (["counting", "--set", "cells=3"], "no setting 'cells'; it has units, longest, steps"),
        (["counting", "--set", "units"], "--set wants NAME=VALUE, not 'units'"),
        (["copy", "--set", "units=1"], "units: 1 is not from 2 to 256"),
        (["gates", "--set", "embedding=1"], "embedding: 1 is not from 2 to 128"),
        (["scenes", "--set", "scenes=2"], "scenes: 2 is not from 3 to 40"),
        (["turnstile", "--set", "beyond=8"], "beyond: 8 actions are no more than the 8 that are shown"),
        (["cuonting"], "there is no experiment 'cuonting'; there are turnstile, counting"),
        (["all", "--set", "units=3"], "--set is of one experiment"),
    ):
        result = _run([*arguments, "--out", str(tmp_path / "out")])
        assert result.exit_code == 1
        assert message in result.stderr.replace("\n", " "), result.stderr
        assert not (tmp_path / "out").exists()


def test_a_small_network_is_trained_exported_and_looked_at(tmp_path: Path) -> None:
    arguments = ["counting", "--full", "--set", "units=4", "--set", "longest=5", "--set", "steps=30"]
    result = _run([*arguments, "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["settings"]["units"] == 4
    assert load_model(tmp_path / "models" / "counting").shapes[0].width == 4


@pytest.mark.parametrize("name", _WITHOUT_A_CORPUS)
def test_the_smallest_settings_that_are_accepted_make_an_answer_however_bad(name: str, tmp_path: Path) -> None:
    experiment = catalogue.load(name)
    least = experiment.with_settings(_least(experiment))
    finding = experiment.answer(Bench(tmp_path, tmp_path / "out", experiment=name, full=True), least)
    assert [verdict.claim for verdict in finding.verdicts] == list(experiment.told(least))


def _least(experiment: Experiment[Any]) -> dict[str, str]:
    """The lower bound of every whole number among the settings, but of `beyond`, which must be more than another."""
    hints = get_type_hints(type(experiment.settings), include_extras=True)
    rules = {name: rule for name, hint in hints.items() for rule in getattr(hint, "__metadata__", ())}
    bounds = {name: rule.low for name, rule in rules.items() if isinstance(rule, Between)}
    return {name: f"{low + (name == 'beyond'):g}" for name, low in bounds.items()}


def test_a_setting_that_only_looks_takes_the_shipped_network_and_one_that_trains_does_not(tmp_path: Path) -> None:
    for given, trains in (("beyond=9", False), ("steps=3", True)):
        result = _run(["turnstile", "--set", given, "--json", "--out", str(tmp_path / given)])
        assert result.exit_code == 0, result.stderr
        trained = tmp_path / given / "models" / "turnstile"
        assert (trained / MANIFEST_FILE).exists() == trains
        assert f"./carousel serve --model {trained if trains else 'lab/turnstile'}\n" in result.stderr


def test_where_nothing_can_be_written_is_found_out_before_any_training(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "models").write_text("", encoding="utf-8")
    for out, message in (
        ("file", "is no folder, and what is made would go there"),
        ("file/deeper", "cannot be written to (Not a directory)"),
        ("taken", "is no folder, and what is made would go there"),
        ("n" * 300, "cannot be written to (File name too long)"),
    ):
        result = _run(["counting", "--full", "--out", str(tmp_path / out)])
        assert result.exit_code == 1
        assert message in result.stderr and "--out: " in result.stderr, result.stderr


def test_a_unit_or_a_layer_that_is_asked_for_is_drawn_and_what_is_lost_without_it_is_told(tmp_path: Path) -> None:
    for arguments, picture in (
        (["turnstile", "--unit", "1"], "turnstile-layer-0-unit-1.png"),
        (["turnstile", "--layer", "0"], "turnstile-layer-0.png"),
        (["gates", "--unit", "1", "--signal", "f", "--hold", "1"], "gates-layer-0-unit-1.png"),
        (["depth", "--layer", "2", "--unit", "0", "--hold", "mean"], "depth-layer-2-unit-0.png"),
        (["turnstile", "--set", "units=3", "--set", "steps=5", "--unit", "2"], "turnstile-layer-0-unit-2.png"),
    ):
        result = _run([*arguments, "--json", "--out", str(tmp_path)])
        assert result.exit_code == 0, result.stderr
        assert (tmp_path / picture).stat().st_size > 5_000
        assert "As asked: " in result.stderr
        measured = json.loads(result.stdout)["details"]["looked_at"]
        assert bool(measured) == ("bits each then" in result.stderr) == ("--unit" in arguments)
        assert not measured or len(measured["bits_lost_by_others"]) > 0


def test_a_turnstile_that_forgets_its_coins_loses_what_is_right_to_do(tmp_path: Path) -> None:
    result = _run(["turnstile", "--unit", "0", "--json", "--out", str(tmp_path)])
    measured = json.loads(result.stdout)["details"]["looked_at"]
    assert (measured["signal"], measured["held_at"]) == ("h", 0.0)
    assert measured["symbols"] == 256 * 9
    assert measured["bits_a_symbol"] < 0.1 and measured["bits_lost"] > 0.5
    assert sum(measured["bits_moved"]) > 1


def test_nothing_is_lost_and_nothing_moves_without_a_unit_that_does_nothing() -> None:
    network = new_network(NetworkConfig(Symbols.letters("ab"), units=3), seed=0)
    with torch.no_grad():
        network.head.weight[:, 1] = 0
        (layer,) = network.stack.layers
        assert isinstance(layer, Lstm)
        layer.R[:, 1] = 0
    numbers = network.symbols.encode("abba")
    batch = batch_of([numbers])
    idle, busy = (Clamp(Place(0, "c", unit)) for unit in (1, 2))
    assert moved_with(network, numbers, idle).max() < 1e-6
    assert moved_with(network, numbers, busy).max() > 1e-4
    assert bits(network, batch, (idle,)) == pytest.approx(bits(network, batch), abs=1e-6)
    log_probabilities = network.watch(batch.inputs).scores[:, 0].log_softmax(dim=-1).gather(1, batch.targets)
    assert bits(network, batch) == pytest.approx(-float(log_probabilities.mean()) / math.log(2))


def test_what_was_measured_of_trainings_holds_for_every_seed_and_what_is_drawn_to_test_does_not(tmp_path: Path) -> None:
    result = _run(["depth", "--seed", "5", "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert not (tmp_path / "models").exists(), "another seed of the tests trained again"
    found = [json.loads(_run(["selective", "--seed", seed, "--json", "--out", str(tmp_path)]).stdout) for seed in "01"]
    assert found[0]["details"] != found[1]["details"] or found[0]["exact"] != found[1]["exact"]


def test_measurements_that_cannot_be_read_are_an_error_that_names_the_file(tmp_path: Path) -> None:
    folder = tmp_path / "long"
    folder.mkdir()
    for text in ("{", "[]", '{"settings": 3, "measured": {}}'):
        (folder / "measured.json").write_text(text, encoding="utf-8")
        with pytest.raises(TrainingError, match=r"measured.json holds no measurements .* --full"):
            Bench(tmp_path, tmp_path / "out", experiment="long").measured({}, dict)


def test_without_a_name_the_experiments_are_listed() -> None:
    result = _run([])
    assert result.exit_code == 0
    assert all(name in result.stderr for name in catalogue.NAMES)


def test_all_of_them_make_one_page_that_holds_its_pictures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "NAMES", ("turnstile", "counting"))
    result = _run(["all", "--json", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert list(json.loads(result.stdout)) == ["turnstile", "counting"]
    page = (tmp_path / "index.html").read_text(encoding="utf-8")
    assert page.count("data:image/png;base64,") == 3
    assert "http" not in page, "the page must be readable by itself"
    assert "It counts further than it was ever shown." in page
    held = [held for one in json.loads(result.stdout).values() for held in one["held"].values()]
    assert f"{sum(held)} of {len(held)} claims held." in page
    targets, places = set(re.findall(r'href="#([^"]+)"', page)), set(re.findall(r'id="([^"]+)"', page))
    assert {"turnstile", "turnstile-claims", "counting", "counting-claims", "verdicts"} <= targets <= places
    assert len(re.findall(r'<img src="[^"]+" alt="[^"]+">', page)) == 3, "a picture says nothing to who cannot see it"


def test_how_to_ask_a_model_is_said_for_texts_words_and_numbers(tmp_path: Path) -> None:
    for name, sent in (("gates", "In France, Mary ate her"), ("season", "259.0, 10.0"), ("turnstile", None)):
        bench = Bench(_SHIPPED, tmp_path)
        (serving,) = servings(catalogue.load(name), bench, _SHIPPED)
        assert serving.command == f"carousel serve --model lab/{name}"
        assert (sent or "") in (serving.request or "") and (serving.request is None) == (sent is None)
        (elsewhere,) = servings(catalogue.load(name), bench, tmp_path)
        assert elsewhere.command == f"carousel serve --model {_SHIPPED / name}"
    assert servings(catalogue.load("bidirectional"), Bench(_SHIPPED, tmp_path), _SHIPPED) == ()


def test_a_verdict_follows_from_its_figure() -> None:
    claim = Claim("share", "Most are right.", "share", 0.9, percent=True)
    assert claim.verdict(0.9).held and claim.verdict(0.95).shown == "95 %"
    assert not claim.verdict(0.899).held
    assert not claim.verdict(float("nan")).held
    assert Claim("gate", "It is shut.", "mean", 0.2, sense="at most").verdict(0.2).held


def test_what_a_claim_says_follows_from_the_settings(tmp_path: Path) -> None:
    result = _run(["turnstile", "--set", "beyond=9", "--out", str(tmp_path)])
    assert result.exit_code == 0, result.stderr
    assert "all sequences of up to 9 actions" in " ".join(result.stderr.replace("│", " ").split())


@pytest.mark.parametrize("name", catalogue.NAMES)
def test_claims_name_only_settings_that_there_are_and_leave_no_brace(name: str) -> None:
    experiment = catalogue.load(name)
    for claim in experiment.told(experiment.settings):
        assert not set("{}") & set(claim.says + claim.figure), claim


def test_a_claim_that_names_a_setting_that_is_not_there_is_an_error() -> None:
    claim = Claim("share", "Most are right.", "share up to {farthest} letters", 0.9)
    with pytest.raises(VerdictError, match="the claim share tells of a setting 'farthest'"):
        claim.told(catalogue.load("counting").settings)


def test_an_experiment_that_does_not_answer_its_claims_fails(tmp_path: Path) -> None:
    counting = catalogue.load("counting")
    silent = Experiment(
        name="silent",
        title="",
        question="",
        source="",
        settings=counting.settings,
        claims=counting.claims,
        run=lambda bench, settings: Finding(()),
    )
    with pytest.raises(Exception, match="silent answers"):
        silent.answer(Bench(tmp_path, tmp_path), silent.settings)
