"""`rkdeploy build`: from a checkpoint to a verified bundle."""

from __future__ import annotations

import contextlib
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from rich.table import Table

from rkdeploy.cli.console import err, out, plain, print_warning
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.language import chosen_language
from rkdeploy.cli.typer_command import JSON, OUTPUT_FILE
from rkdeploy.cli.verbosity import is_quiet
from rkdeploy.contract.documents import document_text
from rkdeploy.host.building.build_document import BuildDocument
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rkdeploy.contract.accuracy import AccuracyReport
    from rkdeploy.contract.agreement import Agreement, Measure, Proof
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.record import AttemptRecord, BiasCorrection, FormRecord, Verification
    from rkdeploy.datasets.calibration import CalibrationSet
    from rkdeploy.host.building.network import Network
    from rkdeploy.host.families.speed_advice import Advice


def build_command(
    options: BuildOptions,
    as_json: Annotated[bool, JSON] = False,
    output: Annotated[Path | None, OUTPUT_FILE] = None,
) -> None:
    """Turn a checkpoint into a verified .rknn bundle: export, cut, verify, quantize, build, compare.

    An ONNX file that was exported from one is taken too. The build is refused when the decode is not proven equal to
    the trained model's, or when the quantized model disagrees with the float model.
    """
    check_target(output)
    if as_json:
        from rkdeploy.host.building.build_stages import build

        bundle = build(options, _Warnings())
    else:
        bundle = build_and_print(options)
    if as_json or output is not None:
        document = BuildDocument(str(bundle.folder), bundle.record)
        print_result(document_text(document), lambda: None, as_json=as_json, output=output)


class _Warnings(BuildEvents):
    """Passes on the warnings of a build, and nothing else."""

    def warning(self, text: str) -> None:
        print_warning(text)


def build_and_print(options: BuildOptions) -> Bundle:
    """Build, and print it as it goes and what came of it."""
    from rkdeploy.host.building.build_stages import build

    if is_quiet():
        bundle = build(options, _Warnings())
        out.print(plain(str(bundle.folder)))
        return bundle
    with _watch(options.model) as events:
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
    _print_configuration(bundle)
    return bundle


def _print_configuration(bundle: Bundle) -> None:
    """Print Frigate's configuration for a bundle in its form."""
    from rkdeploy.host.building.form_files import FRIGATE_CONFIGURATION

    file = bundle.folder / FRIGATE_CONFIGURATION
    if file.is_file():
        out.print()
        for line in file.read_text(encoding="utf-8").splitlines():
            out.print(plain(line), highlight=False)


