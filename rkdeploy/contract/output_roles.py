"""Roles of a contract's outputs, those inside joined tensors among them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rkdeploy.contract.roles import OutputRole
    from rkdeploy.contract.spec import ModelSpec


def roles_of(spec: ModelSpec) -> frozenset[OutputRole]:
    """Roles of a model's outputs; a joined tensor counts for its parts."""
    return frozenset(role for output in spec.outputs for role in (output.role, *(part.role for part in output.parts)))
