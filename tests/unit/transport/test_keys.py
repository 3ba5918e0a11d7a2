"""The file of keys: what it may hold, what is refused, and what happens when it changes. Words of it are never told."""

from __future__ import annotations

import hashlib
import logging
import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import CarouselError, InvalidArgument, PermissionDenied, Unauthenticated
from service.sessions.commands import Tenant
from service.transport.caller import DEFAULT_TENANT, TenantResolver
from service.transport.keys import ApiKeys, BadKeys, read_keys

ONE, TWO = "a-first-key-of-24-letters", "c2Vjb25k/a2V5+b2Y=="
KEYS = st.from_regex(r"[A-Za-z0-9._~+/-]{16,40}={0,2}", fullmatch=True)
TENANTS = st.from_regex(r"[A-Za-z0-9._-]{1,64}", fullmatch=True)


def digest(key: str) -> bytes:
    return hashlib.sha256(key.encode()).digest()


def file_of(tmp_path: Path, *lines: str) -> Path:
    path = tmp_path / "keys"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def holder(keys: ApiKeys, key: str) -> Tenant | None:
    return keys.holder(f"Bearer {key}")


def test_a_line_is_a_tenant_and_its_key_or_the_hash_of_it() -> None:
    content = f"# keys\n\n  team-a   {ONE}\r\nteam-a sha256:{digest(TWO).hex().upper()}\n"
    assert read_keys(content.encode(), gateways=False) == {digest(ONE): "team-a", digest(TWO): "team-a"}


@given(st.dictionaries(KEYS, TENANTS, min_size=1, max_size=5), st.booleans())
def test_every_key_of_a_file_finds_its_tenant_and_no_other_key_does(written: dict[str, str], hashed: bool) -> None:
    lines = (f"{tenant} sha256:{digest(key).hex()}" if hashed else f"{tenant} {key}" for key, tenant in written.items())
    held = read_keys("\n".join(lines).encode(), gateways=False)
    assert {digest(key): tenant for key, tenant in written.items()} == held


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "holds no key; a line is `TENANT KEY`"),
        (b"# none\n", "holds no key"),
        (b"\xff\xfe", "is not UTF-8"),
        (ONE.encode(), "line 1: not two words"),
        (f"a {ONE}\n\nb {TWO} c".encode(), "line 3: not two words"),
        (f"no/such {ONE}".encode(), "line 1: a tenant's name, which is first"),
        (b"a short", "line 1: a key is 16 to 512"),
        (b"a sha256:abc", "line 1: a key is 16 to 512"),
        (f"a key:{ONE}".encode(), "line 1: a key is"),
        (f"a {'k' * 513}".encode(), "line 1: a key is"),
        (f"a {ONE}\nb sha256:{digest(ONE).hex()}".encode(), "line 2: the key is another tenant's already"),
        (f"* {ONE}".encode(), "believed with --trust-tenant-header only"),
        (b"#" * (1 << 20) + b"#", "has more than 1048576 bytes"),
    ],
)
def test_what_cannot_be_used_is_one_sentence_that_quotes_no_word_of_it(content: bytes, said: str) -> None:
    with pytest.raises(BadKeys) as refused:
        read_keys(content, gateways=False)
    assert said in str(refused.value)
    assert ONE not in str(refused.value)


@given(st.binary(max_size=200))
def test_any_bytes_are_keys_or_a_typed_refusal(content: bytes) -> None:
    with suppress(BadKeys):
        assert read_keys(content, gateways=True)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadKeys, match=r"nowhere cannot be read: No such file"):
        ApiKeys(tmp_path / "nowhere")
    with pytest.raises(BadKeys, match="cannot be read: Is a directory"):
        ApiKeys(tmp_path)


