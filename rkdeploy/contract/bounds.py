"""Bounds of the numbers and texts in a document, which may come from anywhere: checked where it is decoded."""

from __future__ import annotations

from typing import Annotated, Final

from msgspec import Meta

_LARGEST: Final = 10**18
"""No measurement gives more, and nothing can be plotted that is larger."""

Figure = Annotated[float, Meta(ge=-1e18, le=1e18)]
"""Any number that a measurement may give."""
Amount = Annotated[float, Meta(ge=0, le=1e18)]
"""A time, a size, a rate."""
Positive = Annotated[float, Meta(gt=0, le=1e18)]
"""A number that others are divided by."""
Share = Annotated[float, Meta(ge=0, le=1)]
Whole = Annotated[int, Meta(ge=-_LARGEST, le=_LARGEST)]
Count = Annotated[int, Meta(ge=0, le=_LARGEST)]
Pixels = Annotated[int, Meta(ge=1, le=8192)]
"""A side of an image or of the network input."""
Text = Annotated[str, Meta(max_length=100_000)]
