"""What the doctor found: findings, facts and the variables that are set. No state."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Literal

from ...config import without_secrets

Level = Literal["ok", "info", "warning", "error"]
LEVELS: Final[tuple[Level, ...]] = ("ok", "info", "warning", "error")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at. `id` is stable (`agent.dogstatsd`); `fix` says what to do, where there is something."""

    id: str
    level: Level
    message: str
    fix: str = ""

    def __post_init__(self) -> None:
        """Mask what it quotes of settings: addresses with passwords."""
        object.__setattr__(self, "message", without_secrets("", self.message))
        object.__setattr__(self, "fix", without_secrets("", self.fix))


@dataclass(frozen=True, slots=True)
class Report:
    """Everything that was found. `facts` are versions and the like, `variables` those set in the environment, masked."""

    findings: tuple[Finding, ...]
    facts: Mapping[str, str] = field(default_factory=dict)
    variables: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong; warnings are not wrong."""
        return not self.of("error")

    def of(self, level: Level) -> list[Finding]:
        """Return the findings of one level."""
        return [finding for finding in self.findings if finding.level == level]

    def plus(self, findings: Iterable[Finding]) -> Report:
        """Return this report with further findings."""
        return Report((*self.findings, *findings), self.facts, self.variables)

    def exit_code(self, *, strict: bool = False) -> int:
        """Return 1 if something is wrong (with `strict`: or might be), else 0."""
        return 1 if not self.ok or (strict and self.of("warning")) else 0

    def as_dict(self) -> dict[str, Any]:
        """Return it as JSON would have it."""
        return {
            "ok": self.ok,
            "errors": len(self.of("error")),
            "warnings": len(self.of("warning")),
            "findings": [asdict(finding) for finding in self.findings],
            "facts": dict(self.facts),
            "variables": dict(self.variables),
        }

    def text(self) -> str:
        """Return it for people: by section, each finding with its fix, and a last line that sums up."""
        lines: list[str] = []
        _add_table(lines, "this process", self.facts)
        _add_table(lines, "environment", self.variables)
        sections = dict.fromkeys(finding.id.partition(".")[0] for finding in self.findings)
        for section in sections:
            lines += [section]
            for finding in self.findings:
                if finding.id.partition(".")[0] == section:
                    mark = finding.level.upper() if finding.level in ("warning", "error") else finding.level
                    lines.append(f"  {mark:<8} {finding.message}")
                    if finding.fix:
                        lines.append(f"  {'':<8} fix: {finding.fix}")
            lines.append("")
        errors, warnings = len(self.of("error")), len(self.of("warning"))
        verdict = "Nothing is wrong." if self.ok else "Something is wrong."
        lines.append(f"{verdict} {_counted(errors, 'error')}, {_counted(warnings, 'warning')}.")
        return "\n".join(lines)


def _counted(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def _add_table(lines: list[str], title: str, rows: Mapping[str, str]) -> None:
    width = max(map(len, rows), default=0)
    lines += [title, *(f"  {name:<{width}}  {value}" for name, value in rows.items()), ""] if rows else []
