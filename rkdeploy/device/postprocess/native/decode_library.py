"""The C library with the decode's hot loops; without it numpy does everything.

`RKDEPLOY_DECODE=numpy` or `native` decides; without it the library is used if it exists and matches these sources.
"""

from __future__ import annotations

import ctypes
import logging
import os
import platform
from ctypes import c_double, c_int64, c_void_p
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from rkdeploy.device.postprocess.native.compile import FOLDER, library_name, source_hash
from rkdeploy.errors import RkdeployError

_LOG = logging.getLogger(__name__)

DECODE_VARIABLE: Final = "RKDEPLOY_DECODE"
COMPILE_MODULE: Final = "rkdeploy.device.postprocess.native.compile"
_ARGUMENTS: Final[dict[str, tuple[Any, ...]]] = {
    "rkdeploy_search_scores": (c_void_p,),
    "rkdeploy_boxes": (c_void_p, c_void_p, c_int64, c_void_p, c_void_p),
    "rkdeploy_fields": (c_void_p, c_void_p, c_int64, c_void_p),
    "rkdeploy_search_anchors": (c_void_p,),
    "rkdeploy_best_classes": (c_void_p,) * 7,
    "rkdeploy_best_of_columns": (c_void_p, c_void_p),
    "rkdeploy_steps_below": (c_void_p, c_void_p, c_void_p, c_int64, c_void_p),
    "rkdeploy_exp_sums": (c_void_p, c_void_p, c_void_p, c_int64, c_void_p),
    "rkdeploy_resample": (c_void_p, c_int64, c_int64, c_void_p, c_void_p, c_void_p, c_void_p),
    "rkdeploy_nms": (c_void_p, c_void_p, c_int64, c_void_p, c_int64, c_double, c_int64, c_void_p, c_void_p),
}


@dataclass(frozen=True, slots=True)
class DecodeChoice:
    """The implementation in use.

    Attributes:
        library: None for numpy.
        why: the reason, in a few words.
        asked_for: True if the environment variable chose it.
    """

    library: ctypes.CDLL | None
    why: str
    asked_for: bool = False


@lru_cache(maxsize=1)
def decode_choice() -> DecodeChoice:
    """The implementation used by this process, chosen at the first call.

    Raises:
        RkdeployError: when the variable asks for a library that cannot be used, or has another value.
    """
    wanted = os.environ.get(DECODE_VARIABLE, "")
    if wanted not in ("", "numpy", "native"):
        raise RkdeployError(f'{DECODE_VARIABLE} is "{wanted}", expected "numpy" or "native".')
    if wanted == "numpy":
        return DecodeChoice(None, f"{DECODE_VARIABLE}=numpy", asked_for=True)
    found = _load()
    _LOG.debug("decode by %s: %s", "C" if found.library is not None else "numpy", found.why)
    if wanted == "native" and found.library is None:
        raise RkdeployError(
            f"{DECODE_VARIABLE}=native, but {found.why}.", f"With a C compiler: python -m {COMPILE_MODULE}"
        )
    return DecodeChoice(found.library, found.why, asked_for=wanted == "native")


def library() -> ctypes.CDLL | None:
    """The library; None if numpy decodes.

    Raises:
        RkdeployError: as for `decode_choice`.
    """
    return decode_choice().library


def _load() -> DecodeChoice:
    path = FOLDER / library_name(platform.machine())
    if not path.exists():
        return DecodeChoice(None, f'there is no "{path}"')
    try:
        loaded = ctypes.CDLL(str(path))  # releases the GIL while a function runs
        made_of = (ctypes.c_char * 17).in_dll(loaded, "rkdeploy_sources").value
        for name, arguments in _ARGUMENTS.items():
            function = getattr(loaded, name)
            function.restype, function.argtypes = c_int64, arguments
    except (OSError, ValueError, AttributeError) as error:
        return DecodeChoice(None, f'"{path}" cannot be loaded: {error}')
    if made_of.decode("ascii", "replace") != source_hash():
        return DecodeChoice(None, f'"{path}" was compiled from other sources')
    return DecodeChoice(loaded, str(path))
