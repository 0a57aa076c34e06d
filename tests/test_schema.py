"""Descriptions of the published schemas: ours, whatever msgspec makes of a docstring."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from dataclasses import dataclass
from typing import Any

import pytest

from rkdeploy.schema import SCHEMAS, _described, documentation

DOCSTRING = """A box.

    It has two corners,
    and no more.

    Attributes:
        left, top: the first corner;
            in pixels.
        name: of the box: any text.
    """


@dataclass
class Box:
    left: int
    top: int
    name: str


@pytest.mark.parametrize("docstring", [DOCSTRING, textwrap.dedent(f"    {DOCSTRING}")], ids=["indented", "cleaned"])
def test_a_docstring_by_its_fields(monkeypatch: pytest.MonkeyPatch, docstring: str) -> None:
    """A text of two paragraphs and three fields, the same from a docstring as written and one that Python cleaned."""
    monkeypatch.setattr(Box, "__doc__", docstring)
    assert documentation(Box) == (
        "A box.\n\nIt has two corners, and no more.",
        {
            "left": "the first corner; in pixels.",
            "top": "the first corner; in pixels.",
            "name": "of the box: any text.",
        },
    )


def test_a_field_that_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A field without a description is an error, and so is a description without a field."""
    monkeypatch.setattr(Box, "__doc__", DOCSTRING.replace("left, top", "left, right"))
    with pytest.raises(ValueError, match="Box and its fields differ in: right, top"):
        _described({"properties": {"left": {}, "top": {}, "name": {}}}, Box)


@pytest.mark.parametrize("name", SCHEMAS)
def test_every_property_has_its_own_description(name: str) -> None:
    """No property of a published document is left without one, and no description holds a list of attributes."""
    definitions: dict[str, dict[str, Any]] = json.loads(SCHEMAS[name]())["$defs"]
    properties = [each for definition in definitions.values() for each in definition["properties"].values()]
    assert len(properties) > 20
    for described in (*definitions.values(), *properties):
        assert described["description"]
        assert "Attributes:" not in described["description"]


def test_schemas_need_no_package_of_a_host() -> None:
    """The base package alone is enough to write them, and to read the documents that they describe."""
    program = "import sys, rkdeploy.schema; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert not {"onnx", "onnxruntime", "optuna", "jinja2"} & set(done.stdout.split())
