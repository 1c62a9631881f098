"""OTLP/HTTP bodies, protobuf or JSON, as what the Agent makes of them: spans, readings of metrics, log lines.

The trace port comes in here. State: none.
"""
