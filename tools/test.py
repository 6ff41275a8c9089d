"""Test with an option file, several samples for each image: python tools/test.py -opt options/test_tim_sr16x.yml."""

from pathlib import Path

from tim_plugin.cli.main import main

if __name__ == "__main__":
    main(command="test", root=Path(__file__).resolve().parents[1])
