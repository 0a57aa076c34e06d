"""`rkdeploy compare`: builds for several chips, types and sizes side by side, before there is a board."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from rkdeploy.analysis.compare.events import CompareEvents
from rkdeploy.cli.backend_option import ToolkitPythonOption
from rkdeploy.cli.compare_table import markdown, print_comparison, row_line
from rkdeploy.cli.console import err, out, plain, print_warning
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.model_options import (
    ACCURACY,
    OUTPUT,
    CalibCountOption,
    CalibOption,
    CalibSeedOption,
    CfgOption,
    DataCountOption,
    DataLabelsOption,
    DataSplitOption,
    ModelArgument,
    NameOption,
    WeightsOption,
)  # fmt: skip
from rkdeploy.cli.size import parse_size
from rkdeploy.contract.documents import document_text

if TYPE_CHECKING:
    from rkdeploy.analysis.compare.comparison import Row
    from rkdeploy.analysis.compare.variants import Variant

_MATRIX = "Matrix"


class Format(str, Enum):
    """How the table is printed."""

    text = "text"
    md = "md"


def compare_command(
    model: ModelArgument,
    target: Annotated[
        str, typer.Option(help="SoCs, with commas between.", rich_help_panel=_MATRIX)
    ] = "rk3588,rk3576,rk3566,rk3562",
    dtype: Annotated[
        str, typer.Option(help="Types: int8, fp16, others that all the SoCs have.", rich_help_panel=_MATRIX)
    ] = "int8",
    imgsz: Annotated[
        str | None,
        typer.Option(
            help="Network inputs, such as 640,512x416 (width x height). Default: the training size.",
            metavar="WxH,...",
            rich_help_panel=_MATRIX,
            show_default=False,
        ),
    ] = None,
    weights: WeightsOption = None,
    cfg: CfgOption = None,
    calib: CalibOption = None,
    calib_count: CalibCountOption = 20,
    seed: CalibSeedOption = 0,
    min_agreement: Annotated[
        float,
        typer.Option(
            help="Agreement with float (0 to 1) that the advice takes for good enough.",
            min=0,
            max=1,
            rich_help_panel=ACCURACY,
        ),
    ] = 0.9,
    proof_count: Annotated[int, typer.Option(help="Held-out images to compare on.", rich_help_panel=ACCURACY)] = 24,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Labeled images (data.yaml, COCO file) to measure accuracy on.",
            rich_help_panel=ACCURACY,
            show_default=False,
        ),
    ] = None,
    data_split: DataSplitOption = "val",
    data_labels: DataLabelsOption = None,
    data_count: DataCountOption = None,
    out_dir: Annotated[
        Path, typer.Option("--out", help="Folder for the bundles; those of before are kept.", rich_help_panel=OUTPUT)
    ] = Path("build/compare"),
    name: NameOption = None,
    workers: Annotated[
        int,
        typer.Option(
            help="Processes that build, each with a toolkit of its own.", min=1, max=64, rich_help_panel=OUTPUT
        ),
    ] = 1,
    form: Annotated[Format, typer.Option("--format", help="Of the table.", rich_help_panel=OUTPUT)] = Format.text,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON on stdout.", rich_help_panel=OUTPUT)] = False,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="Write the figures as JSON.",
            rich_help_panel=OUTPUT,
            show_default=False,
        ),
    ] = None,
    toolkit_python: ToolkitPythonOption = None,
) -> None:
    """Build for several chips, types and sizes; compare predicted rate, memory and agreement with float."""
    from rkdeploy.analysis.compare.run import compare
    from rkdeploy.analysis.compare.variants import CompareOptions
    from rkdeploy.host.building.accuracy_gate import GateOptions

    if data is None and (data_labels is not None or data_count is not None):
        raise typer.BadParameter("Accuracy is measured on labeled images: name them with --data.", param_hint="--data")
    check_target(output)
    options = CompareOptions(
        model=model,
        targets=_listed(target, "--target"),
        dtypes=_listed(dtype, "--dtype"),
        sizes=tuple(dict.fromkeys(parse_size(size) for size in _listed(imgsz, "--imgsz"))) if imgsz else (),
        weights=weights,
        cfg=cfg,
        calib=calib,
        calib_count=calib_count,
        seed=seed,
        proof_images=proof_count,
        gate=GateOptions(data, 1.0, data_split, data_labels, data_count) if data is not None else None,
        min_agreement=min_agreement,
        out=out_dir,
        toolkit_python=toolkit_python,
        workers=workers,
        name=name,
    )
    with _watched() as events:
        found = compare(options, events)
    text = document_text(found)

    def table() -> None:
        if form is Format.md:
            print(markdown(found), end="")
        else:
            print_comparison(found, out)

    print_result(text, table, as_json=as_json, output=output)


def _listed(text: str, option: str) -> tuple[str, ...]:
    """Words with commas between them, each once."""
    words = tuple(dict.fromkeys(word.strip() for word in text.split(",")))
    if not all(words):
        raise typer.BadParameter(f'"{text}" has an empty entry; give names with commas between.', param_hint=option)
    return words


class _Events(CompareEvents):
    """A line for each build that is done; on a terminal a bar besides, with what is being done."""

    def __init__(self, bar: Progress | None) -> None:
        self._bar = bar
        self._task = bar.add_task("Starting", total=None) if bar is not None else None
        self._build = ""
        self._stage = ""
        self._warned: set[str] = set()

    def begin(self, variant: Variant, done: int, total: int) -> None:
        self._build = f"{variant}: "
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total, description=plain(str(variant)))

    def done(self, row: Row) -> None:
        err.print(plain(row_line(row)))
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)

    def stage(self, title: str) -> None:
        self._stage = title
        self._show(title)

    def detail(self, text: str) -> None:
        self._show(f"{self._stage}: {text}")

    def warning(self, text: str) -> None:
        if text not in self._warned:  # most are of the model or the images, and so the same in all builds
            self._warned.add(text)
            print_warning(text)

    def _show(self, text: str) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, description=plain(f"{self._build}{text}"))


@contextmanager
def _watched() -> Iterator[_Events]:
    if not err.is_terminal:
        yield _Events(None)
        return
    columns = (BarColumn(20), MofNCompleteColumn(), TimeElapsedColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=err, transient=True, refresh_per_second=4) as bar:
        yield _Events(bar)
