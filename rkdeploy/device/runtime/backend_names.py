"""Names of the runtime backends, and the option that chooses one.  Light: every command with a backend imports it."""

from __future__ import annotations

from rkdeploy.option import RUNNING, Form, Option
from rkdeploy.system.plugins import BACKENDS as PLUGINS
from rkdeploy.system.plugins import plugins

BACKENDS: dict[str, str] = {
    "librknnrt": "rkdeploy.device.runtime.librknnrt",
    "onnxruntime": "rkdeploy.device.runtime.onnxruntime",
    "opencv_dnn": "rkdeploy.device.runtime.opencv_dnn",
    "replay": "rkdeploy.device.runtime.replay",
    "rknnlite": "rkdeploy.device.runtime.rknnlite",
    "simulator": "rkdeploy.host.toolkit.simulator",
}
"""Name on the command line -> module.  It has `open_bundle(bundle, core, options) -> Runtime`, not yet entered,
and, if several contexts share something, `open_bundles(bundle, cores, options) -> list[Runtime]`.
"""

NPU_BACKENDS = frozenset({"librknnrt", "rknnlite"})
"""Those that run the built model on an NPU, where there is one."""

AUTO = "auto"
"""The best backend that works here."""

MAX_CONTEXTS = 16
"""Largest number of contexts of a model in one process."""


def backend_names() -> tuple[str, ...]:
    """The names of all backends, those of plug-ins included, sorted."""
    return tuple(sorted({*BACKENDS, *plugins(PLUGINS)}))


def known_backend(name: str) -> str:
    """A backend's name, or `auto`.

    Raises:
        ValueError: for another word.
    """
    known = (AUTO, *backend_names())
    if name not in known:
        raise ValueError(f'"{name}" is not a backend; expected one of {", ".join(known)}.')
    return name


BACKEND = Option(
    "--backend",
    f"What runs the network: {', '.join((AUTO, *sorted(BACKENDS)))}. librknnrt and rknnlite run the built model on an "
    "NPU, simulator runs it in the toolkit's simulator; onnxruntime and opencv_dnn run the float network on this PC; "
    "replay plays a recording.",
    RUNNING,
    metavar="NAME",
    form=Form(known_backend, str, "NAME"),
    complete=(AUTO, *sorted(BACKENDS)),
    often=True,
)
