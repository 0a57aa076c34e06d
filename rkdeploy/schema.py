"""JSON Schemas of the documents that others read, generated from their types: `python -m rkdeploy.schema docs`."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import msgspec

from rkdeploy.report.diff.model import Comparison
from rkdeploy.report.model import Report
from rkdeploy.spec import ModelSpec


def contract_schema() -> str:
    """The schema of `contract.json` as indented JSON."""
    return _schema("rkdeploy contract", ModelSpec)


def report_schema() -> str:
    """The schema of what `rkdeploy report --json` writes."""
    return _schema("rkdeploy report", Report)


def diff_schema() -> str:
    """The schema of what `rkdeploy report diff --format json` writes."""
    return _schema("rkdeploy report diff", Comparison)


SCHEMAS = {
    "contract.schema.json": contract_schema,
    "report.schema.json": report_schema,
    "report-diff.schema.json": diff_schema,
}


def _schema(title: str, kind: type[Any]) -> str:
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": title,
        **msgspec.json.schema(kind),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


if __name__ == "__main__":
    for name, schema in SCHEMAS.items():
        (Path(sys.argv[1]) / name).write_text(schema())
