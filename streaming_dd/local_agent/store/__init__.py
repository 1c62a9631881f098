"""What is kept, bounded: series and sketches by the hour, spans and logs in SQLite, tasks, trace metrics.

The agent writes, queries and monitors read. State: one `Store`, `Records`, `Tasks` per agent.
"""
