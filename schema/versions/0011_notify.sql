-- Notifications from the database itself, for what changes an answer without a poll.

SELECT 1;
