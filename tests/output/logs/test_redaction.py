"""Which keys hold secrets, and how texts that quote secrets are masked."""

from __future__ import annotations

import ast
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streaming_dd.output import redaction
from streaming_dd.output.redaction import MASK, Redactor, mask_text

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


@pytest.mark.slow
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
        "-sk-",
        "-eyJ",
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


@pytest.mark.parametrize(
    "token",
    [
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9P",
        "eyJ" + "a1B2" * 1_500 + ".eyJzdWIiOiIxIn0.dozjgNryP4J3jVmN",  # its header has certificates
        "AKIAIOSFODNN7EXAMPLE",
        "ghp_" + "a1B2" * 9,
        "github_pat_" + "11ABCDEFG0" * 3,
        "glpat-" + "a1B2c3D4e5F6g7H8i9J0",
        "xoxb-123456789012-abcdefGHIJKL",
        "sk-proj-" + "a1B2" * 8,
        "sk_live_" + "a1B2" * 6,
        "AIza" + "a1B2_" * 7,
        "npm_" + "a1B2" * 9,
        "hf_" + "a1B2" * 9,
        "SG." + "a1B2" * 5 + "." + "c3D4" * 5,
    ],
)
@pytest.mark.parametrize("around", ["{}", "got {} from x", "key {}, then", "'{}'", "x={}&y=1", "a/{}/b"])
def test_well_known_tokens_are_masked_anywhere(token, around):
    """A token that shows by itself what it is needs no key in front of it."""
    masked = mask_text(around.format(token))
    assert token[8:] not in masked
    assert MASK in masked


def test_a_private_key_is_masked_as_a_block():
    """A PEM block's inside is masked, over lines and with `\\n` written out; certificates are public."""
    body = "\n".join(["MIIEvQIBADANBgkqhkiG9w0BAQEFAASC"] * 3)
    pem = f"-----BEGIN RSA PRIVATE KEY-----\n{body}\n-----END RSA PRIVATE KEY-----"
    for text in (pem, pem.replace("\n", "\\n"), pem[:80]):
        masked = mask_text(f"loaded {text} now")
        assert "MIIE" not in masked
    certificate = pem.replace("RSA PRIVATE KEY", "CERTIFICATE")
    assert mask_text(certificate) == certificate


@pytest.mark.parametrize(
    "text",
    [
        "task-key sk-learn xoxo risk-averse-people-and-more-of-them desk-assignments-2026",
        "high_score graph_api ghost_writer rough_1234",
        "SG.1 hf_hub npm_config_registry eyJ AKIA ASIA-PACIFIC ya29.",
    ],
)
def test_words_that_begin_like_tokens_are_left_alone(text):
    """What is too short, or is a word, is no token."""
    assert mask_text(text) == text


@pytest.mark.parametrize("newline", ["", "\n"])
def test_a_secret_far_into_a_long_text_is_masked_and_nothing_is_cut(newline):
    """250 kB with a few secrets are searched where keys are, whatever is longer than what is looked at."""
    filler = f"an ordinary text of words{newline} " * 5_000
    long_secret = SECRET * 100
    text = f"{filler}password={long_secret} {filler}Authorization: Basic {long_secret}"
    masked = mask_text(text)
    assert SECRET not in masked
    assert masked == f"{filler}password=*** {filler}Authorization: ***"


def test_a_text_that_is_all_keys_is_cut_rather_than_shown():
    """What cannot be searched in time is not shown."""
    text = "password=1hunter " * 20_000 + f"password={SECRET}"
    masked = mask_text(text)
    assert SECRET not in masked
    assert "characters cut" in masked


@pytest.mark.slow
def test_no_hint_of_ours_is_eaten():
    """What this package says about settings named `..._TOKEN` and about `Authorization: Bearer` stays readable."""
    package = Path(redaction.__file__).parent.parent
    eaten = []
    for path in package.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.JoinedStr):
                text = "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "x1" for part in node.values
                )
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                text = node.value
            else:
                continue
            if mask_text(text) != text:
                eaten.append((path.name, node.lineno, mask_text(text)))
    assert eaten == []


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("<QueryDict: {'password': ['hunter2x', 'hunter3x'], 'q': ['a']}>", "<QueryDict: {'password': ***], 'q': ['a']}>"),
        ("password=('hunter2x',)", "password=***,)"),
        ("{'password': b'hunter2x', 'user': 'joe'}", "{'password': ***, 'user': 'joe'}"),
        ("password=Secret('hunter2x')", "password=***)"),
        (r'{"up": "{\"api_key\": \"hunter2x\", \"b\": 1}"}', r'{"up": "{\"api_key\": ***, \"b\": 1}"}'),
        (r'{"password": "a\"hunter2x", "b": 1}', '{"password": ***, "b": 1}'),
        ("[(b'x-api-key', b'hunter2x'), (b'a', b'b')]", "[(b'x-api-key', b***), (b'a', b'b')]"),
        ("postgres://u:p@hunter2x@h/db", "postgres://u:***@h/db"),
        ("Authorization=Token hunter2x", "Authorization=***"),
        ("password   = hunter2x", "password   = ***"),
        ("/login?next=%2Fa%3Ftoken%3Dhunter2x&b=1", "/login?next=%2Fa%3Ftoken%3D***&b=1"),
        ("DB_PASS=hunter2x", "DB_PASS=***"),
        ("run --password hunter2x --dry", "run --password *** --dry"),
        ("fields ['password', 'email'] are missing", "fields ['password', 'email'] are missing"),
        ("12 passed, bypass=1, compass=2", "12 passed, bypass=1, compass=2"),
        ("https://host:8080/@scope/package", "https://host:8080/@scope/package"),
        ("amqp://u:hunter/2x@h/v and more", "amqp://u:***@h/v and more"),
        ("amqp://u:p:a/hunter2x@h", "amqp://u:***@h"),
        ("redis://:12/hunter2x?#@h:6379/0", "redis://:***@h:6379/0"),
        ("amqp://u:hunter/2x@[::1]:5672", "amqp://u:***@[::1]:5672"),
        ('{"url": "amqp://u:hunter/2x@h", "to": "a@b"}', '{"url": "amqp://u:***@h", "to": "a@b"}'),
        ("http://[::1]:8126/x@y", "http://[::1]:8126/x@y"),
        ("see http://host:80?to=a@b", "see http://host:80?to=a@b"),
    ],
)  # fmt: skip
def test_secrets_in_everyday_shapes(text: str, masked: str) -> None:
    """Forms, pairs of headers, JSON in JSON, options and the like: the secret goes, what is beside it stays."""
    assert mask_text(text) == masked
