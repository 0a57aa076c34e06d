"""The complete measurement: a bundle on a backend to a `Profile`."""

from __future__ import annotations

import logging
import platform
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np

from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.device.faults.kernel_log import NO_LOG, KernelLog, KernelLogWatch
from rkdeploy.device.postprocess.thresholds import Thresholds
from rkdeploy.device.profiling import input_frames
from rkdeploy.device.profiling.kernel_files import board_model, kernel_release, npu_load_percent, why_no_npu_load
from rkdeploy.device.profiling.layer_table import median_layers, parse_layers, ranking
from rkdeploy.device.profiling.logged_faults import fault_advice
from rkdeploy.device.profiling.many_contexts import TimedContexts, cores_of, measure_throughput
from rkdeploy.device.profiling.one_context import MeasureLimits, OneContext, measure_cores, measure_stages
from rkdeploy.device.profiling.package_versions import installed
from rkdeploy.device.profiling.profile_advice import advise
from rkdeploy.device.profiling.profile_document import (
    CoreTiming,
    LayerProfile,
    Missing,
    Profile,
    ProfileAdvice,
    Throughput,
    Versions,
)
from rkdeploy.device.profiling.sampling import Sample, Sampler, busy_share, conditions, take_sample
from rkdeploy.device.runtime.backend_names import AUTO, BACKEND, MAX_CONTEXTS
from rkdeploy.device.runtime.backends import open_runtimes
from rkdeploy.device.runtime.board_identity import Board, read_board
from rkdeploy.device.runtime.cores import core_count
from rkdeploy.device.runtime.model_file import read_model_file
from rkdeploy.device.runtime.protocol import NO_OPTIONS, MeasuredRuntime, RuntimeOptions
from rkdeploy.errors import BackendError
from rkdeploy.images.fit import image_fit
from rkdeploy.option import FRAME_SIZE, MEASURE, Only, Option, counts
from rkdeploy.version import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.contract.spec import InputSpec
    from rkdeploy.device.profiling.input_frames import Images
    from rkdeploy.device.profiling.profile_document import InputFrames
    from rkdeploy.device.runtime.protocol import MemorySize, RuntimeOptions

_LOG = logging.getLogger(__name__)
NPU_BACKENDS = frozenset({"librknnrt", "rknnlite"})
_LIMITS, _THRESHOLDS = MeasureLimits(), Thresholds(max_det=300)
_LAYER_RUNS = 5
_SETTLE_S = 0.5
_PACKAGES = ("numpy", "opencv-python", "opencv-python-headless", "onnxruntime", "rknn-toolkit2", "rknn-toolkit-lite2")


