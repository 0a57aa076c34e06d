"""Hostile and broken checkpoints: nothing executed, nothing half-written, one clear message, exit code 1."""

from __future__ import annotations

import os
import pickle
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.hostile import forge
from tests.hostile.command import assert_nothing_left, assert_refused, build_arguments, run
from tests.hostile.forge import (
    BASE,
    FOUR,
    STORAGE,
    TENSOR,
    Forgery,
    Thing,
    call,
    laughs,
    named,
    program,
    stack_global,
    text,
)

TOUCH = text("touch executed")
MODEL = text("model")
NOTHING_RAN = "Nothing was executed."

CALLS: dict[str, bytes] = {
    "os.system": call("os", "system", TOUCH),
    "posix.system": call("posix", "system", TOUCH),
    "nt.system": call("nt", "system", TOUCH),
    "builtins.eval": call("builtins", "eval", text("open('executed', 'w')")),
    "builtins.exec": call("builtins", "exec", text("open('executed', 'w')")),
    "python 2 eval": call("__builtin__", "eval", text("open('executed', 'w')")),
    "builtins.open": call("builtins", "open", text("executed"), text("w")),
    "builtins.__import__": call("builtins", "__import__", text("antigravity")),
    "subprocess.Popen": call("subprocess", "Popen", b"(" + text("touch") + text("executed") + b"t"),
    "pty.spawn": call("pty", "spawn", b"(" + text("touch") + text("executed") + b"t"),
    "importlib": call("importlib", "import_module", text("os")),
    "runpy": call("runpy", "run_path", text("executed")),
    "webbrowser": call("webbrowser", "open", text("file:///")),
    "shutil.rmtree": call("shutil", "rmtree", text(".")),
    "pathlib method": stack_global("pathlib", "Path.touch", text("executed")),
    "pickle.loads": call("pickle", "loads", b"B" + struct.pack("<I", 4) + b"cos\n"),
    "torch.load": call("torch", "load", text("executed")),
    "torch.hub": call("torch.hub", "load", text("executed"), text("x")),
    "numpy.load": call("numpy", "load", text("executed")),
    "pip": call("pip._internal", "main", text("install")),
    "function of a layers package": call("mmcv.fileio", "load", text("executed")),
    "operator.attrgetter": call("operator", "attrgetter", text("__globals__")),
    "functools.partial": call("functools", "partial", b"cos\nsystem\n", TOUCH),
    "types.FunctionType": call("types", "FunctionType", b"N", b"}"),
    "types.CodeType": call("types", "CodeType"),
    "dotted name out of os": stack_global("os", "path.os.system", TOUCH),
    "name with a line break": stack_global("models\nerror: all is well", "X"),
    "name with escape codes": stack_global("torch.nn", "\x1b[2J\x1b]0;owned\x07"),
    "name without end": stack_global("os", "a" * 3_000_000),
    "INST": b"(" + TOUCH + b"ios\nsystem\n",
    "OBJ": b"(cos\nsystem\n" + TOUCH + b"o",
    "NEWOBJ": b"cos\nsystem\n(" + TOUCH + b"t\x81",
    "NEWOBJ_EX": b"cos\nsystem\n(" + TOUCH + b"t}\x92",
    "protocol 0": b"cos\nsystem\n(S'touch executed'\ntR",
    "copyreg extension": b"\x82\x01(" + TOUCH + b"tR",
    "copyreg extension, four bytes": b"\x84\x01\x00\x00\x00(" + TOUCH + b"tR",
    "copyreg.add_extension": call("copyreg", "add_extension", text("os"), text("system"), b"K\x01"),
    "inside a hook": b"}" + MODEL + b"cmodels.yolo\nModel\n)\x81}" + text("_forward_hooks") + b"}K\x00"
                     + call("os", "system", TOUCH) + b"ssbs",
    "inside a tensor's hooks": b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00K\x04\x85K\x01\x85\x89"
                               + call("os", "system", TOUCH) + b"tR",
    "as state": b"cmodels.yolo\nModel\n)\x81" + call("os", "system", TOUCH) + b"b",
    "as persistent id": call("os", "system", TOUCH) + b"Q",
    "as default factory": b"ccollections\ndefaultdict\n(cos\nsystem\ntR",
}  # fmt: skip

