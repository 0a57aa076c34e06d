"""`rkdeploy build`: from a checkpoint to a verified bundle."""

from __future__ import annotations

import contextlib
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from rkdeploy.cli.backend_option import ToolkitPythonOption
from rkdeploy.cli.console import err, out, plain, print_advice, print_warning
from rkdeploy.cli.model_options import (
    ACCURACY,
    GRAPH,
    OUTPUT,
    QUANTIZATION,
    AnchorsOption,
    CalibCountOption,
    CalibOption,
    CalibSeedOption,
    CfgOption,
    ColorOption,
    CropOption,
    DataCountOption,
    DataLabelsOption,
    DataSplitOption,
    FitOption,
    ImgszOption,
    MeanOption,
    ModelArgument,
    NameOption,
    NamesOption,
    NmsOption,
    StdOption,
    Stem,
    StemOption,
    TargetOption,
    WeightsOption,
    input_choice,
)  # fmt: skip
from rkdeploy.cli.size import parse_size
from rkdeploy.host.building.events import BuildEvents

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rkdeploy.contract.accuracy import AccuracyReport
    from rkdeploy.contract.record import Agreement, Proof, Verification
    from rkdeploy.datasets.calibration import CalibrationSet
    from rkdeploy.host.building.network import Network
    from rkdeploy.host.building.options import BuildOptions
    from rkdeploy.host.families.advice import Advice
    from rkdeploy.host.toolkit.float16 import Float16Choice


class Algorithm(str, Enum):
    """The toolkit's ways to find quantization ranges."""

    normal = "normal"
    mmse = "mmse"
    kl_divergence = "kl_divergence"


class Method(str, Enum):
    """One weight scale a channel or one a layer."""

    channel = "channel"
    layer = "layer"


class Split(str, Enum):
    """Which head channels share a tensor."""

    none = "none"
    boxes_scores = "boxes_scores"
    xy_wh_scores = "xy_wh_scores"


class Sigmoid(str, Enum):
    """Head tensors whose sigmoid the NPU computes."""

    none = "none"
    all = "all"
    boxes = "boxes"
    scores = "scores"


def build_command(
    model: ModelArgument,
    weights: WeightsOption = None,
    anchors: AnchorsOption = None,
    cfg: CfgOption = None,
    imgsz: ImgszOption = None,
    names: NamesOption = None,
    mean: MeanOption = None,
    std: StdOption = None,
    color: ColorOption = None,
    fit: FitOption = None,
    crop: CropOption = None,
    target: TargetOption = "rk3588",
    dtype: Annotated[
        str, typer.Option(help="int8 (i8), fp16 (fp), or another type that the SoC has.", rich_help_panel=QUANTIZATION)
    ] = "int8",
    calib: CalibOption = None,
    calib_count: CalibCountOption = 20,
    seed: CalibSeedOption = 0,
    algorithm: Annotated[
        Algorithm, typer.Option(help="How ranges are found.", rich_help_panel=QUANTIZATION)
    ] = Algorithm.normal,
    method: Annotated[Method, typer.Option(help="Weight scales.", rich_help_panel=QUANTIZATION)] = Method.channel,
    float16_layers: Annotated[
        str | None,
        typer.Option(
            help="Layers that stay float16: names or modules with commas, as `explain` prints them (head,model.17-23); "
            "or none. Default: the boxes, keypoints and angles of anchor-free heads (geometry).",
            metavar="NAMES",
            rich_help_panel=QUANTIZATION,
        ),
    ] = None,
    float16_worst: Annotated[
        int,
        typer.Option(
            help="So many layers stay float16: those that lose most by themselves.",
            min=0,
            rich_help_panel=QUANTIZATION,
        ),
    ] = 0,
    float16_auto: Annotated[
        bool, typer.Option("--float16-auto", help="The toolkit proposes such layers.", rich_help_panel=QUANTIZATION)
    ] = False,
    min_agreement: Annotated[
        float,
        typer.Option(
            help="Lowest AP50 (0 to 1) of the built model with float's detections as the truth; of classifiers the "
            "share with the same first class, of class maps the mean IoU. The upper end of its interval counts.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = 0.85,
    proof_count: Annotated[int, typer.Option(help="Held-out images to compare on.", rich_help_panel=QUANTIZATION)] = 24,
    allow_unproven: Annotated[
        bool,
        typer.Option(
            "--allow-unproven",
            help="Accept a build when there is no image to compare the built model with float on.",
            rich_help_panel=QUANTIZATION,
        ),
    ] = False,
    examples: Annotated[
        int, typer.Option(help="Of these, how many the bundle keeps as small pictures.", rich_help_panel=OUTPUT)
    ] = 4,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labeled images (data.yaml, COCO file): measure float and the built model on them, and fail where it "
            "lost more than --max-drop.",
            rich_help_panel=ACCURACY,
        ),
    ] = None,
    max_drop: Annotated[
        float | None,
        typer.Option(
            help="How much mAP50-95 (top-1, mean IoU) may be lost.  [default: 0.01]",
            rich_help_panel=ACCURACY,
            show_default=False,
        ),
    ] = None,
    data_split: DataSplitOption = "val",
    data_labels: DataLabelsOption = None,
    data_count: DataCountOption = None,
    stem: StemOption = Stem.space_to_depth,
    split: Annotated[
        Split, typer.Option(help="Head channels that get a tensor of their own.", rich_help_panel=GRAPH)
    ] = Split.none,
    sigmoid: Annotated[
        Sigmoid, typer.Option(help="Head tensors whose sigmoid the NPU computes.", rich_help_panel=GRAPH)
    ] = Sigmoid.all,
    nms: NmsOption = None,
    optimization_level: Annotated[
        int, typer.Option(help="The toolkit's, 0 to 3.", min=0, max=3, rich_help_panel=GRAPH)
    ] = 3,
    out_dir: Annotated[Path, typer.Option("--out", help="Folder for bundles.", rich_help_panel=OUTPUT)] = Path("build"),
    name: NameOption = None,
    toolkit_python: ToolkitPythonOption = None,
) -> None:
    """Turn a checkpoint into a verified .rknn bundle: export, cut, verify, quantize, build, compare."""
    from rkdeploy.host.building.accuracy_gate import GateOptions
    from rkdeploy.host.building.given_anchors import read_anchors
    from rkdeploy.host.building.options import BuildOptions
    from rkdeploy.host.graph.cut import CutOptions

    if data is None and (max_drop is not None or data_labels is not None or data_count is not None):
        raise typer.BadParameter("Accuracy is measured on labeled images: name them with --data.", param_hint="--data")
    gate = (
        GateOptions(data, 0.01 if max_drop is None else max_drop, data_split, data_labels, data_count) if data else None
    )
    options = BuildOptions(
        model=model,
        weights=weights,
        anchors=read_anchors(anchors) if anchors is not None else None,
        cfg=cfg,
        imgsz=parse_size(imgsz) if imgsz else None,
        input=input_choice(names, mean, std, color, fit, crop),
        nms=nms,
        target=target,
        dtype=dtype,
        calib=calib,
        calib_count=calib_count,
        seed=seed,
        algorithm=algorithm.value,
        method=method.value,
        float16=_float16(float16_layers, float16_worst, auto=float16_auto),
        optimization_level=optimization_level,
        stem=stem.value,
        cut=CutOptions(split.value, sigmoid.value),
        min_agreement=min_agreement,
        proof_images=proof_count,
        examples=examples,
        gate=gate,
        out=out_dir,
        toolkit_python=toolkit_python,
        name=name,
        allow_unproven=allow_unproven,
    )
    build_and_print(options)


