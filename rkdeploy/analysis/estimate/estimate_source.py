"""A compiled model to predict from: a bundle's own, or one compiled for this alone.

What the compiler prints depends on the graph, the chip and the type, not on weights or calibration.  So where there is
no bundle yet, the model is compiled on one image of seeded noise, which takes seconds and gives no usable `.rknn`.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np

from rkdeploy.contract.bundle import CONTRACT, LOG, Bundle, read_bundle
from rkdeploy.contract.compiled_model import CompiledModel
from rkdeploy.contract.spec import InputSpec
from rkdeploy.errors import RkdeployError, ToolkitError
from rkdeploy.host.toolkit.compile_log import read_compile_log
from rkdeploy.option import INPUT, SIZE, TOOLKIT_PYTHON, Argument, Option

_LOG = logging.getLogger(__name__)

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class EstimateSource:
    """Model to predict.

    Attributes:
        model: a bundle, or a `.pt`, `.pth` or `.onnx`.
        weights: with an ONNX file: the checkpoint that it came from.
        cfg: the darknet cfg of a checkpoint that holds weights only (YOLOR's main branch).
        imgsz: (height, width) in pixels; None takes the training size.
        built: folder that is searched for bundles of the same file.
        toolkit_python: interpreter that has rknn-toolkit2; None is this one.
    """

    model: Annotated[Path, Argument("MODEL", "A checkpoint, an ONNX file exported from one, or a bundle.")]
    weights: Annotated[
        Path | None, Option("--weights", "With an ONNX file: the .pt it came from.", INPUT, metavar="FILE")
    ] = None
    imgsz: Annotated[
        tuple[int, int] | None,
        Option(
            "--imgsz",
            "Network input in pixels, width x height; one number is a square.",
            INPUT,
            form=SIZE,
            default="the training size",
            often=True,
        ),
    ] = None
    built: Annotated[
        Path,
        Option(
            "--out", "Folder of bundles: a bundle of this very file is not compiled again.", INPUT, metavar="FOLDER"
        ),
    ] = Path("build")
    toolkit_python: Annotated[Path | None, TOOLKIT_PYTHON] = None
    cfg: Annotated[
        Path | None,
        Option("--cfg", "Darknet cfg of a file of weights: a .weights, or a state dict.", INPUT, metavar="FILE"),
    ] = None


@dataclass(frozen=True, slots=True)
class CompiledFor:
    """A model compiled for one chip.

    Attributes:
        target: the chip.
        model: layers and memory.
        origin: where it comes from, in words.
        input_hw: (height, width) of the network input in pixels.
    """

    target: str
    model: CompiledModel
    origin: str
    input_hw: tuple[int, int]


def is_bundle(model: Path) -> bool:
    """True if a path is meant as a bundle."""
    return model.is_dir() or model.suffix == ".rknn"


def compiled_models(
    source: EstimateSource, targets: tuple[str, ...], dtype: str, progress: Progress
) -> Iterator[CompiledFor]:
    """The model, compiled for each target in turn; those that a bundle already has are not compiled again.

    Raises:
        RkdeployError: the file, the bundle or the toolkit failed.
    """
    if is_bundle(source.model):
        yield from _of_bundle(source, targets, dtype, progress)
        return
    from rkdeploy.host.building.bundle_name import default_name
    from rkdeploy.host.building.open_network import open_network
    from rkdeploy.host.graph.cut import cut
    from rkdeploy.host.graph.cut_options import CutOptions

    _LOG.debug("%s for %s, %s", source.model, ", ".join(targets), dtype)
    progress(f"reading {source.model.name}")
    network = open_network(source.model, source.weights, source.imgsz, cfg=source.cfg)
    found = {
        target: _built(
            source.built / f"{default_name(source.model)}-{target}-{dtype}", network.sha256, network.input_hw
        )
        for target in targets
    }
    with tempfile.TemporaryDirectory(prefix="rkdeploy-estimate-") as name:
        folder = Path(name)
        graph = folder / "model.onnx"
        missing = tuple(target for target, kept in found.items() if kept is None)
        if missing:
            import onnx

            onnx.save(cut(network.simplified, network.head, CutOptions())[0], str(graph))
        fresh = _compile(graph, network.input, missing, dtype, source, folder, progress) if missing else iter(())
        for target in targets:
            yield found[target] or next(fresh)


def _of_bundle(
    source: EstimateSource, targets: tuple[str, ...], dtype: str, progress: Progress
) -> Iterator[CompiledFor]:
    """The bundle's own compiled model; for other chips than its own, its float graph is compiled again."""
    bundle = read_bundle(source.model)
    size = (bundle.spec.input.height, bundle.spec.input.width)
    if source.imgsz not in (None, size) or source.weights is not None or source.cfg is not None:
        raise RkdeployError(
            f'"{source.model}" is a bundle, built for {size[0]}x{size[1]} (height x width).',
            "Give its checkpoint to predict another size; --weights and --cfg go with files.",
        )
    own = bundle.model.target if bundle.model.dtype == dtype else None
    others = tuple(target for target in targets if target != own)
    with tempfile.TemporaryDirectory(prefix="rkdeploy-estimate-") as name:
        fresh = _compile(bundle.cut_onnx, bundle.spec.input, others, dtype, source, Path(name), progress)
        for target in targets:
            if target == own:
                yield CompiledFor(target, kept_model(bundle), f"compiled in {bundle.folder.name}", size)
            else:
                yield next(fresh)


def kept_model(bundle: Bundle) -> CompiledModel:
    """The compiled model in the record; older bundles have the toolkit's log."""
    return bundle.record.compiled or read_compile_log(bundle.folder / LOG)


def _built(folder: Path, sha256: str, input_hw: tuple[int, int]) -> CompiledFor | None:
    """The compiled model of a bundle of the same file at the same size, None where there is none that can be read."""
    if not (folder / CONTRACT).is_file():
        return None
    try:
        bundle = read_bundle(folder)
        if bundle.record.source.sha256 != sha256 or (bundle.spec.input.height, bundle.spec.input.width) != input_hw:
            return None
        target = bundle.model.target
        return CompiledFor(target, kept_model(bundle), f"compiled in {folder}", input_hw)
    except RkdeployError:  # a damaged bundle near by is not what was asked for
        return None


def _compile(
    graph: Path,
    image: InputSpec,
    targets: tuple[str, ...],
    dtype: str,
    source: EstimateSource,
    folder: Path,
    progress: Progress,
) -> Iterator[CompiledFor]:
    from rkdeploy.host.toolkit.toolkit import Toolkit
    from rkdeploy.host.toolkit.toolkit_options import ToolkitOptions

    if not targets:
        return
    noise = np.random.default_rng(0).integers(0, 256, (3, image.height, image.width), np.uint8)
    log = folder / LOG
    with (
        _log_kept(log, Path(f"{source.model.stem}-estimate-failed.log")),
        Toolkit(log=log, python=source.toolkit_python) as toolkit,
    ):
        for target in targets:
            progress(f"compiling for {target}")
            options = ToolkitOptions(target=target, dtype=dtype, mean=image.mean, std=image.std)
            built = toolkit.build(graph, options, [noise], folder / f"{target}.rknn")
            yield CompiledFor(
                target,
                read_compile_log(built.log),
                f"compiled by rknn-toolkit2 {built.toolkit_version} on noise",
                (image.height, image.width),
            )


@contextmanager
def _log_kept(log: Path, kept: Path) -> Iterator[None]:
    """Keep the toolkit's log where a compilation fails, and say where."""
    try:
        yield
    except ToolkitError as error:
        if not log.is_file() or not log.stat().st_size:
            raise
        shutil.copyfile(log, kept)
        message, hint = (text.replace(str(log), str(kept)) for text in (error.message, error.hint))
        raise ToolkitError(message, hint) from error
