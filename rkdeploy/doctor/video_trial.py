"""Trial of the package that decodes video, in a child process, which a board's video library may crash."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

import rkdeploy

if TYPE_CHECKING:
    from collections.abc import Mapping

VIDEO_PACKAGES: Final = ("av", "pyav-rkmpp")
_TIMEOUT_S: Final = 60.0
_SHOWN: Final = 300  # longest error, in characters
# Neither the script's folder nor the working directory is searched: a file there may have a package's name.
_CODE: Final = (
    "import sys; sys.path[0:1] = []; sys.path.append(sys.argv.pop(1)); from rkdeploy.doctor.video_trial import main; "
    "main()"
)


@dataclass(frozen=True, slots=True)
class VideoTrial:
    """Result of opening the hardware's video decoders.

    Attributes:
        packages: installed ones of `VIDEO_PACKAGES` with their versions, "pyav-rkmpp 18.1.0.post2".
        opened: decoders of the hardware that could be opened.
        refusals: one sentence for each that could not.
        error: reason why the package could not be tried; empty when it was.
    """

    packages: tuple[str, ...]
    opened: tuple[str, ...] = ()
    refusals: tuple[str, ...] = ()
    error: str = ""


def try_video(packages: Mapping[str, str]) -> VideoTrial | None:
    """Open each decoder of the hardware once; None if no package for video is installed.

    Args:
        packages: name -> version of the installed packages.
    """
    named = tuple(f"{name} {packages[name]}" for name in VIDEO_PACKAGES if name in packages)
    if not named:
        return None
    try:
        ran = subprocess.run(  # noqa: S603  (this interpreter, and our own words)
            [sys.executable, "-c", _CODE, str(Path(rkdeploy.__file__).parents[1])],
            capture_output=True,
            text=True,
            errors="replace",
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return VideoTrial(named, error=f"no answer within {_TIMEOUT_S:g} s")
    if ran.returncode != 0:
        last = next(reversed(ran.stderr.strip().splitlines()), "")
        ended = f"signal {-ran.returncode}" if ran.returncode < 0 else f"exit code {ran.returncode}"
        return VideoTrial(named, error=f"the trial ended with {ended}{f': {last}' if last else ''}"[:_SHOWN])
    answer = json.loads(ran.stdout.splitlines()[-1])  # libraries may print before it
    return VideoTrial(named, tuple(answer["opened"]), tuple(answer["refusals"]))


def main() -> None:
    """Print which decoders of the hardware can be opened, as one line of JSON."""
    import av

    from rkdeploy.device.stream.sources.hardware_decoder import DECODERS, opened_decoder

    tried = {name: opened_decoder(name) for name in sorted(set(DECODERS.values()) & av.codecs_available)}
    opened = [name for name, found in tried.items() if found.context is not None]
    print(json.dumps({"opened": opened, "refusals": [found.refusal for found in tried.values() if found.refusal]}))
