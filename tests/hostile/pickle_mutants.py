"""Mutated checkpoints: good pickles, changed at seeded places, as bytes and as the program of opcodes that they are.

    python tests/hostile/pickle_mutants.py 1000 [FIRST_SEED]

reads as many and prints what came of them; test_fuzz.py reads some.
"""

from __future__ import annotations

import collections
import io
import pickletools
import random
import struct
import sys
import tempfile
import zipfile
from collections.abc import Callable
from functools import cache
from pathlib import Path

from tests.hostile import forge
from tests.hostile.command import GIB, Outcome, assert_nothing_left, run
from tests.hostile.forge import BASE, DATA, FOUR, call, laughs, text

LEGACY = DATA / "legacy_format.pt"
_LIMIT_S = 60.0
_PROCESSOR_S = 20.0

SNIPPETS: tuple[bytes, ...] = (
    call("os", "system", text("touch executed")), call("builtins", "getattr", b"N", text("x")),
    laughs(40), b"2" * 3000, b"(" * 3000, b"\x8f" * 3000,
    *(bytes([opcode]) for opcode in b"01.N)]}tldoRbsuaeQ\x81\x92\x90\x91\x93\x94\x85\x86\x87\x97\x98"),
    b"}" + text("_modules") + b"}sb", b"cmodels.yolo\nModel\n)\x81", b"cbuiltins\nlist\n",
    b"ccollections\nOrderedDict\n)R", b"ctorch._utils\n_rebuild_tensor_v2\n", b"ctorch\nFloatStorage\n",
    b"\x8a\xff" + b"\x7f" * 255, b"\x8b" + struct.pack("<i", 1 << 20) + b"\x7f" * (1 << 20), b"I" + b"9" * 5000 + b"\n",
    b"F1e400\n", b"G\x7f\xf8\0\0\0\0\0\0", text("a" * 100_000), text("\ud800"), b"U\xff", b"T\xff\xff\xff\xff",
    b"\x8d" + b"\xff" * 8, b"\x95" + b"\xff" * 8, b"\x96" + b"\xff" * 8, b"\x82\x01", b"\x84\xff\xff\xff\xff",
    b"p-1\n", b"p99999999999999999999\n", b"j\xff\xff\xff\xff", b"r\xff\xff\xff\xff", b"h\x00", b"h\x01", b"q\x01",
    b"gx\n", b"Px\n",
)  # fmt: skip
NUMBERS = (0, 1, 2, 127, 128, 255, 256, 32767, 65535, 65536, (1 << 31) - 1, 1 << 31, (1 << 32) - 1)


@cache
def good_zip() -> tuple[bytes, dict[str, bytes]]:
    """The pickle of a good checkpoint, and its storages."""
    with zipfile.ZipFile(BASE) as archive:
        root = archive.namelist()[0].partition("/")[0]
        storages = {n.rpartition("/")[2]: archive.read(n) for n in archive.namelist() if "/data/" in n}
        return archive.read(f"{root}/data.pkl"), {**FOUR, **storages}


@cache
def operations(pickled: bytes) -> tuple[bytes, ...]:
    """A pickle (or the first of several) as its opcodes, each with its argument's bytes."""
    starts = [position for _, _, position in pickletools.genops(io.BytesIO(pickled)) if position is not None]
    return tuple(pickled[a:b] for a, b in zip(starts, [*starts[1:], len(pickled)], strict=True))


