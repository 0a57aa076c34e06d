"""The stand-in for librknnrt.so, built for this machine, and what it logged."""

from __future__ import annotations

import re
import subprocess
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from rkdeploy.device.postprocess.native.compile import compiler

SOURCE = Path(__file__).with_name("librknnrt_shim.c")


def build_shim(library: Path, *options: str) -> Path:
    """Compile the stand-in."""
    command = [*compiler(), "-O1", "-Wall", "-Werror", "-shared", "-fPIC", "-Wl,-soname,librknnrt.so", *options]
    subprocess.run([*command, "-o", str(library), str(SOURCE), "-lm", "-lpthread"], check=True)
    return library


@dataclass(frozen=True)
class Shim:
    """One loaded copy: its counters and contexts are its own.

    Attributes:
        library: the copy.
        log: where it writes its calls.
        spec: the model that it plays.
    """

    library: Path
    log: Path
    spec: Path

    def lines(self) -> list[str]:
        """Every line logged so far."""
        return self.log.read_text().splitlines() if self.log.exists() else []

    def calls(self) -> Counter[str]:
        """Number of calls of each function."""
        return Counter(m[0] for line in self.lines() if (m := re.match(r"rknn_\w+", line)))

    def open_contexts(self) -> int:
        """Contexts that were made and not destroyed."""
        made = sum(line.startswith("  -> ctx=") for line in self.lines())
        return made - sum(line.startswith("rknn_destroy(") for line in self.lines())

    def abuses(self) -> list[str]:
        """Misuse of the stand-in that a real runtime may not survive."""
        return [line.strip() for line in self.lines() if line.startswith("  ABUSE: ")]

    def open_memory(self) -> int:
        """I/O memory that was made and not given back; refused ones are not made."""
        calls, lines = self.calls(), self.lines()
        refused = sum("INJECT rknn_create_mem " in line for line in lines)
        return calls["rknn_create_mem"] - refused - calls["rknn_destroy_mem"]
