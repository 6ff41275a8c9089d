"""Tower Implicit Model for BasicSR: many plausible answers for one input, by conditional IMLE.

``import tim_plugin`` is all that a BasicSR project needs: it first makes BasicSR importable with current torchvision
(:mod:`tim_plugin.compat`) and then registers the networks, the model, the datasets, the losses and the metrics
(:mod:`tim_plugin.register`). Write it above the first import of ``basicsr``.
"""

from tim_plugin import compat
from tim_plugin._version import __version__

compat.apply()

from tim_plugin.register import register_all  # noqa: E402  BasicSR can be imported only after compat.apply()

register_all()

__all__ = ["__version__"]
