"""Quantizations of one build: the one that was asked for, and remedies while it agrees too little with the float model.

The default is the default for a reason, and its figures vary with the images.  So remedies are tried only where the
whole interval of a figure is below what is good, those that cost the NPU time only where the figure itself is below the
lowest that is accepted, and one is kept only if it gains something.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Final

import onnx

from rkdeploy.accuracy.kept_examples import FOLDER as EXAMPLES
from rkdeploy.contract.bundle import QUANTIZATION
from rkdeploy.contract.record import AttemptRecord
from rkdeploy.errors import ToolkitError
from rkdeploy.host.building.agreement_gate import is_clearly_weak, is_refused, weakest
from rkdeploy.host.building.correction_choice import correction_loss
from rkdeploy.host.building.npu_model import toolkit_options_of
from rkdeploy.host.building.quantized_network import quantize_network
from rkdeploy.host.building.remedies import WORDS, Remedy, remedies_for
from rkdeploy.host.building.verification import verify_rewritten
from rkdeploy.host.graph.depthwise_parts import with_depthwise_parts

if TYPE_CHECKING:
    from rkdeploy.contract.record import RemedyName
    from rkdeploy.host.building.build_options import BuildOptions
    from rkdeploy.host.building.build_values import BuildData, BuiltNetwork, CutNetwork
    from rkdeploy.host.building.journal import Journal
    from rkdeploy.host.toolkit.toolkit import Toolkit

_AS_GIVEN: Final = "as_given"
_LEAST_GAIN: Final = 0.005
"""Of a remedy, in the figure that is judged: what changes less is left as it was asked for."""
_LIMIT_S: Final = 300.0
"""No remedy begins later than that after the first quantization."""


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One quantization.

    Attributes:
        remedy: that it was made with.
        built: the model.
        seconds: wall time.
    """

    remedy: RemedyName
    built: BuiltNetwork
    seconds: float


