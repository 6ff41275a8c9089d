"""Conditional IMLE on tensors, functions and generators; nothing here knows an option file or BasicSR.

:func:`search` chooses latents, :func:`generate` runs a tower on them, :func:`target_pyramid` gives what each level is
compared with: a training loop needs no more.
"""

from tim_plugin.imle.latents import Latents, LevelLatent, LevelShape
from tim_plugin.imle.pyramid import condition_pyramid, target_pyramid
from tim_plugin.imle.search_on_tensors import (  # a function: the module of that name is imported by then
    generate,
    search,
)
from tim_plugin.imle.tower_runner import SearchPlan

__all__ = [
    "Latents",
    "LevelLatent",
    "LevelShape",
    "SearchPlan",
    "condition_pyramid",
    "generate",
    "search",
    "target_pyramid",
]
