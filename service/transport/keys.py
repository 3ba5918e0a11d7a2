"""API keys: who may call, and as which tenant, from a file that is read again when it changes.

A line of the file is `TENANT KEY`, or `TENANT sha256:HEX` of a key that nobody should read there; empty lines and lines
that begin with # are passed over. A tenant may have several keys, so that one can be replaced by another. The tenant
`*` is a gateway, which names its callers' tenants in x-carousel-tenant.

Keys are found by their SHA-256: how long that takes tells of a hash at most, from which no key can be found. No message
of this module quotes a word of the file or of a header: any of them may be a key.
"""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from service.errors import Unauthenticated
from service.sessions.commands import Tenant

KEY_HEADER: Final = "authorization"
TENANT_NAME: Final = re.compile(r"[A-Za-z0-9._-]{1,64}")
GATEWAY: Final = "*"

_KEY = r"[A-Za-z0-9._~+/-]{16,512}={0,2}"  # RFC 6750, section 2.1; too short to be guessed is not taken
_KEY_OR_HASH = re.compile(rf"(?P<key>{_KEY})|sha256:(?P<hash>[0-9A-Fa-f]{{64}})", re.ASCII)
_BEARER = re.compile(rf"bearer +({_KEY}) *", re.ASCII | re.IGNORECASE)
_MOST_BYTES = 1 << 20  # what a Secret of Kubernetes holds
_LOOK_EVERY_S = 1.0

Holders = Mapping[bytes, Tenant | None]
"""Whose a key is, by the key's SHA-256; None for a gateway's."""


class BadKeys(Exception):
    """A file that cannot be used; the message says where it is wrong and what belongs there."""


def read_keys(content: bytes, *, gateways: bool) -> Holders:
    """The keys of a file's content. Raises BadKeys; `gateways`: whether the tenant `*` may stand in it."""
    if len(content) > _MOST_BYTES:
        raise BadKeys(f"has more than {_MOST_BYTES} bytes, which nobody's keys need")
    try:
        lines = content.decode().splitlines()
    except UnicodeDecodeError as error:
        raise BadKeys(f"is not UTF-8 (byte {error.start})") from None
    found: dict[bytes, Tenant | None] = {}
    for number, line in enumerate(lines, start=1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        tenant, digest = _entry(words, f"line {number}", gateways=gateways)
        if found.setdefault(digest, tenant) != tenant:
            raise BadKeys(f"line {number}: the key is another tenant's already; give each tenant keys of its own")
    if not found:
        raise BadKeys("holds no key; a line is `TENANT KEY`")
    return found


def _entry(words: list[str], where: str, *, gateways: bool) -> tuple[Tenant | None, bytes]:
    if len(words) != 2:
        raise BadKeys(f"{where}: not two words; a line is `TENANT KEY`")
    named, written = words
    if named == GATEWAY and not gateways:
        raise BadKeys(
            f"{where}: the key of the tenant * names tenants by x-carousel-tenant, which is believed with "
            "--trust-tenant-header only"
        )
    if named != GATEWAY and TENANT_NAME.fullmatch(named) is None:
        raise BadKeys(f"{where}: a tenant's name, which is first, is 1 to 64 of A-Z a-z 0-9 . _ -")
    key = _KEY_OR_HASH.fullmatch(written)
    if key is None:
        raise BadKeys(
            f"{where}: a key is 16 to 512 of A-Z a-z 0-9 . _ ~ + / - (then = or ==), or sha256: and 64 hexadecimal "
            "digits; `openssl rand -hex 32` makes one"
        )
    tenant = None if named == GATEWAY else Tenant(named)
    return tenant, bytes.fromhex(key["hash"]) if key["hash"] else _digest(key["key"])


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


class ApiKeys:
    """The keys of a file. `holder` is asked on the event loop's thread; `follow` reads the file on another.

    Raises BadKeys when it is made of a file that cannot be used. One that cannot be used later leaves the keys as they
    were, and the log says so.
    """

    def __init__(self, path: Path, *, gateways: bool = False) -> None:
        self._path, self._gateways = path, gateways
        self._log = logging.getLogger("carousel.keys")
        self._seen = self._signature()
        self._holders = self._read()
        self.current = True  # whether they are those of the file as it was found last

    def holder(self, authorization: str | None) -> Tenant | None:
        """The tenant of the key in an Authorization header; None for a gateway's. Raises Unauthenticated."""
        if authorization is None:
            raise Unauthenticated("this server asks for a key; send the header `authorization: Bearer KEY`")
        sent = _BEARER.fullmatch(authorization)
        if sent is None:
            raise Unauthenticated("the header authorization holds no key; it is `authorization: Bearer KEY`")
        try:
            return self._holders[_digest(sent[1])]
        except KeyError:
            raise Unauthenticated("the key is not known to this server; ask who runs it for one") from None

    async def follow(self) -> None:
        """Look every second whether the file has changed; never returns."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            await asyncio.to_thread(self.reread)

    def reread(self) -> None:
        """Read the file again if it is another one than was read last, by whatever names and links it is reached."""
        signature = self._signature()
        if signature == self._seen:
            return
        self._seen = signature
        try:
            self._holders = self._read()
        except BadKeys as error:
            self.current = False
            self._log.error("the API keys stay as they were: their file cannot be used", extra={"cause": str(error)})
        else:
            self.current = True
            tenants = len(set(self._holders.values()))
            self._log.info("the API keys were read again", extra={"keys": len(self._holders), "tenants": tenants})

    def _read(self) -> Holders:
        try:
            with self._path.open("rb") as file:
                content = file.read(_MOST_BYTES + 1)
        except OSError as error:
            raise BadKeys(f"{self._path} cannot be read: {error.strerror}") from error
        try:
            return read_keys(content, gateways=self._gateways)
        except BadKeys as error:
            raise BadKeys(f"{self._path} {error}") from None

    def _signature(self) -> tuple[int, ...] | None:
        """What changes when the file does; None while there is none."""
        try:
            found = self._path.stat()
        except OSError:
            return None
        return (found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
