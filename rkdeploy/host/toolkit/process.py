"""The parent's side of the toolkit's child process: start it, send requests, explain failures, end it."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rkdeploy.errors import ToolkitError
from rkdeploy.host.toolkit import worker as toolkit_worker
from rkdeploy.host.toolkit.worker_pipes import FRAME, encode

if TYPE_CHECKING:
    from collections.abc import Callable

_LOG = logging.getLogger(__name__)

PYTHON_VARIABLE = "RKDEPLOY_TOOLKIT_PYTHON"
INSTALL_HINT = (
    f'Install it with: pip install -c constraints.txt "rkdeploy[host]", or let {PYTHON_VARIABLE} name the Python '
    "interpreter of an environment that has it."
)
ELSEWHERE_HINT = (
    "It exists for Python 3.10 to 3.12: name an interpreter of those that has it, by --toolkit-python FILE or "
    f"{PYTHON_VARIABLE}."
)
NEWEST_PYTHON = (3, 12)
"""The newest Python that the vendor's packages exist for."""

# OpenMP's threads wait asleep: on a machine that does other work too, spinning ones made PyTorch 10 times slower.
_PATIENT = {"OMP_WAIT_POLICY": "PASSIVE"}
_POLL_MS = 200
_CHUNK_BYTES = 1 << 20
_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_ERROR_LINE = re.compile(r"E (?!rknn-toolkit2 version)([\w ]+): (?!Traceback)(?:\[[\d:.]+\] )?(.*\S)")
_EXCEPTION_LINE = re.compile(r"[A-Za-z_][\w.]*: ")
_PROGRESS_BAR = re.compile(r"I (\w[\w ]*?)\s*:\s*\d+%\|.*\| *(\d+)/(\d+) \[")
_STAGES = {"Loading": "loading the graph", "OpFusing": "optimizing the graph", "Quantizating": "calibrating layer"}

_BROKEN_INSTALLATIONS = (
    (r"No module named 'rknn(\.|')", "rknn-toolkit2 is not installed there"),
    (r"pkg_resources", "it needs setuptools < 80; later versions have no pkg_resources"),
    (r"onnx\.mapping|module 'onnx' has no attribute 'mapping'", "it needs onnx >= 1.16.1, <= 1.18.0"),
    (
        r"_ARRAY_API|compiled using NumPy 1\.x|numpy\.dtype size changed|removed in the NumPy 2|multiarray failed",
        "it needs numpy <= 1.26.4",
    ),
    (r"Descriptors cannot be created directly", "it needs protobuf >= 4.21.6, <= 4.25.4"),
    (r"No module named 'torch(\.|')", "it needs torch"),
)


