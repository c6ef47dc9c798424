-- Third-party text defused and marked.
--
-- Whoever sends a cent writes what an agent will read. What he writes stays readable and loses what a machine would act
-- on: characters that no eye sees, markup that is rendered, addresses that are fetched. And it is judged: what speaks to
-- its reader instead of describing a payment is marked, from the text as the bank sent it.
--
-- All of it is computed when a row is shown and costs microseconds; the text itself stays whole in `snapshot`.

CREATE FUNCTION read.hidden_characters() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Every Cc, Cf, Co, Zl and Zp of Unicode, every space but the plain one (whose width could be a code), variation
-- selectors, fillers, blanks and what is no character at all. A test holds it against the Unicode database.
RETURN '[\u0001-\u001F\u007F-\u00A0\u00AD\u034F\u0600-\u0605\u061C\u06DD\u070F\u0890\u0891\u08E2\u115F\u1160\u1680\u17B4\u17B5'
    '\u180B-\u180F\u2000-\u200F\u2028-\u202F\u205F-\u206F\u2800\u3000\u3164\uE000-\uF8FF\uFDD0-\uFDEF\uFE00-\uFE0F\uFEFF'
    '\uFFA0\uFFF0-\uFFFC\uFFFE\uFFFF\U000110BD\U000110CD\U00013430-\U00013440\U00016FE4\U0001BCA0-\U0001BCA3\U0001D159'
    '\U0001D173-\U0001D17A\U0001FFFE\U0001FFFF\U0002FFFE\U0002FFFF\U0003FFFE-\U0010FFFF]';
COMMENT ON FUNCTION read.hidden_characters IS 'The characters that are never shown, as a regular expression.';

