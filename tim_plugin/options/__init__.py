"""Option files: their keys, the checks of them, and reading them."""
