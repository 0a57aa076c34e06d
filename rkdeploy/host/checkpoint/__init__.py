"""Trained checkpoints as plain data.  The pickle in them is read, never run; torch is not needed."""

from rkdeploy.host.checkpoint.module import Module
from rkdeploy.host.checkpoint.reader import Checkpoint, read_checkpoint

__all__ = ["Checkpoint", "Module", "read_checkpoint"]
