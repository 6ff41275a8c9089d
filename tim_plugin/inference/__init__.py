"""Sampling a user's files: the sampler, tiles, the memory plan, video, the record of samples."""
