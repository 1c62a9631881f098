"""Bytes in, objects out: DogStatsD, traces, OTLP, log lines, from sockets, HTTP and followed files.

The agent comes in here. State: open connections and followed files.
"""
