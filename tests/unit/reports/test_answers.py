# ruff: noqa: RUF001 - other alphabets on purpose
"""Automatic answers: in many languages, by the header or by the subject alone; never a bounce."""

import base64

import pytest

from sendback.reports import as_prediction, parse

#: (subject, words, whether the subject alone is enough)
ANSWERS = [
    (
        "Automatic reply: The July letter",
        "I am out of the office until 20 July with limited access to e-mail.",
        True,
    ),
    ("Automatische Antwort: The July letter", "Ich bin bis zum 20. Juli nicht im Büro.", True),
    ("Abwesenheitsnotiz", "Vielen Dank für Ihre Nachricht. Ich bin im Urlaub.", False),
    (
        "Réponse automatique : The July letter",
        "Je suis absente du bureau jusqu'au 20 juillet.",
        True,
    ),
    ("Absence du bureau", "Bonjour, je suis en congés.", False),
    (
        "Respuesta automática: The July letter",
        "Estaré fuera de la oficina hasta el 20 de julio.",
        True,
    ),
    ("Risposta automatica: The July letter", "Sono fuori sede fino al 20 luglio.", True),
    ("Resposta automática: The July letter", "Estou ausente até 20 de julho.", True),
    ("Automatisch antwoord: The July letter", "Ik ben afwezig tot 20 juli.", True),
    ("Autosvar: The July letter", "Jag är på semester.", True),
    ("Automatisk svar: The July letter", "Jeg er på ferie.", True),
    ("Automaattinen vastaus: The July letter", "Olen lomalla.", True),
    ("Odpowiedź automatyczna: The July letter", "Jestem nieobecny do 20 lipca.", True),
    ("Automatická odpověď: The July letter", "Jsem mimo kancelář.", True),
    ("Automatikus válasz: The July letter", "Szabadságon vagyok.", True),
    ("Răspuns automat: The July letter", "Sunt plecat din birou.", True),
    ("Otomatik Yanıt: The July letter", "Ofis dışındayım.", True),
    ("Автоматический ответ: The July letter", "Я в отпуске до 20 июля.", True),
    ("Автоматична відповідь: The July letter", "Я у відпустці.", True),
    ("自動応答: The July letter", "ただいま休暇をいただいております。", True),
    ("不在のお知らせ", "出張のため不在です。", False),
    ("自动答复: The July letter", "我正在休假。", True),
    ("自動回覆: The July letter", "我目前休假中。", True),
    ("자동 회신: The July letter", "휴가 중입니다.", True),
    ("Αυτόματη απάντηση: The July letter", "Είμαι εκτός γραφείου.", True),
    ("תשובה אוטומטית: The July letter", "אני לא במשרד.", True),
    ("رد تلقائي: The July letter", "أنا خارج المكتب.", True),
    ("Trả lời tự động: The July letter", "Tôi đang nghỉ.", True),
    ("Out of Office: The July letter", "I am away.", True),
    ("OOO Re: The July letter", "Back Monday.", False),
    ("Away from my mail", "I will not be reading my mail for a while.", False),
    ("Re: The July letter (vacation)", "I am on vacation until Monday.", False),
    ("I'm on holiday Re: The July letter", "Back soon.", True),
    ("No longer with the company", "Anna has left the company. Please contact Bert.", False),
    (
        "Thank you for contacting us",
        "We have received your message and will reply in 2 days.",
        False,
    ),
    ("[Ticket#1234] The July letter", "Your request has been received. Do not reply.", True),
    (
        "AUTO: Anna is out of the office (returning 20/07/2026)",
        "I am out of the office until 20/07/2026.",
        True,
    ),
]
MARKS = [
    "Auto-Submitted: auto-replied\nIn-Reply-To: <1@sender.example>\n",
    "X-Auto-Response-Suppress: All\nIn-Reply-To: <1@sender.example>\n",
    "Precedence: auto_reply\n",
    "Auto-Submitted: auto-generated\nReferences: <1@sender.example>\n",
]


def answer(subject: str, words: str, mark: str, path: str) -> bytes:
    coded = base64.b64encode(subject.encode()).decode()
    return (
        f"Return-Path: <{path}>\nFrom: Anna <anna@example.net>\nTo: news@sender.example\n"
        f"Subject: =?utf-8?B?{coded}?=\n{mark}MIME-Version: 1.0\n"
        f"Content-Type: text/plain; charset=utf-8\n\n{words}\n"
    ).encode()


@pytest.mark.parametrize(("subject", "words", "plain"), ANSWERS, ids=[a[0] for a in ANSWERS])
def test_an_automatic_answer_is_no_bounce(subject, words, plain):  # S0.13
    messages = [answer(subject, words, mark, "") for mark in MARKS]
    if plain:
        messages.append(answer(subject, words, "", "anna@example.net"))

    for raw in messages:
        assert as_prediction(parse(raw))["kind"] == "auto-reply", (raw, parse(raw).explain)
