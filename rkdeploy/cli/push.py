"""`rkdeploy push`: a bundle onto a board, over ssh."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from rkdeploy.cli.bundle_argument import chosen_bundle
from rkdeploy.cli.console import err, out, plain, print_warning
from rkdeploy.cli.document import check_target, print_result
from rkdeploy.cli.typer_command import JSON, OUTPUT_FILE
from rkdeploy.contract.chips import same_npu
from rkdeploy.contract.documents import document_text
from rkdeploy.option import BUNDLE, Argument
from rkdeploy.push.push_document import PushDocument
from rkdeploy.push.push_options import PushOptions

if TYPE_CHECKING:
    from rkdeploy.contract.bundle import Bundle
    from rkdeploy.push import BoardState, BundleUpload, Ssh


def push_command(
    words: Annotated[
        tuple[str, ...],
        Argument("[BUNDLE] BOARD", "A bundle, then a board.", (BUNDLE, ("BOARD", "user@board, as ssh takes it."))),
    ],
    *,
    options: PushOptions,
    as_json: Annotated[bool, JSON] = False,
    output: Annotated[Path | None, OUTPUT_FILE] = None,
) -> None:
    """Copy a bundle to a board over ssh, check it there, and make it current in one step."""
    from rkdeploy.push import Ssh, restart_service

    bundle, target = _bundle_and_board(words, options)
    check_target(output)
    ssh = Ssh(target, options.port, options.identity)
    say = _Said(as_json=as_json)
    done = _rolled_back(ssh, options, say) if options.rollback else _sent_chain(ssh, bundle, options, say)
    if options.restart:
        restart_service(ssh, options.home)
        say(f"rkdeploy.service on {target} runs it.")
    elif options.activate:
        say("What runs there already keeps its bundle until it is restarted (--restart).")
    print_result(document_text(done), lambda: None, as_json=as_json, output=output)


def _bundle_and_board(words: tuple[str, ...], options: PushOptions) -> tuple[Path | None, str]:
    """The bundle, None for the one near by, and the board; options that contradict each other are refused.

    Raises:
        typer.BadParameter: naming the argument or option.
    """
    if len(words) > 2:
        raise typer.BadParameter(f"got {len(words)} arguments, expected [BUNDLE] BOARD.", param_hint="BOARD")
    bundle = Path(words[0]) if len(words) == 2 else None
    if options.rollback and bundle is not None:
        raise typer.BadParameter("--rollback sends nothing: leave the bundle out.", param_hint="BUNDLE")
    if options.rollback and options.then:
        raise typer.BadParameter("--rollback sends nothing: leave --then out.", param_hint="--then")
    if (options.rollback or options.restart) and not options.activate:
        raise typer.BadParameter("--no-activate does not go with --rollback or --restart.", param_hint="--no-activate")
    return bundle, words[-1]


def _rolled_back(ssh: Ssh, options: PushOptions, say: _Said) -> PushDocument:
    from rkdeploy.push import roll_back

    now, before = roll_back(ssh, options.home)
    say(f"Current on {ssh.address}: {now}. Before: {before}.")
    return PushDocument(ssh.address, current=now, previous=before, restarted=options.restart)


def _sent_chain(ssh: Ssh, named: Path | None, options: PushOptions, say: _Said) -> PushDocument:
    """Send the further models of a chain, then the bundle: when it becomes current, all of them are there."""
    from rkdeploy.contract.bundle import read_bundle
    from rkdeploy.push import refresh

    further = [_sent(ssh, read_bundle(one), options, say)[0] for one in options.then]
    for one in further:
        refresh(ssh, options.home, one.bundle or "")
    bundle = chosen_bundle(named, installed=False)
    done, state = _sent(ssh, bundle, options, say)
    names = tuple(one.bundle or "" for one in further)
    done = replace(done, copied_bytes=done.copied_bytes + sum(one.copied_bytes for one in further), then=names)
    if further:
        words = " ".join(f"--then {path.name}" for path in options.then)
        say(f"Arguments for the chain in /etc/rkdeploy/run.conf: {words}")
    return _made_current(ssh, done, state, options, say) if options.activate else done


def _sent(ssh: Ssh, bundle: Bundle, options: PushOptions, say: _Said) -> tuple[PushDocument, BoardState]:
    """Send a bundle that the board does not have yet."""
    from rkdeploy.push import BundleUpload, examine

    payload = BundleUpload.of(bundle, everything=options.everything)
    state = examine(ssh, options.home, payload.name)
    _warn(bundle, state, ssh.address)
    if state.present:
        say(f"{payload.name} is on {ssh.address} already, and whole.")
    else:
        say(_upload(ssh, options.home, payload, state))
    copied = 0 if state.present else payload.size_bytes
    done = PushDocument(
        ssh.address,
        current=state.current,
        previous=state.previous,
        bundle=payload.name,
        copied_bytes=copied,
        restarted=options.restart,
    )
    return done, state


def _made_current(ssh: Ssh, done: PushDocument, state: BoardState, options: PushOptions, say: _Said) -> PushDocument:
    """Make the bundle that was sent the current one."""
    from rkdeploy.push import activate

    name = done.bundle or ""
    replaced = activate(ssh, options.home, name)
    before = "It was before." if replaced is None else f"Before: {replaced or 'none'}."
    say(f"Current on {ssh.address}: {name}. {before}")
    return replace(done, current=name, previous=state.previous if replaced is None else replaced)


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
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=err,
        transient=True,
        disable=not err.is_terminal,
    ) as progress:
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
