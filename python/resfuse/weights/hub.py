"""The files of a repository on the Hugging Face Hub, or what its cache has of them."""

import pathlib

from resfuse.weights.errors import WeightsError

__all__ = ["PREFIX", "Repository"]

PREFIX = "hf:"


class Repository:
    """``"hf:organization/name"`` with an optional ``"@revision"``.

    The Hub is asked once, and shortly, which files there are. Where it does not answer, there is
    the cache: to ask for each file, as ``hf_hub_download`` does, takes most of a minute then.

    Attributes:
        source: As given.
        silence: Why the Hub did not answer; empty where it did.

    Raises:
        WeightsError: Without ``huggingface_hub``, and for a name that no repository can have.
    """

    def __init__(self, source: str) -> None:
        try:
            from huggingface_hub import constants, model_info
            from huggingface_hub.errors import HFValidationError
        except ModuleNotFoundError:
            raise WeightsError(
                f'"{PREFIX}" needs huggingface_hub: pip install "resfuse[weights]"'
            ) from None
        self.source, self.silence = source, ""
        self._name, _, revision = source.removeprefix(PREFIX).partition("@")
        self._revision = revision or None
        self._cache = constants.HF_HUB_CACHE
        seconds = constants.HF_HUB_ETAG_TIMEOUT
        try:
            info = model_info(self._name, revision=self._revision, timeout=seconds)
            self._files = {each.rfilename for each in info.siblings or ()}
        except HFValidationError as error:
            raise WeightsError(f"{source} cannot be a repository: {error}") from None
        except Exception as error:  # of HTTP libraries, which change from release to release
            self.silence = _line(error)

    @property
    def name(self) -> str:
        """Of the repository, without the organization."""
        return self._name.rpartition("/")[2]

    def none_of(self, files: str) -> WeightsError:
        """What to raise where ``find`` has found none of them."""
        if not self.silence:
            return WeightsError(f"{self.source} has none of {files}")
        return WeightsError(
            f"{self.source}: none of {files} is in the cache, {self._cache}, and nothing comes "
            f"from the Hub: {self.silence}"
        )

    def find(self, file: str) -> pathlib.Path | None:
        """A file in the cache, where it comes to from the Hub, if there is one.

        Raises:
            WeightsError: If it is on the Hub and does not come from there.
        """
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import LocalEntryNotFoundError

        offline = bool(self.silence)
        if not offline and file not in self._files:
            return None
        try:
            path = hf_hub_download(
                self._name, file, revision=self._revision, local_files_only=offline
            )
        except Exception as error:
            if offline and isinstance(error, LocalEntryNotFoundError):
                return None
            raise WeightsError(f"{self.source}: {file}: {_line(error)}") from error
        return pathlib.Path(path)


def _line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
