"""The bundle: one folder with the model, its contract, and the record of their build.

    best-rk3588-int8/
      best.rknn  contract.json  build.json  best.onnx  best-cut.onnx  toolkit.log  SHA256SUMS  quantization/

It is written next to its place and renamed into it, so that a bundle is either complete or absent.  See docs/bundle.md.
"""

from __future__ import annotations

import contextlib
import ctypes
import glob
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from rkdeploy.contract.chips import platform_of
from rkdeploy.contract.documents import read_document
from rkdeploy.contract.file_hash import sha256_of
from rkdeploy.contract.record import BuildRecord
from rkdeploy.contract.spec import ModelSpec, NpuModel
from rkdeploy.errors import BundleError, RkdeployError

_LOG = logging.getLogger(__name__)

CONTRACT, BUILD, SUMS, LOG, QUANTIZATION = "contract.json", "build.json", "SHA256SUMS", "toolkit.log", "quantization"
BOARD_HOME, CURRENT = "/var/lib/rkdeploy", "current"  # where rkdeploy push puts bundles on a board
MAX_EXAMPLES = 32
"""Most pictures that a bundle keeps."""
PARTIAL, PREVIOUS = ".partial-", ".previous"  # after a bundle's name: one being written, one that was replaced
_RKNN = ".rknn"
_REPLACED = re.compile(rf"{re.escape(PREVIOUS)}(-\d+)?$")
_BUILD_ONE = '"rkdeploy build best.pt" makes one from a checkpoint.'
_REBUILD = "Build it again with rkdeploy build, or copy it again."
_Decoded = TypeVar("_Decoded")


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on disk, read and checked.

    Attributes:
        folder: path of the bundle.
        spec: contract of the model.
        model: the `.rknn`, as the contract describes it.
    """

    folder: Path
    spec: ModelSpec
    model: NpuModel

    @property
    def record(self) -> BuildRecord:
        """Record of the build, read from `build.json` on each access; running the model does not need it.

        Raises:
            BundleError: missing, damaged, or of another schema version.
        """
        return _read_record(self.folder)

    @property
    def stem(self) -> str:
        """File name of the model without its suffix."""
        return Path(self.model.file).stem

    @property
    def rknn(self) -> Path:
        """The model for the NPU."""
        return self.folder / self.model.file

    @property
    def full_onnx(self) -> Path:
        """The network with its decode."""
        return self.folder / f"{self.stem}.onnx"

    @property
    def cut_onnx(self) -> Path:
        """The float network up to the head's tensors."""
        return self.folder / f"{self.stem}-cut.onnx"

    @property
    def quantization(self) -> Path:
        """The toolkit's own files, from which the simulator opens without calibrating again."""
        return self.folder / QUANTIZATION


@contextlib.contextmanager
def new_bundle(folder: Path) -> Iterator[Path]:
    """A folder to fill; on leaving without an error it gets its hashes and takes the place of `folder`.

    An error, or the death of the process, leaves `folder` as it was.  What killed builds left is cleared away.

    Raises:
        BundleError: when the place cannot be written, or is a folder with something else in it.
    """
    if folder.exists() and not (folder / CONTRACT).is_file() and (not folder.is_dir() or any(folder.iterdir())):
        raise BundleError(f'"{folder}" exists and is not a bundle; it will not be replaced.', "Choose another --out.")
    had_parent = folder.parent.exists()
    try:  # all of it: a signal raises anywhere
        partial = _new_partial(folder)
        yield partial
        _write_sums(partial)
        partial.chmod(0o755)
        _replace(partial, folder)
    except OSError as error:
        raise BundleError(f'Cannot write the bundle "{folder}": {error.strerror or error}.') from error
    finally:
        _clear_partial(folder, mine=True)
        if not had_parent:
            with contextlib.suppress(OSError):  # holds the bundle, or a failed build's log
                folder.parent.rmdir()


def write_json(path: Path, value: object) -> None:
    r"""Write plain data as indented JSON.  Bytes of file names that are not valid UTF-8 are written as `\xb0`."""
    try:
        text = msgspec.json.encode(value)
    except UnicodeEncodeError:
        text = msgspec.json.encode(_encodable(msgspec.to_builtins(value)))
    path.write_bytes(msgspec.json.format(text, indent=2) + b"\n")


