"""One task from its submission to its outcome.

`timers` and the recorder come in here; the way: `board` (submitted), `run` (begins, ends), `kinds` (counted), `report`
and `lines` (said). State: one `TaskBoard` per recorder, one `TaskRun` per run, one `Steps` per measured asyncio task.
"""
