"""`python -m service.terminal` is `carousel type`, for a checkout that is not installed."""

import typer

from service.terminal.command import type_

typer.run(type_)
