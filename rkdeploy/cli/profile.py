"""`rkdeploy profile`: where a frame's time goes on this machine, and what spoils it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from rkdeploy.cli.backend_option import AUTO, BackendOption, ToolkitPythonOption, settled
from rkdeploy.cli.bundle_argument import bundle_and_sources, chosen_bundle
from rkdeploy.cli.console import err, out, plain
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.size import parse_wh
from rkdeploy.contract.documents import document_text

_ROOT = Path("/")
_MAX_CONTEXTS = 16


def _contexts(text: str | None) -> str | None:
    if text is not None and not (
        re.fullmatch(r"\d{1,2}(,\d{1,2})*", text) and all(1 <= int(n) <= _MAX_CONTEXTS for n in text.split(","))
    ):
        raise typer.BadParameter(f'"{text}" is no list of numbers from 1 to {_MAX_CONTEXTS}, such as 1,2,3.')
    return text


def profile_command(
    words: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[BUNDLE] [SOURCE]...",
            help="The bundle, by default the only or newest one in . or ./build; then images or videos, of which at "
            "most 64 frames are taken, by default seeded noise.",
            show_default=False,
        ),
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
    frame_size: Annotated[str, typer.Option(help="Size of the noise, as your camera's.", metavar="WxH")] = "1920x1080",
    frames: Annotated[int, typer.Option(help="Frames of each measurement at most.", min=1, max=1_000_000)] = 200,
    seconds: Annotated[float, typer.Option(help="Seconds of each measurement at most.", min=0.1, max=86_400)] = 10,
    warmup: Annotated[int, typer.Option(help="Frames before each that are not measured.", min=1, max=10_000)] = 20,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the figures as JSON.", show_default=False),
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

    frame_wh = parse_wh(frame_size)
    check_target(output)  # before minutes of measuring
    named, sources = bundle_and_sources(words or (), more_follow=True)
    opened = chosen_bundle(named)
    options = ProfileOptions(
        backend=settled(backend),
        contexts=tuple(int(n) for n in contexts.split(",")) if contexts else None,
        sources=sources,
        frame_wh=frame_wh,
        limits=Limits(frames=frames, seconds=seconds, warmup=warmup),
        runtime=RuntimeOptions(toolkit_python=toolkit_python),
        sysroot=sysroot,
    )
    with err.status("Measuring", refresh_per_second=1) as status:  # drawing costs the time that is measured
        profile = measure_profile(opened, options, lambda what: status.update(f"Measuring: {plain(what)}"))
    text = document_text(profile)
    print_result(text, lambda: print_profile(profile, out, layers), as_json=as_json, output=output)
