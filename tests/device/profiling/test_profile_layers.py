"""Parser of the runtime's per-layer table."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from rkdeploy.device.profiling.layer_table import RuntimeLayer, median_layers, parse_layers, ranking

REAL_1_5_2 = Path(__file__).parents[2] / "data/perf/perf_detail_real_1.5.2_ppe.txt"

# The layout of 2.x: one cycles column, cells that may be empty or "\", a summary and a ranking behind the table.
TEXT_2_X = """\
----------------------------------------------------------------
                    Network RuntimeLayer Information Table
----------------------------------------------------------------
ID   OpType             DataType Target InputShape               OutputShape            Cycles(DDR/NPU/Total)    Time(us)     MacUsage(%)          WorkLoad(0/1/2)      RW(KB)       FullName
----------------------------------------------------------------
1    InputOperator      INT8     CPU    \\                        (1,3,64,64)            0/0/0                    5                                 0.0%/0.0%/0.0%       0            InputOperator:images
2    ConvExSwish        INT8     NPU    (1,3,64,64),(16,3,6,6)   (1,16,32,32)           1200/3400/3400           60           36.15/0.00/0.00      100.0%/0.0%/0.0%     2809.25      Conv:/model.0/conv/Conv
3    Concat             INT8     NPU    (1,16,32,32),(1,16,32,32),(1,16,32,32) (1,48,32,32)           900/0/900                25           \\                    33.3%/33.3%/33.3%    400
4    Reshape            FLOAT16  CPU    (1,48,32,32)             (1,48,1024)            0/0/0                    10           \\                    0.0%/0.0%/0.0%       12.5         Reshape:/a b/Reshape
----------------------------------------------------------------
Total Operator Elapsed Per Frame Time(us): 100
Total Memory Read/Write Per Frame Size(KB): 3221.75
----------------------------------------------------------------
                                 Operator Time Consuming Ranking Table
OpType             CallNumber   CPUTime(us)  GPUTime(us)  NPUTime(us)  TotalTime(us)  TimeRatio(%)
ConvExSwish        1            0            0            60           60             60.00%
"""  # noqa: E501


def test_the_real_table_of_1_5_2() -> None:
    """All 89 rows of a genuine table are read, with separate cycle columns; the times add up to its own total."""
    layers = parse_layers(REAL_1_5_2.read_text())
    assert [layer.number for layer in layers] == list(range(1, 90))
    assert sum(layer.time_us or 0 for layer in layers) == 1446  # "Total Operator Elapsed Time(us): 1446"
    assert layers[1] == RuntimeLayer(
        2, "ConvExSwish", "/model.0/conv/Conv", "UINT8", "NPU", "(1,16,320,320)", 478.0, 478 / 1446,
        164645, 172800, 172800, 2809.25,
    )  # fmt: skip
    assert not layers[1].waits_for_memory
    assert layers[2].waits_for_memory


def test_a_shape_wider_than_its_column_moves_the_rest() -> None:
    """Row 48 of the genuine table has four input shapes that overflow; its other cells are still found."""
    layer = parse_layers(REAL_1_5_2.read_text())[47]
    assert (layer.op, layer.output_shape, layer.ddr_cycles, layer.npu_cycles) == ("Concat", "(1,512,20,20)", 23444, 0)
    assert (layer.time_us, layer.rw_kib, layer.name) == (2.0, 400.0, "/model.9/Concat")


def test_the_table_of_2_x() -> None:
    """The joined cycles column, empty cells, an overflowing row and a row without a name are read by the headings."""
    layers = parse_layers(TEXT_2_X)
    assert [(r.op, r.target, r.dtype, r.time_us, r.rw_kib, r.name) for r in layers] == [
        ("InputOperator", "CPU", "INT8", 5.0, 0.0, "images"),
        ("ConvExSwish", "NPU", "INT8", 60.0, 2809.25, "/model.0/conv/Conv"),
        ("Concat", "NPU", "INT8", 25.0, 400.0, ""),
        ("Reshape", "CPU", "FLOAT16", 10.0, 12.5, "/a b/Reshape"),
    ]
    assert [r.share for r in layers] == [0.05, 0.6, 0.25, 0.1]
    assert (layers[1].ddr_cycles, layers[1].npu_cycles, layers[1].total_cycles) == (1200, 3400, 3400)


def test_the_toolkits_log_has_no_times() -> None:
    """The build log's table, behind a prefix on every line and without times, gives layers without times and shares."""
    lines = [
        "ID   OpType     DataType Target InputShape   OutputShape  Cycles(DDR/NPU/Total)    RW(KB)       FullName",
        "-" * 60,
        "0    Conv       INT8     NPU    (1,3,8,8)    (1,8,4,4)    436/147/436              433          Conv:model.0",
    ]
    (layer,) = parse_layers("\n".join(f"D RKNN: [11:46:36.223] {line}" for line in lines))
    assert (layer.op, layer.ddr_cycles, layer.rw_kib, layer.time_us, layer.share) == ("Conv", 436, 433.0, None, None)


@pytest.mark.parametrize("text", ["", "nonsense\n1 2 3", "ID   OpType   Target", "ID OpType Time(us)\nx\n"])
def test_no_table_is_no_layers(text: str) -> None:
    """A text without a table, or with a heading only, gives nothing and no error."""
    assert parse_layers(text) == ()


def test_absurd_numbers_are_no_numbers() -> None:
    """Cells with hundreds of digits or none give None, so that no share becomes infinite or not a number."""
    heading = "ID   OpType     Target Cycles(DDR/NPU/Total)    Time(us)   RW(KB)"
    (layer,) = parse_layers(f"{heading}\n1    Conv       NPU    {'9' * 20}/1/1   {'9' * 400}")
    assert (layer.time_us, layer.share, layer.ddr_cycles) == (None, None, None)


def test_ranking_is_by_time() -> None:
    """Layers of one operator on one target are added up, most time first."""
    first = ranking(parse_layers(TEXT_2_X))[0]
    assert (first.op, first.target, first.count, first.time_us, first.share) == ("ConvExSwish", "NPU", 1, 60.0, 0.6)
    real = ranking(parse_layers(REAL_1_5_2.read_text()))
    assert [(r.op, r.count, r.time_us) for r in real[:2]] == [("ConvExSwish", 57, 686.0), ("InputOperator", 1, 461.0)]


def test_median_over_runs() -> None:
    """A layer's time is its median over the runs, and the shares follow; a run with other rows is left out."""
    one = parse_layers(TEXT_2_X)
    slow = tuple(replace(layer, time_us=(layer.time_us or 0) * 10) for layer in one)
    middle = tuple(replace(layer, time_us=(layer.time_us or 0) * 2) for layer in one)
    found = median_layers([one[:2], slow, one, middle])
    assert [layer.time_us for layer in found] == [10.0, 120.0, 50.0, 20.0]
    assert [layer.share for layer in found] == [0.05, 0.6, 0.25, 0.1]
