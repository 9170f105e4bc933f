"""Images, sound, video and documents: the providers' formulas, and an image's size from its header."""

import base64
import struct

import pytest

from apeiros_callbacks.tokens import image_size, media_tokens


class TestImages:
    # OpenAI, "Images and vision": its worked examples, and what users report to have been billed.
    @pytest.mark.parametrize(
        ("model", "width", "height", "detail", "tokens"),
        [
            ("gpt-4o", 1024, 1024, "high", 765),
            ("gpt-4o", 2048, 4096, "high", 1105),
            ("gpt-4o", 4096, 8192, "low", 85),
            ("gpt-4o", 128, 64, None, 255),
            ("gpt-4.1", 2049, 513, "auto", 1445),
            ("gpt-4o-mini", 1024, 1024, None, 2833 + 4 * 5667),
            ("gpt-4o-mini-2024-07-18", 128, 64, "low", 2833),
            ("o3", 512, 512, None, 225),
            ("gpt-5", 1024, 1024, None, 630),
            ("gpt-5-2025-08-07", 1024, 1024, None, 630),
            ("gpt-4.1-mini", 4000, 1474, None, 2489),
            ("gpt-5-mini", 1024, 1024, None, 1229),
            ("gpt-5-nano", 4000, 3000, None, 2304),
            ("gpt-5.4", 1920, 1080, "high", 2448),
            ("gpt-5.5", 4032, 3024, None, 12_000),
            ("gpt-5.5", 4032, 3024, "high", 3000),
            ("openai/gpt-6-astra", 256, 256, None, 77),
        ],
    )
    def test_openai(self, model: str, width: int, height: int, detail: str | None, tokens: int) -> None:
        found = media_tokens(
            "image", provider="openai", model=model, width=width, height=height, detail=detail
        )
        assert found == tokens

    # Anthropic, "Vision": 28 x 28 pixels a token, and the limits of either generation.
    @pytest.mark.parametrize(
        ("model", "width", "height", "tokens"),
        [
            ("claude-haiku-4-5", 200, 200, 64),
            ("claude-sonnet-4-5", 1024, 1024, 37 * 37),
            ("claude-sonnet-4-5", 4032, 3024, 1600),
            ("claude-opus-4-7", 1920, 1080, 69 * 39),
            ("claude-opus-4-7", 8000, 8000, 4784),
            ("claude-sonnet-5", 1024, 1024, 37 * 37),
        ],
    )
    def test_anthropic(self, model: str, width: int, height: int, tokens: int) -> None:
        assert media_tokens("image", provider="anthropic", model=model, width=width, height=height) == tokens

    # Google, "Understand and count tokens" and "Media resolution".
    @pytest.mark.parametrize(
        ("model", "width", "height", "detail", "tokens"),
        [
            ("gemini-2.5-flash", 384, 384, None, 258),
            ("gemini-2.5-flash", 960, 540, None, 6 * 258),
            ("models/gemini-2.0-flash", 3000, 3000, "low", 258),
            ("gemini-3-pro-preview", 4032, 3024, None, 1120),
            ("gemini-3.5-flash", 100, 100, "low", 280),
            ("gemini-4-argon", 100, 100, "ultra_high", 2240),
        ],
    )
    def test_google(self, model: str, width: int, height: int, detail: str | None, tokens: int) -> None:
        found = media_tokens(
            "image", provider="google_genai", model=model, width=width, height=height, detail=detail
        )
        assert found == tokens

    def test_the_model_decides_where_a_cloud_serves_many(self) -> None:
        claude = media_tokens(
            "image", provider="google_vertexai", model="claude-sonnet-4-5", width=1024, height=1024
        )
        assert claude == 37 * 37
        assert media_tokens("image", provider="azure", width=1024, height=1024) == 765

    @pytest.mark.parametrize("provider", ["", "openai", "anthropic", "google_genai", "mistralai", "ollama"])
    def test_an_unknown_size_leans_high_but_stays_sane(self, provider: str) -> None:
        unknown = media_tokens("image", provider=provider)
        assert 1_000 <= unknown <= 2_100
        assert media_tokens("image", provider=provider, width=0, height=5) == unknown
        assert media_tokens("image", provider=provider, width=-900, height=900) == unknown

    def test_the_bytes_of_an_image_do_not_matter(self) -> None:
        assert media_tokens("image", size_bytes=10_000_000) == media_tokens("image") == 1_600

    def test_a_larger_image_is_never_cheaper(self) -> None:
        for model in ("gpt-4o", "gpt-5-mini", "claude-sonnet-4-5", "claude-opus-4-8", "gemini-3-pro"):
            sizes = [
                media_tokens("image", model=model, width=n, height=n) for n in (64, 256, 512, 768, 1024, 8192)
            ]
            assert sizes == sorted(sizes)


