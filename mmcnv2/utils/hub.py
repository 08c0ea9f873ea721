"""Models on the Hugging Face Hub: ``hf://owner/name[@revision]``.

A repository holds ``model.safetensors``, ``config.py``, ``README.md`` (the model card) and ``SHA256SUMS``, which
``mmcnv2 publish --to`` writes. Nothing else is ever fetched, so no pickle is. huggingface-hub does the transfers: its
cache, its token, and its variables hold (``HF_HOME``, ``HF_TOKEN``, ``HF_HUB_OFFLINE``, ``HF_ENDPOINT`` ...).
"""

import hashlib
import importlib.util
import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

from mmengine.logging import print_log

from .errors import InputError, MissingFileError, MissingPackageError

SCHEME = 'hf://'
WEIGHTS, CONFIG, CARD, DIGESTS = 'model.safetensors', 'config.py', 'README.md', 'SHA256SUMS'


class HubName(NamedTuple):
    """A repository, ``owner/name``, and a branch, tag or commit of it; None: the newest commit of its main branch."""

    repository: str
    revision: str | None = None

    def __str__(self) -> str:
        return SCHEME + self.repository + (f'@{self.revision}' if self.revision else '')


def is_hub(name: object) -> bool:
    """Return whether this names a model on the hub."""
    return isinstance(name, str) and name.startswith(SCHEME)


def parse(name: str) -> HubName:
    """Return repository and revision of ``hf://owner/name[@revision]``.

    Raises:
        InputError: It has another form.
    """
    found = re.fullmatch(r'hf://(\w[\w.-]*/\w[\w.-]*)(?:@([^\s@]+))?', name)
    if found is None:
        raise InputError(f'{name}: expected hf://owner/name or hf://owner/name@revision, without the name of a file')
    return HubName(found[1], found[2])


def hub_weights(name: str) -> Path:
    """Return the weights of a model, downloaded if the cache does not have them, and compared with their digest.

    A repository that others made may record no digest; the log says so.

    Raises:
        InputError: There is no such model or file, it cannot be had without network, or it is not what was published.
        ImportError: huggingface-hub is not installed.
    """
    return _checked(parse(name), WEIGHTS)


def hub_config(name: str) -> Path:
    """Return the config of a model; arguments and errors are those of ``hub_weights``."""
    return _checked(parse(name), CONFIG)


def pinned(name: str) -> str:
    """Return the name with the commit that it means now, so that config and weights are of the same one.

    Raises:
        InputError: As ``hub_weights``.
    """
    wanted = parse(name)
    return str(HubName(wanted.repository, _commit(_fetch(wanted, CONFIG))))


def check_target(name: str) -> str:
    """Return the repository that ``hf://owner/name`` lets one publish to, before anything is made ready for it.

    Raises:
        InputError: It is no such name.
        ImportError: huggingface-hub or safetensors is not installed.
    """
    repository, revision = parse(name)
    if revision:
        raise InputError(f'{name}: publishing goes to the main branch, leave out @{revision}')
    _huggingface_hub(name)
    if importlib.util.find_spec('safetensors') is None:
        raise MissingPackageError(f"{name} needs safetensors: pip install 'mmcnv2[hub]'")
    return repository


