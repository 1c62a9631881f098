"""From options to assets, and from assets to files. No state."""

from __future__ import annotations

from . import monitors, slos
from .dashboards import apm, capacity, overview, streams, tasks, token_streams
from .documents import MANAGED, Asset, dumps, marker
from .files.integration import wrapped
from .files.metadata import metadata_csv, service_checks
from .files.terraform import terraform_files
from .options import Options

DASHBOARDS = {
    "overview": overview,
    "tasks": tasks,
    "streams": streams,
    "token-streams": token_streams,
    "capacity": capacity,
    "apm": apm,
}


def render(options: Options | None = None) -> list[Asset]:
    """Return all assets: monitors, then SLOs, then dashboards."""
    options = options or Options()
    found = [Asset("monitor", name, document) for name, document in monitors.build(options).items()]
    found += [Asset("slo", name, document) for name, document in slos.build(options).items()]
    found += [Asset("dashboard", name, module.build(options)) for name, module in DASHBOARDS.items()]
    return [_marked(asset, options) for asset in found]


def _marked(asset: Asset, options: Options) -> Asset:
    """Write into the document what tells `push` that it is ours, and which one."""
    identity = options.identity(asset.name)
    if asset.kind == "dashboard":  # the tags of a dashboard can only name teams
        text = f"{asset.document['description']}\n\n{marker(identity)}"
        teams = {"tags": [f"team:{options.team}"]} if options.team else {}
        return Asset(asset.kind, asset.name, asset.document | {"description": text} | teams)
    own = [MANAGED, f"streaming-dd:{identity}", *([f"team:{options.team}"] if options.team else [])]
    scope = [f"{key}:{value}" for key, value in (("env", options.env), ("service", options.service)) if value]
    return Asset(
        asset.kind, asset.name, asset.document | {"tags": sorted({*asset.document["tags"], *own, *scope})}
    )


# --- files -----------------------------------------------------------------------------------------------------


def rendered_files(options: Options | None = None, *, integration: bool = False) -> dict[str, str]:
    """Return the text of every generated file by its path below `dd-agent/`.

    With `integration`, monitors have the form in which Datadog's integrations keep theirs, and there is no Terraform:
    it reads the documents as the API takes them.
    """
    options = options or Options()
    assets = render(options)
    texts = {asset.path: dumps(asset.document) for asset in (wrapped(assets) if integration else assets)}
    texts["metadata.csv"] = metadata_csv(options)
    texts["service_checks.json"] = dumps(service_checks(options))
    return texts if integration else texts | terraform_files(assets)