def read_bundle(named: Path, *, check_hashes: bool = True) -> Bundle:
    """Read a bundle and check that it is whole.

    Where links lead to it, the folder behind them is found once: the contract that is read now and the model that is
    opened later are one bundle's, even if the link points to another one by then.

    Args:
        named: its folder, or its `.rknn`, contract or record, which stand for the folder.
        check_hashes: whether every file is compared with its hash.

    Raises:
        BundleError: missing, damaged, changed since it was built, or of another schema version; or a file that is no
            part of a bundle.
    """
    named = _without_links(named)
    folder = _folder_of(named)
    spec = _document(folder / CONTRACT, ModelSpec)  # first: it refuses a file that is too large to hash
    listed = _check_sums(folder) if check_hashes else None
    _LOG.debug("%s: %s", folder, f"{len(listed)} hashes right" if listed is not None else "hashes not checked")
    model = spec.model or _model_of_record(folder)
    if named.suffix == _RKNN and folder != named and named.name != model.file:
        raise BundleError(f'"{named}" is not the model of the bundle around it, which is "{model.file}".', _REBUILD)
    if listed is not None and model.file not in listed:
        raise BundleError(f'"{folder / SUMS}" does not list the model, "{model.file}".', _REBUILD)
    return Bundle(folder, spec, _in_own_spelling(model))


def _without_links(folder: Path) -> Path:
    """The same folder; as it was given where no link is on the way."""
    real = os.path.realpath(folder)  # not resolve: it raises where links go round in circles
    return folder if real == os.path.abspath(folder) else Path(real)  # noqa: PTH100  (resolve follows links)


def names_bundle(named: Path) -> bool:
    """Tell whether a path means a bundle: its folder, a `.rknn`, or its contract, record or sums."""
    try:
        inside = named.name in {CONTRACT, BUILD, SUMS} and (named.parent / CONTRACT).is_file()
        return inside or named.suffix == _RKNN or (named / CONTRACT).is_file()
    except (OSError, ValueError):  # a name that is too long, or with a NUL character
        return False


def find_bundle(near: Path, *, installed: bool = True) -> tuple[Bundle, str]:
    """The only or newest bundle in `near`, `near`/build or `near`'s own folder, and a sentence saying which and why.

    With `installed`, and none near by: the board's current bundle, which `rkdeploy push` switches (RKDEPLOY_HOME, by
    default /var/lib/rkdeploy, has it as the symlink "current").  Its own folder is returned: a later switch does not
    mix two bundles.

    Folders that cannot be read are passed over.

    Raises:
        BundleError: when there is none.
    """
    places = [near, *sorted(p for place in (near, near / "build") for p in _entries(place))]
    written = {p: _contract_written_ns(p) for p in places if PARTIAL not in p.name and not _REPLACED.search(p.name)}
    found = {p: at for p, at in written.items() if at is not None}
    current = Path(os.environ.get("RKDEPLOY_HOME") or BOARD_HOME) / CURRENT
    if not found and installed and current.is_symlink():
        if not current.is_dir():
            raise BundleError(
                f'The board\'s current bundle "{current}" points to "{current.readlink()}", which is not there.',
                "Push a bundle again, or name one as the first argument.",
            )
        folder = current.resolve()
        return read_bundle(folder), f'Using "{folder}", the board\'s current bundle ("{current}"); none is near by.'
    if not found:
        raise BundleError(
            f'There is no bundle in "{near}" or "{near / "build"}".', "Build one, or name one as the first argument."
        )
    newest = max(found, key=lambda p: found[p])
    why = "the only bundle near by" if len(found) == 1 else f"the newest of {len(found)} bundles near by"
    return read_bundle(newest), f'Using "{newest}", {why}.'


def _folder_of(named: Path) -> Path:
    """The folder of the bundle that a path means.

    Raises:
        BundleError: when there is none; with what a file is missing, where it is one.
    """
    if named.is_dir():
        if not (named / CONTRACT).is_file():
            raise BundleError(f'"{named}" is not a bundle: it has no {CONTRACT}.', _BUILD_ONE)
        return named
    if not named.exists():
        raise BundleError(f'"{named}" is not a bundle: no such folder.', _BUILD_ONE)
    if named.suffix == _RKNN or named.name in {CONTRACT, BUILD, SUMS}:
        if (named.parent / CONTRACT).is_file():
            return named.parent
        raise BundleError(
            f'"{named}" is one file, and a bundle is needed: the folder with the .rknn and its {CONTRACT}, which says '
            "what goes in and what the outputs mean.",
            f"Give the whole folder. {_BUILD_ONE}",
        )
    raise BundleError(f'"{named}" is a file, expected the folder of a bundle.', _BUILD_ONE)


def _entries(place: Path) -> list[Path]:
    try:
        return list(place.iterdir())
    except OSError:  # no folder, or another user's: what is searched by chance need not be readable
        return []


def _contract_written_ns(folder: Path) -> int | None:
    """When a bundle's contract was written, or None where there is none that can be seen."""
    try:
        contract = folder / CONTRACT
        return contract.stat().st_mtime_ns if contract.is_file() else None
    except OSError:
        return None


def _document(path: Path, kind: type[_Decoded]) -> _Decoded:
    try:
        return read_document(path, (kind,), _REBUILD)
    except RkdeployError as error:
        raise BundleError(error.message, error.hint) from error


def _in_own_spelling(model: NpuModel) -> NpuModel:
    """The target in lower case: earlier releases recorded it as it was typed, `RK3588`."""
    return replace(model, target=platform_of(model.target) or model.target)


