"""Build callbacks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.contract.accuracy import AccuracyReport
    from rkdeploy.contract.agreement import Agreement, Measure, Proof
    from rkdeploy.contract.record import AttemptRecord, BiasCorrection, FormRecord, Verification
    from rkdeploy.datasets.calibration import CalibrationSet
    from rkdeploy.host.building.network import Network
    from rkdeploy.host.families.speed_advice import Advice


class BuildEvents:
    """Callbacks of a build; the defaults do nothing.  Override those of interest."""

    def stage(self, title: str) -> None:
        """A stage begins."""

    def detail(self, text: str) -> None:
        """Progress within the stage, for example `12/20`."""

    def network(self, network: Network) -> None:
        """The network was read and its head found."""

    def calibration(self, calibration: CalibrationSet) -> None:
        """The calibration images were chosen."""

    def bias_correction(self, correction: BiasCorrection) -> None:
        """The bias correction was asked for, and accepted or not."""

    def verified(self, verification: Verification) -> None:
        """The contract's decode was proven."""

    def compared(self, agreement: Agreement, proof: Proof) -> None:
        """The quantized model was compared with the float model."""

    def remedy(self, name: str, measure: Measure | None) -> None:
        """A remedy is tried, as the best quantization so far agrees too little: by this measure."""

    def attempts(self, attempts: tuple[AttemptRecord, ...]) -> None:
        """Several quantizations were tried, and one of them is kept."""

    def form(self, form: FormRecord, cost: str) -> None:
        """The outputs have the form of another program; `cost` says what that costs, or nothing."""

    def accuracy(self, report: AccuracyReport) -> None:
        """Both models were measured on labeled images."""

    def advice(self, advice: tuple[Advice, ...]) -> None:
        """Advice on speed."""

    def warning(self, text: str) -> None:
        """A warning for the user."""
