"""The builds that are compared: every target with every type at every size."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Annotated, Any

from rkdeploy.contract.chips import canonical_dtype, canonical_target
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.option import ACCURACY, MATRIX, OUTPUT, SIZES, WORDS, Only, Option

_ACCEPTS_ALL = 0.0
_REFUSES_NONE = 1.0


@dataclass(frozen=True, slots=True)
class Variant:
    """One build of the comparison.

    Attributes:
        target: SoC.
        dtype: as asked of the build.
        input_hw: (height, width) of the network input in pixels.
    """

    target: str
    dtype: str
    input_hw: tuple[int, int]

    @property
    def size(self) -> str:
        """Width and height as `--imgsz` takes them, `640x384`."""
        return f"{self.input_hw[1]}x{self.input_hw[0]}"

    def __str__(self) -> str:
        return f"{self.target} {self.dtype} {self.size}"


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """A comparison.

    Attributes:
        build: what all builds have in common; its gate has the labeled images that are measured on, None measures none.
        targets, dtypes: to build for.
        sizes: (height, width) each, in pixels; empty takes the training size.
        min_agreement: what the advice takes for good enough, 0..1.
        out: folder for the bundles.
        workers: processes that build, each with a toolkit of its own.
    """

    build: Annotated[
        BuildOptions,
        Only(
            "MODEL --weights --cfg --family --preset --calib --calib-count --seed --proof-count --data --data-split "
            "--data-labels --data-count --name --toolkit-python"
        ),
    ]
    targets: Annotated[
        tuple[str, ...],
        Option("--target", "SoCs, with commas between.", MATRIX, metavar="SOC,...", form=WORDS, often=True),
    ] = ("rk3588", "rk3576", "rk3566", "rk3562")
    dtypes: Annotated[
        tuple[str, ...],
        Option(
            "--dtype",
            "Data types: int8, fp16, others that all the SoCs have.",
            MATRIX,
            metavar="TYPE,...",
            form=WORDS,
            often=True,
        ),
    ] = ("int8",)
    sizes: Annotated[
        tuple[tuple[int, int], ...],
        Option(
            "--imgsz",
            "Network inputs, width x height, such as 640,512x416.",
            MATRIX,
            form=SIZES,
            default="the training size",
            often=True,
        ),
    ] = ()
    min_agreement: Annotated[
        float,
        Option(
            "--min-agreement",
            "Agreement with the float model, 0 to 1, that the advice accepts.",
            ACCURACY,
            low=0,
            high=1,
        ),
    ] = 0.9
    out: Annotated[
        Path,
        Option("--out", "Folder for the bundles; those of an earlier run are kept.", OUTPUT, metavar="FOLDER"),
    ] = Path("build/compare")
    workers: Annotated[
        int, Option("--workers", "Processes that build, each with a toolkit of its own.", OUTPUT, low=1, high=64)
    ] = 1

    def __post_init__(self) -> None:
        """Bring targets and types to their own spelling, each once.

        Raises:
            RkdeployError: for one that is unknown, or a type that one of the chips does not have.
        """
        targets = tuple(dict.fromkeys(canonical_target(target) for target in self.targets))
        dtypes = tuple(dict.fromkeys(canonical_dtype(dtype, target) for dtype in self.dtypes for target in targets))
        object.__setattr__(self, "targets", targets)  # the usual way to set a field of a frozen class
        object.__setattr__(self, "dtypes", dtypes)


@dataclass(frozen=True, slots=True)
class VariantOptions(BuildOptions):
    """An ordinary build whose folder says its size too."""

    @property
    def folder(self) -> Path:
        """Folder of the bundle: `best-rk3588-int8-640x384`."""
        height, width = self.imgsz or (0, 0)
        return self.out / f"{self.title}-{self.target}-{self.dtype}-{width}x{height}"


def build_options(options: CompareOptions, variant: Variant, *, measured: bool) -> VariantOptions:
    """Options of one build.

    It is kept whatever its agreement: a comparison also shows builds that `rkdeploy build` would refuse.

    Args:
        options: of the comparison.
        variant: the build.
        measured: True if it is measured on the labeled images.

    Raises:
        RkdeployError: for an invalid name or number.
    """
    gate = options.build.gate if measured else None
    shared = {one.name: getattr(options.build, one.name) for one in fields(options.build)}
    changed: dict[str, Any] = {
        "imgsz": variant.input_hw,
        "target": variant.target,
        "dtype": variant.dtype,
        "min_agreement": _ACCEPTS_ALL,
        "remedies": False,
        "allow_unproven": True,
        "gate": replace(gate, max_drop=_REFUSES_NONE) if gate is not None else None,
        "out": options.out,
    }
    return VariantOptions(**(shared | changed))
