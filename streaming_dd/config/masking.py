"""Which keys hold secrets, and how a text that quotes one is masked.

State: in each Redactor bounded caches of keys already judged and of names already masked. docs/decisions/0025.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import lru_cache
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
SECRET_WORDS: Final = ("token", "cookie", "session", "sessionid", "csrf", "jwt", "pwd", "pass", "signature")
#: ... or ends in one of these: `token_type` says which, not what.
_WHICH: Final = ("type", "kind")

_WORDS: Final = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|[0-9]+|[^\W\d_]+")
_CACHE_LIMIT: Final = 4096
_NAMES_LIMIT: Final = 512

SHOWN: Final = 0
HIDDEN_TEXT: Final = 1
HIDDEN: Final = 2

_QUOTED: Final = r"""(?:"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
_VALUE: Final = (
    r"(?:(?:bearer|basic|digest|token)\s+)?(?:"
    # ['...', '...'] of a form, Secret('...'), b'...'
    r"\w{0,24}[(\[]\s?b?" + _QUOTED + r"(?:,\s?b?" + _QUOTED + r")*|b?" + _QUOTED +
    # \"...\" of JSON in JSON
    r"""|\\{1,3}"[^"\\]*\\{1,3}"|["']?[^\s&;,"'<>()\[\]{}]+)"""
)  # fmt: skip
#: Between a key and its value: `=`, `":`, in JSON within JSON `\":`.
_IS: Final = r"""(?:\\{0,3}["']\s?:|(?:\\{0,3}["'])?\s{0,4}=)\s{0,4}"""
_TEXT: Final = re.compile(
    # Bearer eyJ...: an opaque word, recognised by its digits
    r"(?P<scheme>\b(?:bearer|basic)\s+)(?=[^\s\"',;]{0,64}\d)[A-Za-z0-9._~+/=-]{8,}"
    # https://user:password@host, to the last @; https://key@host
    r"|(?P<user>://[^\s/?#:@]{0,128}:)[^\s/?#]{1,1024}(?=@)"
    # ... and with a / in the password, unless that is a port and a path
    r"|(?P<slash>://(?:(?!\[)[^\s/?#:@]{1,128}:(?!\d{1,5}(?:[/?#\s]|$))|:))(?:[^\s\"'<>:]|:(?!//)){1,256}(?=@[\w\[])"
    r"|(?P<key_user>://)[^\s/?#:@]{16,256}(?=@)"
    # ('x-api-key', '...'): a pair, as headers are kept
    r"""|(?P<pair>\(b?["'](?:[\w-]{0,24}(?:passw(?:or)?d|secret|token|cookie|api-key)|(?:proxy-)?authorization)["'],\s?b?)"""
    + _QUOTED + r"(?=\))"
    # Cookie: and Authorization: headers, to the end of the line
    r"""|(?P<header>\b(?:(?:set-)?cookie|(?:proxy-)?authorization|x-api-key|dd-api-key)["']?\s?[:=]\s?["']?)"""
    r"""(?!\s*(?:bearer|basic)\s*[`)])[^\r\n"']+"""
    # password=..., "api_key": "...", user_secret=..., DB_PASS=...
    r"""|(?P<hard>(?:(?:passw(?:or)?d|passphrase|secret|(?:api|app|application|private|access)[_-]?key|credential)"""
    r"""[\w-]{0,24}|(?<![a-z])pass)""" + _IS + r")" + _VALUE +
    # token=..., sessionid=...: not a number
    r"""|(?P<soft>(?:token|cookie|session|session_?id|csrf\w{0,24}|jwt|pwd|signature|[?&]sig)"""
    + _IS + r""")(?!-?\d+(?:\.\d+)?(?:[\s,;)}\]&]|$))""" + _VALUE +
    # a query within a query: token%3D...; an option: --password ...
    r"""|(?P<encoded>(?:passw(?:or)?d|secret|token|api_?key|signature)%3D)[^\s&;%"']+"""
    r"|(?P<option>--(?:passw(?:or)?d|secret|token|api-?key)\s{1,4})(?=\S{6}|\S{0,5}\d)[^\s-]\S*",
    re.IGNORECASE,
)  # fmt: skip


#: A text up to this length is searched as a whole; in a longer one only what surrounds the words below.
_WHOLE: Final = 400
_BEFORE: Final = 160
_AFTER: Final = 512
#: A key, what is between it and its value, and enough of that to see what it is.
_KEY_AND_MORE: Final = 100
#: Characters that are searched in one text at most, 6 ms; where more would have to be, the rest is cut off.
_SEARCHED: Final = 32_000
_END_OF_WORD: Final = re.compile(r"[\s,;&]")
#: Every pattern needs one of these.
_CUES: Final = (
    *(
        "://",
        "token",
        "pass",
        "secret",
        "cookie",
        "session",
        "bearer",
        "authoriz",
        "credential",
    ),
    *(
        "csrf",
        "basic",
        "jwt",
        "pwd",
        "sig=",
        "signature",
        "apikey",
        "api_key",
        "api-key",
        "appkey",
        "app_key",
    ),
    *("app-key", "applicationkey", "application_key", "application-key", "privatekey", "private_key"),
    *("private-key", "accesskey", "access_key", "access-key"),
)
_CUES_WITHOUT_USER: Final = tuple(cue for cue in _CUES if cue != "://")
#: Whether a short text has one is told by this in a quarter of the time; in a long one it takes longer than they do.
_ANY_CUE: Final = re.compile("|".join(map(re.escape, _CUES_WITHOUT_USER)))
_SHORT: Final = 80

#: Tokens that show by themselves what they are: JWT, AWS, Google, GitHub, GitLab, Slack, Stripe, OpenAI and Anthropic,
#: npm, PyPI, Hugging Face, DigitalOcean, Shopify, SendGrid. What may not be one is looked through to a bound: each place
#: within a long text without spaces may be the start of another.
_TOKENS: Final = re.compile(
    r"(?<![A-Za-z0-9])(?:"
    r"eyJ[A-Za-z0-9_-]{8,8192}+\.[A-Za-z0-9_-]{4,}(?:\.[A-Za-z0-9_-]*)?"
    r"|(?:AKIA|ASIA)[A-Z0-9]{16}(?![A-Z0-9])"
    r"|AIza[A-Za-z0-9_-]{30,}|ya29\.[A-Za-z0-9_-]{20,}"
    r"|gh[pousr]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,}|glpat-[A-Za-z0-9_-]{16,}"
    r"|xox[a-z]-[A-Za-z0-9-]{10,}|xapp-[A-Za-z0-9-]{10,}"
    r"|[sr]k_(?:live|test)_[A-Za-z0-9]{10,}|sk-(?=[A-Za-z0-9_-]{0,256}\d)[A-Za-z0-9_-]{16,}"
    r"|npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,}|hf_[A-Za-z0-9]{30,}|do[por]_v1_[a-f0-9]{32,}"
    r"|shp(?:at|ca|pa|ss)_[a-fA-F0-9]{32}|SG\.[A-Za-z0-9_-]{16,}\.[A-Za-z0-9_-]{16,}"
    r")"
)
_PEM: Final = re.compile(
    r"(-----BEGIN [A-Z ]*PRIVATE KEY(?: BLOCK)?-----).*?(-----END [A-Z ]*PRIVATE KEY(?: BLOCK)?-----|\Z)",
    re.DOTALL,
)


def mask_text(text: str) -> str:
    """Return `text` with passwords, tokens, cookies and the like masked: URLs, headers, `key=value`, JSON, known tokens."""
    if "PRIVATE KEY" in text:
        text = _PEM.sub(rf"\1{MASK}\2", text)
    # Looking for what the patterns begin with costs 0.2 to 1 us a text, the patterns 0.2 us a character.
    if "=" in text or ":" in text or "earer " in text or "--" in text or "(" in text:
        text = _mask_keys(text)
    if (
        "eyJ" in text
        or "AKIA" in text
        or "ASIA" in text
        or "AIza" in text
        or ("-" in text and _has_dashed_token(text))
        or ("_" in text and _has_underlined_token(text))
        or "ya29." in text
        or "SG." in text
    ):
        text = _TOKENS.sub(MASK, text)
    return text


def _has_dashed_token(text: str) -> bool:
    return "sk-" in text or "xox" in text or "glpat-" in text or "xapp-" in text or "pypi-" in text


def _has_underlined_token(text: str) -> bool:
    return (
        "gh" in text
        or "github_" in text
        or "k_live_" in text
        or "k_test_" in text
        or "npm_" in text
        or "hf_" in text
        or "_v1_" in text
        or "shp" in text
    )


def cut_text(text: str, limit: int, *, masked: bool = False) -> str:
    """Cut the middle out of a text of more than `limit` characters: a stack's start says where, its end what.

    One that is not `masked` yet is not cut within a word.
    """
    if len(text) <= limit:
        return text
    head = limit // 3
    tail = text[head - limit :]
    if not masked:  # what comes before the end of a word may be the rest of a secret whose key is cut away
        end_of_word = _END_OF_WORD.search(tail)
        tail = tail[end_of_word.start() :] if end_of_word else ""
    return f"{text[:head]}... [{len(text) - head - len(tail)} characters cut] ...{tail}"


def _mask_keys(text: str) -> str:
    """Mask what follows a key or a scheme that announces a secret."""
    low = text.lower()
    # What is masked after `://` ends at an `@`; most URLs have none, and a search costs as much as a request's span.
    if len(text) <= _SHORT and "@" not in low and _ANY_CUE.search(low) is None:
        return text
    cues = [cue for cue in (_CUES if "@" in low else _CUES_WITHOUT_USER) if cue in low]
    if not cues:
        return text
    if len(text) <= _WHOLE or len(low) != len(text):
        return _TEXT.sub(_replace, cut_text(text, _SEARCHED))
    return _mask_around(text, sorted(spot for cue in cues for spot in _spots(low, cue)))


def _spots(low: str, cue: str) -> Iterator[int]:
    at = low.find(cue)
    while at >= 0:
        yield at
        at = low.find(cue, at + 1)


def _mask_around(text: str, spots: list[int]) -> str:
    """Mask secrets near `spots`, where keys may be, each within its line."""
    parts: list[str] = []
    done, searched, line_end, end = 0, 0, -1, 0
    for spot in spots:
        if spot < done or spot + _KEY_AND_MORE <= end:
            continue
        if searched > _SEARCHED:
            return "".join([*parts, text[done:spot], f"... [{len(text) - spot} characters cut]"])
        if spot > line_end:
            line_end = text.find("\n", spot)
            line_end = len(text) if line_end < 0 else line_end
        begin = max(done, text.rfind("\n", 0, spot) + 1, spot - _BEFORE)
        end = min(line_end, spot + _AFTER)
        searched += end - begin
        while match := _TEXT.search(text, begin, end):
            if match.end() == end:  # the secret may be longer than what was looked at
                match = _TEXT.match(text, match.start(), line_end) or match
            parts += (text[done : match.start()], _replace(match))
            done = begin = match.end()
    return "".join([*parts, text[done:]])


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
            + r")"
            + _IS
            + r")"
            + _VALUE,
            re.IGNORECASE,
        )
        self._cache: dict[str, int] = {}
        #: Mask a text as `mask_text` does, and further keys of this Redactor in it.
        self.mask: Callable[[str], str] = self._mask if own else mask_text
        #: Mask a short name that comes again and again, such as an event's type.
        self.mask_name: Callable[[str], str] = lru_cache(_NAMES_LIMIT)(self.mask)

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

    def masked(self, key: str, text: str) -> str:
        """Return a text that stands under `key` as it may be shown."""
        return MASK if self.hides(key, text) else self.mask(text)

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
        if words and words[-1] in _WHICH:
            return SHOWN
        if any(word in SECRET_WORDS or word.endswith(("token", "cookie")) for word in words):
            return HIDDEN_TEXT
        return SHOWN


def _words(key: str) -> list[str]:
    """Split a key into its words, in lower case: `X-Api-Key`, `apiKey` and `api_key` are the same."""
    return [word.lower() for word in _WORDS.findall(key)]
