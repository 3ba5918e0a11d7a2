"""What start-up tells the person who started it: where to call, what is kept where, and one line to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from service.engine.requests import ModelIdentity
from service.model.example_request import curl, infer_path

_TRY: Mapping[str, object] = {
    "text": "import os\nfor root, dirs, files in os.",
    "suggest": {"count": 5, "stop": "word"},
}
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


class Addresses(NamedTuple):
    """Where a running server listens."""

    host: str
    grpc_port: int
    http_port: int
    metrics_port: int


def reachable(host: str, port: int) -> str:
    """`host:port` as this machine can call it, also where the server listens on every address."""
    name = _EVERYWHERE.get(host, host)
    return f"[{name}]:{port}" if ":" in name else f"{name}:{port}"


def greeting(
    addresses: Addresses,
    identities: Sequence[ModelIdentity],
    where_text_is_kept: str,
    tensors: Mapping[str, object] | None = None,
    *,
    asks_for_keys: bool = False,
) -> str:
    """The lines that start-up prints; `identities` are those of the models, the default first.

    tensors: a request to infer, where the default model reads no text.
    """
    host = addresses.host
    http = f"http://{reachable(host, addresses.http_port)}"
    path, body = "/v1/sessions", _TRY
    if tensors is not None:
        path, body = infer_path(identities[0].name), tensors
    served = ",\n  and ".join(
        f"{one.name} (digest {one.digest[:16]}, numerics {one.numerics_id})" for one in identities
    )
    key = ' -H "authorization: Bearer $CAROUSEL_API_KEY"' if asks_for_keys else ""
    callers = "\nCallers need a key of the file: put one into CAROUSEL_API_KEY." if asks_for_keys else ""
    return f"""\
Carousel serves {served}

  gRPC     {reachable(host, addresses.grpc_port)}
  REST     {http}/v1/sessions
  docs     {http}/docs
  metrics  http://{reachable(host, addresses.metrics_port)}/metrics

{where_text_is_kept}{callers}

Try it:

  {curl(http, path, body, key)} | python3 -m json.tool
"""
