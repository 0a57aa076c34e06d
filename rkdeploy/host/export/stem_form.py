"""Forms of the first layer."""

from __future__ import annotations

from typing import Literal

StemForm = Literal["trained", "space_to_depth", "slices", "convolution", "stripes"]
"""Form of the first layer; the values are equal.  See `rkdeploy.host.export.stem`."""
