"""A command made of declarations: values, groups, bounds, completion, and how much it says."""

from __future__ import annotations

import json
import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import typer

from rkdeploy.cli import verbosity
from rkdeploy.cli.typer_command import command
from rkdeploy.contract.bundle import Bundle
from rkdeploy.option import SIZE, WORDS, Argument, Only, Option, declared_fields, written
from tests.command_line import rkdeploy

USAGE_ERROR: Any = typer.BadParameter.__mro__[1]


@dataclass(frozen=True)
class Cut:
    """A group that is always there."""

    split: Annotated[Literal["none", "all"], Option("--split", "Which.")] = "none"


@dataclass(frozen=True)
class Gate:
    """A group that is there when --data is given."""

    data: Annotated[Path, Option("--data", "Images.")]
    drop: Annotated[float, Option("--drop", "Loss.", low=0, high=1)] = 0.5


@dataclass(frozen=True)
class Options:
    """Every kind of option."""

    model: Annotated[Path, Argument("MODEL", "A file.")]
    size: Annotated[tuple[int, int] | None, Option("--size", "Size.", form=SIZE)] = None
    names: Annotated[tuple[str, ...], Option("--names", "Names.", form=WORDS)] = ()
    numbers: Annotated[tuple[int, ...], Option("--number", "Repeatable.", low=0)] = ()
    nms: Annotated[bool | None, Option("--nms", "Yes, no or unset.", off="--no-nms")] = None
    flag: Annotated[bool, Option("--flag", "A flag.")] = False
    home: Annotated[str, Option("--home", "A place.", env="TEST_HOME_OF")] = "here"
    cut: Cut = field(default_factory=Cut)
    gate: Gate | None = None
    inner: int = 7


def given(*words: str, only: Only | None = None) -> Options:
    """Options that a command parses from these words."""
    seen: list[Options] = []

    def plain(options: Options) -> None:
        """Take everything."""
        seen.append(options)

    def narrow(options: Annotated[Options, only]) -> None:
        """Take some."""
        seen.append(options)

    narrow.__annotations__["options"] = Annotated[Options, only]
    made: Any = command("test", plain if only is None else narrow)
    made.main(list(words), standalone_mode=False)
    return seen[0]


def test_nothing_given_is_the_dataclass_default() -> None:
    """Defaults are the dataclass's alone."""
    assert given("m.pt") == Options(Path("m.pt"))


@pytest.mark.parametrize(
    "options",
    [
        Options(Path("a b.pt"), (384, 640), ("x", "y"), (0, 3)),
        Options(Path("m"), (32, 32), nms=True, flag=True, home="there"),
        Options(Path("m"), nms=False, cut=Cut("all"), gate=Gate(Path("d.yaml"))),
        Options(Path("m"), gate=Gate(Path("d.yaml"), 0.25)),
    ],
)
def test_what_is_written_is_read_again(options: Options) -> None:
    """`written` gives words that make the same options."""
    assert given(*written(options)) == options


def test_the_environment_counts_where_an_option_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """The option goes before the variable, the variable before the default."""
    monkeypatch.setenv("TEST_HOME_OF", "elsewhere")
    assert given("m").home == "elsewhere"
    assert given("m", "--home", "x").home == "x"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("m", "--drop", "0.1"), "it needs --data"),
        (("m", "--data", "d", "--drop", "2"), '"2" is not a number from 0 to 1'),
        (("m", "--data", "d", "--drop", "nan"), '"nan" is not a number from 0 to 1'),
        (("m", "--number", "-1"), ""),
        (("m", "--split", "some"), '"some" is not one of none, all'),
        (("m", "--size", "big"), '"big" is not a size'),
        (("m", "--names", "a,,b"), "has an empty entry"),
        ((), "Missing argument"),
        (("m", "--no-such"), "No such option"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], said: str) -> None:
    """Each is one message that names the option."""
    with pytest.raises(USAGE_ERROR) as caught:
        given(*words)
    assert said in caught.value.format_message()


def test_a_command_may_offer_some_options_only() -> None:
    """The others keep their defaults, and have no flag; a further spelling is the command's own."""
    only = Only("MODEL --split", {"--split": "--cut"})
    assert given("m", "--cut", "all", only=only).cut == Cut("all")
    with pytest.raises(USAGE_ERROR):
        given("m", "--flag", only=only)


def test_a_field_without_a_declaration_is_no_option() -> None:
    """It is the program's own."""
    assert [one.name for one in declared_fields(Options)][-1] == "gate"


def test_a_shell_completes_the_choices() -> None:
    """Of an option with a few values those that begin so."""
    made: Any = command("test", lambda: None)
    assert made.signature.text == ""

    def function(options: Cut) -> None:
        """Take it."""

    (split, *_) = [one for one in command("test", function).params if one.name == "options__split"]
    context: Any = None
    assert [item.value for item in split.shell_complete(context, "a")] == ["all"]


def test_quiet_and_verbose(capsys: pytest.CaptureFixture[str]) -> None:
    """--verbose prints what the rooms log, to stderr; it is off by default, and off again after the command."""
    log = logging.getLogger("rkdeploy.device.somewhere")
    for verbose in (False, True, False):
        with verbosity.level(quiet=not verbose, verbose=verbose):
            log.debug("step %d", 1)
            verbosity.note("a note")
            assert verbosity.is_quiet() is not verbose
    stderr = capsys.readouterr().err
    assert [line.split("s  ")[-1] for line in stderr.splitlines()] == ["device.somewhere: step 1", "a note"]
    assert not verbosity.is_quiet()


def test_every_command_takes_both() -> None:
    """-q and -v belong to no single command."""
    done = rkdeploy("inspect", "-q", "-v", "calib_data/best.pt", "--json", cwd=Path(__file__).parents[2])
    assert done.returncode == 0
    assert json.loads(done.stdout)["training"]["image_size"] == 384
    assert "host.checkpoint.reader: calib_data/best.pt: " in done.stderr


def test_the_decisions_of_a_run_are_logged(sample_bundle: Bundle) -> None:
    """A bug report made with --verbose says which backend ran, and on how many contexts."""
    image = Path(__file__).parents[2] / "calib_data" / "images" / "val" / "val_0000.jpg"
    done = rkdeploy("run", sample_bundle.folder, image, "--backend", "onnxruntime", "--verbose")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "device.runtime.backends: backend onnxruntime, 1 contexts" in said
    assert "device.stream.contexts: opened a context: onnxruntime" in said
