"""`rkdeploy estimate`: how fast a model will be on a chip, predicted before there is a board."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rkdeploy.cli.console import err, out, plain
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.size import parse_size
from rkdeploy.contract.documents import document_text

if TYPE_CHECKING:
    from rkdeploy.analysis.estimate.prediction import Prediction


def estimate_command(
    model: Annotated[
        Path, typer.Argument(help="best.pt, an ONNX file exported from it, or a bundle.", show_default=False)
    ],
    target: Annotated[
        str | None,
        typer.Option(
            help="SoCs, such as rk3588,rk3576. Default: all that can be predicted; of a bundle its own.",
            show_default=False,
        ),
    ] = None,
    dtype: Annotated[str, typer.Option(help="Type of the build: int8, or with less certainty fp16.")] = "int8",
    imgsz: Annotated[
        str | None,
        typer.Option(
            help="Network input: 640, or width x height (640x384). Default: the training size.",
            metavar="WxH",
            show_default=False,
        ),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="With an ONNX file: the .pt it came from.", show_default=False)
    ] = None,
    cfg: Annotated[
        Path | None,
        typer.Option(
            help="With weights that come without their model (YOLOR's main branch): the darknet cfg.",
            show_default=False,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.")] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="Write the figures as JSON.", show_default=False),
    ] = None,
    layers: Annotated[int, typer.Option(help="Slowest layers to list.", min=0)] = 0,
    built: Annotated[
        Path, typer.Option("--out", help="Folder of bundles; one of this very file is not compiled again.")
    ] = Path("build"),
    toolkit_python: Annotated[
        Path | None,
        typer.Option(
            help="Interpreter that has rknn-toolkit2, if it is not this one.",
            envvar="RKDEPLOY_TOOLKIT_PYTHON",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Predict NPU time, rate and memory of a model on chips that you need not have."""
    from rkdeploy.analysis.estimate.compile import EstimateSource, compiled_models, is_bundle
    from rkdeploy.analysis.estimate.latency import latency_model, predict, require_predictable
    from rkdeploy.analysis.estimate.prediction import Estimate
    from rkdeploy.cli.estimate_table import print_estimates
    from rkdeploy.contract.bundle import read_bundle
    from rkdeploy.contract.chips import canonical_dtype, canonical_target

    check_target(output)
    size = parse_size(imgsz) if imgsz else None
    chosen = (
        tuple(dict.fromkeys(canonical_target(chip) for chip in target.split(",")))
        if target is not None
        else tuple(latency_model().chips)
    )
    dtype = canonical_dtype(dtype)
    if is_bundle(model) and target is None:
        own = read_bundle(model).model
        chosen, dtype = (own.target,), own.dtype
    for chip in chosen:
        require_predictable(chip, dtype)
    source = EstimateSource(model, weights, size, built, toolkit_python, cfg)
    predictions: list[Prediction] = []
    input_hw = (0, 0)
    with err.status("Estimating") as status:

        def progress(what: str) -> None:
            status.update(f"Estimating: {plain(what)}")

        for compiled in compiled_models(source, chosen, dtype, progress):
            predictions.append(predict(compiled.model, compiled.target, dtype, compiled.origin))
            input_hw = compiled.input_hw
    found = Estimate(model.name, input_hw, tuple(predictions))
    text = document_text(found)
    print_result(
        text,
        lambda: print_estimates(found, out, layers),
        as_json=as_json,
        output=output,
    )
