"""docs/kind.md says what is so: its folders, objects, ports and flags are there."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import pytest

from tests.deploy import objects

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "kind.md").read_text(encoding="utf-8")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text(encoding="utf-8")
COMMANDS = [line for block in re.findall(r"```\n(.*?)```", PAGE, flags=re.DOTALL) for line in block.splitlines()]


@pytest.mark.parametrize("page", [PAGE, OPERATIONS], ids=["kind", "operations"])
def test_every_folder_that_is_applied_can_be(page: str) -> None:
    applied = re.findall(r"kubectl apply -k deploy/([\w/-]+)", page)
    assert applied
    assert set(applied) <= set(objects.NAMES)


def test_every_object_that_is_asked_for_is_there_once_its_overlay_is_applied() -> None:
    rendering, asked = None, 0
    for command in COMMANDS:
        if applied := re.search(r"apply -k deploy/([\w/-]+)", command):
            rendering = applied[1]
        for kind, name in re.findall(r"\b(statefulset|deployment|service)/([\w-]+)", command):
            assert rendering is not None
            there = "overlays/single" if "delete statefulset" in command else rendering
            kinds = {(one.lower(), called) for one, called in objects.kinds(rendering) + objects.kinds(there)}
            assert (kind, name) in kinds, command
            asked += 1
    assert asked > 8


def test_what_is_forwarded_are_ports_of_the_service() -> None:
    forwards = [re.search(r"service/([\w-]+) ([\d ]+)", line) for line in COMMANDS if "port-forward" in line]
    assert len(forwards) == 3
    for found in forwards:
        assert found is not None
        ports = {port["port"] for port in objects.one("overlays/scaled", "Service", found[1])["spec"]["ports"]}
        assert {int(port) for port in found[2].split()} == ports


def test_its_image_is_the_one_that_the_manifests_name() -> None:
    image = objects.container("overlays/single")["image"]
    assert f"IMAGE={image} make image" in COMMANDS
    assert f"kind load docker-image {image}" in COMMANDS


def test_the_secret_has_the_name_and_the_key_that_the_pods_look_for() -> None:
    (volume,) = objects.pod("overlays/scaled")["volumes"]
    secret = volume["secret"]
    line = f"secret generic {secret['secretName']} --from-literal={secret['items'][0]['key']}="
    assert line in PAGE and line in OPERATIONS


def test_what_is_posted_is_json() -> None:
    posted = [shlex.split(line) for line in COMMANDS if "-d '" in line]
    assert posted
    for words in posted:
        assert json.loads(words[words.index("-d") + 1])["id"] == "mine"
