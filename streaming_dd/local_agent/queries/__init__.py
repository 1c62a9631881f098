"""Questions asked of the stores: Datadog's metric queries, widgets' requests, searches in logs and spans.

Monitors and the page server come in here. State: none.
"""
