"""What ran and what it says: records, the manifest of the paper's claims, verdicts, tables and the report."""
