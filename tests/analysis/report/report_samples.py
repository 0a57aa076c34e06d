"""Bundles and profiles for the report's tests, made without the toolkit from recorded logs of real compilers."""

from __future__ import annotations

import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from rkdeploy.contract.accuracy import AccuracyReport, ClassFigures, Evaluation, FloatTruthAp, ObjectFigures
from rkdeploy.contract.agreement import Agreement, Measure, OutputAgreement
from rkdeploy.contract.bundle import BUILD, CONTRACT, Bundle, new_bundle, read_bundle, write_json
from rkdeploy.contract.compiled_model import CompiledModel
from rkdeploy.contract.record import (
    AttemptRecord,
    BuildRecord,
    CalibrationImageRecord,
    CalibrationRecord,
    FieldError,
    SourceRecord,
    ToolkitRecord,
    Verification,
)
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, NpuModel, Quantization
from rkdeploy.device.postprocess.detections import Detections
from rkdeploy.device.profiling.layer_table import parse_layers, ranking
from rkdeploy.device.profiling.profile_document import (
    BoardConditions,
    ClockProfile,
    CoreTiming,
    InputFrames,
    LayerProfile,
    ProcessMemory,
    Profile,
    Stages,
    TemperatureProfile,
    Throughput,
    Versions,
)
from rkdeploy.device.runtime.protocol import MemorySize
from rkdeploy.device.stream.statistics import Latency
from rkdeploy.host.building.agreement_meter import Comparison
from rkdeploy.host.building.detection_matching import Matches
from rkdeploy.host.building.example_keeper import ExampleKeeper
from rkdeploy.host.toolkit.compile_log import parse_compile_log

TESTS = Path(__file__).parents[2]
LOGS = TESTS / "data/compile_log"
PERF = TESTS / "data/perf/perf_detail_real_1.5.2_ppe.txt"
NAMES = ("bolt", "nut")
ANCHORS = Anchors((((10.0, 14.0), (16.0, 30.0), (33.0, 23.0)), ((30.0, 61.0), (62.0, 45.0), (59.0, 119.0)),
                   ((116.0, 90.0), (156.0, 198.0), (373.0, 326.0))))  # fmt: skip
UNKNOWN = "rv1109"
"""A chip that has no latency model."""
SIMULATOR = "simulator (rknn-toolkit2 2.5.0)"
ON_PC = "onnxruntime 1.20.1 on this PC"


def compiled(log: str = "2.5.0_yolov5n_rk3588_int8") -> CompiledModel:
    return parse_compile_log(gzip.decompress((LOGS / f"{log}.txt.gz").read_bytes()).decode())


