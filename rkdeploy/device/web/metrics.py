"""`/metrics`: the status in Prometheus' text format."""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector

from rkdeploy.device.stream.statistics import STAGES, Latency

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from prometheus_client.core import Metric

    from rkdeploy.device.stream.statistics import PipelineStats, RecognizerStats
    from rkdeploy.device.web.status import BoardNow, Status, StreamStatus

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_QUANTILES = {"0.5": "p50_ms", "0.9": "p90_ms", "0.99": "p99_ms"}
_STREAM_COUNTS = {
    "frames_captured": "Frames that came from the source",
    "frames_processed": "Frames that every sink has taken",
    "frames_failed": "Frames that the runtime failed on",
    "reconnects": "Times that a lost source was opened again",
}
"""Metric -> its text; without `frames_` it is the field of a `StreamStatus`."""
assert set(_QUANTILES.values()) < {field.name for field in fields(Latency)}


def metrics_text(status: Status) -> bytes:
    """A status in Prometheus' text format.  Figures that are not available are omitted, never 0."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Moment(status))
    return generate_latest(registry)


class _Moment(Collector):
    def __init__(self, status: Status) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        status = self._status
        info = InfoMetricFamily("rkdeploy_run", "Name of the run, and the source of its figures")
        names = {"model": status.title, "source": status.source, "figures_from": status.figures_from}
        info.add_metric([], names)
        yield info
        yield _gauge("healthy", "1 when a frame came recently, as in /healthz", float(status.healthy))
        yield _gauge(
            "seconds_since_frame",
            "Seconds since the last frame, or since the start when none came",
            status.seconds_since_frame,
        )
        viewers = GaugeMetricFamily("rkdeploy_web_viewers", "Open connections of the web view", labels=["endpoint"])
        viewers.add_metric(["stream"], status.viewers)
        viewers.add_metric(["detections"], status.listeners)
        yield viewers
        if status.stats is not None:
            yield from _of_pipeline(status.stats)
        yield from _of_streams(status.streams, running=status.stats is not None)
        yield from _of_board(status.board)


def _of_pipeline(stats: PipelineStats) -> Iterator[Metric]:
    yield _counter("frames_captured", "Frames that came from the source", stats.captured)
    yield _counter("frames_processed", "Frames that every sink has taken", stats.processed)
    yield _counter("frames_failed", "Frames that the runtime failed on", stats.failed)
    dropped = CounterMetricFamily(
        "rkdeploy_frames_dropped", "Frames of a live source that newer ones replaced", labels=["before"]
    )
    dropped.add_metric(["network"], stats.dropped_before_network)
    dropped.add_metric(["sinks"], stats.dropped_before_sinks)
    yield dropped
    yield _counter("source_reconnects", "Times that a lost source was opened again", stats.reconnects)
    yield _counter("contexts_rebuilt", "Times that a failed context was opened again", stats.contexts_rebuilt)
    yield _gauge("contexts", "Contexts of the run", stats.contexts)
    yield _gauge("contexts_working", "Contexts that are open", stats.contexts_working)
    yield _gauge("frames_per_second", "Processed frames per second over the last 5 seconds", stats.frames_per_second)
    yield _gauge("running_seconds", "Seconds since the start of the run", stats.running_s)
    latencies = GaugeMetricFamily(
        "rkdeploy_stage_latency_seconds", "Percentiles over a stage's last 1,024 frames", labels=["stage", "quantile"]
    )
    for stage in STAGES:
        latency: Latency = getattr(stats.stages, stage)
        if latency.count:
            for quantile, name in _QUANTILES.items():
                latencies.add_metric([stage, quantile], getattr(latency, name) / 1e3)
    yield latencies
    if stats.recognizers:
        yield from _of_recognizers(stats.recognizers)


def _of_streams(streams: Sequence[StreamStatus], *, running: bool) -> Iterator[Metric]:
    """Figures of each stream by its name; the counts once the run has begun."""
    healthy = GaugeMetricFamily("rkdeploy_stream_healthy", "1 when a frame came recently", labels=["stream"])
    since = GaugeMetricFamily(
        "rkdeploy_stream_seconds_since_frame", "As seconds_since_frame, of one stream", labels=["stream"]
    )
    for one in streams:
        healthy.add_metric([one.name], float(one.healthy))
        since.add_metric([one.name], one.seconds_since_frame)
    yield healthy
    yield since
    if not running:
        return
    for name, text in _STREAM_COUNTS.items():
        counts = CounterMetricFamily(f"rkdeploy_stream_{name}", f"{text}, of one stream", labels=["stream"])
        for one in streams:
            counts.add_metric([one.name], getattr(one, name.removeprefix("frames_")))
        yield counts
    dropped = CounterMetricFamily(
        "rkdeploy_stream_frames_dropped", "As frames_dropped, of one stream", labels=["stream", "before"]
    )
    rates = GaugeMetricFamily(
        "rkdeploy_stream_frames_per_second", "As frames_per_second, of one stream", labels=["stream"]
    )
    for one in streams:
        dropped.add_metric([one.name, "network"], one.dropped_before_network)
        dropped.add_metric([one.name, "sinks"], one.dropped_before_sinks)
        rates.add_metric([one.name], one.frames_per_second)
    yield dropped
    yield rates
    if any(one.places for one in streams):
        yield from _of_places(streams)


def _of_places(streams: Sequence[StreamStatus]) -> Iterator[Metric]:
    """Counts of the lines and zones of each stream."""
    crossings = CounterMetricFamily(
        "rkdeploy_crossings",
        "Tracks that crossed a line or the edge of a zone",
        labels=["stream", "kind", "place", "direction"],
    )
    inside = GaugeMetricFamily("rkdeploy_zone_tracks", "Tracks in a zone at this moment", labels=["stream", "place"])
    for one in streams:
        for place in one.places:
            kind = "line" if place.inside is None else "zone"
            crossings.add_metric([one.name, kind, place.name, "in"], place.entered)
            crossings.add_metric([one.name, kind, place.name, "out"], place.left)
            if place.inside is not None:
                inside.add_metric([one.name, place.name], place.inside)
    yield crossings
    yield inside


def _of_recognizers(recognizers: Sequence[RecognizerStats]) -> Iterator[Metric]:
    """Crops of the further models of a chain.  Two of one name would be one series twice: they are numbered."""
    crops = CounterMetricFamily("rkdeploy_crops", "Crops of a chain's further model", labels=["then", "outcome"])
    for number, one in enumerate(recognizers, 1):
        name = f"{number} {one.name}"
        for outcome, count in (("answered", one.crops), ("failed", one.failed), ("left_out", one.left_out)):
            crops.add_metric([name, outcome], count)
    yield crops


def _of_board(board: BoardNow) -> Iterator[Metric]:
    if board.npu_load_percent is not None:
        load = GaugeMetricFamily("rkdeploy_npu_load_ratio", "Load of an NPU core, 0 to 1", labels=["core"])
        for core, percent in enumerate(board.npu_load_percent):
            load.add_metric([str(core)], percent / 100)
        yield load
    # Sensors of the same type would be one series twice, which Prometheus rejects: only the hottest is reported.
    celsius: dict[str, float] = {}
    for zone in board.temperatures:
        celsius[zone.name] = max(zone.celsius, celsius.get(zone.name, zone.celsius))
    temperatures = GaugeMetricFamily("rkdeploy_temperature_celsius", "Temperature of a sensor", labels=["zone"])
    for name, value in celsius.items():
        temperatures.add_metric([name], value)
    yield temperatures
    hertz = GaugeMetricFamily("rkdeploy_clock_hertz", "Clock at this moment", labels=["clock"])
    for name, speed in {clock.name: clock.current_hz for clock in board.clocks}.items():
        if speed is not None:
            hertz.add_metric([name], speed)
    yield hertz
    yield _gauge("throttled_devices", "Devices that the kernel slows down because of heat", len(board.throttled))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"rkdeploy_{name}", text, value=value)


def _counter(name: str, text: str, value: int) -> Metric:
    return CounterMetricFamily(f"rkdeploy_{name}", text, value=value)
