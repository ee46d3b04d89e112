"""What a ranker reads: fields of a user and of candidates, turned into rows of embedding tables and into numbers.

Training and the device share this package, so that both mean the same by an id. It needs numpy and pydantic alone.
"""
