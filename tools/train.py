"""Train with an option file: python tools/train.py -opt options/train_tim_sr16x.yml"""

from functools import partial
from pathlib import Path

import tim_plugin  # noqa: F401  mends and registers; must come before any import of basicsr
from tim_plugin.models.pipeline import run, train_pipeline

if __name__ == "__main__":
    run(partial(train_pipeline, str(Path(__file__).resolve().parents[1])))
