"""Studies: questions that several runs, or many evaluations, answer together."""
