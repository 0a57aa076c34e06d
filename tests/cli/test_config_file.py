"""Configuration files: every key means what its option means, and what is printed is read back."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_origin

import pytest
import typer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rkdeploy.cli.config_text import toml_value
from rkdeploy.cli.run import run_command
from rkdeploy.cli.typer_command import command
from rkdeploy.errors import RkdeployError
from rkdeploy.option import Argument, Declared, choices
from tests.command_line import rkdeploy

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EXAMPLES = ("1", "0,1", "640x480", "a,b", "1,2,3", "replay", "20GB,7d")
UNREAD = ("config", "print-config")


def parsed(*words: str) -> dict[str, Any] | str:
    """The values that the command is called with, or its usage error."""
    seen: list[dict[str, Any]] = []

    @functools.wraps(run_command)
    def called(*_: object, **values: Any) -> None:
        seen.append(values)

    try:
        command("run", called).main(list(words), standalone_mode=False)
    except typer.BadParameter as error:
        return str(error.message)
    return seen[0]


def options() -> Iterator[Declared]:
    """All options of the command that a file may hold."""
    for leaf in command("run", run_command).signature.leaves():
        if not isinstance(leaf.declaration, Argument) and leaf.option.flag.removeprefix("--") not in UNREAD:
            yield leaf


def word_for(leaf: Declared) -> str:
    """A word that an option takes."""
    option, kind = leaf.option, leaf.type
    if get_origin(kind) is tuple and option.form is None:
        kind = get_args(kind)[0]
    if option.form is not None:
        return next(word for word in EXAMPLES if readable(leaf, word))
    if choices(leaf):
        return choices(leaf)[-1]
    if kind in (int, float):
        return str(kind(option.low or 0) if option.high in (None, option.low) else kind(option.high or 0))
    return "a b"


def readable(leaf: Declared, word: str) -> bool:
    form = leaf.option.form
    assert form is not None
    try:
        form.read(word)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("leaf", [pytest.param(leaf, id=leaf.option.flag) for leaf in options()])
def test_a_key_means_what_its_option_means(leaf: Declared, tmp_path: Path) -> None:
    """The same value, or the same refusal of an option that needs another one; printed, and read again."""
    file, name, flag = tmp_path / "line.toml", leaf.option.flag.removeprefix("--"), leaf.option.flag
    if leaf.type is bool:
        words, value = [flag], "true"
    else:
        word = word_for(leaf)
        words, value = [flag, word], word if leaf.type in (int, float) else toml_value(word)
    file.write_text(f"{name} = {value}\n")
    typed = parsed(*words)
    assert parsed("--config", str(file)) == typed
    assert typed != parsed() or name in ("quiet", "verbose")
    if get_origin(leaf.type) is tuple and leaf.option.form is None:
        file.write_text(f"{name} = [{value}, {value}]\n")
        assert parsed("--config", str(file)) == parsed(*words, *words)
    printed = rkdeploy("run", *words, "--print-config").stdout
    assert name in tomllib.loads(printed)
    file.write_text(printed)
    assert parsed("--config", str(file)) == typed


def test_the_command_line_goes_before_the_file(tmp_path: Path) -> None:
    """A list is replaced as a whole; the bundle and the sources are its words."""
    file = tmp_path / "line.toml"
    file.write_text(
        'bundle = "b"\nsources = ["a.jpg", "c.mp4"]\nmax-frames = 3\nconf = ["0.4", "bolt=0.5"]\niou = 0.5\n'
    )
    read = parsed("--config", str(file), "--max-frames", "9", "--conf", "0.1")
    assert not isinstance(read, str)
    options = read["options"]
    assert read["words"] == ("b", "a.jpg", "c.mp4")
    assert (options.max_frames, options.conf, options.iou) == (9, ("0.1",), 0.5)
    other = parsed("--config", str(file), "d.mp4")
    assert not isinstance(other, str)
    assert other["words"] == ("d.mp4",)


def test_the_printed_file_has_every_option_with_its_help(tmp_path: Path) -> None:
    """As comments until they are given: the file is its own manual, and changes nothing."""
    text = rkdeploy("run", "--print-config").stdout
    assert {"# before = SECONDS", "# max-frames = N", '# save = "FOLDER"'} <= set(text.splitlines()), "numbers are bare"
    for leaf in options():
        assert leaf.option.hidden or f"\n# {leaf.option.flag.removeprefix('--')} = " in text
        assert leaf.option.help.split()[0] in text
    assert tomllib.loads(text) == {}
    file = tmp_path / "line.toml"
    file.write_text(text)
    assert parsed("--config", str(file)) == parsed()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("max-frames = 0", 'max-frames: "0" is not a whole number of 1 or more'),
        ("max-frame = 3", 'the key "max-frame" does not exist'),
        ("max-frames = [1, 2]", "max-frames is an array, expected one value"),
        ("web = 1", "web is a number, expected true or false"),
        ('web = "yes"', "web is a string, expected true or false"),
        ("conf = true", "conf is true or false, expected a string or a number"),
        ("[run]\nconf = 1", 'the key "run" does not exist'),
        ("conf = {a = 1}", "conf is a table, expected a string or a number"),
        ("bundle = 3\nbundle = 4", "is not TOML"),
        ("sources = {}", "sources is a table"),
        ("conf", "is not TOML: Expected"),
        ('config = "other.toml"', 'the key "config" does not exist'),
        ('size = "big"', 'size: "big" is not a size'),
        ("a = " + "[" * 5000, "is not TOML"),
        ("\0", "holds NUL bytes"),
    ],
)
def test_a_wrong_file_is_one_message(text: str, says: str, tmp_path: Path) -> None:
    """With the file and the key; nothing runs."""
    file = tmp_path / "line.toml"
    file.write_text(text)
    result = rkdeploy("run", "--config", file)
    message = " ".join(result.stderr.split())
    assert result.returncode == 1
    assert says in message
    assert message.startswith('error: Configuration "')
    assert result.stderr.count("error:") == 1


def test_a_missing_file_is_named() -> None:
    """Before anything runs."""
    result = rkdeploy("run", "--config", "nowhere.toml")
    assert result.returncode == 1
    assert 'Configuration "nowhere.toml"' in result.stderr


@given(st.recursive(st.text() | st.integers(-(2**53), 2**53) | st.booleans(), st.lists, max_leaves=4))
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_values_are_written_as_toml(value: Any) -> None:
    """Whatever characters a path or a name has."""
    assert tomllib.loads(f"a = {toml_value(value)}")["a"] == value


def test_errors_of_files_are_the_projects() -> None:
    """A file that is a folder, too."""
    with pytest.raises(RkdeployError, match="Configuration"):
        command("run", run_command).main(["--config", "/"], standalone_mode=False)
