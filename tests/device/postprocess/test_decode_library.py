from __future__ import annotations

import os
import platform
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rkdeploy.device.postprocess.native import compile as compiling
from rkdeploy.device.postprocess.native import decode_library as module
from rkdeploy.device.postprocess.native.compile import (
    CompileError,
    compile_library,
    compiler,
    library_name,
    source_hash,
    zig,
)
from rkdeploy.errors import RkdeployError

ROOT = Path(__file__).parents[3]
NAME = library_name(platform.machine())


@pytest.fixture(autouse=True)
def undecided(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.delenv(module.DECODE_VARIABLE, raising=False)
    module.decode_choice.cache_clear()
    yield
    module.decode_choice.cache_clear()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the library, with the sources and no library."""
    for path in (*compiling.FOLDER.glob("*.c"), *compiling.FOLDER.glob("*.h")):
        shutil.copyfile(path, tmp_path / path.name)
    monkeypatch.setattr(module, "FOLDER", tmp_path)
    monkeypatch.setattr(compiling, "FOLDER", tmp_path)
    return tmp_path


def test_used_where_it_is() -> None:
    """This environment has the library (make setup, with a C compiler), and without a word it is used."""
    chosen = module.decode_choice()
    assert chosen.library is not None, chosen.why
    assert not chosen.asked_for
    assert Path(chosen.why).name == NAME


def test_numpy_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variable turns the library off."""
    monkeypatch.setenv(module.DECODE_VARIABLE, "numpy")
    assert module.decode_choice() == module.DecodeChoice(None, "RKDEPLOY_DECODE=numpy", asked_for=True)


def test_something_else_on_request(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another value of the variable is an error, not a default."""
    monkeypatch.setenv(module.DECODE_VARIABLE, "rust")
    with pytest.raises(RkdeployError, match='RKDEPLOY_DECODE is "rust", expected "numpy" or "native"'):
        module.decode_choice()


@pytest.mark.parametrize("case", ["missing", "no library", "another library", "other sources"])
def test_numpy_where_it_is_not(folder: Path, monkeypatch: pytest.MonkeyPatch, case: str) -> None:
    """A library that is missing, broken, of something else or of other sources is not used; asked for, it is an error
    that says how to make one."""
    if case == "no library":
        (folder / NAME).write_bytes(b"\x7fELF and then nothing")
    elif case == "another library":
        source = folder / "empty.c"
        source.write_text("int nothing;\n")
        subprocess.run([*compiler(), "-shared", "-fPIC", "-nostdlib", "-o", folder / NAME, source], check=True)
        source.unlink()
    elif case == "other sources":
        shutil.copyfile(Path(compiling.__file__).with_name(NAME), folder / NAME)
        with (folder / "nms.c").open("a") as file:
            file.write("/* changed */\n")
    chosen = module.decode_choice()
    assert chosen.library is None
    reasons = {"missing": "there is no", "other sources": "was compiled from other sources"}
    assert reasons.get(case, "cannot be loaded") in chosen.why
    module.decode_choice.cache_clear()
    monkeypatch.setenv(module.DECODE_VARIABLE, "native")
    with pytest.raises(RkdeployError, match="RKDEPLOY_DECODE=native, but ") as caught:
        module.decode_choice()
    assert "python -m rkdeploy.device.postprocess.native.compile" in caught.value.hint


def test_compile_and_use(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sources compile without a warning into a library that is loaded, and that needs no other library."""
    monkeypatch.setenv("CFLAGS", "-Werror -Wconversion -Wno-sign-conversion -Wno-float-conversion")
    library, machine = compile_library(folder)
    assert (library, machine) == (folder / NAME, platform.machine())
    assert sorted(path.name for path in folder.glob("*.so*")) == [NAME]
    monkeypatch.setenv(module.DECODE_VARIABLE, "native")
    assert module.decode_choice().library is not None
    if not shutil.which("readelf"):
        pytest.skip("readelf is not installed: bash tests/needs.sh")
    dynamic = subprocess.run(["readelf", "-dW", library], capture_output=True, text=True, check=True).stdout
    assert "NEEDED" not in dynamic
    symbols = subprocess.run(
        ["readelf", "--dyn-syms", "-W", library], capture_output=True, text=True, check=True
    ).stdout
    undefined = {line.split()[-1] for line in symbols.splitlines() if " UND " in line and len(line.split()) == 8}
    assert undefined <= {"memset", "memcpy"}  # what a compiler may put in the place of a loop; every process has them


def test_compile_for_a_board(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a compiler for another processor the library is named after that one."""
    monkeypatch.setenv("CC", shlex.join(zig("aarch64")))
    monkeypatch.setenv("CFLAGS", "-Werror")
    library, machine = compile_library(folder)
    assert (library.name, machine) == ("librkdeploy-decode-aarch64.so", "aarch64")


@pytest.mark.parametrize(
    ("command", "message"),
    [
        ("", "There is no C compiler"),
        ("no-such-compiler", '"no-such-compiler" failed'),
        ("false", "failed:"),
        ("true", '"true" failed'),
        (shlex.join(zig("riscv64")), "fail|makes no library for x86_64 or aarch64"),
    ],
)
def test_compilers_that_fail(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, message: str) -> None:
    """No compiler, one that fails, one that writes nothing, one for 32 bits: an error, and nothing is left behind."""
    monkeypatch.setenv("CC", command)
    if not command:
        monkeypatch.setenv("PATH", str(folder))
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    before = sorted(folder.iterdir())
    with pytest.raises(CompileError, match=message):
        compile_library(folder)
    assert sorted(folder.iterdir()) == before


def test_hash_of_sources(folder: Path) -> None:
    """Any source that changes, comes or goes changes the hash."""
    hashes = [source_hash()]
    changes: list[Callable[[], object]] = [
        lambda: (folder / "nms.c").write_text("changed"),
        lambda: (folder / "tensor.h").write_text("changed"),
        lambda: (folder / "new.c").write_text("new"),
        (folder / "new.c").unlink,
    ]
    for change in changes:
        change()
        hashes.append(source_hash())
    assert len({*hashes}) == 4
    assert hashes[2] == hashes[4]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "tag"),
    [
        (shlex.join(zig(platform.machine())), f"py3-none-manylinux_2_17_{platform.machine()}"),
        (shlex.join(zig("aarch64")), "py3-none-manylinux_2_17_aarch64"),
        ("no-such-compiler", "py3-none-any"),
    ],
)
def test_wheels(tmp_path: Path, command: str, tag: str) -> None:
    """The wheel holds the library of the processor that it is for; without a compiler it is pure, and holds none."""
    # One of them as users build it, with hatchling in an environment of pip's: making that takes longer than the wheel.
    here = [] if tag.endswith("any") else ["--no-build-isolation"]
    subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", *here, "--wheel-dir", tmp_path, ROOT],
        check=True, env={**os.environ, "CC": command},
    )  # fmt: skip
    (wheel,) = tmp_path.iterdir()
    assert wheel.name.endswith(f"-{tag}.whl")
    shutil.unpack_archive(wheel, tmp_path / "unpacked", "zip")
    found = [path.name for path in (tmp_path / "unpacked").rglob("*.so")]
    assert found == ([] if tag.endswith("any") else [f"librkdeploy-decode-{tag.rpartition('_2_17_')[2]}.so"])