CREATE FUNCTION read.defused(raw text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- In this order: hidden characters become a space; angle brackets and backticks their typographic likes, so that no tag,
-- no fence and no <|token|> is left. Then a space splits what would be one: `](` `![` `//` `\\` `~~` `{{` `${`; `&lt;`;
-- `evil.com/path`, `www.`, `javascript:`, `data:`.
-- The inner limit is for speed: a memo of a megabyte would cost a tenth of a second in every answer that shows it.
RETURN left(
    regexp_replace(regexp_replace(regexp_replace(
        translate(regexp_replace(left(raw, 2000), read.hidden_characters() || '+', ' ', 'g'),
                  '<>`＜＞｀﹤﹥', '‹›''‹›''‹›'),
        '\](?=[[(:])|!(?=\[)|/(?=/)|\\(?=\\)|~(?=~)|\{(?=[{%#])|\$(?=\{)', '\& ', 'g'),
        '&(#|[a-z0-9]+;|lt|gt)', '& \1', 'gi'),
        '\.[^ .:/?#0-9][^ .:/?#]*(?::[0-9]+)?(?=[/?#])|www(?=\.)|(?:script|data|file|blob)(?=:)', '\& ', 'gi'),
    140);
COMMENT ON FUNCTION read.defused IS 'read.shown without its short cut.';

CREATE OR REPLACE FUNCTION read.shown(raw text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Most memos are letters, digits and a few marks: nothing in them could need defusing, and that is quickly seen. Letters
-- are Latin, Greek, Cyrillic, Armenian, kana, CJK and hangul here; any other goes the long way and comes out as it was.
RETURN CASE
    WHEN left(raw, 2000) ~ ('[^ -%''-;=?-Z[^_a-z|}\u00A1-\u00AC\u00AE-\u02FF\u0391-\u0587\u3041-\u30FF\u4E00-\u9FFF\uAC00-\uD7A3]'
                            '|!\[|//|\.[^ ]*[/?#]|[wW]\.|[aAeEbBtT]:')
    THEN read.defused(raw)
    ELSE left(raw, 140) END;
COMMENT ON FUNCTION read.shown IS
    'Third-party text made safe to show: nothing hidden, no markup or address that a machine would render or fetch, at most '
    '140 characters.';

CREATE FUNCTION read.suspicion(description text, counterparty_name text) RETURNS text[]
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    spaces CONSTANT text := '[\s\u00A0\u1680\u2000-\u200A\u2028\u2029\u202F\u205F\u3000]+';
    whole text := left(description, 2000) || ' ¦ ' || left(counterparty_name, 2000);
    -- What an eye sees of it, and somewhat more; the rest is not shown, and need not be judged.
    seen text := left(regexp_replace(regexp_replace(left(description, 2000), spaces, ' ', 'g'),
                                     read.hidden_characters(), '', 'g'), 200) || ' ¦ ' ||
                 left(regexp_replace(regexp_replace(left(counterparty_name, 2000), spaces, ' ', 'g'),
                                     read.hidden_characters(), '', 'g'), 200);
    -- The same in the plainest letters: full width and ornament folded.
    plain text := lower(normalize(seen, NFKC));
    found text[] := '{}';
BEGIN
    -- A payment that asks for another one: an imperative, an amount or all of it, and where to.
    IF plain ~ (
        '\m(please|kindly|must|need to|have to|urgent|urgently|immediately|asap|at once|bitte|dringend|sofort|svp|veuillez|urgente?'
        '|por favor|per favore|si prega|alstublieft|proszę|pilnie)\M.*'
        '\m(pay|send|transfer|wire|remit|refund|überweisen?|zahlen?|senden?|schicken?|virer|virez|transf[ée]rez|envoyez|payez'
        '|transfier[ae]|env[ií]e|paga|pague|trasferisci|invia|versare|transfira|envie|betaal|stuur|przelać|przelej|wyślij)\M'
        '|\m(pay|send|transfer|wire|remit|refund|überweise|sende|schicke|zahle|virez|transf[ée]rez|envoyez|payez|transfier[ae]'
        '|env[ií]e|envía|pague|trasferisci|invia|versa|transfira|envie|betaal|stuur|przelej|wyślij|zapłać)\M'
        '.*([0-9$€£¥]|\m(all|alle|tout|todo|tutto|tudo|funds?|money|balance|it|this|back|rest)\M).*'
        '\m(to|into|auf|an|sur|vers|al?|sul|para|naar|op|na)\M.*'
        '(iban|account|acct|konto|compte|cuenta|conta|rekening|rachunek|wallet|bitcoin|btc|crypto|\m[a-z]{2}[0-9]{2} ?[a-z0-9]{4})'
        '|\m(account|konto|compte|cuenta|conto|conta|rekening|card)\M.*\m(blocked|suspended|locked|frozen|gesperrt|bloqu|geblok)'
        '|\mverify your\M'
        '|(ереведите|тправьте|латите|еречислите).*(счет|счёт|карт|iban)|请.*(转账|转帐|汇款|付款)|請.*(轉帳|匯款)'
        '|(振り込|振込|送金).*ください|(송금|이체).*(하세요|하십시오|해 ?주)|(حول|أرسل).*(حساب|مبلغ)')
    THEN found := found || 'asks_for_money'::text; END IF;

    -- More than is shown.
    IF length(description) > 140 OR length(counterparty_name) > 140
    THEN found := found || 'cut'::text; END IF;

    -- No reference of a bank has small letters, capitals and digits in 32 characters on end; and escapes of characters.
    IF seen ~ '[A-Za-z0-9+/_-]{32}'
       AND seen ~ '(?=[A-Za-z0-9+/_-]*[a-z])(?=[A-Za-z0-9+/_-]*[A-Z])(?=[A-Za-z0-9+/_-]*[0-9])[A-Za-z0-9+/_-]{32}'
       OR seen ~* '(\\x[0-9a-f]{2}){3}|(\\u[0-9a-f]{4}){3}|(%[0-9a-f]{2}){4}'
    THEN found := found || 'encoded'::text; END IF;

    -- What a spreadsheet would run.
    IF plain ~ '(^|¦) ?[=@+-] ?[a-z_.]+ ?[(|]|(^|¦) ?= ?[^= ]'
    THEN found := found || 'formula'::text; END IF;

    -- Joiners and marks of direction belong to some scripts and to emoji; beside Latin letters, or many of them, they do not.
    IF regexp_replace(whole, '[\t\n\r\u00A0\u1680\u2000-\u200A\u200C-\u200F\u2028\u2029\u202F\u205F\u3000\uFE0E\uFE0F]', '', 'g')
       ~ read.hidden_characters()
       OR whole ~ '[A-Za-z][\u200C-\u200F\uFE0E\uFE0F]|[\u200C-\u200F][A-Za-z]|[\u200C-\u200F\uFE0E\uFE0F]{4}'
    THEN found := found || 'hidden_characters'::text; END IF;

    -- A verb of leaving out and what is left out; the reader named as what it is, and told what to do; what to do with tools,
    -- secrets, other people and approvals.
    IF plain ~ (
        '\m(ignor|disregard|forget|overrid|bypass|vergiss|missacht|oubli|olvid|dimentic|esque|desconsider|negeer'
        '|vergeet|zignor|zapomn).*'
        '(instr|prompt|rule|polic|guideline|safeguard|guardrail|previous|prior|above|anweis|vorgabe|regel|bisherig'
        '|vorherig|consigne'
        '|précéd|anterior|istruz|precedent|regol|regras|vorige|eerdere|opdracht|polece|poprzedn|zasad)'
        '|\m(dear|hey|hello|hi|attention|note to|message to|for|hallo|cher|an|to|aan) (the |all |any |den |die '
        '|alle )?(ai|ki|llms?|assistants?|assistenten|chatbots?|language models?|agents?)\M'
        '|\m(ais?|kis?|llms?|assistants?|agents?|models?|bots?|chatbots?|copilot|chatgpt|claude|gemini'
        '|gpt)\M[^.]*\m(must|should|shall|needs? to|ha(s|ve) to|please|muss|soll|bitte|doi[ts]|debes?|deve|devi|moet'
        '|musi)\M'
        '|\m(you are now|from now on|new instructions?|system prompt|system message|developer mode|jailbreak|act as'
        '|pretend to|end of (prompt|context|memo|untrusted|data)|ab sofort|du bist jetzt|tu es maintenant|ahora eres'
        '|ora sei|je bent nu)\M'
        '|\m(call|invoke|use|run|execute|open|fetch|visit)\M ((the|this|following|a|transfer|payment|your) )*(tools?'
        '|functions?|api|endpoint|command|shell|script|url|link)\M'
        '|\m(reveal|print|show|list|send|leak|exfiltrate|forward|e?mail|post|upload|repeat|output|include|tell'
        '|give)\M.*\m(prompt|instructions|balances?|passwords?|tokens?|api keys?|secrets?|credentials'
        '|all transactions|conversation|other accounts)\M'
        '|\m(do not|don''t|never|without) (tell|mention|inform|alert|ask|asking|notify|warn|report|reveal|confirm|approval)'
        '|\m(approve|authori[sz]e|confirm|mark|treat|consider|answer|respond|reply)\M.*\m(all|every|as (paid|fresh'
        '|approved|verified|trusted|safe)|trusted|with)\M.*'
        '\m(transfers?|payments?|questions?|approved|verified|trusted|paid|fresh|safe|only|yes)\M'
        '|(гнорируй|абудь|тмени).*(инструк|указан|правил|предыдущ)|忽略.*(指令|指示|规则|提示|以上|之前)|(指示|命令|規則|プロンプト).*(無視|忘れ)'
        '|(지시|명령|규칙|프롬프트).*(무시|잊)|تجاهل.*(تعليمات|السابق)|(talimat|komut).*(yok ?say|görmezden|unut)|निर्देश.*(अनदेख|नज़रअंदाज़)')
    THEN found := found || 'instructions'::text; END IF;

    -- An address, also without its scheme where it has a path that asks for something.
    IF plain ~ '://|(^|[ "''(=])[/\\]{2}[a-z]|hxxps?:|\mwww\.[^ ]+/.|\.[a-z]+/[^ ]*[?=%&]|\.[a-z]+/[^ /]+/|\[\.\]'
    THEN found := found || 'link'::text; END IF;

    IF plain ~ ('<[a-z!/?]|\]\(|!\[|\]: ?[^ ]|`.*`|~~~|&#|&[a-z]+;|script ?:|data:[a-z]|\{\{|\{%|\$\{')
    THEN found := found || 'markup'::text; END IF;

    -- Before folding: a Greek, Cyrillic or Cherokee letter beside a Latin one, and letters that are mathematical signs.
    IF seen ~ ('[A-Za-z][\u0370-\u052F\u13A0-\u13FF]|[\u0370-\u052F\u13A0-\u13FF][A-Za-z]'
                '|[\U0001D400-\U0001D7FF]|[\u24B6-\u24E9\U0001F130-\U0001F189]{3}')
    THEN found := found || 'mixed_scripts'::text; END IF;

    -- Words by which a conversation with a model is laid out.
    IF plain ~ ('(^|[^a-z])(system|assistant|user|human|developer|tool|observation)\s*[:>]\s*[^ ]|<\|[a-z_ ]+\||\[/?(inst|system)\]|<</?sys>>'
                '|### ?(instruction|system|response|human|assistant)|</?(system|assistant|user|human|instructions?|untrusted'
                '|context|prompt)\M')
    THEN found := found || 'role_marker'::text; END IF;

    -- What would pass for a call of a tool, its result, a part of this very answer, or a statement for the database.
    IF plain ~ ('[{,] ?"[^"]*" ?:|\m(tool|function)[_ ](calls?|use|results?|output)\M|</?(tool|function|invoke|parameter|result)'
                '|"(freshness|verdict|next_cursor|data)"|\m(next_cursor|fresh_until|synced_at)\M|; ?(drop|delete|insert'
                '|update|alter|truncate) |\munion (all )?select\M')
    THEN found := found || 'structure'::text; END IF;
    RETURN found;
END
$$;
COMMENT ON FUNCTION read.suspicion IS 'read.warnings without its short cut.';

CREATE FUNCTION read.telling_characters() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN '[^ -;?-Z_a-z\u00A1-\u00AC\u00AE-\u02FF\u0391-\u0587\u3041-\u30FF\u4E00-\u9FFF\uAC00-\uD7A3]|//|&#|&[A-Za-z]+;'
    '|[wW]\.|\.[A-Za-z]+/[^ ]*[?%&/]|(^|¦) ?[@+-]|[A-Za-z][\u0370-\u052F]|[\u0370-\u052F][A-Za-z]|[aA]:|%[0-9A-Fa-f]{2}%';
COMMENT ON FUNCTION read.telling_characters IS 'What makes a text worth a closer look, before its words do, as a regular expression.';

CREATE FUNCTION read.warnings(description text, counterparty_name text) RETURNS text[]
LANGUAGE sql IMMUTABLE PARALLEL SAFE
-- Nearly every memo is a few plain characters, and costs a microsecond; a longer one is looked through for the words without
-- which read.suspicion finds nothing, and costs eight. What has either is judged, and costs sixty. Both texts are looked
-- through at once, since what a pattern costs is mostly to begin with it.
-- Twenty bytes: nothing shorter tells anybody what to do, in any script.
RETURN CASE
    WHEN coalesce(left(description, 2000), '') || ' ¦ ' || coalesce(left(counterparty_name, 2000), '') ~ read.telling_characters()
      OR length(description) > 140 OR length(counterparty_name) > 140
    THEN read.suspicion(coalesce(description, ''), coalesce(counterparty_name, ''))
    WHEN coalesce(octet_length(description), 0) < 20 AND coalesce(octet_length(counterparty_name), 0) < 20 THEN '{}'
    WHEN octet_length(description) >= 32 AND description ~ '[A-Za-z0-9+/_-]{32}'
      OR octet_length(counterparty_name) >= 32 AND counterparty_name ~ '[A-Za-z0-9+/_-]{32}'
    THEN read.suspicion(coalesce(description, ''), coalesce(counterparty_name, ''))
    WHEN lower(coalesce(description, '') || ' ¦ ' || coalesce(counterparty_name, '')) LIKE ANY (ARRAY[
        '%ignor%', '%disregard%', '%forget%', '%overrid%', '%bypass%', '%vergiss%', '%missacht%', '%oubli%', '%olvid%',
        '%dimentic%', '%esque%', '%negeer%', '%vergeet%', '%zapomn%', '%assist%', '%agent%', '%model%', '%chatb%',
        '%copilot%', '%gpt%', '%claude%', '%gemini%', '%llm%', '%instru%', '%istru%', '%prompt%', '%system%', '%human%',
        '%user%', '%developer%', '%observation%', '%jailbreak%', '%pretend%', '%act as%', '%from now%', '%you are%',
        '%end of%', '%do not%', '%don''t%', '%ab sofort%', '%du bist%', '%tu es%', '%ahora%', '%ora sei%', '%je bent%',
        '%talimat%', '%komut%', '%tool%', '%function%', '%api%', '%endpoint%', '%command%', '%shell%', '%script%',
        '%url%', '%link%', '%balance%', '%password%', '%token%', '%secret%', '%credential%', '%conversation%',
        '%transactions%', '%never%', '%without%', '%approv%', '%authori%', '%confirm%', '%treat%', '%consider%',
        '%answer%', '%respon%', '%reply%', '%mark %', '%must%', '%should%', '%need to%', '%have to%', '%please%',
        '%kindly%', '%urgent%', '%immediat%', '%asap%', '%at once%', '%bitte%', '%dringend%', '%sofort%', '%svp%',
        '%veuillez%', '%favor%', '%prega%', '%alstublieft%', '%pilnie%', '%iban%', '%account%', '%acct%', '%konto%',
        '%compte%', '%cuenta%', '%conta%', '%rekening%', '%rachun%', '%wallet%', '%bitcoin%', '%btc%', '%crypto%',
        '%verify%', '%block%', '%suspend%', '%frozen%', '%gesperrt%', '%bloqu%', '%cursor%', '%fresh %', '%synced%',
        '%union%'])
    THEN read.suspicion(coalesce(description, ''), coalesce(counterparty_name, ''))
    -- And in other letters, for which nobody needs to look in a text of ASCII.
    WHEN (octet_length(description) > length(description) OR octet_length(counterparty_name) > length(counterparty_name))
     AND lower(coalesce(description, '') || ' ¦ ' || coalesce(counterparty_name, '')) LIKE ANY (ARRAY[
        '%proszę%', '%гнор%', '%абудь%', '%тмени%', '%счет%', '%счёт%', '%карт%', '%忽略%', '%無視%', '%忘れ%', '%请%', '%請%',
        '%ください%', '%무시%', '%잊%', '%세요%', '%십시오%', '%해주%'])
    THEN read.suspicion(coalesce(description, ''), coalesce(counterparty_name, ''))
    ELSE '{}' END;
COMMENT ON FUNCTION read.warnings IS
    'What is suspicious in third-party text as the bank sent it, by kind; empty for what just describes a payment. A sign and '
    'no proof, in both directions.';

-- ── the views ────────────────────────────────────────────────────────────────────────────────────────────────────────
--
-- As they were, with what is suspicious at their end; it is computed only where it is selected. Who may not see the text
-- is told all the same that there is something about it: the kinds say nothing of its content.

CREATE OR REPLACE VIEW model.transactions AS
SELECT entry.account_id,
       entry.transaction_id,
       entry.amount_minor,
       entry.amount_minor * currency.unit AS amount,
       entry.currency,
       entry.status,
       entry.type,
       entry.created_at,
       entry.booked_on,
       coalesce(entry.booked_on, (entry.created_at AT TIME ZONE 'UTC')::date) AS day,
       entry.counterparty_account_id,
       entry.client_reference,
       entry.pending_transaction_id,
       read.shown(entry.description) AS description,
       read.shown(entry.counterparty_name) AS counterparty_name,
       entry.known_from,
       CASE WHEN entry.status = 'pending'
            THEN entry.created_at < now() - make_interval(days => coalesce((
                     SELECT connection.lapse_days
                       FROM snapshot.accounts AS account JOIN sync.connections AS connection USING (connection_id)
                      WHERE account.account_id = entry.account_id), 14))
            ELSE false END AS lapsed,
       read.warnings(entry.description, entry.counterparty_name) AS warnings
  FROM snapshot.transactions AS entry
  JOIN snapshot.currencies AS currency USING (currency);

CREATE OR REPLACE VIEW model.transaction_revisions AS
SELECT entry.account_id,
       entry.transaction_id,
       entry.amount_minor,
       entry.amount_minor * currency.unit AS amount,
       entry.currency,
       entry.status,
       entry.type,
       entry.created_at,
       entry.booked_on,
       read.shown(entry.description) AS description,
       read.shown(entry.counterparty_name) AS counterparty_name,
       entry.known_from,
       entry.known_to,
       entry.ended_by,
       entry.successor_id,
       read.warnings(entry.description, entry.counterparty_name) AS warnings
  FROM snapshot.transaction_revisions AS entry
  JOIN snapshot.currencies AS currency USING (currency);

CREATE OR REPLACE VIEW model.transaction_past AS
SELECT entry.account_id,
       entry.transaction_id,
       entry.amount_minor,
       entry.amount_minor * currency.unit AS amount,
       entry.currency,
       entry.status,
       entry.type,
       entry.created_at,
       entry.booked_on,
       coalesce(entry.booked_on, (entry.created_at AT TIME ZONE 'UTC')::date) AS day,
       entry.counterparty_account_id,
       entry.client_reference,
       entry.pending_transaction_id,
       read.shown(entry.description) AS description,
       read.shown(entry.counterparty_name) AS counterparty_name,
       entry.known_from,
       entry.known_to,
       entry.ended_by,
       entry.successor_id,
       read.warnings(entry.description, entry.counterparty_name) AS warnings
  FROM snapshot.transaction_revisions AS entry
  JOIN snapshot.currencies AS currency USING (currency);

CREATE OR REPLACE VIEW read.transactions AS
    SELECT whole.account_id, whole.transaction_id, whole.amount_minor, whole.amount, whole.currency, whole.status,
           whole.type, whole.created_at, whole.booked_on, whole.day,
           whole.counterparty_account_id, whole.client_reference, whole.pending_transaction_id,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.description END AS description,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.counterparty_name END AS counterparty_name,
           whole.known_from, whole.lapsed, whole.warnings
      FROM model.transactions AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);

CREATE OR REPLACE VIEW read.transaction_revisions AS
    SELECT whole.account_id, whole.transaction_id, whole.amount_minor, whole.amount, whole.currency, whole.status,
           whole.type, whole.created_at, whole.booked_on,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.description END AS description,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.counterparty_name END AS counterparty_name,
           whole.known_from, whole.known_to, whole.ended_by, whole.successor_id, whole.warnings
      FROM model.transaction_revisions AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);

