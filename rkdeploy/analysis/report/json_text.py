"""The report as JSON, in ASCII, so that no name in it can drive a terminal."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import msgspec

from rkdeploy.analysis.report.model import Report


def json_text(report: Report) -> str:
    """The document.  Example pictures are left out; their figures are there."""
    models = tuple(
        replace(
            model,
            examples=replace(
                model.examples,
                pictures=tuple(replace(p, reference_webp=None, built_webp=None) for p in model.examples.pictures),
            ),
        )
        if model.examples is not None
        else model
        for model in report.models
    )
    return plain_json(replace(report, models=models))


def plain_json(value: object) -> str:
    """Frozen data as indented JSON of ASCII."""
    plain: Any = msgspec.to_builtins(value)
    return json.dumps(plain, indent=1) + "\n"
