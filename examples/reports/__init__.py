"""A small Django project whose tasks stream their progress: the application that the demo runs and the tests use."""
