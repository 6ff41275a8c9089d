"""The card of a tower for the Hugging Face Hub, filled from what is known of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tim_plugin.inference.tower import Tower
from tim_plugin.utils.json_files import parse_json
from tim_plugin.utils.weight_headers import FOLDER, SUFFIX, list_towers

PAPER = "https://arxiv.org/abs/2011.01926"
CARDS = Path(__file__).with_name("cards.json")  # terms and data of the package's towers, as docs/models has them
PIPELINE = "image-to-image"

TEXT = """# {title}

{what}. A tower of tim_plugin: one input, many plausible outputs, each drawn from a seed.

- task: {task}; scale: {scale}; levels: {num_levels}; consistency with the input: {consistency}
{facts}
```python
import tim_plugin as tim  # pip install 'tim_plugin[hub]'

tower = tim.Tower.from_pretrained("{title}")  # USER/NAME of this repository, or a folder
samples = tower.sample({example}, n=8, seed=0)
samples.save("results/")
```

Paper: Peng and Li, *Generating Unobserved Alternatives with Tower Implicit Model (TIM)*, [arXiv:2011.01926]({paper}).
"""
EXAMPLES = {"jpeg": '"photo.jpg"', "labels": '"labels.png"', "pca": '"digit.png"'}


def known_terms(tower: Tower) -> dict[str, str]:
    """Return ``license``, ``terms`` and ``trained_on`` of a tower of the package; empty for another one."""
    if tower.file is None or tower.file.parent != FOLDER:
        return {}
    return parse_json(CARDS.read_bytes(), {str: {str: str}}).get(tower.file.name.removesuffix(SUFFIX), {})


def metadata(tower: Tower, license: str | None) -> dict[str, Any]:
    """Return what stands in a card's header; ``license`` None: that of a tower of the package, or none."""
    license = license or known_terms(tower).get("license")
    tags = ["tim_plugin", "basicsr", *([tower.task] if tower.task else [])]
    return {"library_name": "tim_plugin", "pipeline_tag": PIPELINE, "tags": tags, "license": license}


def text(tower: Tower) -> str:
    """Return what a card says below its header."""
    known = known_terms(tower)
    kind = tower.network.spec.degradation["type"]
    what = list_towers()[tower.name].what if known else "Many plausible outputs for one input"
    facts = [f"- {label}: {known[key]}" for label, key in (("trained on", "trained_on"), ("terms", "terms")) if known]
    return TEXT.format(
        title=tower.name,
        what=what[0].upper() + what[1:],
        paper=PAPER,
        task=tower.task or kind,
        scale=tower.scale,
        num_levels=tower.num_levels,
        consistency=tower.consistency,
        facts="".join(f"{line}\n" for line in facts),
        example=EXAMPLES.get(kind, '"photo.png"'),
    )
