"""Accuracy of INT8 builds over a folder of models: several calibration samples and settings, paired differences.

    python -m tests.benchmarks.bench_accuracy MODELS --images PHOTOS --own dna1.pt=OTHER_PHOTOS --draws 3
    ... --labeled instances_val2017.json=val2017 --variant default --variant "kl=--algorithm kl_divergence"
    ... --options "yolox_nano.onnx=--preset yolox-legacy" --variant "parts@yolox_nano.onnx=--depthwise-parts 3"

Each model is built for each calibration sample and variant by the command line, in a process of its own, and the
built model is run in the toolkit's simulator on pictures that never calibrate, by their hash.  AP is against the float
model's own detections, mAP against labels where there are any of the model's classes.  The first variant is the base
that the others are compared with, on the same pictures and calibration samples.  Results are kept in --state, and a run
that was stopped resumes there; another state of the package's code begins anew.  No figure comes from an NPU.
"""

from __future__ import annotations

import argparse
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import rkdeploy
from tests.benchmarks.accuracy_pictures import pictures_in, split
from tests.benchmarks.accuracy_runs import Job, Labels, labeled_files, result_of
from tests.benchmarks.accuracy_store import BenchStore, Measured, code_hash
from tests.benchmarks.accuracy_table import table, tabled
from tests.benchmarks.build_folder import SUFFIXES

_SAMPLE = Path(__file__).parents[2] / "calib_data"


@dataclass(frozen=True, slots=True)
class Variant:
    """Build options that are compared.

    Attributes:
        label: in the table.
        options: of `rkdeploy build`.
        models: names of the files that are built with them; empty for all.
    """

    label: str
    options: tuple[str, ...]
    models: tuple[str, ...]

    @classmethod
    def parse(cls, text: str) -> Variant:
        """`LABEL[@MODEL,...][=OPTIONS]`."""
        named, _, options = text.partition("=")
        label, _, models = named.partition("@")
        return cls(label, tuple(shlex.split(options)), tuple(filter(None, models.split(","))))

    def fits(self, model: str) -> bool:
        """True for a model that is built with it."""
        return not self.models or model in self.models


def jobs(arguments: argparse.Namespace) -> Iterator[Job]:
    """All builds, seed by seed, so that a stopped run has compared every variant on the seeds that it did."""
    own = dict(one.split("=", 1) for one in arguments.own)
    options = dict(one.split("=", 1) for one in arguments.options)
    labels = tuple(Labels(Path(data), Path(images)) for data, images in (x.split("=", 1) for x in arguments.labeled))
    variants = [Variant.parse(text) for text in arguments.variant or ["default"]]
    models = [file for file in sorted(arguments.models.iterdir()) if file.suffix.lower() in SUFFIXES]
    models += [_SAMPLE / "best.pt", _SAMPLE / "best-pose.pt"]
    for draw in range(arguments.draws):
        for model in models:
            if arguments.only and model.name not in arguments.only:
                continue
            is_sample = model.parent == _SAMPLE
            folder = _SAMPLE / "images" if is_sample else Path(own.get(model.name, arguments.images))
            given = (Labels(_SAMPLE / "data.yaml", _SAMPLE / "images" / "val"),) if is_sample else labels
            pictures = split(pictures_in(folder), arguments.measure, labeled_files(given))
            for variant in (one for one in variants if one.fits(model.name)):
                yield Job(
                    model, tuple(shlex.split(options.get(model.name, ""))), variant.label, variant.options, draw,
                    arguments.calib_count, pictures, given,
                )  # fmt: skip


def main() -> None:
    """Build, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=Path)
    parser.add_argument("--images", type=Path, required=True, help="pictures for all models, unlabeled")
    parser.add_argument("--own", action="append", default=[], metavar="MODEL=FOLDER", help="a model's own pictures")
    parser.add_argument("--labeled", action="append", default=[], metavar="COCO_JSON=IMAGES")
    parser.add_argument("--options", action="append", default=[], metavar="MODEL=OPTIONS")
    parser.add_argument("--variant", action="append", default=[], metavar="LABEL[@MODEL,...]=OPTIONS")
    parser.add_argument("--only", action="append", default=[], metavar="MODEL")
    parser.add_argument("--draws", type=int, default=3, help="calibration samples, of the seeds 0, 1, ...")
    parser.add_argument("--calib-count", type=int, default=20)
    parser.add_argument("--measure", type=int, default=30, help="pictures that measure, a third of them at most")
    parser.add_argument("--state", type=Path, default=Path("bench_accuracy.state"), help="folder of the results")
    arguments = parser.parse_args()
    store, code = BenchStore(arguments.state), code_hash(Path(rkdeploy.__file__).parent)
    results: list[Measured] = []
    for job in jobs(arguments):
        result = result_of(job, store, code)
        results.append(result)
        said = result.facts.get("refused") or result.facts.get("skipped") or f"{result.facts['seconds']:.0f} s"
        print(f"{job.model.name}, {job.variant}, draw {job.draw}: {said}", flush=True)
    rows = tabled(results)
    (arguments.state / "table.json").write_text(json.dumps(rows, indent=1))
    print(table(rows))


if __name__ == "__main__":
    main()
