"""Bundles: written whole or not at all, read only when nothing changed."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from rkdeploy.contract import bundle as bundle_module
from rkdeploy.contract.bundle import BUILD, CONTRACT, SUMS, find_bundle, new_bundle, read_bundle, write_json
from rkdeploy.contract.record import BuildRecord, SourceRecord, ToolkitRecord, Verification
from rkdeploy.contract.spec import Anchors, HeadOutput, InputSpec, ModelSpec, NpuModel, Quantization
from rkdeploy.errors import BundleError, VerificationError
from rkdeploy.schema import SCHEMAS

ANCHORS = Anchors((((10.0, 13.0), (16.0, 30.0)),))
SPEC = ModelSpec(
    family="yolov5",
    task="detect",
    class_names=("bolt", "螺母"),
    input=InputSpec("images", 64, 96),
    outputs=(
        HeadOutput("stride8_map", "anchor_map", 0, 8, (1, 14, 8, 12), "sigmoid", Quantization("int8", 0.0039, -128)),
    ),
    anchors=ANCHORS,
    model=NpuModel("best.rknn", "rk3588", "int8"),
)
RECORD = BuildRecord(
    rkdeploy_version="0",
    created="2026-01-01T00:00:00+00:00",
    source=SourceRecord(
        "best.pt", "0" * 64, None, "yolov5", "v7.0", "checkpoint", ANCHORS, coco_anchors=False, parameters=1
    ),
    head=(),
    verification=Verification(1, ("a.jpg",), 10, ()),
    toolkit=ToolkitRecord("rk3588", "int8", name="rknn-toolkit2", version="2.5.0"),
    calibration=None,
    agreement=None,
    host={},
    seconds={},
    warnings=(),
)


def write(folder: Path, model: bytes = b"RKNN") -> Path:
    with new_bundle(folder) as partial:
        write_json(partial / CONTRACT, SPEC)
        write_json(partial / "build.json", RECORD)
        (partial / "best.rknn").write_bytes(model)
    return folder


def unlist(folder: Path, name: str) -> None:
    lines = (folder / SUMS).read_text().splitlines(keepends=True)
    (folder / SUMS).write_text("".join(line for line in lines if not line.endswith(f"  {name}\n")))


def test_round_trip(tmp_path: Path) -> None:
    """A bundle is read back equal, non-ASCII class names and scales included."""
    bundle = read_bundle(write(tmp_path / "out" / "b"))
    assert bundle.spec == SPEC
    assert bundle.record == RECORD
    assert bundle.rknn.read_bytes() == b"RKNN"


def test_names_that_are_no_utf8(tmp_path: Path) -> None:
    """A name in GBK, as an archive of a Windows machine leaves it, is written by its bytes and does not end a build."""
    source = replace(RECORD.source, file=os.fsdecode("螺.pt".encode("gbk")))
    write_json(tmp_path / BUILD, replace(RECORD, source=source))
    assert msgspec.json.decode((tmp_path / BUILD).read_bytes())["source"]["file"] == "\\xc2\\xdd.pt"


def test_sums_are_the_standard_tools(tmp_path: Path) -> None:
    """The hashes can be checked with sha256sum, without this kit."""
    subprocess.run(["sha256sum", "--check", "--quiet", SUMS], cwd=write(tmp_path / "b"), check=True)


def test_a_bundle_is_replaced_as_a_whole(tmp_path: Path) -> None:
    """Building again replaces the old bundle and leaves nothing next to it."""
    folder = write(tmp_path / "b", b"old")
    (folder / "stray").write_text("x")
    write(folder, b"new")
    assert read_bundle(folder).rknn.read_bytes() == b"new"
    assert not (folder / "stray").exists()
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_an_error_leaves_the_old_bundle(tmp_path: Path) -> None:
    """A build that fails half way leaves what was there, and nothing else."""
    folder = write(tmp_path / "b", b"old")

    def fail_half_way() -> None:
        with new_bundle(folder) as partial:
            (partial / "best.rknn").write_bytes(b"half")
            raise VerificationError("no")

    with pytest.raises(VerificationError):
        fail_half_way()
    assert read_bundle(folder).rknn.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]


def test_an_error_leaves_no_new_folder(tmp_path: Path) -> None:
    """A build that fails does not leave the folder that it made for bundles."""
    with pytest.raises(VerificationError), new_bundle(tmp_path / "out" / "b"):
        raise VerificationError("no")
    assert not (tmp_path / "out").exists()


def test_what_killed_builds_left_is_cleared(tmp_path: Path) -> None:
    """Partial folders of dead processes go, and one that is this process's own; another living one's stays."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    (tmp_path / f".b.partial-{dead.pid}-x").mkdir()
    (tmp_path / f".b.partial-{os.getpid()}-y").mkdir()
    (tmp_path / f".b.partial-{os.getppid()}-z").mkdir()
    write(tmp_path / "b")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".b.partial-{os.getppid()}-z", "b"]


