"""`python -m service.terminal COMMAND` is `carousel COMMAND`, for a checkout that is not installed."""

import typer

from service.terminal.command import type_
from service.terminal.complete_command import complete
from service.terminal.score_command import score
from service.terminal.sessions_command import app as sessions

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
app.command("type")(type_)
app.command("complete")(complete)
app.command("score")(score)
app.add_typer(sessions, name="sessions")
app()
