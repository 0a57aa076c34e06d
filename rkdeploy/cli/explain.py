"""`rkdeploy explain`: differences of a quantized model from the float model, layer by layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Annotated

from rkdeploy.analysis.page.texts import Lang
from rkdeploy.cli.bundle_argument import chosen_bundle
from rkdeploy.cli.console import err, plain
from rkdeploy.cli.document import check_target, print_tables
from rkdeploy.cli.language import LANGUAGE
from rkdeploy.cli.typer_command import JSON, PAGE_FILE
from rkdeploy.option import BUNDLE, INPUT, OUTPUT, TOOLKIT_PYTHON, Argument, Option

_FITTED = 6
"""Images by which the emulation searches ranges and corrects biases."""


def explain_command(
    bundle: Annotated[Path | None, Argument(*BUNDLE)] = None,
    data: Annotated[
        Path | None,
        Option(
            "--data",
            "Images to explain on: a folder, a list file or a data.yaml.",
            INPUT,
            default="./calib_data",
            often=True,
        ),
    ] = None,
    count: Annotated[int, Option("--count", "Number of images.", INPUT, low=1, high=100, often=True)] = 4,
    seconds: Annotated[
        float,
        Option(
            "--layer-time",
            "Time limit of the attribution to layers, in seconds; 0 leaves it out.",
            INPUT,
            low=0,
            high=86_400,
        ),
    ] = 60.0,
    every: Annotated[
        bool,
        Option("--all", "List every layer in the order of the network, instead of the worst.", OUTPUT, often=True),
    ] = False,
    as_json: Annotated[bool, replace(JSON, panel=OUTPUT)] = False,
    output: Annotated[Path | None, replace(PAGE_FILE, panel=OUTPUT)] = None,
    lang: Annotated[Lang | None, LANGUAGE] = None,
    toolkit_python: Annotated[Path | None, TOOLKIT_PYTHON] = None,
) -> None:
    """Find the layers where INT8 loses accuracy, the ranges that cause it, and what to try."""
    from rkdeploy.analysis.explain.explain import explain
    from rkdeploy.analysis.tables.explanation_tables import explanation_blocks
    from rkdeploy.datasets.calibration import find_calibration

    check_target(output)
    found = chosen_bundle(bundle, installed=False)
    # As a build proves itself: on images of the set that calibration would not take.
    fitted = find_calibration(data, Path.cwd(), _FITTED, 0)
    images = fitted.held_out(count).images
    if len(images) < count:  # a small folder: each image counts more for what is shown
        fitted = find_calibration(data, Path.cwd(), 1, 0)
        images = fitted.held_out(count).images
    with err.status("Explaining") as status:
        explanation = explain(
            found,
            images,
            calibration=fitted.images,
            seconds=seconds,
            toolkit_python=toolkit_python,
            on_progress=lambda text: status.update(f"Explaining: {plain(text)}"),
        )
    print_tables(
        explanation,
        lambda words: explanation_blocks(explanation, words, every=every),
        title=explanation.bundle,
        as_json=as_json,
        output=output,
        lang=lang,
    )
