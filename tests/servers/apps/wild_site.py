"""A raw ASGI application, no framework and no routes: it never calls receive(), whatever its clients do."""

from __future__ import annotations

from wild_coordinator import coordinator, open_stream, render_event


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await lifespan(receive, send)
        return
    words = scope["path"].strip("/").split("/")
    if words[0] == "stream" and len(words) == 4:
        await stream(send, *words[1:])
    elif words[0] == "start" and len(words) == 4:
        task = await coordinator.get_task_instance(*words[1:])
        await coordinator.start_task(task, *words[1:3])
        await answer(send, 202, b"started")
    elif words == ["hello"]:
        await answer(send, 200, b"hello")
    else:
        await answer(send, 404, b"no such page")


async def lifespan(receive, send):
    """Answer the lifespan itself, as asgineer does."""
    while True:
        message = await receive()
        if message["type"] == "lifespan.startup":
            await send({"type": "lifespan.startup.complete"})
        else:
            await send({"type": "lifespan.shutdown.complete"})
            return


async def answer(send, status, body):
    headers = [(b"content-type", b"text/plain"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


async def stream(send, app_name, model_name, task_id):
    task, queue = await open_stream(app_name, model_name, task_id)
    await send(
        {"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/event-stream")]}
    )
    event_type = ""
    try:
        while event_type not in ("complete", "error"):
            event_type, data = await queue.get()
            body = render_event(event_type, data)
            await send({"type": "http.response.body", "body": body, "more_body": True})
    finally:
        await task.remove_client(queue)
    await send({"type": "http.response.body", "body": b""})
