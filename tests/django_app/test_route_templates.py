"""From Django's routes to templates."""

from __future__ import annotations

import re

import pytest
from django.contrib import admin
from django.urls import URLPattern, URLResolver
from hypothesis import given
from hypothesis import strategies as st

from streaming_dd.django.route_templates import template_of

FIT_FOR_A_TAG = re.compile(r"/[\w\-./{}*]*\Z")


@pytest.mark.parametrize(
    ("route", "template"),
    [
        ("", "/"),
        ("reports/<int:pk>/", "/reports/{pk}/"),
        ("reports/<name>", "/reports/{name}"),
        ("files/<path:rest>", "/files/{rest}"),
        ("stream/<str:app>/<str:model>/<int:id>", "/stream/{app}/{model}/{id}"),
        (r"^articles/(?P<year>[0-9]{4})/$", "/articles/{year}/"),
        (r"^articles/(?P<year>\d{4})/(?P<slug>(?:[a-z]+-)*[a-z]+)/$", "/articles/{year}/{slug}/"),
        (r"^old/(\d+)\.html$", "/old/{*}.html"),
        (r"^page-\d+/x$", "/page-{*}/x"),
        (r"^[a-z]\w*/end\Z", "/{*}/end"),
        (r"^comments/(?:page-(?P<number>\d+)/)?$", "/comments/page-{number}/"),
        (r"^(?:en|de)/about/$", "/{*}/about/"),
        (r"^(?i:about)/?$", "/about/"),
        (r"^(?!api/).*$", "/{*}"),
        (r"^[]x[]/(?P<a>[)]+)/z", "/{*}/{a}/z"),
        (r"^media/(?P<path>.*)$", "/media/{path}"),
        ("robots.txt", "/robots.txt"),
        (r"reports/(?P<pk>\d+", "/reports/{pk}"),
    ],
)
def test_templates_look_like_starlettes(route: str, template: str) -> None:
    """Converters and named groups become `{name}`; anchors, lookarounds and quantifiers go; the rest is `{*}`."""
    assert template_of(route) == template


def patterns(of: list[URLPattern | URLResolver], prefix: str) -> list[str]:
    found = []
    for item in of:
        route = prefix + str(item.pattern).removeprefix("^")
        found += patterns(item.url_patterns, route) if isinstance(item, URLResolver) else [route]
    return found


def test_every_route_of_the_admin_is_fit_for_a_tag() -> None:
    """None of the admin's routes keeps anything of its regular expressions."""
    routes = patterns(admin.site.urls[0], "admin/")
    assert len(routes) > 15
    for route in routes:
        assert FIT_FOR_A_TAG.match(template_of(route)), route


@given(st.text(alphabet="ab/(?P<x>:)[]{}\\d.*+|^$-", max_size=40))
def test_no_route_is_refused(route: str) -> None:
    """Whatever a route looks like, it has one template, which begins with a slash."""
    assert template_of(route).startswith("/")