def _read_record(folder: Path) -> BuildRecord:
    path = folder / BUILD
    if not path.exists():
        raise BundleError(
            f'"{folder}" has no {BUILD}, which says how it was built; it is needed for this, not for running the model '
            "on a board.",
            _REBUILD,
        )
    return _document(path, BuildRecord)


def _model_of_record(folder: Path) -> NpuModel:
    """The model of a contract that names none, from the record."""
    if not (folder / BUILD).exists():
        raise BundleError(f'"{folder / CONTRACT}" names no model, and there is no {BUILD} that does.', _REBUILD)
    record = _read_record(folder)
    name = f"{Path(record.source.file).stem}{_RKNN}"
    said = {"file": name, "target": record.toolkit.target, "dtype": record.toolkit.dtype}
    try:
        return msgspec.convert(said, NpuModel)
    except msgspec.ValidationError as error:
        raise BundleError(f'"{folder / BUILD}" names a model that cannot be: {error}.', _REBUILD) from error


def _encodable(value: Any) -> Any:
    if isinstance(value, str):
        return os.fsencode(value).decode("utf-8", "backslashreplace")
    if isinstance(value, dict):
        return {_encodable(key): _encodable(item) for key, item in value.items()}
    return [_encodable(item) for item in value] if isinstance(value, list | tuple) else value


def _files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name != SUMS)


def _write_sums(folder: Path) -> None:
    lines = [f"{sha256_of(p)}  {p.relative_to(folder).as_posix()}\n" for p in _files(folder)]
    (folder / SUMS).write_bytes(os.fsencode("".join(lines)))  # names as the file system has them


def _check_sums(folder: Path) -> frozenset[str]:
    """Check every hash.  Returns the files that are listed."""
    try:
        if not (folder / SUMS).is_file():
            raise BundleError(f'"{folder}" has no {SUMS}.', _REBUILD)
        lines = os.fsdecode((folder / SUMS).read_bytes()).split("\n")
    except OSError as error:
        raise BundleError(f'"{folder}" has no readable {SUMS}.', _REBUILD) from error
    listed = {}
    for line in lines:
        digest, _, name = line.partition("  ")
        if not name:
            continue
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise BundleError(f'"{folder / SUMS}" names "{name}", which is outside the bundle.', _REBUILD)
        listed[name] = digest
    for name, digest in listed.items():
        path = folder / name
        if not path.is_file():
            raise BundleError(f'"{folder}" lacks "{name}", which {SUMS} lists.', _REBUILD)
        found = sha256_of(path)
        if found != digest:
            raise BundleError(
                f'"{path}" has SHA-256 {found[:12]}..., expected {digest[:12]}...: it changed after the build.',
                _REBUILD,
            )
    for name in (CONTRACT, BUILD):
        if name not in listed and (name == CONTRACT or (folder / name).exists()):
            raise BundleError(f'"{folder / SUMS}" does not list "{name}".', _REBUILD)
    return frozenset(listed)


def _replace(source: Path, target: Path) -> None:
    """Rename a folder into place; where one is there already, exchange the two in one step."""
    if not target.exists():
        source.rename(target)
        return
    if not _exchange(source, target):  # a file system without exchange: a moment without a bundle remains
        aside = Path(tempfile.mkdtemp(prefix=f".{target.name}{PARTIAL}{os.getpid()}-", dir=target.parent))
        target.rename(aside / "old")
        try:
            source.rename(target)
        except OSError:
            (aside / "old").rename(target)
            aside.rmdir()
            raise
        shutil.rmtree(aside, ignore_errors=True)


def _exchange(a: Path, b: Path) -> bool:
    """renameat2 with RENAME_EXCHANGE; False where the C library or the file system has none."""
    at_fdcwd, rename_exchange = -100, 2
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    result: int = renameat2(at_fdcwd, os.fsencode(a), at_fdcwd, os.fsencode(b), rename_exchange)
    return result == 0


def _new_partial(folder: Path) -> Path:
    """A fresh folder next to `folder`, named after this process."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _clear_partial(folder)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}{PARTIAL}{os.getpid()}-", dir=folder.parent))
    except OSError as error:
        raise BundleError(f'Cannot write a bundle in "{folder.parent}": {error.strerror}.') from error


def _clear_partial(folder: Path, *, mine: bool = False) -> None:
    """Remove what killed builds left next to `folder`; of builds that still run only this process's, if `mine`."""
    for partial in folder.parent.glob(f".{glob.escape(folder.name)}{PARTIAL}*"):
        owner = partial.name.rpartition(PARTIAL)[2].partition("-")[0]
        running = owner.isdigit() and Path(f"/proc/{owner}").exists()
        if not running or (mine and owner == str(os.getpid())):
            shutil.rmtree(partial, ignore_errors=True)