@dataclass(frozen=True, slots=True)
class ProfileOptions:
    """Scope and length of a measurement.

    Attributes:
        backend: name of the backend.
        contexts: numbers of contexts to measure; None takes one, one per NPU core and two per core, without an NPU one.
        sources: images or videos; an empty tuple takes seeded noise.
        frame_wh: size of the noise, pixels.
        limits: of each measurement.
        thresholds: for the decode.
        runtime: options of the backends.
        sysroot: folder with the board's `proc` and `sys`.
    """

    backend: Annotated[str, BACKEND] = AUTO
    contexts: Annotated[
        tuple[int, ...] | None,
        Option(
            "--contexts",
            "Numbers of contexts at a time, each measured: 1,3,6.",
            MEASURE,
            form=counts(1, MAX_CONTEXTS),
            often=True,
            default="1, one per NPU core and two per core",
        ),
    ] = None
    sources: tuple[str, ...] = ()
    frame_wh: Annotated[
        tuple[int, int],
        Option(
            "--frame-size",
            "Size of the noise that is measured on without a source: your camera's.",
            MEASURE,
            form=FRAME_SIZE,
            often=True,
        ),
    ] = (1920, 1080)
    limits: MeasureLimits = _LIMITS
    thresholds: Thresholds = _THRESHOLDS
    runtime: Annotated[RuntimeOptions, Only("--toolkit-python")] = NO_OPTIONS
    sysroot: Annotated[Path, Option("--sysroot", "Folder that stands in for /, with proc and sys.", hidden=True)] = (
        Path("/")
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Setup:
    """Inputs of every part of a measurement.

    Attributes:
        bundle: read and checked.
        options: of the measurement.
        board: this machine.
        present: number of NPU cores, None if the SoC is unknown.
        images: source images.
        network_input: the first of them as the network's input.
        progress: called with the name of each step.
    """

    bundle: Bundle
    options: ProfileOptions
    board: Board
    present: int | None
    images: Images
    network_input: NDArray[np.uint8]
    progress: Callable[[str], None]

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self.options.backend

    @property
    def on_npu_backend(self) -> bool:
        """True if the backend is one of an NPU."""
        return self.backend in NPU_BACKENDS

    @property
    def first_core(self) -> tuple[int, ...] | None:
        """The first NPU core; None where the cores are unknown, so that none is chosen."""
        return (0,) if self.on_npu_backend and self.present is not None else None


@dataclass(frozen=True, slots=True)
class _Rates:
    """Throughput by number of contexts, the machine's samples meanwhile, and what could not be measured."""

    figures: tuple[Throughput, ...]
    samples: tuple[Sample, ...]
    missing: tuple[Missing, ...]


def measure_profile(bundle: Bundle, options: ProfileOptions, progress: Callable[[str], None] | None = None) -> Profile:
    """Measure a bundle.

    Args:
        bundle: read and checked.
        options: see `ProfileOptions`.
        progress: called with the name of each step.

    Raises:
        RkdeployError: when the backend cannot be opened or fails, or the source cannot be read.  A figure that this
            backend cannot give is not an error.
    """
    images, frames = (
        input_frames.of_sources(options.sources) if options.sources else input_frames.noise(*options.frame_wh)
    )
    setup = _setup(bundle, options, images, progress or _silent)
    if not setup.on_npu_backend:
        return _measured(setup, frames, lambda: NO_LOG)
    with KernelLogWatch(options.sysroot) as watch:
        return _measured(setup, frames, watch.read)


def _measured(setup: _Setup, frames: InputFrames, read_new_log: Callable[[], KernelLog]) -> Profile:
    """Every measurement, one after the other; `read_new_log` gives what the kernel logged since its start."""
    bundle, options, images = setup.bundle, setup.options, setup.images
    setup.progress("reading the machine's state")
    busy, load = busy_share(options.sysroot, _SETTLE_S)
    before = take_sample(options.sysroot)

    setup.progress("one context, stage by stage")
    with ExitStack() as stack, Sampler(options.sysroot) as sampler:
        runtime = stack.enter_context(open_runtimes(options.backend, bundle, setup.first_core, options.runtime)[0])
        one = measure_stages(runtime, bundle.spec, options.thresholds, images, options.limits, options.sysroot)
        figures_from, notes = runtime.figures_from, runtime.notes
    rates = _rates(setup)
    cores, why_no_cores = _cores(setup)
    layers, npu_memory, why_no_layers = _layers(setup)
    one = one if one.npu_memory is not None else replace(one, npu_memory=npu_memory)
    log = read_new_log()

    found = Profile(
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        rkdeploy_version=__version__,
        bundle=bundle.folder.resolve().name,
        model_sha256=_sha256_if_readable(bundle.rknn),
        backend=options.backend,
        figures_from=figures_from,
        on_npu=setup.on_npu_backend and setup.board.soc is not None and options.sysroot == Path("/"),
        input_width=bundle.spec.input.width,
        input_height=bundle.spec.input.height,
        frames=frames,
        stages=one.stages,
        cores=cores,
        throughput=rates.figures,
        layers=layers,
        npu_memory=one.npu_memory,
        process_memory=one.process_memory,
        conditions=conditions(before, [*sampler.samples, *rates.samples], busy, load),
        versions=_versions(bundle, setup.board, options.sysroot, figures_from if setup.on_npu_backend else ""),
        missing=(
            *_missing(setup, one, rates, why_no_cores, why_no_layers if layers is None else ""),
            *((Missing("kernel_log", log.why_not),) if log.why_not else ()),
        ),
    )
    said = tuple(ProfileAdvice("runtime", "warning", note) for note in notes)
    return replace(found, advice=(*said, *fault_advice(log), *advise(found)))


def _setup(bundle: Bundle, options: ProfileOptions, images: Images, progress: Callable[[str], None]) -> _Setup:
    board = read_board(options.sysroot)
    present = core_count(board.soc) if board.soc else None
    _LOG.debug("backend %s, SoC %s, NPU cores %s", options.backend, board.soc or "unknown", present or "unknown")
    return _Setup(bundle, options, board, present, images, _network_input(images, bundle.spec.input), progress)


def _rates(setup: _Setup) -> _Rates:
    """The rate of the whole pipeline with each number of contexts."""
    options, present = setup.options, setup.present
    counts = options.contexts or _default_contexts(present if setup.on_npu_backend else None)
    figures: list[Throughput] = []
    samples: list[Sample] = []
    missing: list[Missing] = []
    for count in sorted(set(counts)):
        setup.progress(f"{count} context{'' if count == 1 else 's'}")
        cores = cores_of(count, present) if setup.on_npu_backend and (present is not None or count > 1) else None
        try:
            contexts = TimedContexts(setup.backend, setup.bundle, cores, count, options.runtime)
            rate, seen = measure_throughput(
                contexts,
                setup.bundle,
                options.thresholds,
                setup.images,
                setup.network_input,
                options.limits,
                options.sysroot,
            )
        except BackendError as error:
            missing.append(Missing(f"throughput of {count} contexts", error.message))
            continue
        figures.append(rate)
        samples += seen
    if options.contexts is None and len(counts) == 1:
        why = _why_one_context(setup.backend)
        missing.append(Missing("throughput of more contexts", why))
    return _Rates(tuple(figures), tuple(samples), tuple(missing))


def _missing(setup: _Setup, one: OneContext, rates: _Rates, why_no_cores: str, why_no_layers: str) -> Iterator[Missing]:
    """Every figure that is not there, with its reason."""
    yield from (item for item in one.missing if item.figure != "npu_memory" or one.npu_memory is None)
    yield from rates.missing
    if why_no_cores:
        yield Missing("cores", why_no_cores)
    if why_no_layers:
        yield Missing("layers", why_no_layers)
    sysroot = setup.options.sysroot
    if npu_load_percent(sysroot) is None:
        reason = f"the backend {setup.backend} does not use an NPU"
        yield Missing("throughput.npu_load_percent", why_no_npu_load(sysroot) if setup.on_npu_backend else reason)


def _silent(_what: str) -> None:
    """Default for `progress`: ignores the steps."""


def _default_contexts(present: int | None) -> tuple[int, ...]:
    return (1,) if present is None else (1, present, 2 * present)


def _why_one_context(name: str) -> str:
    if name not in NPU_BACKENDS:
        return f"the backend {name} has no NPU cores: contexts share the processors; --contexts 1,2,3 measures several"
    return "the SoC is unknown, and with it the number of NPU cores; --contexts 1,2,3 measures several"


def _network_input(images: Images, spec: InputSpec) -> NDArray[np.uint8]:
    return np.ascontiguousarray(image_fit(spec)(images[0]).image).copy()


def _cores(setup: _Setup) -> tuple[tuple[CoreTiming, ...], str]:
    """Each NPU core by itself, or the reason why not."""
    if not setup.on_npu_backend:
        return (), f"the backend {setup.backend} has no NPU cores"
    if setup.present is None:
        return (), "the SoC is unknown, and with it the number of NPU cores"
    if setup.present == 1:
        return (), "there is one NPU core only"
    setup.progress("each NPU core by itself")
    cores = tuple(range(setup.present))
    try:
        with ExitStack() as stack:
            opened = open_runtimes(setup.backend, setup.bundle, cores, setup.options.runtime)
            runtimes = [stack.enter_context(runtime) for runtime in opened]
            return measure_cores(runtimes, cores, setup.network_input), ""
    except BackendError as error:
        return (), error.message


def _layers(setup: _Setup) -> tuple[LayerProfile | None, MemorySize | None, str]:
    """The runtime's per-layer profile and memory, from a context of its own; or the reason why there is none.

    Also for rknnlite: it runs the same librknnrt, whose C API has what the package does not pass on.
    """
    if not setup.on_npu_backend:
        where = "predicted cycles of each layer are in the bundle's toolkit.log"
        return None, None, f"the backend {setup.backend} does not use an NPU; {where}"
    setup.progress("layer by layer")
    memory = None
    options = replace(setup.options.runtime, collect_perf=True)
    try:
        with open_runtimes("librknnrt", setup.bundle, setup.first_core, options)[0] as runtime:
            assert isinstance(runtime, MeasuredRuntime), "librknnrt reports what its NPU did"
            memory = runtime.memory_size()
            runtime.infer(setup.network_input)
            runs = []
            for _ in range(_LAYER_RUNS):
                runtime.infer(setup.network_input)
                runs.append(parse_layers(runtime.layer_table()))
            figures_from = runtime.figures_from
    except BackendError as error:
        return None, memory, error.message
    layers = median_layers(runs)
    if not layers:
        return None, memory, "the runtime's per-layer profile holds no table that rkdeploy can read"
    times = [layer.time_us for layer in layers if layer.time_us is not None]
    moved = [layer.rw_kib for layer in layers if layer.rw_kib is not None]
    found = LayerProfile(
        figures_from, len(runs), layers, ranking(layers), sum(times) if times else None, sum(moved) if moved else None
    )
    return found, memory, ""


def _versions(bundle: Bundle, board: Board, sysroot: Path, figures_from: str) -> Versions:
    file_version: int | None = None
    toolkit: str | None = None
    with suppress(BackendError):  # the host backends run without a `.rknn`
        file = read_model_file(bundle.rknn)
        file_version, toolkit = file.file_version, file.toolkit_version
    runtime = driver = None
    for part in figures_from.split(", "):  # format of the NPU backends: "librknnrt 2.3.2 (...), driver 0.9.8"
        name, _, value = part.partition(" ")
        if name == "librknnrt":
            runtime = value or None
        elif name == "driver":
            driver = value or None
    return Versions(
        runtime=runtime,
        driver=driver or board.driver,
        kernel=kernel_release(sysroot),
        board=board_model(sysroot),
        soc=board.soc,
        model_file=file_version,
        toolkit=f"rknn-toolkit2 {toolkit}" if toolkit else None,
        target=bundle.model.target,
        dtype=bundle.model.dtype,
        packages={"python": platform.python_version(), **installed(_PACKAGES)},
    )


def _sha256_if_readable(path: Path) -> str | None:
    try:
        return sha256_of(path)
    except OSError:
        return None
