"""Python client of Carousel: sessions of text under edit, and suggestions for how it goes on.

    with Client("127.0.0.1:50051") as client, client.session("import o") as session:
        session.type("s")
        print(session.suggest().suggestions)

What is sent, understood and decided stands once, in modules that do no I/O (`messages`, `session_state`, `retries`,
`conversation`); `client` and `aio` are the thin shells around them, one for threads and one for asyncio.
"""

from carousel_client.aio import AsyncClient, AsyncSession
from carousel_client.aio_completion import AsyncCompletion
from carousel_client.aio_typing_stream import AsyncTypingStream
from carousel_client.answers import (
    Acknowledged,
    Alternatives,
    Answer,
    Disconnected,
    Event,
    FinishReason,
    Model,
    Piece,
    Reconnected,
    Rejected,
    Suggested,
    Suggestion,
)
from carousel_client.client import Client, Session
from carousel_client.completion import Completion
from carousel_client.edits import (
    Accept,
    CompleteOptions,
    Delete,
    Edit,
    Insert,
    MoveCursor,
    Replace,
    Stop,
    SuggestOptions,
    UndoTo,
    Units,
)
from carousel_client.errors import (
    CarouselError,
    DeadlineExceeded,
    Fenced,
    Internal,
    InvalidArgument,
    NotFound,
    Overloaded,
    PermissionDenied,
    QuotaExceeded,
    RevisionConflict,
    Unauthenticated,
    Unavailable,
)
from carousel_client.opening import SessionSummary
from carousel_client.retries import RetryPolicy
from carousel_client.scores import Score, Surprise
from carousel_client.typing_stream import TypingStream

__version__ = "0.1.0"

__all__ = [
    "Accept",
    "Acknowledged",
    "Alternatives",
    "Answer",
    "AsyncClient",
    "AsyncCompletion",
    "AsyncSession",
    "AsyncTypingStream",
    "CarouselError",
    "Client",
    "CompleteOptions",
    "Completion",
    "DeadlineExceeded",
    "Delete",
    "Disconnected",
    "Edit",
    "Event",
    "Fenced",
    "FinishReason",
    "Insert",
    "Internal",
    "InvalidArgument",
    "Model",
    "MoveCursor",
    "NotFound",
    "Overloaded",
    "PermissionDenied",
    "Piece",
    "QuotaExceeded",
    "Reconnected",
    "Rejected",
    "Replace",
    "RetryPolicy",
    "RevisionConflict",
    "Score",
    "Session",
    "SessionSummary",
    "Stop",
    "SuggestOptions",
    "Suggested",
    "Suggestion",
    "Surprise",
    "TypingStream",
    "Unauthenticated",
    "Unavailable",
    "UndoTo",
    "Units",
]
