"""`rkdeploy report` and `rkdeploy report diff` as a user meets them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from rkdeploy.analysis.report.document_models import model_sha256_of
from rkdeploy.contract.bundle import Bundle
from tests.analysis.report.report_samples import UNKNOWN, make_bundle, profile, write
from tests.command_line import rkdeploy


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    return make_bundle(tmp_path / "best-rk3588-int8")


def flat(text: str) -> str:
    """Without the frames and line breaks that a terminal's width makes."""
    return " ".join(re.sub("[│╭╮╰╯─]", " ", text).split())


def test_help_of_both(tmp_path: Path) -> None:
    """Each has its own usage and options; the first names the second, and no invented command shows."""
    first = rkdeploy("report", "--help", cwd=tmp_path)
    assert first.returncode == 0
    assert "Usage: rkdeploy report BUNDLE|FILE... [OPTIONS]" in first.stdout
    assert "rkdeploy report diff A B" in first.stdout
    assert "--fail-on" not in first.stdout
    second = rkdeploy("report", "diff", "--help", cwd=tmp_path)
    assert second.returncode == 0
    assert "Usage: rkdeploy report diff A B [OPTIONS]" in flat(second.stdout)
    assert "--fail-on" in second.stdout
    assert "report " in rkdeploy("--help", cwd=tmp_path).stdout


def test_the_terminals_summary(bundle: Bundle, tmp_path: Path) -> None:
    """Without -o: the four answers, each with where it comes from; in Chinese too."""
    result = rkdeploy("report", bundle.folder.name, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = flat(result.stdout)
    for part in ("Is it right?", "0.980", "How accurate?", "0.600", "How fast?", "Predicted", "How big?", "MiB",
                 "simulator (rknn-toolkit2 2.5.0)"):  # fmt: skip
        assert part in text, part
    assert "转换正确吗？" in rkdeploy("report", bundle.folder, "--lang", "zh", cwd=tmp_path).stdout  # noqa: RUF001


@pytest.mark.parametrize(
    ("arguments", "name", "begins"),
    [
        (("-o", "r.html"), "r.html", "<!doctype html>"),
        (("-o", "r.md"), "r.md", "# best-rk3588-int8"),
        (("-o", "r.json"), "r.json", "{"),
        (("-o", "r.out", "--format", "md"), "r.out", "# best-rk3588-int8"),
        (("--format", "html"), "", "<!doctype html>"),
        (("--format", "md", "--lang", "zh"), "", "# best-rk3588-int8"),
        (("--json",), "", "{"),
        (("--format", "json", "-o", "r.txt"), "r.txt", "{"),
    ],
)
def test_forms(bundle: Bundle, tmp_path: Path, arguments: tuple[str, ...], name: str, begins: str) -> None:
    """The form is the suffix's or the option's; without a file it goes to stdout; a file is overwritten whole."""
    if name:
        (tmp_path / name).write_text("before")
    result = rkdeploy("report", bundle.folder, *arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    text = (tmp_path / name).read_text() if name else result.stdout
    assert text.startswith(begins)
    if name:
        assert result.stdout == ""
        assert f"Written: {name}" in result.stderr
    assert not list(tmp_path.glob(".*partial*"))
    if begins == "{":
        assert json.loads(text)["document"] == "rkdeploy report"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        ((), 2, "Missing argument"),
        (("{}", "-o", "r.pdf"), 2, "ends in none of .html, .md, .json"),
        (("{}", "--json", "--format", "md"), 2, "it goes with --format json only"),
        (("{}", "--lang", "de"), 2, '"de" is not one of en, zh'),
        (("{}", "-o", "none/r.html"), 1, 'there is no folder "none"'),
        (("{}", "-o", "."), 2, ""),
        (("nothing",), 1, "neither a bundle's folder nor a file"),
        (("diff", "{}"), 2, "Missing argument"),
        (("diff", "{}", "{}", "--fail-on", "speed=1"), 1, 'names "speed"'),
        (("diff", "{}", "nothing"), 1, "neither a bundle's folder nor a file"),
    ],
)
def test_what_is_refused(bundle: Bundle, tmp_path: Path, arguments: tuple[str, ...], code: int, said: str) -> None:
    """Wrong usage is 2, a known failure 1 with one message, and never a traceback."""
    given = [one.replace("{}", str(bundle.folder)) for one in arguments]
    result = rkdeploy("report", *given, cwd=tmp_path)
    assert result.returncode == code, result.stderr
    assert said in flat(result.stderr)
    assert "Traceback" not in result.stderr
    assert result.stdout == ""


