"""A prompt in any of OpenAI's four forms: a string, strings, tokens, lists of tokens. A token is a byte of UTF-8."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from service.errors import InvalidArgument
from service.sessions.units import check_text

MOST_PROMPTS: Final = 2048  # OpenAI's own limit
SEPARATOR: Final = 255
"""The token between texts: what every text begins after, and what ends it. No byte of UTF-8 is 255."""

_FORMS: Final = "must be a string, a list of strings, a list of tokens (0..255) or a list of lists of tokens"


@dataclass(frozen=True, slots=True)
class PromptText:
    """One prompt: its bytes, which need not be whole characters, and whether the separator stood before them."""

    data: bytes
    separated: bool = False

    @property
    def tokens(self) -> int:
        """How many there were."""
        return len(self.data) + self.separated

    @property
    def text(self) -> str:
        """As characters; bytes that are none as U+FFFD."""
        return self.data.decode(errors="replace")

    def whole(self, field: str) -> str:
        """As characters. Raises InvalidArgument that names `field` if it does not consist of whole ones."""
        try:
            return self.data.decode()
        except UnicodeDecodeError as error:
            fault = f"no valid UTF-8 at byte {error.start}: only whole characters are gone on from"
            raise InvalidArgument(field, fault) from None


def prompts_of(given: Any) -> tuple[PromptText, ...]:
    """What a JSON value asks for; None is the empty text. Raises InvalidArgument that names the place at fault."""
    if given is None:
        return (PromptText(b""),)
    if isinstance(given, str):
        return (_of_string(given, "prompt"),)
    if not isinstance(given, list):
        raise InvalidArgument("prompt", _FORMS)
    if not given:
        raise InvalidArgument("prompt", 'is an empty list; the empty text is ""')
    if isinstance(given[0], int):
        return (_of_tokens(given, "prompt"),)
    if len(given) > MOST_PROMPTS:
        raise InvalidArgument(
            "prompt", f"{len(given)} prompts, at most {MOST_PROMPTS} are taken: send several requests"
        )
    if isinstance(given[0], str):
        return tuple(_of_string(one, f"prompt[{index}]") for index, one in enumerate(given))
    return tuple(_of_tokens(one, f"prompt[{index}]") for index, one in enumerate(given))


def field_of(index: int, count: int) -> str:
    """What the caller wrote for one of `count` prompts."""
    return "prompt" if count == 1 else f"prompt[{index}]"


def _of_string(given: Any, field: str) -> PromptText:
    if not isinstance(given, str):
        raise InvalidArgument(field, "must be a string, as the first one is")
    check_text(given, field)
    return PromptText(given.encode())


def _of_tokens(given: Any, field: str) -> PromptText:
    if not isinstance(given, list):
        raise InvalidArgument(field, _FORMS)
    for place, token in enumerate(given):
        if type(token) is not int or not 0 <= token <= SEPARATOR:
            raise InvalidArgument(f"{field}[{place}]", "is no token: a token is a byte of UTF-8, 0..254, or 255")
        if token == SEPARATOR and place > 0:
            fault = "255 stands between texts, so it can only be the first token; send several prompts"
            raise InvalidArgument(f"{field}[{place}]", fault)
    separated = given[:1] == [SEPARATOR]
    return PromptText(bytes(given[separated:]), separated)
