"""The few pages a recipient may see: plain HTML fit for a phone, no script, no picture.

The texts stand in translations.toml, one table a language; each page is rendered once a language
at start, so answering is a look-up. Nothing of a request is ever written into a page.
"""

import tomllib
from html import escape
from importlib.resources import files

from sendback.web import answers
from sendback.web.answers import Answer, Environ

FALLBACK_LANGUAGE = "en"
_MAX_ACCEPT_LANGUAGE = 200

_FRAME = """<!doctype html>
<html lang="{language}">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --page: #f2f4f7; --card: #fff; --text: #1b2027; --note: #59626d;
  --button: #0b5cad; --edge: #e1e5ea }}
@media (prefers-color-scheme: dark) {{ :root {{ --page: #13161a; --card: #1d2126; --text: #e9ecef;
  --note: #a7b0ba; --button: #1d6cc0; --edge: #2c323a }} }}
* {{ box-sizing: border-box }}
body {{ margin: 0; min-height: 100vh; min-height: 100dvh; display: grid; place-items: center;
  padding: min(1rem, 4vw); background: var(--page); color: var(--text);
  font: 1.125rem/1.5 system-ui, sans-serif; overflow-wrap: anywhere; hyphens: auto }}
main {{ width: 100%; max-width: 30rem; padding: 2rem min(1.5rem, 6vw); background: var(--card);
  border: 1px solid var(--edge); border-radius: 1rem }}
h1 {{ margin: 0; font-size: 1.5rem; line-height: 1.25 }}
p {{ margin: .75rem 0 0 }}
.note {{ color: var(--note); font-size: 1rem }}
button {{ margin-top: 1.5rem; font: inherit; font-weight: 600; width: 100%; min-height: 3rem;
  padding: .5rem 1rem; border: 0; border-radius: .625rem; background: var(--button); color: #fff;
  cursor: pointer }}
button:focus-visible {{ outline: 3px solid #e8a317; outline-offset: 3px }}
</style>
</head>
<body>
<main>
<h1>{title}</h1>
<p>{text}</p>
{form}{note}</main>
</body>
</html>
"""
_FORM = """<form method="post">
<input type="hidden" name="confirm" value="1">
<button type="submit">{button}</button>
</form>
"""
_NOTE = """<p class="note">{note}</p>
"""


class Pages:
    """Answers in the reader's language, by Accept-Language; English when none fits."""

    def __init__(self) -> None:
        texts = tomllib.loads(files(__package__).joinpath("translations.toml").read_text("utf-8"))
        self.languages = tuple(texts)
        self._confirm = _rendered(texts, "200 OK", "confirm", with_form=True)
        self._done = _rendered(texts, "200 OK", "done")
        self._not_found = _rendered(texts, "404 Not Found", "not_found")
        retry = ("Retry-After", answers.RETRY_AFTER_S)
        down = "503 Service Unavailable"
        self._unavailable = _rendered(texts, down, "unavailable", retry)
        self._unavailable_form = _rendered(texts, down, "confirm", retry, with_form=True)

    def confirm(self, environ: Environ) -> Answer:
        """The question, with the one button that unsubscribes."""
        return self._confirm[self.language(environ)]

    def done(self, environ: Environ) -> Answer:
        """Thanks: you are off the list."""
        return self._done[self.language(environ)]

    def not_found(self, environ: Environ) -> Answer:
        """404: a link that is not ours, or not whole. The same for every reason (W2)."""
        return self._not_found[self.language(environ)]

    def unavailable(self, environ: Environ) -> Answer:
        """503: try again in a moment."""
        return self._unavailable[self.language(environ)]

    def unavailable_unsubscribe(self, environ: Environ) -> Answer:
        """503 as well, with the button: unsubscribing needs no database."""
        return self._unavailable_form[self.language(environ)]

    def language(self, environ: Environ) -> str:
        """The language of ours that the reader likes best (RFC 9110 section 12.5.4)."""
        wanted: str = environ.get("HTTP_ACCEPT_LANGUAGE", "")[:_MAX_ACCEPT_LANGUAGE]
        best, best_weight = FALLBACK_LANGUAGE, 0.0
        for item in wanted.split(","):
            tag, _, parameters = item.partition(";")
            language = tag.strip().partition("-")[0].lower()
            weight = _weight(parameters)
            if weight > best_weight and language in self._confirm:
                best, best_weight = language, weight
        return best


def _weight(parameters: str) -> float:
    name, _, value = parameters.partition("=")
    if name.strip().lower() != "q":
        return 1.0
    try:
        return float(value)
    except ValueError:
        return 0.0


def _rendered(
    texts: dict[str, dict[str, str]],
    status: str,
    name: str,
    *extra: tuple[str, str],
    with_form: bool = False,
) -> dict[str, Answer]:
    pages = {}
    for language, text in texts.items():
        html = _FRAME.format(
            language=language,
            title=escape(text[f"{name}_title"]),
            text=escape(text[f"{name}_text"]),
            form=_FORM.format(button=escape(text["confirm_button"])) if with_form else "",
            note=_NOTE.format(note=escape(text[f"{name}_note"])) if f"{name}_note" in text else "",
        )
        pages[language] = answers.page(status, html.encode(), language, *extra)
    return pages
