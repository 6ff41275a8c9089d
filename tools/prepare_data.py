"""Prepare the data of a task: python tools/prepare_data.py sr16x -i PHOTOS -o DIR; the same as ``tim prepare``."""

from tim_plugin.cli.main import main

if __name__ == "__main__":
    main(command="prepare")
