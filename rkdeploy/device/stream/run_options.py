"""Options of a run.  Light: `rkdeploy run -h` needs neither numpy nor OpenCV for them."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

from rkdeploy.device.chain.chain_options import ChainOptions
from rkdeploy.device.gallery.gallery_options import GalleryOptions
from rkdeploy.device.messages.message_options import MessageOptions
from rkdeploy.device.runtime.backend_names import BACKEND, MAX_CONTEXTS
from rkdeploy.device.stream.video_out.recording_options import RecordingOptions
from rkdeploy.device.tracking.tracking_options import TrackingOptions
from rkdeploy.device.web.listening_address import DEFAULT_ADDRESS
from rkdeploy.option import CAMERA, FRAME_SIZE, OUTPUT, RUNNING, THRESHOLDS, TOOLKIT_PYTHON, VIEW, WORDS, Option, counts


@dataclass(frozen=True, slots=True)
class RunOptions:
    """One run.

    Attributes:
        sources: as `open_source` takes them.
        cameras: N of /dev/videoN.
        backend: its name, or `auto`.
        cores: NPU cores; None takes all.
        contexts: number of contexts of each model, spread over the cores in turn; None takes one per core.
        conf: score thresholds, for all classes or for one; classes: names or ids of those that are kept, none keeps
            all; iou and max_det: of the non-maximum suppression.
        size_wh, fps: what cameras are asked for.
        show, web, web_address, web_token: a window; a page in the browser, where, and what its viewers must know.
        save: folder for drawn images and videos.
        recording: segments of these videos.
        crops: folder for crops of detections; crops_limit: largest number of them.
        maps: folder for class maps and depth; maps_npy: whether depth is written as `.npy`.
        sinks: of plug-ins, `NAME:TEXT`.
        json_lines: files for one JSON object per frame; `-` is stdout.
        map_masks: whether those have the pixels of class maps; no_embeddings: whether they lack embeddings.
        record, replay: folders of raw outputs, to write and to play.
        chain: further models.
        gallery: names for embeddings.
        messages: brokers and web addresses that results are sent to.
        tracking: ids of objects, lines and zones.
        max_frames: end after so many; None takes all.
        allow_empty: whether a run in which no frame could be read is a success.
        toolkit_python: interpreter of the simulator.
    """

    sources: tuple[str, ...] = ()
    cameras: Annotated[
        tuple[int, ...],
        Option("--camera", "Camera of this machine: N of /dev/videoN. Repeatable.", RUNNING, low=0, often=True),
    ] = ()
    backend: Annotated[str, BACKEND] = "auto"
    cores: Annotated[
        tuple[int, ...] | None,
        Option(
            "--cores",
            "NPU cores to run on.",
            RUNNING,
            form=counts(0, 31),
            default="all",
        ),
    ] = None
    contexts: Annotated[
        int | None,
        Option(
            "--contexts",
            "Number of contexts of each model, spread over the cores in turn. More than cores keep a core busy while "
            "data of the next frame is copied, and each takes memory of its own: rkdeploy profile measures both.",
            RUNNING,
            low=1,
            high=MAX_CONTEXTS,
            default="one per core",
        ),
    ] = None
    max_frames: Annotated[int | None, Option("--max-frames", "End after N frames.", RUNNING, low=1, often=True)] = None
    allow_empty: Annotated[
        bool, Option("--allow-empty", "Take a run in which no frame could be read as a success.", RUNNING)
    ] = False
    replay: Annotated[
        Path | None,
        Option(
            "--replay",
            "Play raw outputs that --record wrote from the same source, in place of the network.",
            RUNNING,
            metavar="FOLDER",
        ),
    ] = None
    toolkit_python: Annotated[Path | None, TOOLKIT_PYTHON] = None
    chain: ChainOptions = field(default_factory=ChainOptions)
    gallery: GalleryOptions = field(default_factory=GalleryOptions)
    messages: MessageOptions = field(default_factory=MessageOptions)
    tracking: TrackingOptions = field(default_factory=TrackingOptions)
    conf: Annotated[
        tuple[str, ...],
        Option(
            "--conf",
            "Score threshold for all classes (0.4) or for one (person=0.4). Repeatable.",
            THRESHOLDS,
            metavar="[CLASS=]X",
            default="0.25, for areas of text 0.6",
            often=True,
        ),
    ] = ()
    classes: Annotated[
        tuple[str, ...],
        Option(
            "--classes",
            "Keep objects of these classes only, given by name or id.",
            THRESHOLDS,
            form=WORDS,
            default="all",
        ),
    ] = ()
    iou: Annotated[float, Option("--iou", "IoU threshold for non-maximum suppression.", THRESHOLDS, low=0, high=1)] = (
        0.45
    )
    max_det: Annotated[int, Option("--max-det", "Maximum number of detections per frame.", THRESHOLDS, low=1)] = 300
    size_wh: Annotated[
        tuple[int, int] | None,
        Option("--size", "Frame size to ask cameras for.", CAMERA, form=FRAME_SIZE, default="the camera's"),
    ] = None
    fps: Annotated[
        float | None,
        Option("--fps", "Frames per second to ask cameras for.", CAMERA, low=1, high=240, default="the camera's"),
    ] = None
    show: Annotated[
        bool,
        Option(
            "--show",
            "Show the frames in a window. Several cameras or streams are in a grid: a key from 1 to 9 or a click shows "
            "one large, 0 shows all. The keys q and Escape end the run.",
            VIEW,
            often=True,
        ),
    ] = False
    web: Annotated[
        bool,
        Option(
            "--web",
            f"Show frames and figures in a browser, at {DEFAULT_ADDRESS}. Several live sources are in a grid.",
            VIEW,
            often=True,
        ),
    ] = False
    web_address: Annotated[
        str | None,
        Option(
            "--web-address",
            "Another address for --web. One that other machines reach needs a token.",
            VIEW,
            metavar="HOST:PORT",
        ),
    ] = None
    web_token: Annotated[
        str | None,
        Option(
            "--web-token",
            "Token that viewers of --web must know. Set the environment variable instead where others use the machine: "
            "they see a command's arguments.",
            VIEW,
            env="RKDEPLOY_WEB_TOKEN",
        ),
    ] = None
    save: Annotated[
        Path | None,
        Option(
            "--save", "Folder for images and videos with the detections drawn.", OUTPUT, metavar="FOLDER", often=True
        ),
    ] = None
    recording: RecordingOptions = field(default_factory=RecordingOptions)
    sinks: Annotated[
        tuple[str, ...],
        Option(
            "--sink",
            "Sink of a plug-in, with what it takes behind a colon, such as csv:found.csv. Repeatable.",
            OUTPUT,
            metavar="NAME[:TEXT]",
        ),
    ] = ()
    maps: Annotated[
        Path | None,
        Option(
            "--maps",
            "Folder for class maps as PNG files of class ids, and depth as 16-bit PNG files in millimeters.",
            OUTPUT,
            metavar="FOLDER",
        ),
    ] = None
    maps_npy: Annotated[
        bool, Option("--maps-npy", "Write depth to --maps as .npy files of float32, not as PNG.", OUTPUT)
    ] = False
    json_lines: tuple[str, ...] = ()
    map_masks: Annotated[
        bool, Option("--map-masks", "Write the pixels of class maps as JSON too, not only their shares.", OUTPUT)
    ] = False
    no_embeddings: Annotated[
        bool, Option("--no-embeddings", "Leave the vectors of embeddings out of JSON.", OUTPUT)
    ] = False
    crops: Annotated[
        Path | None,
        Option("--save-crops", "Folder for a JPEG of each detection, in a folder per class.", OUTPUT, metavar="FOLDER"),
    ] = None
    crops_limit: Annotated[int, Option("--save-crops-limit", "Maximum number of crops of a run.", OUTPUT, low=1)] = (
        10_000
    )
    record: Annotated[
        Path | None,
        Option(
            "--record",
            "New folder for the network's raw outputs, which --replay plays. Recording takes time: do not read the "
            "rate of such a run.",
            OUTPUT,
            metavar="FOLDER",
        ),
    ] = None
