"""Measuring on a board over ssh: what is carried there, how it runs there, and how it comes back whole or not at all.

The board needs an ssh server, a POSIX shell and Python 3.10 or newer. It needs no internet, no pip and no EdgeKit.
"""
