"""Which program computes a network's convolutions: torch, or an engine that runs its levels' graphs on a processor.

Latents, mapping networks, images, projections and all that follows stay torch's, so that each backend's samples agree.
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
import json
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn

from tim_plugin import __version__
from tim_plugin.archs.tower_arch import TowerGenerator, TowerLevel
from tim_plugin.imle.latents import LevelLatent
from tim_plugin.inference.arguments import GIB, Resources
from tim_plugin.inference.engines import Engine, installed, named_with_version, open_engine, require_installed
from tim_plugin.inference.graph_cache import kept
from tim_plugin.inference.graphs import OPSET, level_graph
from tim_plugin.inference.memory_plan import COUNTED, Plan, plan_for
from tim_plugin.utils.errors import TimError
from tim_plugin.utils.notes import say_once
from tim_plugin.utils.tensor_files import LARGE_BYTES

_OF_TORCHS_BYTES = 1.5  # what an engine takes for an image, over what torch takes
_OWN_BYTES = 2**27  # what it takes beside that


class EngineLevel(nn.Module):
    """A level whose convolutions an engine runs; called as :class:`tim_plugin.archs.tower_arch.TowerLevel` is."""

    def __init__(self, mapping: nn.Module | None, engine: Engine) -> None:
        super().__init__()
        self.mapping, self.engine = mapping, engine

    def forward(
        self,
        images: Sequence[Tensor],
        latent: LevelLatent,
        features: Tensor | None,
        mapped_below: Sequence[Tensor] = (),
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """Return the head's raw values, the features (of the last level without channels) and the mapped style."""
        below = [] if features is None else [features]
        feeds, mapped = {"read": torch.cat([*images, latent.noise, *below], dim=1)}, None
        if self.mapping is not None:
            mapped = self.mapping.mapped(latent.style, mapped_below)
            feeds |= zip(("scales", "offsets"), self.mapping.modulation(mapped), strict=True)
        found = self.engine({name: value.contiguous().numpy() for name, value in feeds.items()})
        raw, *features = map(torch.from_numpy, found)
        return raw, features[0] if features else raw[:, :0], mapped


class _Built(NamedTuple):
    """A tower that runs in an engine, and the digests of the levels that it was built of."""

    digests: list[str]
    tower: TowerGenerator


class Backends:
    """The ways to compute one network; what an engine needs is built once, and anew when the weights have changed.

    Args:
        network: A generator of levels, in eval mode.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network
        self._built: dict[str, _Built] = {}

    def choose(self, device: torch.device, resources: Resources) -> str:
        """Return ``torch`` or the engine that computes images which need no tiles.

        Raises:
            TimError: The backend that was asked for is not installed, or cannot compute this network.
        """
        wanted = resources.backend
        if wanted == "torch":
            return wanted
        reason = self._reason_against(device, resources)
        if wanted == "auto":
            found = installed() if reason is None and not _is_large(self.network) else ()
            return found[0] if found else "torch"
        require_installed(wanted, f"--backend {wanted}")
        if reason is not None:
            raise TimError(f"--backend {wanted}: {reason}: use torch or auto")
        return wanted

    def _reason_against(self, device: torch.device, resources: Resources) -> str | None:
        if not isinstance(self.network, TowerGenerator):
            return f"runs towers only, and this network is a {type(self.network).__name__}"
        if device.type != "cpu":
            return f"computes on the processor, and not on {device}"
        return None if resources.precision == "fp32" else f"computes in fp32, and not in {resources.precision}"

    def plan(
        self, height: int, width: int, device: torch.device, resources: Resources, taken_bytes: int
    ) -> tuple[Plan, str]:
        """Plan an image for the chosen backend; return that backend with its version too, for the record.

        Args:
            height: See :func:`tim_plugin.inference.memory_plan.plan_for`, as for the others.
            width: Likewise.
            device: Likewise.
            resources: Likewise, with the backend that is asked for.
            taken_bytes: Likewise.

        Raises:
            TimError: As there, see :meth:`choose`; or the image needs tiles, which only torch computes.
        """
        chosen = self.choose(device, resources)
        if chosen != "torch":
            plan = _plan_of_engine(self.network, height, width, device, resources, taken_bytes)
            if plan is None and resources.backend != "auto":
                raise TimError(
                    f"--backend {chosen}: computes no tiles, which this image needs: use torch or auto, or allow "
                    "more by --memory-gib"
                )
            tower = None if plan is None else self._tower(chosen, resources.backend == "auto")
            if tower is not None:
                return plan._replace(tower=tower), named_with_version(chosen)
        return plan_for(self.network, height, width, device, resources, taken_bytes), named_with_version("torch")

    def _tower(self, engine: str, may_fail: bool) -> TowerGenerator | None:
        digests = [_digest(*level, self.network) for level in enumerate(self.network.levels)]
        there = self._built.get(engine)
        if there is None or there.digests != digests:
            try:
                there = _Built(digests, on_engine(self.network, engine, digests))
            except Exception as error:  # of any kind: packages of other versions than were tried
                told = f"{named_with_version(engine)} cannot run this network ({' '.join(str(error).split())[:200]})"
                if not may_fail:
                    raise TimError(f"--backend {engine}: {told}: use torch") from error
                say_once(("backend", engine), f"{told}: torch computes")
                return None
            self._built[engine] = there
        return there.tower


def _plan_of_engine(
    network: nn.Module, height: int, width: int, device: torch.device, resources: Resources, taken_bytes: int
) -> Plan | None:
    """Plan an image for an engine, which takes more memory than torch; None where it does not fit without tiles."""
    left = COUNTED * resources.memory_gib * GIB - taken_bytes - _OWN_BYTES
    if left <= 0:
        return None
    smaller = dataclasses.replace(resources, memory_gib=(left / _OF_TORCHS_BYTES + taken_bytes) / COUNTED / GIB)
    try:
        plan = plan_for(network, height, width, device, smaller, taken_bytes)
    except TimError:  # not even tiles fit; whether they do for torch is said by its own plan
        return None
    return plan if plan.tile_px == 0 else None


def on_engine(network: TowerGenerator, engine: str, digests: Sequence[str]) -> TowerGenerator:
    """Return a tower that shares everything with a network but its levels, which an engine runs.

    Args:
        network: On the CPU.
        engine: One of :data:`tim_plugin.inference.engines.ENGINES`, installed.
        digests: What each level's graph is kept by.
    """
    last, levels = len(network.levels) - 1, []
    for k, (level, spec, digest) in enumerate(zip(network.levels, network.spec.levels, digests, strict=True)):
        graph = kept(digest, partial(level_graph, level, spec, k == last))
        levels.append(EngineLevel(level.mapping, open_engine(engine, graph, torch.get_num_threads())))
    tower = copy.copy(network)
    tower._modules = dict(network._modules)
    tower.levels = nn.ModuleList(levels)
    return tower.eval()


def _digest(k: int, level: TowerLevel, network: TowerGenerator) -> str:
    """Return a digest of all that a level's graph depends on."""
    spec = network.spec
    made_of = [
        __version__,
        OPSET,
        torch.__version__,
        dataclasses.asdict(spec.levels[k]),
        k == spec.num_levels - 1,
        spec.normalise,
    ]
    digest = hashlib.sha256(json.dumps(made_of).encode())
    for name, value in level.state_dict().items():
        digest.update(f"{name} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().float().contiguous().numpy())
    return digest.hexdigest()


def _is_large(network: nn.Module) -> bool:
    """Tell whether a second copy of the weights is not worth its memory."""
    return sum(weight.numel() * weight.element_size() for weight in network.parameters()) >= LARGE_BYTES