STRANGE: dict[str, bytes] = {
    # getattr gives a stand-in without looking anything up, so that the chain leads nowhere.
    "getattr chain": call("builtins", "getattr", call("builtins", "getattr", b"ctorch.nn\nModule\n", text("__init__")),
                          text("__globals__")),
    "globals of a module": stack_global("torch.nn", "Module.__init__.__globals__"),
    "call what getattr gave": call("builtins", "getattr", b"ctorch.nn\nModule\n", text("x")) + b"(" + TOUCH + b"tR",
    "replaced methods": b"ccollections\nOrderedDict\n)R(N}" + text("get") + b"cmodels.x\nY\nstb",
    "replaced items": b"ccollections\nOrderedDict\n)R}" + text("items") + b"cmodels.x\nY\nsb",
    "state on a function": b"ctorch._utils\n_rebuild_tensor_v2\n(N}" + text("__defaults__") + b")stb",
    "state on a class": b"ccollections\nOrderedDict\n(N}" + text("get") + b"K\x01stb",
    "state on a storage": STORAGE + b"(N}" + text("read") + b"cmodels.x\nY\nstb",
    "state on a tensor": TENSOR + b"](K\x00K\x00K\x00K\x00K\x00eb",
    "memo index of gigabytes": b"}r\xff\xff\xff\xff",
    "memo index that is missing": b"j\xff\xff\xff\xff",
    "text of exabytes": b"\x8d" + struct.pack("<Q", 1 << 60) + b"x",
    "bytes of exabytes": b"\x8e" + struct.pack("<Q", 1 << 60) + b"x",
    "bytearray of gigabytes": b"\x96" + struct.pack("<Q", 6 << 30) + b"x",
    "frame of exabytes": b"\x95" + struct.pack("<Q", 1 << 60) + b"x",
    "negative length": b"T" + struct.pack("<i", -1),
    "number of many digits": b"I" + b"9" * 100_000 + b"\n",
    "stack underflow": b"0000",
    "unknown opcode": b"\xff",
    "newer protocol": b"\x80\xff",
    "dict in itself": b"}q\x00" + MODEL + b"h\x00s",
    "list in itself": b"]q\x00h\x00a",
    "billion laughs": laughs(),
    "billion laughs as key": b"}" + laughs() + b"NsK\x01",
    "billion laughs in a set": b"\x8f(" + laughs() + b"\x90",
    "billion laughs in a frozenset": b"(" + laughs() + b"\x91",
    "billion laughs as set argument": call("builtins", "set", b"]" + laughs() + b"a"),
    "billion laughs as pairs": call("collections", "OrderedDict", b"](" + laughs() + b"N\x86e"),
    "billion laughs as persistent id": laughs() + b"Q",
    "billion laughs as storage": b"(" + text("storage") + laughs() + b"NNNtQ",
    "billion laughs as tensor": call("torch._utils", "_rebuild_tensor_v2", laughs(), b"N", b"N", b"N"),
    "billion laughs as shape": b"ctorch._utils\n_rebuild_tensor_v2\n(" + STORAGE + b"K\x00" + laughs() + b")tR",
    "billion laughs as dtype": call("numpy", "dtype", laughs()),
    "billion laughs as model": b"}" + MODEL + laughs() + b"s",
    "billion laughs called": b"cmodels.x\nY\n" + laughs() + laughs() + b"R",
    "billion laughs as item of a stand-in": b"cmodels.x\nY\n)R" + laughs() + b"Ns",
    "tuples nested half a million deep, as key": b"}" + b")" + b"\x85" * 500_000 + b"Ns",
    "tuples nested half a million deep": b")" + b"\x85" * 500_000,
    "lists nested half a million deep": b"(" * 500_000 + b"l" * 500_000,
    "path that doubles": text("a" * 100) + b"q\x01" + b"".join(
        b"0cpathlib\nPosixPath\n(h\x01h\x01tRq\x01" for _ in range(40)),
    "list copied again and again": b"](" + b"N" * 100_000 + b"eq\x010" + b"".join(
        b"cbuiltins\nlist\nh\x01\x85R" for _ in range(20_000)),
    "state copied again and again": b"}q\x01(" + b"".join(
        text(str(i)) + b"N" for i in range(20_000)) + b"u0" + b"".join(
        b"cmodels.x\nY\n)Rh\x01b" for _ in range(20_000)),
    "three million empty sets": b"\x8f" * 3_000_000,
    "three million marks": b"(" * 3_000_000,
    "integers that collide": b"}(" + b"".join(
        b"\x8a\x10" + (i * ((1 << 61) - 1)).to_bytes(16, "little") + b"N" for i in range(1, 60_000)) + b"u",
    "keyword arguments": b"cmodels.x\nY\n)}" + text("self") + b"Ns\x92",
    "items stored in a text": text("x") + b"K\x00Ns",
    "storage of negative size": STORAGE.replace(b"K\x04t", b"J\xff\xff\xff\xfft"),
    "storage larger than its data": STORAGE.replace(b"K\x04t", b"K\x05t"),
    "storage smaller than its data": STORAGE.replace(b"K\x04t", b"K\x03t"),
    "storage of exabytes": STORAGE.replace(b"K\x04t", b"\x8a\x08" + (1 << 60).to_bytes(8, "little") + b"t"),
    "storage of an integer with a million digits": STORAGE.replace(
        b"K\x04t", b"\x8b" + struct.pack("<i", 400_000) + b"\x7f" * 400_000 + b"t"),
    "storage that is not there": STORAGE.replace(text("0"), text("nowhere")),
    "storage outside the archive": STORAGE.replace(text("0"), text("../../../../etc/passwd")),
    "complex storage": STORAGE.replace(b"FloatStorage", b"ComplexFloatStorage"),
    "complex dtype": call("torch._utils", "_rebuild_tensor_v3", STORAGE, b"K\x00", b")", b")", b"\x89", b"N",
                          b"ctorch\ncomplex64\n"),
    "quantized tensor": call("torch._utils", "_rebuild_qtensor", STORAGE),
    "sparse tensor": call("torch._utils", "_rebuild_sparse_tensor", STORAGE),
    "negative stride": TENSOR.replace(b"K\x01\x85\x89", b"J\xff\xff\xff\xff\x85\x89"),
    "negative offset": TENSOR.replace(b"QK\x00", b"QJ\xff\xff\xff\xff"),
    "negative size": TENSOR.replace(b"K\x04\x85K\x01", b"J\xff\xff\xff\xff\x85K\x01"),
    "larger than its storage": TENSOR.replace(b"K\x04\x85K\x01", b"K\x05\x85K\x01"),
    "terabytes by stride zero": TENSOR.replace(b"K\x04\x85K\x01", b"\x8a\x06\0\0\0\0\0\x01\x85K\x00"),
    "empty but endless": TENSOR.replace(b"K\x04\x85K\x01\x85", b"(K\x00" + b"\x8a\x06\0\0\0\0\0\x40" * 9 + b"t("
                                        + b"K\x00" * 10 + b"t"),
    "size of text": TENSOR.replace(b"K\x04\x85K\x01", text("4") + b"\x85K\x01"),
    "strides missing": TENSOR.replace(b"K\x04\x85K\x01\x85", b"K\x04\x85)"),
    "no model": pickle.dumps({"epoch": 3}, 2)[2:-1],
    "keys that are escape codes": pickle.dumps({"\x1b[2J\nerror: x": 3}, 2)[2:-1],
    "plain number": b"K\x01",
    "model is text": b"}" + MODEL + text("x") + b"s",
    "module without modules": b"}" + MODEL + b"cmodels.yolo\nModel\n)\x81s",
}  # fmt: skip


