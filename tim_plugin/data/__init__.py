"""Datasets, degradations and pyramids: what makes LQ, GT and each level's condition and target."""