class TestSoundVideoAndDocuments:
    @pytest.mark.parametrize(("provider", "tokens"), [("openai", 300), ("google_genai", 960), ("", 960)])
    def test_sound_by_the_second(self, provider: str, tokens: int) -> None:
        assert media_tokens("audio", provider=provider, seconds=30) == tokens

    def test_sound_by_its_bytes(self) -> None:
        assert media_tokens("audio", provider="openai", size_bytes=120_000) == 100
        assert media_tokens("audio", provider="openai", size_bytes=0, seconds=0) == 600  # a minute

    @pytest.mark.parametrize(
        ("model", "detail", "tokens"),
        [("gemini-2.5-flash", None, 3000), ("gemini-2.5-flash", "low", 1000), ("gemini-3-pro", None, 1000)],
    )
    def test_video_by_the_second(self, model: str, detail: str | None, tokens: int) -> None:
        assert (
            media_tokens("video", provider="google_genai", model=model, detail=detail, seconds=10) == tokens
        )

    def test_frames_of_a_video_as_asked_for(self) -> None:
        # Billed: 12 frames, 3,096, and a minute of sound.
        few = media_tokens("video", model="gemini-2.0-flash", seconds=60, fps=0.2)
        assert few == 12 * 258 + 60 * 32
        assert media_tokens("video", model="gemini-3-pro", seconds=10, fps=2) == 20 * 70 + 320

    @pytest.mark.parametrize(
        ("provider", "model", "a_page"),
        [
            ("anthropic", "", 3000),
            ("google_genai", "", 560),
            ("openai", "gpt-4o", 2105),
            ("openai", "gpt-4o-mini", 1000 + 2833 + 6 * 5667),
            ("mistralai", "", 1000),
            ("", "", 3000),
        ],
    )
    def test_documents_by_the_page(self, provider: str, model: str, a_page: int) -> None:
        assert media_tokens("file", provider=provider, model=model, pages=7) == 7 * a_page
        assert media_tokens("file", provider=provider, model=model, size_bytes=60_001) == 3 * a_page
        assert media_tokens("file", provider=provider, model=model) == 5 * a_page

    # What providers reported for real media, never less than estimated here.
    @pytest.mark.parametrize(
        ("billed", "estimated"),
        [
            (2_187, media_tokens("file", provider="anthropic", model="claude-sonnet-4-5", size_bytes=13_266)),
            (532, media_tokens("file", provider="google", model="gemini-3-flash-preview", size_bytes=13_266)),
            (1_088, media_tokens("image", provider="google", model="gemini-3-flash-preview")),
            (640 + 250, media_tokens("video", provider="google", model="gemini-3-flash-preview", seconds=10)),
            (80, media_tokens("audio", provider="google", model="gemini-3-flash-preview", seconds=3.2)),
        ],
    )
    def test_leans_high_on_what_was_billed(self, billed: int, estimated: int) -> None:
        assert billed <= estimated <= 1.5 * billed

    def test_an_unknown_kind_is_a_document(self) -> None:
        assert media_tokens("input_file", pages=1) == media_tokens("file", pages=1)


