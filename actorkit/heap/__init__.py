"""What an actor's heap is: the memory that would be free again if the actor died now.

``walk`` measures it, in C or in pure Python, ``explain`` says what it consists of, ``adapters``
tells of types that hide their memory. This layer knows objects and bytes, not actors: what belongs
to an actor is for the caller to say.
"""
