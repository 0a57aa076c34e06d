"""Reading darknet cfg files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint.archive import read_pickled
from rkdeploy.host.checkpoint.darknet_cfg import parse_darknet_cfg, read_darknet_cfg
from rkdeploy.host.checkpoint.darknet_sections import (
    ChannelOperation,
    Convolutional,
    DarknetCfg,
    Implicit,
    Plain,
    Pool,
    Route,
    Shortcut,
    Upsample,
    Yolo,
)

DATA = Path(__file__).parents[2] / "data" / "yolor"

SMALL = """\
[net]
width=64
 height = 32
momentum=0.9

# a comment
[convolutional]
batch_normalize=1
filters=8
size=3
stride=2
pad=1
activation=silu

  ; another one
[route]
layers = -1, 0

[shortcut]
from=-2
activation=linear

[implicit_mul]
filters=8

[control_channels]
from=2

[yolo]
mask = 2,0
anchors = 1,2,  3.5,4, .5,60
classes=4
num=3
jitter=.3
"""
YOLO = "[yolo]\nmask=0\nanchors=1,2\nclasses=1\n"


def small(section: str) -> DarknetCfg:
    """A cfg of one convolution, the given section and a head."""
    head = "[net]\n[convolutional]\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=linear\n"
    return parse_darknet_cfg(f"{head}{section}\n{YOLO}", "small.cfg")


def state_dict(name: str) -> dict[str, Any]:
    content = read_pickled(DATA / f"{name}.pt")
    return content.get("model", content)  # type: ignore[no-any-return]


def test_by_hand() -> None:
    """Every value of a small file arrives, references resolved to the sections they mean."""
    cfg = parse_darknet_cfg(SMALL, "small.cfg")
    assert (cfg.net.width, cfg.net.height, cfg.net.channels, cfg.net.line) == (64, 32, 3, 1)
    assert cfg.sections == (
        Convolutional(0, 7, "convolutional", 8, (3,), (2, 2), True, 1, True, "silu"),
        Route(1, 16, "route", (0, 0), False, 1, 0),
        Shortcut(2, 19, "shortcut", (0,), False, "linear"),
        Implicit(3, 23, "implicit_mul", 8, 0),
        ChannelOperation(4, 26, "control_channels", 2),
        Yolo(5, 29, "yolo", 4, ((0.5, 60.0), (1.0, 2.0)), ((1.0, 2.0), (3.5, 4.0), (0.5, 60.0)), (2, 0)),
    )
    assert cfg.yolos == (cfg.sections[5],)


def test_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    """Files of other systems say the same."""
    windows, mac = tmp_path / "windows.cfg", tmp_path / "mac.cfg"
    windows.write_bytes(b"\xef\xbb\xbf" + SMALL.replace("\n", "\r\n").encode())
    mac.write_bytes(SMALL.replace("\n", "\r").encode())
    expected = parse_darknet_cfg(SMALL, "").sections
    assert read_darknet_cfg(windows).sections == expected
    assert read_darknet_cfg(mac).sections == expected


@pytest.mark.parametrize("name", ["main_p6", "main_sections", "main_yolov3_order"])
def test_sections_are_those_of_the_state_dict(name: str) -> None:
    """Convolutions and learned tensors in a cfg match upstream's state dict at these indices."""
    state, cfg = state_dict(name), read_darknet_cfg(DATA / f"{name}.cfg")
    expected: dict[str, tuple[int, ...]] = {}
    norm = ("weight", "bias", "running_mean", "running_var")
    for section in cfg.sections:
        key = f"module_list.{section.index}"
        if isinstance(section, Convolutional):
            if len(section.sizes) > 1:
                continue
            side = section.sizes[0]
            found = state[f"{key}.Conv2d.weight"].shape
            expected[f"{key}.Conv2d.weight"] = (section.filters, found[1], side, side)
            if section.batch_normalize:
                expected |= {f"{key}.BatchNorm2d.{n}": (section.filters,) for n in norm}
            else:
                expected[f"{key}.Conv2d.bias"] = (section.filters,)
        elif isinstance(section, Implicit):
            rows = (section.atoms, section.filters, 1) if section.atoms else (section.filters, 1, 1)
            expected[f"{key}.implicit"] = (1, *rows)
        elif isinstance(section, Shortcut) and section.weighted:
            expected[f"{key}.w"] = (1 + len(section.sources),)
        elif isinstance(section, Plain) and section.kind == "BatchNorm2d":
            expected |= {f"{key}.{n}": (3,) for n in norm}
    held = {
        k: tuple(v.shape) for k, v in state.items() if "MixConv2d" not in k and not k.endswith("num_batches_tracked")
    }
    assert expected == held


