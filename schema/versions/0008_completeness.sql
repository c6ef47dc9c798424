-- Completeness: covered days, posting lag, and the gate before a mass disappearance.
SELECT 1;
