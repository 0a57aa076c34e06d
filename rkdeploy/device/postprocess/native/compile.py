"""Compiler of the C sources in this folder: `python -m rkdeploy.device.postprocess.native.compile`.

The library needs no header and no function of a C library: one binary serves every Linux of its processor and every
Python.  Only the standard library is imported here, because the build of the package runs this file alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import platform
import shlex
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
FLAGS: Final = (
    "-std=c11", "-Wall", "-Wextra", "-O3", "-fPIC", "-shared", "-s", "-ffreestanding", "-nostdlib",
    "-fvisibility=hidden",
    "-ffp-contract=off",  # a product is rounded before it is added, on every processor alike and as numpy does it
    "-fno-trapping-math",  # floating-point exceptions are not read: loops need not stay scalar for them
)  # fmt: skip
_COMPILERS: Final = ("cc", "gcc", "clang")
_MACHINES: Final = {62: "x86_64", 183: "aarch64"}  # e_machine of an ELF header


class CompileError(Exception):
    """There is no compiler, or it failed."""


def library_name(machine: str) -> str:
    """File name of the library for a processor, named as by `uname -m`."""
    return f"librkdeploy-decode-{machine}.so"


def source_hash() -> str:
    """Hash of the sources, 16 characters.  A library carries it, and is only used with the sources it was compiled
    from.
    """
    digest = hashlib.sha256()
    for path in sorted((*FOLDER.glob("*.c"), *FOLDER.glob("*.h"))):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def compiler() -> list[str]:
    """The compiler's command: $CC; else `cc`, `gcc` or `clang`; else PyPI's package ziglang, if it is installed.

    Raises:
        CompileError: when there is none.
    """
    if named := shlex.split(os.environ.get("CC", "")):
        return named
    if found := next((path for name in _COMPILERS if (path := shutil.which(name))), None):
        return [found]
    return zig(platform.machine())


def zig(machine: str) -> list[str]:
    """The command of PyPI's package ziglang that compiles for a processor, named as by `uname -m`.

    The target is given even for this machine: without it, zig compiles for this exact processor model.

    Raises:
        CompileError: when the package is not installed.
    """
    package = importlib.util.find_spec("ziglang")
    if package is None or package.origin is None:
        raise CompileError(f"There is no C compiler ({', '.join(_COMPILERS)}, PyPI's ziglang), and CC is not set.")
    return [str(Path(package.origin).with_name("zig")), "cc", "-target", f"{machine}-linux-gnu"]


def compile_library(folder: Path) -> tuple[Path, str]:
    """Write the library into a folder, whole or not at all.

    Returns:
        Its path, and the processor that it is for.

    Raises:
        CompileError: when there is no compiler, it failed, or it compiles for a processor that is not supported.
    """
    partial = folder / f"{library_name('partial')}.{os.getpid()}"
    flags = [*FLAGS, *shlex.split(os.environ.get("CFLAGS", "")), f'-DRKDEPLOY_SOURCES="{source_hash()}"']
    command = [*compiler(), *flags, "-o", str(partial), *sorted(str(path) for path in FOLDER.glob("*.c"))]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  # the user's compiler
        if ran.returncode:
            raise CompileError(f"{shlex.join(command)} failed:\n{ran.stderr[-3000:]}")
        machine = _machine_of(partial)
        return partial.replace(folder / library_name(machine)), machine
    except OSError as error:
        raise CompileError(f'"{command[0]}" failed: {error}') from None
    finally:
        partial.unlink(missing_ok=True)


def _machine_of(library: Path) -> str:
    header = library.read_bytes()[:20]
    machine = _MACHINES.get(struct.unpack_from("<H", header, 18)[0]) if len(header) == 20 else None
    if machine is None or header[:6] != b"\x7fELF\x02\x01":
        raise CompileError(f"The compiler makes no library for {' or '.join(_MACHINES.values())}.")
    return machine


def main() -> None:
    """Compile into this folder, for the compiler's own target."""
    try:
        library, _ = compile_library(FOLDER)
    except CompileError as error:
        sys.exit(f"error: {error}")
    print(library)


if __name__ == "__main__":
    main()
