"""The role that holds segments and growing rows, follows the log, and answers sub-requests."""
