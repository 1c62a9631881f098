"""The reference tables of the documentation, made from the catalogue and the settings. No state.

`python -m streaming_dd.cli.reference FILE...` writes the tables between their markers in each file;
`--check` only says which files are stale, and exits with 1 if one is.
"""

from __future__ import annotations

import argparse
import configparser
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from .. import catalog, config
from ..assets import truth

_MARKED = re.compile(r"(<!-- (?P<name>[a-z-]+): generated[^>]*-->\n).*?(<!-- /(?P=name) -->)", re.DOTALL)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |\n" for line in lines)


def metrics_table() -> str:
    """Return the table of all metrics, names with the default prefix."""
    prefix = config.Config().metric_prefix
    rows = [
        [
            f"`{metric.full_name(prefix)}`",
            metric.kind,
            metric.unit,
            " ".join(f"`{key}`" for key in metric.tags),
            metric.help,
        ]
        for metric in catalog.METRICS
    ]
    return _table(["metric", "kind", "unit", "tags", "what it is"], rows)


def tags_table() -> str:
    """Return the table of tag keys."""
    return _table(["tag", "what it is"], [[f"`{key}`", text] for key, text in catalog.TAG_KEYS.items()])


def checks_table() -> str:
    """Return the table of service checks."""
    prefix = config.Config().metric_prefix
    rows = [
        [f"`{check.full_name(prefix)}`", " ".join(f"`{key}`" for key in check.tags), check.help]
        for check in catalog.SERVICE_CHECKS
    ]
    return _table(["service check", "tags", "what it is"], rows)


def spans_table() -> str:
    """Return the table of span operations."""
    rows = [[f"`{span.name}`", f"`{span.resource}`", span.help] for span in catalog.SPAN_OPERATIONS]
    return _table(["operation", "resource", "what it is"], rows)


def span_tags_table() -> str:
    """Return the table of span tags."""
    return _table(["span tag", "what it is"], [[f"`{key}`", text] for key, text in catalog.SPAN_TAGS.items()])


def settings_table() -> str:
    """Return the table of settings."""
    rows = [[f"`{name}`", f"`{value}`", text] for name, value, _, text in config.describe(config.Config())]
    return _table(["setting", "default", "what it does"], rows)


def layers_picture() -> str:
    """Return the wings as floors, the highest first, as the import contract in `.importlinter` has them."""
    contracts = configparser.ConfigParser()
    contracts.read(Path(__file__).parents[2] / ".importlinter")
    floors = []
    for contract in ("layers", "agent_layers"):
        section = contracts[f"importlinter:contract:{contract}"]
        names = [line.replace("streaming_dd.", "") for line in section["layers"].split("\n") if line.strip()]
        width = max(map(len, names))
        title = section.get("containers", "streaming_dd").removeprefix("streaming_dd.")
        rows = [f"│ {name:<{width}} │" for name in names]
        floors += [f"{title}:", f"┌{'─' * (width + 2)}┐", *rows, f"└{'─' * (width + 2)}┘"]
    return "```text\n" + "\n".join(floors) + "\n```\n"


TABLES: dict[str, Callable[[], str]] = {
    "metrics": metrics_table,
    "tags": tags_table,
    "service-checks": checks_table,
    "spans": spans_table,
    "span-tags": span_tags_table,
    "settings": settings_table,
    "layers": layers_picture,
    "truth": truth.table,
}


def render(text: str) -> str:
    """Return `text` with every marked table made anew."""
    return _MARKED.sub(lambda match: f"{match[1]}\n{TABLES[match['name']]()}\n{match[3]}", text)


def main(arguments: Sequence[str] | None = None) -> int:
    """Write or check the files; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args(arguments)
    stale = [path for path in options.files if render(path.read_text()) != path.read_text()]
    for path in stale:
        if options.check:
            sys.stderr.write(f"{path} is stale: run `make docs`\n")
        else:
            path.write_text(render(path.read_text()))
    return 1 if options.check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
