"""`python -m bench survival`: which server survives when its memory runs out?

A server runs under a kernel limit of its own (``limit``); thousands of clients outside that limit
(``clients``) check each reply; some of them, or a neighbour, bring the server into trouble
(``cases``). ``runner`` does one run, ``report`` makes a table of many runs, ``picture`` draws two
of them. ``protocol`` defines the lines that clients and servers exchange.
"""
