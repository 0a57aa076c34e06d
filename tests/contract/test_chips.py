"""Names of chips and types: every spelling gives one, and what a chip lacks is refused."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rkdeploy.analysis.compare.variants import CompareOptions
from rkdeploy.contract.chips import (
    FLOAT16,
    INT8,
    TYPES_OF,
    UNBUILT,
    canonical_dtype,
    canonical_target,
    has_float16,
    same_npu,
)
from rkdeploy.errors import RkdeployError
from rkdeploy.host.building.build_options import BuildOptions

ASK_TOOLKIT = """
import json, sys
from rknn.api import RKNN
taken = {}
for target in sys.argv[1].split(","):
    for dtype in sys.argv[2].split(","):
        try:
            taken[f"{target} {dtype}"] = RKNN(verbose=False).config(target_platform=target, quantized_dtype=dtype) == 0
        except Exception:
            taken[f"{target} {dtype}"] = False
print("ANSWER" + json.dumps(taken))
"""


@pytest.mark.parametrize(
    ("written", "target"),
    [
        *(("RK3588", "rk3588"), ("rk3588s", "rk3588"), ("RK3588S2", "rk3588"), ("rk3582", "rk3588")),
        *((" Rockchip RK3588 ", "rk3588"), ("rockchip,rk3588s", "rk3588"), ("RK-3588", "rk3588"), ("rk3576", "rk3576")),
        *(("RK3566/RK3568", "rk3566"), ("RK3568", "rk3568"), ("Rv1106B", "rv1106b"), ("RV1106G2", "rv1106")),
    ],
)
def test_spellings_of_chips(written: str, target: str) -> None:
    """All of them mean a platform of the toolkit's."""
    assert canonical_target(written) == target


@pytest.mark.parametrize(
    ("written", "says"),
    [
        ("rk9999", "Expected one of rk3588, rk3576, .*rk2118, or another SoC"),
        ("", "Expected one of"),
        ("rk3588x", "Expected one of"),
        ("RV1126", r"older rknn-toolkit \(1\.x\)"),
        ("../../etc", "--target is"),
    ],
)
def test_unknown_chips(written: str, says: str) -> None:
    """Refused with the list; the chips of the older toolkit with the reason."""
    with pytest.raises(RkdeployError, match=says):
        canonical_target(written)


@pytest.mark.parametrize(
    ("written", "dtype"),
    [
        *((w, "int8") for w in ("i8", "INT8", "w8a8", "u8", "asymmetric_quantized-8")),
        *((w, "fp16") for w in ("fp", "float16", "FP16", "half", "Float")),
        *((w, "w16a16i_dfp") for w in ("int16", "w16a16i", "W16A16I_DFP")),
    ],
)
def test_spellings_of_types(written: str, dtype: str) -> None:
    """As rknn_model_zoo, the toolkit and people write them."""
    assert canonical_dtype(written, "rk3588") == dtype


@pytest.mark.parametrize(
    ("written", "target", "says"),
    [
        ("w8a16", "rk3588", "rk3588 takes int8, fp16, w16a16i_dfp. w8a16 builds for rk3562"),
        ("fp", "rv1106", "means fp16, which rv1106 does not have; rv1106 takes int8, w16a16i_dfp"),
        ("bf16", "rk3588", "not a known type; rk3588 takes int8, fp16"),
        ("int4", None, "not a known type; any chip takes int8"),
    ],
)
def test_types_that_a_chip_lacks(written: str, target: str | None, says: str) -> None:
    """The message names what it has, and who has the type."""
    with pytest.raises(RkdeployError, match=says):
        canonical_dtype(written, target)


def test_options_keep_one_spelling() -> None:
    """The folder's name is the same however the chip and the type were written; a matrix has each once."""
    assert BuildOptions(Path("best.pt"), target="RK3588S", dtype="i8").folder == Path("build/best-rk3588-int8")
    compared = CompareOptions(BuildOptions(Path("best.pt")), ("RK3588", "rk3588s", "rk3576"), ("fp", "float16"))
    assert (compared.targets, compared.dtypes) == (("rk3588", "rk3576"), ("fp16",))
    with pytest.raises(RkdeployError, match="rv1103 does not have"):
        CompareOptions(BuildOptions(Path("best.pt")), ("rk3588", "rv1103"), ("fp16",))


def test_chips_that_share_an_npu() -> None:
    """Models of the two RK356x run on each other, those of the RK3588 family too."""
    assert same_npu("rk3568", "RK3566")
    assert same_npu("rk3588s", "rk3582")
    assert not same_npu("rk3588", "rk3576")
    assert same_npu("rk9999", "rk9999")
    assert not has_float16("rv1103b")


@pytest.mark.parametrize("target", sorted(UNBUILT))
def test_types_that_only_the_list_has(target: str) -> None:
    """INT16 is refused where the toolkit's compiler crashes, with the chips that it builds for."""
    with pytest.raises(
        RkdeployError, match=rf"lists for {target} and does not build there.*{target} takes int8"
    ) as got:
        canonical_dtype("int16", target)
    assert got.value.hint.startswith("w16a16i_dfp builds for rk3588, rk3576")
    assert target not in got.value.hint
    assert UNBUILT[target] <= set(TYPES_OF[target])


@pytest.mark.slow
def test_the_table_is_the_toolkits() -> None:
    """Asked in a process of its own: the quantized types of every platform; what has no entry is refused."""
    names = {INT8: "w8a8"}
    every = sorted({names.get(d, d) for types in TYPES_OF.values() for d in types if d != FLOAT16})
    words = [",".join([*TYPES_OF, "rk3582", "rk3576s"]), ",".join(every)]
    done = subprocess.run([sys.executable, "-c", ASK_TOOLKIT, *words], capture_output=True, text=True, check=True)
    taken = json.loads(done.stdout.rpartition("ANSWER")[2])
    expected = {
        f"{target} {dtype}": dtype in {names.get(d, d) for d in TYPES_OF.get(target, ())}
        for target in words[0].split(",")
        for dtype in every
    }
    assert taken == expected
