"""The sinks of a run: what its options draw, write, send and show."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rkdeploy.device.messages.open_messages import message_sinks
from rkdeploy.device.postprocess.thresholds import chosen_class_ids
from rkdeploy.device.stream.sinks import open_plugin_sink, open_save_folder
from rkdeploy.device.stream.sinks.crop_files import CropFilesSink
from rkdeploy.device.stream.sinks.jsonl import JsonlSink
from rkdeploy.device.stream.sinks.map_files import MapFilesSink
from rkdeploy.device.stream.sources.image_files import ImageFiles
from rkdeploy.device.stream.sources.several import parts_of, stream_names
from rkdeploy.device.stream.video_out.event_rule import require_zones
from rkdeploy.device.stream.video_out.writer_choice import WriterChoice, chosen_writer
from rkdeploy.device.web.listening_address import DEFAULT_ADDRESS
from rkdeploy.system.file_names import readable_name

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.device.stream.run_events import RunEvents
    from rkdeploy.device.stream.run_options import RunOptions
    from rkdeploy.device.stream.sinks.sink import Sink
    from rkdeploy.device.stream.sinks.window import WindowSink
    from rkdeploy.device.stream.sources.source import Source
    from rkdeploy.device.tracking.areas import Area
    from rkdeploy.device.web.view import WebView


@dataclass(frozen=True, slots=True)
class RunSinks:
    """The open sinks of a run.

    Attributes:
        sinks: all of them.
        window, view: those of them that show frames; None where they are not wanted.
        video_text: package and encoder of the videos for users; empty where none is written.
    """

    sinks: tuple[Sink, ...]
    window: WindowSink | None
    view: WebView | None
    video_text: str


@contextmanager
def open_run_sinks(
    bundle: Bundle, options: RunOptions, source: Source, areas: Sequence[Area], events: RunEvents
) -> Iterator[RunSinks]:
    """Open what the options name, and close it at the end.

    Args:
        bundle: of the run.
        options: of the run.
        source: open: a video's frame rate is only known then.
        areas: lines and zones that tracks are counted at.
        events: called with warnings, and with the address of the web view.

    Raises:
        RkdeployError: when one of them cannot be opened, or is about a zone that does not exist.
    """
    require_zones(options.recording.event_zones, areas)
    with ExitStack() as stack:
        window = _window(options, source, bundle.spec.class_names, stack)
        writer = _video_writer(options, source, events)
        sinks = _file_sinks(bundle, options, source, writer, events, stack)
        sinks += _message_sinks(bundle, options, source, areas, events, stack)
        view = _view(bundle, options, source, events, stack)
        shown = [sink for sink in (window, view) if sink is not None]
        yield RunSinks((*sinks, *shown), window, view, "" if writer is None else writer.text)


def _window(options: RunOptions, source: Source, names: Sequence[str], stack: ExitStack) -> WindowSink | None:
    if not options.show:
        return None
    from rkdeploy.device.stream.sinks.window import WindowSink

    title = f"rkdeploy: {readable_name(source.text)}"
    return stack.enter_context(WindowSink(title, names, stream_names(source)))


def _file_sinks(
    bundle: Bundle,
    options: RunOptions,
    source: Source,
    writer: WriterChoice | None,
    events: RunEvents,
    stack: ExitStack,
) -> list[Sink]:
    """The sinks of files and of plug-ins, open."""
    names = bundle.spec.class_names
    sinks: list[Sink] = []
    if options.save is not None or writer is not None:
        encoder = None if writer is None else writer.encoder
        sinks.append(
            stack.enter_context(
                open_save_folder(options.save, source, names, encoder, events.warning, options.recording)
            )
        )
    if options.crops is not None:
        crops = CropFilesSink(options.crops, names, options.crops_limit, live=source.live, notify=events.warning)
        sinks.append(stack.enter_context(crops))
    if options.maps is not None:
        sinks.append(stack.enter_context(MapFilesSink(options.maps, bundle.spec, npy=options.maps_npy)))
    sinks += [stack.enter_context(open_plugin_sink(text, names)) for text in options.sinks]
    for file in options.json_lines:
        lines = JsonlSink(
            file,
            names,
            live=source.live,
            map_masks=options.map_masks,
            embeddings=not options.no_embeddings,
            notify=events.warning,
        )
        sinks.append(stack.enter_context(lines))
    return sinks


def _message_sinks(
    bundle: Bundle, options: RunOptions, source: Source, areas: Sequence[Area], events: RunEvents, stack: ExitStack
) -> list[Sink]:
    """The sinks of messages, open."""
    names = bundle.spec.class_names
    sinks = message_sinks(
        options.messages,
        tuple(part.text for part in parts_of(source)),
        names,
        bundle.folder.name,
        events.warning,
        areas,
        sorted(set(chosen_class_ids(options.classes, names))) if options.classes else None,
    )
    return [stack.enter_context(one) for one in sinks]


def _video_writer(options: RunOptions, source: Source, events: RunEvents) -> WriterChoice | None:
    """The package and encoder of the videos of this run; None where none is written."""
    if not _draws_video(options) or all(isinstance(part, ImageFiles) for part in parts_of(source)):
        return None
    writer = chosen_writer()
    for note in writer.notes:
        events.warning(note)
    return writer


def _draws_video(options: RunOptions) -> bool:
    return options.save is not None or bool(options.recording.publish)


def _view(bundle: Bundle, options: RunOptions, source: Source, events: RunEvents, stack: ExitStack) -> WebView | None:
    if not options.web and options.web_address is None:
        return None
    from rkdeploy.device.web import open_web_view

    view = open_web_view(
        options.web_address or DEFAULT_ADDRESS,
        options.web_token,
        bundle.spec.class_names,
        title=bundle.folder.name,
        source=source.text,
        streams=stream_names(source),
        notify=events.warning,
    )
    stack.enter_context(view)
    events.view(view.url)
    return view
