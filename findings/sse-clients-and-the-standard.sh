#!/usr/bin/env bash
# httpx-sse 0.4.3, sseclient-py 1.9.0, requests-sse 0.5.3, aiohttp-sse-client 0.2.1 (with httpx 0.28.1, requests 2.34.2, aiohttp 3.14.5;
#   CPython 3.11, Linux), run 2026-11-29.
# Behaviour: four clients read the same five streams ("c" is what a second connection gets). Listed is (data, id) of each event, where it is
#   not what the standard's parser gives. All lose the first event after a byte order mark. httpx-sse delivers blocks without data
#   ("retry: 3000") as events with data "". sseclient-py has no id for the event after one that had it, and delivers a block that was cut
#   off. aiohttp-sse-client glues such half a block to the first event after its reconnect, and knows no CR as the end of a line.
# Expected: the standard: one BOM dropped, no event without data, the id kept, an unfinished block thrown away.
# Output seen:
#   httpx-sse           byte order mark  []
#   httpx-sse           blocks no data   [('', ''), ('', ''), ('', '7'), ('a', '7')]
#   sseclient-py        byte order mark  []
#   sseclient-py        blocks no data   [('a', None)]
#   sseclient-py        id then none     [('a', '1'), ('b', None)]
#   sseclient-py        cut in a block   [('a', None), ('b', None), ('c', None)]
#   requests-sse        byte order mark  []
#   aiohttp-sse-client  byte order mark  []
#   aiohttp-sse-client  cut in a block   [('a', ''), ('b\nc', '')]
#   aiohttp-sse-client  CR ends lines    [('a\rdata: b', '')]
set -euo pipefail
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv --without-pip "$work/venv"
python3 -m pip --python "$work/venv" install -q --no-compile --disable-pip-version-check httpx==0.28.1 httpx-sse==0.4.3 \
  requests==2.34.2 sseclient-py==1.9.0 requests-sse==0.5.3 aiohttp==3.14.5 aiohttp-sse-client==0.2.1
cat > "$work/probe.py" <<'PY'
import asyncio, datetime, http.server, sys, threading
import httpx, httpx_sse, requests, requests_sse, sseclient
from aiohttp_sse_client import client as aiohttp_sse

AGAIN = b"data: c\n\n"  # what a reconnect gets
STREAMS = {  # name: (bytes, events by the standard)
    "byte order mark": (b"\xef\xbb\xbfdata: a\n\n", [("a", "")]),
    "blocks no data": (b"event: ping\n\nretry: 20\n\nid: 7\n\ndata: a\n\n", [("a", "7")]),
    "id then none": (b"id: 1\ndata: a\n\ndata: b\n\n", [("a", "1"), ("b", "1")]),
    "cut in a block": (b"data: a\n\ndata: b\n", [("a", ""), ("c", "")]),
    "CR ends lines": (b"data: a\rdata: b\r\r", [("a\nb", "")]),
}
asked = set()

class Site(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        again = self.path in asked
        asked.add(self.path)
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.end_headers()
        self.wfile.write(AGAIN if again else list(STREAMS.values())[int(self.path.rpartition("/")[2])][0])

    def log_message(self, *args):
        pass

SOON = datetime.timedelta(milliseconds=20)

def with_httpx(url):
    with httpx.Client() as client, httpx_sse.connect_sse(client, "GET", url) as source:
        yield from ((event.data, event.id) for event in source.iter_sse())

def with_sseclient(url):
    yield from ((event.data, event.id) for event in sseclient.SSEClient(requests.get(url, stream=True, timeout=10)).events())

def with_requests(url):
    with requests_sse.EventSource(url, reconnection_time=SOON, timeout=10) as source:
        yield from ((event.data, event.last_event_id) for event in source)

def with_aiohttp(url):
    async def read():
        events = []
        async with aiohttp_sse.EventSource(url, reconnection_time=SOON) as source:
            async for event in source:
                events.append((event.data, event.last_event_id))
                if "c" in event.data:
                    return events
    return asyncio.run(asyncio.wait_for(read(), 15))

def read(client, url):
    """The events up to the first one of a reconnect; clients that do not reconnect are asked a second time."""
    events = []
    for _ in range(2):
        for event in client(url):
            if len(events) > 9:
                return events
            events.append(event)
            if "c" in event[0]:
                return events

EXPECTED = {
    ("httpx-sse", "byte order mark"): [],
    ("httpx-sse", "blocks no data"): [("", ""), ("", ""), ("", "7"), ("a", "7")],
    ("sseclient-py", "byte order mark"): [],
    ("sseclient-py", "blocks no data"): [("a", None)],
    ("sseclient-py", "id then none"): [("a", "1"), ("b", None)],
    ("sseclient-py", "cut in a block"): [("a", None), ("b", None), ("c", None)],
    ("requests-sse", "byte order mark"): [],
    ("aiohttp-sse-client", "byte order mark"): [],
    ("aiohttp-sse-client", "cut in a block"): [("a", ""), ("b\nc", "")],
    ("aiohttp-sse-client", "CR ends lines"): [("a\rdata: b", "")],
}
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=server.serve_forever, daemon=True).start()
seen = {}
for name, client in {"httpx-sse": with_httpx, "sseclient-py": with_sseclient, "requests-sse": with_requests,
                     "aiohttp-sse-client": with_aiohttp}.items():
    for n, (stream, (_, right)) in enumerate(STREAMS.items()):
        events = read(client, f"http://127.0.0.1:{server.server_port}/{name}/{n}")
        if right[-1][0] != "c":  # here the reconnect's event only ends the reading
            events = [event for event in events if event[0] != "c"]
            events = [(data.removesuffix("\nc").rstrip("\r"), id) for data, id in events]
        plain = [(data, id or "") for data, id in events]
        if plain != right:
            seen[name, stream] = events
            print(f"{name:20}{stream:17}{events}")
sys.exit(seen != EXPECTED)
PY
env -i PATH="$PATH" HOME="$work" timeout 100 "$work/venv/bin/python" "$work/probe.py"
