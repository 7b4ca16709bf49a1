"""Who is there: nodes, their roles and addresses."""