def test_a_name_with_a_pattern_clears_its_own_only(tmp_path: Path) -> None:
    """Brackets in a bundle's name are letters: its own killed build is cleared, that of another name is not."""
    dead = subprocess.Popen(["true"])
    dead.wait()
    for name in ("b[1]", "b1"):
        (tmp_path / f".{name}.partial-{dead.pid}-x").mkdir()
    write(tmp_path / "b[1]")
    assert sorted(p.name for p in tmp_path.iterdir()) == [f".b1.partial-{dead.pid}-x", "b[1]"]


def test_a_failed_exchange_brings_the_old_bundle_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a file system without exchange, a rename that fails half way leaves the old bundle in its place."""
    folder = write(tmp_path / "b", b"old")
    monkeypatch.setattr(bundle_module, "_exchange", lambda _a, _b: False)
    rename = Path.rename

    def fail_for_the_new(self: Path, target: Path) -> Path:
        if target == folder and self.name != "old":
            raise OSError(5, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail_for_the_new)
    with pytest.raises(BundleError, match="Input/output error"):
        write(folder, b"new")
    assert read_bundle(folder).rknn.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["b"]
    monkeypatch.setattr(Path, "rename", rename)
    write(folder, b"new")
    assert read_bundle(folder).rknn.read_bytes() == b"new"


def test_a_folder_with_other_things_is_not_replaced(tmp_path: Path) -> None:
    """A folder that is not a bundle is never deleted."""
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "thesis.tex").write_text("x")
    with pytest.raises(BundleError, match="is not a bundle"):
        write(tmp_path / "b")
    assert (tmp_path / "b" / "thesis.tex").exists()


@pytest.mark.parametrize("name", ["best.rknn", CONTRACT, "build.json"])
def test_a_changed_file_is_noticed(tmp_path: Path, name: str) -> None:
    """One changed byte anywhere is an error that names the file."""
    folder = write(tmp_path / "b")
    path = folder / name
    path.write_bytes(path.read_bytes() + b" ")
    with pytest.raises(BundleError, match=rf'{re.escape(name)}" has SHA-256'):
        read_bundle(folder)


def test_a_missing_file_is_noticed(tmp_path: Path) -> None:
    """A file that is listed but gone is an error that names it."""
    folder = write(tmp_path / "b")
    (folder / "best.rknn").unlink()
    with pytest.raises(BundleError, match=r'lacks "best\.rknn"'):
        read_bundle(folder)


@pytest.mark.parametrize("name", ["best.rknn", CONTRACT, BUILD])
def test_a_file_that_is_not_listed_is_noticed(tmp_path: Path, name: str) -> None:
    """Hashes that cover everything but the model, the contract or the record prove nothing about it."""
    folder = write(tmp_path / "b")
    unlist(folder, name)
    (folder / "other.rknn").write_bytes(b"RKNN")
    with pytest.raises(BundleError, match=rf'does not list .*"{re.escape(name)}"'):
        read_bundle(folder)


def test_a_board_needs_no_record(tmp_path: Path) -> None:
    """Without build.json a bundle is whole and names its model; only its record is missing, and that is said."""
    folder = write(tmp_path / "b")
    unlist(folder, BUILD)
    (folder / BUILD).unlink()
    bundle = read_bundle(folder)
    assert (bundle.rknn, bundle.model.target) == (folder / "best.rknn", "rk3588")
    with pytest.raises(BundleError, match=r"has no build\.json"):
        _ = bundle.record


def test_a_record_is_read_when_it_is_asked_for(tmp_path: Path) -> None:
    """A record of another schema does not keep the model from running; readers of the record refuse it."""
    with new_bundle(tmp_path / "b") as partial:
        write_json(partial / CONTRACT, SPEC)
        write_json(partial / BUILD, {"schema_version": 7, "everything": "else"})
        (partial / "best.rknn").write_bytes(b"RKNN")
    bundle = read_bundle(tmp_path / "b")
    with pytest.raises(BundleError, match="schema version 7, expected 1"):
        _ = bundle.record


@pytest.mark.parametrize("unversioned", [True, False])
def test_a_contract_that_names_no_model_yet(tmp_path: Path, unversioned: bool) -> None:
    """Bundles of the first layout have the model's name and target in build.json, without a version."""
    with new_bundle(tmp_path / "b") as partial:
        write_json(partial / CONTRACT, replace(SPEC, model=None))
        record = msgspec.to_builtins(RECORD)
        if unversioned:
            del record["schema_version"]
        write_json(partial / BUILD, record)
        (partial / "best.rknn").write_bytes(b"RKNN")
    bundle = read_bundle(tmp_path / "b")
    assert bundle.model == SPEC.model
    assert bundle.record == RECORD
    unlist(bundle.folder, BUILD)
    (bundle.folder / BUILD).unlink()
    with pytest.raises(BundleError, match=r"names no model, and there is no build\.json"):
        read_bundle(bundle.folder)


