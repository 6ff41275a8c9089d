"""The command ``tim``: ``tim_plugin/cli/main.py`` parses its arguments before anything loads torch."""
