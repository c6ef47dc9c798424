-- What the bank shows now, and what it showed before.
--
-- Every key begins with account_id, and no foreign key, trigger or sequence crosses accounts: that is what lets these
-- tables be distributed by account_id later without a redesign.

CREATE TABLE snapshot.currencies (
    currency    text PRIMARY KEY CHECK (currency ~ '^[A-Z]{3}$'),
    exponent    smallint NOT NULL CHECK (exponent BETWEEN 0 AND 4),
    name        text NOT NULL,
    -- 1 minor unit in major units, with exactly the currency's decimals: multiplying by it never rounds.
    unit        numeric NOT NULL
);
COMMENT ON TABLE snapshot.currencies IS 'ISO 4217: every currency with its number of decimals.';
COMMENT ON COLUMN snapshot.currencies.unit IS 'What one minor unit is worth: 0.01 for USD, 1 for JPY, 0.001 for KWD.';
INSERT INTO snapshot.currencies (currency, exponent, name, unit) VALUES
    ('AED', 2, 'UAE Dirham', 0.01),
    ('AFN', 2, 'Afghani', 0.01),
    ('ALL', 2, 'Lek', 0.01),
    ('AMD', 2, 'Armenian Dram', 0.01),
    ('AOA', 2, 'Kwanza', 0.01),
    ('ARS', 2, 'Argentine Peso', 0.01),
    ('AUD', 2, 'Australian Dollar', 0.01),
    ('AWG', 2, 'Aruban Florin', 0.01),
    ('AZN', 2, 'Azerbaijan Manat', 0.01),
    ('BAM', 2, 'Convertible Mark', 0.01),
    ('BBD', 2, 'Barbados Dollar', 0.01),
    ('BDT', 2, 'Taka', 0.01),
    ('BHD', 3, 'Bahraini Dinar', 0.001),
    ('BIF', 0, 'Burundi Franc', 1),
    ('BMD', 2, 'Bermudian Dollar', 0.01),
    ('BND', 2, 'Brunei Dollar', 0.01),
    ('BOB', 2, 'Boliviano', 0.01),
    ('BOV', 2, 'Mvdol', 0.01),
    ('BRL', 2, 'Brazilian Real', 0.01),
    ('BSD', 2, 'Bahamian Dollar', 0.01),
    ('BTN', 2, 'Ngultrum', 0.01),
    ('BWP', 2, 'Pula', 0.01),
    ('BYN', 2, 'Belarusian Ruble', 0.01),
    ('BZD', 2, 'Belize Dollar', 0.01),
    ('CAD', 2, 'Canadian Dollar', 0.01),
    ('CDF', 2, 'Congolese Franc', 0.01),
    ('CHE', 2, 'WIR Euro', 0.01),
    ('CHF', 2, 'Swiss Franc', 0.01),
    ('CHW', 2, 'WIR Franc', 0.01),
    ('CLF', 4, 'Unidad de Fomento', 0.0001),
    ('CLP', 0, 'Chilean Peso', 1),
    ('CNY', 2, 'Yuan Renminbi', 0.01),
    ('COP', 2, 'Colombian Peso', 0.01),
    ('COU', 2, 'Unidad de Valor Real', 0.01),
    ('CRC', 2, 'Costa Rican Colon', 0.01),
    ('CUP', 2, 'Cuban Peso', 0.01),
    ('CVE', 2, 'Cabo Verde Escudo', 0.01),
    ('CZK', 2, 'Czech Koruna', 0.01),
    ('DJF', 0, 'Djibouti Franc', 1),
    ('DKK', 2, 'Danish Krone', 0.01),
    ('DOP', 2, 'Dominican Peso', 0.01),
    ('DZD', 2, 'Algerian Dinar', 0.01),
    ('EGP', 2, 'Egyptian Pound', 0.01),
    ('ERN', 2, 'Nakfa', 0.01),
    ('ETB', 2, 'Ethiopian Birr', 0.01),
    ('EUR', 2, 'Euro', 0.01),
    ('FJD', 2, 'Fiji Dollar', 0.01),
    ('FKP', 2, 'Falkland Islands Pound', 0.01),
    ('GBP', 2, 'Pound Sterling', 0.01),
    ('GEL', 2, 'Lari', 0.01),
    ('GHS', 2, 'Ghana Cedi', 0.01),
    ('GIP', 2, 'Gibraltar Pound', 0.01),
    ('GMD', 2, 'Dalasi', 0.01),
    ('GNF', 0, 'Guinean Franc', 1),
    ('GTQ', 2, 'Quetzal', 0.01),
    ('GYD', 2, 'Guyana Dollar', 0.01),
    ('HKD', 2, 'Hong Kong Dollar', 0.01),
    ('HNL', 2, 'Lempira', 0.01),
    ('HTG', 2, 'Gourde', 0.01),
    ('HUF', 2, 'Forint', 0.01),
    ('IDR', 2, 'Rupiah', 0.01),
    ('ILS', 2, 'New Israeli Sheqel', 0.01),
    ('INR', 2, 'Indian Rupee', 0.01),
    ('IQD', 3, 'Iraqi Dinar', 0.001),
    ('IRR', 2, 'Iranian Rial', 0.01),
    ('ISK', 0, 'Iceland Krona', 1),
    ('JMD', 2, 'Jamaican Dollar', 0.01),
    ('JOD', 3, 'Jordanian Dinar', 0.001),
    ('JPY', 0, 'Yen', 1),
    ('KES', 2, 'Kenyan Shilling', 0.01),
    ('KGS', 2, 'Som', 0.01),
    ('KHR', 2, 'Riel', 0.01),
    ('KMF', 0, 'Comorian Franc', 1),
    ('KPW', 2, 'North Korean Won', 0.01),
    ('KRW', 0, 'Won', 1),
    ('KWD', 3, 'Kuwaiti Dinar', 0.001),
    ('KYD', 2, 'Cayman Islands Dollar', 0.01),
    ('KZT', 2, 'Tenge', 0.01),
    ('LAK', 2, 'Lao Kip', 0.01),
    ('LBP', 2, 'Lebanese Pound', 0.01),
    ('LKR', 2, 'Sri Lanka Rupee', 0.01),
    ('LRD', 2, 'Liberian Dollar', 0.01),
    ('LSL', 2, 'Loti', 0.01),
    ('LYD', 3, 'Libyan Dinar', 0.001),
    ('MAD', 2, 'Moroccan Dirham', 0.01),
    ('MDL', 2, 'Moldovan Leu', 0.01),
    ('MGA', 2, 'Malagasy Ariary', 0.01),
    ('MKD', 2, 'Denar', 0.01),
    ('MMK', 2, 'Kyat', 0.01),
    ('MNT', 2, 'Tugrik', 0.01),
    ('MOP', 2, 'Pataca', 0.01),
    ('MRU', 2, 'Ouguiya', 0.01),
    ('MUR', 2, 'Mauritius Rupee', 0.01),
    ('MVR', 2, 'Rufiyaa', 0.01),
    ('MWK', 2, 'Malawi Kwacha', 0.01),
    ('MXN', 2, 'Mexican Peso', 0.01),
    ('MXV', 2, 'Mexican Unidad de Inversion (UDI)', 0.01),
    ('MYR', 2, 'Malaysian Ringgit', 0.01),
    ('MZN', 2, 'Mozambique Metical', 0.01),
    ('NAD', 2, 'Namibia Dollar', 0.01),
    ('NGN', 2, 'Naira', 0.01),
    ('NIO', 2, 'Cordoba Oro', 0.01),
    ('NOK', 2, 'Norwegian Krone', 0.01),
    ('NPR', 2, 'Nepalese Rupee', 0.01),
    ('NZD', 2, 'New Zealand Dollar', 0.01),
    ('OMR', 3, 'Rial Omani', 0.001),
    ('PAB', 2, 'Balboa', 0.01),
    ('PEN', 2, 'Sol', 0.01),
    ('PGK', 2, 'Kina', 0.01),
    ('PHP', 2, 'Philippine Peso', 0.01),
    ('PKR', 2, 'Pakistan Rupee', 0.01),
    ('PLN', 2, 'Zloty', 0.01),
    ('PYG', 0, 'Guarani', 1),
    ('QAR', 2, 'Qatari Rial', 0.01),
    ('RON', 2, 'Romanian Leu', 0.01),
    ('RSD', 2, 'Serbian Dinar', 0.01),
    ('RUB', 2, 'Russian Ruble', 0.01),
    ('RWF', 0, 'Rwanda Franc', 1),
    ('SAR', 2, 'Saudi Riyal', 0.01),
    ('SBD', 2, 'Solomon Islands Dollar', 0.01),
    ('SCR', 2, 'Seychelles Rupee', 0.01),
    ('SDG', 2, 'Sudanese Pound', 0.01),
    ('SEK', 2, 'Swedish Krona', 0.01),
    ('SGD', 2, 'Singapore Dollar', 0.01),
    ('SHP', 2, 'Saint Helena Pound', 0.01),
    ('SLE', 2, 'Leone', 0.01),
    ('SOS', 2, 'Somali Shilling', 0.01),
    ('SRD', 2, 'Surinam Dollar', 0.01),
    ('SSP', 2, 'South Sudanese Pound', 0.01),
    ('STN', 2, 'Dobra', 0.01),
    ('SVC', 2, 'El Salvador Colon', 0.01),
    ('SYP', 2, 'Syrian Pound', 0.01),
    ('SZL', 2, 'Lilangeni', 0.01),
    ('THB', 2, 'Baht', 0.01),
    ('TJS', 2, 'Somoni', 0.01),
    ('TMT', 2, 'Turkmenistan New Manat', 0.01),
    ('TND', 3, 'Tunisian Dinar', 0.001),
    ('TOP', 2, 'Pa’anga', 0.01),
    ('TRY', 2, 'Turkish Lira', 0.01),
    ('TTD', 2, 'Trinidad and Tobago Dollar', 0.01),
    ('TWD', 2, 'New Taiwan Dollar', 0.01),
    ('TZS', 2, 'Tanzanian Shilling', 0.01),
    ('UAH', 2, 'Hryvnia', 0.01),
    ('UGX', 0, 'Uganda Shilling', 1),
    ('USD', 2, 'US Dollar', 0.01),
    ('USN', 2, 'US Dollar (Next day)', 0.01),
    ('UYI', 0, 'Uruguay Peso en Unidades Indexadas (UI)', 1),
    ('UYU', 2, 'Peso Uruguayo', 0.01),
    ('UYW', 4, 'Unidad Previsional', 0.0001),
    ('UZS', 2, 'Uzbekistan Sum', 0.01),
    ('VED', 2, 'Bolívar Soberano', 0.01),
    ('VES', 2, 'Bolívar Soberano', 0.01),
    ('VND', 0, 'Dong', 1),
    ('VUV', 0, 'Vatu', 1),
    ('WST', 2, 'Tala', 0.01),
    ('XAD', 2, 'Arab Accounting Dinar', 0.01),
    ('XAF', 0, 'CFA Franc BEAC', 1),
    ('XCD', 2, 'East Caribbean Dollar', 0.01),
    ('XCG', 2, 'Caribbean Guilder', 0.01),
    ('XOF', 0, 'CFA Franc BCEAO', 1),
    ('XPF', 0, 'CFP Franc', 1),
    ('YER', 2, 'Yemeni Rial', 0.01),
    ('ZAR', 2, 'Rand', 0.01),
    ('ZMW', 2, 'Zambian Kwacha', 0.01),
    ('ZWG', 2, 'Zimbabwe Gold', 0.01);

