"""Who asks, and what they may see and do: what a door learns of a token, and everything behind it goes by."""

from dataclasses import dataclass
from typing import Literal, get_args

Scope = Literal["read", "read:memo", "transfer:request", "transfer:approve", "recon", "admin"]
SCOPES: frozenset[str] = frozenset(get_args(Scope))


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller; `token_id` is None for one without a token of the database, `accounts` None for all of them."""

    token_id: str | None
    name: str
    scopes: frozenset[str]
    accounts: tuple[str, ...] | None = None
    # Whose idempotency keys are meant: a token that was rotated has another id, and its holder is the same.
    principal: str | None = None

    def may(self, scope: Scope) -> bool:
        """Whether this scope was given."""
        return scope in self.scopes


# On the sandbox, on a loopback address, where no token is required.
ANONYMOUS = Caller(None, "anonymous", SCOPES)
# Whoever holds the keys of the database itself and asks from the command line.
OPERATOR = Caller(None, "operator", SCOPES)
