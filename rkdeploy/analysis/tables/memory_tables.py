"""Memory: sizes, and the place and life of each tensor."""

from __future__ import annotations

from functools import partial

from rkdeploy.analysis.origin import Origin, origin_of
from rkdeploy.analysis.page.columns import ColumnOf, number_column, table_of, text_column
from rkdeploy.analysis.page.content import Block, Cell, PageSection, Plot, Table, facts
from rkdeploy.analysis.page.plots.memory_plot import memory_plot
from rkdeploy.analysis.page.plots.svg import Drawings
from rkdeploy.analysis.page.texts import Words
from rkdeploy.analysis.report.memory_map import TensorLife
from rkdeploy.analysis.report.model_report import ModelReport, PlannedMemory
from rkdeploy.device.runtime.protocol import MemorySize

_KIB, _MIB = 1 << 10, 1 << 20


def memory_section(model: ModelReport, words: Words) -> PageSection | None:
    """Sizes as planned and as the runtime reports them; the memory map."""
    blocks: list[Block] = []
    memory = model.memory
    if memory is not None:
        rows = [
            (words("memory.weights"), _mib(memory.weight_bytes)),
            (words("memory.internal"), _mib(memory.internal_bytes)),
            (words("memory.total"), _mib(memory.total_bytes)),
            (words("memory.peak", layer=memory.peak_layer), _mib(memory.peak_bytes)),
        ]
        blocks.append(facts(words("memory.caption"), words("common.what"), words("common.size"), rows, memory.origin))
    blocks += [
        runtime_memory(one.npu_memory, origin_of(one), words) for one in model.profiles if one.npu_memory is not None
    ]
    if memory is not None and memory.tensors:
        blocks += [_map(memory, words), _tensors(memory, words)]
    return PageSection("memory", words("memory.title"), blocks) if blocks else None


def runtime_memory(found: MemorySize, origin: Origin, words: Words) -> Table:
    """Memory of an open model, as the runtime reports it."""
    rows = [
        (words("memory.weights"), _mib(found.weights)),
        (words("memory.internal"), _mib(found.internal)),
        (words("memory.total"), _mib(found.weights + found.internal)),
        (words("memory.dma"), _mib(found.dma)),
        (words("memory.sram"), f"{_mib(found.sram_free)} / {_mib(found.sram_total)}" if found.sram_total else ""),
    ]
    return facts(words("memory.runtime_caption"), words("common.what"), words("common.size"), rows, origin)


def _map(memory: PlannedMemory, words: Words) -> Plot:
    return Plot(
        words("memory.map"),
        Drawings.of(partial(memory_plot, memory.tensors, memory.internal_bytes, words("layers.axis"), "MiB")),
        words("memory.map_desc", count=len(memory.tensors)),
        (),
        memory.origin,
        words("memory.map_note"),
    )


def _tensors(memory: PlannedMemory, words: Words) -> Table:
    columns: list[ColumnOf[TensorLife]] = [
        text_column(words("memory.tensor"), lambda one: one.name),
        text_column(words("memory.dtype"), lambda one: one.dtype),
        number_column("KiB", lambda one: one.end - one.start, ",.1f", factor=1 / _KIB),
        ColumnOf(words("memory.address"), lambda one: Cell(f"0x{one.start:08x}", one.start), "right"),
        number_column(words("memory.written"), lambda one: one.first_layer, ".0f"),
        number_column(words("memory.read"), lambda one: one.last_layer, ".0f"),
    ]
    caption = words("memory.tensors_caption", count=len(memory.tensors))
    return table_of(caption, columns, memory.tensors, memory.origin, sortable=True, tall=True)


def _mib(size: int) -> str:
    return f"{size / _MIB:.2f} MiB" if size >= _MIB // 10 else f"{size / _KIB:.1f} KiB"
