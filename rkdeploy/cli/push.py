"""`rkdeploy push`: a bundle onto a board, over ssh."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from rkdeploy.cli.bundle_argument import chosen_bundle
from rkdeploy.cli.console import err, out, plain, print_warning
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.typer_command import JSON, OUTPUT_FILE
from rkdeploy.contract.bundle import BOARD_HOME
from rkdeploy.contract.chips import same_npu
from rkdeploy.contract.documents import document_text
from rkdeploy.option import BUNDLE, Argument, Option

if TYPE_CHECKING:
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.push import BoardState, BundleUpload, Ssh


def push_command(
    words: Annotated[
        tuple[str, ...],
        Argument("[BUNDLE] BOARD", "A bundle, then a board.", (BUNDLE, ("BOARD", "user@board, as ssh takes it."))),
    ],
    everything: Annotated[
        bool,
        Option("--all", "Send the whole bundle, not only the model, its contract and its record.", often=True),
    ] = False,
    activate: Annotated[
        bool,
        Option(
            "--activate",
            "Make it the board's current bundle, or do not.",
            off="--no-activate",
            default="--activate",
            often=True,
        ),
    ] = True,
    rollback: Annotated[
        bool, Option("--rollback", "Send nothing: make the previous bundle current again.", often=True)
    ] = False,
    restart: Annotated[
        bool, Option("--restart", "Then restart rkdeploy.service, and check that it runs.", often=True)
    ] = False,
    port: Annotated[int | None, Option("--port", "Port of ssh.", low=1, high=65535, default="as ssh is set up")] = None,
    identity: Annotated[
        Path | None, Option("--identity", "File of a private key.", metavar="FILE", default="as ssh is set up")
    ] = None,
    home: Annotated[
        str, Option("--home", "The board's folder for bundles; RKDEPLOY_HOME there.", metavar="FOLDER")
    ] = BOARD_HOME,
    as_json: Annotated[bool, JSON] = False,
    output: Annotated[Path | None, OUTPUT_FILE] = None,
) -> None:
    """Copy a bundle to a board over ssh, check it there, and make it current in one step."""
    from rkdeploy.push import BundleUpload, Ssh, examine, restart_service, roll_back
    from rkdeploy.push import activate as make_current

    if len(words) > 2:
        raise typer.BadParameter(f"got {len(words)} arguments, expected [BUNDLE] BOARD.", param_hint="BOARD")
    bundle, target = (Path(words[0]) if len(words) == 2 else None), words[-1]
    if rollback and bundle is not None:
        raise typer.BadParameter("--rollback sends nothing: leave the bundle out.", param_hint="BUNDLE")
    if (rollback or restart) and not activate:
        raise typer.BadParameter("--no-activate does not go with --rollback or --restart.", param_hint="--no-activate")
    check_target(output)
    ssh = Ssh(target, port, identity)
    say = _Said(as_json=as_json)
    done: dict[str, Any] = {"document": "rkdeploy push", "schema_version": 1, "board": target, "copied_bytes": 0}
    if rollback:
        now, before = roll_back(ssh, home)
        done |= {"current": now, "previous": before}
        say(f"Current on {target}: {now}. Before: {before}.")
    else:
        found = chosen_bundle(bundle, installed=False)
        payload = BundleUpload.of(found, everything=everything)
        state = examine(ssh, home, payload.name)
        _warn(found, state, target)
        if state.present:
            say(f"{payload.name} is on {target} already, and whole.")
        else:
            say(_upload(ssh, home, payload, state))
            done["copied_bytes"] = payload.size_bytes
        done |= {"bundle": payload.name, "current": state.current, "previous": state.previous}
        if activate:
            replaced = make_current(ssh, home, payload.name)
            before = "It was before." if replaced is None else f"Before: {replaced or 'none'}."
            done |= {"current": payload.name, "previous": state.previous if replaced is None else replaced}
            say(f"Current on {target}: {payload.name}. {before}")
    if restart:
        restart_service(ssh, home)
        say(f"rkdeploy.service on {target} runs it.")
    elif activate:
        say("What runs there already keeps its bundle until it is restarted (--restart).")
    print_result(document_text(done | {"restarted": restart}), lambda: None, as_json=as_json, output=output)


class _Said:
    """Prints what was done, as soon as it is done; nothing where stdout is for JSON."""

    def __init__(self, *, as_json: bool) -> None:
        self._as_json = as_json

    def __call__(self, text: str) -> None:
        if not self._as_json:
            out.print(plain(text))


def _upload(ssh: Ssh, home: str, payload: BundleUpload, state: BoardState) -> str:
    """Copy the bundle with a bar, and say in a sentence what was copied."""
    from rkdeploy.push import upload

    started = time.perf_counter()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        console=err, transient=True, disable=not err.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("copying", total=payload.size_bytes)
        upload(ssh, home, payload, state, lambda count: progress.advance(task, count))
    seconds = time.perf_counter() - started
    size = f"{payload.size_bytes / 1e6:.1f} MB in {seconds:.1f} s"
    return f"Copied {payload.name} to {ssh.address}: {size}. The board checked its hashes."


def _warn(bundle: Bundle, state: BoardState, target: str) -> None:
    soc = bundle.model.target
    if state.compatible and not any(same_npu(name.partition(",")[2], soc) for name in state.compatible):
        print_warning(f"The bundle is for {soc}; {target} says it is {', '.join(state.compatible)}.")
    if not state.has_program:
        print_warning(f"rkdeploy is not installed on {target}; board/install.sh does that.")
