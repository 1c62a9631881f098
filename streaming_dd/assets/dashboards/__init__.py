"""The dashboards, one module each; `build(options)` gives Datadog's JSON. No state."""