@pytest.mark.parametrize("file", ["../best.rknn", "/best.rknn", "..rknn", "best.onnx", ".rknn", "", "a\0.rknn", "best"])
def test_a_models_name_is_a_name(tmp_path: Path, file: str) -> None:
    """The file names in a contract cannot lead outside the bundle."""
    with new_bundle(tmp_path / "b") as partial:
        write_json(partial / CONTRACT, replace(SPEC, model=NpuModel(file, "rk3588", "int8")))
        (partial / "best.rknn").write_bytes(b"RKNN")
    with pytest.raises(BundleError, match="matching regex"):
        read_bundle(tmp_path / "b")


@pytest.mark.parametrize("way", ["current", "up/best-rk3588-int8"])
def test_a_link_is_followed_once(tmp_path: Path, way: str) -> None:
    """A bundle that was read through a link stays that bundle when the link points to another one."""
    first = write(tmp_path / "a" / "best-rk3588-int8", b"RKNN, first")
    write(tmp_path / "b" / "best-rk3588-int8", b"RKNN, second")
    link = tmp_path / way.partition("/")[0]
    link.symlink_to(first if way == "current" else first.parent)
    bundle = read_bundle(tmp_path / way)
    link.unlink()
    link.symlink_to(tmp_path / "b" / ("best-rk3588-int8" if way == "current" else ""))
    assert bundle.folder == first
    assert bundle.rknn.read_bytes() == b"RKNN, first"


