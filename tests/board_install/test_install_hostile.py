"""install.sh against users who may push: it runs as root, in folders that the group `rkdeploy` can write."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.board_install.test_install_checks import BOARD, Machine, refused

HERE = Path(__file__).parent
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="makes users, in a copy of this system: needs root")

# A first installation, and a user who may push, as the README says.
BEGIN = """
install() { bash /src/board/install.sh --python "$PYTHON" "$@" 2>&1; }
pusher() { setpriv --reuid pusher --regid pusher --init-groups sh -c "cd /var/lib/rkdeploy && $1"; }
facts() { stat -c '%n %U:%G:%a' "$@"; }
mkdir /victim
install >/dev/null
useradd -U pusher
usermod -aG rkdeploy pusher
"""


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def in_copy(tmp_path: Path, script: str) -> list[str]:
    """Output of a script in a copy of this system; skipped if none can be made."""
    (tmp_path / "work").mkdir()
    (tmp_path / "script.sh").write_text(f"PYTHON={sys.base_prefix}/bin/python3\n{BEGIN}{script}")
    words = [HERE / "in_copy_of_root.sh", tmp_path / "work", BOARD, tmp_path / "script.sh"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    if "mount:" in done.stderr or "unshare:" in done.stderr:
        pytest.skip(f"no copy of this system can be made: {done.stderr.splitlines()[0]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


@as_root
@pytest.mark.parametrize("name", ["bundles", "output"])
def test_a_link_of_a_pusher_is_not_followed(tmp_path: Path, name: str) -> None:
    """The link is refused by name, neither owner nor mode of what it names changes, and removal takes the link only."""
    said = in_copy(
        tmp_path,
        f"""
        pusher 'mv {name} .mine && ln -s /victim {name}'
        if install; then echo INSTALLED; fi
        facts /victim
        touch /victim/file
        install --uninstall --purge
        facts /victim /victim/file
        ls -d /var/lib/rkdeploy || true
        """,
    )
    assert f'error: "/var/lib/rkdeploy/{name}" is a link, to "/victim", expected a folder.' in said
    assert said.count("/victim root:root:755") == 2
    assert "/victim/file root:root:644" in said
    assert not {"INSTALLED", "/var/lib/rkdeploy"} & set(said)


@as_root
def test_an_exchange_in_the_middle_is_noticed(tmp_path: Path) -> None:
    """A link that appears between the look and the change: chown and chmod act on the folder that was seen, or none."""
    said = in_copy(
        tmp_path,
        """
        chmod 700 /var/lib/rkdeploy/bundles
        sed -i 's|^  cd -P "$ROOT$1"$|  if [ $1 != "$HOME_DIR" ]; then mv "$1" "$1.x"; ln -s /victim "$1"; fi; &|' \\
          /src/board/install/files.sh
        if install; then echo INSTALLED; fi
        facts /victim
        """,
    )
    assert 'error: "/var/lib/rkdeploy/bundles" was exchanged for a link.' in said
    assert "/victim root:root:755" in said
    assert "INSTALLED" not in said


@as_root
def test_install_after_uninstall(tmp_path: Path) -> None:
    """The group is removed although it has a member; a second installation works, also with a leftover group."""
    said = in_copy(
        tmp_path,
        """
        install --uninstall --purge >/dev/null
        grep -E '^rkdeploy:' /etc/passwd /etc/group || echo GONE
        install | tail -1
        install --uninstall >/dev/null
        groupadd --system rkdeploy
        usermod -aG rkdeploy pusher
        install | grep Done
        facts /var/lib/rkdeploy/bundles /var/lib/rkdeploy/output
        install
        """,
    )
    assert "GONE" in said
    assert "Done. rkdeploy 0 is in /opt/rkdeploy." in said
    assert "/var/lib/rkdeploy/bundles root:rkdeploy:2775" in said
    assert "/var/lib/rkdeploy/output rkdeploy:rkdeploy:750" in said
    assert said[-1] == "Nothing to change."


@as_root
def test_a_prefix_that_others_can_exchange_is_refused(tmp_path: Path) -> None:
    """A folder of a user's above the program would let him exchange what root runs; one of root's is taken."""
    said = in_copy(
        tmp_path,
        """
        install --uninstall >/dev/null
        mkdir -p /mine/deep /roots/deep
        chown pusher /mine
        install --prefix /mine/deep/rkdeploy || true
        chmod 777 /roots
        install --prefix /roots/deep/rkdeploy || true
        chmod 755 /roots
        install --prefix /roots/deep/rkdeploy | grep Done
        """,
    )
    refusals = [line for line in said if line.startswith("error:")]
    assert [line.split('"')[1] for line in refusals] == ["/mine", "/roots"]
    assert "Done. rkdeploy 0 is in /roots/deep/rkdeploy." in said


@as_root
def test_roots_own_link_to_a_disk_for_data_is_followed(tmp_path: Path) -> None:
    """/var/lib/rkdeploy may be a link that root made: no other user can write in /var/lib."""
    said = in_copy(
        tmp_path,
        """
        mkdir /data
        mv /var/lib/rkdeploy /data/rkdeploy
        ln -s /data/rkdeploy /var/lib/rkdeploy
        chmod 700 /data/rkdeploy
        install | tail -3
        facts /data/rkdeploy /data/rkdeploy/bundles
        """,
    )
    assert "/data/rkdeploy root:rkdeploy:2775" in said


@pytest.mark.parametrize("name", ["bundles", "output"])
def test_links_in_an_image(machine: Machine, tmp_path: Path, name: str) -> None:
    """Below --root, too, a link in the place of a folder is refused."""
    (tmp_path / "victim").mkdir(mode=0o700)
    (machine.root / "var/lib/rkdeploy").mkdir(parents=True)
    (machine.root / "var/lib/rkdeploy" / name).symlink_to(tmp_path / "victim")
    refused(machine.install(), "is a link, to")
    assert (tmp_path / "victim").stat().st_mode & 0o7777 == 0o700


@pytest.mark.parametrize("path", ["etc", "opt", "var/lib", "usr/local/bin"])
def test_an_image_does_not_lead_out_of_itself(machine: Machine, tmp_path: Path, path: str) -> None:
    """An absolute link in the image names a folder of the machine that makes it: nothing is written there."""
    (tmp_path / "outside").mkdir()
    (machine.root / path).parent.mkdir(parents=True, exist_ok=True)
    (machine.root / path).symlink_to(tmp_path / "outside")
    refused(machine.install(), "leads out of")
    assert not list((tmp_path / "outside").iterdir())


def test_python_imports_nothing_from_where_it_is_started(machine: Machine, tmp_path: Path) -> None:
    """A module in the working folder, which may be /tmp or a folder for bundles, is not run; relative options work."""
    here = tmp_path / "here"
    here.mkdir()
    for name in ("venv", "ensurepip", "sitecustomize", "numpy", "rkdeploy"):
        (here / f"{name}.py").write_text(f"open({str(tmp_path / 'executed')!r}, 'w')\n")
    machine.wheels.rename(here / "wheels")
    result = subprocess.run(
        [BOARD / "install.sh", "--root", machine.root, "--wheels", "wheels", "--dry-run"], cwd=here,
        env={**os.environ, "PATH": f"{machine.bin}:{os.environ['PATH']}"},
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    assert f"from {here / 'wheels'}" in result.stdout
    assert not (tmp_path / "executed").exists()
