"""The HTTP side of the page port: the JSON API, live updates, the guard against foreign pages.

The agent comes in by `api.make_app`. State: one `Shipped` and one `Live` per agent.
"""
