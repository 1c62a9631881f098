"""Layers of Channels: messages to channels and groups are counted, and those that a full channel does not take."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("channels")

from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer, ChannelLayerManager, InMemoryChannelLayer
from django.test import override_settings

from streaming_dd import catalog
from streaming_dd.django import channel_layers


class Own(InMemoryChannelLayer):  # type: ignore[misc]
    """A layer that inherits what another one has."""


@pytest.fixture(autouse=True)
def hooks() -> Iterator[None]:
    layers = {
        name: {"BACKEND": path, "CONFIG": {"capacity": 2}}
        for name, path in (("default", "channels.layers.InMemoryChannelLayer"), ("own", f"{__name__}.Own"))
    }
    channel_layers.install()
    channel_layers.install()
    with override_settings(CHANNEL_LAYERS=layers):
        yield
    channel_layers.uninstall()


@pytest.mark.parametrize("name", ["default", "own"])
def test_what_is_sent_and_what_is_dropped(name: str, capture: Any) -> None:
    """A group's message is one, and lost for each channel that is full; the application's own exception is untouched."""

    async def main() -> None:
        manager = ChannelLayerManager()
        layer, _ = manager[name], manager["default"]
        for channel in ("full", "free"):
            await layer.group_add("room", channel)
        await layer.send("full", {"type": "a"})
        await layer.send("full", {"type": "b"})
        with pytest.raises(ChannelFull):
            await layer.send("full", {"type": "c"})
        await layer.group_send("room", {"type": "d"})
        assert (await layer.receive("free"))["type"] == "d"
        assert (await layer.receive("full"))["type"] == "a"

    with capture() as captured:
        asyncio.run(main())
        captured.metrics.assert_count(catalog.CHANNELS_SENT, 3, kind="send")
        captured.metrics.assert_count(catalog.CHANNELS_SENT, 1, kind="group_send")
        captured.metrics.assert_count(catalog.CHANNELS_DROPPED, 1, kind="send")
        captured.metrics.assert_count(catalog.CHANNELS_DROPPED, 1, kind="group_send")


def test_the_hooks_come_off(capture: Any) -> None:
    """Everything is as it was: nothing counts, and the methods are Channels' own."""
    ChannelLayerManager()["own"]
    channel_layers.uninstall()
    assert InMemoryChannelLayer.send.__module__ == BaseChannelLayer.__module__
    with capture() as captured:
        asyncio.run(ChannelLayerManager()["own"].send("a", {"type": "x"}))
        captured.metrics.assert_count(catalog.CHANNELS_SENT, 0)
