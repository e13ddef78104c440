"""Listening tests: a page that people answer, the receiver of their answers, and the rows that come of them."""
