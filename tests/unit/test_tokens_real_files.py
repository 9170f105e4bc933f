"""The real encodings, where their files are on the machine: the same tokens as tiktoken itself."""

import importlib
from pathlib import Path

import pytest

from apeiros_callbacks.tokens import approximate_tokens, encodings
from apeiros_callbacks.tokens.counter import TokenCounter
from apeiros_callbacks.tokens.encodings import KNOWN, EncodingShelf, folders
from apeiros_callbacks.tokens.families import Family


def _installed(name: str) -> Path | None:
    known = next(known for known in KNOWN if known.name == name)
    return next((place / known.file for place in folders() if (place / known.file).is_file()), None)


@pytest.mark.parametrize("name", [known.name for known in KNOWN])
class TestRealFiles:
    def test_counts_are_tiktokens_own(self, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        path = _installed(name)
        if path is None:
            pytest.skip(f"no file of {name} on this machine; llama-index-core brings one")
        monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(path.parent))
        public = importlib.import_module("tiktoken_ext.openai_public")
        from tiktoken import Encoding

        theirs = Encoding(**getattr(public, name)())
        shelf = EncodingShelf()
        shelf.warm(wait=True)
        ours = shelf.get(name)
        assert ours is not None
        texts = (
            "I can't, you'LL; HTTPServer2 snake_case   x\t\ty\r\n\r\n  12345 6.7\n",
            "Größe, naïve — «да»! 中文，日本語です。 مرحبا 😀👍🏽 \u00a0\u2028 end ",
            "a" * 300 + "  \n \n\t" + "=" * 90 + '{"k":["v",null]}//..',
        )
        for text in texts:
            assert ours.encode_ordinary(text) == theirs.encode_ordinary(text)

    def test_the_estimate_is_near(self, name: str) -> None:
        if _installed(name) is None:
            pytest.skip(f"no file of {name} on this machine; llama-index-core brings one")
        shelf = EncodingShelf()
        shelf.warm(wait=True)
        counter = TokenCounter(Family(name, 1.0, own=True), shelf)
        source = Path(encodings.__file__).read_text(encoding="utf-8")
        assert approximate_tokens(source) == pytest.approx(counter.count(source), rel=0.15)
