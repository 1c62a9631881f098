"""What leaves the process: samples, spans, log lines, and what the package says of itself.

The recorder and the wings write here; `metrics` is the only door to datadog, `tracing` the only one to ddtrace.
State: one `Metrics` and one `Tracing` per recorder; `notices` remembers what was said.
"""
