"""``python -m tim_plugin`` is the command ``tim``; ``torchrun -m tim_plugin train ...`` is it in several processes."""

from tim_plugin.cli.main import main

if __name__ == "__main__":
    main()
