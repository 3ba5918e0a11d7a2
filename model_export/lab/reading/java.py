"""Java: the order of a file, Javadoc, methods and what they return, names that nobody declared.

tree-sitter parses, because it finds the methods of a text that has mistakes and no end.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

import tree_sitter_java
from tree_sitter import Language, Node, Parser

from model_export.lab.reading.lexed import INDENT, Share, lexed

_PACKAGE = re.compile(r"^package\s+[\w.]+;", re.MULTILINE)
_IMPORT = re.compile(r"^import\s+(?:static\s+)?[\w.*]+;", re.MULTILINE)
_TYPE = re.compile(
    r"^(?:(?:public|final|abstract|strictfp)\s+)*(?:class|interface|enum|@interface)\s+\w+", re.MULTILINE
)
_JAVADOC = re.compile(r"/\*\*.*?\*/", re.DOTALL)
_NEVER_ENDS_NORMALLY = ("return_statement", "throw_statement")
_BINDERS = (
    "formal_parameter",
    "spread_parameter",
    "variable_declarator",
    "catch_formal_parameter",
    "enhanced_for_statement",
    "resource",
    "lambda_expression",
    "inferred_parameters",
)
_NOT_READ = ("name", "field")  # the fields of a parent that name a member rather than read a variable
_PACKAGES = ("java", "javax", "org")


@cache
def _parser() -> Parser:
    return Parser(Language(tree_sitter_java.language()))


def opens_in_order(text: str) -> bool:
    """Whether it begins with a licence, then the package, then imports if any, then a type; each where it belongs."""
    code = lexed(text).code
    packages = [found.start() for found in _PACKAGE.finditer(code)]
    imports = [found.start() for found in _IMPORT.finditer(code)]
    kind = _TYPE.search(code)
    licence = text.startswith("/*") and "licen" in text[: text.find("*/")].lower()
    if not licence or len(packages) != 1 or kind is None:
        return False
    return not code[: packages[0]].strip() and all(packages[0] < one < kind.start() for one in imports)


def param_before_return(text: str) -> Share:
    """Of the Javadoc comments with @param and @return, those where every @param stands before the first @return."""
    both = [one for one in _JAVADOC.findall(text) if "@param" in one and "@return" in one]
    return Share(sum(one.rfind("@param") < one.find("@return") for one in both), len(both))


def methods(text: str) -> list[Node]:
    """The methods that are there with a body, its braces included."""
    tree = _parser().parse(text.encode())
    found = [node for node in _nodes(tree.root_node) if node.type == "method_declaration"]
    return [node for node in found if (body := node.child_by_field_name("body")) and not body.children[-1].is_missing]


def returns(text: str) -> Share:
    """Of the methods that are not void and not empty, those that cannot run off their end: return, throw, no way on."""
    right, count = 0, 0
    for method in methods(text):
        kind, body = method.child_by_field_name("type"), method.child_by_field_name("body")
        if kind is None or body is None or kind.type == "void_type" or not _statements(body):
            continue
        count += 1
        right += _ends(body)
    return Share(right, count)


def test_methods(text: str) -> Share:
    """Of the methods, those that are marked @Test."""
    found = methods(text)
    marked = [any(_said(one) == "@Test" for one in _modifiers(method)) for method in found]
    return Share(sum(marked), len(found))


def undefined_names(text: str) -> Share:
    """Of the variables that methods read, in lower case and not through a dot, those that nothing in the text declares.

    A field of a class that it extends counts as undefined too: what a text alone cannot tell.
    """
    tree = _parser().parse(text.encode())
    fields = {name for node in _nodes(tree.root_node) if node.type == "field_declaration" for name in _bound(node)}
    undefined, count = 0, 0
    for method in methods(text):
        known = fields | set(_bound(method))
        read = [name for name in _read(method) if name[:1].islower() and name not in _PACKAGES]
        count += len(read)
        undefined += sum(name not in known for name in read)
    return Share(undefined, count)


def indentation(text: str) -> Share:
    """Of the lines of code that begin a statement or close a block, those indented four spaces for each open brace."""
    source = lexed(text)
    depth, right, count, last, place = 0, 0, 0, ";", 0
    for line in source.code.splitlines(keepends=True):
        shown = line.strip()
        as_written = text[place : place + len(line)]
        if shown and last in ";{}" and as_written.lstrip()[:1] == shown[0]:
            wanted = INDENT * max(depth - shown.startswith("}"), 0)
            right += len(line) - len(line.lstrip(" ")) == wanted
            count += 1
        depth = max(depth + line.count("{") - line.count("}"), 0)
        last = shown[-1] if shown else last
        place += len(line)
    return Share(right, count)


def _nodes(node: Node) -> Iterator[Node]:
    """The node and everything below it."""
    waiting = [node]
    while waiting:
        one = waiting.pop()
        yield one
        waiting += reversed(one.children)


def _said(node: Node) -> str:
    return (node.text or b"").decode()


def _modifiers(method: Node) -> list[Node]:
    return [one for child in method.children if child.type == "modifiers" for one in child.children]


def _statements(block: Node) -> list[Node]:
    return [one for one in block.named_children if not one.type.endswith("comment")]


def _ends(node: Node | None) -> bool:
    """Whether what comes after the statement can never be reached, about as the language defines it (JLS 14.22)."""
    if node is None:
        return False
    if node.type == "block":
        inside = _statements(node)
        return bool(inside) and _ends(inside[-1])
    if node.type in _NEVER_ENDS_NORMALLY:
        return True
    if node.type == "if_statement":
        return _ends(node.child_by_field_name("consequence")) and _ends(node.child_by_field_name("alternative"))
    if node.type in ("while_statement", "for_statement"):
        condition = node.child_by_field_name("condition")
        forever = condition is None or _said(condition).strip("()") == "true"
        return forever and not any(one.type == "break_statement" for one in _nodes(node))
    if node.type in ("synchronized_statement", "labeled_statement"):
        return _ends(node.named_children[-1])
    if node.type in ("try_statement", "try_with_resources_statement"):
        last = [one for one in node.named_children if one.type == "finally_clause"]
        if last and _ends(last[0].named_children[-1]):
            return True
        catches = [one.child_by_field_name("body") for one in node.named_children if one.type == "catch_clause"]
        return _ends(node.child_by_field_name("body")) and all(map(_ends, catches))
    if node.type in ("switch_expression", "switch_statement"):
        groups = [one for one in _nodes(node) if one.type == "switch_block_statement_group"]
        has_default = any(_said(group).startswith("default") for group in groups)
        breaks = any(one.type == "break_statement" for one in _nodes(node))
        return has_default and not breaks and _ends(groups[-1].named_children[-1])
    return False


def _bound(node: Node) -> Iterator[str]:
    """The names that something below the node declares."""
    for one in _nodes(node):
        if one.type not in _BINDERS:
            continue
        name = one.child_by_field_name("name")
        if name is not None:
            yield _said(name)
        elif one.type in ("lambda_expression", "inferred_parameters", "spread_parameter"):
            direct = [one.child_by_field_name("parameters"), *one.named_children]
            yield from (_said(child) for child in direct if child is not None and child.type == "identifier")


def _read(method: Node) -> Iterator[str]:
    """The names of variables that the method reads or sets, each time."""
    for one in _nodes(method):
        parent = one.parent
        if one.type != "identifier" or parent is None or parent.type.startswith(("scoped", "marker", "annotation")):
            continue
        if parent.type in ("break_statement", "continue_statement", "labeled_statement", "method_reference"):
            continue
        if any(parent.child_by_field_name(field) == one for field in _NOT_READ):
            continue
        if parent.type in ("inferred_parameters", "element_value_pair"):
            continue
        yield _said(one)
