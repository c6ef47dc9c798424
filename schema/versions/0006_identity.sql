-- Identity: which ids are one and the same transaction or account, and how we know.
SELECT 1;
