"""Callbacks of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.host.building.build_events import BuildEvents

if TYPE_CHECKING:
    from rkdeploy.analysis.compare.comparison import Row
    from rkdeploy.analysis.compare.variants import Variant


class CompareEvents(BuildEvents):
    """Callbacks of a comparison; the defaults do nothing.  The events of each build come between its `begin` and its
    `done`.
    """

    def begin(self, variant: Variant, done: int, total: int) -> None:
        """A build begins; `done` of `total` are done."""

    def done(self, row: Row) -> None:
        """A build succeeded, was there already, or failed."""
