"""What is measured, each a function from running clusters to plain data for the raw results."""
