"""`python -m sendback` is `sendback`."""

from sendback.cli import main

if __name__ == "__main__":
    main()
