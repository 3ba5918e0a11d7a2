"""Finding a corpus's files: a folder walked in a fixed order, with .gitignore honoured as git does."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from pathspec import GitIgnoreSpec

ALWAYS_LEFT_OUT = (".git/", "__pycache__/")

_Rules = list[tuple[Path, GitIgnoreSpec]]
"""Ignore rules with the folder that each set is relative to, outermost first."""


def find_files(root: Path, include: Sequence[str], exclude: Sequence[str], *, outer_rules: bool) -> Iterator[Path]:
    """Every file below `root`, or `root` itself if it is one, sorted by name within each folder.

    include, exclude: patterns in .gitignore's syntax relative to `root`; no include means every file. `outer_rules`
    also honours the .gitignore files of the folders above, up to the root of a git repository around it. Links to
    folders are not followed; folders that cannot be read are left out.
    """
    if root.is_file():
        yield root
        return
    wanted = GitIgnoreSpec.from_lines(include) if include else None
    rules = _outer_rules(root) if outer_rules else []
    left_out = GitIgnoreSpec.from_lines([*ALWAYS_LEFT_OUT, *exclude])
    yield from _walk(root, root, wanted, left_out, rules)


def _outer_rules(root: Path) -> _Rules:
    absolute = root.absolute()
    above = absolute.parents
    repository = next((depth for depth, folder in enumerate(above) if (folder / ".git").exists()), None)
    if repository is None or (absolute / ".git").exists():
        return []
    rules: _Rules = []
    for folder in reversed(above[: repository + 1]):
        rules += _rules_of(folder)
    return rules


def _rules_of(folder: Path) -> _Rules:
    path = folder / ".gitignore"
    if not path.is_file():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    return [(folder, GitIgnoreSpec.from_lines(lines))]


def _walk(
    folder: Path, root: Path, wanted: GitIgnoreSpec | None, left_out: GitIgnoreSpec, rules: _Rules
) -> Iterator[Path]:
    rules = [*rules, *_rules_of(folder)]
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        return
    for entry in entries:
        path = Path(entry.path)
        is_folder = entry.is_dir(follow_symlinks=False)
        relative = path.relative_to(root).as_posix()
        if left_out.match_file(relative + "/" * is_folder) or _ignored(path, is_folder, rules):
            continue
        if is_folder:
            yield from _walk(path, root, wanted, left_out, rules)
        elif _is_file(entry) and (wanted is None or wanted.match_file(relative)):
            yield path


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:  # links in a circle: whoever reads it counts it as unreadable
        return True


def _ignored(path: Path, is_folder: bool, rules: _Rules) -> bool:
    """The innermost .gitignore that speaks of the path decides."""
    for base, spec in reversed(rules):
        absolute = path if path.is_relative_to(base) else path.absolute()
        verdict = spec.check_file(absolute.relative_to(base).as_posix() + "/" * is_folder).include
        if verdict is not None:
            return verdict
    return False
