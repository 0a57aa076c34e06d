"""Checkpoints that ask for more work or memory than their size justifies, one way each."""

from __future__ import annotations

import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import forge
from tests.hostile.command import assert_refused, build_arguments, run, run_patched
from tests.hostile.forge import FOUR, STORAGE, TENSOR, Forgery, StorageId, Thing, named, program, text

MIB = 1 << 20
STAND_IN = b"cmodels.yolo\nModel\n"
LONG_DICT = b"}q\x01(" + b"".join(text(f"k{i}") + b"N" for i in range(100_000)) + b"u0"
LONG_TEXT = text("a" * (8 * MIB)) + b"q\x010"


def eight_bytes(number: int) -> bytes:
    return b"\x8a\x08" + number.to_bytes(8, "little", signed=True)


def pairs_that_collide(count: int) -> bytes:
    """Tuples of two integers with one hash: what the second must be follows from the first (xxHash, as CPython has it).

    The lanes are added to one accumulator: acc = rotl(acc + lane * P2, 31) * P1.
    """
    p1, p2, p5, whole = 11400714785074694791, 14029467366897019727, 2870177450012600261, 1 << 64
    inverse, first = pow(p2, -1, whole), 0
    pairs: list[bytes] = []
    while len(pairs) < count:
        acc = (p5 + first * p2) % whole
        acc = (((acc << 31) | (acc >> 33)) % whole) * p1 % whole
        second = (12345 - acc) * inverse % whole
        if second < 1 << 60:
            pairs.append(eight_bytes(first) + eight_bytes(second) + b"\x86N")
        first += 1
    return b"".join(pairs)


PICKLES: dict[str, Callable[[], bytes]] = {
    "keywords, copied": lambda: LONG_DICT + STAND_IN + b"q\x020" + b"h\x02)h\x01\x920" * 100_000,
    "persistent ids of half a million parts": lambda: (
        b"(" + STORAGE[1:-2] + b"N" * 500_000 + b"tq\x010" + b"h\x01Q0" * 200_000
    ),
    "keys of megabytes, equal but not the same": lambda: (
        LONG_TEXT + b"}" + text("a" * (8 * MIB)) + b"q\x030" + b"h\x01Nsh\x03Ns" * 100_000
    ),
    "keys of megabytes, as items of a stand-in": lambda: (
        LONG_TEXT + STAND_IN + b")\x81" + b"h\x01h\x01h\x01\x87Ns" * 1000
    ),
    "bytes of megabytes as keys": lambda: b"B" + struct.pack("<I", 8 * MIB) + bytes(8 * MIB) + b"q\x010}" + b"h\x01Ns",
    "pairs that collide": lambda: b"}(" + pairs_that_collide(60_000) + b"u",
    "pairs that collide, in a set": lambda: b"\x8f(" + pairs_that_collide(60_000).replace(b"\x86N", b"\x86") + b"\x90",
    "memo numbers that collide": lambda: (
        b"N" + b"".join(f"p{i * ((1 << 61) - 1)}\n".encode() for i in range(1, 60_000))
    ),
    "a million classes": lambda: b"".join(f"cmodels.x\nA{i}\n0".encode() for i in range(600_000)),
    "storages named by megabytes": lambda: (
        LONG_TEXT + b"(" + text("storage") + b"ctorch\nFloatStorage\nh\x01" + text("cpu") + b"K\x04tQ"
    ),
    "bytes in a message": lambda: b"B" + struct.pack("<I", 48 * MIB) + bytes(48 * MIB),
    "a text copied by the encoder": lambda: (
        LONG_TEXT
        + b"c_codecs\nencode\nq\x020"
        + b"h\x02h\x01"
        + text("latin1")
        + b"q\x03\x86R0"
        + b"h\x02h\x01h\x03\x86R0" * 1000
    ),
    "numbers of megabytes": lambda: b"\x8b" + struct.pack("<i", 32 * MIB) + b"\x7f" * (32 * MIB),
    "a fraction of megabytes": lambda: b"F0." + b"1" * (32 * MIB) + b"\n",
}


@pytest.mark.parametrize("body", PICKLES.values(), ids=PICKLES.keys())
def test_work_is_counted(body: Callable[[], bytes], tmp_path: Path) -> None:
    """A pickle that makes the reader copy, walk, compare or remember more than a model needs is refused soon."""
    file = forge.write_zip(tmp_path / "hostile.pt", program(body() + b"N"), FOUR)
    assert_refused(run(["inspect", file.name], tmp_path), tmp_path)


