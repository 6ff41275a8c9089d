"""mmengine, and mmagic on top of it: towers in its registry of models, built from its configuration files.

A configuration imports this module by ``custom_imports = dict(imports=["tim_plugin.integrations.mmengine"])``; then the
registry has ``TowerGenerator``, the network alone, and ``TIMTower``, which samples.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import BaseDataElement
from torch import Tensor

from tim_plugin.api import load
from tim_plugin.archs.tower_arch import TowerGenerator
from tim_plugin.inference.tower import Tower
from tim_plugin.utils.checkpoints import plain
from tim_plugin.utils.errors import TimError


class TIMTower(BaseModel):
    """A tower as a model of mmengine, for its test loop: ``mode="predict"`` gives the samples of each input.

    Args:
        tower: Name or path as :func:`tim_plugin.load` takes it, or the section of a ``TowerGenerator``, which is then
            untrained, until mmengine loads a checkpoint into it.
        n: Samples of each input.
        seed: That they are drawn with.
        data_preprocessor: mmengine's; it must leave images in [0, 1].
        init_cfg: mmengine's.

    Raises:
        TimError: There is no such tower.
    """

    def __init__(
        self,
        tower: str | Mapping[str, Any],
        n: int = 1,
        seed: int = 0,
        data_preprocessor: Mapping[str, Any] | None = None,
        init_cfg: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(data_preprocessor, init_cfg)
        is_section = isinstance(tower, Mapping)
        ours = Tower(MODELS.build(tower), options=plain(tower)) if is_section else load(tower, "cpu")
        self.network, self.n, self.seed = ours.network.eval(), n, seed
        self._of = (ours.name, ours.options, ours.file)

    def forward(
        self,
        inputs: Tensor | Sequence[Tensor],
        data_samples: Sequence[BaseDataElement] | None = None,
        mode: str = "tensor",
    ) -> list[Tensor] | list[BaseDataElement]:
        """Return the samples of each input.

        Args:
            inputs: N images (3, H, W) in [0, 1], of any sizes.
            data_samples: What is known of each; samples are drawn by the name of its ``img_path``, else by its place.
            mode: ``tensor``: a tensor (n, C, H, W) of each; ``predict``: a data element of each, whose ``pred_samples``
                has them as ``data``, besides what ``data_samples`` has.

        Raises:
            TimError: ``mode`` is ``loss``: towers are trained by ``tim train``.
        """
        if mode not in ("tensor", "predict"):
            raise TimError(f"mode {mode!r}: a tower is trained by tim train, whose checkpoints TIMTower takes")
        known = list(data_samples) if data_samples is not None else [BaseDataElement() for _ in inputs]
        tower = Tower(self.network, *self._of)
        found = []
        with torch.no_grad():
            for index, (image, data) in enumerate(zip(inputs, known, strict=True)):
                name = Path(data.get("img_path", f"image_{index}")).stem
                found.append(tower.sample(image, self.n, self.seed, name=name).images)
        if mode == "tensor":
            return found
        for data, images in zip(known, found, strict=True):
            data.pred_samples = BaseDataElement(data=images)
        return known


for _module in (TowerGenerator, TIMTower):
    MODELS.register_module(module=_module, force=True)  # force: a configuration may import this twice