def test_a_path_without_links_stays_as_it_was_given(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Messages use the user's own path; a link to itself is not a bundle."""
    write(tmp_path / "best-rk3588-int8")
    monkeypatch.chdir(tmp_path)
    assert read_bundle(Path("best-rk3588-int8")).folder == Path("best-rk3588-int8")
    Path("round").symlink_to("round")
    with pytest.raises(BundleError, match="is not a bundle"):
        read_bundle(Path("round"))


@pytest.mark.parametrize("word", ["", "rk 3588", "\x1b[2J", "x" * 41])
def test_target_and_type_are_words(tmp_path: Path, word: str) -> None:
    """They are printed in one line, and compared."""
    with new_bundle(tmp_path / "b") as partial:
        write_json(partial / CONTRACT, replace(SPEC, model=NpuModel("best.rknn", word, "int8")))
        (partial / "best.rknn").write_bytes(b"RKNN")
    with pytest.raises(BundleError, match="matching regex"):
        read_bundle(tmp_path / "b")


def test_another_schema_version_is_explained(tmp_path: Path) -> None:
    """A contract of another version is refused before it is read as ours."""
    folder = tmp_path / "b"
    with new_bundle(folder) as partial:
        write_json(partial / CONTRACT, {"schema_version": 99, "everything": "else"})
    with pytest.raises(BundleError, match="schema version 99, expected 1"):
        read_bundle(folder)


def test_newest_bundle_is_found(tmp_path: Path) -> None:
    """Without a name the newest bundle near by is taken, and the sentence says so."""
    with pytest.raises(BundleError, match="There is no bundle"):
        find_bundle(tmp_path)
    write(tmp_path / "build" / "a")
    assert "the only bundle" in find_bundle(tmp_path)[1]
    newer = write(tmp_path / "build" / "b")
    os.utime(newer / CONTRACT, (2e9, 2e9))
    bundle, sentence = find_bundle(tmp_path)
    assert bundle.folder == newer
    assert "the newest of 2" in sentence


def test_unreadable_folders_do_not_end_the_search(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Near by there may be folders of other users, such as /root and lost+found: they are passed over."""
    wanted = write(tmp_path / "b")
    (tmp_path / "root").mkdir()
    (tmp_path / "build").mkdir()
    stat, iterdir = Path.stat, Path.iterdir

    def refusing_stat(self: Path, *, follow_symlinks: bool = True) -> os.stat_result:
        if self.parent.name == "root":
            raise PermissionError(13, "Permission denied")
        return stat(self, follow_symlinks=follow_symlinks)

    def refusing_iterdir(self: Path) -> Iterator[Path]:
        if self.name == "build":
            raise PermissionError(13, "Permission denied")
        return iterdir(self)

    monkeypatch.setattr(Path, "stat", refusing_stat)  # by hand: for the superuser nothing is unreadable
    monkeypatch.setattr(Path, "iterdir", refusing_iterdir)
    assert find_bundle(tmp_path)[0].folder == wanted


def test_a_file_of_a_bundle_stands_for_it(tmp_path: Path) -> None:
    """Its model, contract or record; not another model next to its own."""
    folder = write(tmp_path / "b")
    for name in ("best.rknn", CONTRACT, BUILD):
        assert read_bundle(folder / name).folder == folder
    (folder / "other.rknn").write_bytes(b"RKNN")
    with pytest.raises(BundleError, match=r'not the model of the bundle around it, which is "best\.rknn"'):
        read_bundle(folder / "other.rknn")


@pytest.mark.parametrize(
    ("name", "says"),
    [("x.rknn", r"is one file, and a bundle is needed: .*contract\.json"), ("x.pt", "is a file, expected the folder")],
)
def test_a_file_alone_is_no_bundle(tmp_path: Path, name: str, says: str) -> None:
    """It exists: the message says what is missing, and what makes it."""
    (tmp_path / name).write_bytes(b"RKNN")
    with pytest.raises(BundleError, match=f'{says}.*"rkdeploy build best.pt" makes one'):
        read_bundle(tmp_path / name)


def test_targets_of_before_are_read_in_their_own_spelling(tmp_path: Path) -> None:
    """A bundle that says RK3588S is one for rk3588."""
    with new_bundle(tmp_path / "b") as partial:
        write_json(partial / CONTRACT, replace(SPEC, model=NpuModel("best.rknn", "RK3588S", "int8")))
        (partial / "best.rknn").write_bytes(b"RKNN")
    assert read_bundle(tmp_path / "b").model.target == "rk3588"


def test_schema_file_is_up_to_date() -> None:
    """docs/contract.schema.json is what the types say (make schema)."""
    assert (Path(__file__).parents[2] / "docs" / "contract.schema.json").read_text() == SCHEMAS[
        "contract.schema.json"
    ]()
