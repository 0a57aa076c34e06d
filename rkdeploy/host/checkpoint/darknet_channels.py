"""Numbers of channels through the sections of a darknet cfg."""

from __future__ import annotations

from rkdeploy.errors import CheckpointError
from rkdeploy.host.checkpoint.darknet_sections import ChannelOperation, Convolutional, DarknetCfg, Route, Section


def input_channels(cfg: DarknetCfg) -> tuple[int, ...]:
    """Channels of the tensor that each section takes from the one before it, in darknet's dialect.

    Raises:
        CheckpointError: when groups do not divide them.
    """
    inputs: list[int] = []
    outputs: list[int] = []
    current = cfg.net.channels
    for section in cfg.sections:
        inputs.append(current)
        if isinstance(section, Convolutional) and len(section.sizes) != 1:
            raise _error(cfg, section, "has several kernel sizes, expected one")
        if isinstance(section, Convolutional) and current % section.groups:
            raise _error(cfg, section, f"has {section.groups} groups for {current} channels")
        current = _output(section, current, outputs)
        outputs.append(current)
    return tuple(inputs)


def _output(section: Section, current: int, outputs: list[int]) -> int:
    match section:
        case Convolutional():
            return section.filters
        case Route():
            return sum(outputs[source] // section.groups for source in section.sources)
        case ChannelOperation():
            return outputs[section.source]
        case _:
            return current


def _error(cfg: DarknetCfg, section: Section, what: str) -> CheckpointError:
    return CheckpointError(f'"{cfg.name}" line {section.line}: [{section.kind}] {what}.')
