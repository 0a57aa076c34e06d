"""JSON Schemas of the documents for other programs, generated from their types: `python -m rkdeploy.schema docs`.

Types and defaults are msgspec's; every description comes from our docstrings, so that a schema does not depend on the
version of msgspec.
"""

from __future__ import annotations

import inspect
import re
import sys
from dataclasses import is_dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from rkdeploy.analysis.inspection.inspection import INSPECTIONS
from rkdeploy.analysis.report.diff.diff_document import ReportDiff
from rkdeploy.analysis.report.model_report import Report
from rkdeploy.analysis.tune.search_document import SearchDocument
from rkdeploy.contract.spec import ModelSpec

_ATTRIBUTE: Final = re.compile(r"(\w+(?:, \w+)*): (.*)")


def schema_text(title: str, *kinds: type[Any]) -> str:
    """The schema of a document as indented JSON.

    Args:
        title: of the schema.
        kinds: the document's type, or those of which it is one.
    """
    references, definitions = msgspec.json.schema_components(kinds, ref_template="#/$defs/{name}")
    found = set().union(*(_dataclasses(msgspec.inspect.type_info(kind)) for kind in kinds))
    types = {kind.__name__: kind for kind in found}
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **(references[0] if len(references) == 1 else {"anyOf": list(references)}),
        "$defs": {name: _described(definition, types[name]) for name, definition in definitions.items()},
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


SCHEMAS: Final = {
    "contract.schema.json": partial(schema_text, "rkdeploy contract", ModelSpec),
    "report.schema.json": partial(schema_text, "rkdeploy report", Report),
    "report-diff.schema.json": partial(schema_text, "rkdeploy report diff", ReportDiff),
    "inspect.schema.json": partial(schema_text, "rkdeploy inspect", *INSPECTIONS),
    "tune.schema.json": partial(schema_text, "rkdeploy tune", SearchDocument),
}
"""File of each schema, and what makes its text."""


def _dataclasses(info: Any) -> set[type[Any]]:
    """The dataclasses that a type of `msgspec.inspect` is made of, itself included."""
    found = {info.cls} if is_dataclass(getattr(info, "cls", None)) else set()
    parts = [field.type for field in getattr(info, "fields", ())]
    for name in ("types", "item_types"):
        parts += getattr(info, name, ())
    parts += [getattr(info, name) for name in ("item_type", "key_type", "value_type") if hasattr(info, name)]
    return found.union(*map(_dataclasses, parts))


def _described(definition: dict[str, Any], kind: type[Any]) -> dict[str, Any]:
    """A definition with the descriptions of a class and its fields.

    Raises:
        ValueError: when the docstring names a field that the class does not have, or leaves one out.
    """
    text, attributes = documentation(kind)
    for base in kind.__mro__[1:]:
        attributes = (documentation(base)[1] if is_dataclass(base) else {}) | attributes
    fields = definition["properties"]
    if attributes.keys() != fields.keys():
        wrong = sorted(attributes.keys() ^ fields.keys())
        raise ValueError(f"The docstring of {kind.__name__} and its fields differ in: {', '.join(wrong)}.")
    properties = {name: {"description": attributes[name], **fields[name]} for name in fields}
    return {**definition, "description": text, "properties": properties}


def documentation(kind: type[Any]) -> tuple[str, dict[str, str]]:
    """A class's docstring as its text and its fields: name -> text, each with one line per paragraph.

    `height, width: in pixels.` applies to both.

    Raises:
        ValueError: when an entry of its `Attributes:` is not `name: text`.
    """
    text, _, section = inspect.cleandoc(kind.__doc__ or "").partition("\nAttributes:\n")
    entries: list[str] = []
    for line in section.splitlines():
        if line.startswith("     "):  # indented deeper than a name: the previous entry continues
            entries[-1] += f" {line.strip()}"
        elif line.strip():
            entries.append(line.strip())
    attributes: dict[str, str] = {}
    for entry in entries:
        found = _ATTRIBUTE.fullmatch(entry)
        if found is None:
            raise ValueError(f'The docstring of {kind.__name__} has an attribute without a text: "{entry}".')
        attributes |= dict.fromkeys(found[1].split(", "), " ".join(found[2].split()))
    paragraphs = [" ".join(paragraph.split()) for paragraph in text.strip().split("\n\n")]
    return "\n\n".join(paragraphs), attributes


if __name__ == "__main__":
    for name, schema in SCHEMAS.items():
        (Path(sys.argv[1]) / name).write_text(schema())
