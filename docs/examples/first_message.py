"""Send the sample newsletter through a node and say what to try next.

    python3 docs/examples/first_message.py [HOST:PORT] [RECIPIENT ...]

Needs nothing but Python. HOST:PORT is the submission address of a running node.
"""

import smtplib
import sys
from pathlib import Path


def main() -> None:
    host, _, port = (sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:2587").rpartition(":")
    recipients = sys.argv[2:] or ["reader@example.org"]
    message = Path(__file__).with_name("newsletter.eml").read_bytes()
    try:
        with smtplib.SMTP(host, int(port), timeout=10) as smtp:
            smtp.sendmail("weekly@lighthouse.example", recipients, message)
    except OSError as error:
        sys.exit(f"No node answers at {host}:{port} ({error}). Start one with: make run")
    print(f"Sent to {', '.join(recipients)}. Each copy is a file in data/outbox/new/.")
    print("Open one, follow a link in it, then:  .venv/bin/sendback events list")


if __name__ == "__main__":
    main()
