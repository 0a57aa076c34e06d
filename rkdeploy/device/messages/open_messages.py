"""The sinks that messages are sent by, as the options say."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rkdeploy.device.messages.broker_address import broker_address

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from rkdeploy.device.messages.message_options import MessageOptions
    from rkdeploy.device.stream.sinks.sink import Sink
    from rkdeploy.device.tracking.areas import Area


def message_sinks(
    options: MessageOptions,
    streams: tuple[str, ...],
    class_names: Sequence[str],
    title: str,
    notify: Callable[[str], None],
    areas: Sequence[Area] = (),
    wanted: Sequence[int] | None = None,
) -> list[Sink]:
    """The sinks, not entered.

    Args:
        options: where results are sent.
        streams: names of the sources, by `Frame.origin`.
        class_names: of the contract.
        title: name of what runs.
        notify: called with one sentence when messages are lost, and when they are sent again.
        areas: lines and zones that tracks are counted at.
        wanted: ids of the classes that there can be results of; None for all.

    Raises:
        RkdeployError: for an address that is not valid, or a package that is missing.
    """
    sinks: list[Sink] = []
    if options.mqtt is not None:
        from rkdeploy.device.messages.mqtt_sink import MqttSink  # its package is an extra's

        sinks.append(
            MqttSink(
                broker_address(options.mqtt),
                streams,
                class_names,
                title=title,
                every_s=options.mqtt_every_s,
                discovery=options.mqtt_discovery,
                areas=areas,
                wanted=wanted,
                notify=notify,
            )
        )
    if options.webhook is not None:
        from rkdeploy.device.messages.webhook_sink import WebhookSink  # imports an HTTP client

        sinks.append(WebhookSink(options.webhook, class_names, every_s=options.webhook_every_s, notify=notify))
    return sinks