def build_and_print(options: BuildOptions) -> None:
    """Build, and print it as it goes and what came of it."""
    from rkdeploy.host.building.pipeline import build

    with _watch() as events:
        bundle = build(options, events)
    record = bundle.record
    out.print(
        f"\n[bold green]{plain(str(bundle.folder))}[/]  ({record.toolkit.name} {record.toolkit.version}, "
        f"{record.toolkit.target}, {record.toolkit.dtype}, {sum(record.seconds.values()):.1f} s)"
    )
    if record.toolkit.float16:
        out.print(f"  float16: {len(record.toolkit.float16)} tensors, listed in build.json")
    for entry in sorted(bundle.folder.iterdir()):
        files = [file for file in entry.rglob("*") if file.is_file()] if entry.is_dir() else [entry]
        name = f"{entry.name}/ ({len(files)} files)" if entry.is_dir() else entry.name
        out.print(f"  {sum(file.stat().st_size for file in files) / 1024:9,.1f} KiB  {plain(name)}")


def _float16(layers: str | None, worst: int, *, auto: bool) -> Float16Choice | None:
    """The choice, None where nothing was said."""
    from rkdeploy.host.toolkit.float16 import NONE, Float16Choice

    if layers is None and not worst and not auto:
        return None
    names = tuple(name for part in (layers or "").split(",") if (name := part.strip()) and name != NONE)
    return Float16Choice(names, worst, auto)


