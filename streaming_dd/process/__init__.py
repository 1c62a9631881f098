"""The process as a whole: its event loops, gauges, signals, worker slot and load.

The recorder puts these together by `insight`; the endpoints take `off_loop`.
State: one `Insight` per recorder.
"""
