"""What a tower has for the Hugging Face Hub: to be read from there, saved for it, and uploaded."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from tim_plugin.utils.errors import TimError

if TYPE_CHECKING:
    from tim_plugin.inference.tower import Tower

HUB = "tim_plugin.integrations.hub"  # by name: it stands above this folder, and needs a package of its own


class HubMethods:
    """Three methods of :class:`tim_plugin.Tower`; they need huggingface_hub: ``pip install 'tim_plugin[hub]'``."""

    @classmethod
    def from_pretrained(cls, folder_or_repo: str | Path, device: str | None = None, **download: Any) -> Tower:
        """Return the tower of a folder that :meth:`save_pretrained` wrote, or of a repository of the Hugging Face Hub.

        Read are ``config.json`` and ``model.safetensors``; nothing in them is run, and no pickle is read.

        Args:
            folder_or_repo: A folder, or a repository's name, ``USER/NAME``.
            device: See :func:`tim_plugin.load`.
            download: For a repository: ``revision``, ``token``, ``cache_dir``, ``force_download``,
                ``local_files_only``, as ``huggingface_hub.snapshot_download`` takes them.

        Raises:
            TimError: There is no such folder or repository, or a file is missing, damaged or of another network.
        """
        return _hub().read(folder_or_repo, device, download)

    def save_pretrained(self, folder: str | Path, license: str | None = None) -> Path:
        """Write the tower's folder: ``config.json``, ``model.safetensors``, and ``README.md`` unless there is one.

        Args:
            folder: Made if it does not exist.
            license: Of the weights, for the card: the Hub's name of one, as ``apache-2.0``. Left out, the card of a
                tower of the package says that tower's, and that of another one says none.

        Returns:
            The folder.

        Raises:
            TimError: A file cannot be written, or the tower was made without the options that rebuild it.
        """
        return _hub().save(self, Path(folder).expanduser(), license)

    def push_to_hub(self, repo_id: str, license: str | None = None, **upload: Any) -> str:
        """Upload what :meth:`save_pretrained` writes to a repository, which is made if there is none; return its URL.

        Args:
            repo_id: ``USER/NAME``.
            license: See :meth:`save_pretrained`.
            upload: ``private``, ``token``, ``branch``, ``commit_message``, ``create_pr``, as
                ``huggingface_hub.PyTorchModelHubMixin.push_to_hub`` takes them.

        Raises:
            TimError: The upload is refused, or cannot reach the Hub.
        """
        return _hub().push(self, repo_id, license, upload)


def _hub() -> ModuleType:
    try:
        return import_module(HUB)
    except ModuleNotFoundError as error:
        if error.name != "huggingface_hub":
            raise
        raise TimError(
            "towers in the Hugging Face Hub's form need huggingface_hub, which is not installed: "
            "pip install 'tim_plugin[hub]'"
        ) from error
