"""Chips and number types: the names that people write for them, and what each chip takes.

The table is that of rknn-toolkit2 2.5.0, which names its platforms and types only when it refuses one; a test asks it.
An SoC that shares another's NPU is built for as that one: the toolkit refuses rk3582, whose boards load a model for
rk3588.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from rkdeploy.errors import RkdeployError, shown

INT8, FLOAT16 = "int8", "fp16"
_INT16, _W8A16, _W4A16 = "w16a16i_dfp", "w8a16", "w4a16"

TYPES_OF: Final[Mapping[str, tuple[str, ...]]] = {
    "rk3588": (INT8, FLOAT16, _INT16),
    "rk3576": (INT8, FLOAT16, _INT16, _W4A16),
    "rk3566": (INT8, FLOAT16, _INT16),
    "rk3568": (INT8, FLOAT16, _INT16),
    "rk3562": (INT8, FLOAT16, _INT16, _W8A16),
    "rv1103": (INT8, _INT16),
    "rv1106": (INT8, _INT16),
    "rv1103b": (INT8, _INT16),
    "rv1106b": (INT8, _INT16),
    "rv1126b": (INT8, FLOAT16, _INT16, _W4A16),
    "rk2118": (INT8, FLOAT16, _INT16),
}
"""The toolkit's platforms, and the types that it builds for each, by this project's names."""

UNBUILT: Final[Mapping[str, frozenset[str]]] = {
    "rv1103b": frozenset({_INT16}), "rv1106b": frozenset({_INT16}), "rk2118": frozenset({_INT16}),
}  # fmt: skip
"""Types in `TYPES_OF` whose first convolution the compiler of 2.5.0 does not know: "Meet unsupported conv, ... input
type: 5", and the process ends."""

_PLATFORM_OF: Final[Mapping[str, str]] = {
    **{platform: platform for platform in TYPES_OF},
    **dict.fromkeys(("rk3588s", "rk3588s2", "rk3588j", "rk3588m", "rk3582", "rk3583"), "rk3588"),
    **dict.fromkeys(("rk3576s", "rk3576j", "rk3576m"), "rk3576"),
    **dict.fromkeys(("rk3566t", "rk356x", "rk3566rk3568"), "rk3566"),
    **dict.fromkeys(("rk3568j", "rk3568m", "rk3568b2"), "rk3568"),
    **dict.fromkeys(("rk3562j",), "rk3562"),
    **dict.fromkeys(("rv1103g1",), "rv1103"),
    **dict.fromkeys(("rv1106g1", "rv1106g2", "rv1106g3"), "rv1106"),
    **dict.fromkeys(("rv1126bj", "rv1126bp"), "rv1126b"),
}
"""Without blanks, dashes, slashes and underscores, in lower case -> the toolkit's platform."""

_OLDER_TOOLKIT: Final = frozenset({"rk1808", "rk1806", "rk3399pro", "rv1109", "rv1126"})
_SAME_NPU: Final = (frozenset({"rk3566", "rk3568"}),)

_TYPE_OF: Final[Mapping[str, str]] = {
    # u8 is what rknn_model_zoo calls a quantized model of the older chips; its converter quantizes to int8 here
    **dict.fromkeys(("int8", "i8", "u8", "uint8", "w8a8", "asymmetricquantized8"), INT8),
    **dict.fromkeys(("fp16", "fp", "float16", "float", "f16", "half", "w16a16"), FLOAT16),
    **dict.fromkeys(("w16a16idfp", "w16a16i", "int16", "i16"), _INT16),
    **{name: name for name in (_W8A16, _W4A16)},
}
_BETWEEN: Final = re.compile(r"[\s,_/.-]+")


def platform_of(soc: str) -> str | None:
    """The toolkit's platform for an SoC, however it is written: `RK3588S` gives `rk3588`; None for others."""
    return _PLATFORM_OF.get(_plain(soc).removeprefix("rockchip"))


def canonical_target(text: str) -> str:
    """The toolkit's platform for what a user wrote.

    Raises:
        RkdeployError: no chip that the toolkit builds for, with the list.
    """
    found = platform_of(text)
    if found is not None:
        return found
    hint = f"Expected one of {', '.join(TYPES_OF)}, or another SoC of their families such as rk3588s."
    if _plain(text).removeprefix("rockchip") in _OLDER_TOOLKIT:
        hint = f"It needs Rockchip's older rknn-toolkit (1.x), which rkdeploy does not drive. {hint}"
    raise RkdeployError(f"--target is {shown(text)}, which is not a chip that rknn-toolkit2 builds for.", hint)


def canonical_dtype(text: str, target: str | None = None) -> str:
    """The name under which a number type is built and recorded.

    Args:
        text: as a user wrote it: `i8`, `fp`, `W8A8`.
        target: of `canonical_target`; None accepts what any chip takes.

    Raises:
        RkdeployError: no type that is known, or none that the chip takes, with those that it does.
    """
    found = _TYPE_OF.get(_plain(text))
    if target is None:
        allowed = tuple(dict.fromkeys(name for names in TYPES_OF.values() for name in names))
    else:
        allowed = tuple(name for name in TYPES_OF[target] if name not in UNBUILT.get(target, ()))
        if found in UNBUILT.get(target, ()):
            raise RkdeployError(
                f"--dtype {shown(text)} means {found}, which rknn-toolkit2 lists for {target} and does not build there "
                f"(its compiler: Meet unsupported conv); {target} takes {', '.join(allowed)}.",
                _advice(found, target),
            )
    if found in allowed:
        return found
    where = "any chip takes" if target is None else f"{target} takes"
    what = "is not a known type" if found is None else f"means {found}, which {target} does not have"
    raise RkdeployError(f"--dtype {shown(text)} {what}; {where} {', '.join(allowed)}.", _advice(found, target))


def has_float16(target: str) -> bool:
    """True if the NPU of a platform computes in float16; unknown platforms are assumed to."""
    return FLOAT16 in TYPES_OF.get(target, (FLOAT16,))


def same_npu(soc: str, other: str) -> bool:
    """True if a model built for one SoC runs on the other."""
    a, b = (platform_of(one) or one.lower() for one in (soc, other))
    return a == b or any({a, b} <= group for group in _SAME_NPU)


def _plain(text: str) -> str:
    return _BETWEEN.sub("", text).casefold()


def _advice(found: str | None, target: str | None) -> str:
    if found is None or target is None:
        return ""
    having = [name for name, types in TYPES_OF.items() if found in types and found not in UNBUILT.get(name, ())]
    return f"{found} builds for {', '.join(having)}."