# ------------------------------------------------------------------------------------------- what the model makes of it


def module(children: bytes, *, again: bool = False) -> bytes:
    """A stand-in of a module with these children, as the items of a dict."""
    return STAND_IN + b")\x81}" + text("_modules") + b"}(" + children + b"usb" + (b"q\x01" if again else b"")


def paths_of_megabytes() -> bytes:
    """Fifty modules in each other with names of 200 characters; below them 2^20 more, all the same few."""
    leaf = STAND_IN + b")\x81}" + text("_modules") + b"}sbq\x01"
    for _ in range(20):
        leaf += b"0" + module(text("a") + b"h\x01" + text("b") + b"h\x01", again=True)
    for _ in range(40):
        leaf += b"0" + module(text("n" * 200) + b"h\x01", again=True)
    return leaf


def deep_keys(count: int) -> bytes:
    """A state dict whose keys make 60 modules each."""
    keys = (f"{i}." + "x." * 59 + "weight" for i in range(count))
    return TENSOR + b"q\x010}(" + b"".join(text(k) + b"h\x01" for k in keys) + b"u"


TREES: dict[str, Callable[[], bytes]] = {
    "modules whose paths take gigabytes": paths_of_megabytes,
    "state dict of 60 modules a key": lambda: deep_keys(60_000),
}


@pytest.mark.parametrize("body", TREES.values(), ids=TREES.keys())
def test_trees_are_bounded(body: Callable[[], bytes], tmp_path: Path) -> None:
    """A module tree that multiplies what the pickle holds is refused."""
    file = forge.write_zip(tmp_path / "hostile.pt", program(b"}" + text("model") + body() + b"s"), FOUR)
    assert_refused(run(["inspect", file.name], tmp_path), tmp_path, says="parts, more than any trained model has")


def weights_on_one_storage(forgery: Forgery, size: tuple[int, ...]) -> None:
    """Every convolution views the same storage, whole, in shape `size`."""
    elements = size[0] * size[1] * size[2] * size[3]
    forgery.storages["big"] = bytes(2 * elements)
    for tensor in convolution_weights(forgery):
        storage = StorageId(("storage", tensor.arguments[0].identity[1], "big", "cpu", elements))
        step = (size[1] * size[2] * size[3], size[2] * size[3], size[3], 1)
        forge.replace_arguments(tensor, storage=storage, offset=0, size=size, stride=step)


def convolution_weights(forgery: Forgery) -> list[Thing]:
    found = []

    def walk(module: Thing) -> None:
        if type(module).__name__ == "Conv2d":
            found.append(forge.find_tensor(module.state["_parameters"]["weight"]))
        modules = module.state["_modules"]
        for child in (modules if isinstance(modules, dict) else modules.items).values():
            if child is not None:
                walk(child)

    walk(forgery.model)
    return found


def test_one_storage_for_every_layer(tmp_path: Path) -> None:
    """60 layers that all view one storage of 8 million elements would be written 60 times: refused."""
    forgery = Forgery()
    weights_on_one_storage(forgery, (1024, 1024, 2, 4))
    forgery.write(tmp_path / "hostile.pt")
    for arguments in (["inspect", "hostile.pt"], build_arguments(tmp_path / "hostile.pt", tmp_path)):
        assert_refused(run(arguments, tmp_path), tmp_path, says="share them over and over")


# ---------------------------------------------------------------------------------------------------------- the archive


