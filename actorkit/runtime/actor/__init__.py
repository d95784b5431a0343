"""One actor: its address, its record, its mailbox, its relations with others."""
