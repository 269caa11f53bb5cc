"""Pages a recipient may see: languages, and nothing but plain HTML."""

import tomllib
from importlib.resources import files

import pytest

from sendback.web.pages import Pages

TEXTS = tomllib.loads(files("sendback.web").joinpath("translations.toml").read_text("utf-8"))


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("xx, fr;q=0.3, es;q=0.7", "es"),
        ("en;q=0.1, ja", "ja"),
        ("PT-br", "pt"),
        ("de;q=0, *", "en"),
        ("de;q=abc", "en"),
        ("*", "en"),
        (",;=,;q", "en"),
        ("de;q=nan", "en"),
        ("de" * 5_000, "en"),
    ],
)
def test_the_language_liked_best(header, language):
    assert Pages().language({"HTTP_ACCEPT_LANGUAGE": header}) == language


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_every_language_says_everything(language):
    assert TEXTS[language].keys() == TEXTS["en"].keys()
    assert all(text.strip() for text in TEXTS[language].values())


@pytest.mark.parametrize("language", sorted(TEXTS))
def test_pages_are_small_complete_and_load_nothing(language):
    pages, environ = Pages(), {"HTTP_ACCEPT_LANGUAGE": language}
    for page in (pages.confirm, pages.done, pages.not_found, pages.unavailable):
        answer = page(environ)
        html = answer.body.decode()
        assert len(answer.body) < 4_096
        assert f'<html lang="{language}">' in html
        assert "viewport" in html
        assert not any(word in html for word in ("<script", "src=", "href=", "url(", "@import"))
        assert dict(answer.headers)["Content-Language"] == language
        assert int(dict(answer.headers)["Content-Length"]) == len(answer.body)
