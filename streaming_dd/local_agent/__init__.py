"""The embedded local agent (extra `agent`): receives what an app sends to Datadog's Agent, aggregates and shows it.

Imports nothing of this package but `errors` and `query_language`. State lives in a `LocalAgent`.
"""

from __future__ import annotations
