"""What trimtab does with real models: every figure of the README's table, from learning to the text of the table."""
