"""Research programs and their records: what the results in docs/ were measured with."""
