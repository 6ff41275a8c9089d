"""What ``tim evaluate`` measures, by name, and how it finds samples; needs no torch, for a command's help."""

OF_SETS = ("fid", "kid", "prc")
OF_DISTANCE = ("lpips", "lpips_diversity", "fwv")
OF_PIXELS = ("psnr", "ssim")
SPACE_SAMPLES = 10  # of the NTIRE 'learning the super-resolution space' challenge
SPACE = f"s{SPACE_SAMPLES}"
CONSISTENCY = "consistency"
METRICS = (*OF_SETS, *OF_DISTANCE, SPACE, *OF_PIXELS, CONSISTENCY)
PATTERN = "{name}_s{index}"