def compressed_and_shared(path: Path, megabytes: int) -> None:
    """Every weight of a good model views the beginning of one deflated storage; ballast keeps the ratio low."""
    forgery = Forgery()
    block = struct.pack("<e", 0.01) * 4096
    forgery.storages["big"] = block * ((megabytes * MIB) // len(block))
    forgery.storages["ballast"] = random.Random(1).randbytes(megabytes * MIB // 15)
    for tensor in convolution_weights(forgery):
        kind = tensor.arguments[0].identity[1]
        storage = StorageId(("storage", kind, "big", "cpu", megabytes * MIB // 2))
        forge.replace_arguments(tensor, storage=storage, offset=0)
    forgery.write(path, compression=zipfile.ZIP_DEFLATED)


def test_a_compressed_storage_is_unpacked_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many tensors view it: all are read in the time of one, and the bytes are the storage's."""
    from rkdeploy.host.checkpoint import archive, read_checkpoint

    compressed_and_shared(tmp_path / "shared.pt", 40)
    unpacked = []
    whole = archive._Entry._unpacked

    def counted(entry: archive._Entry) -> object:
        unpacked.append(entry.info.filename)
        return whole(entry)

    monkeypatch.setattr(archive._Entry, "_unpacked", counted)
    root = read_checkpoint(tmp_path / "shared.pt").root
    weights = [m.array("weight") for m in root.walk() if m.class_name == "Conv2d"]
    assert len(weights) > 20
    assert unpacked.count("archive/data/big") == 1
    assert all(abs(float(w.max()) - 0.01) < 1e-5 for w in weights)


def test_compressed_storages_have_a_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that unpacks to more than it may, piece by piece, is refused before the last piece is unpacked."""
    from rkdeploy.host.checkpoint import budget

    forgery = Forgery()
    for index, tensor in enumerate(convolution_weights(forgery)[:5]):
        forgery.storages[f"big{index}"] = bytes(4 * MIB)
        storage = StorageId(("storage", tensor.arguments[0].identity[1], f"big{index}", "cpu", 2 * MIB))
        forge.replace_arguments(tensor, storage=storage, offset=0)
    forgery.storages["ballast"] = random.Random(1).randbytes(2 * MIB)
    forgery.write(tmp_path / "hostile.pt", compression=zipfile.ZIP_DEFLATED)
    monkeypatch.setattr(budget, "_MAX_UNPACKED", 18 * MIB)
    outcome = run_patched(build_arguments(tmp_path / "hostile.pt", tmp_path), tmp_path)
    assert_refused(outcome, tmp_path, says="unpacks to more than 18 MiB")


def test_a_table_without_end(tmp_path: Path) -> None:
    """A zip of half a million empty entries is refused by the size of its table."""
    record = b"PK\x01\x02" + bytes(42)
    body = forge.write_zip(tmp_path / "h.pt", program(b"}")).read_bytes()
    start = body.find(b"PK\x01\x02")
    end = b"PK\x05\x06" + struct.pack("<4H2IH", 0, 0, 0xFFFF, 0xFFFF, 46 * 500_000, start, 0)
    (tmp_path / "h.pt").write_bytes(body[:start] + record * 500_000 + end)
    assert_refused(run(["inspect", "h.pt"], tmp_path), tmp_path, says="zip table")


# ------------------------------------------------------------------------------------------------------ legacy pickles


@pytest.mark.parametrize(
    "head", [b"\x80\x02V", b"\x80\x02B\xff\xff\xff\x7f", b"\x80\x02cmodels.yolo\n", b"\x80\x02(S'"]
)
def test_a_legacy_pickle_ends_at_64_mib(head: bytes, tmp_path: Path) -> None:
    """A line, or bytes, of gigabytes in a file with holes: not one of them is copied."""
    with (tmp_path / "h.pt").open("wb") as stream:
        stream.write(b"\x80\x02" + head)
        stream.truncate(3 << 30)
    outcome = run(["inspect", "h.pt"], tmp_path)
    assert_refused(outcome, tmp_path, says="64 MiB")
    assert outcome.peak_growth_bytes < 300 * MIB


def test_the_pickles_of_a_file_share_one_budget(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three pickles of 9,000 steps are one of 27,000."""
    from rkdeploy.host.checkpoint import unpickler

    monkeypatch.setattr(unpickler, "MAX_STEPS", 20_000)
    many = program(b"N0" * 4_500 + b"N")
    (tmp_path / "h.pt").write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2) + many * 3 + pickle.dumps([], 2))
    assert_refused(run_patched(["inspect", "h.pt"], tmp_path), tmp_path, says="more than 20,000 steps")


def test_a_good_legacy_file_behind_the_bound() -> None:
    """The bound is the pickles', not the file's: lines and bytes up to it are read as they are."""
    from rkdeploy.host.checkpoint.budget import BoundedStream

    stream = BoundedStream(b"ab\ncd\nef")
    assert (stream.readline(), stream.read(2), stream.readline(), stream.position) == (b"ab\n", b"cd", b"\n", 6)
    assert (stream.readline(), stream.read(5), stream.read(1)) == (b"ef", b"", b"")


def test_tuples_are_remembered_as_text() -> None:
    """A stand-in's item, a dictionary's key: text that tells the parts apart, and never another tuple's hash."""
    from rkdeploy.host.checkpoint.stand_ins import plain_key

    assert plain_key((1, "a", 2.5)) == "(1, a, 2.5)"
    assert plain_key((named("models", "X")(), ())) == "(<X>, <tuple>)"
