"""Trained checkpoints as plain data.  Their pickle is read, never executed; torch is not needed."""

from rkdeploy.host.checkpoint.module_tree import Module
from rkdeploy.host.checkpoint.reader import Checkpoint, read_checkpoint

__all__ = ["Checkpoint", "Module", "read_checkpoint"]
