"""The real encodings, from files that are already on the machine. Never from the network.

`tiktoken.get_encoding` downloads what it does not find, and waits as long as the network lets it: minutes
behind a firewall that drops packets. So the files are looked for here, in every place where tiktoken itself,
LlamaIndex or LiteLLM keep them, checked by their sha256, and given to `tiktoken.Encoding` as data.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tiktoken import Encoding

__all__ = ["KNOWN", "EncodingShelf", "KnownEncoding", "folders", "shelf", "warm"]

logger = logging.getLogger(__name__)

FORK_WAIT = 2.0
"""Seconds that a fork waits for a load that is under way, so that the child is born with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownEncoding:
    """An encoding, and how to know its file."""

    name: str
    file: str
    """The file's name in a cache: the sha1 of the address that tiktoken would load it from."""
    sha256: str
    pattern: str
    """How a text is cut into pieces. Part of the encoding's definition, as the file is."""


def _o200k_pattern() -> str:
    upper, lower = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
    before, contraction = r"[^\r\n\p{L}\p{N}]?", "(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    return "|".join(
        (
            f"{before}[{upper}]*[{lower}]+{contraction}",
            f"{before}[{upper}]+[{lower}]*{contraction}",
            r"\p{N}{1,3}",
            r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
            r"\s*[\r\n]+",
            r"\s+(?!\S)",
            r"\s+",
        )
    )


_CL100K_PATTERN = "|".join(
    (
        "'(?i:[sdmt]|ll|ve|re)",
        r"[^\r\n\p{L}\p{N}]?+\p{L}++",
        r"\p{N}{1,3}+",
        r" ?[^\s\p{L}\p{N}]++[\r\n]*+",
        r"\s++$",
        r"\s*[\r\n]",
        r"\s+(?!\S)",
        r"\s",
    )
)

# o200k_harmony differs from o200k_base in its special tokens only, and those are never counted as such.
KNOWN = (
    KnownEncoding(
        name="o200k_base",
        file="fb374d419588a4632f3f557e76b4b70aebbca790",
        sha256="446a9538cb6c348e3516120d7c08b09f57c36495e2acfffe59a5bf8b0cfb1a2d",
        pattern=_o200k_pattern(),
    ),
    KnownEncoding(
        name="cl100k_base",
        file="9b5ad71b2ce5302211f9c61530b329a4922fc6a4",
        sha256="223921b76ee99bde995b7ff738513eef100fb51d18c93597a113bcffe865b2a7",
        pattern=_CL100K_PATTERN,
    ),
)


def folders() -> Iterator[Path]:
    """Where encoding files may lie on this machine, the user's own choice first."""
    for variable in ("TIKTOKEN_CACHE_DIR", "DATA_GYM_CACHE_DIR"):
        if chosen := os.environ.get(variable):
            yield Path(chosen)
    yield Path(tempfile.gettempdir(), "data-gym-cache")
    yield from _inside("llama_index", "core", "_static", "tiktoken_cache")
    yield from _inside("litellm", "litellm_core_utils", "tokenizers")


def _inside(package: str, *path: str) -> Iterator[Path]:
    """A folder of an installed package, which is not imported: LiteLLM alone takes three seconds."""
    try:
        found = find_spec(package)
    except (ImportError, ValueError):  # a module in sys.modules that has no spec
        return
    for location in (found.submodule_search_locations or ()) if found else ():
        yield Path(location, *path)


class EncodingShelf:
    """The encodings of one process, loaded at most once, on demand.

    Args:
        known: the encodings to look for.
        where: gives the folders to look in.
    """

    def __init__(
        self, known: Sequence[KnownEncoding] = KNOWN, where: Callable[[], Iterable[Path]] = folders
    ) -> None:
        self._known = known
        self._where = where
        self._loaded: dict[str, Encoding] = {}
        self._claim = threading.Lock()  # taken by the first to load and never given back
        self._done = threading.Event()

    def get(self, name: str) -> Encoding | None:
        """The encoding if it is loaded. Reads no file and waits for nothing."""
        return self._loaded.get(name)

    def warm(self, wait: bool) -> None:
        """Load what is on the machine, once; see `warm` below."""
        if self._claim.acquire(blocking=False):
            if wait:
                self._load()
                return
            try:
                threading.Thread(target=self._load, name="apeiros-encodings", daemon=True).start()
            except RuntimeError:  # no more threads, or the interpreter is ending: estimates will do
                self._done.set()
        elif wait:
            self._done.wait()

    def before_fork(self) -> None:
        """Let a load that is under way end: its thread would not exist in the child."""
        if self._claim.locked():
            self._done.wait(FORK_WAIT)

    def after_fork(self) -> None:
        """In the child, forget a load that did not end."""
        if not self._done.is_set():
            self._claim = threading.Lock()
            self._done = threading.Event()

    def _load(self) -> None:
        try:
            for known in self._known:
                encoding = self._read(known)
                if encoding is not None:
                    self._loaded[known.name] = encoding
        finally:
            self._done.set()

    def _read(self, known: KnownEncoding) -> Encoding | None:
        for folder in self._where():
            path = folder / known.file
            try:
                content = path.read_bytes()
            except (OSError, ValueError):  # not there, not ours to read, or no path at all
                continue
            if hashlib.sha256(content).hexdigest() != known.sha256:
                logger.warning("%s is not the file of %s: it is left alone", path, known.name)
                continue
            try:
                return _build(known, content)
            except Exception:
                logger.warning("tiktoken could not build %s: tokens are estimated", known.name, exc_info=True)
                return None
        logger.debug("no file of %s on this machine: tokens are estimated", known.name)
        return None


def _build(known: KnownEncoding, content: bytes) -> Encoding:
    from tiktoken import Encoding  # 20 ms, and not needed where no file is

    ranks = {
        base64.b64decode(token): int(rank) for token, rank in map(bytes.split, content.splitlines()) if token
    }
    return Encoding(known.name, pat_str=known.pattern, mergeable_ranks=ranks, special_tokens={})


shelf = EncodingShelf()
if hasattr(os, "register_at_fork"):  # not on Windows, which cannot fork
    os.register_at_fork(before=shelf.before_fork, after_in_child=shelf.after_fork)


def warm(wait: bool) -> None:
    """Load the encodings whose files are on the machine. Safe from any thread; done once per process.

    Until they are loaded, and where there is no file, tokens are estimated. An encoding takes 0.1 to 0.3
    seconds to load. A fork while it loads waits for it, at most two seconds.

    Args:
        wait: True to return when all is loaded; False to load in a thread of its own, so that an event
            loop never reads a file.
    """
    shelf.warm(wait)
