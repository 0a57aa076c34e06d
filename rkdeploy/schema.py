"""JSON Schema of the contract, generated from its types: `python -m rkdeploy.schema docs/contract.schema.json`."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec

from rkdeploy.spec import ModelSpec


def contract_schema() -> str:
    """The schema of `contract.json` as indented JSON."""
    schema = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "rkdeploy contract",
        **msgspec.json.schema(ModelSpec),
    }
    return msgspec.json.format(msgspec.json.encode(schema), indent=2).decode() + "\n"


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(contract_schema())
