"""The default text was not trained on, by the rule of training itself."""

from __future__ import annotations

from pathlib import Path

from benchmarks.held_out import default_file, held_out_library_files, is_held_out
from benchmarks.replay.command import read_text
from model_export.corpora import is_held_out as training_holds_out


def test_the_default_file_is_held_out_and_there() -> None:
    assert default_file() in set(held_out_library_files())


def test_the_rule_is_that_of_training() -> None:
    names = [f"package/module_{number}.py" for number in range(500)]
    assert [is_held_out(name) for name in names] == [training_holds_out(name) for name in names]
    assert 5 < sum(map(is_held_out, names)) < 60


def test_a_limit_cuts_at_a_characters_edge(tmp_path: Path) -> None:
    path = tmp_path / "text.py"
    path.write_text("aé日", encoding="utf-8")
    assert [read_text(path, limit) for limit in (1, 2, 3, 4, 5, 6, None)] == [
        "a",
        "a",
        "aé",
        "aé",
        "aé",
        "aé日",
        "aé日",
    ]
