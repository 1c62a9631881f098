"""Datadog's API: what `assets push`, `pull` and `diff` do with an account.

`assets.command` comes in here. State: none, but the connection of a `Client`.
"""
