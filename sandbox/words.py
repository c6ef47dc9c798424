"""Who appears on the statements: merchants, customers, vendors, employees. All invented or generic.

Amounts are cents of a dollar; `minor` turns them into minor units of another currency.
"""

from typing import Final, NamedTuple


class Merchant(NamedTuple):
    """A shop, as it prints itself on a card statement, and what a purchase there costs."""

    name: str
    descriptor: str
    low_cents: int
    high_cents: int


class Subscription(NamedTuple):
    """The same amount to the same counterparty on the same day of every month."""

    name: str
    descriptor: str
    amount_cents: int
    day: int


MERCHANTS: Final = (
    Merchant("Blue Door Coffee", "SQ *BLUE DOOR COFFEE", 350, 1_890),
    Merchant("Corner Bakery", "TST* CORNER BAKERY", 600, 4_200),
    Merchant("Noodle House", "TST* NOODLE HOUSE 0042", 1_400, 9_800),
    Merchant("Taqueria Lupita", "SQ *TAQUERIA LUPITA", 1_100, 7_600),
    Merchant("Northgate Market", "NORTHGATE MARKET #118", 1_900, 21_000),
    Merchant("Greenleaf Grocers", "GREENLEAF GROCERS 0231", 2_100, 18_500),
    Merchant("Prime Fuel", "PRIME FUEL 00417 OUTSIDE", 2_500, 9_500),
    Merchant("Rapid Ride", "RAPIDRIDE *TRIP", 780, 6_400),
    Merchant("City Transit", "CITY TRANSIT VENDING", 275, 3_300),
    Merchant("Meridian Air", "MERIDIAN AIR 0162347", 11_900, 84_000),
    Merchant("Harbor Hotel", "HARBOR HOTEL FRONT DESK", 14_500, 72_000),
    Merchant("Paper & Pen", "PAPER & PEN OFFICE 77", 900, 26_000),
    Merchant("Volt Electronics", "VOLT ELECTRONICS #9", 4_900, 249_000),
    Merchant("Anvil Hardware", "ANVIL HARDWARE 1204", 1_200, 34_000),
    Merchant("Parcel Post", "PARCEL POST 5523", 540, 8_800),
    Merchant("Bright Print", "BRIGHT PRINT ONLINE", 2_200, 41_000),
    Merchant("Ad Reach", "ADREACH *CAMPAIGN", 25_000, 180_000),
    Merchant("Cloudhaus", "CLOUDHAUS USAGE", 8_000, 140_000),
    Merchant("Café Zürich", "CAFÉ ZÜRICH HB", 480, 3_900),
    Merchant("Sakura Sushi", "SAKURA SUSHI 桜", 1_800, 11_000),
)

# Where the amount is not known when the card is shown.
TIPPED: Final = frozenset({"Blue Door Coffee", "Corner Bakery", "Noodle House", "Taqueria Lupita", "Sakura Sushi"})
METERED: Final = frozenset({"Prime Fuel", "Harbor Hotel", "Rapid Ride"})

CUSTOMERS: Final = (
    "Acorn Robotics Inc", "Bayview Dental Group", "Cobalt Analytics LLC", "Dunmore & Sons",
    "Evergreen Logistics", "Fairweather Studios", "Granite Peak Builders", "Hollis Health",
    "Ironbridge Partners", "Juniper Foods Co", "Kestrel Aerospace", "Lumen Education",
    "Marlow Textiles", "Nimbus Retail", "Orchard Hill School",
)  # fmt: skip

VENDORS: Final = (
    "Allied Paper Supply", "Beacon Insurance", "Crestline Utilities", "Delta Freight", "Eastside Cleaning",
    "Foundry Legal LLP", "Gibson Recruiting", "Hexagon Hosting", "Ledger & Lane CPAs", "Metro Waterworks",
)  # fmt: skip

EMPLOYEES: Final = (
    "A. Okafor", "B. Lindqvist", "C. Moreau", "D. Tanaka", "E. Haddad", "F. Novak",
    "G. Silva", "H. Kim", "I. Petrov", "J. O'Neill", "K. Mensah", "L. Ferrari",
)  # fmt: skip

LANDLORD: Final = "Keystone Properties"
TAX_OFFICE: Final = "Revenue Service"

SUBSCRIPTIONS: Final = (
    Subscription("Cloudhaus", "CLOUDHAUS RESERVED", 48_900, 3),
    Subscription("Mailbird", "MAILBIRD PRO", 2_900, 5),
    Subscription("Codehub", "CODEHUB TEAM PLAN", 8_400, 7),
    Subscription("Sketchpad", "SKETCHPAD.COM", 4_500, 11),
    Subscription("Chatterbox", "CHATTERBOX BUSINESS", 12_500, 14),
    Subscription("Tracklight", "TRACKLIGHT MONITORING", 9_900, 18),
    Subscription("Fiberline", "FIBERLINE INTERNET", 15_900, 22),
    Subscription("Paperless Post Box", "PAPERLESS POST BOX", 1_900, 26),
)

# Minor units for a hundred US cents: the yen has no minor unit, the Kuwaiti dinar has a thousand fils.
MINOR_PER_DOLLAR: Final = {"USD": 100, "EUR": 92, "JPY": 150, "KWD": 307}


def minor(cents: int, currency: str) -> int:
    """About the same value in another currency's minor units, never 0 for something."""
    scaled = abs(cents) * MINOR_PER_DOLLAR[currency] // 100
    return max(scaled, 1) * (1 if cents > 0 else -1) if cents else 0
