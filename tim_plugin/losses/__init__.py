"""Distances between images, their feature networks, and the BasicSR losses made of them."""
