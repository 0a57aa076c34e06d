"""`rkdeploy profile`: where a frame's time goes on this machine, and what spoils it."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rkdeploy.cli.backend_option import AUTO, BackendOption, ToolkitPythonOption, settled
from rkdeploy.cli.bundle_argument import chosen_bundle
from rkdeploy.cli.console import err, out, plain
from rkdeploy.errors import RkdeployError

if TYPE_CHECKING:
    from rkdeploy.device.profiling.figures import Profile

_ROOT = Path("/")
_MAX_CONTEXTS = 16


def _contexts(text: str | None) -> str | None:
    if text is not None and not (
        re.fullmatch(r"\d{1,2}(,\d{1,2})*", text) and all(1 <= int(n) <= _MAX_CONTEXTS for n in text.split(","))
    ):
        raise typer.BadParameter(f'"{text}" is no list of numbers from 1 to {_MAX_CONTEXTS}, such as 1,2,3.')
    return text


def _frame_size(text: str) -> str:
    if not re.fullmatch(r"[1-9]\d{0,3}[xX][1-9]\d{0,3}", text):
        raise typer.BadParameter(f'"{text}" is no size; give width and height, such as 1280x720.')
    return text


def profile_command(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="A bundle. Default: the only or newest one in . or ./build.", show_default=False),
    ] = None,
    backend: BackendOption = AUTO,
    toolkit_python: ToolkitPythonOption = None,
    contexts: Annotated[
        str | None,
        typer.Option(
            help="How many contexts at once, each number measured: 1,2,3. Default: 1 to the number of NPU cores.",
            callback=_contexts,
            show_default=False,
        ),
    ] = None,
    source: Annotated[
        str | None,
        typer.Option(
            help="Images or a video file, at most 64 frames of it. Default: seeded noise.", show_default=False
        ),
    ] = None,
    frame_size: Annotated[
        str, typer.Option(help="Width and height of the noise, as your camera's.", callback=_frame_size)
    ] = "1920x1080",
    frames: Annotated[int, typer.Option(help="Frames of each measurement at most.", min=1, max=1_000_000)] = 200,
    seconds: Annotated[float, typer.Option(help="Seconds of each measurement at most.", min=0.1, max=86_400)] = 10,
    warmup: Annotated[int, typer.Option(help="Frames before each that are not measured.", min=1, max=10_000)] = 20,
    as_json: Annotated[
        str | None,
        typer.Option("--json", metavar="FILE", help="Write profile.json; - for stdout.", show_default=False),
    ] = None,
    layers: Annotated[
        int, typer.Option(help="Rows of the layer table, slowest first; 0 for all in their order.", min=0)
    ] = 12,
    sysroot: Annotated[Path, typer.Option(help="Folder that stands in for /, with proc and sys.", hidden=True)] = _ROOT,
) -> None:
    """Measure a bundle on this machine: stages, contexts, layers, memory, clocks, heat, and what spoils them."""
    from rkdeploy.cli.profile_table import print_profile
    from rkdeploy.device.profiling.measure import ProfileOptions, measure_profile
    from rkdeploy.device.profiling.one_context import Limits
    from rkdeploy.device.runtime.protocol import RuntimeOptions
    from rkdeploy.system.atomic_file import refuse_folder, write_atomically

    target = None if as_json in (None, "-") else Path(str(as_json))
    if target is not None:
        refuse_folder(target)  # before minutes of measuring
        if not target.parent.is_dir():
            raise RkdeployError(f'"{target}" cannot be written: there is no folder "{target.parent}".')
    opened = chosen_bundle(bundle)
    width, _, height = frame_size.lower().partition("x")
    options = ProfileOptions(
        backend=settled(backend),
        contexts=tuple(int(n) for n in contexts.split(",")) if contexts else None,
        source=source,
        frame_wh=(int(width), int(height)),
        limits=Limits(frames=frames, seconds=seconds, warmup=warmup),
        runtime=RuntimeOptions(toolkit_python=toolkit_python),
        sysroot=sysroot,
    )
    with err.status("Measuring", refresh_per_second=1) as status:  # drawing costs the time that is measured
        profile = measure_profile(opened, options, lambda what: status.update(f"Measuring: {plain(what)}"))
    if as_json == "-":
        print(_json(profile), end="")
    elif target is not None:
        write_atomically(target, _json(profile).encode("ascii"))
    console = err if as_json == "-" else out
    print_profile(profile, console, layers)
    if target is not None:
        console.print(f"JSON: {plain(str(target))}")


def _json(profile: Profile) -> str:
    import msgspec

    # ASCII: a layer's name cannot drive the terminal
    return json.dumps(msgspec.to_builtins(profile), indent=2) + "\n"