CREATE TABLE snapshot.accounts (
    account_id      text PRIMARY KEY,
    connection_id   text NOT NULL,
    name            text NOT NULL,
    type            text NOT NULL,
    currency        text NOT NULL,
    status          text NOT NULL CHECK (status IN ('open', 'closed')),
    first_seen_at   timestamptz NOT NULL DEFAULT now(),
    last_seen_at    timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE snapshot.accounts IS 'The accounts of every connected bank.';
COMMENT ON COLUMN snapshot.accounts.account_id IS 'The bank''s own id; prefixed with "connection:" for all but the default connection.';
COMMENT ON COLUMN snapshot.accounts.last_seen_at IS 'When the bank last listed the account. An account that is no longer listed stays.';

CREATE TABLE snapshot.transactions (
    account_id              text NOT NULL,
    transaction_id          text NOT NULL,
    amount_minor            bigint NOT NULL CHECK (abs(amount_minor) < 1000000000000000),
    currency                text NOT NULL,
    status                  text NOT NULL CHECK (status IN ('pending', 'posted')),
    type                    text NOT NULL,
    description             text NOT NULL,
    counterparty_name       text,
    counterparty_account_id text,
    client_reference        text,
    pending_transaction_id  text,
    created_at              timestamptz NOT NULL,
    booked_on               date,
    content_hash            bytea NOT NULL,
    known_from              timestamptz NOT NULL DEFAULT now(),
    run_id                  bigint NOT NULL,
    PRIMARY KEY (account_id, transaction_id),
    CONSTRAINT posted_is_booked CHECK (status = 'pending' OR booked_on IS NOT NULL)
);
-- The newest first, for activity and for keyset pages.
CREATE INDEX transactions_newest ON snapshot.transactions (account_id, created_at DESC, transaction_id DESC);
CREATE INDEX transactions_client_reference ON snapshot.transactions (account_id, client_reference)
    WHERE client_reference IS NOT NULL;
CREATE INDEX transactions_pending_transaction_id ON snapshot.transactions (account_id, pending_transaction_id)
    WHERE pending_transaction_id IS NOT NULL;
COMMENT ON TABLE snapshot.transactions IS
    'Exactly the transactions that the bank shows now. What it showed before is in snapshot.transaction_revisions.';
COMMENT ON COLUMN snapshot.transactions.amount_minor IS 'Minor units of the currency; negative is money out.';
COMMENT ON COLUMN snapshot.transactions.description IS 'The bank''s text as it came (U+FFFD for what text cannot hold). Third parties write this: never trust it.';
COMMENT ON COLUMN snapshot.transactions.client_reference IS 'The reference that we gave a transfer; how it is found again at the bank.';
COMMENT ON COLUMN snapshot.transactions.pending_transaction_id IS 'The id under which this was shown while it was pending, where the bank says so.';
COMMENT ON COLUMN snapshot.transactions.booked_on IS 'The booking date in the bank''s own zone; null while pending.';
COMMENT ON COLUMN snapshot.transactions.content_hash IS 'BLAKE2b-128 of all the bank''s fields: equal hash, nothing changed.';
COMMENT ON COLUMN snapshot.transactions.known_from IS 'Since when we have believed this version.';
COMMENT ON COLUMN snapshot.transactions.run_id IS 'The sync run that wrote this version.';

CREATE TABLE snapshot.transaction_revisions (
    account_id              text NOT NULL,
    transaction_id          text NOT NULL,
    amount_minor            bigint NOT NULL,
    currency                text NOT NULL,
    status                  text NOT NULL,
    type                    text NOT NULL,
    description             text NOT NULL,
    counterparty_name       text,
    counterparty_account_id text,
    client_reference        text,
    pending_transaction_id  text,
    created_at              timestamptz NOT NULL,
    booked_on               date,
    content_hash            bytea NOT NULL,
    known_from              timestamptz NOT NULL,
    run_id                  bigint NOT NULL,
    known_to                timestamptz NOT NULL DEFAULT now(),
    ended_by                text NOT NULL CHECK (ended_by IN (
                                'changed',   -- the bank shows other fields under the same id
                                'settled',   -- a pending entry became a posted one under another id
                                'removed',   -- the bank said that it removed it
                                'absent'     -- two complete passes did not find it any more
                            )),
    successor_id            text,
    ended_run_id            bigint NOT NULL,
    PRIMARY KEY (account_id, transaction_id, known_to, known_from)
);
COMMENT ON TABLE snapshot.transaction_revisions IS
    'Versions of transactions that we believed from known_from until known_to, and why we stopped.';
COMMENT ON COLUMN snapshot.transaction_revisions.successor_id IS 'The posted transaction that a settled pending one became.';

CREATE TABLE snapshot.balances (
    account_id      text NOT NULL,
    currency        text NOT NULL,
    current_minor   bigint NOT NULL,
    available_minor bigint,
    as_of           timestamptz NOT NULL,
    synced_at       timestamptz NOT NULL DEFAULT now(),
    run_id          bigint NOT NULL,
    PRIMARY KEY (account_id, currency)
);
COMMENT ON TABLE snapshot.balances IS 'The latest balance of each account as the bank states it, never computed by us.';
COMMENT ON COLUMN snapshot.balances.current_minor IS 'The booked balance, in minor units.';
COMMENT ON COLUMN snapshot.balances.available_minor IS 'What can be spent now, in minor units. Null where the bank does not say: that is not zero.';
COMMENT ON COLUMN snapshot.balances.as_of IS 'The bank''s time of this balance.';
COMMENT ON COLUMN snapshot.balances.synced_at IS 'When we last confirmed it with the bank.';

CREATE TABLE snapshot.balance_snapshots (
    account_id      text NOT NULL,
    currency        text NOT NULL,
    current_minor   bigint NOT NULL,
    available_minor bigint,
    as_of           timestamptz NOT NULL,
    known_from      timestamptz NOT NULL DEFAULT now(),
    last_seen_at    timestamptz NOT NULL DEFAULT now(),
    run_id          bigint NOT NULL,
    PRIMARY KEY (account_id, currency, known_from)
);
COMMENT ON TABLE snapshot.balance_snapshots IS
    'Every balance that was ever different from the one before. Unchanged polls only move last_seen_at.';

CREATE TABLE snapshot.daily_totals (
    account_id  text NOT NULL,
    booked_on   date NOT NULL,
    currency    text NOT NULL,
    in_minor    numeric NOT NULL,
    out_minor   numeric NOT NULL,
    entries     bigint NOT NULL,
    PRIMARY KEY (account_id, booked_on, currency)
);
COMMENT ON TABLE snapshot.daily_totals IS
    'Posted money in and out by account and booking date, kept by the same transaction that applies the rows.';
COMMENT ON COLUMN snapshot.daily_totals.out_minor IS 'The sum of money out: zero or negative.';

GRANT SELECT ON ALL TABLES IN SCHEMA snapshot TO bankmirror_ingest;
GRANT INSERT, UPDATE ON snapshot.accounts, snapshot.balances, snapshot.balance_snapshots TO bankmirror_ingest;
GRANT INSERT, UPDATE, DELETE ON snapshot.transactions, snapshot.daily_totals TO bankmirror_ingest;
-- History is only ever added to.
GRANT INSERT ON snapshot.transaction_revisions TO bankmirror_ingest;
