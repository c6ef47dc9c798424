"""Moves money: accept, send, know the outcome. Role `bankmirror_transfers`; the only package that can pay."""