@pytest.mark.parametrize("payload", CALLS.values(), ids=CALLS.keys())
@pytest.mark.parametrize("form", ["zip", "legacy"])
def test_calls_are_refused(payload: bytes, form: str, tmp_path: Path) -> None:
    """A pickle that names anything to be called is refused, and nothing of it runs, in either file format."""
    file = tmp_path / "hostile.pt"
    if form == "zip":
        forge.write_zip(file, program(payload), FOUR)
    else:
        forge.write_legacy(file, program(payload), pickle.dumps([], 2))
    assert_refused(run(["inspect", file.name], tmp_path), tmp_path)


@pytest.mark.parametrize("name", ["os.system", "builtins.exec", "inside a hook"])
def test_a_call_before_a_good_model_is_refused(name: str, tmp_path: Path) -> None:
    """A real model behind the payload does not make the file any better, neither to look at nor to build from."""
    with zipfile.ZipFile(BASE) as archive:
        root = archive.namelist()[0].partition("/")[0]
        good = archive.read(f"{root}/data.pkl")
        data = {n.rpartition("/")[2]: archive.read(n) for n in archive.namelist() if "/data/" in n}
    file = forge.write_zip(tmp_path / "hostile.pt", good[:2] + CALLS[name] + b"0" + good[2:], data)
    assert_refused(run(["inspect", file.name], tmp_path), tmp_path, says=NOTHING_RAN)
    assert_refused(run(build_arguments(file, tmp_path), tmp_path), tmp_path, says=NOTHING_RAN)