class _BuildProgress(BuildEvents):
    """Prints the progress of a build: a spinner on a terminal, one line per stage elsewhere."""

    def __init__(self, model: Path) -> None:
        self._model = shlex.quote(str(model))
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
            f"{_scores_of(network)}{network.task}"
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

    def bias_correction(self, correction: BiasCorrection) -> None:
        if correction.accepted:
            out.print(
                f"[bold]Biases[/]    corrected in {correction.layers} convolutions; error of the outputs "
                f"{correction.error_before:.2g}, then {correction.error_after:.2g} on {correction.held_out} held-out "
                "calibration images (emulated)"
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

    def remedy(self, name: str, measure: Measure | None) -> None:
        reached = f"{measure.name} {measure.value:.3f}" if measure is not None else "nothing found"
        out.print(f"[bold]Too weak[/]  {plain(reached)} against the float model; trying {plain(name)}")

    def attempts(self, attempts: tuple[AttemptRecord, ...]) -> None:
        from rkdeploy.host.building.remedies import WORDS

        for number, one in enumerate(attempts):
            facts = ["nothing to judge" if one.measure is None else f"{one.measure.name} {one.measure.value:.3f}"]
            facts += [] if one.mcycles is None else [f"{one.mcycles:.3f} million cycles (the compiler's prediction)"]
            facts += [f"{one.float16} tensors in float16"] if one.float16 else []
            facts += ["[green]kept[/]"] if one.kept else []
            title = "          " if number else "[bold]Tried[/]     "
            out.print(f"{title}  {WORDS[one.remedy]}: {', '.join(facts)}")

    def form(self, form: FormRecord, cost: str) -> None:
        out.print(f"[bold]Form[/]      {form.name}, for {plain(form.program)}" + (f": {cost}" if cost else ""))

    def accuracy(self, report: AccuracyReport) -> None:
        from rkdeploy.analysis.page.terminal import print_blocks
        from rkdeploy.analysis.page.texts import Words
        from rkdeploy.analysis.tables.accuracy_tables import accuracy_blocks

        words = Words(chosen_language(None))
        print_blocks(accuracy_blocks(report, words), words, out)

    def advice(self, advice: tuple[Advice, ...]) -> None:
        if advice:
            topics = ", ".join(dict.fromkeys(one.topic for one in advice))
            out.print(f"[bold cyan]Advice[/]    on speed ({plain(topics)}): rkdeploy inspect {plain(self._model)}")

    def warning(self, text: str) -> None:
        print_warning(text)


def agreement_lines(agreement: Agreement) -> list[str]:
    """Agreement of the quantized with the float model, one line per kind of result."""
    lines = []
    for ap in agreement.average_precisions:
        low, high = ap.ap50_interval
        lines.append(
            f"AP {ap.ap:.3f}, AP50 {ap.ap50:.3f} ({low:.3f} to {high:.3f}), AP75 {ap.ap75:.3f} of the {ap.kind}, with "
            f"the float model's {ap.objects} detections above {agreement.confidence} as the truth"
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
    if agreement.text is not None:
        text = agreement.text
        lines.append(
            f"the same text on {100 * text.same:.1f} % of {text.lines} images whose text is certain, "
            f"{100 * text.characters:.1f} % of their characters"
        )
    if agreement.depth is not None:
        depth = agreement.depth
        lines.append(
            f"depths differ by {100 * depth.abs_rel:.1f} % in the mean (AbsRel), {100 * depth.delta1:.1f} % of them by "
            "less than a quarter (delta1)"
        )
    if agreement.embedding is not None:
        vectors = agreement.embedding
        lines.append(
            f"cosine of the embeddings and the float model's {vectors.cosine:.4f} in the mean, "
            f"{vectors.worst:.4f} at worst"
        )
        if vectors.nearest is not None:
            lines.append(
                f"the same nearest image for {100 * vectors.nearest:.1f} % of {agreement.images} images, or one within "
                f"{vectors.tie} of its cosine"
            )
    if agreement.same_first_class is not None:
        lines.append(f"the same first class on {100 * agreement.same_first_class:.1f} % of {agreement.images} images")
    return lines


def agreement_table(agreement: Agreement) -> Table:
    """The quantized against the float model, tensor by tensor."""
    table = Table(title="Quantized model against the float model", title_justify="left", box=None, pad_edge=False)
    for name in ("output", "cosine", "max error", "at range end", "score peak float", "built", "reachable"):
        # An output's name is never shortened: it identifies the tensor.
        table.add_column(name, justify="left" if name == "output" else "right", no_wrap=name == "output")

    def text(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    for o in agreement.outputs:
        table.add_row(
            o.name,
            f"{o.cosine:.5f}",
            f"{o.max_error:.3g}",
            text(o.saturated, ".1%"),
            text(o.float_peak, ".3f"),
            text(o.built_peak, ".3f"),
            text(o.reachable_score, ".3f"),
        )
    return table


@contextlib.contextmanager
def _watch(model: Path) -> Iterator[_BuildProgress]:
    events = _BuildProgress(model)
    events.start()
    try:
        yield events
    finally:
        events.stop()


def _scores_of(network: Network) -> str:
    """Number of classes or characters, for the line about the input; empty for depth."""
    if network.head.text is not None:
        attribute = f", an attribute of {len(network.class_names)} classes" if network.head.classes > 1 else ""
        return f"{len(network.head.text.characters) - 1} characters{attribute}, "
    return "" if network.task in ("depth", "embedding") else f"{len(network.class_names)} classes, "
