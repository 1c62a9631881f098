"""Which keys hold secrets, and how texts that quote secrets are masked."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_dd.redaction import Redactor, mask_text

SECRET = "hunter2-s3cr3t"


@pytest.mark.parametrize(
    "key",
    [
        "password",
        "user_password",
        "dbPassword",
        "DB_PASSWORD",
        "passwd",
        "secret",
        "client_secret",
        "SECRET_KEY",
        "token",
        "accessToken",
        "csrf_token",
        "csrfmiddlewaretoken",
        "authorization",
        "Proxy-Authorization",
        "cookie",
        "Set-Cookie",
        "api_key",
        "X-Api-Key",
        "DD_API_KEY",
        "dd_application_key",
        "session",
        "sessionid",
        "session_id",
        "jwt",
        "aws_secret_access_key",
        "http.request.headers.authorization",
    ],
)
def test_keys_that_hold_secrets_are_hidden(key):
    """A value under a key that names a secret is hidden, in every way of writing the key."""
    assert Redactor().hides(key, SECRET)


@pytest.mark.parametrize(
    "key",
    [
        "user",
        "task_key",
        "monkey",
        "author",
        "obsession",
        "prompt_tokens",
        "http.url",
        "message",
        "design",
        "",
    ],
)
def test_other_keys_are_shown(key):
    """A key that merely looks like a secret's is shown: counts of tokens, authors, keys of tasks."""
    assert not Redactor().hides(key, "value")


def test_numbers_under_words_that_also_measure_are_shown():
    """A number under `token_count` or `session_duration` is a measurement; under `password` it is a password."""
    redactor = Redactor()
    assert not redactor.hides("token_count", 512)
    assert not redactor.hides("session_duration", 1.5)
    assert redactor.hides("token_count", "abc")
    assert redactor.hides("password", 1234)


def test_configured_keys_are_hidden_as_whole_words():
    """A configured key hides its words in any style, in keys and in texts, and no longer words around it."""
    redactor = Redactor(("ssn", "card-number"))
    assert redactor.hides("user.ssn", "1")
    assert redactor.hides("customerCardNumber", 5)
    assert not redactor.hides("classname", "x")
    assert redactor.mask("ssn=123-45-6789 card_number: 5") == "ssn=*** card_number: 5"
    assert redactor.mask('{"card_number": "4111", "n": 1}') == '{"card_number": ***, "n": 1}'


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("password=hunter2 next", "password=*** next"),
        ("GET /a?token=abc&x=1", "GET /a?token=***&x=1"),
        ("GET /a?x=1&access_token=abc", "GET /a?x=1&access_token=***"),
        ("got Bearer eyJhbGciOi.J9x here", "got Bearer *** here"),
        ("Authorization: Basic dXNlcjpw", "Authorization: ***"),
        ("postgres://joe:s3cret@db:5432/x timed out", "postgres://joe:***@db:5432/x timed out"),
        ("https://0123456789abcdef0@sentry.example/1", "https://***@sentry.example/1"),
        ("{'password': 'x y', 'a': 1}", "{'password': ***, 'a': 1}"),
        ('{"api_key": "abc", "tokens": 5}', '{"api_key": ***, "tokens": 5}'),
        ("Cookie: a=b; sessionid=d\nnext", "Cookie: ***\nnext"),
        ("User(name='a', password='b c')", "User(name='a', password=***)"),
        ("https://x.example/f?X-Amz-Signature=abc&y=1", "https://x.example/f?X-Amz-Signature=***&y=1"),
    ],
)
def test_secrets_quoted_in_texts_are_masked(text, masked):
    """A secret in a URL, a header, a `key=value` pair or JSON is masked, the rest of the text stays."""
    assert mask_text(text) == masked


@pytest.mark.parametrize(
    "text",
    [
        "Invalid token: signature has expired",
        "Bearer authentication failed",
        "Basic authentication: failed",
        "max_tokens=512 token=512",
        "session started: 5 clients",
        "task_key=app:model:17",
        "see http://example.org/a:b@c",
        "key: value",
    ],
)
def test_ordinary_texts_are_left_alone(text):
    """A sentence about tokens or sessions stays readable."""
    assert mask_text(text) == text


def test_a_long_stack_is_masked_line_by_line():
    """A secret in a long stack trace is masked too."""
    stack = (
        "  File 'x.py', line 1\n" * 100 + f"    connect(password={SECRET!r})\nValueError: x: {SECRET[:0]}\n"
    )
    assert SECRET not in mask_text(stack)
    assert mask_text(stack).count("\n") == stack.count("\n")


UNQUOTED = st.text(alphabet=st.characters(exclude_characters="'\"", codec="utf-8"))


@settings(deadline=None)
@given(UNQUOTED, st.sampled_from(["password=", "?token=", "api_key=", "Bearer ", "'secret': '"]), UNQUOTED)
def test_a_secret_is_masked_whatever_surrounds_it(before, prefix, after):
    """A secret after its key is masked within any text, and masking never raises."""
    assert SECRET not in mask_text(f"{before} {prefix}{SECRET} {after}")


@pytest.mark.parametrize(
    "part",
    [
        "://",
        "password=",
        "password='",
        'token="',
        "://a:",
        "cookie:",
        "bearer ",
        "api_key",
        "=",
        "a@",
        "csrf",
        " ",
        "x:",
    ],
)
@pytest.mark.parametrize("end", ["", "@", "password=1", "x"])
def test_masking_stays_quick_on_hostile_texts(part, end):
    """A text made of what the patterns look for costs no more than twenty times an ordinary one of its length."""
    ordinary = ("token: an ordinary text of words, " * 4000)[:100_000]
    mask_text(ordinary)
    hostile = (part * 100_000)[:100_000] + end
    took = [_seconds(ordinary), _seconds(hostile)]
    assert took[1] < max(20 * took[0], 2.0)


def _seconds(text):
    start = time.process_time()
    mask_text(text)
    return time.process_time() - start
