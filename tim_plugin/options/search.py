"""How the search is run, as keys of the ``imle`` section; no torch."""

from __future__ import annotations

from dataclasses import dataclass

from tim_plugin.options.values import require_bool, require_choice, require_number
from tim_plugin.utils.errors import TimError

PRECISIONS = ("fp32", "bf16")


@dataclass(frozen=True, kw_only=True)
class SearchSpec:
    """Keys that change how fast the search is and what memory it takes, never which codes are drawn.

    ``search_precision: bf16`` runs the candidates under autocast and each winner once more in full precision.
    ``channels_last`` and ``search_compile`` change how the levels run. ``search_memory_gib`` is what the tensors of
    a chunk may take: it overrides ``max_candidates_per_batch``. ``screen`` is the fraction of a level's candidates
    that the whole distance is computed for, those that are nearest by its first feature maps (1: all).

    Raises:
        TimError: A value is outside what it may be.
    """

    search_precision: str = "fp32"
    channels_last: bool = False
    search_compile: bool = False
    search_memory_gib: float | None = None
    screen: float = 1.0

    def __post_init__(self) -> None:
        require_choice("imle: search_precision", self.search_precision, PRECISIONS)
        for name in ("channels_last", "search_compile"):
            require_bool(f"imle: {name}", getattr(self, name))
        for name, value in (("search_memory_gib", self.search_memory_gib), ("screen", self.screen)):
            if value is None and name == "search_memory_gib":
                continue
            require_number(f"imle: {name}", value, float, minimum=0)
            if value == 0:
                raise TimError(f"imle: {name} must be more than 0")
        if self.screen > 1:
            raise TimError(f"imle: screen {self.screen} is a fraction of the candidates: it must be at most 1 (all)")
