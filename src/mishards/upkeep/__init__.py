"""Looking after a data set: comparing it with what it should be, and making it whole again."""
