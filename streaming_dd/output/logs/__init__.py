"""From a record to bytes at a destination: lines, values, the bridge from the standard library, file, stdout, Agent.

Only `streaming_dd.logs` and the recorder come in here.
State: in each destination its queue and thread.
"""
