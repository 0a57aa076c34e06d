"""Checks of the package that decodes video: which one is installed, and which decoders of the hardware it can open."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rkdeploy.doctor.finding import Finding

if TYPE_CHECKING:
    from rkdeploy.doctor.system import System
    from rkdeploy.doctor.video_trial import VideoTrial

_HARDWARE_PACKAGE: Final = "pyav-rkmpp"
_WANTED: Final = f"{_HARDWARE_PACKAGE}, which uses the board's video decoder"


def check_video(system: System) -> list[Finding]:
    """One finding: the package, and the decoders of the hardware."""
    trial = system.video
    if trial is None:
        return [_without_package(system)]
    named = " and ".join(trial.packages)
    if len(trial.packages) > 1:
        fix = f"{_pip(system)} uninstall -y av {_HARDWARE_PACKAGE}\n{_pip(system)} install {_chosen(system)}"
        return [Finding("video", "warning", f"{named} are both installed: they overwrite each other's av", "one", fix)]
    if trial.error:
        fix = f"{_pip(system)} install --force-reinstall {_chosen(system)}"
        return [Finding("video", "problem", f"{named}: {trial.error}", "a package that can be imported", fix)]
    return [_decoders(system, trial, named)]


def _without_package(system: System) -> Finding:
    found = "no package for video: OpenCV decodes in software"
    if not system.is_board:
        return Finding("video", "ok", found)
    fix = f"sudo board/install.sh --video    (or: {_pip(system)} install {_HARDWARE_PACKAGE})"
    return Finding("video", "note", found, _WANTED, fix)


def _decoders(system: System, trial: VideoTrial, named: str) -> Finding:
    if not trial.opened and not trial.refusals:  # the package of a PC
        found = f"{named} decodes in software"
        if not system.is_board:
            return Finding("video", "ok", found)
        fix = f"{_pip(system)} uninstall -y av\n{_pip(system)} install {_HARDWARE_PACKAGE}"
        return Finding("video", "note", found, _WANTED, fix)
    opened = f"{named}, opened: {', '.join(trial.opened) or 'no decoder of the hardware'}"
    if not trial.refusals:
        return Finding("video", "ok", opened)
    found = f"{opened}; {trial.refusals[0]}{_more(len(trial.refusals) - 1)}; software decodes instead"
    fix = _cure(system, trial.refusals[0])
    return Finding("video", "note" if trial.opened else "warning", found, "decoders that can be opened", fix)


def _more(count: int) -> str:
    return f" (and {count} more)" if count else ""


def _cure(system: System, refusal: str) -> str:
    if "Permission denied" in refusal:
        return f"sudo usermod -aG video {system.user.name}    (then log in again)"
    if "No such file" in refusal:
        container = "docker run --device /dev/mpp_service --device /dev/rga ...\nor, without a container: "
        return f"{container if system.in_docker else ''}a kernel of the board's vendor, which has MPP"
    return "dmesg | grep -i -e mpp -e vpu"


def _chosen(system: System) -> str:
    return _HARDWARE_PACKAGE if system.is_board else "av"


def _pip(system: System) -> str:
    return f"{system.python_path} -m pip"
