"""As framework_litestar.py, in the Django REST Framework, as far as Django goes: no WebSockets, no lifespan."""

from __future__ import annotations

import asyncio

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="not for production",
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["rest_framework"],
    REST_FRAMEWORK={"UNAUTHENTICATED_USER": None, "DEFAULT_AUTHENTICATION_CLASSES": []},
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402
from django.http import StreamingHttpResponse  # noqa: E402
from django.urls import include, path  # noqa: E402
from rest_framework import routers, viewsets  # noqa: E402
from rest_framework.decorators import api_view  # noqa: E402
from rest_framework.response import Response  # noqa: E402

import streaming_dd as dd  # noqa: E402


class Items(viewsets.ViewSet):
    lookup_url_kwarg = "number"
    lookup_value_regex = "[0-9]+"

    def retrieve(self, request, tenant, number):
        return Response({"number": int(number)})


@api_view(["GET"])
def fails(request, tenant, number):
    raise LookupError("on purpose")


async def events(request, tenant, number):
    async def numbers():
        for one in range(number):
            yield f"data: {one}\n\n".encode()
            await asyncio.sleep(0.02)

    return StreamingHttpResponse(numbers(), content_type="text/event-stream")


router = routers.SimpleRouter(trailing_slash=False)
router.register("items", Items, basename="item")
paths = [*router.urls, path("fails/<int:number>", fails), path("events/<int:number>", events)]
urlpatterns = [path("v1/<tenant>/", include(paths))]
app = dd.instrument(get_asgi_application())
