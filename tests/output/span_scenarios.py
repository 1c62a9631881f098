"""Everything that spans are made for, once by the direct path and once by ddtrace's own; run in a process of its own.

The first argument names the framework. The environment says how ddtrace is set up, `SCENARIO_SETUP` what is put into it
by code. Each way's spans go to the receiver in a phase of its own; the last line says which path each phase took.
"""

from __future__ import annotations

import asyncio
import contextvars
import json
import os
import sys
import threading
import urllib.request
from typing import Any

from streaming_dd import recorder, timers
from streaming_dd.middleware import DatadogMiddleware
from streaming_dd.output.tracing import direct

FRAMEWORK = sys.argv[1]
SETUP = os.environ.get("SCENARIO_SETUP", "")
TID = "640cfd8d00000000"
REMOTE = {
    "datadog": {
        "x-datadog-trace-id": "1234567890",
        "x-datadog-parent-id": "987",
        "x-datadog-sampling-priority": "2",
        "x-datadog-origin": "synthetics",
        "x-datadog-tags": f"_dd.p.dm=-4,_dd.p.tid={TID},_dd.p.usr.id=abc",
    },
    "no_priority": {"x-datadog-trace-id": "1234567890", "x-datadog-parent-id": "987"},
    "w3c": {
        "traceparent": f"00-{TID}8448eb211c80319c-b7ad6b7169203331-01",
        "tracestate": "dd=s:1;t.dm:-1,other=x",
    },
    "not_sampled": {"traceparent": f"00-{TID}8448eb211c80319c-b7ad6b7169203331-00"},
    "b3": {"b3": "463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-1"},
    "baggage": {"baggage": "user.id=bob,other=1"},
    "both": {"traceparent": f"00-{TID}8448eb211c80319c-b7ad6b7169203331-01", "baggage": "user.id=bob"},
    "legacy_baggage": {"ot-baggage-a": "b"},
}
background: set[asyncio.Task[Any]] = set()


def tracer() -> Any:
    from ddtrace.trace import tracer

    return tracer


@timers.task("reports.Export")
async def export(error: BaseException | None = None) -> int:
    with tracer().trace("step", resource="in task"):
        await asyncio.sleep(0)
    if error is not None:
        raise error
    return 42


@timers.task("reports.Sleep")
async def sleep() -> None:
    await asyncio.sleep(60)


answered: list[asyncio.Event] = []


async def late(request_has_ended: asyncio.Event) -> None:
    await request_has_ended.wait()
    with tracer().trace("after the request"):
        pass


async def tag(span: Any) -> None:
    span.set_tag("user.plan", "gold")
    span.set_metric("user.rows", 7)
    span.set_tag("a flag", True)


async def keep(span: Any) -> None:
    span.set_tag("manual.keep")


async def drop(span: Any) -> None:
    span.set_tag("manual.drop")


async def service(span: Any) -> None:
    span.service = "another"


async def peer(span: Any) -> None:
    span.set_tag("peer.service", "db")


async def event(span: Any) -> None:
    span.set_link(1, 2, attributes={"why": "test"})
    if hasattr(span, "_add_event"):
        span._add_event("happened", {"n": 1}, 1)


async def error(span: Any) -> None:
    try:
        raise KeyError("handled")
    except KeyError:
        span.set_exc_info(*sys.exc_info())


async def fail(span: Any) -> None:
    raise ValueError("on purpose")


async def finished(span: Any) -> None:
    span.finish()


async def child(span: Any) -> None:
    with tracer().trace("child", service="db", resource="SELECT 1", span_type="sql"), tracer().trace("inner"):
        await asyncio.sleep(0)


async def many(span: Any) -> None:
    for number in range(12):
        tracer().trace("row", resource=str(number)).finish()


async def thread(span: Any) -> None:
    context = contextvars.copy_context()
    worker = threading.Thread(target=lambda: context.run(lambda: tracer().trace("in thread").finish()))
    worker.start()
    worker.join()


async def task(span: Any) -> None:
    await asyncio.create_task(child(span))


async def outlived(span: Any) -> None:
    answered.append(asyncio.Event())
    background.add(asyncio.create_task(late(answered[0])))


async def inject(span: Any) -> None:
    from ddtrace.propagation.http import HTTPPropagator

    headers: dict[str, str] = {}
    HTTPPropagator.inject(span, headers)
    span.set_tag("injected", ",".join(sorted(headers)))
    span.set_tag("injected.priority", headers.get("x-datadog-sampling-priority", ""))


async def submit(span: Any) -> None:
    background.add(asyncio.create_task(export()))


async def wait(span: Any) -> None:
    await export()


DONE = {
    work.__name__: work
    for work in (
        tag, keep, drop, service, peer, event, error, fail, finished,
        child, many, thread, task, outlived, inject, submit, wait,
    )
}  # fmt: skip


async def work(name: str) -> None:
    if name in DONE:
        span = tracer().current_span()
        assert span is None or span is tracer().current_root_span()
        await DONE[name](span)


