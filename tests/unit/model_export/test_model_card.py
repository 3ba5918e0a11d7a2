"""The model card says what the manifest and the evaluation say."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_export.export import export_tensors
from model_export.model_card import render
from service.model.manifest import Training
from tests.unit.model_export import tiny


def test_the_card_holds_the_figures_the_command_and_the_digests(tmp_path: Path) -> None:
    training = Training.model_validate(
        {
            "command": "carousel train --megabytes 1",
            "bytes_seen": 1_000_000,
            "seconds": 600.0,
            "corpora": [statistics.as_dict() for statistics in tiny.corpus().statistics],
            "corpus_sha256": "a" * 64,
        }
    )
    manifest = export_tensors(tiny.tensors(tiny.SHAPES[0]), tmp_path / "m", training=training).manifest
    figures = {
        "bits_per_byte": {"fp32": 1.39012, "int8": 1.39034},
        "top1_accuracy": {"fp32": 0.729, "int8": 0.728},
        "top3_accuracy": {"fp32": 0.859, "int8": 0.858},
        "digest": manifest.digest(),
        "corpus": "stdlib",
        "documents": 39,
        "bytes": 660_000,
        "unseen": True,
    }
    card = render(manifest, figures)
    for expected in (
        "carousel train --megabytes 1",
        "1.3901",
        "72.8%",
        "39 held-out",
        manifest.digest(),
        "| tiny | 5 |",
    ):
        assert expected in card
    with pytest.raises(ValueError, match="another model"):
        render(manifest, figures | {"digest": "0" * 64})
