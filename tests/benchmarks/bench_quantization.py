"""Effect of the head's cut, the calibration images and float16 layers on INT8's agreement (docs/quantization.md).

    python -m tests.benchmarks.bench_quantization [--seeds 0 1 2] [--images 100] [--only worst] > table.md

Every row is a real build with the vendor's toolkit, compared with the float model in its simulator on held-out images.
Cycles and memory are predictions of the toolkit's compile log, not measurements.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from rkdeploy.contract.bundle import Bundle
from rkdeploy.host.building.build_events import BuildEvents
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.host.building.build_stages import build
from rkdeploy.host.building.quantization import Algorithm, Method
from rkdeploy.host.graph.cut_options import CutOptions, Sigmoid, Split
from rkdeploy.host.toolkit.float16 import Float16Choice

ROOT = Path(__file__).parents[2]
CUTS: tuple[tuple[Split, Sigmoid], ...] = (
    ("none", "none"), ("none", "all"), ("boxes_scores", "none"), ("boxes_scores", "scores"), ("boxes_scores", "all"),
    ("xy_wh_scores", "none"), ("xy_wh_scores", "all"),
)  # fmt: skip
COUNTS = (5, 10, 20, 40)
ALGORITHMS: tuple[Algorithm, ...] = ("normal", "kl_divergence", "mmse")
FLOAT16 = {
    "head": Float16Choice(("head",)),
    "last C3 of each level, head": Float16Choice(("model.17", "model.20", "model.23", "head")),
    "neck, head": Float16Choice(("model.10-23", "head")),
    "layers 0 to 2, neck, head": Float16Choice(("model.0-2", "model.10-23", "head")),
    "the 4 worst": Float16Choice(worst=4),
    "the 8 worst": Float16Choice(worst=8),
    "the toolkit's proposal": Float16Choice(auto=True),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration over several calibration samples."""

    shares: tuple[float, ...]
    found: int
    score_difference: float
    megacycles: float
    internal_kb: int


def compile_totals(bundle: Bundle) -> tuple[float, int]:
    """Total cycles in millions and internal memory in KB, as the compile log of the bundle's model states them."""
    compiled = bundle.record.compiled
    assert compiled is not None
    return sum(layer.total_cycles for layer in compiled.layers) / 1e6, round(compiled.internal_kib)


def measure(options: list[BuildOptions]) -> Row:
    """Build every option and compare."""
    shares, found, differences, totals = [], 0, [], (0.0, 0)
    for option in options:
        bundle = build(option, BuildEvents())
        agreement = bundle.record.agreement
        assert agreement is not None
        assert agreement.share is not None
        shares.append(100 * agreement.share)
        found += agreement.built_detections
        differences.append(agreement.mean_score_difference or 0.0)
        totals = compile_totals(bundle)
    return Row(tuple(shares), found, statistics.mean(differences), *totals)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--only", default="", help="rows whose name holds this word")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:

        def options(
            count: int = 20,
            cut: CutOptions | None = None,
            algorithm: Algorithm = "normal",
            method: Method = "channel",
            float16: Float16Choice | None = None,
        ) -> list[BuildOptions]:
            return [
                BuildOptions(
                    ROOT / "calib_data" / "best.pt", calib=ROOT / "calib_data", calib_count=count, seed=seed,
                    cut=cut or CutOptions(), algorithm=algorithm, method=method,
                    float16=float16 or Float16Choice(), proof_images=arguments.images, min_agreement=0.0,
                    remedies=False,
                    out=Path(scratch),
                )
                for seed in arguments.seeds
            ]  # fmt: skip

        rows = {f"split {s}, sigmoid {g}": options(cut=CutOptions(s, g)) for s, g in CUTS}
        rows |= {f"{n} calibration images": options(count=n) for n in COUNTS}
        rows |= {f"algorithm {a}": options(algorithm=a) for a in ALGORITHMS}
        rows |= {"method layer": options(method="layer")}
        rows |= {f"float16: {name}": options(float16=choice) for name, choice in FLOAT16.items()}
        print("| build | matched %, mean | lowest to highest | score difference | Mcycles (predicted) | internal KB |")
        print("|---|---|---|---|---|---|")
        for name, builds in rows.items():
            if arguments.only not in name:
                continue
            row = measure(builds)
            print(
                f"| {name} | {statistics.mean(row.shares):.2f} | {min(row.shares):.1f} to {max(row.shares):.1f} | "
                f"{row.score_difference:.4f} | {row.megacycles:.3f} | {row.internal_kb} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
