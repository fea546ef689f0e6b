"""Compiled programs: where they are kept for the next start, and how they are made."""
