"""The model card, written from the manifest and from what `carousel evaluate --json` printed; none of it by hand.

./carousel evaluate --model models/python --json | python -m model_export.model_card models/python > docs/model-card.md
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from service.model.manifest import Manifest, Training, read_manifest

_INTRODUCTION = """\
# Model card: {name}

A byte-level LSTM language model: {layers} layers of {units} units, embedding {embedding}, {parameters:,} parameters. It
reads text as UTF-8 bytes and predicts the next one; its whole memory of a text is h and c of each layer. It is shipped
to complete Python source code as it is typed, and to show what Carousel does with a model of your own:
`carousel train --corpus YOUR_CODE` makes one.
"""

_LIMITS = """\
## What it is not for

- It completes what is likely in open-source Python, most of it from a few projects. It knows nothing of your code base;
  train on it.
- It does not know whether what it suggests is correct, safe or current. A person accepts each suggestion.
- Identifiers are remembered over hundreds of bytes at best; there is no look at other files.
- Other human languages than English, and other programming languages, were seen in strings and comments alone.

## Where its text comes from

Only packages that the training environment itself installs, under the PSF, BSD, MIT and Apache licences of their
projects; no personal data was sought, though authors' names stand in comments, as they do in the sources. Held-out
documents, and copies of them, were removed before training.
"""


def render(manifest: Manifest, figures: Mapping[str, Any]) -> str:
    """The card as Markdown. figures: what `carousel evaluate --json` printed for this model."""
    if figures["digest"] != manifest.digest():
        raise ValueError("the figures are of another model than the manifest; evaluate the model again")
    introduction = _INTRODUCTION.format(name=manifest.name, **manifest.architecture)
    parts = [introduction, _figures(figures)]
    if manifest.training is not None:
        runs = list(_runs(manifest.training))
        parts += [
            _training(run, "Training" if len(runs) == 1 else f"Training, run {i}") for i, run in enumerate(runs, 1)
        ]
    return "\n".join([*parts, _LIMITS, _folder(manifest)])


def _figures(figures: Mapping[str, Any]) -> str:
    unseen = "none of them was in the training text (checked)" if figures["unseen"] else "read from the start of each"
    lines = [
        "## Figures",
        "",
        f"On the {figures['documents']} held-out documents of `{figures['corpus']}`, {figures['bytes']:,} bytes; "
        f"{unseen}. "
        f"Printed by `./carousel evaluate --corpus {figures['corpus']} --json`.",
        "",
        "| graph | bits per byte | next byte right | among the first three |",
        "|---|---|---|---|",
    ]
    for graph, bits in figures["bits_per_byte"].items():
        first, three = figures["top1_accuracy"][graph], figures["top3_accuracy"][graph]
        lines.append(f"| {graph} | {bits:.4f} | {first:.1%} | {three:.1%} |")
    return "\n".join(lines) + "\n"


def _runs(last: Training) -> Iterator[Training]:
    """The runs that led to the model, the first one first."""
    if last.started_from is not None:
        yield from _runs(last.started_from)
    yield last


def _training(training: Training, heading: str) -> str:
    lines = [
        f"## {heading}",
        "",
        "```",
        training.command,
        "```",
        "",
        f"{training.bytes_seen / 1e6:.1f} MB read in {training.seconds / 60:.0f} minutes.",
        "",
        "| corpus | documents | MB | held out | MB held out | left out |",
        "|---|---|---|---|---|---|",
    ]
    for corpus in training.corpora:
        left_out = ", ".join(f"{count} {why}" for why, count in corpus.skipped.items())
        lines.append(
            f"| {corpus.name} | {corpus.train_documents:,} | {corpus.train_bytes / 1e6:.2f} "
            f"| {corpus.held_out_documents} | {corpus.held_out_bytes / 1e6:.2f} | {left_out} |"
        )
    return "\n".join(lines) + f"\n\nDigest of the text: `{training.corpus_sha256}`.\n"


def _folder(manifest: Manifest) -> str:
    lines = ["## Files", "", "| file | MB | sha256 |", "|---|---|---|"]
    lines += [f"| {g.file} | {g.bytes / 1e6:.2f} | `{g.sha256}` |" for g in manifest.graphs.values()]
    return "\n".join(lines) + f"\n\nDigest of the model: `{manifest.digest()}`.\n"


if __name__ == "__main__":
    sys.stdout.write(render(read_manifest(Path(sys.argv[1])), json.load(sys.stdin)))
