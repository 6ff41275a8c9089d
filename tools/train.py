"""Train with an option file: python tools/train.py -opt options/train_tim_sr16x.yml; the same as ``tim train``."""

from pathlib import Path

from tim_plugin.cli.main import main

if __name__ == "__main__":
    main(command="train", root=Path(__file__).resolve().parents[1])