def test_structure_of_p6() -> None:
    """The 235 sections of YOLOR-P6: heads, their implicit vectors, a pyramid of pools, residuals two layers back."""
    cfg = read_darknet_cfg(DATA / "main_p6.cfg")
    assert len(cfg.sections) == 235
    assert cfg.sections[0] == Plain(0, 6, "reorg")
    assert [y.index for y in cfg.yolos] == [216, 222, 228, 234]
    assert [y.mask for y in cfg.yolos] == [(0, 1, 2), (3, 4, 5), (6, 7, 8), (9, 10, 11)]
    shift, control = cfg.sections[213], cfg.sections[215]
    assert isinstance(shift, ChannelOperation)
    assert isinstance(control, ChannelOperation)
    assert (shift.kind, shift.source, control.kind, control.source) == ("shift_channels", 203, "control_channels", 207)
    pools = [s for s in cfg.sections if isinstance(s, Pool)]
    assert [(p.index, p.size, p.stride, p.average) for p in pools] == [
        (106, 5, 1, False),
        (108, 9, 1, False),
        (110, 13, 1, False),
    ]
    joined = cfg.sections[111]
    assert isinstance(joined, Route)
    assert joined.sources == (110, 108, 106, 105)
    assert all(s.sources == (s.index - 3,) for s in cfg.sections if isinstance(s, Shortcut))
    assert [s.stride for s in cfg.sections if isinstance(s, Upsample)] == [2, 2, 2]


def test_kinds_that_p6_does_not_use() -> None:
    """Two strides, no padding, several kernels, groups, unknown activations, halves, gates, weighted sums."""
    cfg = read_darknet_cfg(DATA / "main_sections.cfg")
    convolutions = [s for s in cfg.sections if isinstance(s, Convolutional)]
    assert convolutions[0].stride_hw == (2, 2)
    assert (convolutions[1].sizes, convolutions[1].pad) == ((2,), False)
    assert convolutions[2].groups == 4
    assert [c.sizes for c in convolutions if len(c.sizes) > 1] == [(3, 5)]
    assert {c.activation for c in convolutions} == {"leaky", "mish", "swish", "silu", "logistic", "relu", "linear"}
    assert [s.sources for s in cfg.sections if isinstance(s, Shortcut) and s.weighted] == [(6, 5)]
    assert [s.kind for s in cfg.sections if isinstance(s, Route) and s.first_half] == ["route_lhalf"]
    operations = {s.kind: s for s in cfg.sections if isinstance(s, ChannelOperation)}
    assert operations["control_channels_2d"].flat
    assert not operations["select_channels"].flat
    assert [p.average for p in cfg.sections if isinstance(p, Pool)] == [False, True, False]


def test_different_strides() -> None:
    """stride_y is down, stride_x across; `stride` comes first where all three stand."""
    text = "[convolutional]\nfilters=8\nsize=3\nstride_y=1\nstride_x=2\npad=1\nactivation=linear"
    assert small(text).sections[1] == Convolutional(1, 8, "convolutional", 8, (3,), (1, 2), True, 1, False, "linear")
    both = small(f"{text}\nstride=3").sections[1]
    assert isinstance(both, Convolutional)
    assert both.stride_hw == (3, 3)


def test_parts_of_a_route() -> None:
    """groups and group_id are kept."""
    route = small("[route]\nlayers=-1\ngroups=2\ngroup_id=1").sections[1]
    assert isinstance(route, Route)
    assert (route.groups, route.group_id) == (2, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "starts with no section at all"),
        ("[convolutional]\n", "starts with [convolutional] in line 1"),
        ("a=1\n[net]\n", 'line 1: "a=1" stands before the first section'),
        ("[net]\nwidth 64\n", 'line 2: "width 64" is not of the form'),
        ("[net]\nwidth=64\nwidth=32\n", 'line 3: [net] has "width" twice, first in line 2'),
        ("[net]\nwidth=0\n", 'line 2: [net] has width = "0", expected a whole number from 1'),
        ("[net]\n[route\n", 'line 2: "[route" is not a section'),
        ("[net]\n[route] # here\n", 'line 2: "[route] # here" is not a section'),
        ("[net]\n[reorg]\n", "has no [yolo] section"),
        ("[net]\n" + YOLO, "line 2: [yolo] is the first section"),
    ],
)
def test_files_refused(text: str, message: str) -> None:
    """Invalid files are refused with the line of the error."""
    with pytest.raises(CheckpointError) as caught:
        parse_darknet_cfg(text, "broken.cfg")
    assert message in str(caught.value)
    assert '"broken.cfg"' in str(caught.value)


CONV = "[convolutional]\nfilters=8\nsize=3\nstride=1\npad=1\nactivation=linear"


