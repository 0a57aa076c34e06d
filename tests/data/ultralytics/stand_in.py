"""A quiet, offline place for the Ultralytics package to be imported in: without torchvision and settings."""

from __future__ import annotations

import datetime as dt
import functools
import importlib.metadata
import importlib.util
import os
import sys
import types
from pathlib import Path
from typing import Any


class FixedDate(dt.datetime):
    """So that files do not differ by the day they were made."""

    @classmethod
    def now(cls, tz: Any = None) -> dt.datetime:
        return dt.datetime(2024, 1, 2, 3, 4, 5, 678901, tzinfo=tz)


class Anything(types.ModuleType):
    """A module that has every attribute."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return Anything(f"{self.__name__}.{name}")

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self


def stand_in_torchvision() -> None:
    real_version = importlib.metadata.version
    importlib.metadata.version = lambda name: "0.28.0" if name == "torchvision" else real_version(name)
    names = ("", ".ops", ".models", ".transforms", ".transforms.functional", ".transforms.transforms", ".datasets")
    for name in names:
        module = Anything("torchvision" + name)
        module.__version__ = "0.28.0"
        module.__path__ = []
        sys.modules["torchvision" + name] = module
    root = sys.modules["torchvision"]
    for name in ("ops", "models", "transforms", "datasets"):
        setattr(root, name, sys.modules["torchvision." + name])
    sys.modules["torchvision.datasets"].ImageFolder = type("ImageFolder", (), {})


def prepare(release: Path) -> Any:
    """torch, with the release in folder `release` importable.  The working directory becomes its home."""
    here = os.getcwd()
    os.environ.update(
        YOLO_OFFLINE="true",
        YOLO_AUTOINSTALL="false",
        YOLO_VERBOSE="false",
        YOLO_CONFIG_DIR=here,
        MPLCONFIGDIR=here,
        HOME=here,
        WANDB_MODE="disabled",
    )
    import torch

    torch.set_num_threads(1)
    torch.hub.download_url_to_file = lambda *a, **k: None
    torch.load = functools.partial(torch.load, weights_only=False)
    stand_in_torchvision()
    for name in ("ultralytics_platform", "thop", "IPython", "huggingface_hub", "duckdb"):
        if importlib.util.find_spec(name) is None:
            sys.modules[name] = Anything(name)
    sys.path.insert(0, str(release))
    return torch
