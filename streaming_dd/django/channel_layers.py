"""Channels' layers: what is sent to channels and groups, and what is dropped because a channel is full. State: `_hooked`.

A layer that is full says so to nobody: a group's message is then lost for that one consumer.
"""

from __future__ import annotations

import functools
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from typing import Any

from channels.exceptions import ChannelFull
from channels.layers import ChannelLayerManager, channel_layers

from .. import catalog, recorder
from ..requests.frameworks.noting import SCOPE_KEY

Send = Callable[..., Awaitable[Any]]

_hooked: dict[tuple[type, str], Send] = {}
#: Whether this context sends to a group: what it sends to single channels is that group's message.
_in_group: ContextVar[bool] = ContextVar("streaming_dd_group", default=False)
_original: Callable[..., Any] | None = None


def install() -> None:
    """Hook the layers that there are, and those that are made from now on; again changes nothing."""
    global _original
    if _original is not None:
        return
    make = _original = ChannelLayerManager._make_backend

    @functools.wraps(make)
    def make_and_hook(self: Any, name: str, config: Any) -> Any:
        layer = make(self, name, config)
        _hook(type(layer))
        return layer

    ChannelLayerManager._make_backend = make_and_hook
    for layer in channel_layers.backends.values():
        _hook(type(layer))


def uninstall() -> None:
    """Put the layers' own methods back."""
    global _original
    if _original is not None:
        ChannelLayerManager._make_backend = _original
        _original = None
    for (owner, name), original in _hooked.items():
        setattr(owner, name, original)
    _hooked.clear()


def _hook(layer: type) -> None:
    for name, counts in (("send", _counts_send), ("group_send", _counts_group_send)):
        original = getattr(layer, name)
        if not hasattr(original, SCOPE_KEY):  # its own, or that of a layer that it inherits from
            counting = counts(original)
            setattr(counting, SCOPE_KEY, True)
            _hooked[layer, name] = original
            setattr(layer, name, counting)


def _counts_send(send: Send) -> Send:
    @functools.wraps(send)
    async def count_and_send(self: Any, channel: str, message: Any) -> Any:
        kind = "group_send" if _in_group.get() else "send"
        if kind == "send":
            _count(catalog.CHANNELS_SENT, kind)
        try:
            return await send(self, channel, message)
        except ChannelFull:
            _count(catalog.CHANNELS_DROPPED, kind)
            raise

    return count_and_send


def _counts_group_send(group_send: Send) -> Send:
    @functools.wraps(group_send)
    async def count_and_send(self: Any, group: str, message: Any) -> Any:
        _count(catalog.CHANNELS_SENT, "group_send")
        token = _in_group.set(True)
        try:
            return await group_send(self, group, message)
        finally:
            _in_group.reset(token)

    return count_and_send


def _count(metric: catalog.Metric, kind: str) -> None:
    seen = recorder.get()
    try:
        seen.metrics.counter(metric, kind=kind).increment()
    except Exception as fault:  # noqa: BLE001 - whatever fails here is not the application's
        seen.fault(fault)