def upload(files: Mapping[str, bytes | Path], name: str, private: bool, message: str) -> str:
    """Write files to the main branch of a repository in one commit; make the repository if there is none.

    Args:
        files: Content, or the path of a file that has it, by name.
        name: ``hf://owner/name``.
        private: Whether a new repository is private. One that exists must be already.
        message: Of the commit.

    Returns:
        The name with the new commit.

    Raises:
        InputError: The hub refuses it or cannot be reached; nothing is written then.
        ImportError: huggingface-hub is not installed.
    """
    repository = check_target(name)
    hub = _huggingface_hub(name)
    api = hub.HfApi()
    with _errors_of(name, 'be published', 'nothing was written; the same command tries again'):
        if not api.repo_exists(repository):
            api.create_repo(repository, private=private)
        elif private and not api.model_info(repository).private:
            raise InputError(f'{name} is public already: leave out --private, or make it private on its page first')
        additions = [hub.CommitOperationAdd(path, content) for path, content in files.items()]
        commit = api.create_commit(repository, additions, commit_message=message)
    return str(HubName(repository, commit.oid))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal."""
    sha256 = hashlib.sha256()
    with path.open('rb') as file:
        while block := file.read(2**20):
            sha256.update(block)
    return sha256.hexdigest()


def _checked(name: HubName, file: str) -> Path:
    path = _fetch(name, file)
    expected = _expected_digest(HubName(name.repository, _commit(path)), file)
    if expected is None:
        print_log(f'{name} records no digest of {file}: it is used as it came', 'current', logging.WARNING)
    elif (found := digest(path)) != expected:
        raise InputError(
            f'{name}: {file} is not what was published: SHA-256 {found}, expected {expected}. Remove '
            f'{path.resolve()} and try again; if it is the same then, ask the owner of the model'
        )
    return path


def _expected_digest(name: HubName, file: str) -> str | None:
    """Return what the repository says of a file; None if it says nothing."""
    try:
        lines = _fetch(name, DIGESTS).read_text().splitlines()
    except MissingFileError:
        return None
    return next((digest for digest, _, named in (line.partition('  ') for line in lines) if named == file), None)


def _commit(path: Path) -> str:
    """Return the commit of a file in the cache: ``snapshots/<commit>/<file>``."""
    return path.parent.name


def _fetch(name: HubName, file: str) -> Path:
    """Return a file in huggingface-hub's cache; it is downloaded, or what is missing of it, if it is not there.

    Raises:
        MissingFileError: The model has no such file.
        InputError: It cannot be had.
    """
    hub = _huggingface_hub(str(name))
    with _errors_of(str(name), f'be had ({file})', 'the same command goes on where it stopped'):
        try:
            return Path(hub.hf_hub_download(name.repository, file, revision=name.revision))
        except hub.errors.LocalEntryNotFoundError:
            # Without network it is the same error whether the file was never there or never fetched.
            if hub.try_to_load_from_cache(name.repository, file, revision=name.revision) is hub._CACHED_NO_EXIST:
                raise MissingFileError(_no_file(name, file)) from None
            raise
        except hub.errors.EntryNotFoundError as error:
            raise MissingFileError(_no_file(name, file)) from error


def _no_file(name: HubName, file: str) -> str:
    return (
        f'{name} has no {file}: expected a model that mmcnv2 publish has written, or for its weights alone any with '
        f'{WEIGHTS}. Other files are not read, since a pickle could run code'
    )


def _huggingface_hub(name: str) -> ModuleType:
    try:
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise MissingPackageError(f"{name} needs huggingface-hub: pip install 'mmcnv2[hub]'") from error
    return huggingface_hub


@contextmanager
def _errors_of(name: str, what: str, then: str) -> Iterator[None]:
    """Make an InputError of each of the errors of huggingface-hub and of the network below it."""
    from huggingface_hub import constants, errors

    try:
        yield
    except InputError:
        raise
    except errors.LocalEntryNotFoundError as error:
        why = 'HF_HUB_OFFLINE is set' if constants.HF_HUB_OFFLINE else f'{constants.ENDPOINT} does not answer'
        raise MissingFileError(f'{name} cannot {what}: it is not in the cache, and {why}') from error
    except errors.GatedRepoError as error:
        raise InputError(f'{name} cannot {what}: ask for access on its page, and log in (hf auth login)') from error
    except errors.RepositoryNotFoundError as error:
        raise MissingFileError(
            f'{name} cannot {what}: no such repository, or a private one: check the name, or log in (hf auth login, '
            'or a token in HF_TOKEN)'
        ) from error
    except errors.RevisionNotFoundError as error:
        raise MissingFileError(f'{name} cannot {what}: no such branch, tag or commit') from error
    except errors.HFValidationError as error:
        raise InputError(f'{name} is no name of a model: {_first_line(error)}') from error
    except Exception as error:  # of requests or of httpx, as the version of huggingface-hub has it
        status = getattr(getattr(error, 'response', None), 'status_code', None)
        if status in (401, 403):
            then = 'log in with a token that may (hf auth login, or HF_TOKEN)'
        raise InputError(f'{name} cannot {what}: {type(error).__name__}: {_first_line(error)}; {then}') from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [''])[0]
