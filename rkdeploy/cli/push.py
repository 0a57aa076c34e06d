"""`rkdeploy push`: a bundle onto a board, over ssh."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from rkdeploy.cli.bundle_argument import chosen_bundle
from rkdeploy.cli.console import err, out, plain, print_warning
from rkdeploy.contract.bundle import BOARD_HOME
from rkdeploy.contract.chips import same_npu
from rkdeploy.option import BUNDLE, Argument, Option

if TYPE_CHECKING:
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.push import BoardState, Parcel, Ssh


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
        bool, Option("--restart", "Restart rkdeploy.service afterwards, and see that it runs.", often=True)
    ] = False,
    port: Annotated[int | None, Option("--port", "Port of ssh.", low=1, high=65535, default="as ssh is set up")] = None,
    identity: Annotated[
        Path | None, Option("--identity", "File of a private key.", metavar="FILE", default="as ssh is set up")
    ] = None,
    home: Annotated[
        str, Option("--home", "The board's folder for bundles; RKDEPLOY_HOME there.", metavar="FOLDER")
    ] = BOARD_HOME,
) -> None:
    """Copy a bundle to a board over ssh, check it there, and make it current in one step."""
    from rkdeploy.push import Parcel, Ssh, examine, restart_service, roll_back
    from rkdeploy.push import activate as make_current

    if len(words) > 2:
        raise typer.BadParameter(f"got {len(words)} arguments, expected [BUNDLE] BOARD.", param_hint="BOARD")
    bundle, target = (Path(words[0]) if len(words) == 2 else None), words[-1]
    if rollback and bundle is not None:
        raise typer.BadParameter("--rollback sends nothing: leave the bundle out.", param_hint="BUNDLE")
    if (rollback or restart) and not activate:
        raise typer.BadParameter("--no-activate does not go with --rollback or --restart.", param_hint="--no-activate")
    ssh = Ssh(target, port, identity)
    if rollback:
        now, before = roll_back(ssh, home)
        out.print(plain(f"Current on {target}: {now}. Before: {before}."))
    else:
        found = chosen_bundle(bundle, installed=False)
        parcel = Parcel.of(found, everything=everything)
        state = examine(ssh, home, parcel.name)
        _warn(found, state, target)
        if state.present:
            out.print(plain(f"{parcel.name} is on {target} already, and whole."))
        else:
            _upload(ssh, home, parcel, state)
        if activate:
            replaced = make_current(ssh, home, parcel.name)
            before = "It was before." if replaced is None else f"Before: {replaced or 'none'}."
            out.print(plain(f"Current on {target}: {parcel.name}. {before}"))
    if restart:
        restart_service(ssh, home)
        out.print(plain(f"rkdeploy.service on {target} runs it."))
    elif activate:
        out.print("What runs there already keeps its bundle until it is restarted (--restart).")


def _upload(ssh: Ssh, home: str, parcel: Parcel, state: BoardState) -> None:
    from rkdeploy.push import upload

    started = time.perf_counter()
    with Progress(
        TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn(),
        console=err, transient=True, disable=not err.is_terminal,
    ) as progress:  # fmt: skip
        task = progress.add_task("copying", total=parcel.size_bytes)
        upload(ssh, home, parcel, state, lambda count: progress.advance(task, count))
    seconds = time.perf_counter() - started
    size = f"{parcel.size_bytes / 1e6:.1f} MB in {seconds:.1f} s"
    out.print(plain(f"Copied {parcel.name} to {ssh.address}: {size}. The board checked its hashes."))


def _warn(bundle: Bundle, state: BoardState, target: str) -> None:
    soc = bundle.model.target
    if state.compatible and not any(same_npu(name.partition(",")[2], soc) for name in state.compatible):
        print_warning(f"The bundle is for {soc}; {target} says it is {', '.join(state.compatible)}.")
    if not state.has_program:
        print_warning(f"rkdeploy is not installed on {target}; board/install.sh does that.")
