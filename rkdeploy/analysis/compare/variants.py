"""The builds that are compared: every target with every type at every size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rkdeploy.contract.chips import canonical_dtype, canonical_target
from rkdeploy.host.building.accuracy_gate import GateOptions
from rkdeploy.host.building.options import BuildOptions

_ACCEPTS_ALL = 0.0


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
        model: a `.pt`, `.pth` or `.onnx`.
        targets, dtypes: to build for.
        sizes: (height, width) each, in pixels; empty takes the training size.
        weights, cfg, calib, calib_count, seed, proof_images, toolkit_python, name: see `BuildOptions`.
        gate: labeled images to measure on, with a drop that refuses nothing; None measures nothing.
        min_agreement: what the advice takes for good enough, 0..1.
        out: folder for the bundles.
        workers: processes that build, each with a toolkit of its own.
    """

    model: Path
    targets: tuple[str, ...]
    dtypes: tuple[str, ...]
    sizes: tuple[tuple[int, int], ...] = ()
    weights: Path | None = None
    cfg: Path | None = None
    calib: Path | None = None
    calib_count: int = 20
    seed: int = 0
    proof_images: int = 24
    gate: GateOptions | None = None
    min_agreement: float = 0.9
    out: Path = Path("build/compare")
    toolkit_python: Path | None = None
    workers: int = 1
    name: str | None = None

    def __post_init__(self) -> None:
        """Bring targets and types to their own spelling, each once.

        Raises:
            RkdeployError: for one that is unknown, or a type that one of the chips does not have.
        """
        targets = tuple(dict.fromkeys(canonical_target(target) for target in self.targets))
        dtypes = tuple(dict.fromkeys(canonical_dtype(dtype, target) for dtype in self.dtypes for target in targets))
        object.__setattr__(self, "targets", targets)  # the usual way out of a frozen class
        object.__setattr__(self, "dtypes", dtypes)


@dataclass(frozen=True, slots=True)
class VariantOptions(BuildOptions):
    """An ordinary build whose folder says its size too."""

    @property
    def folder(self) -> Path:
        """Where the bundle goes: `best-rk3588-int8-640x384`."""
        height, width = self.imgsz or (0, 0)
        return self.out / f"{self.title}-{self.target}-{self.dtype}-{width}x{height}"


def build_options(options: CompareOptions, variant: Variant, *, measured: bool) -> VariantOptions:
    """What is asked of one build.

    Whatever agreement it has, it is kept: a comparison shows what a build would refuse.

    Args:
        options: of the comparison.
        variant: which build.
        measured: whether it is measured on the labeled images.

    Raises:
        RkdeployError: when a name or number means nothing.
    """
    return VariantOptions(
        model=options.model,
        weights=options.weights,
        cfg=options.cfg,
        imgsz=variant.input_hw,
        target=variant.target,
        dtype=variant.dtype,
        calib=options.calib,
        calib_count=options.calib_count,
        seed=options.seed,
        min_agreement=_ACCEPTS_ALL,
        allow_unproven=True,
        proof_images=options.proof_images,
        gate=options.gate if measured else None,
        out=options.out,
        toolkit_python=options.toolkit_python,
        name=options.name,
    )
