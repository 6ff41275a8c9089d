"""What ``tim evaluate`` measures, by name, and how it finds samples; needs no torch, for a command's help."""

CONDITIONAL = "cfid"
OF_SETS = ("fid", "kid", "prc", CONDITIONAL)
OF_POSTERIOR = ("energy_score", "crps", "spread_over_error", "coverage")  # in pixels and in features
CALIBRATION = "calibration"  # all of these
VARIATION = "variation"
OF_DISTANCE = ("lpips", "lpips_diversity", "fwv", *OF_POSTERIOR, VARIATION)
OF_PIXELS = ("psnr", "ssim")
SPACE_SAMPLES = 10  # of the NTIRE 'learning the super-resolution space' challenge
SPACE = f"s{SPACE_SAMPLES}"
CONSISTENCY = "consistency"
METRICS = (*OF_SETS, *OF_DISTANCE, CALIBRATION, SPACE, *OF_PIXELS, CONSISTENCY)
PATTERN = "{name}_s{index}"
