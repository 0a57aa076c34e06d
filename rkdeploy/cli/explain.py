"""`rkdeploy explain`: why a quantized model differs from float, layer by layer."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from rkdeploy.cli.bundle_argument import chosen_bundle
from rkdeploy.cli.console import err, out, plain, print_whole
from rkdeploy.cli.declared import JSON, OUTPUT_FILE
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.contract.documents import document_text
from rkdeploy.option import BUNDLE, INPUT, OUTPUT, TOOLKIT_PYTHON, Argument, Option

if TYPE_CHECKING:
    from rkdeploy.analysis.explain.explanation import Explanation
    from rkdeploy.host.toolkit.error_analysis import LayerError

_BAR = 24
_WORST = 12
_BAR_NAME = "1 - cosine, alone: 1e-5 to 1, by decades"


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
    every: Annotated[
        bool,
        Option("--all", "List every layer in the order of the network, instead of the worst.", OUTPUT, often=True),
    ] = False,
    as_json: Annotated[bool, replace(JSON, panel=OUTPUT)] = False,
    output: Annotated[Path | None, replace(OUTPUT_FILE, panel=OUTPUT)] = None,
    toolkit_python: Annotated[Path | None, TOOLKIT_PYTHON] = None,
) -> None:
    """Find the layers where INT8 loses accuracy, the ranges that cause it, and what to try."""
    from rkdeploy.analysis.explain.explain import explain
    from rkdeploy.datasets.calibration import find_calibration

    check_target(output)
    found = chosen_bundle(bundle, installed=False)
    # As a build proves itself: on images of the set that calibration would not take.
    images = find_calibration(data, Path.cwd(), 1, 0).held_out(count).images
    with err.status("Explaining") as status:
        explanation = explain(
            found,
            images,
            toolkit_python=toolkit_python,
            on_progress=lambda text: status.update(f"Explaining: {plain(text)}"),
        )
    text = document_text(explanation)
    print_result(text, lambda: _print(explanation, every=every), as_json=as_json, output=output)


def _print(explanation: Explanation, *, every: bool) -> None:
    out.print(
        f"[bold]{plain(explanation.bundle)}[/]: {len(explanation.layers)} layers on {len(explanation.images)} images; "
        f"{plain(explanation.figures_from)} against float\n"
    )
    for number, cause in enumerate(explanation.causes, 1):
        out.print(f"[bold]{number}. {plain(cause.kind)}[/]  {plain(cause.text)}")
        out.print(f"   [cyan]try[/]  {plain(cause.try_this)}")
    layers = explanation.layers
    shown = layers if every else sorted(layers, key=lambda row: row.single_cosine)[:_WORST]
    out.print()
    title = "All layers" if every else f"The {len(shown)} layers that lose most by themselves"
    print_whole(_table(shown, title), out)


def _table(layers: tuple[LayerError, ...] | list[LayerError], title: str) -> Table:
    """A line a layer; the bar is the error of the layer alone, on a scale of decades from 1e-5 to 1."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("layer", "op", "alone", "with all before", _BAR_NAME):
        # A layer's name is never shortened: it says which layer a line is about.
        left = name in ("layer", "op", _BAR_NAME)
        table.add_column(name, justify="left" if left else "right", no_wrap=name == "layer")
    for row in layers:
        table.add_row(
            plain(row.name.removesuffix("_output_0")),
            plain(row.op),
            f"{row.single_cosine:.5f}",
            f"{row.entire_cosine:.5f}",
            _bar(row),
        )
    return table


def _bar(row: LayerError) -> str:
    from math import log10

    decades = log10(max(1 - row.single_cosine, 1e-5)) + 5
    return "█" * round(_BAR * min(decades, 5) / 5)