@pytest.mark.parametrize("body", STRANGE.values(), ids=STRANGE.keys())
def test_strange_pickles_are_refused(body: bytes, tmp_path: Path) -> None:
    """Pickles that lie about sizes, have no end, or change objects behind the reader's back end in one message."""
    file = forge.write_zip(tmp_path / "hostile.pt", program(body), FOUR)
    assert_refused(run(["inspect", file.name], tmp_path), tmp_path)


# ------------------------------------------------------------------------------------------------- the archive


def lying_size(path: Path) -> None:
    """A quarter of a deflated gigabyte whose table says 100 bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a/data.pkl", "w") as entry:
        for _ in range(64):
            entry.write(bytes(4 << 20))
    data = path.read_bytes()
    size = (1 << 28).to_bytes(4, "little")
    path.write_bytes(data.replace(size, (100).to_bytes(4, "little")))


def zip_bomb(path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a/data.pkl", "w") as entry:
        for _ in range(64):
            entry.write(bytes(4 << 20))


def many_entries(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        for index in range(20_000):
            archive.writestr(zipfile.ZipInfo(f"a/{index}"), b"")


def overlapping(path: Path) -> None:
    """A hundred names for one deflated entry."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a/data.pkl", bytes(1 << 20))
        first = archive.infolist()[0]
        for index in range(100):
            copy = zipfile.ZipInfo(f"a/data/{index}")
            for name in ("compress_type", "CRC", "compress_size", "file_size", "header_offset"):
                setattr(copy, name, getattr(first, name))
            archive.filelist.append(copy)


def two_pickles(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program(b"}"))
        archive.writestr("b/data.pkl", program(CALLS["os.system"]))


