-- History: the mirror as it was known at a moment, and why a past day changed.
SELECT 1;