def _png(width: int, height: int) -> bytes:
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I4sII", 13, b"IHDR", width, height) + b"\x08\x02\x00\x00\x00"


def _gif(width: int, height: int) -> bytes:
    return b"GIF89a" + struct.pack("<HH", width, height) + b"\x00" * 10


def _jpeg(width: int, height: int, before: bytes = b"") -> bytes:
    frame = b"\xff\xc2" + struct.pack(">HBHH", 17, 8, height, width) + b"\x03" * 10
    return b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + b"\x01" * 9 + before + b"\xff" + frame


def _webp(form: bytes, body: bytes) -> bytes:
    return b"RIFF\x00\x10\x00\x00WEBP" + form + b"\x0a\x00\x00\x00" + body + b"\x00" * 20


HUFFMAN = b"\xff\xc4\x00\x0b\x08" + b"\x09" * 8  # a table, whose marker looks like a frame's
PREVIEW = b"\xff\xe1\x60\x02" + b"\xff\xd8\xff\xc0" * 6144  # an EXIF block that holds a whole JPEG

IMAGES = {
    "png": (_png(1024, 768), (1024, 768)),
    "gif": (_gif(320, 200), (320, 200)),
    "jpeg": (_jpeg(4032, 3024), (4032, 3024)),
    "jpeg with a table": (_jpeg(4032, 3024, HUFFMAN), (4032, 3024)),
    "jpeg with a preview": (_jpeg(4032, 3024, PREVIEW), (4032, 3024)),
    "webp lossy": (_webp(b"VP8 ", b"\x30\x01\x00\x9d\x01\x2a" + struct.pack("<HH", 550, 368)), (550, 368)),
    "webp lossless": (_webp(b"VP8L", b"\x2f" + struct.pack("<I", 385 | 394 << 14)), (386, 395)),
    "webp extended": (_webp(b"VP8X", b"\x10\x00\x00\x00" + b"\x8f\x01\x00\x2b\x01\x00"), (400, 300)),
}


class TestImageSize:
    @pytest.mark.parametrize(("data", "size"), IMAGES.values(), ids=list(IMAGES))
    def test_reads_the_header(self, data: bytes, size: tuple[int, int]) -> None:
        text = base64.b64encode(data).decode()
        assert image_size(text) == size
        assert image_size(f"data:image/x;base64,{text}") == size
        assert image_size(base64.urlsafe_b64encode(data).decode()) == size
        assert image_size(text[:20] + "\n" + text[20:]) == size

    @pytest.mark.parametrize(("data", "size"), IMAGES.values(), ids=list(IMAGES))
    def test_never_raises_on_a_part_or_a_wreck(self, data: bytes, size: tuple[int, int]) -> None:
        text = base64.b64encode(data).decode()
        for end in (*range(64), len(text) - 40):
            assert image_size(text[:end]) in {None, size}
        for at in range(min(60, len(data))):
            image_size(base64.b64encode(data[:at] + b"\xff\x00" + data[at + 2 :]).decode())

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "data:",
            "data:image/png;base64,",
            "not base64!",
            "é" * 50,
            "iVBORw0KGgo=",
            "\ud800",
            "/9j/",
            "A" * 99,
        ],
    )
    def test_what_is_no_image_has_no_size(self, text: str) -> None:
        assert image_size(text) is None

    def test_no_image_is_empty(self) -> None:
        assert image_size(base64.b64encode(_png(0, 768)).decode()) is None

    def test_reads_no_more_than_the_head(self) -> None:
        class Text(str):
            __slots__ = ()
            taken = 0

            def __getitem__(self, key: object) -> str:
                part = str.__getitem__(self, key)  # type: ignore[index]
                Text.taken += len(part)
                return part

        assert image_size(Text(base64.b64encode(_png(8, 9) + b"\x00" * 5_000_000).decode())) == (8, 9)
        assert Text.taken <= 64
