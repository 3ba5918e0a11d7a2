"""How figures are shown and kept."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks.machine import circumstances
from benchmarks.percentiles import percentile
from benchmarks.report import Figure, Report, conclude


@pytest.fixture
def report() -> Report:
    figures = (Figure("savings", "keystroke savings", 0.25, bar=">= 0.2"), Figure("p50_ms", "p50", 1234.5, "ms", 1))
    return Report("replay", "replay", figures, circumstances(["bench", "replay"]), {"count": 1}, {"all": [1]})


def test_json_has_a_key_for_every_row_and_says_how_it_was_measured(
    report: Report, capsys: pytest.CaptureFixture[str]
) -> None:
    report.print(as_json=True)
    printed = json.loads(capsys.readouterr().out)
    assert {"savings": 0.25, "p50_ms": 1234.5, "settings": {"count": 1}}.items() <= printed.items()
    facts = printed["circumstances"]
    assert facts["command"] == "carousel bench replay"
    assert facts["cores"] >= 1
    assert facts["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))


def test_the_table_has_titles_units_and_bars(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    report.print(as_json=False)
    shown = capsys.readouterr().out
    assert "1,234.5 ms" in shown
    assert ">= 0.2" in shown


def test_what_is_kept_holds_the_details_too(report: Report, tmp_path: Path) -> None:
    (path,) = report.save(tmp_path / "results")
    assert json.loads(path.read_text(encoding="utf-8"))["details"] == {"all": [1]}


def test_without_matplotlib_the_figures_are_kept_and_the_missing_picture_is_explained(
    report: Report, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def draw(path: Path) -> None:
        raise ModuleNotFoundError("No module named 'matplotlib'", name="matplotlib")

    conclude(report, as_json=True, folder=tmp_path, draw=draw)
    assert [path.name for path in tmp_path.iterdir()] == ["replay.json"]
    assert "make train-env" in capsys.readouterr().err


def test_nothing_is_written_without_a_folder(report: Report, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    conclude(report, as_json=True, folder=None)
    assert list(tmp_path.iterdir()) == []


def test_a_percentile_is_a_value_that_was_measured() -> None:
    values = [4.0, 1.0, 3.0, 2.0]
    assert [percentile(values, p) for p in (0, 25, 50, 51, 99, 100)] == [1.0, 1.0, 2.0, 3.0, 4.0, 4.0]
    with pytest.raises(ValueError, match="no values"):
        percentile([], 50)
