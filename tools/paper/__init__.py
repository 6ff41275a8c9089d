"""The paper's tables and figures, measured: what ``tools/reproduce.py`` runs."""