def test_a_changed_file_is_read_and_an_unusable_one_leaves_the_keys_and_says_so(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    path = file_of(tmp_path, f"a {ONE}")
    keys = ApiKeys(path)
    keys.reread()
    assert not caplog.records, "the same file"

    file_of(tmp_path, f"a {TWO}")
    keys.reread()
    assert holder(keys, TWO) == "a"
    with pytest.raises(Unauthenticated):
        holder(keys, ONE)
    assert (caplog.records[-1].levelname, vars(caplog.records[-1])["keys"]) == ("INFO", 1)

    file_of(tmp_path, f"a {ONE}", "nonsense")
    keys.reread()
    keys.reread()
    assert holder(keys, TWO) == "a"
    assert [record.levelname for record in caplog.records] == ["INFO", "ERROR"], "once, not every second"
    assert not keys.current
    assert "line 2: not two words" in vars(caplog.records[-1])["cause"]

    path.unlink()
    keys.reread()
    assert holder(keys, TWO) == "a"
    assert "cannot be read" in vars(caplog.records[-1])["cause"]

    file_of(tmp_path, f"b {ONE}")
    keys.reread()
    assert holder(keys, ONE) == "b"
    assert keys.current


def test_a_link_that_leads_elsewhere_is_a_change(tmp_path: Path) -> None:
    for name, key in (("first", ONE), ("second", TWO)):
        (tmp_path / name).write_text(f"a {key}", encoding="utf-8")
        os.utime(tmp_path / name, ns=(0, 0))
    (tmp_path / "keys").symlink_to("first")
    keys = ApiKeys(tmp_path / "keys")
    (tmp_path / "other").symlink_to("second")
    (tmp_path / "other").rename(tmp_path / "keys")
    keys.reread()
    assert holder(keys, TWO) == "a"


def resolver(tmp_path: Path, *, trust_header: bool) -> TenantResolver:
    lines = (f"a {ONE}", f"* {TWO}") if trust_header else (f"a {ONE}",)
    return TenantResolver(trust_header=trust_header, keys=ApiKeys(file_of(tmp_path, *lines), gateways=trust_header))


def resolved(tenants: TenantResolver, **headers: str) -> Tenant:
    return tenants.resolve({name.replace("_", "-"): value for name, value in headers.items()}.get)


def test_without_keys_the_header_alone_says_who_calls_if_it_is_trusted() -> None:
    assert resolved(TenantResolver(trust_header=False), x_carousel_tenant="b") == DEFAULT_TENANT
    assert resolved(TenantResolver(trust_header=True), x_carousel_tenant="b") == "b"


def test_a_key_is_its_tenants_whatever_an_untrusted_header_says(tmp_path: Path) -> None:
    tenants = resolver(tmp_path, trust_header=False)
    assert resolved(tenants, authorization=f"bearer  {ONE} ", x_carousel_tenant="b") == "a"


def test_a_gateways_key_names_its_callers_tenant_and_no_other_key_does(tmp_path: Path) -> None:
    tenants = resolver(tmp_path, trust_header=True)
    assert resolved(tenants, authorization=f"Bearer {TWO}", x_carousel_tenant="b") == "b"
    assert resolved(tenants, authorization=f"Bearer {TWO}") == DEFAULT_TENANT
    assert resolved(tenants, authorization=f"Bearer {ONE}", x_carousel_tenant="a") == "a"
    with pytest.raises(PermissionDenied):
        resolved(tenants, authorization=f"Bearer {ONE}", x_carousel_tenant="b")
    with pytest.raises(InvalidArgument):
        resolved(tenants, authorization=f"Bearer {TWO}", x_carousel_tenant="no/such")
    with pytest.raises(Unauthenticated):
        resolved(tenants, x_carousel_tenant="no/such")


@given(st.text(max_size=60) | st.text(max_size=60).map("Bearer ".__add__), st.none() | st.text(max_size=8))
def test_any_header_is_answered_by_a_tenant_or_a_typed_refusal_that_does_not_quote_it(
    tmp_path_factory: pytest.TempPathFactory, authorization: str, named: str | None
) -> None:
    tenants = _made(tmp_path_factory)
    headers = {"authorization": authorization} | ({} if named is None else {"x-carousel-tenant": named})
    with pytest.raises(CarouselError) as refused:
        tenants.resolve(headers.get)
    assert isinstance(refused.value, Unauthenticated)
    sent = authorization.removeprefix("Bearer ").strip()
    assert len(sent) < 16 or sent not in str(refused.value)


_kept: list[TenantResolver] = []


def _made(tmp_path_factory: pytest.TempPathFactory) -> TenantResolver:
    if not _kept:
        _kept.append(resolver(tmp_path_factory.mktemp("keys"), trust_header=True))
    return _kept[0]
