"""What the steps of a run cost, and where it waits: CPU time, loop time, the longest step, memory, stacks.

The run, the watchdog and `process` come in here; the way: `steps` and `executor_calls` (counted), `work` (the counts),
`waits` (looked at). State: one `Meter` per event loop, one `Work` per run, one `Steps` per measured asyncio task.
"""
