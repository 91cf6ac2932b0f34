"""The native part of holdlock's locks between hosts. ``holdlock.open(URL)`` uses it."""
