"""Pages a recipient may see: languages, and nothing but plain HTML."""

import re
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


def luminance(colour: str) -> float:
    """Relative luminance, WCAG 2.2."""
    digits = colour.lstrip("#")
    if len(digits) == 3:
        digits = "".join(digit * 2 for digit in digits)
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_every_text_can_be_read_in_light_and_in_the_dark():
    """WCAG 2.2, 1.4.3: 4.5 to 1 at least."""
    html = Pages().confirm({}).body.decode()
    schemes = re.findall(r":root \{([^}]*)\}", html)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--(\w+): (#\w+)", scheme))
        for text, ground in (
            (colours["text"], colours["card"]),
            (colours["note"], colours["card"]),
            ("#fff", colours["button"]),
        ):
            light, dark = sorted((luminance(text), luminance(ground)), reverse=True)
            assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground)


def test_looking_says_that_nothing_has_changed_and_leaving_what_may_still_come():
    english, pages = TEXTS["en"], Pages()
    assert english["confirm_note"] in pages.confirm({}).body.decode()
    assert english["confirm_note"] in pages.unavailable_unsubscribe({}).body.decode()
    assert english["done_note"] in pages.done({}).body.decode()
    assert 'class="note"' not in pages.not_found({}).body.decode()
