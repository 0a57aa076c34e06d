"""Check that runtime, driver and model fit together, before the runtime fails with "-6".

Pure functions over version numbers.  The sources of the rules are logs that users published:

- librknnrt 1.3.0 and 1.4.0 refuse a file of version 6 with the log line "6, 1" and "Invalid RKNN model version 6",
  1.5.0 with "6, 4"; toolkits from 1.5.2 on write version 6, and runtimes from 1.5.2 on read it
  (airockchip/rknn-toolkit2 issues 254 and 281, rockchip-linux/rknn-toolkit2 issue 316).
- A model of a newer toolkit than the runtime often loads; the runtime logs "RKNN Model version ... not match".
- The runtimes 1.5.2, 1.6.0 and 2.3.0 recommend driver 0.8.8 or later, and still run with 0.8.2.
- A model runs on the SoC that it was built for, and on those of the same NPU (rk3566 and rk3568).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from rkdeploy.contract.chips import platform_of, same_npu
from rkdeploy.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rkdeploy.device.runtime.model_file import ModelFile

Version = tuple[int, int, int]

_HIGHEST_FILE_VERSION: tuple[tuple[Version, int], ...] = (((1, 0, 0), 1), ((1, 5, 0), 4), ((1, 5, 2), 6))
"""Runtime version -> highest file version that runtimes from this one on are known to read."""

_RECOMMENDED_DRIVER: Version = (0, 8, 8)
_NUMBER = re.compile(r"(\d+)\.(\d+)\.(\d+)")


@dataclass(frozen=True, slots=True)
class VersionFinding:
    """A mismatch.

    Attributes:
        severity: `error` when the model cannot load, `warning` when it may or when results may differ.
        message: the mismatch, with both versions.
        hint: the fix.
    """

    severity: Literal["error", "warning"]
    message: str
    hint: str


def parse_version(text: str | None) -> Version | None:
    """The first `major.minor.patch` in a text such as `2.3.2 (429f97ae6b@2025-04-09)` or `RKNPU driver: v0.9.8`."""
    found = _NUMBER.search(text or "")
    return (int(found[1]), int(found[2]), int(found[3])) if found else None


def highest_file_version(runtime: Version) -> int | None:
    """Highest `.rknn` file version that a runtime is known to read; None for a runtime older than any known."""
    known = [highest for since, highest in _HIGHEST_FILE_VERSION if runtime >= since]
    return known[-1] if known else None


def version_findings(
    model: ModelFile, *, runtime: str | None, driver: str | None = None, soc: str | None = None
) -> tuple[VersionFinding, ...]:
    """All mismatches, errors first.  Unknown versions are not compared.

    Args:
        model: header and trailer of the `.rknn`.
        runtime: version of librknnrt, as it reports it.
        driver: version of the rknpu kernel driver.
        soc: SoC of the board.
    """
    findings = [
        *_file_version(model, parse_version(runtime)),
        *_target(model, soc),
        *_toolkit(model, parse_version(runtime)),
        *_driver(parse_version(driver)),
    ]
    return tuple(sorted(findings, key=lambda finding: finding.severity != "error"))


def require_loadable(findings: Iterable[VersionFinding]) -> None:
    """Raise the first error among the findings, if there is one.

    Raises:
        BackendError: when there is one.
    """
    for finding in findings:
        if finding.severity == "error":
            raise BackendError(finding.message, finding.hint)


def _file_version(model: ModelFile, runtime: Version | None) -> list[VersionFinding]:
    highest = highest_file_version(runtime) if runtime else None
    if runtime is None or highest is None or model.file_version <= highest:
        return []
    known_to_all = _HIGHEST_FILE_VERSION[-1][1]
    message = (
        f"The model has file version {model.file_version}, but librknnrt {dotted(runtime)} reads versions up to "
        f"{highest}"
    )
    if model.file_version > known_to_all:
        return [VersionFinding("warning", f"{message}, as far as rkdeploy knows.", _update(model))]
    return [
        VersionFinding(
            "error", f'{message} (it would say "Invalid RKNN model version {model.file_version}").', _update(model)
        )
    ]


def _target(model: ModelFile, soc: str | None) -> list[VersionFinding]:
    if soc is None or not model.targets:
        return []
    if any(same_npu(soc, target) for target in model.targets):
        return []
    built_for = ", ".join(model.targets)
    return [
        VersionFinding(
            "error",
            f"The model was built for {built_for}, but this board has an {soc}.",
            f"Build it again with --target {platform_of(soc) or soc}.",
        )
    ]


def _toolkit(model: ModelFile, runtime: Version | None) -> list[VersionFinding]:
    toolkit = parse_version(model.toolkit_version)
    if runtime is None or toolkit is None:
        return []
    if runtime < toolkit:
        return [
            VersionFinding(
                "warning",
                f"librknnrt {dotted(runtime)} is older than the rknn-toolkit2 {dotted(toolkit)} that built the model: "
                "it may refuse the model, or compute something else.",
                _update(model),
            )
        ]
    if runtime[0] > toolkit[0]:
        return [
            VersionFinding(
                "warning",
                f"The model was built by rknn-toolkit2 {dotted(toolkit)} and runs on librknnrt {dotted(runtime)}.",
                f"Build it again with rknn-toolkit2 {dotted(runtime)}.",
            )
        ]
    return []


def _driver(driver: Version | None) -> list[VersionFinding]:
    if driver is None or driver >= _RECOMMENDED_DRIVER:
        return []
    return [
        VersionFinding(
            "warning",
            f"The NPU driver is {dotted(driver)}, and the runtime recommends {dotted(_RECOMMENDED_DRIVER)} or later.",
            "It is part of the kernel: update the board's system image.",
        )
    ]


def _update(model: ModelFile) -> str:
    toolkit = parse_version(model.toolkit_version)
    wanted = f"version {dotted(toolkit)} or later" if toolkit else "the version of the toolkit that built the model"
    return f"Install librknnrt.so of {wanted} in /usr/lib, or build with the toolkit of the runtime's version."


def dotted(version: Version) -> str:
    """A version as text, `2.3.2`."""
    return ".".join(map(str, version))
