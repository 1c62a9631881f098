"""Datadog observability for Python apps that stream."""
