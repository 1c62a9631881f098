"""The demo: the example project under uvicorn, an embedded agent, real clients, and what arrived on the terminal.

Run it with `make demo` or `python -m examples.demo`. Nothing here is needed to use the package.
"""
