"""Where a setting comes from, and what is said about a bad one."""

from __future__ import annotations

from pathlib import Path

import pytest

from service.settings import SETTINGS, SettingsError, load_settings


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
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
    assert settings.store == "memory:"
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


def test_a_store_that_is_not_supported_is_refused_with_what_is() -> None:
    with pytest.raises(SettingsError, match=r"--store.*accepted: memory:"):
        load_settings({"store": "redis://x"})
