"""Many samples for images, a folder or a video: python tools/sample.py -i IMAGE_OR_FOLDER --model sr16x-small -n 8."""

from tim_plugin.cli.main import main

if __name__ == "__main__":
    main(command="sample")
