"""A published measurement of a YOLOv5m on an RK3588 next to our predictions for the same architecture, without a board.

python -m tests.analysis.estimate.published_v5m          compiles it and prints the tables
python -m tests.analysis.estimate.published_v5m --write  puts them into docs/estimate.md as well

The architecture is v5.0's m (Focus, SPP, C3, SiLU) with one class at 640x640; only that counts, the weights are random.
The published figures were measured by others; ours are the compiler's plan and predictions, none was measured.
"""

from __future__ import annotations

import re
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rkdeploy.analysis.estimate.latency import predict
from rkdeploy.host.export.stem_form import StemForm
from tests.analysis.estimate.v5m_checkpoint import write_v5m
from tests.benchmarks.bench_compile_options import Case, WithConfig, compiled, write

DOCUMENT = Path(__file__).parents[3] / "docs/estimate.md"
BEGIN, END = "<!-- made by tests/analysis/estimate/published_v5m.py -->", "<!-- end of published_v5m.py -->"
TARGET, SIDE_PX = "rk3588", 640
STEMS: tuple[StemForm, ...] = ("space_to_depth", "stripes")
DTYPES = ("fp16", "int8")


@dataclass(frozen=True, slots=True)
class Published:
    """Published figures in their own units: microseconds and MiB."""

    total_time_us: int
    weight_mib: float
    internal_mib: float

    @property
    def rate(self) -> float:
        """Frames a second: the published rates, 5.15 and 7.27, are one over the total time."""
        return 1e6 / self.total_time_us

    @property
    def total_mib(self) -> float:
        """Both together."""
        return self.weight_mib + self.internal_mib


PUBLISHED = {"fp16": Published(194_162, 39.83, 19.50), "int8": Published(137_508, 20.03, 8.75)}


@dataclass(frozen=True, slots=True)
class Compiled:
    """One build as the compiler plans it.

    Attributes:
        time_ms: NPU time per frame by the latency model; for fp16 by INT8's formula.
        interval_ms: lower and upper bound of the time.
        mcycles: the compiler's cycles, in millions.
        traffic_mib: read and written by its layers.
        weight_mib, internal_mib: its memory totals.  The log prints `KB`, which are 1,024 bytes: see
            `rkdeploy.host.toolkit.compile_log`, which compares them with the tensors' addresses.
    """

    time_ms: float
    interval_ms: tuple[float, float]
    mcycles: float
    traffic_mib: float
    weight_mib: float
    internal_mib: float

    @property
    def total_mib(self) -> float:
        """Both together."""
        return self.weight_mib + self.internal_mib


def compile_all(scratch: Path) -> dict[tuple[str, StemForm], Compiled]:
    """Both types, with the default first layer and in stripes.

    Args:
        scratch: a folder for the files in between.
    """
    checkpoint = write_v5m(scratch / "yolov5m.pt")
    found = {}
    for stem in STEMS:
        hw = write(Case(stem, stem), checkpoint, (SIDE_PX, SIDE_PX), scratch / "model.onnx")
        for dtype in DTYPES:
            model = compiled(scratch / "model.onnx", hw, WithConfig(TARGET, dtype), None, scratch)
            layers = [layer for layer in model.layers if not layer.is_end]
            predicted = predict(model, TARGET, dtype)
            found[dtype, stem] = Compiled(
                time_ms=predicted.time_ms,
                interval_ms=(predicted.low_ms, predicted.high_ms),
                mcycles=sum(layer.total_cycles for layer in layers) / 1e6,
                traffic_mib=sum(layer.read_kib for layer in layers) / 1024,
                weight_mib=model.weight_kib / 1024,
                internal_mib=model.internal_kib / 1024,
            )
    return found


def document(found: dict[tuple[str, StemForm], Compiled]) -> str:
    """The tables as Markdown."""
    fp16, int8 = PUBLISHED["fp16"], PUBLISHED["int8"]
    plain = {dtype: found[dtype, "space_to_depth"] for dtype in DTYPES}
    stripes = {dtype: found[dtype, "stripes"] for dtype in DTYPES}
    times = {dtype: f"{one.time_ms:.1f} ms ({one.interval_ms[0]:.1f} to {one.interval_ms[1]:.1f})"
             for dtype, one in plain.items()}  # fmt: skip
    saved = plain["fp16"].time_ms - plain["int8"].time_ms
    share = f"{saved:.1f} ms ({100 * saved / plain['fp16'].time_ms:.0f} %)"
    rates = {dtype: 1e3 / one.time_ms for dtype, one in plain.items()}
    faster = f"{rates['int8'] / rates['fp16']:.2f} times"
    lines = [
        "| | fp16 | int8 | saved by int8 |",
        "|---|---:|---:|---:|",
        _row("total time, published", fp16.total_time_us / 1e3, int8.total_time_us / 1e3, "ms", 1),
        f"| NPU time, predicted here | {times['fp16']} | {times['int8']} | {share} |",
        f"| rate, published | {fp16.rate:.2f} fps | {int8.rate:.2f} fps | {int8.rate / fp16.rate:.2f} times |",
        f"| rate, of the NPU time predicted here | {rates['fp16']:.1f} fps | {rates['int8']:.1f} fps | {faster} |",
    ]
    for name, field in (("weight memory", "weight_mib"), ("internal tensor memory", "internal_mib")):
        lines.append(_row(f"{name}, published", getattr(fp16, field), getattr(int8, field), "MiB", 2))
        lines.append(_row(f"{name}, here", getattr(plain["fp16"], field), getattr(plain["int8"], field), "MiB", 2))
        if field == "weight_mib":
            off = [100 * (getattr(plain[d], field) / getattr(PUBLISHED[d], field) - 1) for d in DTYPES]
            lines.append(f"| {name}, difference | {off[0]:+.2f} % | {off[1]:+.2f} % | |")
        else:
            values = (getattr(stripes["fp16"], field), getattr(stripes["int8"], field))
            lines.append(_row(f"{name}, here with `--stem stripes`", *values, "MiB", 2))
    lines += [
        _row("total memory, published", fp16.total_mib, int8.total_mib, "MiB", 2),
        _row("total memory, here", plain["fp16"].total_mib, plain["int8"].total_mib, "MiB", 2),
        _row(
            "total memory, here with `--stem stripes`", stripes["fp16"].total_mib, stripes["int8"].total_mib, "MiB", 2
        ),
        _row("compiler's cycles, here", plain["fp16"].mcycles, plain["int8"].mcycles, "million", 1),
        _row("traffic a frame, here", plain["fp16"].traffic_mib, plain["int8"].traffic_mib, "MiB", 1),
    ]
    return "\n".join(lines)


def _row(name: str, fp16: float, int8: float, unit: str, digits: int) -> str:
    saved = fp16 - int8
    return (
        f"| {name} | {fp16:.{digits}f} {unit} | {int8:.{digits}f} {unit} | {saved:.{digits}f} {unit} "
        f"({100 * saved / fp16:.0f} %) |"
    )


def in_document() -> str:
    """The tables as they stand in docs/estimate.md."""
    found = re.search(f"{re.escape(BEGIN)}\n\n(.*?)\n\n{re.escape(END)}", DOCUMENT.read_text(), re.DOTALL)
    return found[1] if found else ""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        text = document(compile_all(Path(folder)))
    print(text)
    if "--write" in sys.argv[1:]:
        before, _, rest = DOCUMENT.read_text().partition(BEGIN)
        DOCUMENT.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
