"""`valkeys://`: the store over TLS, with a certificate of a self-made authority, and with one that is another's."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest
import trustme

from service.sessions.stores.opening import CannotOpen
from service.settings import load_settings
from service.storing import Opening
from service.transport.grpc.generated.carousel.v1 import autocomplete_pb2 as pb
from tests.contract.valkey_server import ValkeyServer
from tests.faults.conftest import Counting
from tests.faults.crowd import crowd
from tests.faults.replicas import Replica, Replicas, serving
from tests.faults.wire import Wire


@pytest.fixture
def valkey(tmp_path: Path) -> Iterator[ValkeyServer]:
    server = ValkeyServer(tmp_path, "--appendonly", "yes").start()
    yield server
    server.kill()


@pytest.fixture
def authority() -> trustme.CA:
    return trustme.CA()


def _file(folder: Path, authority: trustme.CA) -> Path:
    written = folder / f"authority-{id(authority)}.pem"
    authority.cert_pem.write_to_path(str(written))
    return written


@asynccontextmanager
async def _before(valkey: ValkeyServer, authority: trustme.CA, *names: str) -> AsyncIterator[Wire]:
    """What speaks TLS stands before it, as its own build may not."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(*names).configure_cert(context)
    async with Wire(valkey.port, context) as wire:
        yield wire


async def test_sessions_are_kept_over_tls_and_a_connection_that_breaks_is_made_again(
    tmp_path: Path, valkey: ValkeyServer, authority: trustme.CA, checked: Counting
) -> None:
    async with _before(valkey, authority, "127.0.0.1") as wire:
        store = f"store=valkeys://127.0.0.1:{wire.port}/0?ssl_ca_certs={_file(tmp_path, authority)}"
        async with Replicas(2, store) as replicas, crowd(replicas.running, 2) as people:
            await people.type_some(2)
            wire.cut()
            await people.type_some(2)
    checked("TLS connections to the store cut", 1, people.histories)


async def _refusal(server: Replica) -> str:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await server.stub.CreateSession(pb.CreateSessionRequest(text="a"))
    assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
    return refused.value.details() or ""


_WRONG = {
    "authority": "unable to get local issuer certificate",
    "name": "IP address mismatch, certificate is not valid for '127.0.0.1'.",
}


@pytest.mark.parametrize("wrong", _WRONG)
async def test_a_certificate_that_is_not_to_be_trusted_is_one_clear_sentence_and_nothing_is_sent(
    tmp_path: Path, valkey: ValkeyServer, authority: trustme.CA, wrong: str
) -> None:
    trusted = trustme.CA() if wrong == "authority" else authority
    async with _before(valkey, authority, "127.0.0.1" if wrong == "authority" else "elsewhere.example") as wire:
        store = f"store=valkeys://127.0.0.1:{wire.port}/0?ssl_ca_certs={_file(tmp_path, trusted)}"
        async with serving(store) as server:
            told = await _refusal(server)
            assert told == (
                f"the session store does not answer (its certificate is not to be trusted: {_WRONG[wrong]}; "
                "?ssl_ca_certs=FILE names whom to trust): try again"
            )
            assert server.said("THE SESSION STORE DOES NOT ANSWER")
    assert valkey.ask("KEYS", "*") == []


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("ssl_ca_certs=/nowhere/authority.pem", "/nowhere/authority.pem, which its options name"),
        ("ssl_ca_cert=authority.pem", "its options (ssl_ca_cert=authority.pem) are not those of redis-py"),
    ],
)
def test_an_option_that_cannot_be_used_is_one_line_at_the_start(options: str, said: str) -> None:
    with pytest.raises(CannotOpen) as refused:
        Opening(load_settings({"store": f"valkeys://127.0.0.1:1/0?{options}"}).storing()).take()
    assert str(refused.value).startswith(said)
