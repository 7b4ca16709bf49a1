"""The role that orders, logs and seals mutations and answers DDL."""
