"""The dataset of (LQ, GT) pairs, its sampler, preparation of folders, and rarity of colours."""
