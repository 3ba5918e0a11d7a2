"""JSON as RFC 8259 wants it: UTF-8, and no key twice in one object; what is none says what is wrong.

Python's own reader keeps the last of two equal keys, which would answer another question than was asked. NaN passes
here, for the field that holds it is told by name.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from service.errors import InvalidArgument
from service.transport.http.leaving import CallerLeft, NoAnswer, while_connected


def read_json(text: str | bytes, name: str = "body") -> Any:
    """The value. Raises InvalidArgument of the field `name`, which is what was read."""
    try:
        whole = text if isinstance(text, str) else text.decode()
        return _READER.decode(whole)
    except UnicodeDecodeError as error:
        raise InvalidArgument(name, f"not valid UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise InvalidArgument(name, f"not valid JSON: {error.msg} at {error.pos}") from error
    except RecursionError as error:
        raise InvalidArgument(name, "not readable as JSON: nested too deep") from error
    except ValueError as error:  # of our own, or of a number with more digits than Python reads
        raise InvalidArgument(name, f"not readable as JSON: {error}") from error


def _each_once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for index, name in enumerate(names) if name in names[:index])
        raise ValueError(f"the key {twice!r} stands in one object twice")
    return made


_READER = json.JSONDecoder(object_pairs_hook=_each_once)


class StrictJsonRoute(APIRoute):
    """A route whose body is read by `read_json`, and whose work ends when its caller leaves.

    For `APIRouter(route_class=...)`.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The framework's handler, given a request of ours."""
        handler = super().get_route_handler()

        async def handle(request: Request) -> Response:
            strict = _StrictRequest(request.scope, request.receive)
            if request.method == "GET":
                return await handler(strict)
            try:
                await strict.body()
                return await while_connected(strict, handler(strict))
            except (CallerLeft, ClientDisconnect):
                return NoAnswer()

        return handle


class _StrictRequest(Request):
    async def json(self) -> Any:
        if not hasattr(self, "_json"):
            self._json = read_json(await self.body())
        return self._json