CREATE OR REPLACE VIEW read.transaction_past AS
    SELECT whole.account_id, whole.transaction_id, whole.amount_minor, whole.amount, whole.currency, whole.status,
           whole.type, whole.created_at, whole.booked_on, whole.day,
           whole.counterparty_account_id, whole.client_reference, whole.pending_transaction_id,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.description END AS description,
           CASE WHEN (SELECT read.sees_memos()) THEN whole.counterparty_name END AS counterparty_name,
           whole.known_from, whole.known_to, whole.ended_by, whole.successor_id, whole.warnings
      FROM model.transaction_past AS whole
     WHERE (SELECT read.sees_all()) OR whole.account_id = ANY ((SELECT read.my_accounts())::text[]);

COMMENT ON COLUMN read.transactions.warnings IS 'What is suspicious in the third-party text of the row, by kind; also where the text is not shown.';

CREATE FUNCTION read.untrusted(description text, counterparty_name text, warnings text[]) RETURNS json
LANGUAGE sql STABLE PARALLEL SAFE
RETURN json_build_object('description', description, 'counterparty_name', counterparty_name, 'warnings', warnings);
COMMENT ON FUNCTION read.untrusted IS 'The one object in which third-party text leaves; its three parts are columns of a view that shows it.';

GRANT EXECUTE ON FUNCTION read.hidden_characters, read.telling_characters, read.defused, read.suspicion, read.warnings, read.untrusted
    TO bankmirror_reader;
-- What read.shown is made of is needed wherever a view shows a name or a reason.
GRANT EXECUTE ON FUNCTION read.hidden_characters, read.defused TO bankmirror_ingest, bankmirror_transfers, bankmirror_access;
GRANT EXECUTE ON FUNCTION read.shown TO bankmirror_access;
