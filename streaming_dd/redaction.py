"""Secrets out of what is sent: which keys hold secrets, and how a text that quotes one is masked.

Pure but for a bounded cache of keys already judged, in each Redactor. docs/decisions/0025.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Final

MASK: Final = "***"

#: A key that contains one of these, written without separators, holds a secret whatever its value.
SECRET_KEYS: Final = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "apikey",
    "appkey",
    "applicationkey",
    "privatekey",
    "accesskey",
    "authorization",
    "credential",
)
#: A key whose words include one of these (or end in `token` or `cookie`) holds a secret, unless it is a number:
#: `token_count` and `session_duration` are measurements.
SECRET_WORDS: Final = ("token", "cookie", "session", "sessionid", "csrf", "jwt", "pwd", "signature")

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_CACHE_LIMIT: Final = 4096

SHOWN: Final = 0
HIDDEN_TEXT: Final = 1
HIDDEN: Final = 2

_VALUE: Final = r"""(?:(?:bearer|basic|digest|token)\s+)?(?:"[^"]*"|'[^']*'|["']?[^\s&;,"'<>()\[\]{}]+)"""
_TEXT: Final = re.compile(
    # Bearer eyJ...: an opaque word, recognised by its digits
    r"(?P<scheme>\b(?:bearer|basic)\s+)(?=[^\s\"',;]{0,64}\d)[A-Za-z0-9._~+/=-]{8,}"
    # https://user:password@host, https://key@host
    r"|(?P<user>://[^\s/?#:@]{0,128}:)[^\s/?#@]{1,256}(?=@)"
    r"|(?P<key_user>://)[^\s/?#:@]{16,256}(?=@)"
    # Cookie: and Authorization: headers, to the end of the line
    r"""|(?P<header>\b(?:(?:set-)?cookie|(?:proxy-)?authorization|x-api-key|dd-api-key)["']?\s?:\s?["']?)[^\r\n"']+"""
    # password=..., "api_key": "...", user_secret=...
    r"""|(?P<hard>(?:passw(?:or)?d|passphrase|secret|(?:api|app|application|private|access)[_-]?key|credential)"""
    r"""[\w-]{0,24}(?:["']\s?:|["']?\s?=)\s?)""" + _VALUE +
    # token=..., sessionid=...: not a number
    r"""|(?P<soft>(?:token|cookie|session|session_?id|csrf\w{0,24}|jwt|pwd|signature|[?&]sig)"""
    r"""(?:["']\s?:|["']?\s?=)\s?)(?!-?\d+(?:\.\d+)?(?:[\s,;)}\]&]|$))""" + _VALUE,
    re.IGNORECASE,
)


#: Longest text that is searched for secrets; what is longer is cut first: 32,000 characters take 6 ms.
MAX_TEXT: Final = 32_000
_LINEWISE: Final = 400
_END_OF_WORD: Final = re.compile(r"[\s,;&]")
_KEY_PARTS: Final = tuple(
    a + b for a in ("api", "app", "application", "private", "access") for b in ("key", "_key", "-key")
)


def mask_text(text: str) -> str:
    """Return `text` with passwords, tokens, cookies and the like masked: URLs, headers, `key=value`, JSON."""
    # Every pattern needs one of these and one of the words below. Looking for them costs 0.1 to 0.8 us a text, the
    # patterns 0.2 us a character: a stack trace is searched in the few lines that need it.
    if "=" in text or ":" in text or "earer " in text:
        if len(text) > MAX_TEXT:
            text = cut_text(text, MAX_TEXT)
        if len(text) > _LINEWISE and "\n" in text:
            return "".join(map(_mask_line, text.splitlines(keepends=True)))
        return _mask_line(text)
    return text


def cut_text(text: str, limit: int) -> str:
    """Cut the middle out of a text of more than `limit` characters: a stack's start says where, its end what."""
    if len(text) <= limit:
        return text
    head = limit // 3
    tail = text[head - limit :]
    # what comes before the end of a word may be the rest of a secret whose key is cut away
    end_of_word = _END_OF_WORD.search(tail)
    tail = tail[end_of_word.start() :] if end_of_word else ""
    return f"{text[:head]}... [{len(text) - head - len(tail)} characters cut] ...{tail}"


def _mask_line(text: str) -> str:
    low = text.lower()
    if (
        ("@" in low and "://" in low)
        or "token" in low
        or "passw" in low
        or "secret" in low
        or "cookie" in low
        or "session" in low
        or "bearer" in low
        or "authoriz" in low
        or "credential" in low
        or "passphrase" in low
        or "csrf" in low
        or "basic" in low
        or "jwt" in low
        or "pwd" in low
        or "sig=" in low
        or "signature" in low
        or ("key" in low and any(part in low for part in _KEY_PARTS))
    ):
        return _TEXT.sub(_replace, text)
    return text


def _replace(match: re.Match[str]) -> str:
    return f"{match[match.lastgroup]}{MASK}" if match.lastgroup else MASK


class Redactor:
    """Judges keys. `keys` are further keys that hold secrets, beside the built-in ones."""

    def __init__(self, keys: tuple[str, ...] = ()) -> None:
        own = [_words(key) for key in keys if _words(key)]
        self._own = tuple("_" + "_".join(words) + "_" for words in own)
        self._own_text = re.compile(
            r"(?P<own>(?<![A-Za-z])(?:"
            + "|".join(r"[\W_]?".join(map(re.escape, words)) for words in own)
            + r""")(?:["']\s?:|["']?\s?=)\s?)"""
            + _VALUE,
            re.IGNORECASE,
        )
        self._cache: dict[str, int] = {}
        #: Mask a text as `mask_text` does, and further keys of this Redactor in it.
        self.mask: Callable[[str], str] = self._mask if own else mask_text

    def judge(self, key: str) -> int:
        """Return SHOWN, HIDDEN_TEXT (masked unless it is a number) or HIDDEN for the value of `key`."""
        verdict = self._cache.get(key)
        if verdict is None:
            verdict = self._judge(key)
            if len(self._cache) >= _CACHE_LIMIT:
                self._cache.clear()
            self._cache[key] = verdict
        return verdict

    def hides(self, key: str, value: object) -> bool:
        """Tell whether `value` under `key` must be masked."""
        verdict = self.judge(key)
        return verdict == HIDDEN or (verdict == HIDDEN_TEXT and not isinstance(value, int | float | None))

    def _mask(self, text: str) -> str:
        if "=" in text or ":" in text:
            text = self._own_text.sub(_replace, text)
        return mask_text(text)

    def _judge(self, key: str) -> int:
        words = _words(key[:256])
        joined = "".join(words)
        spaced = "_" + "_".join(words) + "_"
        if any(own in spaced for own in self._own) or any(secret in joined for secret in SECRET_KEYS):
            return HIDDEN
        if any(word in SECRET_WORDS or word.endswith(("token", "cookie")) for word in words):
            return HIDDEN_TEXT
        return SHOWN


def _words(key: str) -> list[str]:
    """Split a key into its words, in lower case: `X-Api-Key`, `apiKey` and `api_key` are the same."""
    return [word.lower() for word in _WORDS.findall(key)]
