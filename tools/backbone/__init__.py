"""How the perceptual backbone that the package holds is made and measured: distortions, training, evaluation, card."""
