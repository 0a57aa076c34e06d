"""Predictions as a user reads them in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Table

from rkdeploy.cli.console import plain, print_warning

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from rkdeploy.analysis.estimate.prediction import Estimate, Prediction

_MAX_NAME = 60


def print_estimates(found: Estimate, console: Console, layers: int) -> None:
    """Print all of them.

    Args:
        found: of one model, one per chip.
        console: where to.
        layers: how many of the slowest layers to list for each chip.
    """
    height, width = found.input_hw
    predictions = found.predictions
    dtype = predictions[0].dtype
    console.print(
        f"[bold]{plain(found.model)}[/], {width}x{height}, {dtype}: [bold]predicted[/], not measured. NPU time of "
        "one frame on one core at its highest clock, pre- and postprocessing apart."
    )
    console.print()
    console.print(_table(predictions))
    console.print()
    console.print(_limits(predictions))
    console.print()
    for one in predictions:
        text = f"{plain(one.target)}: {plain(one.compiled_from)}. Fitted on {plain(one.fitted_on)}"
        if one.coverage is not None:
            left_out = f"{one.median_error:.1%} (median), {one.worst_error:.0%} at worst"
            text += f"; on models left out of the fit it errs by {left_out}"
        console.print(f"{text}.")
    for text in dict.fromkeys(one.rests_on for one in predictions if one.rests_on):
        console.print(f"[bold]Less certain than INT8's[/]: {plain(text)}")
    for note in dict.fromkeys(note for one in predictions for note in one.notes if note != one.rests_on):
        print_warning(f"{', '.join(one.target for one in predictions if note in one.notes)}: {note}")
    for one in predictions:
        if layers:
            console.print()
            console.print(_layers(one, layers))


def _table(predictions: Sequence[Prediction]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("predicted", style="bold")
    coverage = predictions[0].coverage
    interval = f"{coverage:.0%} interval" if coverage is not None else "interval"
    for name in ("ms", interval, "frames/s", "interval", "weights", "tensors"):
        table.add_column(name, justify="right", no_wrap=True)
    for one in predictions:
        table.add_row(
            plain(one.target),
            f"{one.time_ms:.2f}",
            f"{one.low_ms:.2f}-{one.high_ms:.2f}",
            f"{one.frames_per_second:.1f}",
            f"{1000 / one.high_ms:.1f}-{1000 / one.low_ms:.1f}",
            f"{one.weight_kib / 1024:.2f} MiB",
            f"{one.internal_kib / 1024:.2f} MiB",
        )
    return table


def _limits(predictions: Sequence[Prediction]) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column("of it", style="bold")
    for name in ("computing", "memory", "Swish, Sigmoid", "attention", "layer starts"):
        table.add_column(name, justify="right")
    for one in predictions:
        parts = (one.compute_ms, one.memory_ms, one.activation_ms, one.attention_ms, one.overhead_ms)
        table.add_row(plain(one.target), *(f"{part / one.time_ms:.0%}" for part in parts))
    return table


def _layers(one: Prediction, count: int) -> Table:
    table = Table(title=f"{plain(one.target)}: the slowest layers, predicted", title_justify="left", box=None)
    table.add_column("#", justify="right")
    table.add_column("op")
    table.add_column("ms", justify="right")
    table.add_column("limit")
    table.add_column("node")
    for layer in sorted(one.layers, key=lambda layer: -layer.time_ms)[:count]:
        name = layer.name if len(layer.name) <= _MAX_NAME else f"...{layer.name[-_MAX_NAME:]}"
        table.add_row(str(layer.number), plain(layer.op), f"{layer.time_ms:.3f}", layer.limit, plain(name))
    return table
