"""The web service: /api/v1, and one page for people."""
