"""Where the bank is, how it knows us, and how much of it one call may cost us."""

import re
from ipaddress import IPv6Address, ip_address
from typing import Literal

from pydantic import Field, SecretStr, field_validator

from kernel.errors import StartupError
from kernel.settings import Settings, is_loopback

# Stricter than any URL parser on purpose: what two parsers could read as two hosts is not a URL to us. No
# user information, no query, no fragment, no backslash, no blank, no escape in the host.
_BASE_URL = re.compile(
    r"(?P<scheme>https?)://(?P<host>[a-z0-9]([a-z0-9.-]*[a-z0-9])?|\[[0-9a-f:.]+\])(:(?P<port>[0-9]{1,5}))?"
    r"(?P<path>(/[A-Za-z0-9._~-]+)*)/?",
    re.IGNORECASE,
)
_USUAL_PORTS = {"http": 80, "https": 443}


class BankSettings(Settings):
    """What every process that talks to the bank needs."""

    bank: Literal["generic"] = Field("generic", description="Which bank's interface to speak: the adapter's name.")
    bank_api_base_url: str = Field(
        validation_alias="BANK_API_BASE_URL",
        description="The address of the bank's API: https, or http on this machine. No other is ever called.",
    )
    bank_api_key: SecretStr = Field(
        validation_alias="BANK_API_KEY",
        description="The bearer token that the bank gave us. It is never logged.",
    )
    bank_id: str | None = Field(
        None,
        pattern=r"^[!-~]*$",
        max_length=200,
        description="What tells this bank from every other one; the default is its address. Data and transfers of "
        "one bank are never mixed with another's. A bank that moves to a new address keeps its id.",
    )
    bank_deadline_seconds: float = Field(
        20.0,
        gt=0,
        le=300,
        description="Seconds that one call of the bank may take, from connecting to the answer's last byte.",
    )
    bank_answer_bytes_max: int = Field(
        32 * 1024 * 1024,
        ge=1024,
        description="Bytes that one answer of the bank may have, unpacked. A longer one is refused.",
    )

    @field_validator("bank_api_base_url")
    @classmethod
    def _base_url_is_safe(cls, url: str) -> str:
        return checked_base_url(url)

    @field_validator("bank_api_key")
    @classmethod
    def _key_fits_a_header(cls, key: SecretStr) -> SecretStr:
        if not re.fullmatch(r"[!-~]+", key.get_secret_value()):
            raise StartupError(
                "BANK_API_KEY is empty or holds characters that no HTTP header can carry",
                "set it to the token that the bank gave you, without blanks or line breaks",
            )
        return key

    @property
    def identity(self) -> str:
        """What tells this bank from every other one: its id, else its address in one spelling."""
        return self.bank_id or normalized_base_url(self.bank_api_base_url)


def normalized_base_url(url: str) -> str:
    """A checked address in one spelling: letters of scheme and host small, no port that goes without saying."""
    match = _BASE_URL.fullmatch(url)
    assert match is not None, "the address was checked"
    scheme, port = match["scheme"].lower(), match["port"] and int(match["port"])
    shown = "" if port in (None, _USUAL_PORTS[scheme]) else f":{port}"
    return f"{scheme}://{match['host'].lower()}{shown}{match['path']}"


def checked_base_url(url: str) -> str:
    """The address without its last slash. Raises StartupError for one that the key must not be sent to.

    Not a ValueError: pydantic would quote the rejected address in its message, and there may be a password in
    it.
    """
    match = _BASE_URL.fullmatch(url)
    if match is None:
        raise StartupError(
            "BANK_API_BASE_URL is not a plain address",
            "set it to https://host or https://host:port/path, without user, password, query or fragment",
        )
    host = match["host"].strip("[]").lower()
    if match["port"] is not None and not 1 <= int(match["port"]) <= 65535:
        raise StartupError("BANK_API_BASE_URL has a port that does not exist", "use a port from 1 to 65535")
    if not _names_a_machine(host):
        raise StartupError(
            f"BANK_API_BASE_URL points to {host}, which is no bank",
            "set it to the host name of the bank's API",
        )
    if match["scheme"].lower() == "http" and not is_loopback(host):
        raise StartupError(
            f"BANK_API_BASE_URL would send the bank's key to {host} in the clear",
            "use https; plain http is for a bank on this machine, such as the sandbox",
        )
    return url.removesuffix("/")


def _names_a_machine(host: str) -> bool:
    """False for metadata services, multicast, 0.0.0.0 and numbers that only resolvers take for an address."""
    try:
        address = ip_address(host)
    except ValueError:
        # "2130706433" and "127.1" are 127.0.0.1 to a resolver. A name's last label is never a number.
        return ":" not in host and not host.rsplit(".", 1)[-1][:1].isdigit() and ".." not in host
    if isinstance(address, IPv6Address) and address.ipv4_mapped is not None:
        address = address.ipv4_mapped
    return not (address.is_link_local or address.is_multicast or address.is_unspecified)
