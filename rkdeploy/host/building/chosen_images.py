"""Images of a build: those that it calibrates on, and those that prove the built model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from rkdeploy.datasets.calibration import CalibrationImage, CalibrationSet, find_calibration, require_candidates
from rkdeploy.errors import CalibrationError
from rkdeploy.host.building.build_options import FLOAT_DTYPE, BuildOptions

_TOO_FEW = "There are too few images to keep some for the comparison; it runs on the calibration images themselves."


@dataclass(frozen=True, slots=True)
class BuildImages:
    """The images of a build.

    Attributes:
        calibration: what quantization measures on; None for a float build without images.
        proof: held-out images.
        proof_source: where those come from.
        notes: what the user should know of the choice.
    """

    calibration: CalibrationSet | None = None
    proof: tuple[CalibrationImage, ...] = ()
    proof_source: str = ""
    notes: tuple[str, ...] = ()

    @property
    def shown(self) -> tuple[CalibrationImage, ...]:
        """The held-out images where there are any, else the calibration images."""
        return self.proof or (self.calibration.images if self.calibration else ())


def require_images(options: BuildOptions) -> None:
    """Check that there are images to choose from, before minutes of work on the network.

    A model file that is missing is not this check's fault to report: reading it says so at once.

    Raises:
        CalibrationError: when a build that needs images has none.
    """
    if not options.model.is_file():
        return
    try:
        require_candidates(options.calib, Path.cwd())
    except CalibrationError:
        if options.dtype != FLOAT_DTYPE or options.calib is not None:
            raise
        require_proof(BuildImages(), options)


def require_proof(images: BuildImages, options: BuildOptions) -> None:
    """Check that there is an image to prove the built model on, unless the user takes it unproven.

    Raises:
        CalibrationError: when there is none.
    """
    if not images.proof and not options.allow_unproven:
        raise CalibrationError(
            "There is no image to compare the quantized model with the float model, so nothing would prove it.",
            "Give images like those the model will see (--calib), or take the build as it comes with --allow-unproven.",
        )


def choose_images(options: BuildOptions) -> BuildImages:
    """Calibration images, and others to prove the built model on.

    There is always something to compare on: a set that would be used up by calibration gives a quarter of it away, and
    one too small for that is compared on itself, and says so.  A float build calibrates on nothing; it does without
    images where there are none and none were asked for.
    """
    quantized = options.dtype != FLOAT_DTYPE
    try:
        calibration = find_calibration(options.calib, Path.cwd(), options.calib_count if quantized else 1, options.seed)
    except CalibrationError:
        if quantized or options.calib is not None:
            raise
        return BuildImages()
    notes: list[str] = []
    proof = calibration.held_out(options.proof_images)
    spare = len(calibration.images) // 4
    if not proof.images and spare:
        calibration = find_calibration(options.calib, Path.cwd(), len(calibration.images) - spare, options.seed)
        proof = calibration.held_out(min(spare, options.proof_images))
        notes.append(
            f"{len(proof.images)} images were kept out of calibration, "
            "for the comparison of the quantized model with the float model."
        )
    if quantized:
        notes += calibration.warnings
    if proof.images:
        notes += [proof.note] if proof.note and quantized else []
        return BuildImages(calibration, proof.images, proof.source, tuple(notes))
    if quantized:
        notes.append(_TOO_FEW)
    source = f"{calibration.source} (the calibration images themselves)"
    return BuildImages(calibration, calibration.images, source, tuple(notes))
