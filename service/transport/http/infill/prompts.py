"""What is left of the cursor, from the forms in which llama.cpp takes it. A token is a byte of UTF-8."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from service.errors import InvalidArgument
from service.sessions.units import check_text
from service.sessions.window import readable_end
from service.transport.http.infill.models import ExtraChunk, InfillBody

MOST_PROMPTS: Final = 64


def prompts_of(given: Any) -> tuple[str, ...] | str:
    """The text of `prompt`, or of each of them if it holds several. Raises InvalidArgument that names the place."""
    if isinstance(given, str):
        return _text([given], "prompt")
    if not isinstance(given, list) or not given:
        raise InvalidArgument("prompt", "must be a string, or a list of strings and tokens (bytes) that is not empty")
    several = any(isinstance(one, list) for one in given) or all(isinstance(one, str) for one in given)
    if not several:
        return _text(given, "prompt")
    if len(given) > MOST_PROMPTS:
        raise InvalidArgument("prompt", f"{len(given)} prompts, at most {MOST_PROMPTS} are taken: send fewer at once")
    return tuple(_text(one if isinstance(one, list) else [one], f"prompt[{index}]") for index, one in enumerate(given))


def left_of(body: InfillBody) -> str:
    """What the model reads for an infill: of chunks, prefix and line the end, as far as it is worth reading.

    Chunks come first, as llama.cpp has it for models that know no file separator.
    """
    chunks = [_chunk(chunk, index) for index, chunk in enumerate(body.input_extra or ())]
    line = body.prompt or ""
    check_text(body.input_prefix, "input_prefix")
    check_text(line, "prompt")
    return readable_end("".join(chunks) + body.input_prefix + line)


def _chunk(chunk: ExtraChunk, index: int) -> str:
    check_text(chunk.text, f"input_extra[{index}].text")
    return chunk.text if chunk.text.endswith("\n") else chunk.text + "\n"


def _text(parts: Sequence[Any], field: str) -> str:
    data = bytearray()
    for index, part in enumerate(parts):
        if isinstance(part, str):
            check_text(part, field)
            data += part.encode()
        elif type(part) is int and 0 <= part < 255:
            data.append(part)
        else:
            raise InvalidArgument(f"{field}[{index}]", "is neither a string nor a token: tokens are bytes, 0..254")
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        fault = f"no valid UTF-8 at byte {error.start}: only whole characters are gone on from"
        raise InvalidArgument(field, fault) from None
