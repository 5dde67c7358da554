"""Architectures as data, and what modules of every framework share."""
