"""The real encodings: found on the machine, checked, loaded once, and never fetched."""

import base64
import hashlib
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import requests

from apeiros_callbacks.tokens import approximate_tokens, encodings
from apeiros_callbacks.tokens.counter import TokenCounter
from apeiros_callbacks.tokens.encodings import KNOWN, EncodingShelf, KnownEncoding, folders
from apeiros_callbacks.tokens.families import Family

# A small encoding of our own: every byte, and two pairs.
RANKS = [bytes([byte]) for byte in range(256)] + [b"aa", b"ab"]
FILE = b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(RANKS))
SMALL = KnownEncoding(
    name="small", file="0" * 40, sha256=hashlib.sha256(FILE).hexdigest(), pattern=r"\S+|\s+"
)
FAMILY = Family("small", 1.0, own=True)


@pytest.fixture(autouse=True)
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr("socket.socket.connect", refuse)
    monkeypatch.setattr("socket.getaddrinfo", refuse)
    monkeypatch.setattr(requests.Session, "request", refuse)


@pytest.fixture
def shelf(tmp_path: Path) -> EncodingShelf:
    return EncodingShelf((SMALL,), lambda: [tmp_path / "nowhere", tmp_path])


class TestLookUp:
    def test_without_a_file_tokens_are_estimated(self, shelf: EncodingShelf) -> None:
        shelf.warm(wait=True)
        counter = TokenCounter(FAMILY, shelf)
        assert (counter.name, counter.exact) == ("approximate", False)
        assert counter.count("aaab c") == round(approximate_tokens("aaab c"))

    def test_with_its_file_they_are_counted(self, shelf: EncodingShelf, tmp_path: Path) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        shelf.warm(wait=True)
        counter = TokenCounter(FAMILY, shelf)
        assert (counter.name, counter.exact) == ("small", True)
        assert counter.count("aaab c") == 4  # aa, ab, a space, c

    def test_not_exact_for_a_model_with_another_tokenizer(self, shelf: EncodingShelf, tmp_path: Path) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        shelf.warm(wait=True)
        assert not TokenCounter(Family("small", 1.2, own=False), shelf).exact

    @pytest.mark.parametrize(
        "content", [b"", b"<html>blocked by the proxy</html>", FILE[:-1], FILE + b"\n"], ids=repr
    )
    def test_a_damaged_file_is_left_alone(
        self, shelf: EncodingShelf, tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
    ) -> None:
        (tmp_path / SMALL.file).write_bytes(content)
        shelf.warm(wait=True)
        assert TokenCounter(FAMILY, shelf).name == "approximate"
        assert (tmp_path / SMALL.file).read_bytes() == content
        assert "is not the file of small" in caplog.text

    def test_the_next_place_is_tried_after_a_damaged_file(self, tmp_path: Path) -> None:
        for folder, content in (("first", b"damaged"), ("second", FILE)):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / SMALL.file).write_bytes(content)
        shelf = EncodingShelf((SMALL,), lambda: [tmp_path / "first", tmp_path / "second"])
        shelf.warm(wait=True)
        assert TokenCounter(FAMILY, shelf).exact

    def test_what_cannot_be_read_is_passed_over(self, tmp_path: Path) -> None:
        (tmp_path / SMALL.file).mkdir()  # a folder of that name
        places = [tmp_path, Path("\0"), Path("/proc/self/mem/x")]
        shelf = EncodingShelf((SMALL,), lambda: places)
        shelf.warm(wait=True)
        assert TokenCounter(FAMILY, shelf).name == "approximate"

    def test_a_file_that_tiktoken_refuses_means_the_estimate(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        content = b"not base64 at all\n"
        odd = KnownEncoding(
            name="odd", file="1" * 40, sha256=hashlib.sha256(content).hexdigest(), pattern=r"\S+|\s+"
        )
        (tmp_path / odd.file).write_bytes(content)
        shelf = EncodingShelf((odd,), lambda: [tmp_path])
        shelf.warm(wait=True)
        assert shelf.get("odd") is None
        assert "could not build odd" in caplog.text

    def test_without_tiktoken_tokens_are_estimated(
        self, shelf: EncodingShelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        monkeypatch.setitem(sys.modules, "tiktoken", None)
        shelf.warm(wait=True)
        assert TokenCounter(FAMILY, shelf).name == "approximate"

    def test_any_text_is_counted(self, shelf: EncodingShelf, tmp_path: Path) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        shelf.warm(wait=True)
        counter = TokenCounter(FAMILY, shelf)
        assert counter.count("\ud800") == 3  # as the replacement character
        assert counter.count("<|endoftext|>") == 13
        assert counter.count("\x00") == 1
        assert counter.count("") == 0
        assert counter.count("ab" * 100_000) == pytest.approx(100_000, rel=0.005)  # by slices


class TestPlaces:
    def test_the_users_choice_comes_first(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATA_GYM_CACHE_DIR", str(tmp_path / "b"))
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path / "a"))
        places = list(folders())
        assert places[:2] == [tmp_path / "a", tmp_path / "b"]
        assert places[2].name == "data-gym-cache"

    def test_an_empty_variable_is_no_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", "")
        monkeypatch.delenv("DATA_GYM_CACHE_DIR", raising=False)
        assert next(folders()).name == "data-gym-cache"

    def test_packages_that_bundle_the_files_are_not_imported(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for package in ("litellm", "llama_index"):
            (tmp_path / package).mkdir()
        (tmp_path / "litellm" / "__init__.py").write_text("raise AssertionError('imported')")
        monkeypatch.syspath_prepend(str(tmp_path))
        for package in ("litellm", "llama_index"):
            monkeypatch.delitem(sys.modules, package, raising=False)
        places = list(folders())
        assert tmp_path / "litellm" / "litellm_core_utils" / "tokenizers" in places
        assert tmp_path / "llama_index" / "core" / "_static" / "tiktoken_cache" in places  # no __init__.py
        assert "litellm" not in sys.modules

    def test_a_module_without_a_spec_is_no_place(self, monkeypatch: pytest.MonkeyPatch) -> None:
        bare = ModuleType("litellm")
        bare.__spec__ = None
        monkeypatch.setitem(sys.modules, "litellm", bare)
        assert not any("litellm" in place.parts for place in folders())

    def test_the_environment_is_left_as_it_is(self, shelf: EncodingShelf, tmp_path: Path) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        before = dict(os.environ)
        shelf.warm(wait=True)
        assert dict(os.environ) == before

    def test_names_are_those_of_tiktokens_cache(self) -> None:
        root = "https://openaipublic.blob.core.windows.net/encodings/"
        for known in KNOWN:
            address = f"{root}{known.name}.tiktoken"
            assert known.file == hashlib.sha1(address.encode(), usedforsecurity=False).hexdigest()


class TestWarm:
    def test_loads_once(self, tmp_path: Path) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        looked: list[int] = []

        def where() -> Iterator[Path]:
            looked.append(threading.get_ident())
            yield tmp_path

        shelf = EncodingShelf((SMALL,), where)
        threads = [threading.Thread(target=shelf.warm, args=(wait,)) for wait in (True, False) * 8]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        shelf.warm(wait=True)
        assert len(looked) == 1
        assert TokenCounter(FAMILY, shelf).exact

    def test_without_waiting_the_calling_thread_reads_nothing(self, tmp_path: Path) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        asked, go_on = threading.Event(), threading.Event()
        readers: list[int] = []

        def where() -> Iterator[Path]:
            readers.append(threading.get_ident())
            asked.set()
            assert go_on.wait(10)
            yield tmp_path

        shelf = EncodingShelf((SMALL,), where)
        counter = TokenCounter(FAMILY, shelf)
        shelf.warm(wait=False)
        assert asked.wait(10)
        assert counter.count("aaab c") == round(approximate_tokens("aaab c"))  # while the file is read
        go_on.set()
        shelf.warm(wait=True)
        assert counter.count("aaab c") == 4
        assert readers != [threading.get_ident()]

    def test_counting_alone_loads_nothing(self, shelf: EncodingShelf, tmp_path: Path) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        assert TokenCounter(FAMILY, shelf).name == "approximate"

    def test_no_thread_to_be_had_means_the_estimate(
        self, shelf: EncodingShelf, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def refuse(_: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        monkeypatch.setattr(threading.Thread, "start", refuse)
        shelf.warm(wait=False)
        shelf.warm(wait=True)
        assert TokenCounter(FAMILY, shelf).name == "approximate"

    @pytest.mark.parametrize("loaded", [True, False])
    def test_a_fork_has_what_its_parent_loaded(self, tmp_path: Path, loaded: bool) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        shelf = EncodingShelf((SMALL,), lambda: [tmp_path])
        if loaded:
            shelf.warm(wait=True)
        shelf.before_fork()
        shelf.after_fork()
        assert TokenCounter(FAMILY, shelf).exact is loaded
        shelf.warm(wait=True)
        assert TokenCounter(FAMILY, shelf).exact

    def test_a_fork_waits_for_a_load(self, tmp_path: Path) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        go_on = threading.Event()
        at_fork: list[bool] = []

        def where() -> Iterator[Path]:
            assert go_on.wait(10)
            yield tmp_path

        def fork() -> None:
            shelf.before_fork()
            at_fork.append(shelf.get("small") is not None)

        shelf = EncodingShelf((SMALL,), where)
        shelf.warm(wait=False)
        forking = threading.Thread(target=fork)
        forking.start()
        forking.join(0.05)
        assert forking.is_alive()
        go_on.set()
        forking.join()
        assert at_fork == [True]

    def test_a_fork_waits_for_a_load_but_not_for_ever(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / SMALL.file).write_bytes(FILE)
        go_on, stuck = threading.Event(), [True]

        def where() -> Iterator[Path]:
            if stuck.pop() if stuck else False:
                assert go_on.wait(10)
            yield tmp_path

        monkeypatch.setattr(encodings, "FORK_WAIT", 0.01)
        shelf = EncodingShelf((SMALL,), where)
        shelf.warm(wait=False)
        shelf.before_fork()  # returns although the load hangs
        shelf.after_fork()  # as in the child, where the loading thread is not
        shelf.warm(wait=True)
        assert TokenCounter(FAMILY, shelf).exact
        go_on.set()

    @pytest.mark.skipif(sys.platform == "win32", reason="forks")
    def test_the_process_wide_shelf_survives_a_fork(self) -> None:
        encodings.warm(wait=False)
        fork = multiprocessing.get_context("fork")
        seen = fork.SimpleQueue()

        def child() -> None:
            encodings.warm(wait=True)
            seen.put(sorted(known.name for known in KNOWN if encodings.shelf.get(known.name)))

        process = fork.Process(target=child)
        process.start()
        process.join(30)
        assert process.exitcode == 0
        encodings.warm(wait=True)
        assert seen.get() == sorted(known.name for known in KNOWN if encodings.shelf.get(known.name))

    def test_importing_and_counting_leaves_tiktoken_unimported(self) -> None:
        code = (
            "import sys; from apeiros_callbacks.tokens import text_counter;"
            "text_counter('openai', 'gpt-4o').count('hello'); assert 'tiktoken' not in sys.modules"
        )
        subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def test_a_missing_file_is_told_to_who_looks_for_it(
    shelf: EncodingShelf, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, logger=encodings.logger.name)
    shelf.warm(wait=True)
    assert "no file of small" in caplog.text
