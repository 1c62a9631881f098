"""How functions are made tasks (`functions`), and what coordinators run (`coordinators`).

`timers` comes in here, and hands in where the board and the request are found. State: what was instrumented twice, in
`wrapping`; an instrumented coordinator carries its hooks in its own attributes.
"""