class _Events(BuildEvents):
    """Prints a build as it goes: a spinner on a terminal, one line a stage elsewhere."""

    def __init__(self) -> None:
        self._status = err.status("Starting") if err.is_terminal else None
        self._title = ""

    def start(self) -> None:
        if self._status is not None:
            self._status.start()

    def stop(self) -> None:
        if self._status is not None:
            self._status.stop()

    def stage(self, title: str) -> None:
        self._title = title
        if self._status is not None:
            self._status.update(plain(title))

    def detail(self, text: str) -> None:
        if self._status is not None:
            self._status.update(f"{plain(self._title)}: {plain(text)}")

    def network(self, network: Network) -> None:
        from rkdeploy.host.families.anchor_defaults import compare_anchors

        out.print(
            f"[bold]Input[/]     {network.input_hw[1]}x{network.input_hw[0]} (width x height), "
            f"{len(network.class_names)} classes, {network.task}"
        )
        if network.anchors is not None:
            beside = compare_anchors(network.anchors, network.family)
            out.print(
                f"[bold]Anchors[/]   from the {network.anchors_from}, px"
                + ("" if beside.are_defaults else f"; not {beside.data_set}'s defaults")
            )
            strides = sorted({tap.stride for tap in network.head.taps if not tap.name})
            for stride, level in zip(strides, network.anchors.levels_px, strict=True):
                listed = "  ".join(f"{w:.6g},{h:.6g}" for w, h in level)
                out.print(f"            stride {stride:3}: {listed}")
        out.print(
            "[bold]Cut at[/]    " + plain(", ".join(f"{t.node} ({t.shape[1]} channels)" for t in network.head.taps))
        )

    def calibration(self, calibration: CalibrationSet) -> None:
        out.print(f"[bold]Calibrate[/] on {len(calibration.images)} images of {plain(calibration.source)}")

    def verified(self, verification: Verification) -> None:
        if not verification.decode_proven:
            worst = max((e.max_error for e in verification.fields), default=0.0)
            out.print(
                f"[bold yellow]Unproven[/]  no decode to compare with; the graph's {len(verification.fields)} outputs "
                f"stayed as they were within {worst:.2g} on {verification.images} images"
            )
            return
        rewrite = verification.rewrite_error
        found = ", ".join(f"{e.name} within {e.max_error:.2g} {e.unit}" for e in verification.fields if e.max_error)
        out.print(
            f"[bold]Verified[/]  {verification.rows:,} rows, {verification.images} images: "
            + (f"{found} of the trained decode" if found else "identical to the trained decode")
            + (f"; rewritten first layer within {rewrite:.2g} of the trained one" if rewrite is not None else "")
        )

    def compared(self, agreement: Agreement, proof: Proof) -> None:
        out.print(agreement_table(agreement))
        first, *others = [*agreement_lines(agreement), "float finds nothing to compare"]
        out.print(
            f"[bold]Agreement[/] {plain(first)}; {agreement.images} images from {plain(agreement.source)}; "
            f"{plain(agreement.figures_from)}"
        )
        for line in others[:-1]:
            out.print(f"            {plain(line)}")
        out.print(
            f"[bold]Standing[/]  {'[green]agrees[/] with float' if proof.standing == 'agrees' else proof.standing}"
        )

    def accuracy(self, report: AccuracyReport) -> None:
        from rkdeploy.cli.evaluate_table import print_accuracy

        print_accuracy(report, out)

    def advice(self, advice: tuple[Advice, ...]) -> None:
        print_advice(advice)

    def warning(self, text: str) -> None:
        print_warning(text)


def agreement_lines(agreement: Agreement) -> list[str]:
    """What the built model keeps of float's results, one line for each thing that the model gives."""
    lines = []
    for ap in agreement.average_precisions:
        low, high = ap.ap50_interval
        lines.append(
            f"AP {ap.ap:.3f}, AP50 {ap.ap50:.3f} ({low:.3f} to {high:.3f}), AP75 {ap.ap75:.3f} of the {ap.kind}, with "
            f"float's {ap.objects} detections above {agreement.confidence} as the truth"
        )
    if agreement.recall is not None:
        sure = agreement.recall
        lines.append(
            f"finds {100 * sure.found:.1f} % of the {sure.objects} objects that float scores above {sure.confidence}"
        )
    points = agreement.keypoints
    if points is not None:
        median, tail = points.median_shift_px, points.p95_shift_px
        lines += [
            f"{points.points} keypoints moved by {median:.2f} px (median), {tail:.2f} px (95th percentile)",
            f"{100 * points.alike:.1f} % of the poses have an OKS of at least {points.similarity}",
        ]
    if agreement.mask_iou is not None:
        lines.append(f"masks of matched objects overlap by {100 * agreement.mask_iou:.1f} % (mean IoU)")
    for found in agreement.class_maps:
        overlap = "-" if found.mean_iou is None else f"{100 * found.mean_iou:.1f} %"
        lines.append(f"{found.output}: {100 * found.same:.1f} % of the pixels alike, mean IoU {overlap}")
    if agreement.same_first_class is not None:
        lines.append(f"the same first class on {100 * agreement.same_first_class:.1f} % of {agreement.images} images")
    return lines


def agreement_table(agreement: Agreement) -> Table:
    """The built model against float, tensor by tensor."""
    table = Table(title="Built model against float", title_justify="left", box=None, pad_edge=False)
    for name in ("output", "cosine", "max error", "at range end", "score peak float", "built", "reachable"):
        # An output's name is never shortened: it says which tensor a line is about.
        table.add_column(name, justify="left" if name == "output" else "right", no_wrap=name == "output")

    def text(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    for o in agreement.outputs:
        table.add_row(
            o.name, f"{o.cosine:.5f}", f"{o.max_error:.3g}", text(o.saturated, ".1%"), text(o.float_peak, ".3f"),
            text(o.built_peak, ".3f"), text(o.reachable_score, ".3f"),
        )  # fmt: skip
    return table


@contextlib.contextmanager
def _watch() -> Iterator[_Events]:
    events = _Events()
    events.start()
    try:
        yield events
    finally:
        events.stop()
