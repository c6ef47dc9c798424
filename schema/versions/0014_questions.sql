-- Indexes for what is asked.

SELECT 1;
