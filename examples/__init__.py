"""The example project, and the demo that shows it at work."""
