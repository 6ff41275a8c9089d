"""Sampling of one input (``sampler``, ``image_samples``) and of a user's files (``files``), in bounded memory."""
