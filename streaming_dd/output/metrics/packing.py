"""From values to lines, and from lines to payloads of a size that the transport takes. State: in each `Packer`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

#: Told when the payload that holds a line has gone out (True), or has not (False).
Receipt = Callable[[bool], None]


@dataclass(slots=True)
class Payload:
    """What goes out as one datagram, and who is to learn whether it did."""

    data: bytes
    receipts: list[Receipt] = field(default_factory=list)


class Packer:
    """Join values to lines and lines to payloads of at most `limit` bytes."""

    def __init__(self, limit: int, packing: bool) -> None:
        self._limit: Final = limit
        self._packing = packing
        self._payloads: list[Payload] = []
        self._lines: list[bytes] = []
        self._receipts: list[Receipt] = []
        self._size = 0

    def add(self, head: bytes, value: bytes, tail: bytes, receipt: Receipt | None = None) -> None:
        """Add one line with one value (or with several, already joined)."""
        line = b"%s:%s%s" % (head, value, tail)
        size = len(line) + 1
        if self._lines and self._size + size > self._limit + 1:
            self._close()
        self._lines.append(line)
        self._size += size
        if receipt is not None:
            self._receipts.append(receipt)

    def add_many(
        self,
        head: bytes,
        values: list[float],
        tail: bytes,
        receipt: Callable[[list[float]], Receipt] | None = None,
    ) -> None:
        """Add values, with three decimals, as many to a line as fit; `receipt` makes one for the values of a line."""
        for chunk, text in self._texts(len(head) + len(tail) + 1, values):
            self.add(head, text, tail, receipt(chunk) if receipt is not None else None)

    def _texts(self, taken: int, values: list[float]) -> list[tuple[list[float], bytes]]:
        if not self._packing:
            return [([value], b"%.3f" % value) for value in values]
        room = self._limit - taken
        at = 0
        step = max(1, room // 8)
        texts = []
        while at < len(values):
            chunk = values[at : at + step]
            text = (b"%.3f:" * len(chunk) % tuple(chunk))[:-1]
            while len(text) > room and len(chunk) > 1:
                chunk = chunk[: max(1, len(chunk) * room // len(text) - 1)]
                text = (b"%.3f:" * len(chunk) % tuple(chunk))[:-1]
            texts.append((chunk, text))
            at += len(chunk)
        return texts

    def _close(self) -> None:
        self._payloads.append(Payload(b"\n".join(self._lines), self._receipts))
        self._lines = []
        self._receipts = []
        self._size = 0

    def finish(self) -> list[Payload]:
        """Return the payloads."""
        if self._lines:
            self._close()
        return self._payloads
