"""What Datadog would refuse or misread in a dashboard, monitor or SLO: schema, queries, widgets, monitors.

`assets.command` comes in by `rules`. State: the schema, read once.
"""
