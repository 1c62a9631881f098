"""As framework_litestar.py, in Django Ninja, as far as Django goes: no WebSockets, no lifespan."""

from __future__ import annotations

import asyncio

import django
from django.conf import settings

settings.configure(SECRET_KEY="not for production", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import StreamingHttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from ninja import NinjaAPI, Router  # noqa: E402

import streaming_dd as dd  # noqa: E402

router = Router()


@router.get("/{tenant}/items/{int:number}")
async def item(request, tenant: str, number: int):
    return {"number": number}


@router.get("/{tenant}/fails/{number}")
async def fails(request, tenant: str, number: int):
    raise LookupError("on purpose")


@router.get("/{tenant}/events/{number}")
async def events(request, tenant: str, number: int):
    async def numbers():
        for one in range(number):
            yield f"data: {one}\n\n".encode()
            await asyncio.sleep(0.02)

    return StreamingHttpResponse(numbers(), content_type="text/event-stream")


api = NinjaAPI()
api.add_router("", router)
urlpatterns = [path("v1/", api.urls)]
app = dd.instrument(get_asgi_application())
