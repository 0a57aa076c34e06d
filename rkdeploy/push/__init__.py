"""Transfer of a bundle to a board: copied over ssh, checked there, then made current in one step."""

from rkdeploy.push.board import BoardState, activate, examine, restart_service, roll_back, upload
from rkdeploy.push.parcel import Parcel
from rkdeploy.push.ssh import Ssh

__all__ = ["BoardState", "Parcel", "Ssh", "activate", "examine", "restart_service", "roll_back", "upload"]
