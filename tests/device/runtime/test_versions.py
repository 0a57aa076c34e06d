"""Rules for runtime, driver, model and SoC that fit together."""

from __future__ import annotations

import pytest

from rkdeploy.device.runtime.model_file import ModelFile
from rkdeploy.device.runtime.versions import highest_file_version, parse_version, require_loadable, version_findings
from rkdeploy.errors import BackendError


def model(file_version: int = 6, toolkit: str | None = "2.3.2", *targets: str) -> ModelFile:
    return ModelFile(file_version, toolkit, targets)


@pytest.mark.parametrize(
    ("text", "version"),
    [
        ("2.3.2 (429f97ae6b@2025-04-09T09:09:27)", (2, 3, 2)),
        ("librknnrt version: 1.4.0 (a10f100eb@2022-09-09T09:07:14)", (1, 4, 0)),
        ("RKNPU driver: v0.9.8", (0, 9, 8)),
        ("2.0.0b0", (2, 0, 0)),
        ("none", None),
        ("", None),
        (None, None),
    ],
)
def test_versions_are_found_in_what_tools_print(text: str | None, version: tuple[int, int, int] | None) -> None:
    """The first major.minor.patch counts, and text without one is unknown."""
    assert parse_version(text) == version


@pytest.mark.parametrize(
    ("runtime", "highest"),
    [((0, 9, 0), None), ((1, 3, 0), 1), ((1, 4, 0), 1), ((1, 5, 0), 4), ((1, 5, 2), 6), ((2, 3, 2), 6), ((9, 0, 0), 6)],
)
def test_file_versions_that_runtimes_read(runtime: tuple[int, int, int], highest: int | None) -> None:
    """The table gives what users' logs show: 1.3 and 1.4 read 1, 1.5.0 reads 4, from 1.5.2 on 6."""
    assert highest_file_version(runtime) == highest


@pytest.mark.parametrize(("runtime", "highest"), [("1.4.0", 1), ("1.5.0", 4)])
def test_an_old_runtime_is_an_error(runtime: str, highest: int) -> None:
    """A file version that the runtime cannot read is refused in the words that users search for, with the fix."""
    first = version_findings(model(), runtime=runtime)[0]
    assert first.severity == "error"
    assert f"librknnrt {runtime} reads versions up to {highest}" in first.message
    assert '"Invalid RKNN model version 6"' in first.message
    assert "librknnrt.so of version 2.3.2 or later" in first.hint
    with pytest.raises(BackendError, match="Invalid RKNN model version 6"):
        require_loadable(version_findings(model(), runtime=runtime))


def test_a_runtime_older_than_the_toolkit_is_a_warning() -> None:
    """It often works, so it is said and not refused."""
    findings = version_findings(model(toolkit="2.5.0"), runtime="2.3.2 (x@y)", driver="0.9.8")
    assert [finding.severity for finding in findings] == ["warning"]
    assert "2.3.2 is older than the rknn-toolkit2 2.5.0" in findings[0].message
    require_loadable(findings)


@pytest.mark.parametrize("runtime", ["2.3.2", "2.5.0", None, "unreadable"])
def test_what_fits_is_silent(runtime: str | None) -> None:
    """An equal or newer runtime of the same major version, and anything unknown, gives no finding."""
    assert version_findings(model(), runtime=runtime, driver="0.9.8", soc="rk3588") == ()
    assert version_findings(model(toolkit=None), runtime=runtime) == ()


def test_a_file_version_of_the_future_is_a_warning() -> None:
    """Unknown versions are not rejected."""
    (finding,) = version_findings(model(7), runtime="2.3.2")
    assert (finding.severity, "as far as rkdeploy knows" in finding.message) == ("warning", True)


def test_a_model_of_another_major_version_is_a_warning() -> None:
    """A model of toolkit 1 on a runtime 2 is worth a rebuild."""
    (finding,) = version_findings(model(toolkit="1.6.0"), runtime="2.3.2")
    assert (finding.severity, "again with rknn-toolkit2 2.3.2" in finding.hint) == ("warning", True)


@pytest.mark.parametrize(
    ("target", "soc", "fits"),
    [
        ("rk3588", "rk3588", True),
        ("rk3588", "rk3588s", True),
        ("rk3566", "rk3568", True),
        ("rk3588", "rk3576", False),
        ("rk3568", "rk3588", False),
    ],
)
def test_a_model_for_another_soc_is_an_error(target: str, soc: str, fits: bool) -> None:
    """SoCs of one NPU share models, others do not."""
    findings = version_findings(model(6, "2.3.2", target), runtime="2.3.2", soc=soc)
    assert (not findings) == fits
    if not fits:
        assert f"built for {target}, but this board has an {soc}" in findings[0].message
        assert "--target" in findings[0].hint


def test_an_old_driver_is_a_warning() -> None:
    """The runtime recommends a newer one, and runs."""
    (finding,) = version_findings(model(), runtime="2.3.2", driver="v0.8.2")
    assert (finding.severity, "0.8.8 or later" in finding.message) == ("warning", True)


def test_errors_come_first() -> None:
    """With several findings the one that stops the run is said first."""
    findings = version_findings(model(6, "2.5.0", "rk3576"), runtime="1.4.0", driver="0.7.2", soc="rk3588")
    assert [finding.severity for finding in findings] == ["error", "error", "warning", "warning"]
