"""Monitors and SLOs: their values, states, notifications, and the release gate.

The page server comes in by `evaluation`. State: one `Monitors` per agent.
"""
