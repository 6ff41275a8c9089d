"""Networks; they import nothing of ``imle`` but the latent codes."""
