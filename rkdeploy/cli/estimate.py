"""`rkdeploy estimate`: how fast a model will be on a chip, predicted before there is a board."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rkdeploy.analysis.estimate.estimate_source import EstimateSource
from rkdeploy.analysis.page.texts import Lang
from rkdeploy.cli.console import err, plain
from rkdeploy.cli.document import check_target, print_tables
from rkdeploy.cli.language import LANGUAGE
from rkdeploy.cli.typer_command import JSON, PAGE_FILE
from rkdeploy.option import INPUT, OUTPUT, WORDS, Option

if TYPE_CHECKING:
    pass


def estimate_command(
    source: EstimateSource,
    target: Annotated[
        tuple[str, ...] | None,
        Option(
            "--target",
            "SoCs, such as rk3588,rk3576.",
            INPUT,
            metavar="SOC,...",
            form=WORDS,
            often=True,
            default="all that can be predicted; of a bundle its own",
        ),
    ] = None,
    dtype: Annotated[
        str, Option("--dtype", "Data type: int8, or with less certainty fp16.", INPUT, metavar="TYPE", often=True)
    ] = "int8",
    profiles: Annotated[
        tuple[str, ...] | None,
        Option(
            "--from",
            "Profiles of a board (rkdeploy profile -o): times are predicted for that board.",
            INPUT,
            metavar="FILE,...",
            form=WORDS,
            often=True,
        ),
    ] = None,
    layers: Annotated[int, Option("--layers", "Number of slowest layers to list.", OUTPUT, low=0, often=True)] = 0,
    as_json: Annotated[bool, replace(JSON, panel=OUTPUT)] = False,
    output: Annotated[Path | None, replace(PAGE_FILE, panel=OUTPUT)] = None,
    lang: Annotated[Lang | None, LANGUAGE] = None,
) -> None:
    """Predict NPU time, rate and memory of a model on chips that you need not have."""
    from rkdeploy.analysis.estimate.estimate import estimate
    from rkdeploy.analysis.tables.prediction_tables import estimate_blocks

    check_target(output)
    with err.status("Estimating") as status:
        found = estimate(
            source,
            target,
            dtype,
            lambda what: status.update(f"Estimating: {plain(what)}"),
            tuple(map(Path, profiles or ())),
        )
    print_tables(
        found,
        lambda words: estimate_blocks(found, words, layers),
        title=found.model,
        as_json=as_json,
        output=output,
        lang=lang,
    )
