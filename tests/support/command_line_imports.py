"""What :mod:`support.command_lines` imports once: what every program of the project loads."""

import basicsr.train  # noqa: F401
import torch

import tim_plugin.models.pipeline  # noqa: F401

torch.set_num_threads(1)
