"""The Django side: an app for INSTALLED_APPS, its system checks and commands, and the resolver's routes.

Importing this package imports nothing of Django; `streaming_dd.django.hooks` works without the app installed.
No state.
"""