def traversal(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("../../../../executed", "x")
        archive.writestr("/executed", "x")
        archive.writestr("../executed/data.pkl", program(CALLS["os.system"]))


def torchscript(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/constants.pkl", program(CALLS["os.system"]))
        archive.writestr("a/data.pkl", program(CALLS["os.system"]))
        archive.writestr("a/code/__torch__.py", "import os\nos.system('touch executed')\n")


def zip64_lie(path: Path) -> None:
    """Every size and offset of the end record at its largest, with no zip64 record."""
    forge.write_zip(path, program(b"}"))
    data = bytearray(path.read_bytes())
    end = data.rfind(b"PK\x05\x06")
    data[end + 8 : end + 20] = b"\xff" * 12
    path.write_bytes(data)


def entry_past_the_end(path: Path) -> None:
    forge.write_zip(path, program(b"}"))
    data = bytearray(path.read_bytes())
    entry = data.find(b"PK\x01\x02")
    data[entry + 42 : entry + 46] = (1 << 30).to_bytes(4, "little")
    path.write_bytes(data)


def lzma_packed(path: Path) -> None:
    forge.write_zip(path, program(b"}") + bytes(1000), compression=zipfile.ZIP_LZMA)


def encrypted(path: Path) -> None:
    forge.write_zip(path, program(b"}"), compression=zipfile.ZIP_DEFLATED)
    data = path.read_bytes()
    path.write_bytes(data.replace(b"PK\x01\x02\x14\x03\x14\x00\x00", b"PK\x01\x02\x14\x03\x14\x00\x01"))


def big_endian(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a/data.pkl", program(b"}"))
        archive.writestr("a/byteorder", "big")


def safetensors(path: Path) -> None:
    header = b'{"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    path.write_bytes(struct.pack("<Q", len(header)) + header + bytes(16))


def plain_pickle(path: Path) -> None:
    path.write_bytes(pickle.dumps({"model": [1, 2, 3]}))


def bare_payload(path: Path) -> None:
    path.write_bytes(program(CALLS["os.system"]))


def legacy_lying_storage(path: Path) -> None:
    forge.write_legacy(path, program(b"}" + text("w") + TENSOR + b"s"), pickle.dumps(["0"], 2), struct.pack("<q", -4))


def legacy_without_storage(path: Path) -> None:
    forge.write_legacy(path, program(b"}" + text("w") + TENSOR + b"s"), pickle.dumps([], 2))


def legacy_keys_that_laugh(path: Path) -> None:
    forge.write_legacy(path, program(b"}"), program(b"]" + laughs() + b"a"))


def wrong_checksum(path: Path) -> None:
    data = bytearray(BASE.read_bytes())
    data[data.find(b"data.pkl") + 400] ^= 1
    path.write_bytes(data)


ARCHIVES: list[Callable[[Path], object]] = [
    zip_bomb, lying_size, many_entries, overlapping, two_pickles, traversal, torchscript, zip64_lie, entry_past_the_end,
    lzma_packed, encrypted, big_endian, safetensors, plain_pickle, bare_payload, legacy_lying_storage,
    legacy_without_storage, legacy_keys_that_laugh, wrong_checksum,
    lambda p: p.write_bytes(b""), lambda p: p.mkdir(), os.mkfifo, lambda p: p.symlink_to("/dev/zero"),
    lambda p: p.symlink_to(p), lambda p: p.write_bytes(b"PK\x03\x04"), lambda p: p.write_bytes(b"\x80"),
    lambda p: p.write_text("version https://git-lfs.github.com/spec/v1\n"),
    lambda p: p.write_bytes((forge.DATA.parent / "onnx" / "v6.onnx").read_bytes()),
    lambda p: None,
]  # fmt: skip
NAMES = [
    *(f.__name__ for f in ARCHIVES[:19]), "empty", "folder", "fifo", "device", "link to itself", "only a zip's magic",
    "one byte", "lfs pointer", "onnx as pt", "missing",
]  # fmt: skip


@pytest.mark.parametrize("make", ARCHIVES, ids=NAMES)
def test_broken_files_are_refused(make: Callable[[Path], object], tmp_path: Path) -> None:
    """A file that is not a checkpoint, or an archive with wrong sizes, ends in one message."""
    file = tmp_path / "hostile.pt"
    make(file)
    for arguments in (["inspect", file.name], build_arguments(file, tmp_path)):
        assert_refused(run(arguments, tmp_path), tmp_path)


def test_a_state_dict_is_named_and_not_built(tmp_path: Path) -> None:
    """Weights without their model: inspect says what they are, and a build refuses them."""
    file = tmp_path / "hostile.pt"
    file.write_bytes((forge.DATA / "state_dict.pt").read_bytes())
    named = run(["inspect", file.name], tmp_path)
    assert named.code == 0
    assert "state dict of a YOLO model" in named.stdout
    assert_refused(run(build_arguments(file, tmp_path), tmp_path), tmp_path, says="state dict of a YOLO model")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_unreadable_file(tmp_path: Path) -> None:
    """A file without read permission ends in one message."""
    file = forge.write_zip(tmp_path / "hostile.pt", program(b"}"))
    file.chmod(0)
    assert_refused(run(["inspect", file.name], tmp_path), tmp_path, says="Permission denied")


@pytest.mark.parametrize("percent", range(0, 100, 10))
@pytest.mark.parametrize("base", [BASE, forge.DATA / "legacy_format.pt"], ids=["zip", "legacy"])
def test_truncated_checkpoints(base: Path, percent: int, tmp_path: Path) -> None:
    """A checkpoint that is cut off anywhere is refused."""
    data = base.read_bytes()
    file = tmp_path / "cut.pt"
    file.write_bytes(data[: len(data) * percent // 100])
    assert_refused(run(["inspect", file.name], tmp_path), tmp_path)


@pytest.mark.parametrize(("base", "flips"), [(BASE, 120), (forge.DATA / "legacy_format.pt", 80)], ids=["zip", "legacy"])
def test_flipped_bits(base: Path, flips: int, tmp_path: Path) -> None:
    """One flipped bit, at 200 seeded places, gives the model or one message, nothing else."""
    data = base.read_bytes()
    rng = random.Random(5)
    start = data.find(b"data.pkl") if base == BASE else 0
    refused = 0
    for _ in range(flips):
        place = rng.randrange(start, len(data)) if rng.random() < 0.3 else start + rng.randrange(20_000)
        flipped = bytearray(data)
        flipped[place] ^= 1 << rng.randrange(8)
        file = tmp_path / "flipped.pt"
        file.write_bytes(flipped)
        outcome = run(["inspect", file.name], tmp_path)
        if outcome.code != 0:
            assert_refused(outcome, tmp_path)
            refused += 1
        assert_nothing_left(tmp_path)
        assert "Traceback" not in outcome.stderr
    assert refused > flips // 5


# --------------------------------------------------------------------------------- good pickles of impossible models


def set_attribute(path: str, name: str, value: object) -> forge.Mutation:
    def mutate(forgery: Forgery) -> None:
        forgery.layer(path).state[name] = value

    return mutate


def first(class_name: str) -> Callable[[Forgery], Thing]:
    """Finds the first module of a class."""

    def walk(module: Thing) -> list[Thing]:
        modules = module.state["_modules"]
        below = (modules if isinstance(modules, dict) else modules.items).values()
        return [module, *(m for child in below if child is not None for m in walk(child))]

    return lambda forgery: next(m for m in walk(forgery.model) if type(m).__name__ == class_name)


def of_first(class_name: str, **state: object) -> forge.Mutation:
    def mutate(forgery: Forgery) -> None:
        first(class_name)(forgery).state.update(state)

    return mutate


def of_head(**state: object) -> forge.Mutation:
    return lambda forgery: forgery.head.state.update(state)


def of_model(**state: object) -> forge.Mutation:
    return lambda forgery: forgery.model.state.update(state)


def stride(*values: float) -> forge.Mutation:
    def mutate(forgery: Forgery) -> None:
        of_head(stride=list(values))(forgery)
        of_model(stride=list(values))(forgery)

    return mutate


def fill(class_name: str, group: str, name: str, value: float) -> forge.Mutation:
    return lambda f: f.fill(forge.find_tensor(first(class_name)(f).state[group][name]), value)


def view(class_name: str, group: str, name: str, **changes: object) -> forge.Mutation:
    return lambda f: forge.replace_arguments(forge.find_tensor(first(class_name)(f).state[group][name]), **changes)


def view_of_head(name: str, **changes: object) -> forge.Mutation:
    return lambda f: forge.replace_arguments(forge.find_tensor(f.head.state["_buffers"][name]), **changes)


def long_names(forgery: Forgery) -> None:
    name = "c" * 1000
    of_model(names=[name] * 100_000)(forgery)
    of_head(nc=100_000)(forgery)


def own_child(forgery: Forgery) -> None:
    forgery.layer("0").state["_modules"]["conv"] = forgery.layer("0")


def doubling_children(forgery: Forgery) -> None:
    """Two references to a module with two references to a module with ..., 60 deep."""
    module = forgery.layer("0")
    for _ in range(60):
        outer = named("models.common", "Conv")()
        outer.state = {"_modules": {"a": module, "b": module}}
        module = outer
    forgery.layer("1").state["_modules"]["act"] = module


def parallel_in_itself(forgery: Forgery) -> None:
    wrapper = named("torch.nn.parallel", "DataParallel")()
    wrapper.state = {"_modules": {"module": wrapper}}
    forgery.content["model"] = wrapper


def unknown_block(forgery: Forgery) -> None:
    block = named("models.common", "Backdoor")()
    block.state = {"_modules": {}}
    forgery.layer("0").state["_modules"]["conv"] = block


def shared_lists(depth: int = 60) -> object:
    value: object = ()
    for _ in range(depth):
        value = (value, value)
    return value


HUGE = 10**6000
NAN, INF = float("nan"), float("inf")
MODELS: dict[str, forge.Mutation] = {
    "module in itself": own_child,
    "modules that double": doubling_children,
    "wrapper around itself": parallel_in_itself,
    "NaN weights": fill("Conv2d", "_parameters", "weight", NAN),
    "infinite weights": fill("Conv2d", "_parameters", "weight", INF),
    "negative running variance": fill("BatchNorm2d", "_buffers", "running_var", -1.0),
    "eps of NaN": of_first("BatchNorm2d", eps=NAN),
    "eps of 6,000 digits": of_first("BatchNorm2d", eps=HUGE),
    "tensor beyond its storage": view("Conv2d", "_parameters", "weight", offset=1 << 20),
    "names of another number": of_model(names=["a", "b"]),
    "names that are huge numbers": of_model(names=[1, 2, 10**5000]),
    "names that are lists": of_model(names=["a", "b", ["c"]]),
    "name of half a character": of_model(names=["a", "b", "\ud800"]),
    "name of a million characters": of_model(names=["a", "b", "c" * 1_000_000]),
    "a hundred million characters of names": long_names,
    "half a million anchors": view_of_head("anchors", size=(3, 170_000, 2), stride=(6, 0, 1)),
    "a billion classes": of_head(nc=10**9),
    "classes of 6,000 digits": of_head(nc=HUGE),
    "no classes": of_head(nc=0),
    "classes that laugh": of_head(nc=shared_lists()),
    "anchors of zero": lambda f: f.fill(forge.find_tensor(f.head.state["_buffers"]["anchors"]), 0.0),
    "anchors of NaN": lambda f: f.fill(forge.find_tensor(f.head.state["_buffers"]["anchors"]), NAN),
    "anchors of less than nothing": lambda f: f.fill(forge.find_tensor(f.head.state["_buffers"]["anchors"]), -3.0),
    "anchors of another shape": lambda f: forge.replace_arguments(
        forge.find_tensor(f.head.state["_buffers"]["anchors"]), size=(9, 2), stride=(2, 1)),
    "no anchors": lambda f: forge.replace_arguments(
        forge.find_tensor(f.head.state["_buffers"]["anchors"]), size=(0, 3, 2)),
    "strides of zero": stride(0, 0, 0),
    "strides of NaN": stride(NAN, NAN, NAN),
    "strides without end": stride(INF, INF, INF),
    "strides of 6,000 digits": stride(HUGE, HUGE, HUGE),
    "strides of fractions": stride(8.5, 16.5, 32.5),
    "one stride": stride(8),
    "strides that decrease": stride(32, 16, 8),
    "layer that reads from the future": set_attribute("3", "f", 7),
    "layer that reads from before the image": set_attribute("3", "f", -9),
    "layer that reads text": set_attribute("3", "f", "input"),
    "layer that reads what laughs": set_attribute("3", "f", shared_lists()),
    "kernel stride of text": of_first("Conv2d", stride="(2, 2)"),
    "kernel stride of zero": of_first("Conv2d", stride=(0, 0)),
    "kernel stride of 6,000 digits": of_first("Conv2d", stride=(HUGE, 1)),
    "padding of a billion": of_first("Conv2d", padding=(10**9, 10**9)),
    "padding below zero": of_first("Conv2d", padding=(-5, -5)),
    "dilation of zero": of_first("Conv2d", dilation=(0, 0)),
    "no groups": of_first("Conv2d", groups=0),
    "groups of text": of_first("Conv2d", groups="x"),
    "a billion groups": of_first("Conv2d", groups=10**9),
    "padding mode of escape codes": of_first("Conv2d", padding_mode="\x1b[2J"),
    "weights of another shape": view("Conv2d", "_parameters", "weight", size=(1, 3, 6, 6), stride=(108, 36, 6, 1)),
    "weights of two dimensions": view("Conv2d", "_parameters", "weight", size=(3, 36), stride=(36, 1)),
    "batch norm of another size": view("BatchNorm2d", "_buffers", "running_mean", size=(1,), stride=(1,)),
    "pooling kernel of zero": of_first("MaxPool2d", kernel_size=0),
    "pooling kernel of text": of_first("MaxPool2d", kernel_size="five"),
    "pooling kernel of a million": of_first("MaxPool2d", kernel_size=10**6, padding=5 * 10**5),
    "upsampling by a billion": of_first("Upsample", scale_factor=1e9),
    "upsampling by NaN": of_first("Upsample", scale_factor=NAN),
    "upsampling without end": of_first("Upsample", scale_factor=INF),
    "upsampling to a billion": of_first("Upsample", size=10**9),
    "upsampling by text": of_first("Upsample", scale_factor="2"),
    "upsampling in an unknown mode": of_first("Upsample", mode="\x1b[31mcubic"),
    "joined along dimension 7": of_first("Concat", d=7),
    "joined along text": of_first("Concat", d="1"),
    "joined along the rows": of_first("Concat", d=2),
    "unknown block": unknown_block,
    "part with escape codes for a name": lambda f: f.model.state["_modules"].update({"\x1b[2J\nerror: x": None}),
    "no layers": lambda f: f.model.child("model").state.update(_modules={}),
    "no head": lambda f: f.model.child("model").state["_modules"].pop("24"),
}  # fmt: skip
PADDED: dict[str, object] = {"a billion": (10**9,) * 4, "below zero": (-1, 0, 0, 0), "text": "x", "three": (1, 1, 1)}


@pytest.mark.parametrize("mutate", MODELS.values(), ids=MODELS.keys())
def test_impossible_models_are_refused(mutate: forge.Mutation, tmp_path: Path) -> None:
    """A model whose numbers cannot be is refused by the build before anything is written; inspect never fails badly."""
    forgery = Forgery()
    mutate(forgery)
    file = forgery.write(tmp_path / "hostile.pt")
    outcome = run(build_arguments(file, tmp_path, "--imgsz", "64"), tmp_path)
    assert_refused(outcome, tmp_path)
    assert "calibration" not in outcome.stderr, "it passed for good"
    outcome = run(["inspect", file.name], tmp_path)
    if outcome.code != 0:
        assert_refused(outcome, tmp_path)
    assert "Traceback" not in outcome.stderr


@pytest.mark.parametrize("padding", PADDED.values(), ids=PADDED.keys())
def test_zero_padding_is_bounded(padding: object, tmp_path: Path) -> None:
    """A ZeroPad2d of a billion does not reach for the memory."""
    forgery = Forgery(forge.DATA / "yolov3_tiny.pt")
    of_first("ZeroPad2d", padding=padding)(forgery)
    file = forgery.write(tmp_path / "hostile.pt")
    assert_refused(run(build_arguments(file, tmp_path, "--imgsz", "64"), tmp_path), tmp_path, says="ZeroPad2d")


@pytest.mark.parametrize(
    "name", ["\x1b[2J\x1b[31mred", "a\nerror: owned", "[bold red]x[/]", "[/]", "\u009b31m", "\u202eevil", "\r"]
)
@pytest.mark.parametrize("form", ["text", "json"])
def test_class_names_cannot_drive_the_terminal(name: str, form: str, tmp_path: Path) -> None:
    """Control characters, line breaks and markup in a class name are printed as text."""
    forgery = Forgery()
    forgery.model.state["names"] = [name, "nut", "washer"]
    forgery.write(tmp_path / "names.pt")
    outcome = run(["inspect", "names.pt", *(["--json"] if form == "json" else [])], tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert not outcome.stderr
    assert all(c.isprintable() or c == "\n" for c in outcome.stdout), repr(outcome.stdout)
    assert not any(line.startswith("error:") for line in outcome.stdout.splitlines())
    if name.startswith("["):
        assert name in outcome.stdout


@pytest.mark.parametrize("names", [[0, 1, 2], {0: 0, 1: 1, 2: 2}, {"0": "0", "1": "1", "2": "2"}])
def test_class_names_that_are_numbers(names: object, tmp_path: Path) -> None:
    """YAML reads the names of digits as numbers, and the checkpoint keeps them so."""
    forgery = Forgery()
    forgery.model.state["names"] = names
    forgery.write(tmp_path / "digits.pt")
    outcome = run(["inspect", "digits.pt"], tmp_path)
    assert outcome.code == 0, outcome.stderr
    assert "3: 0, 1, 2" in outcome.stdout


def test_class_names_that_are_none(tmp_path: Path) -> None:
    """A name that is missing is said to be that, not a wrong number of names."""
    forgery = Forgery()
    forgery.model.state["names"] = {0: "bolt", 1: None, 2: "nut"}
    forgery.write(tmp_path / "gap.pt")
    assert_refused(run(["inspect", "gap.pt"], tmp_path), tmp_path, says="expected a name for each of the 3 classes")


@pytest.mark.parametrize(
    ("key", "value"),
    [("epoch", HUGE), ("epoch", NAN), ("date", "\x1b[2J"), ("opt", {"imgsz": HUGE})],
    ids=["huge epoch", "NaN epoch", "date of escape codes", "huge image size"],
)
def test_facts_that_cannot_be_are_left_out(key: str, value: object, tmp_path: Path) -> None:
    """A nonsensical epoch, date or size is as if the file did not say."""
    forgery = Forgery()
    forgery.content[key] = value
    forgery.write(tmp_path / "facts.pt")
    for arguments in (["inspect", "facts.pt"], ["inspect", "facts.pt", "--json"]):
        outcome = run(arguments, tmp_path)
        assert outcome.code == 0, outcome.stderr
        assert "\x1b" not in outcome.stdout


def test_the_forger_forges_well(tmp_path: Path) -> None:
    """Unchanged, a re-written checkpoint is as good as the original: what the tests refuse is their change."""
    file = Forgery().write(tmp_path / "v7_n.pt")
    packed = Forgery().write(tmp_path / "packed.pt", compression=zipfile.ZIP_DEFLATED)
    assert run(["inspect", file.name], tmp_path).stdout == run(["inspect", str(BASE)], tmp_path).stdout
    assert run(["inspect", packed.name], tmp_path).code == 0
    assert 'checkpoint "' not in run(build_arguments(file, tmp_path, "--calib", "none"), tmp_path).stderr
