"""Options of a search."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions
from rkdeploy.option import SEARCH, Only, Option


@dataclass(frozen=True, slots=True)
class TuneOptions:
    """One search.

    Attributes:
        build: the build whose settings the trials replace.  It must have a gate, whose images are measured on.
        study: the file of the study; None takes `NAME-TARGET-tune.db` next to the bundles.
        trials: total number, including those of an earlier run of the same study.
        workers: trials at a time; None decides by cores and memory, or takes all workers of a cluster.
        scheduler: address of a Dask scheduler; None works on this machine.
        max_cost: highest predicted cost of the recommended settings, over the default's.
        seed: of the search.
    """

    build: Annotated[
        BuildOptions,
        Only(
            "MODEL --data --data-split --data-labels --data-count --calib --target --dtype --weights --cfg --family "
            "--imgsz --names --preset --mean --std --color --fit --crop --stem --nms --out --name --toolkit-python",
            {"--data-split": "--split", "--data-labels": "--labels", "--data-count": "--count"},
        ),
    ]
    study: Annotated[
        Path | None,
        Option(
            "--study",
            "File that keeps the trials; a search with the same file resumes.",
            SEARCH,
            metavar="FILE",
            default="build/NAME-TARGET-tune.db",
        ),
    ] = None
    trials: Annotated[
        int,
        Option("--trials", "Total number of trials, including those of a resumed study.", SEARCH, low=1, often=True),
    ] = 24
    workers: Annotated[
        int | None,
        Option(
            "--workers",
            "Number of trials at a time.",
            SEARCH,
            low=1,
            high=1024,
            often=True,
            default="one per core, as far as memory allows; on a cluster all it has",
        ),
    ] = None
    scheduler: Annotated[
        str | None,
        Option(
            "--scheduler",
            "Address of a Dask scheduler whose workers run the trials, such as tcp://10.0.0.5:8786.",
            SEARCH,
            metavar="ADDRESS",
        ),
    ] = None
    max_cost: Annotated[
        float,
        Option(
            "--max-cost",
            "Highest predicted time of the recommended settings, relative to the default ones.",
            SEARCH,
            often=True,
        ),
    ] = 1.1
    seed: Annotated[int, Option("--seed", "Seed of the search.", SEARCH, low=0)] = 0

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            RkdeployError: naming the option.
        """
        if self.trials < 1 or (self.workers is not None and self.workers < 1):
            raise RkdeployError("--trials and --workers must be 1 or more.")
        if not math.isfinite(self.max_cost) or self.max_cost <= 0:
            raise RkdeployError(f"--max-cost is {self.max_cost}, expected a share such as 1.1.")

    @property
    def study_file(self) -> Path:
        """Path of the study."""
        return self.study or self.build.out / f"{self.build.title}-{self.build.target}-tune.db"
