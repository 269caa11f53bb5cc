"""Sendback: everything that mail sends back, as signed and durable events."""

__version__ = "0.1.0"
