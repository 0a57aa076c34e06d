"""`rkdeploy profile`: where a frame's time goes on this machine, and what spoils it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from rkdeploy.analysis.page.texts import Lang
from rkdeploy.cli.backend import settled
from rkdeploy.cli.bundle_argument import bundle_and_sources, chosen_bundle
from rkdeploy.cli.console import err, plain
from rkdeploy.cli.document import check_target, print_tables
from rkdeploy.cli.language import LANGUAGE
from rkdeploy.cli.typer_command import JSON, PAGE_FILE
from rkdeploy.device.profiling.measure import ProfileOptions, measure_profile
from rkdeploy.option import BUNDLE, OUTPUT, Argument, Option


def profile_command(
    words: Annotated[
        tuple[str, ...],
        Argument(
            "[BUNDLE] [SOURCE]...",
            "A bundle, then what it is measured on.",
            (
                BUNDLE,
                ("SOURCE", "Images or videos, by default seeded noise. At most 64 frames are taken."),
            ),
        ),
    ] = (),
    *,
    options: ProfileOptions,
    layers: Annotated[
        int, Option("--layers", "Number of layers to list, slowest first; 0 lists all in their order.", OUTPUT, low=0)
    ] = 12,
    as_json: Annotated[bool, replace(JSON, panel=OUTPUT)] = False,
    output: Annotated[Path | None, replace(PAGE_FILE, panel=OUTPUT)] = None,
    lang: Annotated[Lang | None, LANGUAGE] = None,
) -> None:
    """Measure a bundle on this machine: stages, contexts, layers, memory, clocks, heat, and what spoils them."""
    from rkdeploy.analysis.tables.profile_tables import profile_blocks

    check_target(output)  # before minutes of measuring
    named, sources = bundle_and_sources(words, more_follow=True)
    bundle = chosen_bundle(named)
    options = replace(options, backend=settled(options.backend), sources=sources)
    with err.status("Measuring", refresh_per_second=1) as status:  # drawing costs the time that is measured
        profile = measure_profile(bundle, options, lambda what: status.update(f"Measuring: {plain(what)}"))
    print_tables(
        profile,
        lambda texts: profile_blocks(profile, texts, layers),
        title=profile.bundle,
        as_json=as_json,
        output=output,
        lang=lang,
    )
