-- Third-party text defused and marked.

SELECT 1;
