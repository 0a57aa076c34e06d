"""The document of `rkdeploy build`: where the bundle is, and the record of its build."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rkdeploy.contract.record import BuildRecord


@dataclass(frozen=True, slots=True)
class BuildDocument:
    """A finished build.

    Attributes:
        bundle: folder of the bundle.
        record: the content of build.json.
        document: tag of the document.
        schema_version: version of this schema.
    """

    bundle: str
    record: BuildRecord
    document: Literal["rkdeploy build"] = "rkdeploy build"
    schema_version: Literal[1] = 1