def test_diff_and_its_exit_codes(bundle: Bundle, tmp_path: Path) -> None:
    """Itself: nothing, 0.  Another: a table, 0; over a limit: the table still, and 1 with the reason."""
    fp16 = make_bundle(tmp_path / "best-fp16", "fp16", target=UNKNOWN).folder
    same = rkdeploy("report", "diff", bundle.folder, bundle.folder, "--fail-on", "memory=0", cwd=tmp_path)
    assert (same.returncode, "No difference." in same.stdout) == (0, True)
    other = rkdeploy("report", "diff", bundle.folder, fp16, cwd=tmp_path)
    assert other.returncode == 0, other.stderr
    assert "weight memory" in other.stdout
    assert "not comparable" in other.stdout
    failed = rkdeploy("report", "diff", bundle.folder, fp16, "--fail-on", "memory=10%,latency=5%", cwd=tmp_path)
    assert failed.returncode == 1
    assert failed.stdout.startswith(other.stdout.rstrip("\n").splitlines()[0])
    assert "memory.total got worse" in failed.stderr
    assert "latency=5% cannot be judged" in failed.stderr
    assert "Traceback" not in failed.stderr


@pytest.mark.parametrize(("form", "begins"), [("md", "# "), ("json", "{"), ("html", "<!doctype html>")])
def test_diff_forms(bundle: Bundle, tmp_path: Path, form: str, begins: str) -> None:
    """Every form, to stdout and to a file."""
    fp16 = make_bundle(tmp_path / "best-rk3588-fp16", "fp16").folder
    result = rkdeploy("report", "diff", bundle.folder, fp16, "--format", form, cwd=tmp_path)
    assert result.stdout.startswith(begins), result.stderr
    rkdeploy("report", "diff", bundle.folder, fp16, "-o", f"d.{form}", cwd=tmp_path)
    assert (tmp_path / f"d.{form}").read_text() == result.stdout
    if form == "json":
        assert json.loads(result.stdout)["document"] == "rkdeploy report diff"


def test_a_folder_called_diff(bundle: Bundle, tmp_path: Path) -> None:
    """A path of the sub-command's name is given with its folder."""
    bundle.folder.rename(tmp_path / "diff")
    assert "How fast?" in rkdeploy("report", "./diff", cwd=tmp_path).stdout


def test_hostile_names_in_the_terminal(tmp_path: Path) -> None:
    """Markup and control characters of a stranger's profile reach neither Rich nor the terminal."""
    one = profile("[red]x[/]\x1b[2J", versions=profile().versions.__class__(
        "1\x1b[2J", "[bold]", "5", "[link]b\x07", "rk3588", 6, None, "rk3588", "int8", {}))  # fmt: skip
    file, other = write(tmp_path / "p.json", one), write(tmp_path / "q.json", profile("y"))
    for result in (rkdeploy("report", file, cwd=tmp_path), rkdeploy("report", "diff", file, other, cwd=tmp_path)):
        assert result.returncode == 0, result.stderr
        assert "\x1b" not in result.stdout
        assert "\x07" not in result.stdout
        assert "[red]x[/]" in result.stdout


def test_without_jinja2(bundle: Bundle, tmp_path: Path) -> None:
    """Without the extra, JSON, the summary and diff's table still work, and HTML says what is missing."""
    blocked = (
        "import sys\n"
        "class Block:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name.partition('.')[0] in ('jinja2', 'markupsafe', 'onnx', 'torch', 'onnxruntime'):\n"
        "            raise ModuleNotFoundError(f'No module named {name!r}', name=name)\n"
        "sys.meta_path.insert(0, Block())\n"
        "from rkdeploy.cli.entry import main\n"
        "main()\n"
    )
    script = tmp_path / "run.py"
    script.write_text(blocked)
    file = write(tmp_path / "p.json", profile(sha256=model_sha256_of(bundle)))

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(script), "report", *map(str, arguments)]
        return subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    for good in ((bundle.folder, file), (bundle.folder, "--json"), ("diff", bundle.folder, file)):
        result = run(*good)
        assert result.returncode == 0, result.stderr
    for form in ("html", "md"):
        result = run(bundle.folder, "--format", form)
        assert result.returncode == 1
        assert 'pip install "rkdeploy[report]"' in result.stderr
        assert "Traceback" not in result.stderr