def site() -> Any:
    if FRAMEWORK == "django":
        return django_site()
    from starlette.responses import PlainTextResponse, StreamingResponse

    async def item(request: Any) -> Any:
        await work(request.path_params["name"])
        return PlainTextResponse("x")

    async def events(request: Any) -> Any:
        async def body() -> Any:
            yield "data: 1\n\n"
            await work(request.path_params["name"])
            yield "data: 2\n\n"

        return StreamingResponse(body(), media_type="text/event-stream")

    if FRAMEWORK == "fastapi":
        import fastapi

        app = fastapi.FastAPI()
        # What FastAPI would make a query parameter is a plain request here.
        app.add_route("/items/{name}", item)
        app.add_route("/events/{name}", events)
        return app
    from starlette.applications import Starlette
    from starlette.routing import Route

    return Starlette(routes=[Route("/items/{name}", item), Route("/events/{name}", events)])


def django_site() -> Any:
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path

    async def item(request: Any, name: str) -> Any:
        await work(name)
        return HttpResponse("x")

    async def events(request: Any, name: str) -> Any:
        async def body() -> Any:
            yield b"data: 1\n\n"
            await work(name)
            yield b"data: 2\n\n"

        return StreamingHttpResponse(body(), content_type="text/event-stream")

    settings.configure(
        SECRET_KEY="x", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, LOGGING_CONFIG=None, MIDDLEWARE=[]
    )
    globals()["urlpatterns"] = [path("items/<name>", item), path("events/<name>", events)]
    django.setup()
    return get_asgi_application()


async def ask(app: Any, path: str, headers: dict[str, str] | None = None, kind: str = "http") -> None:
    scope = {
        "type": kind,
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": "GET",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "scheme": kind,
        "headers": [(b"host", b"site:1"), *((k.encode(), v.encode()) for k, v in (headers or {}).items())],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Any:
        message = next(asked, None)
        if message is None:
            await asyncio.sleep(60)
        return message

    async def send(message: Any) -> None:
        await asyncio.sleep(0)

    try:
        await app(scope, receive, send)
    except ValueError:
        pass


async def everything(app: Any, found: Any) -> None:
    """One after the other, so that the spans of two runs come in the same order."""
    for name in ("plain", *DONE):
        await ask(app, f"/items/{name}")
        while answered:
            answered.pop().set()
        if background:
            await asyncio.gather(*background)
            background.clear()
    await ask(app, "/nowhere")
    for headers in REMOTE.values():
        for work in ("plain", "child", "inject"):
            found.tracing._direct._send_ended()  # so that no two of one trace wait together
            await ask(app, f"/items/{work}", headers)
    for name in ("plain", "tag", "fail", "child"):
        await ask(app, f"/events/{name}")
    await export()
    with tracer().trace("outer", service="of the user"):
        await export()
        await ask(app, "/items/plain")
    await asyncio.gather(export(ValueError("task")), return_exceptions=True)
    cancelled = asyncio.create_task(sleep())
    await asyncio.sleep(0.01)
    cancelled.cancel()
    await asyncio.gather(cancelled, return_exceptions=True)


def set_up() -> None:
    from ddtrace.trace import TraceFilter

    class Filter(TraceFilter):
        def process_trace(self, trace: Any) -> Any:
            for span in trace:
                span.set_tag("filtered", "yes")
            return trace

    if SETUP == "filter":
        tracer().configure(trace_processors=[Filter()])
    elif SETUP == "span processor":
        from ddtrace._trace.processor import SpanProcessor

        class Processor(SpanProcessor):
            def on_span_start(self, span: Any) -> None:
                span.set_tag("processor", "start")

            def on_span_finish(self, span: Any) -> None:
                pass

        Processor().register()
    elif SETUP == "tags":
        tracer().set_tags({"by": "code"})
    elif SETUP == "missing":
        direct.Names._check = lambda *a: (_ for _ in ()).throw(AttributeError("Span has no _set_attributes"))


def main() -> None:
    # Rounds are made here: one in between would send a span in the phase that comes next.
    recorder.Recorder.start = lambda self: None  # type: ignore[method-assign]
    if SETUP == "missing":
        set_up()
    found = recorder.get()
    if SETUP != "missing":
        set_up()
    app = DatadogMiddleware(site())
    url, paths = os.environ["DD_TRACE_AGENT_URL"], {}

    def phase(name: str) -> None:
        found.tracing._direct._send_ended()
        tracer().flush()
        urllib.request.urlopen(f"{url}/phase/{name}").close()
        found.round()

    asyncio.run(ask(app, "/items/warm"))
    phase("learning")  # the Agent has answered with its rates
    asyncio.run(ask(app, "/items/warm"))
    phase("direct")
    paths["direct"] = found.tracing.full_path_because
    asyncio.run(everything(app, found))
    paths["direct"] = paths["direct"] or found.tracing.full_path_because
    phase("between")
    direct.why_full = lambda names, ours: "the test asks for it"
    phase("full")
    paths["full"] = found.tracing.full_path_because
    asyncio.run(everything(app, found))
    phase("end")
    sys.stdout.write(json.dumps(paths) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
