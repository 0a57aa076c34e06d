"""Transfer of a bundle to a board: copied over ssh, checked there, then made current in one step."""

from rkdeploy.push.board_steps import BoardState, activate, examine, refresh, restart_service, roll_back, upload
from rkdeploy.push.bundle_upload import BundleUpload
from rkdeploy.push.ssh import Ssh

__all__ = [
    "BoardState",
    "BundleUpload",
    "Ssh",
    "activate",
    "examine",
    "refresh",
    "restart_service",
    "roll_back",
    "upload",
]
