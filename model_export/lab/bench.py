"""What an experiment works with: a seed, a folder of trained networks, and a bar that shows how far it is."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from model_export.errors import TrainingError
from model_export.lab import model_folder
from model_export.lab.network import Network, NetworkConfig

MEASURED_FILE = "measured.json"
PARTS_FILE = "parts.json"  # of a run that was interrupted


class Bar:
    """One line of progress: `advance` after each unit of work, with a note such as the loss."""

    def __init__(self, progress: Progress, task: TaskID) -> None:
        self._progress, self._task = progress, task

    def advance(self, note: str = "") -> None:
        """One more is done."""
        self._progress.update(self._task, advance=1, note=note)


@dataclass(frozen=True, slots=True)
class Bench:
    """models: where trained networks are found.  out: where those go that are trained now, for this experiment.

    With `full` nothing that was trained before is used. corpus: the text that somebody gave to train on.  changed: the
    settings that are not as they are by default, NAME=VALUE each.

    seed: of what is drawn to test the networks, and of the training where there is one; networks and measurements that
    are there already stay, whatever seed they came from. The same seed gives the same finding on one machine.

    asks: what shows a network of words or numbers at its work, by its name: a text, or numbers.
    made: the names of what this run exported, which `keep` and its like add to; shared by copies of the bench.
    """

    models: Path
    out: Path
    experiment: str = ""
    seed: int = 0
    full: bool = False
    console: Console = Console(stderr=True)
    corpus: str | None = None
    changed: tuple[str, ...] = ()
    asks: Mapping[str, str | tuple[float, ...]] = field(default_factory=dict)
    made: set[str] = field(default_factory=set, compare=False)

    def network(self, name: str, config: NetworkConfig, train: Callable[[], Network]) -> Network:
        """The trained network of that name: the one that is there, if it has this shape, or else a new one.

        A new one is exported to `out`/NAME, checked as every model is. Raises ExportError.
        """
        found = self.models / name
        if not self.full and _holds_network(found):
            network = model_folder.load(found)
            if network.config == config:
                return network
            self._say(f"{found} has another shape than was asked for: training a new one")
        elif not self.full:
            self._say(f"there is no {found}: training it")
        network = train()
        if network.config != config:
            raise TrainingError(f"{name} was trained as {network.config}, not as {config}")
        self.keep(name, network)
        return network.eval()

    def keep(self, name: str, network: Network) -> Path:
        """Export a trained network to `out`/NAME, checked as every model is; the folder. Raises ExportError.

        One that knows what comes next is exported, too, but without a manifest: it is no model to be served.
        """
        folder = self.out / name
        if network.stack.causal:
            shown = self.asks.get(name)
            example = shown if isinstance(shown, str) else ""
            model_folder.save(network, folder, name=name, made_by=self.made_by, example=example)
        else:
            model_folder.save_unserved(network, folder)
        self.made.add(name)
        return folder

    def kept(self, name: str) -> Network:
        """The network of that name that this run trained, or else started from. Raises ExportError if there is none."""
        return model_folder.load(self.folder_of(name))

    def folder_of(self, name: str) -> Path:
        """Where the network of that name is: in `out` if this run trained it, in `models` if it started from it."""
        made, found = self.out / name, self.models / name
        anew = self.full or name in self.made or (self.corpus is not None and _holds_network(made))
        return made if anew or not _holds_network(found) else found

    @property
    def made_by(self) -> str:
        """The command that trains what this bench trains."""
        given = [] if self.corpus is None else ["--corpus", Path(self.corpus).name]
        given += [part for one in self.changed for part in ("--set", one)]
        return shlex.join(["carousel", "lab", self.experiment, "--full", "--seed", str(self.seed), *given])

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, markup=False, soft_wrap=True)

    def measured(self, settings: Mapping[str, Any], measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """What many trainings gave, which take too long to be run each time: kept runs of these settings, or new ones.

        measure: gives what fits into JSON. New measurements are kept in `out`/NAME, NAME being the experiment's. Kept
        ones are used whatever seed they began with, as kept networks are. Raises TrainingError if they cannot be read.
        """
        asked = {**settings, "seed": self.seed}
        kept = self.models / self.experiment / MEASURED_FILE
        if not self.full and kept.exists():
            their_settings, measured = _read_measured(kept)
            if {**their_settings, "seed": self.seed} == asked:
                return measured
            self._say(f"{kept} was measured with other settings: measuring again")
        elif not self.full:
            self._say(f"there is no {kept}: measuring")
        # What is kept and what is used at once are the same: JSON turns the keys of objects into text.
        text = json.dumps({"made_by": self.made_by, "settings": asked, "measured": measure()}, indent=1)
        folder = self.out / self.experiment
        folder.mkdir(parents=True, exist_ok=True)
        (folder / MEASURED_FILE).write_text(text + "\n", encoding="utf-8")
        (folder / PARTS_FILE).unlink(missing_ok=True)
        return dict(json.loads(text)["measured"])

    def part(self, settings: Mapping[str, Any], what: str, measure: Callable[[], Any]) -> Any:
        """One of the trainings that `measured` asks for: what it gave, if a run that was interrupted had finished it.

        Called within `measure`. settings: those that this training depends on.  measure: gives what fits into JSON.
        """
        asked = {**settings, "seed": self.seed}
        kept = self.out / self.experiment / PARTS_FILE
        document = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
        if document.get("settings") != asked:
            document = {"settings": asked, "parts": {}}
        if what not in document["parts"]:
            document["parts"][what] = measure()
            partial = kept.with_name(kept.name + ".partial")
            partial.parent.mkdir(parents=True, exist_ok=True)
            partial.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
            partial.replace(kept)
        return document["parts"][what]

    @contextmanager
    def bar(self, what: str, total: int) -> Iterator[Bar]:
        """A line of progress for `total` units of work."""
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=self.console, refresh_per_second=2, transient=True) as progress:
            yield Bar(progress, progress.add_task(what, total=total, note=""))


def _holds_network(folder: Path) -> bool:
    return (folder / model_folder.WEIGHTS_FILE).exists()


def _read_measured(path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """The settings and the measurements of a file. Raises TrainingError."""
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        return dict(document["settings"]), dict(document["measured"])
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(f"{path} holds no measurements ({error!r}); measure again with --full") from error
