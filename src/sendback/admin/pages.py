"""What people see on the admin port: logging in and out, the status of the node.

Plain pages without a script; everything but the way in needs a session. Machines have routes of
their own (`ops.py`) and the API.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from flask import Flask, Response, g, redirect, render_template, request
from werkzeug.datastructures import MultiDict
from werkzeug.exceptions import HTTPException, UnsupportedMediaType

from sendback.admin import ops
from sendback.admin.auth import COOKIE, Access
from sendback.errors import SendbackError, Unavailable


def add_login_pages(app: Flask, access: Access) -> None:
    """`/login`, `/logout`, and `/welcome` for whoever was invited."""

    def login_form(problem: str, status: int = 200) -> tuple[str, int]:
        try:
            is_first = not access.accounts.has_users()
        except Unavailable:
            problem, status, is_first = "The main database is down.", 503, False
        return render_template("login.html", problem=problem, is_first=is_first), status

    @app.get("/login")
    def login_page() -> Any:
        return login_form("")

    @app.post("/login")
    def login() -> Any:
        access.check_same_site()
        form = _form()
        try:
            session = access.log_in(
                form.get("name", ""), form.get("password", ""), form.get("code", "").strip()
            )
        except Unavailable:
            return login_form("The main database is down.", 503)
        if session is None:
            return login_form("Name, password or code is wrong.", 403)
        return _to_front_page(access, session)

    @app.post("/logout")
    def logout() -> Any:
        access.principal()
        if "session_id" in g:
            access.accounts.logout(g.session_id)
        response = redirect("/login", 303)
        response.delete_cookie(COOKIE)
        return response

    @app.get("/welcome")
    def welcome_page() -> Any:
        secret = request.args.get("invitation", "")
        if not access.accounts.is_invitation(secret):
            return login_form("This invitation was used already, or is too old.", 404)
        return render_template("welcome.html", invitation=secret, problem="")

    @app.post("/welcome")
    def welcome() -> Any:
        access.check_same_site()
        form = _form()
        secret, name = form.get("invitation", ""), form.get("name", "").strip()
        password = form.get("password", "")
        try:
            access.accounts.accept(secret, name, password)
        except Unavailable:
            raise
        except SendbackError as error:
            page = render_template("welcome.html", invitation=secret, problem=str(error))
            return page, 422
        session = access.log_in(name, password, "")
        assert session is not None
        return _to_front_page(access, session)


def add_status_page(
    app: Flask,
    access: Access,
    readings: ops.Readings,
    facts: Mapping[str, str],
    sends: Callable[[], Sequence[Mapping[str, Any]]],
) -> None:
    """`/`, for whoever may read; `sends`: the statistics of the newest sends."""

    @app.get("/")
    @access.page("read")
    def status_page() -> str:
        statuses = [{**s, "uptime": ops.uptime(s)} for s in readings.statuses()]
        return render_template(
            "status.html",
            facts=facts,
            statuses=sorted(statuses, key=lambda s: (s["part"], s["pid"])),
            problems=ops.problems(readings),
            backlogs=readings.backlogs(),
            last_seq=readings.last_seq(),
            sends=sends(),
            **_visitor(access),
        )


def add_error_pages(app: Flask) -> None:
    """A refusal or a fault is a page too, and says nothing of our insides."""

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Any:
        page = render_template("error.html", title=error.name, text=error.description)
        response = Response(page, error.code or 500)
        for name, value in error.get_headers():
            if name.lower() in ("allow", "retry-after"):
                response.headers[name] = value
        return response

    @app.errorhandler(Unavailable)
    def down(_error: Unavailable) -> Any:
        text = "The main database does not answer. Recipients are served all the same."
        page = render_template("error.html", title="Not now", text=text)
        return Response(page, 503, headers={"Retry-After": "5"})


def _form() -> MultiDict[str, str]:
    """What our page's form sent; 415 for a body of another kind, 413 for too long a one.

    Another kind would read as an empty form: a wrong password that nobody gave.
    """
    if request.mimetype not in ("application/x-www-form-urlencoded", "multipart/form-data"):
        raise UnsupportedMediaType("send the form of this page")
    return request.form


def _visitor(access: Access) -> dict[str, str]:
    """Who looks at a page, and what the page's forms send along."""
    session = g.get("session_id", "")
    return {
        "visitor": g.principal.name.removeprefix("user:"),
        "csrf_token": access.csrf_token(session) if session else "",
    }


def _to_front_page(access: Access, session: str) -> Any:
    response = redirect("/", 303)
    access.set_cookie(response, session)  # type: ignore[arg-type]
    return response
