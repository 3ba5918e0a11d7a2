"""The command `carousel`: a server at once, everything else by way of the command line in full.

A server starts dozens of times a day and in the middle of a deployment; parsing its flags must not take as long as
loading its model. So the flags that are plain are read here, and whatever is not (help, a misspelling, another command)
goes to `service.commands`, which alone judges it.
"""

from __future__ import annotations

import gc
import sys

_USAGE = 2


def main() -> None:
    """Run the command line. What the operator can put right is one line on standard error and exit code 2."""
    gc.disable()  # next to nothing that imports make is garbage, and looking for it takes a third of their time
    from service.running import CommandError, run_server
    from service.settings import SettingsError

    try:
        flags = plain_flags(sys.argv[1:])
        if flags is None:
            gc.enable()
            from service import commands

            commands.run()
        else:
            config = flags.pop("config", None)
            run_server(flags, None if config is None else str(config))
    except (CommandError, SettingsError) as error:
        print(f"carousel: {error}", file=sys.stderr)
        sys.exit(_USAGE)


def plain_flags(arguments: list[str]) -> dict[str, str | bool] | None:
    """The flags of `serve` by the names of their settings; None if anything but settings with values is there."""
    if not arguments or arguments[0] != "serve":
        return None
    from service.settings import SETTINGS

    switches = {name for name, about in SETTINGS.items() if isinstance(about.default, bool)}
    flags: dict[str, str | bool] = {}
    rest = iter(arguments[1:])
    for argument in rest:
        flag, given, value = argument.partition("=")
        name = flag.removeprefix("--").replace("-", "_")
        if flag != f"--{name.replace('_', '-')}":
            return None
        if not given and name in switches:
            flags[name] = True
        elif not given and name.removeprefix("no_") in switches:
            flags[name.removeprefix("no_")] = False
        elif name in (SETTINGS.keys() | {"config"}) - switches:
            value = value if given else next(rest, "-")
            if value.startswith("-"):
                return None
            further = name in flags and name in SETTINGS and SETTINGS[name].kind.several
            flags[name] = f"{flags[name]},{value}" if further else value
        else:
            return None
    return flags


if __name__ == "__main__":
    main()
