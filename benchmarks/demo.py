"""The command `carousel demo`: what is easier shown than said."""

from __future__ import annotations

import typer

from benchmarks.leak.command import leak

app = typer.Typer(
    name="demo",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    help="Show what is easier shown than said.",
)
app.command("leak")(leak)


@app.callback()
def demo() -> None:
    """Show what is easier shown than said."""
    # With a callback, a lone subcommand keeps its name: typer would make it the command itself.