class Attempts:
    """Quantizations of one network into one folder, which holds the files of the best one so far.

    Args:
        toolkit: open.
        options: as the user gave them.
        part: the network.
        data: the images.
        folder: for the files.
        journal: of the build.
    """

    def __init__(
        self, toolkit: Toolkit, options: BuildOptions, part: CutNetwork, data: BuildData, folder: Path, journal: Journal
    ) -> None:
        self._toolkit = toolkit
        self._options = options
        self._part = part
        self._data = data
        self._folder = folder
        self._journal = journal
        self._written = part
        self._open: _Attempt | None = None

    def best(self) -> BuiltNetwork:
        """The best quantization, its files in the folder and itself open in the toolkit.

        Raises:
            RkdeployError: when the first one fails, or the toolkit cannot go on.
        """
        best = self._as_given()
        tried = [best]
        begun = time.monotonic()
        for remedy, options in self._remedies():
            if not self._is_wanted(remedy, best.built):
                continue
            if time.monotonic() - begun > _LIMIT_S:
                self._journal.warn(f"After {_LIMIT_S / 60:.0f} minutes this was not tried anymore: {remedy.words}.")
                break
            attempt = self._next(best, remedy, options)
            if attempt is not None:
                tried.append(attempt)
                best = attempt if self._gains(attempt.built, best.built) else best
        self._reopen(best)
        records = tuple(self._record(one, kept=one is best) for one in tried) if len(tried) > 1 else ()
        return replace(best.built, attempts=records)

    def _as_given(self) -> _Attempt:
        """The quantization that was asked for; with trained biases where corrected ones lose."""
        if not self._options.bias_correction:
            return self._quantized(_AS_GIVEN, self._options, self._part)
        trained = self._quantized(_AS_GIVEN, replace(self._options, bias_correction=False), self._part)
        with self._set_aside() as aside:
            attempt = self._quantized(_AS_GIVEN, self._options, self._part)
            record = attempt.built.model.bias_correction
            if record is None:
                return attempt
            if record.accepted and (loss := correction_loss(trained.built.agreement, attempt.built.agreement)):
                record = replace(record, accepted=False, reason=loss)
                self._put_back(aside)
                model = replace(trained.built.model, bias_correction=record)
                attempt = replace(trained, built=replace(trained.built, model=model))
        self._journal.events.bias_correction(record)
        if not record.accepted:
            self._journal.warn(f"The biases were not corrected: {record.reason}.")
        return attempt

    def _remedies(self) -> tuple[tuple[Remedy, BuildOptions], ...]:
        """The remedies of the build; none for damaged calibration images, which are the thing to mend."""
        calibration = self._data.images.calibration
        if calibration is not None and calibration.faults:
            return ()
        return remedies_for(self._options, self._part.whole)

    def _is_wanted(self, remedy: Remedy, best: BuiltNetwork) -> bool:
        if best.agreement is None:
            return False
        lowest = weakest(best.agreement)
        if remedy.costs_time and lowest is not None and lowest.value >= self._options.min_agreement:
            return is_refused(best.agreement, self._options.min_agreement)
        return is_clearly_weak(best.agreement)

    def _next(self, best: _Attempt, remedy: Remedy, options: BuildOptions) -> _Attempt | None:
        """The quantization with a remedy, its files in the folder if it is better; None if it failed."""
        self._journal.events.remedy(remedy.words, weakest(best.built.agreement))
        attempt = None
        with self._set_aside() as aside:
            try:
                attempt = self._quantized(remedy.name, options, self._part_for(options))
            except ToolkitError as error:
                self._journal.warn(f"This was tried and failed: {remedy.words}. {error.message}")
            if attempt is None or not self._gains(attempt.built, best.built):
                self._put_back(aside)
                self._write(best.built.part)
        return attempt

    def _part_for(self, options: BuildOptions) -> CutNetwork:
        """The network with its depthwise convolutions as the options say, proven equal."""
        if options.depthwise_parts == self._options.depthwise_parts:
            return self._part
        whole = self._part.whole
        graph = with_depthwise_parts(whole, options.depthwise_parts)
        verify_rewritten(whole, graph, self._part.spec, self._data.images.shown)
        return replace(self._part, graph=graph)

    def _quantized(self, remedy: RemedyName, options: BuildOptions, part: CutNetwork) -> _Attempt:
        """One quantization, which is then the one that the toolkit has open."""
        begun = time.monotonic()
        self._open = None
        self._write(part)
        built = quantize_network(self._toolkit, options, part, self._data, self._folder, self._journal)
        self._open = _Attempt(remedy, built, time.monotonic() - begun)
        return self._open

    def _write(self, part: CutNetwork) -> None:
        """Write the network's file, unless it is the one that is there."""
        if part.graph is not self._written.graph:
            onnx.save(part.graph, str(part.file))
            self._written = part

    def _gains(self, built: BuiltNetwork, best: BuiltNetwork) -> bool:
        """True if a model agrees with the float model clearly better than the best so far."""
        new, old = weakest(built.agreement), weakest(best.agreement)
        if built.agreement is None or best.agreement is None or new is None or old is None:
            return False
        floor = self._options.min_agreement
        if is_refused(best.agreement, floor) != is_refused(built.agreement, floor):
            return is_refused(best.agreement, floor)
        return new.value - old.value > _LEAST_GAIN

    @contextmanager
    def _set_aside(self) -> Iterator[Path]:
        """The files of the best one, moved away for those of the next attempt."""
        with tempfile.TemporaryDirectory(dir=self._folder) as name:
            aside = Path(name)
            for file in self._files():
                file.rename(aside / file.name)
            yield aside

    def _put_back(self, aside: Path) -> None:
        """Replace the files of an attempt by those that were set aside."""
        for file in self._files():
            shutil.rmtree(file) if file.is_dir() else file.unlink()
        for file in aside.iterdir():
            file.rename(self._folder / file.name)

    def _files(self) -> list[Path]:
        """The files of a quantization that are in the folder."""
        names = (f"{self._options.title}.rknn", QUANTIZATION, EXAMPLES)
        return [file for name in names if (file := self._folder / name).exists()]

    def _reopen(self, best: _Attempt) -> None:
        """Open the best one in the toolkit, if another one is."""
        built = best.built
        if self._open is not best and built.model.kept is not None:
            self._toolkit.open_kept(built.model.kept, toolkit_options_of(built.options, built.part.spec))

    def _record(self, attempt: _Attempt, *, kept: bool) -> AttemptRecord:
        built = attempt.built
        layers = built.compiled.layers if built.compiled is not None else ()
        return AttemptRecord(
            remedy=attempt.remedy,
            measure=weakest(built.agreement),
            refused=built.agreement is not None and is_refused(built.agreement, self._options.min_agreement),
            float16=len(built.model.float16),
            mcycles=sum(layer.total_cycles for layer in layers if not layer.is_end) / 1e6 if layers else None,
            seconds=round(attempt.seconds, 3),
            kept=kept,
        )


def tried_text(attempts: Sequence[AttemptRecord]) -> str:
    """The quantizations that were tried, as a sentence with their figures."""
    listed = (
        f"{WORDS[one.remedy]} {one.measure.name.replace('_', ' ')} {one.measure.value:.3f}"
        if one.measure is not None
        else WORDS[one.remedy]
        for one in attempts
    )
    return f"Tried: {'; '.join(listed)}."
