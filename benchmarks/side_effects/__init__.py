"""What steering costs beside what it is for: two small tasks under lm-evaluation-harness, plain, told and steered."""
