"""Who failed to show a valid token lately, by address and by token id: in bounded memory, whoever tries what."""

from collections import OrderedDict
from ipaddress import IPv6Address, ip_address, ip_network

# So many failures are a person's mistakes with a new token; more of them within the window are a program's.
FAILURES_MAX = 10
WINDOW_SECONDS = 60.0
# Addresses, and as many ids, that are remembered. Beyond it the one that failed longest ago is forgotten.
REMEMBERED_MAX = 4_096
# Behind an address of these is a proxy that passes on what anybody sends, as the front of `up` does.
_PROXIES = [
    ip_network(network)
    for network in (
        "127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "::1/128", "fc00::/7", "fe80::/10",
    )
]  # fmt: skip


class Failures:
    """Counts failures of each key in windows that begin with the first one. Times are seconds of any steady clock."""

    def __init__(self) -> None:
        self._counted: OrderedDict[str, tuple[float, int]] = OrderedDict()

    def note(self, key: str | None, now: float) -> None:
        """One more failure of this key; None is nobody's."""
        if key is None:
            return
        began, count = self._counted.pop(key, (now, 0))
        if now >= began + WINDOW_SECONDS:
            began, count = now, 0
        self._counted[key] = (began, count + 1)
        if len(self._counted) > REMEMBERED_MAX:
            self._counted.popitem(last=False)

    def wait_seconds(self, key: str | None, now: float) -> float:
        """How long until this key is below the limit again; 0.0 when it is."""
        began, count = (now, 0) if key is None else self._counted.get(key, (now, 0))
        return max(0.0, began + WINDOW_SECONDS - now) if count >= FAILURES_MAX else 0.0


def network_of(host: str) -> str | None:
    """Where a caller comes from; None where that is a proxy's address or none, and so everybody's. Who has IPv6 has a
    network of 64 bits, and could use another address for each try.
    """
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host or None
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if any(address in network for network in _PROXIES):
        return None
    if isinstance(address, IPv6Address):
        return str(IPv6Address(int(address) >> 64 << 64))
    return str(address)
