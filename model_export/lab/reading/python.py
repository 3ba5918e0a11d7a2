"""Python: blocks that parse, indentation, methods' first parameter, names that nobody bound; `ast` judges."""

from __future__ import annotations

import ast
import builtins
import re
import symtable
import warnings
from collections.abc import Iterator
from itertools import pairwise

from model_export.lab.reading.lexed import Lexed, Share, lexed

LANGUAGE = "python"
_BINDS = re.compile(r"\b(?:import|as|def|class)\s+(\w+)|^\s*(\w+)\s*=", re.MULTILINE)
_GOES_ON = re.compile(r"^(?:else|elif|except|finally)\b")
_GIVEN = {*dir(builtins), "__file__", "__name__", "__doc__", "__path__", "__spec__", "__all__", "__class__"}


def statements(text: str) -> list[str]:
    """The statements at the left margin with their blocks; the last, which may be cut short, is left out."""
    code = lexed(text, LANGUAGE).code
    starts: list[int] = []
    decorated = False
    open_ = 0
    for start, line in _lines(code):
        outside = open_ <= 0
        open_ = max(open_ + _opened(line), 0)
        begins = bool(line.strip()) and not line[0].isspace() and outside and line[0] not in ")]}"
        if not begins or _GOES_ON.match(line):
            continue
        if not decorated:
            starts.append(start)
        decorated = line.startswith("@")
    pieces = [text[start:end] for start, end in pairwise(starts)]
    return [piece for piece in pieces if piece.strip()]


def parses(text: str) -> Share:
    """Of the statements at the left margin that are definitions, those that Python takes."""
    found = [one for one in statements(text) if re.match(r"(?:@|class |def |async def )", one)]
    return Share(sum(_tree(one) is not None for one in found), len(found))


def indentation(text: str) -> Share:
    """Of the lines that begin a statement, those deeper if a block was just opened, else as deep as an open one."""
    source = lexed(text, LANGUAGE)
    levels, opened, open_ = [0], False, 0
    right = count = 0
    for start, line in _lines(source.code):
        shown = line.strip()
        as_written = text[start : start + len(line)].strip()
        begins = open_ <= 0 and bool(as_written) and not as_written.startswith("#") and not _within(source, start)
        if begins:
            indent = len(line) - len(line.lstrip(" ")) if shown else _indent(text[start : start + len(line)])
            right += indent > levels[-1] if opened else indent in levels
            count += 1
            levels = [one for one in levels if one < indent] + [indent]
            opened = False
        open_ = max(open_ + _opened(line), 0)
        if shown and open_ == 0:
            opened = shown.endswith(":")
    return Share(right, count)


def methods_with_self(text: str) -> Share:
    """Of the methods in classes that parse, static ones left out, those whose first parameter is self or cls."""
    right = count = 0
    for tree in _trees(text):
        for kind in ast.walk(tree):
            if not isinstance(kind, ast.ClassDef):
                continue
            for method in kind.body:
                if isinstance(method, ast.FunctionDef) and "staticmethod" not in map(
                    ast.unparse, method.decorator_list
                ):
                    first = [one.arg for one in (*method.args.posonlyargs, *method.args.args)][:1]
                    right += first in (["self"], ["cls"], ["mcls"], ["metacls"])
                    count += 1
    return Share(right, count)


def undefined_names(text: str) -> Share:
    """Of the global names that blocks that parse refer to, those that nothing in the text binds, nor Python itself."""
    bound = set(_GIVEN)
    referred: list[str] = []
    for piece in statements(text):
        tree = _tree(piece)
        if tree is None:
            bound.update(name for pair in _BINDS.findall(piece) for name in pair if name)
            continue
        if any(isinstance(one, ast.ImportFrom) and one.names[0].name == "*" for one in ast.walk(tree)):
            return Share(0, 0)  # then anything may be bound
        table = symtable.symtable(piece, "<text>", "exec")
        bound.update(one.get_name() for one in table.get_symbols() if one.is_assigned() or one.is_imported())
        inside = [one for inner in _tables(table) for one in inner.get_symbols() if one.is_global()]
        bound.update(one.get_name() for one in inside if one.is_assigned())
        referred += [one.get_name() for one in inside if one.is_referenced()]
    return Share(sum(name not in bound for name in referred), len(referred))


def _lines(code: str) -> Iterator[tuple[int, str]]:
    start = 0
    for line in code.splitlines(keepends=True):
        yield start, line
        start += len(line)


def _opened(line: str) -> int:
    """How many more brackets a line opens than it closes."""
    return sum((one in "([{") - (one in ")]}") for one in line)


def _within(source: Lexed, start: int) -> bool:
    """Whether the line at `start` begins inside of a string that an earlier line began."""
    if not 0 < start < len(source.text):
        return False
    return bool(source.string[start - 1] and source.string[start])


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" "))


def _tree(piece: str) -> ast.Module | None:
    """The piece, if Python would run it: its compiler refuses more than its grammar, such as two parameters alike."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # escapes that no string should have
            tree = ast.parse(piece)
            compile(tree, "<text>", "exec")
            return tree
    except (SyntaxError, ValueError, RecursionError):
        return None


def _trees(text: str) -> list[ast.Module]:
    return [tree for piece in statements(text) if (tree := _tree(piece)) is not None]


def _tables(table: symtable.SymbolTable) -> Iterator[symtable.SymbolTable]:
    for child in table.get_children():
        yield child
        yield from _tables(child)
