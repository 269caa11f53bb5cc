"""`python -m sendback.smtp smtp|submission`: one of the two SMTP processes of a node."""

import sys


def main() -> None:
    """Serve until SIGTERM; the address comes from the supervisor."""
    from sendback.bootstrap import mail

    if sys.argv[1:] == ["submission"]:
        mail.run_submission()
    else:
        mail.run_listener()


if __name__ == "__main__":
    main()
