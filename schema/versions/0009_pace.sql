-- Pace: how often a feed is asked, how many requests a connection may make, and who asked for it.
SELECT 1;
