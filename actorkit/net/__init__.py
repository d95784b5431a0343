"""Connections as actors: listeners for TCP, TLS and Unix sockets, and the class to subclass.

From the outside in:

``listener_specs``  the functions that users call; they check what they are given
``listener``        the supervisor of the connections: admits them, starts their actors
``acceptor``        accepts, in a task of its own; ``refusals`` sees off those that find no room
``connection``      one connection: its reader, its output and its end; ``mailbox_turn`` is for
                    when the actor is busy
``stream_actor``    the class to subclass; runs the handlers on a batch of messages
``framing``         cuts bytes into messages; how to add a framing stands there
``transport``       one socket, with TLS (``tls``) or without
``address``, ``limits``  where to listen, and how much may be held: checked values
"""