def spec(dtype: str = "int8", names: tuple[str, ...] = NAMES, **changed: Any) -> ModelSpec:
    quantization = Quantization("int8", 1 / 255, -128) if dtype == "int8" else None
    whole = ModelSpec(
        family="yolov5",
        task="detect",
        class_names=names,
        input=InputSpec("images", 640, 640),
        outputs=tuple(
            HeadOutput(f"stride{s}_map", "anchor_map", i, s, (1, 21, 640 // s, 640 // s), "sigmoid", quantization)
            for i, s in enumerate((8, 16, 32))
        ),
        anchors=ANCHORS,
        model=NpuModel("best.rknn", "rk3588", dtype),
    )
    return replace(whole, **changed)


def objects(map50_95: float, names: tuple[str, ...] = NAMES, truths: int = 100) -> ObjectFigures:
    classes = tuple(ClassFigures(name, truths, 0.95, map50_95, 0.9, 0.91) for name in names)
    return ObjectFigures("boxes", "IoU", 0.95, map50_95, 0.94, map50_95, 0.9, 0.91, None, classes)


def accuracy(built: float = 0.6, dtype: str = "int8", names: tuple[str, ...] = NAMES, **changed: Any) -> AccuracyReport:
    sides = (
        Evaluation("onnxruntime", "float", ON_PC, 50, (objects(0.62, names),)),
        Evaluation("simulator", dtype, SIMULATOR, 50, (objects(built, names),)),
    )
    whole = AccuracyReport("best.rknn", "val split", "0.25", 0.001, 0.6, True, "YOLOv5's val.py", False, sides, ())
    return replace(whole, **changed)


def agreement(matched: int = 98) -> Agreement:
    output = OutputAgreement("stride8_map", "anchor_map", 0.998, 0.2, 0.1, 1.0, 0.97, 0.96)
    share = matched / 100
    boxes = FloatTruthAp("boxes", 100, 24, share - 0.01, share, share, (share - 0.03, share), (share - 0.02, 1.0))
    return Agreement(
        SIMULATOR,
        24,
        "val split",
        0.25,
        (output,),
        100,
        101,
        matched,
        0.85,
        0.15,
        0.97,
        0.01,
        average_precisions=(boxes,),
    )


def record(dtype: str = "int8", **changed: Any) -> BuildRecord:
    whole = BuildRecord(
        rkdeploy_version="0",
        created="2026-01-01T00:00:00+00:00",
        source=SourceRecord("best.pt", "a" * 64, None, "yolov5", "v7.0", "checkpoint", ANCHORS, False, 1_872_157),
        head=(),
        verification=Verification(4, ("a.jpg",), 25200, (FieldError("xy", "px", 1e-5, 1e-3),), 0.0005),
        toolkit=ToolkitRecord("rk3588", dtype, name="rknn-toolkit2", version="2.5.0"),
        calibration=CalibrationRecord("images", 0, (CalibrationImageRecord("a.jpg", "b" * 64),), ()),
        agreement=agreement(),
        host={"python": "3.11.7"},
        seconds={"read": 0.5},
        warnings=("Something to know.",),
        compiled=compiled(f"2.5.0_yolov5n_rk3588_{dtype}"),
        accuracy=accuracy(dtype=dtype),
    )
    return replace(whole, **changed)


def attempts() -> tuple[AttemptRecord, ...]:
    """A build that was refused as given, and the remedies that it tried."""
    weak = Measure("ap50", "boxes", 0.412, (0.3, 0.5), 100, "objects")
    good = Measure("ap50", "boxes", 0.968, (0.95, 0.99), 100, "objects")
    return (
        AttemptRecord("as_given", None, refused=True, float16=0, mcycles=None, seconds=3.0, kept=False),
        AttemptRecord("biases", weak, refused=True, float16=0, mcycles=3.9, seconds=9.0, kept=False),
        AttemptRecord("ranges", weak, refused=True, float16=0, mcycles=3.9, seconds=20.0, kept=False),
        AttemptRecord("float16", good, refused=False, float16=80, mcycles=4.1, seconds=18.0, kept=True),
        AttemptRecord("depthwise", weak, refused=False, float16=0, mcycles=7.2, seconds=18.0, kept=False),
    )


def found(*rows: tuple[float, float, float, float, float, int]) -> Detections:
    table = np.array(rows, np.float64).reshape(-1, 6)
    return Detections(table[:, :4].astype(np.float32), table[:, 4].astype(np.float32), table[:, 5].astype(np.int32))


def make_bundle(
    folder: Path,
    dtype: str = "int8",
    *,
    target: str = "rk3588",
    contract: ModelSpec | None = None,
    built: BuildRecord | None = None,
    examples: bool = True,
    model: bytes | None = None,
) -> Bundle:
    """A bundle whose `.rknn` holds its type and nothing that a runtime could run.

    For the target `UNKNOWN` no time is predicted; its plan is that of an rk3588.
    """
    whole = record(dtype)
    with new_bundle(folder) as partial:
        write_json(partial / CONTRACT, contract or spec(dtype, model=NpuModel("best.rknn", target, dtype)))
        write_json(partial / BUILD, built or replace(whole, toolkit=replace(whole.toolkit, target=target)))
        (partial / "best.rknn").write_bytes(model or f"RKNN {dtype}".encode())
        if examples:
            keeper = ExampleKeeper(partial, 2)
            image = np.full((240, 320, 3), 90, np.uint8)
            both = found((10, 10, 90, 90, 0.9, 0), (150, 60, 220, 180, 0.8, 1))
            keeper.add("val/a.jpg", image, Comparison(both, both, Matches(2, 2, (1.0, 1.0), (0, 0), ((0, 0), (1, 1)))))
            one = found((10, 10, 90, 90, 0.9, 0))
            keeper.add("val/b.jpg", image, Comparison(both, one, Matches(2, 1, (1.0,), (0,), ((0, 0),))))
            keeper.write(ON_PC, agreement())
    return read_bundle(folder)


def ms(value: float) -> Latency:
    return Latency(200, value, value, value)


def profile(bundle: str = "best", sha256: str | None = None, **changed: Any) -> Profile:
    """A profile as of a board; its layers are a real runtime's of another model, its other figures are made up."""
    rows = parse_layers(PERF.read_text())
    rates = ((1, 45.0, 47.0), (2, 88.0, 93.0), (3, 125.0, 135.0))
    ghz = 10**9
    whole = Profile(
        created="2026-01-01T00:00:00+00:00",
        rkdeploy_version="0",
        bundle=bundle,
        model_sha256=sha256,
        backend="librknnrt",
        figures_from="librknnrt 2.3.2, driver 0.9.8, rk3588",
        on_npu=True,
        input_width=640,
        input_height=640,
        frames=InputFrames("images", 10, 1280, 720, is_noise=False),
        stages=Stages(ms(1.5), ms(21.5), ms(1), ms(24), ms(21), 3.0, 5.0),
        cores=(CoreTiming(0, ms(21)), CoreTiming(1, ms(21.5)), CoreTiming(2, ms(22))),
        throughput=tuple(
            Throughput(n, tuple(range(n)), 200, 0, fps, network, ms(21), 8.0, None) for n, fps, network in rates
        ),
        layers=LayerProfile("librknnrt 2.3.2", 5, rows, ranking(rows), 1446.0, 45000.0),
        npu_memory=MemorySize(2 << 20, 3 << 20, 6 << 20, 0, 0),
        process_memory=ProcessMemory(10**8, 10**8, 200, 199, 1000.0, 2000.0),
        conditions=BoardConditions(
            clocks=(ClockProfile("NPU", "performance", ghz, ghz, ghz, ghz, ghz, "/sys/class/devfreq/npu/governor"),),
            temperatures=(TemperatureProfile("npu-thermal", 40.0, 50.0, 85.0),),
            throttled=(),
            busy_before=0.05,
            load_average=0.2,
            processors=8,
            samples=10,
        ),
        versions=Versions(
            "2.3.2", "0.9.8", "5.10", "Radxa ROCK 5B", "rk3588", 6, "rknn-toolkit2 2.3.2", "rk3588", "int8", {}
        ),
    )
    return replace(whole, **changed)


def write(path: Path, value: object) -> Path:
    path.write_text(json.dumps(msgspec.to_builtins(value)))
    return path
