"""Where a setting comes from, and what is said about a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import SETTINGS, SettingsError, StoreConfig, load_settings, shipped_model


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "/state")
    for name in SETTINGS:
        monkeypatch.delenv(f"CAROUSEL_{name.upper()}", raising=False)


def test_the_defaults_are_the_documented_ones() -> None:
    settings = load_settings({})
    assert (settings.host, settings.grpc_port, settings.http_port, settings.metrics_port) == (
        "127.0.0.1",
        50051,
        8000,
        9464,
    )
    assert settings.storing() == StoreConfig("sqlite", Path("/state/carousel/sessions.sqlite"))
    assert (settings.max_edit_bytes, settings.max_session_bytes, settings.max_request_bytes) == (65536, 2**20, 2**20)


def test_a_flag_wins_over_the_environment_and_that_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    file = tmp_path / "carousel.toml"
    file.write_text("grpc_port = 1\nhttp_port = 2\nmetrics_port = 3\n")
    monkeypatch.setenv("CAROUSEL_GRPC_PORT", "11")
    monkeypatch.setenv("CAROUSEL_HTTP_PORT", "12")
    settings = load_settings({"grpc_port": "21"}, file)
    assert (settings.grpc_port, settings.http_port, settings.metrics_port) == (21, 12, 3)


def test_an_empty_variable_is_as_good_as_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROUSEL_GRPC_PORT", "")
    assert load_settings({}).grpc_port == 50051


def test_origins_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROUSEL_ALLOWED_ORIGINS", "https://a.example, http://b.example:8080/")
    assert load_settings({}).allowed_origins == ("https://a.example", "http://b.example:8080")


@pytest.mark.parametrize("origins", ["*", "editor.example", "https://*.example", "https://a.example/path"])
def test_what_is_not_an_origin_is_refused(origins: str) -> None:
    with pytest.raises(SettingsError, match="is not an origin"):
        load_settings({"allowed_origins": origins})


def test_a_kubernetes_service_variable_is_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """A Service named carousel-grpc makes a variable of this name; taking it for a port would be worse than ending."""
    monkeypatch.setenv("CAROUSEL_GRPC_PORT", "tcp://10.0.0.1:50051")
    with pytest.raises(SettingsError, match="CAROUSEL_GRPC_PORT"):
        load_settings({})


def test_an_unknown_name_in_the_file_is_refused_with_the_nearest(tmp_path: Path) -> None:
    file = tmp_path / "carousel.toml"
    file.write_text("grpc_prt = 1\n")
    with pytest.raises(SettingsError, match=r"grpc_prt .* perhaps grpc_port is meant"):
        load_settings({}, file)


def test_a_file_that_is_not_toml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "carousel.toml"
    file.write_text("grpc_port =")
    with pytest.raises(SettingsError, match="not valid TOML"):
        load_settings({}, file)


@pytest.mark.parametrize(
    "store", ["redis:x", "sqlite:", "sqlite", "memory", "postgres://x", "valkey://a b", "valkey://"]
)
def test_a_store_that_is_not_supported_is_refused_with_what_is(store: str) -> None:
    with pytest.raises(SettingsError, match=r"--store.*(accepted: memory:, sqlite:PATH, valkey://|is not \w+://)"):
        load_settings({"store": store})


def test_a_password_is_not_repeated_when_the_store_is_refused() -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"store": "valkey://user:hunter2@host:port/x"})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("store", "kind", "described"),
    [
        ("memory:", "memory", "memory:"),
        ("sqlite:/a/b.sqlite", "sqlite", "sqlite:/a/b.sqlite"),
        ("valkey://host", "valkey", "valkey://host"),
        ("rediss://user:p%40ss@[::1]:7/3?ssl_ca_certs=/x", "valkey", "rediss://[::1]:7/3"),
    ],
)
def test_a_store_is_described_without_its_password(store: str, kind: str, described: str) -> None:
    storing = load_settings({"store": store}).storing()
    assert (storing.kind, storing.described) == (kind, described)


def test_without_a_home_the_file_must_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    assert load_settings({}).store == "sqlite:/home/me/.local/state/carousel/sessions.sqlite"
    monkeypatch.delenv("HOME")
    with pytest.raises(SettingsError, match=r"--store.*no home folder"):
        load_settings({})
    assert load_settings({"store": "memory:"}).storing().kind == "memory"


def test_the_password_of_a_store_may_be_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "password"
    flags = {"store": "valkey://host", "store_password_file": str(file)}
    with pytest.raises(SettingsError, match=r"--store-password-file.*cannot be read"):
        load_settings(flags).storing()
    file.write_text("hunter2\n")
    assert load_settings(flags).storing().password == "hunter2"


def test_what_is_kept_for_how_long_and_how_much_of_it() -> None:
    flags = {"retention": "30d", "max_tenant_sessions": "5", "max_tenant_bytes": "1MiB", "acknowledge": "fsync"}
    storing = load_settings({"store": "sqlite:x", **flags}).storing()
    assert (storing.retention_s, storing.sessions_per_tenant, storing.bytes_per_tenant) == (2_592_000, 5, 2**20)
    assert storing.acknowledge == "fsync"


@pytest.mark.parametrize("retention", ["0", "-1", "30 years", "forever", "1w", "", True])
def test_a_retention_that_is_no_duration_is_refused(retention: object) -> None:
    with pytest.raises(SettingsError, match=r"--retention.*is not a duration"):
        load_settings({"retention": retention})


def test_edits_of_a_shared_store_are_not_acknowledged_before_they_are_written() -> None:
    with pytest.raises(SettingsError, match=r"--acknowledge.*store or fsync"):
        load_settings({"store": "valkey://host", "acknowledge": "memory"}).storing()
    assert load_settings({"store": "sqlite:x", "acknowledge": "memory"}).storing().acknowledge == "memory"


def test_a_model_that_comes_with_carousel_has_a_short_name_but_a_folder_that_is_there_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shipped = shipped_model().parent / "lab" / "counting"
    (one,) = load_settings({"model": "lab/counting"}).models_to_load()
    assert one.folder == shipped
    (tmp_path / "lab" / "counting").mkdir(parents=True)
    (one,) = load_settings({"model": "lab/counting"}).models_to_load()
    assert one.folder == Path("lab/counting")
    (one,) = load_settings({"model": "lab/nothing"}).models_to_load()
    assert one.folder == Path("lab/nothing")
