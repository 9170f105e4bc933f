"""Text files and PDFs that are sent inline."""

from __future__ import annotations

import base64

import pytest

from apeiros_callbacks.tokens import inline_text, pdf_pages


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


@pytest.mark.parametrize(
    ("mime", "data", "text"),
    [
        ("text/plain", encoded("naïve".encode()), "naïve"),
        ("text/plain; charset=utf-8", encoded(b"a, b?>"), "a, b?>"),
        ("", f"data:text/csv;base64,{encoded(b'a,b')}", "a,b"),
        ("application/json", encoded(b"{}"), "{}"),
        ("application/ld+json", encoded(b"{}"), "{}"),
        ("text/plain", "Not in base64, but as it is.", "Not in base64, but as it is."),
        ("text/plain", "https://example.com/a.txt", None),
        ("application/pdf", encoded(b"%PDF-1.4"), None),
        ("image/png", "iVBORw0KGgo=", None),
        ("", "JVBERi0=", None),
        ("", "data:", None),
        ("text/plain", "", ""),
    ],
)
def test_text_is_read(mime: str, data: str, text: str | None) -> None:
    assert inline_text(mime, data) == text


def test_the_pages_of_a_pdf() -> None:
    page = b"<< /Type /Page /Parent 2 0 R >>\n"
    assert pdf_pages(encoded(b"%PDF-1.4\n" + 3 * page)) == 3
    tree = b"%PDF-1.7\n<< /Type /Pages /Kids [3 0 R 4 0 R] /Count 12 >>\n" + page
    assert pdf_pages(encoded(tree)) == 12
    assert pdf_pages(f"data:application/pdf;base64,{encoded(tree)}") == 12
    assert pdf_pages(encoded(b"%PDF-1.7\n<</Count 4/Type/Pages>>")) == 4


@pytest.mark.parametrize(
    "data",
    [
        "",
        "https://example.com/a.pdf",
        encoded(b"%PDF-1.7 all compressed"),
        encoded(b"GIF89a"),
        "JVBERi0x!!",
        "JVBERi0" * 700_000,
    ],
)
def test_pages_that_cannot_be_told(data: str) -> None:
    assert pdf_pages(data) is None
