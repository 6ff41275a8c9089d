"""Small parts that know nothing of the method: errors, seeds, colour, files, images, checkpoints, contact sheets."""
