"""Factor of one board: times measured there over the predicted ones, for predictions of other models on it.

Boards differ by clocks, memory and runtime from those of the published rates, and most of it is common to all models:
profiles of a few models, or of one, give what the rates cannot.  The interval takes the error of a prediction, as
models left out of the fit show it, twice: once for the model, once for the profiled ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import exp, log, sqrt
from pathlib import Path
from statistics import fmean, stdev

from rkdeploy.analysis.estimate.estimate_source import kept_model
from rkdeploy.analysis.estimate.latency import predict
from rkdeploy.analysis.estimate.prediction import Prediction
from rkdeploy.contract.bundle import CONTRACT, Bundle, read_bundle
from rkdeploy.contract.chips import canonical_dtype, canonical_target, same_npu
from rkdeploy.contract.documents import read_document
from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.device.profiling.profile_document import Profile
from rkdeploy.errors import RkdeployError, shown

_HINT = "Give what rkdeploy profile -o profile.json wrote on a board."
_DEVIATIONS = 1.645
"""Standard deviations from the mean that hold nine tenths of a normal distribution between them."""


@dataclass(frozen=True, slots=True)
class MeasuredModel:
    """A profiled model.

    Attributes:
        path: of the profile.
        target, dtype: of the model.
        board: board or SoC and runtime that measured, in words.
        measured_ms: NPU time of a frame on one core, median.
        measured: what was timed, in words.
        predicted: by the fit, for the same model.
        warned: True if the profile warns of its own conditions, such as a clock below its maximum.
    """

    path: Path
    target: str
    dtype: str
    board: str
    measured_ms: float
    measured: str
    predicted: Prediction
    warned: bool

    @property
    def ratio(self) -> float:
        """Measured over predicted time."""
        return self.measured_ms / self.predicted.time_ms

    @property
    def text(self) -> str:
        """The two times and their sources, in a sentence."""
        warned = " The profile itself warns of its conditions." if self.warned else ""
        return (
            f"{self.path.name}: measured {self.measured_ms:.2f} ms ({self.measured}, {self.board}) where "
            f"{self.predicted.time_ms:.2f} ms are predicted, {self.ratio:.3f} times.{warned}"
        )


def measured_models(profiles: Sequence[Path], folders: Sequence[Path]) -> tuple[MeasuredModel, ...]:
    """Profiled models with their predictions.

    Args:
        profiles: files of `rkdeploy profile`, of one board.
        folders: where the profiled bundles may be, next to the profiles themselves.

    Raises:
        RkdeployError: a file is not a profile of an NPU, its bundle is not there or another one, or they are of several
            targets or types.
    """
    found = tuple(_measured(path, folders) for path in profiles)
    for one in found[1:]:
        if (one.target, one.dtype) != (found[0].target, found[0].dtype):
            raise RkdeployError(
                f'"{one.path}" is of {one.dtype} on {one.target}, "{found[0].path}" of {found[0].dtype} on '
                f"{found[0].target}.",
                "A board's factor is for one chip and type: give profiles of the same.",
            )
    return found


def on_board(prediction: Prediction, measured: Sequence[MeasuredModel]) -> Prediction:
    """A prediction for the board of the profiles: all times multiplied by the geometric mean of their ratios.

    Raises:
        RkdeployError: the profiles are of another chip or type.
    """
    first = measured[0]
    if not same_npu(prediction.target, first.target) or prediction.dtype != first.dtype:
        raise RkdeployError(
            f'"{first.path}" is of {first.dtype} on {first.target}, which says nothing of {prediction.dtype} on '
            f"{prediction.target}.",
            f"Give --target {first.target} --dtype {first.dtype}, or a profile of that chip and type.",
        )
    ratios = [log(one.ratio) for one in measured]
    factor, half_width = exp(fmean(ratios)), log(prediction.high_ms / prediction.low_ms) / 2
    spread = _DEVIATIONS * stdev(ratios) if len(ratios) > 1 else 0.0
    half_width = max(half_width, spread) * sqrt(1 + 1 / len(ratios))
    time_ms = prediction.time_ms * factor
    parts = {
        name: getattr(prediction, name) * factor
        for name in ("compute_ms", "memory_ms", "activation_ms", "attention_ms", "overhead_ms")
    }
    note = f"Times are those of the fit multiplied by {factor:.3f}, for the profiled board; predicted, not measured."
    return replace(
        prediction,
        time_ms=time_ms,
        low_ms=time_ms * exp(-half_width),
        high_ms=time_ms * exp(half_width),
        frames_per_second=1000 / time_ms,
        layers=tuple(replace(layer, time_ms=layer.time_ms * factor) for layer in prediction.layers),
        notes=(*prediction.notes, note, *(one.text for one in measured)),
        board_factor=factor,
        **parts,
    )


def _measured(path: Path, folders: Sequence[Path]) -> MeasuredModel:
    profile = read_document(path, (Profile,), _HINT)
    if not profile.on_npu:
        raise RkdeployError(f'"{path}" was measured by {shown(profile.figures_from)}, not on a board\'s NPU.', _HINT)
    target, dtype = canonical_target(profile.versions.target), canonical_dtype(profile.versions.dtype)
    bundle = _bundle_of(path, profile, folders)
    if (bundle.model.target, bundle.model.dtype) != (target, dtype):
        raise RkdeployError(
            f'"{path}" says {dtype} on {target}, its bundle "{bundle.folder}" {bundle.model.dtype} on '
            f"{bundle.model.target}.",
            "Profile that bundle again.",
        )
    npu = profile.stages.npu
    times = [npu.p50_ms] if npu is not None else [core.infer.p50_ms for core in profile.cores]
    measured_ms = min((time_ms for time_ms in times if time_ms > 0), default=0.0)
    if measured_ms <= 0:
        raise RkdeployError(f'"{path}" has no time of the network on one core.', "Profile the bundle again.")
    return MeasuredModel(
        path,
        target,
        dtype,
        profile.versions.board or profile.figures_from,
        measured_ms,
        "the runtime's own time of the network" if npu is not None else "the runtime's call with its copies",
        predict(kept_model(bundle), target, dtype, f"compiled in {bundle.folder.name}"),
        any(advice.level == "warning" for advice in profile.advice),
    )


def _bundle_of(path: Path, profile: Profile, folders: Sequence[Path]) -> Bundle:
    """The profiled bundle, by its name and the SHA-256 of its model."""
    near = [path.parent, path.parent.parent, *folders]
    name = Path(profile.bundle).name
    candidates = [one for folder in near for one in (folder, folder / name) if (one / CONTRACT).is_file()]
    for folder in dict.fromkeys(candidates):
        bundle = read_bundle(folder)
        if _sha256(bundle) == profile.model_sha256 or (profile.model_sha256 is None and folder.name == name):
            return bundle
    where = " or ".join(f'"{folder}"' for folder in dict.fromkeys(near))
    others = f", only {', '.join(shown(one.name) for one in candidates[:4])}" if candidates else ""
    raise RkdeployError(
        f'"{path}" was measured on {shown(name)}, of which no bundle with the same model is in {where}{others}.',
        "Put the bundle that was profiled there, or name its folder with --out: its compiled layers are needed.",
    )


def _sha256(bundle: Bundle) -> str:
    try:
        return sha256_of(bundle.rknn)
    except OSError as error:
        raise RkdeployError(f'Cannot read "{bundle.rknn}": {error.strerror}.') from error
