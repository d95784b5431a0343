"""`python -m bench survival`: which node is still there when its memory runs out?

A server runs under a kernel limit of its own (``limit``); thousands of clients outside that limit
(``clients``) check each reply; some of them, or a neighbour, bring the server into trouble
(``cases``). ``runner`` does one run, ``report`` makes the table of many, ``picture`` draws two of
them. ``protocol`` says what is spoken.
"""
