"""What a build tells whoever watches it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.contract.accuracy import AccuracyReport
    from rkdeploy.contract.record import Agreement, Proof, Verification
    from rkdeploy.datasets.calibration import CalibrationSet
    from rkdeploy.host.building.network import Network
    from rkdeploy.host.families.advice import Advice


class BuildEvents:
    """Somebody who watches a build; this one looks away.  Override what is of interest."""

    def stage(self, title: str) -> None:
        """A stage begins."""

    def detail(self, text: str) -> None:
        """Where the stage is, for example `12/20`."""

    def network(self, network: Network) -> None:
        """The network was read and its head found."""

    def calibration(self, calibration: CalibrationSet) -> None:
        """The calibration images were chosen."""

    def verified(self, verification: Verification) -> None:
        """The contract's decode was proven."""

    def compared(self, agreement: Agreement, proof: Proof) -> None:
        """The built model was compared with float."""

    def accuracy(self, report: AccuracyReport) -> None:
        """Float and the built model were measured on labeled images."""

    def advice(self, advice: tuple[Advice, ...]) -> None:
        """What costs speed, and what to do about it."""

    def warning(self, text: str) -> None:
        """Something that the user should know."""