def flip(body: bytes, rng: random.Random) -> bytes:
    changed = bytearray(body)
    for _ in range(rng.choice((1, 1, 2, 8, 64))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut_or_move(body: bytes, rng: random.Random) -> bytes:
    start, size = rng.randrange(len(body)), rng.choice((1, 4, 64, 4096))
    piece = body[start : start + size]
    rest = body[:start] + body[start + size :]
    to = rng.randrange(len(rest) + 1)
    return rest if rng.random() < 0.5 else rest[:to] + piece + rest[to:]


def extreme_number(body: bytes, rng: random.Random) -> bytes:
    ops = list(operations(body))
    numbered = [i for i, op in enumerate(ops) if op[:1] in b"KMJjrhqXBT" and len(op) > 1]
    if not numbered:
        return flip(body, rng)
    index = rng.choice(numbered)
    number, op = rng.choice(NUMBERS), ops[index]
    width = {b"K": 1, b"h": 1, b"q": 1, b"M": 2}.get(op[:1], 4)
    ops[index] = op[:1] + (number % (1 << (8 * width))).to_bytes(width, "little") + op[1 + width :]
    return b"".join(ops)


def insert_snippet(body: bytes, rng: random.Random) -> bytes:
    ops = list(operations(body))
    for _ in range(rng.choice((1, 1, 3, 20))):
        ops.insert(rng.randrange(1, len(ops)), rng.choice(SNIPPETS))
    return b"".join(ops)


def repeat_operations(body: bytes, rng: random.Random) -> bytes:
    ops = operations(body)
    start = rng.randrange(1, len(ops))
    part = ops[start : start + rng.choice((1, 2, 5, 20, 100))]
    times = min(rng.choice((2, 10, 1000, 100_000)), 4_000_000 // max(1, sum(map(len, part))))
    return b"".join((*ops[:start], *part * times, *ops[start:]))


def shuffle_operations(body: bytes, rng: random.Random) -> bytes:
    ops = list(operations(body))
    for _ in range(rng.choice((1, 2, 10))):
        a, b = rng.randrange(1, len(ops)), rng.randrange(1, len(ops))
        if rng.random() < 0.5:
            ops[a], ops[b] = ops[b], ops[a]
        else:
            ops[a] = ops[b]
    return b"".join(ops)


def rename(body: bytes, rng: random.Random) -> bytes:
    ops = list(operations(body))
    texts = [i for i, op in enumerate(ops) if op[:1] in b"Xc"] or [0]
    for _ in range(rng.choice((1, 3, 30))):
        a, b = rng.choice(texts), rng.choice(texts)
        ops[a] = ops[b]
    return b"".join(ops)


MUTATIONS: tuple[Callable[[bytes, random.Random], bytes], ...] = (
    flip, cut_or_move, extreme_number, insert_snippet, repeat_operations, shuffle_operations, rename,
)  # fmt: skip


@cache
def legacy_bounds() -> tuple[int, ...]:
    """Start of the pickles in a file of the older format, and the end of the last one."""
    stream, bounds = io.BytesIO(LEGACY.read_bytes()), [0]
    for _ in range(5):  # magic number, protocol, system, model, list of storages
        collections.deque(pickletools.genops(stream), maxlen=0)
        bounds.append(stream.tell())
    return tuple(bounds)


def write_mutant(seed: int, path: Path) -> str:
    """Write the mutant of a seed, and say what was done."""
    rng = random.Random(seed)
    mutation = rng.choice(MUTATIONS)
    if rng.random() < 0.3:
        whole, number = LEGACY.read_bytes(), rng.choice((0, 1, 2, 3, 3, 3, 3, 4))
        start, end = legacy_bounds()[number : number + 2]
        path.write_bytes(whole[:start] + mutation(whole[start:end], rng) + whole[end:])
        return f"legacy, pickle {number}, {mutation.__name__}"
    pickled, storages = good_zip()
    compression = rng.choice((zipfile.ZIP_STORED, zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED))
    forge.write_zip(path, mutation(pickled, rng), storages, compression)
    return f"zip, {mutation.__name__}"


def fault(outcome: Outcome, folder: Path) -> str:
    """Fault in the reading of a mutant; empty when it was read, or refused as it must be."""
    said = outcome.stdout + outcome.stderr
    errors = [line for line in outcome.stderr.splitlines() if line.startswith("error:")]
    wrong = {
        "a traceback": "Traceback" in said,
        f"exit code {outcome.code}": outcome.code not in (0, 1),
        f"{len(errors)} errors": len(errors) != outcome.code,
        "control characters": not all(c.isprintable() or c == "\n" for c in said),
        f"{outcome.processor_s:.1f} s of processor": outcome.processor_s > _PROCESSOR_S,
        f"{outcome.peak_growth_bytes / GIB:.2f} GiB": outcome.peak_growth_bytes > GIB,
    }
    try:
        assert_nothing_left(folder)
    except AssertionError as error:
        wrong[f"left behind: {error}"] = True
    return ", ".join(what for what, is_so in wrong.items() if is_so)


def read_mutant(seed: int, folder: Path) -> tuple[str, Outcome]:
    """Read the mutant of a seed in a process of its own: what was done to it, and how it ended."""
    file = folder / "mutant.pt"
    what = write_mutant(seed, file)
    outcome = run(["inspect", file.name], folder, _LIMIT_S)
    file.unlink()
    return what, outcome


def main(count: int, first: int) -> int:
    """Read `count` mutants; returns how many were not read as they must be."""
    read = refused = faults = 0
    slowest = largest = 0.0
    with tempfile.TemporaryDirectory() as name:
        for seed in range(first, first + count):
            what, outcome = read_mutant(seed, Path(name))
            read, refused = read + (outcome.code == 0), refused + (outcome.code == 1)
            slowest = max(slowest, outcome.processor_s)
            largest = max(largest, outcome.peak_growth_bytes / (1 << 20))
            if wrong := fault(outcome, Path(name)):
                faults += 1
                print(f"seed {seed} ({what}): {wrong}\n{(outcome.stdout + outcome.stderr)[-500:]}", flush=True)
    print(
        f"{count} mutants: {read} read, {refused} refused, {faults} faults; at most {slowest:.1f} s of processor and "
        f"{largest:.0f} MiB"
    )
    return faults


if __name__ == "__main__":
    sys.exit(min(main(int(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 0), 1))
