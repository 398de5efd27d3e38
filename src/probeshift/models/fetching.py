"""What transformers and the hub say when something is not there, in one sentence the user can act on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from probeshift.errors import MissingError, ProbeshiftError, UsageError
from probeshift.models.names import ModelSource
from probeshift.models.weights import weight_files


@contextmanager
def plain_errors(source: ModelSource, what: str) -> Iterator[None]:
    """Turn any complaint about a missing, gated, damaged or unknown model into a `ProbeshiftError`.

    `what` names the thing being read ("the config", "the weights") for the message.
    """
    try:
        yield
    except ProbeshiftError:
        raise
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise _explained(source, what, error) from error
    except Exception as error:
        # The file readers raise classes of their own, or a bare Exception (tokenizers), on a damaged file.
        if type(error).__name__ not in ("SafetensorError", "UnpicklingError", "Exception"):
            raise
        damage = f"{what} of `{source.location}` cannot be read: {_first_line(error)}."
        raise MissingError(f"{damage} {how_to_fetch(source)}") from error


def how_to_fetch(source: ModelSource) -> str:
    """The one command that brings a model here."""
    if source.is_local:
        return "The folder is incomplete: copy the whole checkpoint again."
    offline = " (HF_HUB_OFFLINE is set: the hub was not asked.)" if os.environ.get("HF_HUB_OFFLINE") else ""
    return (
        f"Fetch it on a machine with network: hf download {source.location} -- "
        f"or give the path of a local folder instead of the name.{offline}"
    )


def fetch(source: ModelSource, revision: str | None) -> None:
    """Download a hub model's weights, config and tokenizer into the hub cache; nothing happens for a local one.

    Raises:
        MissingError: there is no network, or the repository is gated or not there.
    """
    if source.is_local:
        return
    from huggingface_hub import snapshot_download

    small = ["*.json", "*.model", "*.txt", "*.jinja", "*.py"]
    with plain_errors(source, "the weights"):
        folder = Path(
            snapshot_download(source.location, revision=revision, allow_patterns=[*small, "model*.safetensors"])
        )
        if not weight_files(folder):
            snapshot_download(source.location, revision=revision, allow_patterns=[*small, "pytorch_model*.bin"])


def _explained(source: ModelSource, what: str, error: BaseException) -> ProbeshiftError:
    chain = _chain(error)
    kinds = {type(link).__name__ for link in chain}
    text = " ".join(str(link) for link in chain)
    if "GatedRepoError" in kinds or "gated repo" in text:
        return MissingError(
            f"`{source.location}` is a gated repository. Accept its licence on its hub page, "
            f"log in with: hf auth login -- then: hf download {source.location}"
        )
    if "trust_remote_code" in text:
        return UsageError(
            f"`{source.location}` comes with its own code, which is not run unasked. "
            "Read it, then add --trust-remote-code."
        )
    if "RevisionNotFoundError" in kinds:
        return UsageError(f"`{source.location}` has no such revision: {_first_line(error)}.")
    if "RepositoryNotFoundError" in kinds:
        return MissingError(f"`{source.location}` is not on the hub, or private (then log in with: hf auth login).")
    if isinstance(error, ImportError):
        return UsageError(f"{what} of `{source.location}` needs a package that is not installed: {_first_line(error)}")
    if isinstance(error, OSError):
        return MissingError(f"{what} of `{source.location}` is not on this machine. {how_to_fetch(source)}")
    return UsageError(f"{what} of `{source.location}`: the installed transformers says: {_first_line(error)}.")


def _chain(error: BaseException) -> list[BaseException]:
    links: list[BaseException] = []
    link: BaseException | None = error
    while link is not None and link not in links:
        links.append(link)
        link = link.__cause__ or link.__context__
    return links


def _first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
