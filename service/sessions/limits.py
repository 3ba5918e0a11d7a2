"""How large sessions and requests may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Sizes of text are bytes of UTF-8."""

    max_sessions: int = 10_000  # held by this process
    max_awake: int = 512  # of those held; the others rest (`holding`), the least recently asked for first
    max_text_bytes: int = 1024 * 1024  # of a session
    max_edits: int = 1_000  # of a request
    max_inserted_bytes: int = 64 * 1024  # by a request
    max_document_bytes: int = 4 * 1024 * 1024  # of an exported session, whose history may outgrow its text
    max_suggestions: int = 16
    max_suggestion_bytes: int = 512
    max_completions: int = 16  # of one request
    max_completion_bytes: int = 4096
    max_stops: int = 4  # of one completion
    max_stop_bytes: int = 64
    max_alternatives: int = 16  # at one byte: what a model's step returns
    max_surprises: int = 64  # of one scored text
    max_scored_values: int = 256 * 1024  # of one scored text: its bytes, times one and the alternatives at each
    known_edits: int = 256  # per session, for retries
    history_revisions: int = 1_000  # per session, for undo
    history_bytes: int = 256 * 1024  # of memory per session, for undo; the newest edit is kept whatever its size
    checkpoint_every: int = 256  # commits, for the store; earlier if their texts outgrow history_bytes
    snapshots: bool = True  # whether states are kept beside the texts, where a store keeps these
    snapshot_gain: int = 1024  # characters that a session at rest has to have gained since its last snapshot
    snapshot_every: int = 4096  # characters, of one that is typed in; what a take-over replays at most, or nearly
    snapshot_before_cursor: int = 32  # bytes; a state further back by as much is worth more than the last one
    retry_after_s: float = 1.0  # told to who is refused because max_sessions are held
