"""The same assets for those who keep them in Terraform: resources that read the JSON files. No state."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from ..documents import Asset

HEADER = """\
# Made by `streaming-dd assets render`; do not edit. Keys come from DD_API_KEY and DD_APP_KEY, the site from DD_HOST.

terraform {
  required_providers {
    datadog = {
      source  = "DataDog/datadog"
      version = ">= 3.40"
    }
  }
}
"""


def terraform_files(assets: Sequence[Asset]) -> dict[str, str]:
    """Return `terraform/main.tf`."""
    blocks = [_slo(asset) if asset.kind == "slo" else _json_resource(asset) for asset in assets]
    return {"terraform/main.tf": "\n".join([HEADER, *blocks])}


def _identifier(name: str) -> str:
    return name.replace("-", "_")


def _address(kind: str, name: str) -> str:
    types = {
        "monitor": "datadog_monitor_json",
        "slo": "datadog_service_level_objective",
        "dashboard": "datadog_dashboard_json",
    }
    return f"{types[kind]}.{_identifier(name)}"


def _json_resource(asset: Asset) -> str:
    """Read the file, put ids in the place of symbols."""
    expression = f'file("${{path.module}}/../{asset.path}")'
    for kind, name in sorted(asset.references()):
        expression = f'replace({expression}, "$${{{kind}:{name}}}", {_address(kind, name)}.id)'
    type, _, label = _address(asset.kind, asset.name).partition(".")
    return f'resource "{type}" "{label}" {{\n  {asset.kind} = {expression}\n}}\n'


def _slo(asset: Asset) -> str:
    """Write an SLO field by field: the provider has no JSON resource for them."""
    document = asset.document
    lines = [
        f"  {key:<11} = {json.dumps(document[key], ensure_ascii=False)}"
        for key in ("name", "type", "description")
    ]
    lines.append(f"  {'tags':<11} = {json.dumps(document['tags'])}")
    if "monitor_ids" in document:
        names = [symbol.removeprefix("${monitor:").removesuffix("}") for symbol in document["monitor_ids"]]
        lines.append(f"  monitor_ids = [{', '.join(_address('monitor', name) + '.id' for name in names)}]")
    if "query" in document:
        lines += ["", *_block("query", document["query"])]
    if "sli_specification" in document:
        lines += ["", *_time_slice(document["sli_specification"]["time_slice"])]
    for threshold in document["thresholds"]:
        lines += ["", *_block("thresholds", threshold)]
    label = _address("slo", asset.name).partition(".")[2]
    return "\n".join([f'resource "datadog_service_level_objective" "{label}" {{', *lines, "}", ""])


def _block(name: str, fields: dict[str, Any], indent: int = 1) -> list[str]:
    pad = "  " * indent
    width = max(map(len, fields))
    return [
        f"{pad}{name} {{",
        *(f"{pad}  {key:<{width}} = {json.dumps(value)}" for key, value in fields.items()),
        f"{pad}}}",
    ]


def _time_slice(spec: dict[str, Any]) -> list[str]:
    query = spec["query"]["queries"][0]
    formula = {"formula_expression": spec["query"]["formulas"][0]["formula"]}
    return [
        "  sli_specification {",
        "    time_slice {",
        f'      comparator             = "{spec["comparator"]}"',
        f"      threshold              = {spec['threshold']}",
        f"      query_interval_seconds = {spec['query_interval_seconds']}",
        "      query {",
        *_block("formula", formula, 4),
        "        query {",
        *_block("metric_query", query, 5),
        "        }",
        "      }",
        "    }",
        "  }",
    ]
