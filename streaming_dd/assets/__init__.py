"""Dashboards, monitors and SLOs as code: made from the catalogue, checked, written to `dd-agent/`, sent to Datadog.

    from streaming_dd.assets.rendering import render      # options -> assets
    from streaming_dd.assets.lint import lint             # assets -> problems
    from streaming_dd.assets.coverage import compare      # assets and what was seen on the wire -> gaps
    from streaming_dd.assets.push import fetch, plan, apply

`dashboards/`, `monitors.py` and `slos.py` say what is shown and watched; `queries.py` and `widgets.py` how it is written in
Datadog's JSON; `command.py` is the command line. No state.
"""
