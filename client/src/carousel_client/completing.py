"""What is known of a completion while its pieces come: written once for all shells."""

from __future__ import annotations

from carousel_client.answers import Model, Piece
from carousel_client.generated.carousel.v1 import autocomplete_pb2 as pb
from carousel_client.messages import model_of, piece_of


class CompletionState:
    """What has come of a completion: `texts` by index, and from the first piece on what they depend on."""

    def __init__(self) -> None:
        self.texts: dict[int, str] = {}
        self.model: Model | None = None
        self.seed: int | None = None
        self.revision: int | None = None  # of the session; None for a prompt

    @property
    def begun(self) -> bool:
        """Whether a piece has come."""
        return bool(self.texts)

    def take(self, response: pb.CompleteResponse) -> Piece:
        """The piece that the server tells."""
        if response.HasField("completion"):
            about = response.completion
            self.model, self.seed = model_of(about.model), about.seed
            self.revision = about.revision if about.HasField("revision") else None
        self.texts[response.index] = self.texts.get(response.index, "") + response.text
        return piece_of(response)