class ToolkitProcess:
    """One running child.  `start` returns at once: the toolkit is imported while the caller continues.

    The child has its own process group and its own working directory, which are removed with it.  Not thread-safe.
    """

    def __init__(self, python: Path, log: Path, timeout_s: float | None) -> None:
        self.log = log
        self._python = python
        self._timeout_s = timeout_s
        self._process: subprocess.Popen[bytes] | None = None
        self._work_dir: Path | None = None
        self._request_fd = self._response_fd = -1
        self._log_read = 0
        self._told = ""
        self._hello: dict[str, Any] | None = None
        self._ended = ""

    @property
    def work_dir(self) -> Path:
        """The child's working directory, for data exchanged as files."""
        assert self._work_dir is not None, "start() comes first"
        return self._work_dir

    @property
    def pid(self) -> int:
        """The child's process id, which is also its process group."""
        assert self._process is not None, "start() comes first"
        return self._process.pid

    def start(self) -> None:
        """Start the child.

        Raises:
            ToolkitError: when the interpreter cannot be run or the log cannot be written.
        """
        try:
            self._work_dir = Path(tempfile.mkdtemp(prefix="rkdeploy-toolkit-"))
            self._start(self._work_dir)
        except BaseException:  # also Ctrl-C
            self.close()
            raise

    def _start(self, work_dir: Path) -> None:
        child_reads, self._request_fd = os.pipe()
        self._response_fd, child_writes = os.pipe()
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            with self.log.open("wb") as log:
                log.write(f"# rkdeploy: the toolkit in {self._python}\n".encode())
                log.flush()
                self._process = subprocess.Popen(  # noqa: S603 - an interpreter the user chose
                    [
                        str(self._python),
                        "-u",
                        toolkit_worker.__file__,
                        str(child_reads),
                        str(child_writes),
                        str(work_dir),
                    ],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    pass_fds=(child_reads, child_writes),
                    cwd=work_dir,
                    env={**_PATIENT, **os.environ, "TMPDIR": str(work_dir)},
                    start_new_session=True,
                )
        except OSError as error:
            if error.filename == str(self.log) or isinstance(error, FileExistsError):
                message = f'The toolkit log "{self.log}" cannot be written: {error.strerror}.'
                raise ToolkitError(message) from None
            raise ToolkitError(
                f'The Python interpreter for the toolkit, "{self._python}", cannot be run: {error.strerror}.',
                f"{PYTHON_VARIABLE} or the argument must name the python of the environment that has rknn-toolkit2.",
            ) from None
        finally:
            os.close(child_reads)
            os.close(child_writes)
        for descriptor in (self._request_fd, self._response_fd):
            os.set_blocking(descriptor, False)

    def hello(self) -> dict[str, Any]:
        """The child's first answer: `version` and `import_s`.  Waits for it once."""
        if self._hello is None:
            try:
                answer, _ = self._receive(self._deadline(), None)
            except BaseException:
                self.close()
                raise
            if "error" in answer:
                failure = self._failure(answer["error"])
                self.close()
                raise failure
            self._hello = answer["ok"]
        return self._hello

    def request(
        self, op: str, fields: dict[str, Any], payload: bytes = b"", on_progress: Callable[[str], None] | None = None
    ) -> tuple[dict[str, Any], bytes]:
        """Request one operation of the worker and wait for its answer.

        Raises:
            ToolkitError: when the toolkit failed, was killed, or did not answer in time.
        """
        if self._ended:
            raise ToolkitError(f"The toolkit's process has ended: {self._ended}", f"Its log: {self.log}")
        self.hello()
        _LOG.debug("asks process %d for %s", self.pid, op)
        self._log_read = self.log.stat().st_size
        self._told = ""
        deadline = self._deadline()
        try:
            self._send(encode({"op": op, **fields}, payload), deadline)
            answer, arrays = self._receive(deadline, on_progress)
        except BaseException:  # also Ctrl-C: a request without its answer leaves the pipes out of step
            self.close()
            raise
        if "error" in answer:
            raise self._failure(answer["error"])
        return answer["ok"], arrays

    def close(self) -> None:
        """End the child and everything it started, and remove its working directory.  May be called twice."""
        for descriptor in (self._request_fd, self._response_fd):
            if descriptor >= 0:
                os.close(descriptor)
        self._request_fd = self._response_fd = -1
        # Before the child is killed: if we are killed meanwhile, it removes what is left.
        if self._work_dir is not None:
            shutil.rmtree(self._work_dir, ignore_errors=True)
        if self._process is not None and self._process.returncode is None:
            # Not reaped yet, so the id still belongs to the child.
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        if self._work_dir is not None:
            shutil.rmtree(self._work_dir, ignore_errors=True)
        self._ended = self._ended or "it was closed."

    def logged(self) -> list[str]:
        """Lines added to the log since the last request began: without colors, progress bars as lines."""
        with self.log.open("rb") as log:
            log.seek(self._log_read)
            text = log.read().decode("utf-8", "replace")
        return [line for line in re.split(r"[\r\n]+", _ANSI.sub("", text)) if line.strip()]

    # ---------------------------------------------------------------------------------------------- the two pipes

    def _deadline(self) -> float | None:
        return None if self._timeout_s is None else time.monotonic() + self._timeout_s

    def _send(self, data: bytes, deadline: float | None) -> None:
        waiter = select.poll()
        waiter.register(self._request_fd, select.POLLOUT)
        view = memoryview(data)
        while view:
            self._check_alive(deadline)
            if waiter.poll(_POLL_MS):
                try:
                    view = view[os.write(self._request_fd, view[:_CHUNK_BYTES]) :]
                except BlockingIOError:
                    continue
                except BrokenPipeError:
                    raise self._died() from None

    def _receive(
        self, deadline: float | None, on_progress: Callable[[str], None] | None
    ) -> tuple[dict[str, Any], bytes]:
        head = self._read(FRAME.size, deadline, on_progress)
        text_bytes, payload_bytes = FRAME.unpack(head)
        message: dict[str, Any] = json.loads(self._read(text_bytes, deadline, on_progress))
        return message, self._read(payload_bytes, deadline, on_progress)

    def _read(self, size: int, deadline: float | None, on_progress: Callable[[str], None] | None) -> bytes:
        waiter = select.poll()
        waiter.register(self._response_fd, select.POLLIN)
        data = bytearray()
        while len(data) < size:
            if waiter.poll(_POLL_MS):
                part = os.read(self._response_fd, min(_CHUNK_BYTES, size - len(data)))
                if not part:
                    raise self._died()
                data += part
            else:
                self._check_alive(deadline)
            if on_progress is not None and (stage := self._stage()) not in ("", self._told):
                self._told = stage
                on_progress(stage)
        return bytes(data)

    def _check_alive(self, deadline: float | None) -> None:
        # WNOWAIT: the child must stay unreaped until close() has ended its process group.
        if os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None:
            raise self._died()
        if deadline is not None and time.monotonic() > deadline:
            self._ended = f"it did not answer within {self._timeout_s:g} s and was ended."
            raise ToolkitError(
                f"The toolkit did not answer within {self._timeout_s:g} s and was ended; it was {self._last_words()}.",
                f"Its log: {self.log}",
            )

    def _stage(self) -> str:
        """The stage in the newest progress line."""
        for line in reversed(self.logged()):
            if bar := _PROGRESS_BAR.search(line):
                name, done, total = bar.groups()
                stage = _STAGES.get(name.split()[0], name)
                return f"{stage} {done}/{total}" if stage == "calibrating layer" else stage
            if "rknn building ..." in line:
                return "compiling for the NPU"
        return ""

    # ---------------------------------------------------------------------------------------------- how it failed

    def _last_words(self) -> str:
        lines = self.logged()
        return f'at "{lines[-1].strip()[:120]}"' if lines else "silent"

    def _logged_cause(self) -> str:
        """The toolkit's own last error line, without decoration."""
        causes = [match.group(2) for line in self.logged() if (match := _ERROR_LINE.match(line))]
        return causes[-1] if causes else ""

    def _died(self) -> ToolkitError:
        assert self._process is not None
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # end what it may have started; its own end is already certain
        code = self._process.wait()
        if code == -signal.SIGKILL:
            how = "was killed (SIGKILL), most often because memory ran out"
        elif code < 0:
            how = f"crashed ({signal.Signals(-code).name})"
        else:
            how = f"ended with exit code {code}"
        lines = self.logged()
        cause = self._logged_cause() or (lines[-1].strip() if lines else "")
        self._ended = f"it {how}."
        return ToolkitError(
            f"The toolkit's process {how}.{f' Its last error: {cause}' if cause else ''}", self._where()
        )

    def _failure(self, error: dict[str, str]) -> ToolkitError:
        """An error from the worker's report and the log."""
        how, call, text = error["how"], error["call"], error["text"]
        for pattern, missing in _BROKEN_INSTALLATIONS:
            if how == "raised" and re.search(pattern, text):
                return ToolkitError(
                    f'rknn-toolkit2 does not work in "{self._python}": {missing} ({_raised_cause(text)}).',
                    f"{_install_hint(self._python)} {self._where()}",
                )
        if how == "refused":
            return ToolkitError(text, self._where())
        if call == "import":
            return ToolkitError(
                f'rknn-toolkit2 cannot be imported in "{self._python}": {_raised_cause(text)}.',
                f"{_install_hint(self._python)} {self._where()}",
            )
        if how == "raised":
            return ToolkitError(f"The toolkit failed: {_raised_cause(text)}", self._where())
        cause = self._logged_cause() or "it gave no reason"
        if how == "returned":
            return ToolkitError(f"The toolkit's {call} failed: {cause}", self._where())
        return ToolkitError(f"The toolkit ended itself (exit status {text}): {cause}", self._where())

    def _where(self) -> str:
        return f"The toolkit's log: {self.log}"


def _raised_cause(text: str) -> str:
    """The message at the end of an exception's text, which in the toolkit's own exceptions is a whole traceback."""
    lines = text.strip().splitlines()
    starts = [index for index, line in enumerate(lines) if _EXCEPTION_LINE.match(line)]
    message = " ".join(line.strip() for line in lines[starts[-1] if starts else -1 :])
    while message.startswith("ValueError: "):  # the toolkit's wrapper around all its errors
        message = message.removeprefix("ValueError: ")
    return message


def _install_hint(python: Path) -> str:
    """The hint for a missing toolkit; pip cannot install it for an interpreter newer than the vendor's packages."""
    newer = python == Path(sys.executable) and sys.version_info[:2] > NEWEST_PYTHON
    return ELSEWHERE_HINT if newer else INSTALL_HINT
