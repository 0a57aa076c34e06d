"""The two pipes of the toolkit's process: messages over them, and the end of the process with its parent.

Loaded by `worker.py` from its own folder, in an interpreter that need not have rkdeploy: the standard library only.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import select
import shutil
import signal
import struct
import subprocess
from pathlib import Path
from typing import Any, BinaryIO

FRAME = struct.Struct(">II")  # bytes of JSON, bytes of payload


def encode(message: dict[str, Any], payload: bytes = b"") -> bytes:
    """Encode one message for the pipe."""
    text = json.dumps(message).encode()
    return FRAME.pack(len(text), len(payload)) + text + payload


def read_message(stream: BinaryIO) -> tuple[dict[str, Any], bytes] | None:
    """The next message, or None when the other side has closed the pipe."""
    head = stream.read(FRAME.size)
    if len(head) < FRAME.size:
        return None
    text_bytes, payload_bytes = FRAME.unpack(head)
    text, payload = stream.read(text_bytes), stream.read(payload_bytes)
    if len(text) < text_bytes or len(payload) < payload_bytes:
        return None
    message: dict[str, Any] = json.loads(text)
    return message, payload


def watch_parent(request_fd: int, requests: queue.Queue[tuple[dict[str, Any], bytes]], work_dir: Path) -> None:
    """Pass requests to the main thread; end the process when the parent is gone.

    The end of the pipe is the first sign.  A changed parent is the second: a process forked from the parent may hold
    the pipe open after the parent was killed.
    """
    parent = os.getppid()
    with os.fdopen(request_fd, "rb", buffering=0) as raw:
        stream = WholeReads(raw)
        while os.getppid() == parent:
            if not select.select([raw], [], [], 1.0)[0]:
                continue
            received = read_message(stream)  # type: ignore[arg-type]  # read() is all it needs
            if received is None:
                break
            requests.put(received)
    os.chdir("/")
    remove_after_the_end(work_dir)
    if os.getpgrp() == os.getpid():
        os.killpg(os.getpid(), signal.SIGKILL)  # including processes that the toolkit has started
    os._exit(1)


def remove_after_the_end(work_dir: Path) -> None:
    """Remove the folder now, and once more when this process has ended: until then the toolkit may write into it."""
    # A process that has ended has no /proc/N/exe, even where nothing reaps it and its number stays in use.
    alive = 'readlink "/proc/$1/exe"'
    wait_and_remove = f'n=0; while {alive} && [ $n -lt 1200 ]; do sleep 0.05; n=$((n+1)); done; rm -rf -- "$2"'
    with contextlib.suppress(OSError):
        subprocess.Popen(  # noqa: S603 - a fixed script; its arguments are our own number and folder
            ["/bin/sh", "-c", wait_and_remove, "sh", str(os.getpid()), str(work_dir)],
            start_new_session=True,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
    shutil.rmtree(work_dir, ignore_errors=True)


class WholeReads:
    """An unbuffered pipe whose `read(n)` returns n bytes, fewer only at its end (`select` must see unread data)."""

    def __init__(self, raw: Any) -> None:
        self._raw = raw

    def read(self, size: int) -> bytes:
        parts = []
        while size > 0:
            part = self._raw.read(size)
            if not part:
                break
            parts.append(part)
            size -= len(part)
        return b"".join(parts)