@pytest.mark.parametrize(
    ("section", "message"),
    [
        ("[reorg3d]", "line 8: [reorg3d] is not a section that rkdeploy knows"),
        (CONV.replace("filters=8\n", ""), 'line 8: [convolutional] has no "filters"'),
        (CONV.replace("=8", "=eight"), 'line 9: [convolutional] has filters = "eight", expected a whole number from 1'),
        (CONV.replace("=8", "=8 # wide"), 'line 9: [convolutional] has filters = "8 # wide"'),
        (CONV.replace("=8", "=-8"), 'line 9: [convolutional] has filters = "-8"'),
        (CONV.replace("=8", "=99999999999999"), 'line 9: [convolutional] has filters = "99999999999999"'),
        (CONV.replace("=8", "=٨"), "line 9: [convolutional] has filters"),
        (CONV.replace("size=3", "size=3,"), 'line 10: [convolutional] has size = "3,"'),
        (CONV + "\ndilation=2", 'line 14: [convolutional] has the key "dilation", which rkdeploy does not know'),
        (CONV.replace("\nactivation=linear", ""), '[convolutional] has no "activation"'),
        ("[route]\nlayers=-2", "line 9: [route], section 1, refers to -2, expected from -1 to 0"),
        ("[route]\nlayers=0,1", "line 9: [route], section 1, refers to 1"),
        ("[route]\nlayers=", 'line 9: [route] has layers = ""'),
        ("[route]\nlayers=-1\ngroups=2\ngroup_id=2", "line 11: [route] has group_id 2 of 2 groups"),
        ("[sam]\nfrom=-1,0", "line 9: [sam] has 2 references in from, expected 1"),
        ("[reorg]\nstride=4", "line 8: [reorg] has another stride than 2"),
        ("[upsample]\nstride=2.5", 'line 9: [upsample] has stride = "2.5"'),
        (YOLO.replace("mask=0", "mask=1"), "line 9: [yolo] has 1 in its mask, expected numbers below its 1 anchors"),
        (YOLO.replace("1,2", "1,2,3"), 'line 10: [yolo] has anchors = "1,2,3", expected pairs of positive numbers'),
        (YOLO.replace("1,2", "1,0"), 'line 10: [yolo] has anchors = "1,0"'),
        (YOLO.replace("1,2", "1,nan"), 'line 10: [yolo] has anchors = "1,nan"'),
        (YOLO.replace("1,2", "1,1e9"), 'line 10: [yolo] has anchors = "1,1e9"'),
        (YOLO + "new_coords=1", "[yolo] has new_coords"),
        (YOLO + "embedding=1", 'line 12: [yolo] has the key "embedding"'),
    ],
)
def test_sections_refused(section: str, message: str) -> None:
    """A section that cannot be understood to the last key is refused with its line."""
    with pytest.raises(CheckpointError) as caught:
        small(section)
    assert message in str(caught.value)


def test_a_reference_in_the_first_section() -> None:
    """There is nothing to refer to yet."""
    with pytest.raises(CheckpointError, match="refers to -1, expected none"):
        parse_darknet_cfg(f"[net]\n[route]\nlayers=-1\n{YOLO}", "first.cfg")


def test_files_that_are_no_text(tmp_path: Path) -> None:
    """A folder, nothing, bytes, a file far too long: each is said as it is."""
    binary, long = tmp_path / "weights.cfg", tmp_path / "long.cfg"
    binary.write_bytes(b"[net]\nwidth=64\n\xff\xfe")
    long.write_bytes(b"#" * ((1 << 20) + 1))
    for path, message in (
        (tmp_path, "is a folder"),
        (tmp_path / "none.cfg", "Cannot read"),
        (binary, r'"weights.cfg" is not UTF-8 text \(line 3'),
        (long, "more than 1048576 bytes"),
    ):
        with pytest.raises(CheckpointError, match=message):
            read_darknet_cfg(path)


def test_too_many_sections() -> None:
    """Ten thousand sections are not a network."""
    with pytest.raises(CheckpointError, match="more than 4096 sections"):
        parse_darknet_cfg("[net]\n" + "[silence]\n" * 10_000, "many.cfg")


LINES = st.sampled_from(SMALL.splitlines()) | st.text(max_size=20) | st.builds("{}={}".format, st.text(), st.text())


@given(st.lists(LINES, max_size=40))
def test_whatever_is_in_the_file(lines: list[str]) -> None:
    """Any text is either a cfg or refused, with a message of bounded length on one line."""
    try:
        cfg = parse_darknet_cfg("\n".join(lines), "any.cfg")
    except CheckpointError as error:
        assert "\n" not in error.message  # noqa: PT017
        assert len(error.message) < 400  # noqa: PT017
    else:
        assert cfg.yolos
