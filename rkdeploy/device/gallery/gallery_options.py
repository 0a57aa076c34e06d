"""Options of a gallery.  Light: `rkdeploy run -h` needs neither numpy nor OpenCV for them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rkdeploy.option import CHAIN, Option


@dataclass(frozen=True, slots=True)
class GalleryOptions:
    """A gallery of a run.

    Attributes:
        gallery: folder of pictures, or a file that `save` made; None for none.
        threshold: lowest cosine of a match.
        save: file that the gallery is written to.
    """

    gallery: Annotated[
        Path | None,
        Option(
            "--gallery",
            "Name what embeddings are nearest to: a folder with one folder of pictures per name, or a .npz that "
            "--save-gallery wrote.",
            CHAIN,
        ),
    ] = None
    threshold: Annotated[
        float, Option("--match", "Lowest cosine at which a name of --gallery is given.", CHAIN, low=-1, high=1)
    ] = 0.4
    save: Annotated[
        Path | None,
        Option("--save-gallery", "Write the embeddings of --gallery to a .npz.", CHAIN, metavar="FILE"),
    ] = None
