"""Measures of many images' samples: python tools/evaluate.py --pred DIR --gt DIR --metrics lpips."""

from tim_plugin.cli.main import main

if __name__ == "__main__":
    main(command="evaluate")
