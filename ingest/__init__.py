"""Keeps the mirror: poll the bank, decide what that means, store it in one transaction."""
