"""Measures of texts: each tells what is right from what is wrong, and gets through what has no end."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_export.lab.reading import java, lexed, python
from model_export.lab.reading.lexed import Share

_JAVA = """/*
 * Licensed to nobody.
 */
package org.example;

import java.util.List;

/**
 * A box.
 */
public class Box {
    private int size;

    /**
     * Adds.
     * @param more  how much
     * @return the sum
     */
    public int add(final int more) {
        // not } here
        if (more > 0) {
            return size + more;
        }
        return size;
    }

    public void clear() {
        size = 0;
    }

    @Test
    public void testAdd() {
        assertEquals("}", new Box().add(3), 3);
    }
}
"""

_PYTHON = '''"""A box."""

import os


class Box:
    """Holds."""

    def add(self, more):
        if more:
            return os.path.join(
                "a", str(more)
            )
        return None

    @staticmethod
    def empty():
        return Box()


def last():
    return Box().add(1)


x = 1
'''


def _of(share: Share) -> tuple[int, int]:
    return share.right, share.of


def test_good_java_is_right_by_every_measure() -> None:
    assert java.opens_in_order(_JAVA)
    assert _of(java.param_before_return(_JAVA)) == (1, 1)
    assert _of(java.returns(_JAVA)) == (1, 1)
    assert _of(java.test_methods(_JAVA)) == (1, 3)
    assert _of(java.undefined_names(_JAVA)) == (0, 5)
    assert java.indentation(_JAVA).value == 1.0
    code = lexed.lexed(_JAVA).code
    assert _of(lexed.brackets(code)) == (12, 12)
    assert _of(lexed.blocks(code, slack=0)) == (4, 4)


@pytest.mark.parametrize(
    ("good", "bad"),
    [
        ("/*\n * Licensed", "/*\n * Written"),
        ("package org.example;\n", ""),
        (
            "import java.util.List;\n\n/**\n * A box.\n */\npublic class",
            "public class Other {}\nimport java.util.List;\nclass",
        ),
        ("public class Box", "public klass Box"),
        ("package org.example;\n\nimport java.util.List;", "import java.util.List;\n\npackage org.example;"),
    ],
)
def test_a_file_that_opens_otherwise_is_told(good: str, bad: str) -> None:
    assert good in _JAVA
    assert not java.opens_in_order(_JAVA.replace(good, bad))


def test_a_param_behind_the_return_is_told() -> None:
    turned = _JAVA.replace(
        "@param more  how much\n     * @return the sum", "@return the sum\n     * @param more  how much"
    )
    assert _of(java.param_before_return(turned)) == (0, 1)
    assert math.isnan(java.param_before_return(_JAVA.replace("@return", "")).value)


@pytest.mark.parametrize(
    ("body", "ends"),
    [
        ("return 1;", True),
        ("throw new Oops();", True),
        ("int a = 1;", False),
        ("if (a) { return 1; } else { return 2; }", True),
        ("if (a) { return 1; }", False),
        ("try { return 1; } catch (E e) { throw e; }", True),
        ("try { return 1; } catch (E e) { log(e); }", False),
        ("try { log(e); } finally { return 1; }", True),
        ("while (true) { poll(); }", True),
        ("while (true) { break; }", False),
        ("synchronized (this) { return 1; }", True),
        ("switch (a) { case 1: return 1; default: return 2; }", True),
        ("switch (a) { case 1: return 1; }", False),
        ("return 1; /* done */", True),
    ],
)
def test_how_a_method_ends(body: str, ends: bool) -> None:
    assert _of(java.returns(f"class A {{ int f() {{ {body} }} }}")) == (int(ends), 1)


def test_methods_that_are_void_or_empty_or_unfinished_return_nothing() -> None:
    text = "class A { void f() { g(); } int h() {} int k() { return 1; } int last() { int a = "
    assert _of(java.returns(text)) == (1, 1)


def test_names_that_nobody_declares_are_told() -> None:
    text = (
        "class A { int field; int f(int given) { int local = given + field; for (int i : list) { local += i; } "
        "Runnable r = () -> g(local); try { h(); } catch (Oops oops) { g(oops); } "
        "return local + missing.size() + A.b; } }"
    )
    assert _of(java.undefined_names(text)) == (2, 9)  # list and missing


def test_wrong_indentation_is_told_and_that_of_a_comment_is_not() -> None:
    assert _of(java.indentation("class A {\n    int a;\n   int b;\n /* c */\n}\n")) == (3, 4)


@pytest.mark.parametrize(
    ("code", "right", "of"), [("({[]})", 3, 3), ("(]", 0, 1), (")", 0, 1), ("((", 0, 0), ("{(})", 1, 2)]
)
def test_brackets_close_what_was_opened_last(code: str, right: int, of: int) -> None:
    assert _of(lexed.brackets(code)) == (right, of)


def test_blocks_that_stay_open_are_told_but_for_those_near_the_end() -> None:
    assert _of(lexed.blocks("{ {} { " + " " * 40, slack=10)) == (1, 2)
    assert _of(lexed.blocks("{ {} " + " " * 40 + "{", slack=10)) == (1, 1)


def test_what_lies_in_comments_and_strings_is_known() -> None:
    source = lexed.lexed("a = \"b\"; // c\nd = 'e';")
    assert [source.text[n] for n in np.flatnonzero(source.string)] == list("\"b\"'e'")
    assert "".join(source.text[n] for n in np.flatnonzero(source.comment)).rstrip() == "// c"
    assert len(source.code) == len(source.text)


def test_depths_and_tab_stops_are_counted() -> None:
    assert lexed.depth("a{b{c}}d}").tolist() == [0, 1, 1, 2, 2, 1, 0, 0, 0]
    text = "a:\n      b\n\nc"
    assert lexed.line_depth(text).tolist() == [0, 0, 0] + [1] * 9 + [0]
    assert lexed.to_tab_stop(text).tolist() == [3, 2, 0, 3, 2, 1, 0, 3, 2, 1, 0, 0, 3]
    assert "".join("x" if one else "." for one in lexed.leading(text)) == "...xxxxxx...."


def test_good_python_is_right_by_every_measure() -> None:
    assert [one.split("\n")[0] for one in python.statements(_PYTHON)] == [
        "import os",
        "class Box:",
        "def last():",
    ]
    assert _of(python.parses(_PYTHON)) == (2, 2)
    assert python.indentation(_PYTHON).value == 1.0
    assert _of(python.methods_with_self(_PYTHON)) == (1, 1)
    assert _of(python.undefined_names(_PYTHON)) == (0, 5)


@pytest.mark.parametrize(
    ("good", "bad", "measure", "right", "of"),
    [
        ("return None", "return return", python.parses, 1, 2),
        ("add(self, more)", "add(self, self)", python.parses, 1, 2),
        ("add(self, more)", "add(self, self)", python.undefined_names, 0, 1),
        ("        return None", "       return None", python.indentation, 13, 14),
        ("            return os", "        return os", python.indentation, 13, 14),
        ("add(self, more)", "add(more)", python.methods_with_self, 0, 1),
        ("import os", "import sys", python.undefined_names, 1, 5),
    ],
)
def test_wrong_python_is_told(good: str, bad: str, measure: object, right: int, of: int) -> None:
    assert good in _PYTHON and callable(measure)
    assert _of(measure(_PYTHON.replace(good, bad, 1))) == (right, of)


@given(st.text(alphabet="{}()[];:\"'/*\\ \na=int class def return\t#", max_size=120))
@settings(max_examples=60, deadline=None)
def test_no_text_is_too_broken_to_be_measured(text: str) -> None:
    java.opens_in_order(text)
    for measure in (
        java.param_before_return,
        java.returns,
        java.test_methods,
        java.undefined_names,
        java.indentation,
        python.parses,
        python.indentation,
        python.methods_with_self,
        python.undefined_names,
    ):
        share = measure(text)
        assert 0 <= share.right <= share.of
    for flags in (lexed.leading(text), lexed.to_tab_stop(text), lexed.line_depth(text), lexed.depth(text)):
        assert len(flags) == len(text)
