"""What the runtime stands on: trio, time, turns and interrupts. Nothing here knows actors."""
