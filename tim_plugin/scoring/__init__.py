"""Measures of many images' samples, from folders of any method or from a network: what ``tools/evaluate.py`` runs."""
