"""Wire formats: one file a bank, behind two ports, through one HTTP client. Nothing here touches the database."""
