"""What a session does, over gRPC and REST, and edited over gRPC's `Type` and the WebSocket: one table for all four.

What goes wrong, over these and every other facade, is in tests/contract/test_facades.py.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
import pytest_asyncio

from service.errors import Code
from service.transport.statuses import STATUSES
from tests.integration.callers import Caller, Edits, Refused, calling
from tests.integration.servers import IDENTITY, Running, running

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["rest", "grpc", "type", "websocket"])
async def caller(server: Running, request: pytest.FixtureRequest) -> AsyncIterator[Caller]:
    async with calling(request.param, server) as caller:
        yield caller


TEXT = "import os\nfor root, dirs, files in os."


async def test_a_new_session_tells_what_it_is_and_which_model_answers(caller: Caller) -> None:
    shown = await caller.create(text="abc")
    assert (shown.revision, shown.length, shown.cursor) == (1, 3, 3)
    assert shown.model == (IDENTITY.name, IDENTITY.digest, IDENTITY.numerics_id)
    assert shown.suggestions == ()
    assert (await caller.get(shown.id)).text == "abc"


async def test_a_session_may_begin_empty(caller: Caller) -> None:
    shown = await caller.create()
    assert (shown.length, (await caller.get(shown.id)).text) == (0, "")


async def test_suggestions_are_distinct_and_no_longer_than_asked(caller: Caller) -> None:
    shown = await caller.create(text=TEXT, suggest={"count": 5, "max_bytes": 9, "stop": "none"})
    texts = [suggestion.text for suggestion in shown.suggestions]
    assert texts
    assert len(texts) <= 5
    assert not any(one != other and other.startswith(one) for one in texts for other in texts)
    assert len(set(texts)) == len(texts)
    assert all(1 <= len(text.encode()) <= 9 for text in texts)
    probabilities = [suggestion.probability for suggestion in shown.suggestions]
    assert all(0 < probability <= 1 for probability in probabilities)
    assert probabilities == sorted(probabilities, reverse=True)


async def test_both_facades_suggest_the_same_bits(server: Running) -> None:
    async with calling("rest", server) as rest, calling("grpc", server) as grpc_:
        over_rest = await rest.create(text=TEXT, suggest={"count": 4})
        over_grpc = await grpc_.create(text=TEXT, suggest={"count": 4})
    shown = [[(s.text, s.probability, s.finish_reason) for s in it.suggestions] for it in (over_rest, over_grpc)]
    assert shown[0] == shown[1]


async def test_a_suggestion_for_a_block_may_span_lines_and_does_not_leave_it(caller: Caller) -> None:
    async def suggested(text: str, stop: str) -> list[tuple[str, str]]:
        shown = await caller.create(text=text, suggest={"count": 1, "max_bytes": 64, "stop": stop})
        return [(suggestion.text, suggestion.finish_reason) for suggestion in shown.suggestions]

    outside = [one for number in range(8) for one in await suggested(f"call({number})", "block")]
    assert any("\n" in text for text, _ in outside)
    ended = 0
    for number in range(8):
        text = f"        call({number})"
        for (block, reason), (whole, _) in zip(
            await suggested(text, "block"), await suggested(text, "none"), strict=False
        ):
            assert whole.startswith(block)
            assert all(not line.strip() or line.startswith("        ") for line in block.split("\n")[1:-1])
            ended += reason == "stop"
    assert ended


async def test_a_suggestion_ends_before_the_first_of_its_stop_strings(caller: Caller) -> None:
    asked = {"count": 1, "max_bytes": 40, "stop": "none"}
    (whole,) = (await caller.create(text=TEXT, suggest=asked)).suggestions
    string = whole.text[5:7]
    (cut,) = (await caller.create(text=TEXT, suggest={**asked, "stop_strings": ["\x00", string]})).suggestions
    assert cut.text == whole.text[: whole.text.index(string)]
    assert cut.finish_reason == "stop"


@pytest.mark.parametrize(
    ("strings", "field"),
    [
        (["a"] * 5, "suggest.stop_strings"),
        (["a", ""], "suggest.stop_strings[1]"),
        (["é" * 33], "suggest.stop_strings[0]"),
    ],
)
async def test_stop_strings_that_are_too_many_too_long_or_empty_are_refused(
    caller: Caller, strings: list[str], field: str
) -> None:
    session = await caller.create()
    for asking in (
        caller.create(suggest={"stop_strings": strings}),
        caller.edit(session.id, 1, [], suggest={"stop_strings": strings}),
    ):
        with pytest.raises(Refused) as refused:
            await asking
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", field)


EDITS: list[tuple[str, Edits, str, int]] = [
    ("typing", [{"insert": "x"}, {"insert": "yz"}], "abcdefxyz", 9),
    ("deleting", [{"delete": 2}], "abcd", 4),
    ("replacing", [{"replace": {"start": 1, "end": 3, "text": "-----"}}], "a-----def", 6),
    ("inserting in the middle", [{"cursor": 3}, {"insert": "|"}], "abc|def", 4),
    ("deleting in the middle", [{"cursor": 3}, {"delete": 1}], "abdef", 2),
    ("deleting everything", [{"delete": 6}], "", 0),
    ("moving alone", [{"cursor": 0}], "abcdef", 0),
]


@pytest.mark.parametrize(("edits", "text", "cursor"), [row[1:] for row in EDITS], ids=[row[0] for row in EDITS])
async def test_an_edited_session_suggests_what_a_fresh_one_with_the_same_text_does(
    caller: Caller, edits: Edits, text: str, cursor: int
) -> None:
    session = await caller.create(text="abcdef")
    edited = await caller.edit(session.id, 1, edits, suggest={"count": 3})
    assert (edited.revision, edited.cursor) == (2, cursor)
    assert (await caller.get(session.id)).text == text
    fresh = await caller.create(text=text[:cursor], suggest={"count": 3})
    assert [(s.text, s.probability) for s in edited.suggestions] == [(s.text, s.probability) for s in fresh.suggestions]


@pytest.mark.parametrize(("units", "length", "before_b"), [("codepoint", 4, 3), ("utf16", 6, 5), ("utf8", 11, 10)])
async def test_offsets_count_what_the_request_says(caller: Caller, units: str, length: int, before_b: int) -> None:
    session = await caller.create(text="🎠é")
    await caller.edit(session.id, 1, [{"insert": "👍👎"}, {"delete": 1}, {"insert": "b"}])
    shown = await caller.get(session.id, units=units)
    assert (shown.length, shown.cursor) == (length, length)
    moved = await caller.edit(session.id, 2, [{"cursor": before_b}, {"insert": "!"}], units=units)
    assert (moved.length, moved.cursor) == (length + 1, before_b + 1)
    assert (await caller.get(session.id)).text == "🎠é👍!b"


async def test_an_offset_inside_of_an_emoji_is_refused(caller: Caller) -> None:
    session = await caller.create(text="🎠")
    with pytest.raises(Refused) as refused:
        await caller.edit(session.id, 1, [{"cursor": 1}], units="utf16")
    assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "edits[0].cursor")


async def test_undo_makes_an_earlier_revision_the_newest(caller: Caller) -> None:
    session = await caller.create(text="one")
    await caller.edit(session.id, 1, [{"insert": " two"}])
    await caller.edit(session.id, 2, [{"cursor": 0}, {"insert": "zero "}])
    undone = await caller.edit(session.id, 3, [{"undo_to": 2}])
    assert (undone.revision, undone.cursor) == (4, 7)
    assert (await caller.get(session.id)).text == "one two"


async def test_a_suggestion_is_accepted_whole_or_in_part(caller: Caller) -> None:
    session = await caller.create(text=TEXT, suggest={"count": 2})
    suggestion = session.suggestions[0]
    part = await caller.edit(session.id, 1, [{"accept": {"suggestion": suggestion.id, "length": 1}}])
    assert (await caller.get(part.id)).text == TEXT + suggestion.text[:1]
    again = await caller.create(text=TEXT, suggest={"count": 2})
    whole = await caller.edit(again.id, 1, [{"accept": {"suggestion": again.suggestions[0].id}}])
    assert (await caller.get(whole.id)).text == TEXT + suggestion.text


async def test_a_retried_edit_is_applied_once(caller: Caller) -> None:
    session = await caller.create(text="a")
    once = await caller.edit(session.id, 1, [{"insert": "b"}], edit_id="e1")
    twice = await caller.edit(session.id, 1, [{"insert": "b"}], edit_id="e1")
    assert (once.revision, twice.revision) == (2, 2)
    assert (await caller.get(session.id)).text == "ab"


async def test_an_edit_id_with_other_content_is_a_conflict(caller: Caller) -> None:
    session = await caller.create(text="a")
    await caller.edit(session.id, 1, [{"insert": "b"}], edit_id="e1")
    with pytest.raises(Refused) as refused:
        await caller.edit(session.id, 1, [{"insert": "c"}], edit_id="e1")
    assert (refused.value.code, refused.value.revision) == ("REVISION_CONFLICT", 2)


async def test_creating_with_an_own_id_is_idempotent(caller: Caller) -> None:
    first = await caller.create(id=f"own-{caller.name}", text="a")
    second = await caller.create(id=f"own-{caller.name}", text="a")
    assert first.id == second.id == f"own-{caller.name}"
    with pytest.raises(Refused) as refused:
        await caller.create(id=f"own-{caller.name}", text="other")
    assert refused.value.code == "REVISION_CONFLICT"


async def test_a_deleted_session_is_gone(caller: Caller) -> None:
    session = await caller.create(text="a")
    await caller.delete(session.id)
    with pytest.raises(Refused) as refused:
        await caller.get(session.id)
    assert refused.value.code == "NOT_FOUND"


async def test_empty_edits_do_not_advance_the_revision(caller: Caller) -> None:
    session = await caller.create(text="a")
    assert (await caller.edit(session.id, 1, [], suggest={"count": 1})).revision == 1


BAD_EDITS: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("stale revision", {"revision": 0, "edits": [{"insert": "x"}]}, "REVISION_CONFLICT", None),
    ("future revision", {"revision": 9, "edits": [{"insert": "x"}]}, "REVISION_CONFLICT", None),
    ("delete beyond the start", {"edits": [{"delete": 4}]}, "INVALID_ARGUMENT", "edits[0].delete"),
    ("delete more than fits a word", {"edits": [{"delete": 2**64 - 1}]}, "INVALID_ARGUMENT", "edits[0].delete"),
    ("cursor beyond the end", {"edits": [{"cursor": 4}]}, "INVALID_ARGUMENT", "edits[0].cursor"),
    (
        "replace beyond the end",
        {"edits": [{"replace": {"start": 0, "end": 4, "text": ""}}]},
        "INVALID_ARGUMENT",
        "edits[0].replace.end",
    ),
    (
        "replace backwards",
        {"edits": [{"replace": {"start": 2, "end": 1, "text": ""}}]},
        "INVALID_ARGUMENT",
        "edits[0].replace.end",
    ),
    ("edit over its limit", {"edits": [{"insert": "x" * 65_537}]}, "INVALID_ARGUMENT", "edits[0].insert"),
    ("second edit wrong", {"edits": [{"insert": "x"}, {"delete": 5}]}, "INVALID_ARGUMENT", "edits[1].delete"),
    ("undo to the future", {"edits": [{"undo_to": 7}]}, "INVALID_ARGUMENT", "edits[0].undo_to"),
    (
        "unknown suggestion",
        {"edits": [{"accept": {"suggestion": "no"}}]},
        "INVALID_ARGUMENT",
        "edits[0].accept.suggestion",
    ),
    ("empty operation", {"edits": [{}]}, "INVALID_ARGUMENT", "edits[0]"),
    ("no suggestions", {"edits": [], "suggest": {"count": 0}}, "INVALID_ARGUMENT", "suggest.count"),
    ("too many suggestions", {"edits": [], "suggest": {"count": 17}}, "INVALID_ARGUMENT", "suggest.count"),
    ("no bytes", {"edits": [], "suggest": {"max_bytes": 0}}, "INVALID_ARGUMENT", "suggest.max_bytes"),
    ("too many bytes", {"edits": [], "suggest": {"max_bytes": 513}}, "INVALID_ARGUMENT", "suggest.max_bytes"),
    ("edit id too long", {"edits": [{"insert": "x"}], "edit_id": "e" * 129}, "INVALID_ARGUMENT", "edit_id"),
]


@pytest.mark.parametrize(("bad", "code", "field"), [row[1:] for row in BAD_EDITS], ids=[row[0] for row in BAD_EDITS])
async def test_a_bad_edit_is_refused_by_name_and_changes_nothing(
    caller: Caller, bad: dict[str, Any], code: str, field: str | None
) -> None:
    session = await caller.create(text="abc")
    with pytest.raises(Refused) as refused:
        await caller.edit(session.id, **{"revision": 1, **bad})
    assert (refused.value.code, refused.value.field) == (code, field)
    statuses = STATUSES[Code(code)]
    assert refused.value.status in (statuses.grpc, statuses.http)
    if code == "REVISION_CONFLICT":
        assert refused.value.revision == 1
    after = await caller.get(session.id)
    assert (after.revision, after.text, after.cursor) == (1, "abc", 3)


BAD_CREATES: list[tuple[str, dict[str, Any], str, str | None]] = [
    ("an id with a space", {"id": "a b"}, "INVALID_ARGUMENT", "id"),
    ("an unknown model", {"model": "none such"}, "NOT_FOUND", None),
    ("too many suggestions", {"suggest": {"count": 99}}, "INVALID_ARGUMENT", "suggest.count"),
]


@pytest.mark.parametrize(
    ("bad", "code", "field"), [row[1:] for row in BAD_CREATES], ids=[row[0] for row in BAD_CREATES]
)
async def test_a_bad_create_is_refused_by_name(
    caller: Caller, bad: dict[str, Any], code: str, field: str | None
) -> None:
    with pytest.raises(Refused) as refused:
        await caller.create(**bad)
    assert (refused.value.code, refused.value.field) == (code, field)


@pytest.mark.parametrize("facade", ["rest", "grpc"])
async def test_a_session_over_its_limit_is_refused_and_unchanged(facade: Any) -> None:
    async with running(max_session_bytes=10) as server, calling(facade, server) as caller:
        with pytest.raises(Refused) as refused:
            await caller.create(text="x" * 11)
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "text")
        session = await caller.create(text="x" * 10)
        with pytest.raises(Refused) as refused:
            await caller.edit(session.id, 1, [{"insert": "y"}])
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "edits[0].insert")
        assert (await caller.get(session.id)).text == "x" * 10


async def test_an_unknown_session_is_not_found(caller: Caller) -> None:
    for attempt in (caller.get("none"), caller.delete("none"), caller.edit("none", 1, [])):
        with pytest.raises(Refused) as refused:
            await attempt
        assert refused.value.code == "NOT_FOUND"
        assert refused.value.status in (404, grpc.StatusCode.NOT_FOUND)


async def test_a_request_id_comes_back(caller: Caller) -> None:
    shown = await caller.create(headers={"x-request-id": "mine-17"})
    assert shown.request_id == "mine-17"
    with pytest.raises(Refused) as refused:
        await caller.get("none", headers={"x-request-id": "mine-18"})
    assert refused.value.request_id == "mine-18"


async def test_a_request_id_is_made_where_none_or_an_unfit_one_was_given(caller: Caller) -> None:
    made = {(await caller.create()).request_id, (await caller.create(headers={"x-request-id": "a b"})).request_id}
    assert len(made) == 2
    assert "a b" not in made


@pytest.mark.parametrize("facade", ["rest", "grpc"])
async def test_a_trusted_gateway_names_the_tenant_and_tenants_do_not_meet(facade: Any) -> None:
    async with running(trust_tenant_header=True) as server, calling(facade, server) as caller:
        session = await caller.create(text="a", headers={"x-carousel-tenant": "blue"})
        assert (await caller.get(session.id, headers={"x-carousel-tenant": "blue"})).text == "a"
        with pytest.raises(Refused) as refused:
            await caller.get(session.id, headers={"x-carousel-tenant": "green"})
        assert refused.value.code == "NOT_FOUND"
        with pytest.raises(Refused) as refused:
            await caller.create(headers={"x-carousel-tenant": "no/such/name"})
        assert (refused.value.code, refused.value.field) == ("INVALID_ARGUMENT", "x-carousel-tenant")


async def test_a_tenant_header_is_not_believed_unless_it_is_trusted(caller: Caller) -> None:
    session = await caller.create(text="a", headers={"x-carousel-tenant": "blue"})
    assert (await caller.get(session.id)).text == "a"
