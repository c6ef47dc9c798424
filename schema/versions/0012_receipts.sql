-- Read receipts.

SELECT 1;
