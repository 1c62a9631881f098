"""One HTTP request, SSE stream or WebSocket as it passes by.

The middleware comes in here; what is learnt goes to `Traffic` and on to the recorder's thread.
State: one exchange per request, one `StreamWatch` per event loop, one `Traffic` per recorder.
"""
