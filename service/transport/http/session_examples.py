"""What the session paths' documentation shows: requests that run, in this order, on a session begun with the first."""

from __future__ import annotations

from typing import Any

from service.engine.requests import ModelIdentity
from service.sessions.commands import SessionId
from service.sessions.documents import write_document
from service.sessions.exactly_once import creation_digest
from service.sessions.records import Checkpoint

CREATE_EXAMPLES: dict[str, Any] = {
    "suggest at once": {
        "summary": "Start with a text and ask for suggestions",
        "value": {"text": "import os\nfor root, dirs, files in os.", "suggest": {"count": 3}},
    },
    "empty": {"summary": "Start empty", "value": {}},
    "own id": {"summary": "Choose the id, so that a retry is safe", "value": {"id": "tab-17", "text": "def main():"}},
}
EDIT_EXAMPLES: dict[str, Any] = {
    "type": {
        "summary": "Type, and ask what comes next",
        "value": {
            "revision": 1,
            "edit_id": "a1-1",
            "edits": [{"insert": "walk("}],
            "suggest": {"count": 3, "max_bytes": 48, "stop": "line"},
        },
    },
    "accept": {
        "summary": "Take a suggestion",
        "value": {"revision": 2, "edits": [{"accept": {"suggestion": "the id of a suggestion"}}]},
    },
    "block": {
        "summary": "Ask for the rest of the block, but for no comment",
        "value": {
            "revision": 3,
            "edits": [{"insert": "\n    for name in files:"}],
            "suggest": {"count": 1, "max_bytes": 256, "stop": "block", "stop_strings": ["#"]},
        },
    },
    "correct": {
        "summary": "Delete two characters and type others, as one edit",
        "value": {"revision": 4, "edits": [{"delete": 2}, {"insert": "s:"}]},
    },
    "replace": {
        "summary": "Replace a range, counted as an editor counts it",
        "value": {"revision": 5, "units": "utf16", "edits": [{"replace": {"start": 7, "end": 9, "text": "sys"}}]},
    },
    "undo": {"summary": "Go back to an earlier revision", "value": {"revision": 6, "edits": [{"undo_to": 2}]}},
}
TEXT_EXAMPLES: dict[str, Any] = {
    "save": {
        "summary": "What an editor holds after some changes that nobody has followed",
        "value": {
            "revision": 1,
            "edit_id": "save-4",
            "text": "import os\nfor folder, dirs, files in os.walk(",
            "suggest": {"count": 1},
        },
    },
    "with the cursor": {
        "summary": "And where its cursor is, as it counts",
        "value": {"revision": 2, "text": "import os\n\nos.walk(", "cursor": 10, "units": "utf16"},
    },
}
FORK_EXAMPLES: dict[str, Any] = {
    "now": {"summary": "Go on from here in two ways", "value": {}},
    "then": {
        "summary": "From an earlier revision, with an id that makes a retry safe",
        "value": {"id": "tab-17-b", "revision": 1},
    },
}
DOCUMENT_EXAMPLE = write_document(
    SessionId("tab-18"),
    ModelIdentity("the model's name", "the digest of its weights", "not written"),
    Checkpoint(0, 1, "", creation_digest("the model's name", "def main():"), "def main():", 11),
).decode()
"""A session that was never edited, as export writes it; importing it takes `?model=`, as no model has that name."""
