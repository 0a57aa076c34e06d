"""The answer of `rkdeploy inspect`, whatever the file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from rkdeploy.errors import RkdeployError
from rkdeploy.host.families.speed_advice import Advice

FileKind = Literal["checkpoint", "ONNX graph", "RKNN model", "bundle"]
_MAX_NAMES = 12


@dataclass(frozen=True, slots=True)
class Inspection:
    """Findings about a file.

    Attributes:
        file: name of the file.
        kind: kind of file.
        rows: facts for people, name and value; an empty name continues the line before.
        facts: the same for programs, plain data.
        refusal: why `rkdeploy build` does not take it; None if it does, or if there is nothing to build.
        needed: what `rkdeploy build` needs in addition to the file; empty if nothing.
        advice: advice on speed.
    """

    file: str
    kind: FileKind
    rows: tuple[tuple[str, str], ...]
    facts: Mapping[str, Any] = field(default_factory=dict)
    refusal: RkdeployError | None = None
    needed: str = ""
    advice: tuple[Advice, ...] = ()

    @property
    def builds(self) -> bool | None:
        """True if `rkdeploy build` takes the file; None for one that is built already."""
        return self.refusal is None if self.kind in ("checkpoint", "ONNX graph") else None


def listed_names(names: tuple[str, ...]) -> str:
    """The number of classes and the first dozen of their names."""
    return f"{len(names)}: {', '.join(names[:_MAX_NAMES])}" + (", ..." if len(names) > _MAX_NAMES else "")
