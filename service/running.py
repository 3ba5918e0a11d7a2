"""From the flags of `carousel serve` to a server that runs, importing in the order in which things are needed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from service.settings import load_settings


class CommandError(Exception):
    """Ends a command with one line on standard error and exit code 2."""


def run_server(flags: Mapping[str, str | bool], config: str | None) -> None:
    """Serve until a signal comes. `flags` are the settings given, by name. Raises CommandError, SettingsError."""
    settings = load_settings(flags, None if config is None else Path(config))
    from service.loading import begin_loading

    storing = settings.storing()
    loading = begin_loading(settings.models_to_load())
    from service.storing import Opening

    opening = Opening(storing)
    from service import bootstrap

    try:
        bootstrap.serve(settings, loading, opening)
    except bootstrap.StartFailed as error:
        raise CommandError(str(error)) from error
