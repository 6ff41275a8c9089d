"""BasicSR model classes: they orchestrate and compute nothing themselves."""
